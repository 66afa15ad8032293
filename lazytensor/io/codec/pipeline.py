"""From the stored bytes of one chunk to its values in the destination.

A ``ChunkDecoder`` is a chain of byte decoders and a memory layout (dtype with byte order, and the
order in which the axes were stored). The last byte decoder writes straight into the destination
when the destination is one whole chunk in exactly that layout; otherwise it writes into the
thread's scratch, and one strided assignment turns, swaps and crops the values in the same pass.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.bytecodec import ByteCodec
from lazytensor.io.codec.small import value_mask
from lazytensor.io.scratch import STAGE_A, STAGE_B, Scratch
from lazytensor.io.store import Buffer

__all__ = ["MOST_CHUNK_BYTES", "ByteChain", "ChunkDecoder"]

MOST_CHUNK_BYTES = 1 << 40
"""A chunk that claims to decode to more is refused before anything is allocated."""

_SLOTS = (STAGE_A, STAGE_B)
_Size = tuple[int, bool]


class ByteChain:
    """Byte decoders in the order of decoding, the last of which must yield a known size.

    From that size the sizes before it follow: exactly, as far back as the codecs encode to a fixed
    size (filters, checksums), and as an upper bound before that.
    """

    __slots__ = ("_sizes", "_slots", "codecs")

    def __init__(self, codecs: tuple[ByteCodec, ...]) -> None:
        self.codecs = codecs
        self._slots = tuple(_slots_of(codecs))
        # Nearly always all chunks decode to one size. Replaced as a whole: threads may race.
        self._sizes: tuple[int, tuple[_Size, ...]] = (-1, ())

    def sizes(self, size: int) -> tuple[_Size, ...]:
        """What each codec yields if the last one yields ``size`` bytes, and whether exactly that.

        ``ChunkDecodeError`` if no stored values can decode to that size.
        """
        known, found = self._sizes
        if known != size:
            found = tuple(reversed(list(self._backwards(size, exact=True))))
            self._sizes = size, found
        return found

    def _backwards(self, size: int, *, exact: bool) -> Iterator[_Size]:
        for codec in reversed(self.codecs):
            yield size, exact
            encoded = codec.encoded_size(size) if exact else None
            exact = encoded is not None
            size = codec.encoded_bound(size) if encoded is None else encoded

    def bound(self, size: int) -> int:
        """No sane encoders make more than this of ``size`` bytes."""
        for codec in reversed(self.codecs):
            size = codec.encoded_bound(size)
        return size

    def decode(self, data: Buffer, size: int, out: memoryview | None, scratch: Scratch) -> Buffer:
        """Decode to exactly ``size`` bytes, in ``out`` if given; ``ChunkDecodeError``."""
        codecs = self.codecs
        if codecs:
            if len(codecs) > 1:
                data = self._decode(data, codecs[:-1], self.sizes(size), scratch)
            return codecs[-1].decode(data, size, out, scratch, self._slots[-1])
        if len(data) != size:
            raise ChunkDecodeError(f"expected {size} bytes, found {len(data)}")
        if out is None:
            return data
        out[:] = data
        return out

    def decode_bounded(self, data: Buffer, most: int, scratch: Scratch) -> Buffer:
        """Decode to as many bytes as there are, at most ``most``."""
        if not self.codecs and len(data) > most:
            raise ChunkDecodeError(f"expected at most {most} bytes, found {len(data)}")
        sizes = tuple(reversed(list(self._backwards(most, exact=False))))
        return self._decode(data, self.codecs, sizes, scratch)

    def _decode(
        self,
        data: Buffer,
        codecs: tuple[ByteCodec, ...],
        sizes: tuple[_Size, ...],
        scratch: Scratch,
    ) -> Buffer:
        """By the first few of the codecs."""
        for codec, (size, exact), slot in zip(codecs, sizes, self._slots, strict=False):
            if exact:
                data = codec.decode(data, size, None, scratch, slot)
            else:
                data = codec.decode_bounded(data, size, scratch, slot)
        return data

    def decode_all(self, data: Buffer, most: int) -> Buffer:
        """As ``decode_bounded``, in memory of its own."""
        return self.decode_bounded(data, most, Scratch())


def _slots_of(codecs: tuple[ByteCodec, ...]) -> Iterator[int]:
    """Where each may put what it decodes to: never where it reads, which a view passes on."""
    at = 0
    for codec in codecs:
        yield _SLOTS[at]
        at ^= not codec.is_view


class ChunkDecoder:
    """The encoding of chunks of one shape.

    ``shape``: of a chunk, in the array's axes. ``dtype``: of the values. ``stored``: dtype as
    stored (byte order). ``axes``: stored axis ``i`` is the array's axis ``axes[i]``.
    """

    __slots__ = (
        "axes",
        "chain",
        "dtype",
        "identity",
        "is_bool",
        "mask",
        "nbytes",
        "raw",
        "shape",
        "stored",
        "stored_shape",
        "to_array",
    )

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype,
        stored: np.dtype,
        axes: tuple[int, ...],
        chain: ByteChain,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.stored = stored
        self.axes = axes
        self.chain = chain
        self.stored_shape = tuple(shape[a] for a in axes)
        self.to_array = tuple(int(a) for a in np.argsort(axes))
        self.identity = axes == tuple(range(len(shape)))
        self.is_bool = dtype == np.bool_
        self.mask = value_mask(dtype.name) if dtype.kind == "V" else None
        nbytes = dtype.itemsize
        for extent in shape:
            nbytes *= extent
        self.nbytes = nbytes
        self.raw = not chain.codecs

    def target(self, place: np.ndarray) -> memoryview | None:
        """The bytes of ``place`` if a whole chunk can be decoded straight into it, else None."""
        if self.stored is not self.dtype or place.shape != self.shape or self.is_bool:
            return None
        turned = place if self.identity else place.transpose(self.axes)
        if not turned.flags.c_contiguous:
            return None
        return turned.reshape(-1).view(np.uint8).data

    def check_size(self) -> None:
        """``ChunkDecodeError`` if a chunk claims an absurd size."""
        if self.nbytes > MOST_CHUNK_BYTES:
            raise ChunkDecodeError(
                f"chunks of shape {self.shape} and {self.dtype} have {self.nbytes} bytes; "
                f"at most {MOST_CHUNK_BYTES} are decoded"
            )

    def most_stored(self) -> int:
        """No sane encoder makes more bytes than this of a chunk."""
        return self.chain.bound(self.nbytes)

    def decode_into(
        self,
        data: Buffer,
        where: tuple[slice, ...],
        place: np.ndarray,
        scratch: Scratch,
    ) -> None:
        """Put the part ``where`` of the chunk encoded in ``data`` into ``place``."""
        self.check_size()
        target = self.target(place)
        values = self.chain.decode(data, self.nbytes, target, scratch)
        if target is None:
            self.assign(values, where, place)

    def assign(self, values: Buffer, where: tuple[slice, ...], place: np.ndarray) -> None:
        """Put the part ``where`` of decoded bytes into ``place``."""
        if self.is_bool:
            # Any non-zero byte is True; a bool array must hold nothing but 0 and 1.
            flags = np.frombuffer(values, np.uint8).reshape(self.stored_shape)
            np.not_equal(flags.transpose(self.to_array)[where], 0, out=place)
            return
        if self.mask is not None:
            bits = np.frombuffer(values, np.uint8).reshape(self.stored_shape)
            bits = bits.transpose(self.to_array)[where]
            np.bitwise_and(bits, self.mask, out=place.view(np.uint8))
            return
        chunk = np.frombuffer(values, self.stored).reshape(self.stored_shape)
        if not self.identity:
            chunk = chunk.transpose(self.to_array)
        place[...] = chunk if place.shape == self.shape else chunk[where]
