"""Metadata documents of zarr v2 and v3 to what a reader needs of them.

Everything a file states is checked here, once, and with the name of file and key: whatever comes
after can rely on shapes that fit, codecs that exist and fill values of the right type.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.pipeline import ByteChain, ChunkDecoder
from lazytensor.io.codec.table import byte_codec
from lazytensor.io.zarr.codecs_v3 import build_layout, extension
from lazytensor.io.zarr.document import Fields
from lazytensor.io.zarr.dtypes import parse_dtype_v2, parse_dtype_v3, parse_fill_value
from lazytensor.io.zarr.keys import KeyEncoding
from lazytensor.io.zarr.layout import Layout, PlainLayout

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


@dataclass(frozen=True, slots=True)
class ArrayMetadata:
    """A zarr array as its metadata describes it.

    ``chunk_shape``: of a stored object (a shard, where there are any). ``layout``: how to read one.
    ``dtype``: of the values, in the machine's byte order. ``fill_value``: 0-d, read only.
    """

    zarr_format: int
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


@dataclass(frozen=True, slots=True)
class GroupMetadata:
    """A zarr group; ``consolidated`` maps paths below it to documents, None if there are none."""

    zarr_format: int
    attributes: Mapping[str, Any]
    document: Mapping[str, Any]
    consolidated: Mapping[str, Mapping[str, Any]] | None = None


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
    if fields.items("storage_transformers", optional=True):
        raise fields.wrong("storage_transformers", "an empty list")
    name, settings, _ = extension(fields.get("chunk_grid"), fields.at("chunk_grid"))
    if name != "regular":
        raise FormatError(f"{fields.at('chunk_grid')}: grid {name!r} is not supported")
    chunk_shape = settings.extents("chunk_shape", rank=len(shape), least=1)
    codecs = fields.items("codecs")
    return ArrayMetadata(
        zarr_format=3,
        shape=shape,
        dtype=dtype,
        chunk_shape=chunk_shape,
        keys=_parse_keys(fields),
        layout=build_layout(codecs, chunk_shape, dtype, fill, fields.at("codecs")),
        fill_value=fill,
        dimension_names=_parse_names(fields, "dimension_names", len(shape)),
        order="C",
        codecs=tuple(codecs),
        attributes=fields.fields("attributes", optional=True).document,
        document=fields.document,
    )


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


def parse_array_v2(
    document: Mapping[str, Any], attributes: Mapping[str, Any], where: str
) -> ArrayMetadata:
    """The array of a ``.zarray`` and a ``.zattrs``; ``FormatError`` or ``DTypeError``."""
    fields = Fields(document, where)
    if document.get("zarr_format") != 2 or isinstance(document["zarr_format"], float):
        raise fields.wrong("zarr_format", "2")
    shape = fields.extents("shape")
    chunks = fields.extents("chunks", rank=len(shape))
    if any(not size and extent for size, extent in zip(chunks, shape, strict=True)):
        raise fields.wrong("chunks", "positive integers")
    chunk_shape = tuple(size or 1 for size in chunks)
    stored = parse_dtype_v2(fields.get("dtype"), fields.at("dtype"))
    dtype = stored if stored.isnative else stored.newbyteorder("=")
    fill = parse_fill_value(
        document.get("fill_value"), dtype, fields.at("fill_value"), zarr_format=2
    )
    order = fields.choice("order", ("C", "F"), "C")
    rank = len(shape)
    axes = tuple(range(rank)) if order == "C" else tuple(reversed(range(rank)))
    settings = _codecs_v2(fields)
    decoder = ChunkDecoder(
        chunk_shape,
        dtype,
        dtype if stored == dtype else stored,
        axes,
        ByteChain(tuple(codec for codec, _ in reversed(settings))),
    )
    names = _parse_names(Fields(attributes, where), "_ARRAY_DIMENSIONS", rank)
    return ArrayMetadata(
        zarr_format=2,
        shape=shape,
        dtype=dtype,
        chunk_shape=chunk_shape,
        keys=KeyEncoding("v2", fields.choice("dimension_separator", ("/", "."), ".")),
        layout=PlainLayout(decoder),
        fill_value=fill,
        dimension_names=names,
        order=order,
        codecs=tuple(text for _, text in settings),
        attributes=attributes,
        document=document,
    )


def _codecs_v2(fields: Fields) -> list[tuple[ByteCodec, Any]]:
    """Filters and compressor in the order of encoding, each with its description."""
    steps = fields.objects("filters", optional=True)
    if fields.document.get("compressor") is not None:
        steps.append(fields.fields("compressor"))
    return [
        (byte_codec(step.text("id"), step.document, step.where, zarr_format=2), step.document)
        for step in steps
    ]
