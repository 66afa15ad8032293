"""N5: zarr's older relative, read as if it were zarr.

The differences are small and all here. One file ``attributes.json`` holds attributes and, for an
array, its metadata. Blocks are named by their numbers in the order in which the dimensions are
listed, and each begins with a header that says its own extents: a block at the edge of the array
may be cut off there, or be padded.

**Order of dimensions.** N5 lists the dimension that changes fastest first. A tensor has them the
other way round, slowest first, as zarr-python's N5 store, z5py and h5py have it: an image with the
dimensions ``[x, y, z]`` has the shape ``(z, y, x)``, and a block is an ordinary C-contiguous one.
(TensorStore and zarr-n5 keep the order in which they are listed.)

Rule: the file-system specification in the README of saalfeldlab/n5.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from lazytensor.errors import ChunkDecodeError, DTypeError, FormatError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.lz4_blocks import Lz4BlocksCodec
from lazytensor.io.codec.pipeline import ByteChain, ChunkDecoder
from lazytensor.io.codec.table import byte_codec
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, Store, StoredObject
from lazytensor.io.zarr.document import Fields
from lazytensor.io.zarr.grids import CellGrid
from lazytensor.io.zarr.keys import KeyEncoding
from lazytensor.io.zarr.layout import Where, stored_bytes
from lazytensor.io.zarr.metadata import ArrayMetadata, GroupMetadata
from lazytensor.plan.clock import decoding
from lazytensor.plan.counters import count
from lazytensor.plan.source import window

__all__ = ["N5Layout", "parse_n5"]

_ARRAY_KEYS = ("dimensions", "blockSize", "dataType")
_OWN_KEYS = frozenset((*_ARRAY_KEYS, "compression", "compressionType", "n5"))
_DTYPES = tuple(f"{kind}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64))
_DTYPES += ("float32", "float64")
_MOST_BLOCK_EXTENT = 1 << 31
_MOST_HEADER = 8
_DEFAULT, _VARYING = 0, 1


def _named(name: str) -> Callable[[Fields], tuple[ByteCodec, ...]]:
    """A compression that is a codec of zarr."""
    return lambda settings: (byte_codec(name, settings.document, settings.where, zarr_format=2),)


def _gzip(settings: Fields) -> tuple[ByteCodec, ...]:
    name = "zlib" if settings.document.get("useZlib") is True else "gzip"
    return _named(name)(settings)


_COMPRESSIONS: dict[str, Callable[[Fields], tuple[ByteCodec, ...]]] = {
    "raw": lambda settings: (),
    "gzip": _gzip,
    "bzip2": _named("bz2"),
    "xz": _named("lzma"),
    "lz4": lambda settings: (Lz4BlocksCodec(),),
    "blosc": _named("blosc"),
    "zstd": _named("zstd"),
}


def parse_n5(document: Mapping[str, Any], where: str) -> ArrayMetadata | GroupMetadata:
    """The array or group of an ``attributes.json``.

    Raises ``FormatError`` or ``DTypeError`` naming ``where`` and the key.

    >>> meta = parse_n5({"dimensions": [5, 3], "blockSize": [2, 2], "dataType": "uint16",
    ...     "compression": {"type": "raw"}, "unit": "nm"}, "attributes.json")
    >>> meta.shape, meta.keys.key((1, 2)), dict(meta.attributes)
    ((3, 5), '2/1', {'unit': 'nm'})
    """
    fields = Fields(document, where)
    attributes = {key: value for key, value in document.items() if key not in _OWN_KEYS}
    if not any(key in document for key in _ARRAY_KEYS):
        return GroupMetadata(None, attributes, document)
    listed = fields.extents("dimensions")
    if not listed:
        raise fields.wrong("dimensions", "at least one dimension")
    blocks = fields.extents("blockSize", rank=len(listed), least=1)
    if max(blocks) > _MOST_BLOCK_EXTENT:
        raise fields.wrong("blockSize", f"extents up to {_MOST_BLOCK_EXTENT}")
    dtype = _parse_dtype(fields)
    compression = _compression(fields)
    chain = ByteChain(_codecs(compression))
    shape, block_shape = tuple(reversed(listed)), tuple(reversed(blocks))
    layout = N5Layout(block_shape, dtype, chain)
    return ArrayMetadata(
        zarr_format=None,
        shape=shape,
        dtype=dtype,
        chunk_shape=block_shape,
        keys=KeyEncoding("n5", "/"),
        layout=layout,
        fill_value=layout.fill,
        dimension_names=_names(attributes, len(shape)),
        order="C",
        codecs=(compression.document,) if chain.codecs else (),
        attributes=attributes,
        document=document,
        grid=CellGrid(block_shape, layout.of_shape),
    )


def _parse_dtype(fields: Fields) -> np.dtype:
    name = fields.text("dataType")
    if name not in _DTYPES:
        raise DTypeError(
            f"{fields.at('dataType')}: {name!r} is not supported; known: {', '.join(_DTYPES)}"
        )
    return np.dtype(name)


def _compression(fields: Fields) -> Fields:
    """The description of the compression; before version 1 of the format it was only a name."""
    if "codecs" in fields.document:
        raise FormatError(f"{fields.at('codecs')}: N5 arrays in shards are not supported")
    if "compression" in fields.document:
        return fields.fields("compression")
    return Fields({"type": fields.text("compressionType")}, fields.at("compressionType"))


def _codecs(compression: Fields) -> tuple[ByteCodec, ...]:
    name = compression.text("type")
    make = _COMPRESSIONS.get(name)
    if make is None:
        raise FormatError(
            f"{compression.at('type')}: compression {name!r} is not supported; known: "
            f"{', '.join(_COMPRESSIONS)}"
        )
    return make(compression)


def _names(attributes: Mapping[str, Any], rank: int) -> tuple[str | None, ...] | None:
    """Dimension names as xarray and zarr-python's N5 store leave them, slowest first."""
    names = attributes.get("_ARRAY_DIMENSIONS")
    if not isinstance(names, list) or len(names) != rank:
        return None
    return tuple(names) if all(name is None or isinstance(name, str) for name in names) else None


class N5Layout:
    """One block: its own extents, then its values, compressed and big endian.

    ``shape``: of a full block, slowest dimension first. What a shorter block does not hold is zero,
    as for TensorStore and N5's own reader.
    """

    is_sharded = False

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, chain: ByteChain) -> None:
        self.shape = shape
        self.grain = shape
        self.dtype = dtype
        self.chain = chain
        self.fill = np.zeros((), dtype)
        self.fill.flags.writeable = False
        self._full = self._decoder(shape)
        self.most = _MOST_HEADER + 4 * len(shape) + self._full.most_stored()

    def _decoder(self, shape: tuple[int, ...]) -> ChunkDecoder:
        stored = self.dtype.newbyteorder(">")
        same = self.dtype if stored == self.dtype else stored
        return ChunkDecoder(shape, self.dtype, same, tuple(range(len(shape))), self.chain)

    def of_shape(self, shape: tuple[int, ...]) -> N5Layout:
        """The layout itself: blocks state their extents."""
        return self

    def read(
        self, store: Store, key: str, where: Where, place: np.ndarray, scratch: Scratch
    ) -> bool:
        """Read and decode the block."""
        data = stored_bytes(store, key, self.most, scratch)
        if data is None:
            return False
        count("bytes_read", len(data))
        self.read_buffer(data, where, place, scratch)
        return True

    def read_buffer(self, data: Buffer, where: Where, place: np.ndarray, scratch: Scratch) -> None:
        """Decode."""
        shape, start = self._header(data)
        decoder = self._full if shape == self.shape else self._decoder(shape)
        held = tuple(
            slice(part.start, min(part.stop, n), part.step)
            for part, n in zip(where, shape, strict=True)
        )
        spot = tuple(slice(0, len(range(n)[part])) for part, n in zip(held, shape, strict=True))
        inside = window(place, spot)
        if inside.shape != place.shape:
            place[...] = self.fill
        if inside.size:
            with decoding():
                decoder.decode_into(memoryview(data)[start:], held, inside, scratch)
        count("bytes_decoded", decoder.nbytes)
        count("units_read")

    def _header(self, data: Buffer) -> tuple[tuple[int, ...], int]:
        """Extents of a block, slowest dimension first, and where its values begin."""
        rank = len(self.shape)
        size = 4 + 4 * rank
        if len(data) < size:
            raise ChunkDecodeError(f"n5: expected a header of {size} bytes, found {len(data)}")
        mode, dims = struct.unpack_from(">HH", data)
        if mode not in (_DEFAULT, _VARYING) or dims != rank:
            raise ChunkDecodeError(
                f"n5: expected a block of mode 0 or 1 with {rank} dimensions, found mode {mode} "
                f"with {dims}"
            )
        shape = struct.unpack_from(f">{rank}I", data, 4)[::-1]
        if not all(0 < n <= most for n, most in zip(shape, self.shape, strict=True)):
            raise ChunkDecodeError(f"n5: a block of {shape}, where the array has {self.shape}")
        return shape, size if mode == _DEFAULT else self._after_count(data, shape, size)

    @staticmethod
    def _after_count(data: Buffer, shape: tuple[int, ...], size: int) -> int:
        """Where the values begin behind a number of elements, which must be that of the extents."""
        if len(data) < size + 4:
            raise ChunkDecodeError(f"n5: expected a header of {size + 4} bytes, found {len(data)}")
        (elements,) = struct.unpack_from(">I", data, size)
        expected = int(np.prod(shape, dtype=object))
        if elements != expected:
            raise ChunkDecodeError(
                f"n5: expected {expected} elements in a block of {shape}, found {elements}"
            )
        return size + 4

    def read_part(
        self,
        whole: StoredObject,
        key: Hashable,
        where: Where,
        place: np.ndarray,
        scratch: Scratch,
        store: Store | None,
    ) -> None:
        """Read the whole block through its handle and decode it."""
        count("bytes_read", whole.size)
        self.read_buffer(whole.read(0, whole.size, scratch), where, place, scratch)
