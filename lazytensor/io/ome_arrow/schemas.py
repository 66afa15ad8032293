"""What is written of images beside their pixels: schemas, records, channels, notes of files.

Schemas are those of the package ome-arrow 0.1.0, field by field, so that it takes what is written
for its own. Where its files have no place for something (units and sizes of pixels, time, origin,
attributes of a typed chunk dataset), that is JSON in the file's metadata, which it leaves alone.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lazytensor.errors import DimensionError, DTypeError, ShapeError
from lazytensor.io.ome_arrow.metadata import TAG, unit_symbol
from lazytensor.io.ome_arrow.model import DIMS
from lazytensor.plan.spec import Axis

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "DATASET", "EXTRAS", "LISTED", "VERSION", "Written", "channels_of", "check_dtype",
    "check_sizes", "chunks_schema", "extras_of", "file_metadata", "image_row", "images_schema",
    "index_schema", "little", "record", "struct_type",
]  # fmt: skip

VERSION = "0.1.0"
"""The version of the package whose files these are; it says so in each of them."""

DATASET = "typed-chunk-dataset"
EXTRAS = "lazytensor.images"
"""Key of the metadata of ``images.parquet``: what the table has no columns for, by image."""

LISTED = ("bool", "uint8", "uint16")
"""Dtypes whose values lists hold, which are of uint16."""

_DTYPES = (
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16",
    "float32", "float64", "complex64", "complex128",
)  # fmt: skip
_BOX = (*DIMS, *(f"shape_{dim}" for dim in DIMS))
_COLOR = re.compile(r"#?([0-9A-Fa-f]{6})([0-9A-Fa-f]{2})?")
_OWN_ATTRS = ("id", "name", "image_type", "channels")
_CHANNEL = ("id", "name", "emission_um", "excitation_um", "illumination", "color_rgba")
_MOST = (1 << 31) - 1
_MOST_CHANNELS = (1 << 15) - 1


class Written(NamedTuple):
    """Images that are written, all of one shape.

    ``shape``: of each, t, c, z, y, x; so are ``axes`` and ``origin``. ``rows``: how many images,
    the extent of the first dim of the tensor; None where it has no such dim, for one image. ``ids``
    and ``names``: of each, or None. ``channels``: as in the file. ``attrs``: JSON.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    axes: tuple[Axis, ...]
    origin: tuple[int, ...]
    rows: int | None
    ids: tuple[str, ...] | None
    names: tuple[str, ...] | None
    image_type: str | None
    channels: tuple[Mapping[str, Any], ...]
    attrs: Mapping[str, Any]

    @property
    def images(self) -> int:
        """How many images."""
        return 1 if self.rows is None else self.rows


def check_dtype(dtype: np.dtype, *, listed: bool) -> None:
    """``DTypeError`` for a dtype that the format does not hold, or not in lists."""
    if dtype.name not in _DTYPES:
        raise DTypeError(
            f"OME-Arrow holds no {dtype}, only {', '.join(_DTYPES)}: cast before, with .astype(...)"
        )
    if listed and dtype.name not in LISTED:
        raise DTypeError(
            f"encoding='list' holds numbers from 0 to 65535, of {', '.join(LISTED)}, and not "
            f"{dtype}: give encoding='chunks' or 'bytes', or cast before, with .astype(...)"
        )


def check_sizes(shape: Sequence[int], *, inline: bool) -> None:
    """``ShapeError`` for sizes that are no sizes of an image, or more than files can say."""
    for dim, size in zip(DIMS, shape, strict=True):
        most = _MOST_CHANNELS if inline and dim == "c" else _MOST
        if not 0 < size <= most:
            raise ShapeError(f"an OME-Arrow image of size {size} along {dim!r}: 1 to {most}")


def little(dtype: np.dtype) -> np.dtype:
    """The dtype as it is stored: little-endian."""
    return dtype.newbyteorder("<")


def file_metadata(**more: str) -> dict[str, str]:
    """Metadata of every file."""
    return {"ome.arrow.type": TAG, "ome.arrow.version": VERSION, **more}


def _with_dataset(fields: Sequence[tuple[str, Any]]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(fields, metadata=file_metadata(**{"ome.arrow.layout": DATASET}))


@cache
def images_schema() -> pa.Schema:
    """Of ``images.parquet``."""
    import pyarrow as pa

    text, number = pa.string(), pa.int32()
    names = ("image_id", "name", "image_type", "dtype")
    numbers = [f"size_{dim}" for dim in DIMS], [f"chunk_{dim}" for dim in DIMS]
    return _with_dataset(
        [
            *[(name, text) for name in names],
            *[(name, number) for name in numbers[0]],
            ("layout", text),
            *[(name, number) for name in numbers[1]],
            ("compression", text),
            ("channels_json", text),
        ]
    )


@cache
def chunks_schema() -> pa.Schema:
    """Of ``chunks.parquet``."""
    import pyarrow as pa

    return _with_dataset(
        [
            ("image_id", pa.string()),
            ("chunk_id", pa.int64()),
            *[(name, pa.int32()) for name in _BOX],
            ("dtype", pa.string()),
            ("pixel_bytes", pa.large_binary()),
        ]
    )


@cache
def index_schema() -> pa.Schema:
    """Of ``index.parquet``."""
    import pyarrow as pa

    return _with_dataset(
        [
            ("image_id", pa.string()),
            ("chunk_id", pa.int64()),
            ("row_group_id", pa.int32()),
            ("row_index_in_group", pa.int32()),
            ("fragment_path", pa.string()),
            *[(name, pa.int32()) for name in _BOX],
        ]
    )


@cache
def struct_type(encoded: bool) -> pa.DataType:
    """The type of a column of images whose pixels are in it, as bytes or as lists."""
    import pyarrow as pa

    text, i16, i32, f32 = pa.string(), pa.int16(), pa.int32(), pa.float32()
    pixels = pa.list_(pa.uint16())
    channel = (text, text, f32, f32, text, pa.uint32())
    meta = [
        ("dimension_order", text), ("type", text), ("size_x", i32), ("size_y", i32),
        ("size_z", i32), ("size_c", i16), ("size_t", i32),
        *[(f"physical_size_{dim}", f32) for dim in "xyz"],
        *[(f"physical_size_{dim}_unit", text) for dim in "xyz"],
        ("channels", pa.list_(pa.struct(list(zip(_CHANNEL, channel, strict=True))))),
    ]  # fmt: skip
    grid = [
        ("order", text), ("chunk_t", i32), ("chunk_c", i16), ("chunk_z", i32), ("chunk_y", i32),
        ("chunk_x", i32), ("chunk_order", text),
    ]  # fmt: skip
    place = [("t", i32), ("c", i16), *[(n, i32) for n in (*"zyx", *_BOX[-3:])]]
    payload = [("dtype", text), ("compression", text), ("pixel_bytes", pa.large_binary())]
    chunk = [*place, *(payload if encoded else [("pixels", pixels)])]
    return pa.struct(
        [
            ("type", text), ("version", text), ("id", text), ("name", text), ("image_type", text),
            ("acquisition_datetime", pa.timestamp("us")),
            ("pixels_meta", pa.struct(meta)),
            ("chunk_grid", pa.struct(grid)),
            ("chunks", pa.list_(pa.struct(chunk))),
            ("planes", pa.list_(pa.struct(
                [("z", i32), ("t", i32), ("c", i16), ("pixels", pixels)]
            ))),
            ("masks", pa.null()),
        ]
    )  # fmt: skip


def image_row(
    written: Written, number: int, image_id: str, chunks: Sequence[int], compression: str | None
) -> dict[str, Any]:
    """A row of ``images.parquet``."""
    return {
        "image_id": image_id,
        "name": image_id if written.names is None else written.names[number],
        "image_type": written.image_type,
        "dtype": written.dtype.name,
        **{f"size_{dim}": size for dim, size in zip(DIMS, written.shape, strict=True)},
        "layout": layout_of(written.shape, chunks),
        **{f"chunk_{dim}": size for dim, size in zip(DIMS, chunks, strict=True)},
        "compression": compression,
        "channels_json": json.dumps(list(written.channels)),
    }


def layout_of(shape: Sequence[int], chunks: Sequence[int]) -> str:
    """What the package calls chunks of some extents.

    >>> layout_of((1, 2, 8, 64, 64), (1, 1, 1, 64, 64)), layout_of((1, 1, 1, 8, 8), (1, 1, 1, 8, 8))
    ('z-plane', 'image')
    """
    shape, chunks = tuple(shape), tuple(chunks)
    if chunks == shape:
        return "image"
    if chunks[:2] != (1, 1):
        return "block"
    if chunks[2:] == shape[2:]:
        return "volume"
    if chunks[2] == 1:
        return "z-plane" if chunks[3:] == shape[3:] else "tile"
    return "block"


def extras_of(written: Written) -> dict[str, Any]:
    """What the tables of a dataset have no columns for: axes, attributes, origin.

    Raises ``ValueError`` for attributes that are no JSON.
    """
    found: dict[str, Any] = {"axes": [_axis(axis) for axis in written.axes]}
    attrs = {key: value for key, value in written.attrs.items() if key not in _OWN_ATTRS}
    if attrs:
        found["attrs"] = attrs
    if any(written.origin):
        found["origin"] = list(written.origin)
    try:
        json.dumps(found, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the attributes are no JSON: {error}") from None
    return found


def _axis(axis: Axis) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": axis.name,
        "kind": axis.kind,
        "unit": axis.unit,
        "scale": None if axis.scale is None else float(axis.scale),
        "offset": float(axis.offset) or None,
        "labels": None if axis.labels is None else list(axis.labels),
    }
    # There may be thousands of images.
    return {key: value for key, value in found.items() if value is not None}


def record(
    written: Written, number: int, image_id: str, chunks: Sequence[int] | None
) -> dict[str, Any]:
    """A record of an image, without its pixels. ``chunks``: extents; None if there are planes."""
    sizes = dict(zip(DIMS, written.shape, strict=True))
    meta: dict[str, Any] = {
        "dimension_order": "XYCT" if sizes["z"] == 1 else "XYZCT",
        "type": written.dtype.name,
        **{f"size_{dim}": size for dim, size in sizes.items()},
        "channels": list(written.channels),
    }
    for dim, axis in zip("zyx", written.axes[2:], strict=True):
        if axis.scale is not None and 0 < axis.scale < float("inf"):
            meta[f"physical_size_{dim}"] = axis.scale
            meta[f"physical_size_{dim}_unit"] = unit_symbol(axis.unit)
    grid = None
    if chunks is not None:
        along = {f"chunk_{dim}": size for dim, size in zip(DIMS, chunks, strict=True)}
        grid = {"order": "TCZYX", **along, "chunk_order": "ZYX"}
    return {
        "type": TAG,
        "version": VERSION,
        "id": image_id,
        "name": image_id if written.names is None else written.names[number],
        "image_type": written.image_type,
        "acquisition_datetime": _moment(written.attrs.get("acquisition_datetime")),
        "pixels_meta": meta,
        "chunk_grid": grid,
        "chunks": None,
        "planes": [],
        "masks": None,
    }


def _moment(text: object) -> dt.datetime | None:
    """A point in time without a time zone, which the format has no place for."""
    if not isinstance(text, str):
        return None
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is None else found.astimezone(dt.UTC).replace(tzinfo=None)


def channels_of(
    given: Any, labels: Sequence[str] | None, known: Any, count: int
) -> tuple[Mapping[str, Any], ...]:
    """Channels as they are in a file, from what a user gives, or from what is known.

    ``given``: names, mappings (``name``, ``color``, and fields of the format), or objects with
    these attributes. ``labels``: names of the positions. ``known``: channels that the tensor was
    read with, of which those with these names are taken. Raises ``DimensionError`` unless there is
    one for each position, ``TypeError`` and ``ValueError`` for what is no channel.
    """
    if given is None:
        found = _known_channels(labels, known, count)
    else:
        if isinstance(given, (str, Mapping)) or not hasattr(given, "__iter__"):
            raise TypeError(
                f"channels= is a sequence of names, mappings or channels, not {given!r}"
            )
        found = [_given(channel) for channel in given]
        if len(found) != count:
            raise DimensionError(f"channels= names {len(found)} channels, the tensor has {count}")
    return tuple([_channel(number, channel) for number, channel in enumerate(found)])


def _known_channels(labels: Sequence[str] | None, known: Any, count: int) -> list[dict[str, Any]]:
    listed = [dict(one) for one in known or () if isinstance(one, Mapping)]
    if labels is None:
        return listed if len(listed) == count else [{} for _ in range(count)]
    named: dict[Any, list[dict[str, Any]]] = {}
    for channel in listed:
        named.setdefault(channel.get("name"), []).append(channel)
    found = []
    for label in labels:
        same = named.get(label, [])
        found.append({**(same[0] if len(same) == 1 else {}), "name": label})
    return found


def _given(channel: Any) -> dict[str, Any]:
    if isinstance(channel, str):
        return {"name": channel}
    if not isinstance(channel, Mapping):
        wanted = (*_CHANNEL, "color")
        channel = {key: getattr(channel, key) for key in wanted if hasattr(channel, key)}
        if not channel:
            raise TypeError("a channel is a name, a mapping or an object with a name")
    unknown = sorted(set(map(str, channel)) - {*_CHANNEL, "color"})
    if unknown:
        raise ValueError(
            f"channels=: unknown key {unknown[0]!r}; keys are {', '.join(_CHANNEL)} and color"
        )
    found = dict(channel)
    color = found.pop("color", None)
    if color is not None:
        found["color_rgba"] = _packed(color)
    return found


def _channel(number: int, found: Mapping[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {key: found.get(key) for key in _CHANNEL}
    own["id"] = f"ch-{number}" if own["id"] is None else str(own["id"])
    own["name"] = None if own["name"] is None else str(own["name"])
    for key in ("emission_um", "excitation_um"):
        own[key] = None if own[key] is None else float(own[key])
    if own["color_rgba"] is not None:
        own["color_rgba"] = _packed(own["color_rgba"])
    return own


def _packed(color: Any) -> int:
    """A colour as 0xRRGGBBAA.

    >>> hex(_packed("00A0FF")), hex(_packed((255, 0, 0)))
    ('0xa0ffff', '0xff0000ff')
    """
    if isinstance(color, str):
        parts = _COLOR.fullmatch(color.strip())
        if parts:
            return int(parts[1] + (parts[2] or "FF"), 16)
    elif isinstance(color, (int, np.integer)) and not isinstance(color, bool):
        if 0 <= color < 1 << 32:
            return int(color)
    elif (
        isinstance(color, (tuple, list))
        and len(color) in (3, 4)
        and all(isinstance(n, (int, np.integer)) and 0 <= n < 256 for n in color)
    ):
        return int.from_bytes(bytes([*color, 255][:4]), "big")
    raise ValueError(
        f"a colour is 'RRGGBB', 'RRGGBBAA', (r, g, b), (r, g, b, a) or 0xRRGGBBAA, not {color!r}"
    )
