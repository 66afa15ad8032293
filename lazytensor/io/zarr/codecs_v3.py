"""The ``codecs`` list of zarr v3 metadata to the layout of one stored object.

A list is: codecs from array to array (only ``transpose`` here), one from array to bytes (``bytes``
or ``sharding_indexed``), and any number from bytes to bytes. An extension may be written as a bare
string (since v3.1), and may be skipped when it says ``"must_understand": false``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from lazytensor.errors import FormatError
from lazytensor.io.codec.bytecodec import ByteCodec, Crc32cCodec
from lazytensor.io.codec.pipeline import ByteChain, ChunkDecoder
from lazytensor.io.codec.table import BYTE_CODECS, byte_codec
from lazytensor.io.zarr.document import Fields
from lazytensor.io.zarr.layout import Layout, PlainLayout, ShardLayout
from lazytensor.io.zarr.shard_index import ShardIndex

__all__ = ["build_layout", "extension"]

_ENDIAN: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
_INDEX_LOCATIONS = ("end", "start")
_MOST_NESTED = 8


def extension(value: Any, where: str) -> tuple[str, Fields, bool]:
    """Name, configuration and "may be skipped" of an extension point in the metadata.

    >>> name, settings, skippable = extension("crc32c", "zarr.json: codecs[1]")
    >>> name, dict(settings.document), skippable
    ('crc32c', {}, False)
    """
    if isinstance(value, str):
        return value, Fields({}, where), False
    if not isinstance(value, dict):
        raise FormatError(f"{where}: expected a name or an object with a name, found {value!r:.60}")
    fields = Fields(value, where)
    skippable = value.get("must_understand") is False
    return fields.text("name"), fields.fields("configuration", optional=True), skippable


def _ordered(settings: Fields, rank: int) -> tuple[int, ...]:
    """The permutation of a transpose codec (``"C"`` and ``"F"`` are of an early draft)."""
    order = settings.document.get("order")
    named = {"C": list(range(rank)), "F": list(range(rank))[::-1]}
    found = named.get(order) if isinstance(order, str) else order
    if (
        not isinstance(found, list)
        or not all(type(a) is int for a in found)
        or sorted(found) != list(range(rank))
    ):
        raise settings.wrong("order", f"a permutation of 0 to {rank - 1}")
    return tuple(found)


def _stored_dtype(dtype: np.dtype, settings: Fields) -> np.dtype:
    """The dtype in the byte order of a ``bytes`` codec; little endian where nothing is said."""
    endian = settings.choice("endian", ("little", "big"), "little")
    if dtype.itemsize == 1 or dtype.num == np.dtype("V").num:
        return dtype
    stored = dtype.newbyteorder(_ENDIAN[endian])
    return dtype if stored == dtype else stored


def build_layout(
    codecs: list[Any],
    shape: tuple[int, ...],
    dtype: np.dtype,
    fill: np.ndarray,
    where: str,
    *,
    depth: int = 0,
) -> Layout:
    """The layout of objects of ``shape`` and ``dtype`` encoded by ``codecs``.

    ``where`` names the list in errors (``FormatError``).
    """
    if depth > _MOST_NESTED:
        raise FormatError(f"{where}: shards nested more than {_MOST_NESTED} deep")
    axes = tuple(range(len(shape)))
    serializer: tuple[str, Fields] | None = None
    byte_codecs: list[ByteCodec] = []
    for i, value in enumerate(codecs):
        name, settings, skippable = extension(value, f"{where}[{i}]")
        if name in ("bytes", "sharding_indexed"):
            if serializer is not None:
                raise FormatError(f"{where}[{i}]: {name!r} follows {serializer[0]!r}")
            serializer = name, settings
        elif name == "transpose":
            if serializer is not None:
                raise FormatError(f"{where}[{i}]: 'transpose' follows {serializer[0]!r}")
            axes = tuple(axes[a] for a in _ordered(settings, len(shape)))
        elif skippable and name.removeprefix("numcodecs.") not in BYTE_CODECS:
            continue
        else:
            codec = byte_codec(name, settings.document, settings.where, zarr_format=3)
            if serializer is None:
                raise FormatError(f"{where}[{i}]: {name!r} needs bytes; no codec makes them before")
            byte_codecs.append(codec)
    if serializer is None:
        raise FormatError(f"{where}: expected a codec from array to bytes, found none")
    chain = ByteChain(tuple(reversed(byte_codecs)))
    name, settings = serializer
    if name == "bytes":
        stored = _stored_dtype(dtype, settings)
        return PlainLayout(ChunkDecoder(shape, dtype, stored, axes, chain))
    return _build_shard(settings, shape, axes, dtype, fill, chain, depth)


def _build_shard(
    settings: Fields,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    dtype: np.dtype,
    fill: np.ndarray,
    outer: ByteChain,
    depth: int,
) -> Layout:
    turned = tuple(shape[a] for a in axes)
    inner_shape = settings.extents("chunk_shape", rank=len(shape), least=1)
    if any(n % k for n, k in zip(turned, inner_shape, strict=True)):
        raise settings.wrong("chunk_shape", f"divisors of the shard's shape {turned}")
    counts = tuple(n // k for n, k in zip(turned, inner_shape, strict=True))
    inner = build_layout(
        settings.items("codecs"),
        inner_shape,
        dtype,
        fill,
        settings.at("codecs"),
        depth=depth + 1,
    )
    location = settings.choice("index_location", _INDEX_LOCATIONS, "end")
    index_dtype, index_chain = _index_codecs(settings)
    index = ShardIndex(counts, index_dtype, index_chain, at_start=location == "start")
    return ShardLayout(shape, axes, inner, index, fill, outer)


def _index_codecs(settings: Fields) -> tuple[np.dtype, ByteChain]:
    """Byte order and checksums of a shard index; its stored size must be known in advance."""
    if "index_codecs" not in settings.document:
        return np.dtype("<u8"), ByteChain((Crc32cCodec(),))
    where = settings.at("index_codecs")
    dtype: np.dtype | None = None
    checks: list[ByteCodec] = []
    for i, value in enumerate(settings.items("index_codecs")):
        name, inner, _ = extension(value, f"{where}[{i}]")
        if name == "bytes" and dtype is None:
            dtype = np.dtype(f"{_ENDIAN[inner.choice('endian', ('little', 'big'), 'little')]}u8")
        elif name == "crc32c" and dtype is not None:
            checks.append(Crc32cCodec())
        else:
            raise FormatError(f"{where}[{i}]: expected 'bytes', then 'crc32c', found {name!r}")
    if dtype is None:
        raise FormatError(f"{where}: expected the codec 'bytes', found none")
    return dtype, ByteChain(tuple(checks))
