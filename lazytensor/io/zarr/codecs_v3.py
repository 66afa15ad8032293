"""The ``codecs`` list of zarr v3 metadata to the layout of one stored object.

A list is: codecs from array to array, one from array to bytes (``bytes``, ``sharding_indexed`` and
others), and any number from bytes to bytes. An extension may be written as a bare string (since
v3.1), and may be skipped when it says ``"must_understand": false``.

Codecs of values before a shard apply to the values of its inner chunks one by one, so that a part
of the shard can still be read alone; those that need all values in order are refused there.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import prod
from typing import Any, Literal

import numpy as np

from lazytensor.errors import ChunkDecodeError, FormatError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.filters import AsTypeCodec, ElementwiseCodec, TransposeCodec, ValueCodec
from lazytensor.io.codec.pipeline import ByteChain, ChunkDecoder
from lazytensor.io.codec.site import Site
from lazytensor.io.codec.table import (
    Kind,
    array_codec,
    byte_codec,
    codec_kind,
    number_codec,
    text_reader,
)
from lazytensor.io.zarr.document import MAX_EXTENT, Fields, extension
from lazytensor.io.zarr.dtypes import parse_dtype_v3, stored_dtype
from lazytensor.io.zarr.fill_values import parse_fill_value
from lazytensor.io.zarr.layout import Layout, PlainLayout
from lazytensor.io.zarr.shard import ShardLayout
from lazytensor.io.zarr.shard_index import ShardIndex

__all__ = ["build_layout"]

_ENDIAN: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
_INDEX_LOCATIONS = ("end", "start")
_MOST_NESTED = 8
_TEXT = ("vlen-utf8", "numcodecs.vlen-utf8")


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


def _reshaped(settings: Fields, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that a ``reshape`` codec makes (zarr-extensions, ``codecs/reshape``).

    Each entry is an extent, the dimensions whose product it is, or -1 once for what remains.
    """
    entries = settings.items("shape")
    total = prod(shape)
    extents = [_extent(entry, shape, settings) for entry in entries]
    if extents.count(-1) == 1:
        known = -prod(extents)
        extents[extents.index(-1)] = total // known if known else -1
    dims = [dim for entry in entries if isinstance(entry, list) for dim in entry]
    if min(extents, default=1) < 1 or prod(extents) != total or dims != sorted(set(dims)):
        raise settings.wrong("shape", f"a shape of as many values as {shape}")
    for i, entry in enumerate(entries):
        # The dimensions that an extent is made of must be those whose values it numbers.
        if isinstance(entry, list) and entry:
            before, after = prod(shape[: entry[0]]), prod(shape[entry[-1] + 1 :])
            if (prod(extents[:i]), prod(extents[i + 1 :])) != (before, after):
                raise settings.wrong("shape", f"dimensions of {shape} in their places")
    return tuple(extents)


def _extent(entry: Any, shape: tuple[int, ...], settings: Fields) -> int:
    if type(entry) is int and (entry == -1 or 0 < entry < MAX_EXTENT):
        return entry
    if isinstance(entry, list) and all(type(d) is int and 0 <= d < len(shape) for d in entry):
        return prod(shape[d] for d in entry)
    raise settings.wrong("shape", f"extents, -1, or lists of dimensions of {shape}")


def _stored_dtype(dtype: np.dtype, settings: Fields) -> np.dtype:
    """The dtype in the byte order of a ``bytes`` codec; little endian where nothing is said."""
    endian = settings.choice("endian", ("little", "big"), "little")
    return stored_dtype(dtype, _ENDIAN[endian])


class _Encoding:
    """What the codecs of a list do to the values of a chunk, read from the first to the last.

    ``shape`` and ``dtype``: of the array that the next codec is given. ``axes``: its axis ``i`` is
    the chunk's axis ``axes[i]``. ``steps``: how values are decoded, in the order of encoding.

    A transpose is no step as long as it may trade places with those before it, which it may until
    one of them is ordered: then it is part of ``axes``, a view of the decoded chunk.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, steps: Iterable[ByteCodec]) -> None:
        self.chunk = shape
        self.values = dtype
        self.shape = shape
        self.dtype = dtype
        self.axes = tuple(range(len(shape)))
        self.steps: list[ByteCodec] = []
        self._ordered = self._reshaped = False
        for step in steps:
            self._add(step)

    def _add(self, codec: ByteCodec) -> None:
        self.steps.append(codec)
        if isinstance(codec, ValueCodec):
            self._ordered |= codec.ordered
            self.dtype = codec.stored
        else:
            self._ordered = True

    def site(self, settings: Fields) -> Site:
        """Where the next codec stands."""
        return Site(
            settings.document,
            settings.where,
            self.dtype,
            parse_type=parse_dtype_v3,
            parse_scalar=partial(parse_fill_value, zarr_format=3),
        )

    def array_codec(self, name: str, settings: Fields) -> None:
        """Add a codec from values to values."""
        if name in _TURNS:
            _TURNS[name](self, settings)
            return
        codec = array_codec(name, self.site(settings))
        if codec is None:
            return
        self._add(codec)
        if not isinstance(codec, ValueCodec):  # booleans that become bytes in one dimension
            self.shape = (codec.encoded_size(prod(self.shape)) or 0,)
            self.dtype = np.dtype(np.uint8)

    def _transpose(self, settings: Fields) -> None:
        order = _ordered(settings, len(self.shape))
        if self._ordered:
            self.steps.append(TransposeCodec(self.shape, order, self.dtype.itemsize))
        else:
            self.axes = tuple(self.axes[a] for a in order)
        self.shape = tuple(self.shape[a] for a in order)

    def _reshape(self, settings: Fields) -> None:
        """The same values in the same order; axes turned from here on are those of a new array."""
        self.shape = _reshaped(settings, self.shape)
        self._ordered = self._reshaped = True

    def serialize(self, name: str, settings: Fields, chain: tuple[ByteCodec, ...]) -> ChunkDecoder:
        """The decoder of chunks that a codec from values to bytes ends; ``chain`` comes before."""
        if (self.values.kind == "T") != (name in _TEXT):
            raise FormatError(f"{settings.where}: {name!r} does not encode {self.values}")
        if name in _TEXT and self.steps:
            raise FormatError(f"{settings.where}: {name!r} after {self.steps} is not supported")
        if name in _TEXT:
            reader = text_reader(name, self.site(settings))
            from lazytensor.io.codec.text import TextDecoder

            return TextDecoder(self.chunk, self.axes, ByteChain(chain), reader)
        if name == "bytes":
            stored = _stored_dtype(self.dtype, settings)
        else:
            # ``packbits`` packs little endian numbers; what pcodec holds has no byte order.
            stored = stored_dtype(self.dtype, "<") if name == "packbits" else self.dtype
            chain = (*chain, number_codec(name, self.site(settings)))
        if not self.steps:
            return ChunkDecoder(self.chunk, self.values, stored, self.axes, ByteChain(chain))
        if stored is not self.dtype:
            chain = (*chain, AsTypeCodec(name, self.dtype, stored))
        chain = (*chain, *reversed(self.steps))
        return ChunkDecoder(self.chunk, self.values, self.values, self.axes, ByteChain(chain))

    def shard_steps(self, where: str) -> tuple[ElementwiseCodec, ...]:
        """The steps, if each inner chunk of a shard behind them can take them alone."""
        steps = tuple(step for step in self.steps if isinstance(step, ElementwiseCodec))
        if self._reshaped:
            raise FormatError(f"{where}: 'sharding_indexed' after 'reshape' is not supported")
        if len(steps) < len(self.steps):
            raise FormatError(
                f"{where}: 'sharding_indexed' after {self.steps} is not supported: they leave open "
                "what a missing inner chunk holds; such codecs belong to the codecs of the shard"
            )
        return steps


_TURNS = {"transpose": _Encoding._transpose, "reshape": _Encoding._reshape}


def build_layout(
    codecs: list[Any],
    shape: tuple[int, ...],
    dtype: np.dtype,
    fill: np.ndarray,
    where: str,
    *,
    depth: int = 0,
    steps: tuple[ElementwiseCodec, ...] = (),
) -> Layout:
    """The layout of objects of ``shape`` and ``dtype`` encoded by ``codecs``.

    ``where`` names the list in errors (``FormatError``). ``steps``: codecs that the values went
    through before those of the list.
    """
    if depth > _MOST_NESTED:
        raise FormatError(f"{where}: shards nested more than {_MOST_NESTED} deep")
    encoding = _Encoding(shape, dtype, steps)
    serializer: tuple[str, Fields] | None = None
    chain: list[ByteCodec] = []
    for i, value in enumerate(codecs):
        name, settings, skippable = extension(value, f"{where}[{i}]")
        kind = _kind(name, settings, skippable=skippable)
        if kind == "bytes -> bytes":
            if serializer is None:
                raise FormatError(f"{where}[{i}]: {name!r} needs bytes; no codec makes them before")
            chain.append(
                byte_codec(name, settings.document, settings.where, zarr_format=3, dtype=dtype)
            )
        elif kind is not None and serializer is not None:
            raise FormatError(f"{where}[{i}]: {name!r} follows {serializer[0]!r}")
        elif kind == "array -> array":
            encoding.array_codec(name, settings)
        elif kind == "array -> bytes":
            serializer = name, settings
    if serializer is None:
        raise FormatError(f"{where}: expected a codec from array to bytes, found none")
    name, settings = serializer
    decoding = tuple(reversed(chain))
    if name != "sharding_indexed":
        return PlainLayout(encoding.serialize(name, settings, decoding))
    return _build_shard(settings, encoding, fill, ByteChain(decoding), depth)


def _kind(name: str, settings: Fields, *, skippable: bool) -> Kind | None:
    """What kind of codec it is; None for an unknown one that may be skipped."""
    try:
        return codec_kind(name, Site(settings.document, settings.where))
    except FormatError:
        if skippable:
            return None
        raise


def _build_shard(
    settings: Fields, encoding: _Encoding, fill: np.ndarray, outer: ByteChain, depth: int
) -> Layout:
    turned = encoding.shape
    steps = encoding.shard_steps(settings.where)
    inner_shape = settings.extents("chunk_shape", rank=len(turned), least=1)
    if any(n % k for n, k in zip(turned, inner_shape, strict=True)):
        raise settings.wrong("chunk_shape", f"divisors of the shard's shape {turned}")
    counts = tuple(n // k for n, k in zip(turned, inner_shape, strict=True))
    inner_fill = _through(steps, fill, settings.where)
    inner = build_layout(
        settings.items("codecs"),
        inner_shape,
        encoding.values,
        inner_fill,
        settings.at("codecs"),
        depth=depth + 1,
        steps=steps,
    )
    location = settings.choice("index_location", _INDEX_LOCATIONS, "end")
    index_dtype, index_chain = _index_codecs(settings)
    index = ShardIndex(counts, index_dtype, index_chain, at_start=location == "start")
    return ShardLayout(encoding.chunk, encoding.axes, inner, index, inner_fill, outer)


def _through(steps: tuple[ElementwiseCodec, ...], fill: np.ndarray, where: str) -> np.ndarray:
    """The fill value once it was encoded and decoded, as inner chunks that are not stored are."""
    stored = fill
    try:
        for step in steps:
            stored = step.encode_fill(stored)
        for step in reversed(steps):
            stored, encoded = np.empty((), step.decoded), stored
            step.convert(encoded.reshape(1), stored.reshape(1))
    except ChunkDecodeError as error:
        raise FormatError(f"{where}: the fill value cannot be encoded: {error}") from error
    stored.flags.writeable = False
    return stored


def _index_codecs(settings: Fields) -> tuple[np.dtype, ByteChain]:
    """Byte order and checksums of a shard index; its stored size must be known in advance."""
    from lazytensor.io.codec.checksums import Crc32cCodec

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
