"""The documents of OME-Zarr: what metadata says of images, channels, plates and wells.

An image is a list of zarr arrays, finest first, with axes that have kinds and units, and for each
array the scale and translation that take positions to the world. World position of an index:
``whole_scale * (scale * index + translation) + whole_translation``, per axis, with the optional
transformations of the whole image applied last (NGFF 0.4 §3.4). The translation is that of the
centre of the first pixel.

Versions before 0.4 have no transformations: their axes have no scale, which is honest where a scale
of 1 would not be. Before 0.3 an image says nothing about its axes either; they are t, c, z, y, x.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from lazytensor.errors import OutOfBoundsError
from lazytensor.io.store import join_key
from lazytensor.io.zarr.document import Fields
from lazytensor.plan.spec import Axis

__all__ = [
    "SUPPORTED",
    "Channel",
    "ImageMetadata",
    "LevelMetadata",
    "OmeAttributes",
    "PlateMetadata",
    "WellMetadata",
    "parse_image",
    "parse_plate",
    "parse_well",
    "paths_in",
    "release_of",
]

_WITHOUT_AXES = ("0.1", "0.2")
_WITHOUT_SCALE = (*_WITHOUT_AXES, "0.3")
SUPPORTED = (*_WITHOUT_SCALE, "0.4", "0.5")
"""The versions that can be read."""

_TRANSFORMATIONS = "coordinateTransformations"
# What an axis is when it does not say so: its name is conventional, its type only recommended.
_USUAL_KINDS = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
_COLOR = re.compile(r"#?([0-9A-Fa-f]{6})")

_Scale = tuple[float | None, ...]
_Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class OmeAttributes:
    """The OME part of a group's attributes: ``path`` of the group, ``version`` of the format."""

    path: str
    version: str
    fields: Fields

    @property
    def release(self) -> str:
        """The version without patch level and suffix: ``"0.4"`` for ``"0.4.1"``."""
        return release_of(self.version)


@dataclass(frozen=True, slots=True)
class Channel:
    """How one channel is shown (``omero`` metadata).

    ``color``: six hexadecimal digits, RGB; ``window``: ``min max start end`` of the display range.
    Both are None where the file does not say.
    """

    index: int
    name: str
    color: str | None
    window: Mapping[str, float] | None
    active: bool


@dataclass(frozen=True, slots=True)
class LevelMetadata:
    """One resolution: path of its array in the group, world scale and offset per axis.

    A scale is None where the metadata says nothing.
    """

    path: str
    scale: _Scale
    offset: _Vector


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """One image: axes without scale, resolutions finest first, channels if described.

    ``is_label``: whether the values number objects, which only integers can.
    """

    name: str
    where: str
    axes: tuple[Axis, ...]
    levels: tuple[LevelMetadata, ...]
    channels: tuple[Channel, ...]
    is_label: bool


@dataclass(frozen=True, slots=True)
class PlateMetadata:
    """A plate: names of rows and columns, paths of wells, descriptions of acquisitions."""

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: tuple[str, ...]
    acquisitions: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class WellMetadata:
    """A well: for each field its path from the catalog's root, and the id of its acquisition."""

    fields: tuple[str, ...]
    acquisitions: tuple[int | None, ...]


def release_of(version: str) -> str:
    """A version without patch level and suffix.

    >>> release_of("0.4.1"), release_of("0.5-dev1")
    ('0.4', '0.5')
    """
    return ".".join(version.split("-")[0].split(".")[:2])


def paths_in(fields: Fields, key: str) -> list[str]:
    """The list of paths under a key; ``FormatError`` if it is none."""
    paths = fields.items(key)
    if not all(isinstance(path, str) for path in paths):
        raise fields.wrong(key, "paths")
    return paths


def parse_image(attributes: OmeAttributes, index: int = 0) -> ImageMetadata:
    """Image ``index`` of the ``multiscales`` of a group; ``FormatError`` if it is malformed."""
    images = attributes.fields.objects("multiscales")
    if not images:
        raise attributes.fields.wrong("multiscales", "at least one image")
    if not 0 <= index < len(images):
        raise OutOfBoundsError(
            f"{attributes.fields.where}: there is no image {index}; it has {len(images)}"
        )
    image = images[index]
    axes = _parse_axes(image, attributes.release)
    whole = _transformations(image, len(axes), required=False)
    levels = tuple(
        _parse_level(dataset, whole, len(axes), attributes.release)
        for dataset in image.objects("datasets")
    )
    if not levels:
        raise image.wrong("datasets", "at least one array")
    name = image.document.get("name")
    return ImageMetadata(
        name if isinstance(name, str) else "",
        image.where,
        axes,
        levels,
        _parse_channels(attributes.fields),
        "image-label" in attributes.fields.document,
    )


def _parse_axes(image: Fields, release: str) -> tuple[Axis, ...]:
    axes = tuple(_parse_axis(fields) for fields in _axis_fields(image, release))
    if not 2 <= len(axes) <= 5:
        raise image.wrong("axes", "two to five axes")
    names = [axis.name for axis in axes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not twice:
        return axes
    warnings.warn(
        f"{image.at('axes')}: the names {twice} occur more than once and are dropped", stacklevel=2
    )
    return tuple(replace(axis, name="") if axis.name in twice else axis for axis in axes)


def _axis_fields(image: Fields, release: str) -> list[Fields]:
    """The description of each axis; before 0.4 there are only names, before 0.3 not even those."""
    if release not in _WITHOUT_SCALE:
        return image.objects("axes")
    implied = release in _WITHOUT_AXES and "axes" not in image.document
    names = list("tczyx") if implied else image.items("axes")
    return [Fields({"name": name}, f"{image.at('axes')}[{i}]") for i, name in enumerate(names)]


def _parse_axis(fields: Fields) -> Axis:
    name = fields.text("name")
    kind, unit = fields.document.get("type"), fields.document.get("unit")
    return Axis(
        name,
        kind if isinstance(kind, str) else _USUAL_KINDS.get(name),
        unit if isinstance(unit, str) else None,
    )


def _parse_level(
    dataset: Fields, whole: tuple[_Vector, _Vector] | None, rank: int, release: str
) -> LevelMetadata:
    """One resolution; ``whole``: the transformations of the image, applied after its own."""
    own = _transformations(dataset, rank, required=release not in _WITHOUT_SCALE)
    path = dataset.text("path")
    if own is None and whole is None:
        return LevelMetadata(path, (None,) * rank, (0.0,) * rank)
    (scale, offset), (outer, shift) = (step or _identity(rank) for step in (own, whole))
    scale = tuple(a * b for a, b in zip(outer, scale, strict=True))
    offset = tuple(a * b + c for a, b, c in zip(outer, offset, shift, strict=True))
    if not all(map(isfinite, scale + offset)):
        raise dataset.wrong(_TRANSFORMATIONS, "a finite scale and translation in all")
    return LevelMetadata(path, scale, offset)


def _identity(rank: int) -> tuple[_Vector, _Vector]:
    return (1.0,) * rank, (0.0,) * rank


def _transformations(
    fields: Fields, rank: int, *, required: bool
) -> tuple[_Vector, _Vector] | None:
    """Scale and translation of a list of exactly one scale and at most one translation.

    Without a list, or with an empty one, None, which is an error if one is ``required``. Identities
    in the list are passed over.
    """
    steps = fields.objects(_TRANSFORMATIONS, optional=not required)
    if not steps and not required:
        return None
    known = [(step.text("type"), step) for step in steps]
    known = [(kind, step) for kind, step in known if kind != "identity"]
    kinds = [kind for kind, _ in known]
    if not kinds and steps:
        return _identity(rank)
    if kinds not in (["scale"], ["scale", "translation"]):
        expected = f"one scale, then at most one translation (types are {kinds!r:.60})"
        raise fields.wrong(_TRANSFORMATIONS, expected)
    values = [_vector(step, kind, rank) for kind, step in known]
    return values[0], values[1] if len(values) > 1 else (0.0,) * rank


def _vector(fields: Fields, key: str, rank: int) -> tuple[float, ...]:
    if key not in fields.document and "path" in fields.document:
        # Allowed by the format, written by nobody, and opening an image must not read data.
        raise fields.wrong(key, f"{rank} numbers (a {key} stored as an array is not supported)")
    values = fields.items(key)
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(values) != rank or len(numbers) != rank or not all(map(_is_finite, numbers)):
        raise fields.wrong(key, f"{rank} finite numbers, one per axis")
    return tuple(float(v) for v in numbers)


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer beyond the range of a float
        return False


def _parse_channels(attributes: Fields) -> tuple[Channel, ...]:
    """Display metadata; it says nothing about values, so parts that make no sense are left out."""
    omero = attributes.document.get("omero")
    listed = omero.get("channels") if isinstance(omero, dict) else None
    entries = listed if isinstance(listed, list) else []
    return tuple(
        _parse_channel(index, entry if isinstance(entry, dict) else {})
        for index, entry in enumerate(entries)
    )


def _parse_channel(index: int, channel: Mapping[str, Any]) -> Channel:
    name, color, window = (channel.get(key) for key in ("label", "color", "window"))
    digits = _COLOR.fullmatch(color) if isinstance(color, str) else None
    return Channel(
        index,
        name if isinstance(name, str) else "",
        digits[1] if digits else None,
        _parse_window(window) if isinstance(window, dict) else None,
        channel.get("active") is not False,
    )


def _parse_window(window: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: value
        for key, value in window.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and _is_finite(value)
    }


def parse_plate(attributes: OmeAttributes) -> PlateMetadata | None:
    """The plate of a group, or None if it is none; ``FormatError`` if it is malformed."""
    if "plate" not in attributes.fields.document:
        return None
    plate = attributes.fields.fields("plate")
    name = plate.document.get("name")
    return PlateMetadata(
        name if isinstance(name, str) else "",
        tuple(row.text("name") for row in plate.objects("rows")),
        tuple(column.text("name") for column in plate.objects("columns")),
        tuple(dict.fromkeys(well.text("path") for well in plate.objects("wells"))),
        tuple(a.document for a in plate.objects("acquisitions", optional=True)),
    )


def parse_well(attributes: OmeAttributes) -> WellMetadata:
    """The fields of a well; ``FormatError`` if it is malformed."""
    images = attributes.fields.fields("well").objects("images")
    ids = (image.document.get("acquisition") for image in images)
    return WellMetadata(
        tuple(join_key(attributes.path, image.text("path")) for image in images),
        tuple(number if type(number) is int else None for number in ids),
    )
