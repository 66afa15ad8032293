"""The metadata documents of an array or a group that is to be written.

They are parsed by the reader before anybody else sees them, and an encoder is made of what it
found: so writer and reader agree on one ``ArrayMetadata``, and what could not be read back, or not
be written, is refused before the first byte. Parsing is also what checks most arguments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import DimensionError, FormatError, ShapeError
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.table import codec_kind
from lazytensor.io.zarr.document import parse_json
from lazytensor.io.zarr.document_codecs import Codec, codecs_of, codecs_v2, codecs_v3
from lazytensor.io.zarr.document_types import dtype_v2, dtype_v3, fill_json, plain_dtype
from lazytensor.io.zarr.encode import object_encoder
from lazytensor.io.zarr.keys import KeyEncoding
from lazytensor.io.zarr.metadata import ArrayMetadata, parse_array_v2, parse_v3

__all__ = ["ArrayDocuments", "array_documents", "group_documents", "json_bytes"]

_XARRAY_NAMES = "_ARRAY_DIMENSIONS"
_KEY_ENCODINGS = {
    "default": KeyEncoding("default", "/"),
    "v2": KeyEncoding("v2", "."),
}


class ArrayDocuments(NamedTuple):
    """``files``: contents by name, in the order in which they are to be written; whoever sees the
    last sees the array. ``metadata``: what the reader makes of them."""

    files: Mapping[str, bytes]
    metadata: ArrayMetadata


def array_documents(
    shape: Sequence[int],
    dtype: np.dtype,
    *,
    chunks: Sequence[int],
    shards: Sequence[int] | None = None,
    compressor: Any = "zstd",
    filters: Any = (),
    fill_value: Any = 0,
    attributes: Mapping[str, Any] | None = None,
    dimension_names: Sequence[str | None] | None = None,
    zarr_format: int = 3,
    key_encoding: str | KeyEncoding | None = None,
    order: str = "C",
) -> ArrayDocuments:
    """The documents of an array.

    Parameters
    ----------
    shape, dtype
        Of the array. Numbers are stored little endian.
    chunks
        Shape of what is encoded at once.
    shards
        Shape of what is stored in one object, a multiple of ``chunks``; v3 only.
    compressor
        None; a name (``"zstd"``, ``"blosc"``, ``"lz4"``, ``"gzip"``, ``"zlib"``, ``"bz2"``,
        ``"lzma"``, ``"pcodec"``) or ``"name:level"``; a mapping as in the metadata of either
        version; a codec of numcodecs or zarr-python; or several of these, in order of encoding.
    filters
        The same for what comes before: ``"delta"``, ``"shuffle"``, ``"fixedscaleoffset"``, ...
    fill_value
        Value of what is not stored.
    attributes
        JSON; NumPy's scalars and arrays become numbers and lists.
    dimension_names
        One name or None for each dimension. In v2 as xarray writes and reads them.
    zarr_format
        3 or 2.
    key_encoding
        How chunks are named: None (as each version does by itself), ``"default"`` or ``"v2"``, or
        the separator ``"/"`` or ``"."``.
    order
        ``"C"``, or ``"F"`` for chunks whose first dimension varies fastest.

    Raises
    ------
    ShapeError
        Chunks or shards that do not fit.
    DTypeError
        A dtype that this version cannot hold.
    DimensionError
        Names that do not fit.
    FormatError
        Everything else that the format cannot hold; it names the argument or key, and what is
        possible.

    Examples
    --------
    >>> found = array_documents((4, 6), np.dtype("u2"), chunks=(2, 3), zarr_format=2)
    >>> print(found.files[".zarray"].decode())
    {
      "zarr_format": 2,
      "shape": [4, 6],
      "chunks": [2, 3],
      "dtype": "<u2",
      "compressor": {"id": "zstd", "level": 1},
      "fill_value": 0,
      "order": "C",
      "filters": null,
      "dimension_separator": "."
    }
    """
    lengths = _extents(shape, "shape", least=0)
    cells = _cells(chunks, "chunks", lengths)
    whole = None if shards is None else _cells(shards, "shards", lengths)
    _check_layout(cells, whole, zarr_format, order)
    layout = _Layout(
        shape=lengths,
        dtype=plain_dtype(np.dtype(dtype)),
        chunks=cells,
        shards=whole,
        order=order,
        keys=_keys(key_encoding, zarr_format),
    )
    codecs = [*codecs_of(filters, "filters"), *codecs_of(compressor, "compressor")]
    names = _names(dimension_names, len(lengths))
    own = json_attributes(attributes)
    if zarr_format == 3:
        document = _document_v3(layout, codecs, fill_value, own, names)
        files = {"zarr.json": json_bytes(document)}
        metadata = parse_v3(parse_json(files["zarr.json"], "zarr.json"), "zarr.json")
        assert isinstance(metadata, ArrayMetadata)
    else:
        own = _with_names(own, names)
        files = {".zattrs": json_bytes(own)} if own else {}
        files[".zarray"] = json_bytes(
            _document_v2(layout, codecs, fill_value, compressed=compressor is not None)
        )
        metadata = parse_array_v2(parse_json(files[".zarray"], ".zarray"), own, ".zarray")
    object_encoder(metadata)
    return ArrayDocuments(files, metadata)


class _Layout(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    order: str
    keys: KeyEncoding


def _document_v3(
    layout: _Layout,
    codecs: list[Codec],
    fill_value: Any,
    attributes: dict[str, Any],
    names: list[str | None] | None,
) -> dict[str, Any]:
    data_type = dtype_v3(layout.dtype)
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(layout.shape),
        "data_type": data_type,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": list(layout.shards or layout.chunks)},
        },
        "chunk_key_encoding": {
            "name": layout.keys.kind,
            "configuration": {"separator": layout.keys.separator},
        },
        "fill_value": fill_json(fill_value, layout.dtype, 3),
        "codecs": _chain_v3(layout, codecs),
        "attributes": attributes,
    }
    if names is not None:
        document["dimension_names"] = names
    document["storage_transformers"] = []
    return document


def _chain_v3(layout: _Layout, codecs: list[Codec]) -> list[dict[str, Any]]:
    """The codecs, and around them those that say how values are laid out."""
    chain: list[dict[str, Any]] = []
    if layout.order == "F" and len(layout.chunks) > 1:
        turned = list(reversed(range(len(layout.chunks))))
        chain.append({"name": "transpose", "configuration": {"order": turned}})
    serialized = False
    for document in codecs_v3(codecs, layout.dtype):
        kind = codec_kind(document["name"], Site({}, "compressor or filters"))
        if kind == "bytes -> bytes" and not serialized:
            chain.append(_serializer(layout.dtype))
        serialized |= kind != "array -> array"
        chain.append(document)
    if not serialized:
        chain.append(_serializer(layout.dtype))
    if layout.shards is None:
        return chain
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    settings = {
        "chunk_shape": list(layout.chunks),
        "codecs": chain,
        "index_codecs": index,
        "index_location": "end",
    }
    return [{"name": "sharding_indexed", "configuration": settings}]


def _serializer(dtype: np.dtype) -> dict[str, Any]:
    if dtype.kind == "T":
        return {"name": "vlen-utf8"}
    if dtype.itemsize == 1 or dtype.kind == "S":
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}


def _document_v2(
    layout: _Layout, codecs: list[Codec], fill_value: Any, *, compressed: bool
) -> dict[str, Any]:
    """There is room for one compressor: those before it are written as filters, and mean the
    same."""
    chain = codecs_v2(codecs, layout.dtype)
    compressor = chain.pop() if compressed and chain else None
    if layout.dtype.kind == "T" and (not chain or chain[0]["id"] != "categorize"):
        chain.insert(0, {"id": "vlen-utf8"})
    return {
        "zarr_format": 2,
        "shape": list(layout.shape),
        "chunks": list(layout.chunks),
        "dtype": dtype_v2(layout.dtype),
        "compressor": compressor,
        "fill_value": fill_json(fill_value, layout.dtype, 2),
        "order": layout.order,
        "filters": chain or None,
        "dimension_separator": layout.keys.separator,
    }


def group_documents(
    attributes: Mapping[str, Any] | None = None, *, zarr_format: int = 3
) -> dict[str, bytes]:
    """The files of a group, by name, in the order in which they are to be written.

    >>> group_documents({"a": 1}, zarr_format=2)
    {'.zattrs': b'{\\n  "a": 1\\n}', '.zgroup': b'{\\n  "zarr_format": 2\\n}'}
    """
    own = json_attributes(attributes)
    if zarr_format == 3:
        document = {"zarr_format": 3, "node_type": "group", "attributes": own}
        return {"zarr.json": json_bytes(document)}
    _check_format(zarr_format)
    files = {".zattrs": json_bytes(own)} if own else {}
    return files | {".zgroup": json_bytes({"zarr_format": 2})}


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """A document as text: a line for each key, and what is below it in that line.

    >>> json_bytes({"shape": [1, 2]})
    b'{\\n  "shape": [1, 2]\\n}'
    """
    if not document:
        return b"{}"
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in document.items()]
    return "{{\n{}\n}}".format(",\n".join(lines)).encode()


def json_attributes(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Attributes as they will be read; ``FormatError`` for what JSON cannot hold.

    >>> json_attributes({"scale": np.array([0.5, 1])})
    {'scale': [0.5, 1.0]}
    """
    try:
        text = json.dumps(dict(attributes or {}), default=_plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(
            f"attributes: {error}; JSON has texts, finite numbers, true, false, null, lists and "
            "objects of these"
        ) from error
    found: dict[str, Any] = json.loads(text)
    return found


def _plain(value: object) -> Any:
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind in "biufUT":
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _check_format(zarr_format: int) -> None:
    if zarr_format not in (2, 3):
        raise FormatError(f"zarr_format: expected 2 or 3, found {zarr_format!r}")


def _extents(given: Sequence[Any], argument: str, least: int) -> tuple[int, ...]:
    found = tuple(given)
    for extent in found:
        if isinstance(extent, bool) or not isinstance(extent, int | np.integer) or extent < least:
            raise ShapeError(f"{argument}: expected integers from {least} on, found {found}")
    return tuple(int(extent) for extent in found)


def _cells(given: Sequence[int], argument: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    found = _extents(given, argument, least=1)
    if len(found) != len(shape):
        raise ShapeError(f"{argument}: {found} has another number of dimensions than {shape}")
    return found


def _check_layout(
    chunks: tuple[int, ...], shards: tuple[int, ...] | None, zarr_format: int, order: str
) -> None:
    _check_format(zarr_format)
    if order not in ("C", "F"):
        raise FormatError(f"order: expected 'C' or 'F', found {order!r}")
    if shards is None:
        return
    if zarr_format == 2:
        raise FormatError("shards: zarr v2 has none; write zarr_format=3, or larger chunks")
    if any(whole % size for whole, size in zip(shards, chunks, strict=True)):
        raise ShapeError(f"shards: {shards} is no multiple of the chunks {chunks}")


def _keys(given: str | KeyEncoding | None, zarr_format: int) -> KeyEncoding:
    usual = _KEY_ENCODINGS["default" if zarr_format == 3 else "v2"]
    found: KeyEncoding | None
    if given is None:
        found = usual
    elif isinstance(given, KeyEncoding):
        found = given
    elif given in ("/", "."):
        found = KeyEncoding(usual.kind, given)
    else:
        found = _KEY_ENCODINGS.get(given)
    kinds = ("default", "v2") if zarr_format == 3 else ("v2",)
    if found is None or found.kind not in kinds or found.separator not in ("/", "."):
        raise FormatError(f"key_encoding: expected {', '.join(kinds)}, '/' or '.', found {given!r}")
    return found


def _names(given: Sequence[str | None] | None, rank: int) -> list[str | None] | None:
    if given is None or (rank and all(name is None for name in given)):
        return None
    found = list(given)
    if len(found) != rank or not all(name is None or isinstance(name, str) for name in found):
        raise DimensionError(
            f"dimension_names: expected {rank} names or None, one per dimension, found {found}"
        )
    return found


def _with_names(attributes: dict[str, Any], names: list[str | None] | None) -> dict[str, Any]:
    """Names among the attributes of v2, which the format itself knows nothing of."""
    if names is None:
        return attributes
    stated = attributes.get(_XARRAY_NAMES, names)
    if stated != names:
        raise DimensionError(
            f"attributes: {_XARRAY_NAMES!r} says {stated}, and the dimensions are called {names}: "
            "leave the attribute out"
        )
    return {**attributes, _XARRAY_NAMES: names}
