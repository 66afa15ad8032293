"""Strings of any length, as NumPy's ``StringDType``.

A chunk of them has no size that the metadata could give: the number of strings is checked, each
length lies inside the data, and nothing may follow the last one. The whole chunk is limited to what
the encoder of numcodecs, and so zarr-python, can write.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np

from lazytensor.errors import ChunkDecodeError
from lazytensor.io.codec.filters import CategoriesCodec
from lazytensor.io.codec.pipeline import ByteChain, ChunkDecoder
from lazytensor.io.codec.site import Site
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer

__all__ = ["MOST_TEXT_BYTES", "CategoryReader", "TextDecoder", "TextReader", "Utf8Reader", "utf8"]

MOST_TEXT_BYTES = (1 << 31) - 1
"""A chunk of strings that decodes to more is refused."""

_LENGTH = struct.Struct("<I")


class TextReader(ABC):
    """From the bytes of a chunk to its strings."""

    @abstractmethod
    def most(self, count: int) -> int:
        """No ``count`` strings take more bytes than this."""

    @abstractmethod
    def read(self, data: Buffer, count: int) -> np.ndarray:
        """Exactly ``count`` strings, 1-d of ``StringDType``; ``ChunkDecodeError``."""


@cache
def _vlen_utf8() -> Any:
    from numcodecs.vlen import VLenUTF8

    return VLenUTF8()


class Utf8Reader(TextReader):
    """``vlen-utf8``: a count, then the length and the UTF-8 bytes of each string."""

    def most(self, count: int) -> int:
        """The limit of the encoder."""
        return MOST_TEXT_BYTES

    def read(self, data: Buffer, count: int) -> np.ndarray:
        """Exactly ``count`` strings."""
        least = _LENGTH.size * (1 + count)
        announced = int.from_bytes(data[: _LENGTH.size], "little")
        if announced != count or len(data) < least:
            raise ChunkDecodeError(
                f"vlen-utf8: expected {count} strings in at least {least} bytes, "
                f"found {announced} in {len(data)}"
            )
        try:
            # numcodecs compares each length with the end of the data before it reads.
            strings: np.ndarray = _vlen_utf8().decode(data).astype(np.dtypes.StringDType())
        except (ValueError, SystemError) as error:
            raise ChunkDecodeError(f"vlen-utf8: {error}") from error
        characters = int(np.strings.str_len(strings).sum())
        # As many characters as bytes: all is ASCII, and nothing follows.
        if characters != len(data) - least and (end := _end(data, count)) != len(data):
            raise ChunkDecodeError(f"vlen-utf8: {len(data) - end} bytes follow the last string")
        return strings


def _end(data: Buffer, count: int) -> int:
    """Where the last of ``count`` strings ends."""
    length_at, at = _LENGTH.unpack_from, _LENGTH.size
    for _ in range(count):
        at += _LENGTH.size + length_at(data, at)[0]
    return at


class CategoryReader(TextReader):
    """``categorize``: the number of a label for each string."""

    def __init__(self, labels: Sequence[str], stored: np.dtype) -> None:
        self._codec = CategoriesCodec(labels, np.dtypes.StringDType(), stored)

    def most(self, count: int) -> int:
        """One number each."""
        return count * self._codec.stored.itemsize

    def read(self, data: Buffer, count: int) -> np.ndarray:
        """Exactly ``count`` strings."""
        if len(data) != self.most(count):
            raise ChunkDecodeError(
                f"categorize: expected {self.most(count)} bytes, found {len(data)}"
            )
        strings = np.empty(count, self._codec.decoded)
        self._codec.convert(np.frombuffer(data, self._codec.stored), strings)
        return strings


class TextDecoder(ChunkDecoder):
    """The encoding of chunks of strings: as ``ChunkDecoder``, with a ``reader`` behind the bytes.

    ``nbytes`` counts what NumPy takes for each element, not the text.
    """

    __slots__ = ("reader",)

    def __init__(
        self, shape: tuple[int, ...], axes: tuple[int, ...], chain: ByteChain, reader: TextReader
    ) -> None:
        dtype = np.dtypes.StringDType()
        super().__init__(shape, dtype, dtype, axes, chain)
        self.reader = reader
        self.raw = False

    def most_stored(self) -> int:
        """Their reader knows how long the text can be."""
        return self.chain.bound(self.reader.most(prod(self.shape)))

    def target(self, place: np.ndarray) -> None:
        """Strings are never decoded in place."""
        return

    def decode_into(
        self, data: Buffer, where: tuple[slice, ...], place: np.ndarray, scratch: Scratch
    ) -> None:
        """Put the part ``where`` of the chunk encoded in ``data`` into ``place``."""
        self.check_size()
        most = self.reader.most(prod(self.shape))
        self.assign(self.chain.decode_bounded(data, most, scratch), where, place)

    def assign(self, values: Buffer, where: tuple[slice, ...], place: np.ndarray) -> None:
        """Put the part ``where`` of decoded bytes into ``place``."""
        strings = self.reader.read(values, prod(self.shape)).reshape(self.stored_shape)
        place[...] = strings.transpose(self.to_array)[where]


def utf8(site: Site) -> Utf8Reader:
    """Without settings."""
    return Utf8Reader()
