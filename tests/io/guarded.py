"""Decodes damaged chunks that end where memory ends, in a process that may be killed by it.

Run as a program: ``python guarded.py SEED ROUNDS``. What a decoder reads must lie before a page
that may not be touched, and so must what it writes: one byte too far ends the process.
"""

from __future__ import annotations

import bz2
import ctypes
import gzip
import lzma
import mmap
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numcodecs
import numpy as np

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lazytensor import native
from lazytensor.errors import FormatError
from lazytensor.io.codec.bytecodec import BloscCodec, ByteCodec, Lz4Codec
from lazytensor.io.codec.checksums import Checksum32Codec, Crc32cCodec, Fletcher32Codec, jenkins
from lazytensor.io.codec.compiled import Cells, recipe_of, units_in_memory
from lazytensor.io.codec.filters import ShuffleCodec
from lazytensor.io.codec.pipeline import ByteChain, ChunkDecoder
from lazytensor.io.codec.streams import Bz2Codec, DeflateCodec, LzmaCodec
from lazytensor.io.codec.text import Utf8Reader
from lazytensor.io.codec.zstd import ZstdCodec
from lazytensor.io.scratch import Scratch
from lazytensor.io.zarr.layout import pieces

_LIBRARY = ctypes.CDLL(None, use_errno=True)
_PROT_NONE = 0
_MARGIN = 64
_CANARY = 0xA5

Encode = Callable[[np.ndarray], bytes]


class Guarded:
    """Memory that ends at a page nobody may touch, and begins with bytes that nobody may change."""

    def __init__(self, room: int) -> None:
        page = mmap.PAGESIZE
        self._size = -(-(room + _MARGIN) // page) * page
        self._map = mmap.mmap(-1, self._size + page)
        self._all = np.frombuffer(self._map, np.uint8)
        self.end: int = self._all.__array_interface__["data"][0] + self._size
        if _LIBRARY.mprotect(ctypes.c_void_p(self.end), ctypes.c_size_t(page), _PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")

    def last(self, nbytes: int) -> np.ndarray:
        """The last bytes before the forbidden page."""
        part = self._all[self._size - nbytes - _MARGIN : self._size]
        part[:_MARGIN] = _CANARY
        return part[_MARGIN:]

    def untouched(self, nbytes: int) -> bool:
        """Whether the bytes before those are as they were."""
        start = self._size - nbytes - _MARGIN
        return bool((self._all[start : start + _MARGIN] == _CANARY).all())


class GuardedScratch(Scratch):
    """Every slot ends where memory ends."""

    __slots__ = ("_taken",)

    def __init__(self) -> None:
        self._taken: dict[int, tuple[Guarded, int]] = {}

    def take(self, slot: int, nbytes: int) -> memoryview:
        """Fresh memory of exactly this size."""
        place = Guarded(nbytes)
        self._taken[slot] = place, nbytes
        return place.last(nbytes).data

    def place(self, slot: int, nbytes: int) -> tuple[memoryview, int]:
        """The same, with its address."""
        return self.take(slot, nbytes), self._taken[slot][0].end - nbytes

    def untouched(self) -> bool:
        """Whether nothing was written before a slot."""
        return all(place.untouched(nbytes) for place, nbytes in self._taken.values())


def _blosc(name: str, shuffle: int, span: int = 0) -> Encode:
    return numcodecs.Blosc(name, 5, shuffle, blocksize=span).encode


def _frames(chunk: np.ndarray) -> bytes:
    """Two frames with one to skip between them; the first states the size of the whole."""
    text = chunk.tobytes()
    skipped = struct.pack("<II", 0x184D2A50, 3) + b"xyz"
    return bytes(numcodecs.Zstd(3).encode(text)) + skipped + bytes(numcodecs.Zstd(3).encode(b""))


def _members(chunk: np.ndarray) -> bytes:
    """Two members and zeros, with every optional field in the first header."""
    text, half = chunk.tobytes(), chunk.nbytes // 2
    first = bytearray(gzip.compress(text[:half], 9))
    first[3] = 0x1C  # further fields: any bytes, a name, a comment
    first[10:10] = struct.pack("<H", 5) + b"extra" + b"name\0" + b"comment\0"
    return bytes(first) + gzip.compress(text[half:]) + bytes(5)


def _shuffled(size: int, encode: Encode) -> Encode:
    return lambda chunk: encode(np.frombuffer(numcodecs.Shuffle(size).encode(chunk), "u1"))


CODECS: tuple[tuple[tuple[ByteCodec, ...], Encode], ...] = (
    ((), lambda chunk: chunk.tobytes()),
    ((Lz4Codec(),), numcodecs.LZ4().encode),
    ((ZstdCodec(),), numcodecs.Zstd(1).encode),
    ((ZstdCodec(),), numcodecs.Zstd(1, checksum=True).encode),
    ((ZstdCodec(),), _frames),
    ((ZstdCodec(), ShuffleCodec(2)), _shuffled(2, numcodecs.Zstd(1).encode)),
    ((ShuffleCodec(6),), _shuffled(6, lambda chunk: chunk.tobytes())),
    ((DeflateCodec("gzip", gzip=True),), lambda chunk: gzip.compress(chunk.tobytes(), 1)),
    ((DeflateCodec("gzip", gzip=True),), _members),
    ((DeflateCodec("zlib", gzip=False),), lambda chunk: zlib.compress(chunk.tobytes(), 6)),
    ((Bz2Codec(),), lambda chunk: bz2.compress(chunk.tobytes())),
    ((LzmaCodec(1, None),), lambda chunk: lzma.compress(chunk.tobytes())),
    ((Crc32cCodec(),), numcodecs.CRC32C().encode),
    ((Fletcher32Codec(),), numcodecs.Fletcher32().encode),
    (
        (Checksum32Codec("jenkins_lookup3", jenkins(0), at_start=False),),
        lambda chunk: chunk.tobytes() + struct.pack("<I", jenkins(0)(chunk.tobytes())),
    ),
    *(
        ((BloscCodec(),), _blosc(name, shuffle, span))
        for name in ("lz4", "lz4hc", "zstd", "zlib", "blosclz")
        for shuffle in (0, 1, 2)
        for span in (0, 512, 4096)
    ),
)
DTYPES = ("u1", "?", "u2", ">u2", "f4", ">f8", "c16", ">c16", "V3", "V7")
SHAPES = ((1,), (7, 3), (129,), (40, 52), (3, 16, 24), (2, 1, 3, 5), (6001,), (96, 96))
STEPS = (1, 1, 2, 3)


def _values(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Bytes that compress a little."""
    count = int(np.prod(shape)) * dtype.itemsize
    raw = rng.integers(0, int(rng.choice([2, 9, 256])), count, dtype="u1")
    if dtype.kind == "b":
        raw &= 1
    return raw.view(dtype).reshape(shape)


def _damaged(rng: np.random.Generator, text: bytes) -> bytes:
    """A copy with some bytes changed, most of them in the headers; perhaps cut short or longer."""
    found = bytearray(text)
    for _ in range(int(rng.integers(0, 5))):
        near = int(rng.choice([8, 20, 64, len(found)]))
        at = int(rng.integers(0, min(near, len(found))))
        found[at] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(0, 256)]))
    if rng.random() < 0.3:
        at = 4 * int(rng.integers(0, 1 + min(len(found), 64) // 4))
        word = int(rng.choice([0, 1, 15, 16, 2**31 - 1, 2**31, 2**32 - 1, len(found)]))
        found[at : at + 4] = struct.pack("<I", word)
    if rng.random() < 0.3:
        del found[int(rng.integers(1, len(found) + 1)) :]
    if rng.random() < 0.1:
        found += bytes(rng.integers(0, 256, 9, dtype="u1"))
    return bytes(found)


def _texts(rng: np.random.Generator, text: bytes) -> Iterator[bytes]:
    yield text
    for _ in range(6):
        yield _damaged(rng, text)


def check_one(rng: np.random.Generator, run: native.Kernel, number: int) -> None:
    """One chunk, whole and damaged, by the compiled and by the plain way."""
    decoders, encode = CODECS[number % len(CODECS)]
    stored = np.dtype(str(rng.choice(DTYPES)))
    dtype = stored.newbyteorder("=")
    shape = SHAPES[int(rng.integers(len(SHAPES)))]
    axes = tuple(int(a) for a in rng.permutation(len(shape)))
    values = _values(rng, tuple(shape[a] for a in axes), stored)
    if any(isinstance(c, ShuffleCodec) and values.nbytes % c.element_size for c in decoders):
        return
    decoder = ChunkDecoder(
        shape, dtype, dtype if stored == dtype else stored, axes, ByteChain(decoders)
    )
    recipe = recipe_of(decoder)
    box = [sorted(rng.integers(0, n + 1, 2).tolist()) for n in shape]
    if rng.random() < 0.5:
        box = [[0, n] for n in shape]
    box = [
        [lo, max(hi, lo + 1)] if lo < n else [0, n] for (lo, hi), n in zip(box, shape, strict=True)
    ]
    steps = [int(rng.choice(STEPS)) for _ in shape]
    cells = [pieces(lo, hi, n, s) for (lo, hi), n, s in zip(box, shape, steps, strict=True)]
    extents = tuple(dim[-1][2].stop for dim in cells)
    nbytes = int(np.prod(extents)) * dtype.itemsize
    target = Guarded(nbytes)
    out = target.last(nbytes).view(dtype).reshape(extents)
    fill = np.zeros((), dtype)
    where = tuple(dim[0][1] for dim in cells)
    whole = bytes(encode(values.reshape(-1)))
    for text in _texts(rng, whole):
        held = Guarded(len(text))
        data = held.last(len(text))
        data[:] = np.frombuffer(text, np.uint8)
        results = []
        scratch = GuardedScratch()
        if recipe is not None:
            units = units_in_memory(
                np.array([0]), np.array([held.end - len(text)]), np.array([len(text)])
            )
            good = Cells(run, recipe, cells, out, fill).decode(units, scratch)
            results.append(out.tobytes() if good else None)
        try:
            decoder.decode_into(data.data, where, out, scratch)
            results.append(out.tobytes())
        except FormatError:
            results.append(None)
        assert target.untouched(nbytes), "something was written before the destination"
        assert scratch.untouched(), "something was written before the scratch"
        assert bytes(data) == text, "the encoded bytes were changed"
        if text is whole:
            expected = values.transpose(np.argsort(axes).astype(int))[(*where, ...)].astype(dtype)
            assert set(results) == {expected.tobytes()}, (decoders, stored, shape)
        if len(results) == 2 and None not in results:
            assert results[0] == results[1], (decoders, stored, shape, text[:32].hex())
        if len(results) == 2 and results[0] is None and results[1] is not None:
            LEFT.append((decoders, text[:32].hex()))


def check_text(rng: np.random.Generator) -> None:
    """Strings, and what is none."""
    count = int(rng.integers(1, 20))
    words = np.array(["ä" * int(n) for n in rng.integers(0, 9, count)], object)
    for text in _texts(rng, bytes(numcodecs.VLenUTF8().encode(words))):
        held = Guarded(len(text))
        data = held.last(len(text))
        data[:] = np.frombuffer(text, np.uint8)
        try:
            assert len(Utf8Reader().read(data.data, count)) == count
        except FormatError:
            continue


LEFT: list[object] = []
"""What only the plain way could decode."""


def main() -> None:
    """Rounds over all codecs."""
    seed, rounds = int(sys.argv[1]), int(sys.argv[2])
    run = native.wait("chunks", timeout=200)
    assert run is not None, native.reason("chunks")
    rng = np.random.default_rng(seed)
    for number in range(rounds * len(CODECS)):
        check_one(rng, run, number)
        check_text(rng)
    sys.stdout.write(f"alive {len(LEFT)}\n")


if __name__ == "__main__":
    main()
