"""Metadata documents of zarr v2 and v3 to what a reader needs of them.

Everything a file states is checked here, once, and with the name of file and key: whatever comes
after can rely on shapes that fit, codecs that exist and fill values of the right type.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.zarr.codecs_v3 import build_layout
from lazytensor.io.zarr.document import Fields, extension
from lazytensor.io.zarr.dtypes import parse_dtype_v2, parse_dtype_v3
from lazytensor.io.zarr.fill_values import parse_fill_value
from lazytensor.io.zarr.grids import (
    CellGrid,
    Cells,
    common_shape,
    nominal_shape,
    parse_rectilinear,
)
from lazytensor.io.zarr.keys import KeyEncoding
from lazytensor.io.zarr.layout import Layout, PlainLayout
from lazytensor.plan.edges import Edges

__all__ = ["ArrayMetadata", "GroupMetadata", "parse_array_v2", "parse_group", "parse_v3"]

_NODE_KEYS = frozenset(("zarr_format", "node_type", "attributes"))
_GROUP_KEYS = _NODE_KEYS | {"consolidated_metadata"}
_ARRAY_KEYS = _NODE_KEYS | {
    "shape",
    "data_type",
    "chunk_grid",
    "chunk_key_encoding",
    "codecs",
    "fill_value",
    "dimension_names",
    "storage_transformers",
}


class ArrayMetadata(NamedTuple):
    """A zarr array as its metadata describes it.

    ``zarr_format``: 2 or 3, None for N5, the name of another format that is read in the same way.
    ``chunk_shape``: of a stored object (a shard, where there
    are any). ``layout``: how to read one. ``grid``: None where all objects are like that one; else
    the grid they lie in, and ``chunk_shape`` and ``layout`` are those of the largest. ``dtype``: of
    the values, in the machine's byte order. ``fill_value``: 0-d, read only.
    """

    zarr_format: int | str | None
    shape: tuple[int, ...]
    dtype: np.dtype
    chunk_shape: tuple[int, ...]
    keys: KeyEncoding
    layout: Layout
    fill_value: np.ndarray
    dimension_names: tuple[str | None, ...] | None
    order: str
    codecs: tuple[Any, ...]
    attributes: Mapping[str, Any]
    document: Mapping[str, Any]
    grid: CellGrid | None = None

    @property
    def format(self) -> str:
        """Name of the format, for people."""
        return _format_name(self.zarr_format)

    @property
    def read_cells(self) -> tuple[Cells, ...]:
        """The cells that can be read alone, per dimension.

        Inner chunks divide every shard, so that they form a regular grid also where shards do not.
        """
        stored = self.chunk_shape if self.grid is None else self.grid.dims
        return tuple(
            cells if size == whole else size
            for size, whole, cells in zip(self.layout.grain, self.chunk_shape, stored, strict=True)
        )

    @property
    def cells_together(self) -> tuple[int, ...]:
        """How many of the cells lie in one object, per dimension; 1 where that differs."""
        if self.grid is not None:
            return (1,) * len(self.shape)
        pairs = zip(self.chunk_shape, self.layout.grain, strict=True)
        return tuple(whole // size for whole, size in pairs)

    def locate(self, at: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...], Layout]:
        """Number of the object that holds a position, the position in it, and its layout."""
        if self.grid is not None:
            return self.grid.locate(at)
        found = [divmod(p, size) for p, size in zip(at, self.chunk_shape, strict=True)]
        return tuple(i for i, _ in found), tuple(p for _, p in found), self.layout

    @property
    def counts(self) -> tuple[int, ...]:
        """How many objects there are places for, per dimension."""
        if self.grid is not None:
            return self.grid.counts(self.shape)
        return tuple(-(-n // size) for n, size in zip(self.shape, self.chunk_shape, strict=True))


class GroupMetadata(NamedTuple):
    """A group; ``consolidated`` maps paths below it to documents, None if there are none.

    ``zarr_format``: 2 or 3, None for N5.
    """

    zarr_format: int | str | None
    attributes: Mapping[str, Any]
    document: Mapping[str, Any]
    consolidated: Mapping[str, Mapping[str, Any]] | None = None

    @property
    def format(self) -> str:
        """Name of the format, for people."""
        return _format_name(self.zarr_format)


def _format_name(zarr_format: int | str | None) -> str:
    if isinstance(zarr_format, str):
        return zarr_format
    return "n5" if zarr_format is None else f"zarr v{zarr_format}"


def parse_v3(document: Mapping[str, Any], where: str) -> ArrayMetadata | GroupMetadata:
    """The array or group of a ``zarr.json``; ``FormatError`` or ``DTypeError`` naming ``where``."""
    fields = Fields(document, where)
    if document.get("zarr_format") != 3 or isinstance(document["zarr_format"], float):
        raise fields.wrong("zarr_format", "3")
    kind = fields.choice("node_type", ("array", "group"), "")
    _refuse_unknown(fields, _ARRAY_KEYS if kind == "array" else _GROUP_KEYS)
    return _parse_array_v3(fields) if kind == "array" else parse_group(document, where, 3)


def _refuse_unknown(fields: Fields, known: frozenset[str]) -> None:
    for key, value in fields.document.items():
        if key not in known and not (
            isinstance(value, dict) and value.get("must_understand") is False
        ):
            raise FormatError(
                f"{fields.at(key)}: this key is unknown and does not say that it may be ignored"
            )


def parse_group(document: Mapping[str, Any], where: str, zarr_format: int) -> GroupMetadata:
    """The group of a ``zarr.json``, or of a ``.zgroup`` to which attributes were added."""
    fields = Fields(document, where)
    consolidated = None
    if document.get("consolidated_metadata") is not None:
        inline = fields.fields("consolidated_metadata")
        ignored = inline.document.get("must_understand") is False
        if not ignored or inline.document.get("kind", "inline") == "inline":
            inline.choice("kind", ("inline",), "inline")
            consolidated = dict(inline.fields("metadata").document)
            for path in consolidated:
                inline.fields("metadata").fields(path)
    attributes = fields.fields("attributes", optional=True).document
    return GroupMetadata(zarr_format, attributes, document, consolidated)


def _parse_array_v3(fields: Fields) -> ArrayMetadata:
    shape = fields.extents("shape")
    dtype = parse_dtype_v3(fields.get("data_type"), fields.at("data_type"))
    fill = parse_fill_value(fields.get("fill_value"), dtype, fields.at("fill_value"), zarr_format=3)
    for i, value in enumerate(fields.items("storage_transformers", optional=True)):
        name, _, skippable = extension(value, f"{fields.at('storage_transformers')}[{i}]")
        if not skippable:
            raise FormatError(
                f"{fields.at('storage_transformers')}[{i}]: {name!r} is not supported"
            )
    cells = _parse_cells(fields, shape)
    chunk_shape = nominal_shape(cells)
    codecs = fields.items("codecs")
    build = partial(build_layout, codecs, dtype=dtype, fill=fill, where=fields.at("codecs"))
    layout = build(chunk_shape)
    varied = any(isinstance(dim, Edges) for dim in cells)
    if varied and layout.is_sharded:
        build(common_shape(cells))  # refuses inner chunks that do not divide every shard
    return ArrayMetadata(
        zarr_format=3,
        shape=shape,
        dtype=dtype,
        chunk_shape=chunk_shape,
        keys=_parse_keys(fields),
        layout=layout,
        fill_value=fill,
        dimension_names=_parse_names(fields, "dimension_names", len(shape)),
        order="C",
        codecs=tuple(codecs),
        attributes=fields.fields("attributes", optional=True).document,
        document=fields.document,
        grid=CellGrid(cells, build) if varied else None,
    )


def _parse_cells(fields: Fields, shape: tuple[int, ...]) -> tuple[Cells, ...]:
    """The chunk grid: cells per dimension."""
    where = fields.at("chunk_grid")
    name, settings, _ = extension(fields.get("chunk_grid"), where)
    if name == "regular":
        return settings.extents("chunk_shape", rank=len(shape), least=1)
    if name == "rectilinear":
        return parse_rectilinear(settings, shape)
    raise FormatError(f"{where}: grid {name!r} is not supported; known: regular, rectilinear")


def _parse_keys(fields: Fields) -> KeyEncoding:
    where = fields.at("chunk_key_encoding")
    name, settings, _ = extension(fields.get("chunk_key_encoding"), where)
    if name not in ("default", "v2"):
        raise FormatError(f"{where}: encoding {name!r} is not supported; known: default, v2")
    separator = settings.choice("separator", ("/", "."), "/" if name == "default" else ".")
    return KeyEncoding(name, separator)


def _parse_names(fields: Fields, key: str, rank: int) -> tuple[str | None, ...] | None:
    if fields.document.get(key) is None:
        return None
    names = fields.items(key)
    if len(names) != rank or not all(name is None or isinstance(name, str) for name in names):
        raise fields.wrong(key, f"{rank} names (or null), one per dimension")
    return tuple(names)


def _xarray_names(
    attributes: Mapping[str, Any], rank: int, where: str
) -> tuple[str | None, ...] | None:
    """Names as xarray notes them among the attributes of v2, which the format knows nothing of.

    Others use the key with another meaning (NCZarr gives scalars one dimension and no name), so
    that what does not fit is passed over.
    """
    try:
        return _parse_names(Fields(attributes, where), "_ARRAY_DIMENSIONS", rank)
    except FormatError as error:
        warnings.warn(f"{error}; the dimensions have no names", UserWarning, stacklevel=2)
        return None


def _object_codec(fields: Fields) -> str | None:
    """Id of the filter that made bytes of objects: the first one, where there is any."""
    first = next(iter(fields.items("filters", optional=True)), None)
    name = first.get("id") if isinstance(first, dict) else None
    return name if isinstance(name, str) else None


def parse_array_v2(
    document: Mapping[str, Any], attributes: Mapping[str, Any], where: str
) -> ArrayMetadata:
    """The array of a ``.zarray`` and a ``.zattrs``; ``FormatError`` or ``DTypeError``."""
    from lazytensor.io.zarr.codecs_v2 import build_decoder, encoding_steps

    fields = Fields(document, where)
    if document.get("zarr_format") != 2 or isinstance(document["zarr_format"], float):
        raise fields.wrong("zarr_format", "2")
    shape = fields.extents("shape")
    chunks = fields.extents("chunks", rank=len(shape))
    if any(not size and extent for size, extent in zip(chunks, shape, strict=True)):
        raise fields.wrong("chunks", "positive integers")
    chunk_shape = tuple(size or 1 for size in chunks)
    described = parse_dtype_v2(
        fields.get("dtype"), fields.at("dtype"), object_codec=_object_codec(fields)
    )
    fill = parse_fill_value(
        document.get("fill_value"), described, fields.at("fill_value"), zarr_format=2
    )
    order = fields.choice("order", ("C", "F"), "C")
    rank = len(shape)
    axes = tuple(range(rank)) if order == "C" else tuple(reversed(range(rank)))
    decoder = build_decoder(fields, chunk_shape, described, axes)
    names = _xarray_names(attributes, rank, where)
    return ArrayMetadata(
        zarr_format=2,
        shape=shape,
        dtype=decoder.dtype,
        chunk_shape=chunk_shape,
        keys=KeyEncoding("v2", fields.choice("dimension_separator", ("/", "."), ".")),
        layout=PlainLayout(decoder),
        fill_value=fill,
        dimension_names=names,
        order=order,
        codecs=tuple(step.document for step in encoding_steps(fields)),
        attributes=attributes,
        document=document,
    )
