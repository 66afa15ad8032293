"""Many chunks decoded and put in place by one compiled call, without the GIL.

The loop over chunks in Python costs 5 to 10 µs for each, and two threads take turns in it; NumPy's
strided copy from the decoded chunk to its place takes as long again. Here, one call decodes any
number of chunks that lie in memory and scatters each into the destination in the same pass, or
gives each to a consumer (``io.handed``).

What is compiled (``native.kernels.chunks``) is the common case: at most one compressor, then at
most one byte shuffle, then byte order. A chunk that it does not like, damaged ones among them, is
left alone and reported; the caller decodes it the plain way, which succeeds or raises the right
error.
Blocks of a blosc container that hold nothing of what is wanted are passed over, damaged or not.
So nothing depends on the kernel: without it (not compiled yet, switched off, decoders not found)
everything takes the plain way.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lazytensor.io.codec.bytecodec import BloscCodec, ByteCodec, Lz4Codec
from lazytensor.io.codec.filters import ShuffleCodec
from lazytensor.io.codec.pipeline import ChunkDecoder
from lazytensor.io.codec.zstd import ZstdCodec
from lazytensor.io.codec.zstd_context import zstd_context
from lazytensor.io.handed import Handed, Place
from lazytensor.io.scratch import ENCODED, KEPT_BYTES, STAGE_A, STAGE_B, STAGE_ROW, Scratch
from lazytensor.native import Kernel, file_functions
from lazytensor.native.addresses import address_of, address_of_bytes, address_of_words
from lazytensor.native.kernels import chunk_block as block
from lazytensor.native.kernels import consumer_block as consumed
from lazytensor.native.streaming import is_streamed
from lazytensor.native.symbols import symbol
from lazytensor.plan.clock import DECODING, Clock

__all__ = [
    "NOT_THERE", "Cells", "Ranges", "Recipe", "Units", "recipe_of",
    "units_in_files", "units_in_memory", "units_in_ranges",
]  # fmt: skip

Piece = tuple[int, slice, slice]
NOT_THERE, LEFT_ALONE = block.NOT_THERE, block.LEFT_ALONE

_KINDS: dict[type[ByteCodec], int] = {
    BloscCodec: block.BLOSC,
    ZstdCodec: block.ZSTD,
    Lz4Codec: block.LZ4,
}
_DECODERS = {
    block.BLOSC: "blosc_decompress_ctx",
    block.LZ4: "LZ4_decompress_safe",
    block.ZSTD: "ZSTD_decompressDCtx",
}
_MOST_CHUNK = 56 << 20  # and what it may be encoded to is still kept as scratch
# Room for chunks that lie side by side: small enough for the second cache.
_ROW = 256 << 10
# Chunks with shorter rows of results (bytes) are put together there.
_LONG_ROW = 128
_LINE = 64
# A read of a file costs as much as the bytes that it may leave out.
_APART = 8 << 10
# Chunks of that many bytes are read one by one, if not all of them is wanted.
_ALONE = 64 << 10
# Not waiting for the other end of a pipe, no terminal made our own, and not kept by a program that
# is started meanwhile.
_OPEN_FLAGS = os.O_RDONLY
for _flag in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC"):
    _OPEN_FLAGS |= getattr(os, _flag, 0)


class Recipe:
    """What the kernel has to know of the chunks of one array.

    ``strides``: bytes from one element of a decoded chunk to the next, per axis of the array.
    """

    __slots__ = ("as_bool", "decoders", "item", "kind", "nbytes", "needs_context", "shape",
                 "shuffled", "strides", "swapped")  # fmt: skip

    def __init__(self, decoder: ChunkDecoder, kind: int, shuffled: int) -> None:
        self.shape = decoder.shape
        self.nbytes = decoder.nbytes
        self.item = decoder.dtype.itemsize
        self.kind = kind
        names = (*_DECODERS.values(), "ZSTD_getFrameContentSize")
        self.decoders = [symbol(name) or 0 for name in names] if kind else [0] * len(names)
        self.needs_context = kind in (block.BLOSC, block.ZSTD) and self.decoders[-1] != 0
        self.shuffled = shuffled
        self.swapped = 0
        if decoder.stored is not decoder.dtype:
            self.swapped = self.item // (2 if decoder.dtype.kind == "c" else 1)
        self.as_bool = int(decoder.is_bool)
        strides = [0] * len(decoder.shape)
        step = self.item
        for axis, extent in zip(
            reversed(decoder.axes), reversed(decoder.stored_shape), strict=True
        ):
            strides[axis] = step
            step *= extent
        self.strides = tuple(strides)

    @property
    def is_blosc(self) -> bool:
        """Whether the chunks are blosc containers."""
        return self.kind == block.BLOSC

    @property
    def is_plain(self) -> bool:
        """Whether chunks are stored as they are in memory; of a file only a part is read then."""
        return self.kind == block.RAW and not (self.swapped or self.as_bool or self.shuffled)

    @property
    def stands_alone(self) -> bool:
        """Whether of a chunk in a shard only what is wanted is read, apart from its neighbours."""
        return self.is_plain and self.nbytes >= _ALONE

    def wanted_nbytes(self, where: Sequence[slice]) -> int:
        """Bytes that are read of a plain chunk: as ``read_planes`` of the kernel has it."""
        apart, planes, reach = 0, 1, self.item
        for part, stride in zip(where, self.strides, strict=True):
            n, step = len(range(part.start, part.stop, part.step or 1)), (part.step or 1) * stride
            reach += (n - 1) * step
            if n > 1 and step > apart:
                apart, planes = step, n
        nbytes = reach - (planes - 1) * apart
        return reach if apart - nbytes < _APART else planes * nbytes


def recipe_of(decoder: ChunkDecoder) -> Recipe | None:
    """The recipe for chunks of this kind, or None if the kernel cannot decode them."""
    dtype = decoder.dtype
    if dtype.kind not in "biufcmMSUV" or dtype.hasobject:
        return None
    if not 0 < decoder.nbytes <= _MOST_CHUNK:
        return None
    if len(decoder.shape) > block.MOST_RANK:
        return None
    if decoder.mask is not None:  # bits beside the value are dropped by the plain way
        return None
    if decoder.stored is not dtype and dtype.kind not in "iufcmM":
        return None
    codecs = list(decoder.chain.codecs)
    kind = _KINDS.get(type(codecs[0]), block.RAW) if codecs else block.RAW
    if kind:
        del codecs[0]
    shuffled = 0
    if codecs and isinstance(filter_ := codecs[0], ShuffleCodec):
        del codecs[0]
        shuffled = filter_.element_size
        if decoder.nbytes % shuffled:
            return None
    if codecs or (kind and symbol(_DECODERS[kind]) is None):
        return None
    return Recipe(decoder, kind, shuffled)


class _PerThread(threading.local):
    """Working memory of one thread, and memory that it lends to consumers."""

    def __init__(self) -> None:
        self.work = np.zeros(block.WORK_WORDS, np.int64)
        self.address = address_of_words(self.work)
        self.lent = np.zeros(block.WORK_WORDS, np.int64)
        self.buffer = np.empty(0, np.uint8)

    def room(self, nbytes: int) -> tuple[np.ndarray, int]:
        """Memory of so many bytes, to be held while its address is used (``Scratch.place``), and
        where in it a cache line starts."""
        buffer = self.buffer
        if buffer.nbytes < nbytes + _LINE:
            buffer = self.buffer = np.empty(nbytes + _LINE, np.uint8)
        return buffer, -(-address_of_words(buffer) // _LINE) * _LINE


_per_thread = _PerThread()


class Cells:
    """The chunks of one box and their places in ``out``, to be decoded in any portions and threads.

    ``pieces``: per dimension the part of each chunk and its place (``(_, where, spot)``; ``where``
    may have a step, the same in all). The chunks are numbered in C order. ``fill``: value of chunks
    that are not stored.
    """

    __slots__ = ("_handed", "_kept", "_run", "_words", "direct", "recipe")

    def __init__(
        self,
        run: Kernel,
        recipe: Recipe,
        pieces: Sequence[Sequence[Piece]],
        out: Place,
        fill: np.ndarray,
    ) -> None:
        rank = len(pieces)
        self._handed = out if isinstance(out, Handed) else None
        target, places, factors, begin, streamed = _place_of(out)
        # Everything the block points to is in one array, so that one address has to be taken.
        # Its front part has a fixed size and holds where in it the pieces of each dim begin.
        steps: list[int] = []
        entries: list[int] = []
        offsets: list[int] = []
        for dim, stride, place, extent, factor, first in zip(
            pieces, recipe.strides, places, recipe.shape, factors, begin, strict=True
        ):
            # A step beyond the chunk means the same however long it is, and has no bound.
            steps.append(stride * min(dim[0][1].step or 1, extent))
            offsets.append(5 * rank + len(entries))
            for _, where, spot in dim:
                at = first + spot.start
                entries += (where.start * stride, spot.stop - spot.start, at // factor * place, at)
        table = np.array((*recipe.shape, *steps, *places, *[0] * (2 * rank), *entries), np.int64)
        address = address_of_words(table)
        for d, (dim, offset) in enumerate(zip(pieces, offsets, strict=True)):
            table[3 * rank + 2 * d : 3 * rank + 2 * d + 2] = len(dim), address + 8 * offset
        plain = not (recipe.swapped or recipe.as_bool or recipe.shuffled or self._handed)
        self.direct = plain and all(
            step == place or extent == 1
            for step, place, extent in zip(steps, places, recipe.shape, strict=True)
        )
        """Whether whole chunks are decoded straight into their places."""
        self.recipe = recipe
        self._run = run
        self._kept = table, out, fill
        self._words = np.zeros(block.HEADER_WORDS, np.int64)
        files = file_functions()
        if files is not None:
            self._words[block.OPEN : block.OPEN_FLAGS + 1] = (*files[:-1], _OPEN_FLAGS)
        self._words[block.RANK : block.DIRECT + 1] = (
            rank, address + 24 * rank, target, address + 16 * rank,
            streamed, address, address + 8 * rank, recipe.nbytes,
            recipe.item, address_of(fill), recipe.kind, *recipe.decoders,
            recipe.shuffled, recipe.swapped, recipe.as_bool, self.direct,
        )  # fmt: skip
        if rank:
            self._words[block.SHORT] = self._short(places[-1], factors[-1])

    def _short(self, place: int, factor: int) -> int:
        """Chunks of fewer elements along the last dim are put together before they leave; 0: none.

        ``place``: bytes from one result along that dim to the next.
        """
        if place <= 0 or (self._handed is None and place != self.recipe.item):
            return 0
        return -(-_LONG_ROW // place) * factor

    def decode(self, units: Units, scratch: Scratch) -> bool:
        """Put units in their places; whether all that were done here went well.

        Several threads may do this with the same units, each with a scratch of its own: each takes
        parts until none is left. ``units.status`` tells what became of each.
        """
        recipe, mine = self.recipe, _per_thread
        words = self._words.copy()
        words[block.WORK] = mine.address
        first, words[block.STAGE_A] = scratch.place(STAGE_A, recipe.nbytes)
        row, words[block.ROW] = scratch.place(STAGE_ROW, _ROW)
        held: list[object] = [first, row]
        words[block.ROW_NBYTES] = _ROW
        if recipe.needs_context:
            words[block.CONTEXT] = zstd_context()
        if recipe.shuffled or recipe.kind == block.BLOSC:
            second, words[block.STAGE_B] = scratch.place(STAGE_B, recipe.nbytes)
            held.append(second)
        if units.longest:
            encoded, words[block.ENCODED] = scratch.place(ENCODED, units.longest)
            held.append(encoded)
            words[block.ENCODED_NBYTES] = units.longest
        for word, value in units.words:
            words[word] = value
        if self._handed:
            held.append(self._lend(words))
        clock = DECODING.get()
        good = (
            self._run(address_of_words(words)) == 0 if clock is None else self._timed(words, clock)
        )
        held.clear()
        return good

    def _timed(self, words: np.ndarray, clock: Clock) -> bool:
        """The same while somebody measures: what is not reading files is decoding."""
        files = file_functions()
        words[block.CLOCK] = 0 if files is None else files.clock
        with clock:
            good = self._run(address_of_words(words)) == 0
        clock.ns -= int(words[block.READ_NS])
        clock.consumed += int(words[block.CONSUMER_NS])
        return good

    def _lend(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The consumer's block for the calling thread, named in the words; keep it meanwhile."""
        assert self._handed is not None
        consumer, mine = self._handed.consumer, _per_thread
        lent = np.zeros(consumed.BLOCK_WORDS, np.int64)
        lent[consumed.COUNTS] = mine.address + 8 * block.WORK_COUNTS
        lent[consumed.TARGET_STRIDES] = words[block.TARGET_STRIDES]
        lent[consumed.RANK] = words[block.RANK]
        lent[consumed.STREAMED] = consumer.streamed
        lent[consumed.POSITION] = mine.address + 8 * block.WORK_POSITION
        lent[consumed.WORK] = address_of_words(mine.lent)
        room, lent[consumed.BUFFER] = mine.room(consumer.buffer_nbytes)
        lent[consumed.PARAMETERS] = consumer.parameters
        words[block.CONSUMER] = consumer.function
        words[block.CONSUMER_BLOCK] = address_of_words(lent)
        return lent, room


class Units:
    """Chunks to be decoded, by number, and where their bytes are.

    ``status``: int64, what became of each: 0 done, ``LEFT_ALONE``, or ``NOT_THERE`` (then its place
    holds the fill value). ``read``: int64, bytes read of each, where they are files. ``longest``:
    room for encoded bytes that decoding needs.
    """

    __slots__ = ("_kept", "longest", "numbers", "read", "sizes", "status", "words")

    def __init__(
        self,
        origin: int,
        numbers: np.ndarray,
        addresses: np.ndarray,
        sizes: np.ndarray,
        bounds: np.ndarray,
        longest: int,
        keep: object = None,
    ) -> None:
        self.numbers = numbers
        self.sizes = sizes
        self.longest = longest
        self.status, self.read = np.zeros((2, len(numbers)), np.int64)
        upcoming = np.zeros(1, np.int64)
        self._kept = addresses, upcoming, bounds, keep
        self.words: list[tuple[int, int]] = [
            (block.ORIGIN, origin),
            (block.NUMBERS, address_of_words(numbers)),
            (block.ADDRESSES, address_of_words(addresses)),
            (block.SIZES, address_of_words(sizes)),
            (block.STATUS, address_of_words(self.status)),
            (block.READ, address_of_words(self.read)),
            (block.NEXT, address_of_words(upcoming)),
            (block.PARTS, len(bounds) - 1),
            (block.BOUNDS, address_of_words(bounds)),
        ]

    def odd(self) -> list[int]:
        """Positions of the units that were not done."""
        if not self.status.any():
            return []
        found: list[int] = np.flatnonzero(self.status).tolist()
        return found


def units_in_memory(numbers: np.ndarray, addresses: np.ndarray, sizes: np.ndarray) -> Units:
    """Chunks whose bytes are at addresses, where they must stay meanwhile.

    int64, C-contiguous, of one length. A negative size stands for the fill value.
    """
    bounds = np.array([0, len(numbers)])
    return Units(block.IN_MEMORY, numbers, addresses, sizes, bounds, 0)


def units_in_files(
    paths: Sequence[str], recipe: Recipe, row: int, numbers: np.ndarray | None = None
) -> Units:
    """Chunks of a box, each a file; taken ``row`` at a time.

    ``numbers``: which they are (int64); by default all of them, in C order. Needs
    ``native.file_functions()``.
    """
    names = [os.fsencode(path) + b"\0" for path in paths]
    text = b"".join(names)
    addresses = np.cumsum([address_of_bytes(text), *map(len, names[:-1])])
    count = len(paths)
    bounds = np.minimum(np.arange(0, count + row, row), count)
    # Larger files than an encoder makes of such a chunk are left alone.
    room = recipe.nbytes + recipe.nbytes // 8 + 4096
    sizes = np.zeros(count, np.int64)
    which = np.arange(count) if numbers is None else numbers
    units = Units(block.IN_FILES, which, addresses, sizes, bounds, room, text)
    units.words.append((block.APART, _APART))
    return units


class Ranges(NamedTuple):
    """Where chunks lie in open files: int64 arrays of one length.

    ``files``: descriptors. ``offsets``, ``sizes``: of the chunk's bytes in its file; a size of -1
    stands for the fill value. ``los``, ``his``: the range that is read at once, in which they lie.
    ``bounds``: positions at which a new range begins, 0 and the end included.
    """

    files: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    los: np.ndarray
    his: np.ndarray
    bounds: np.ndarray


def units_in_ranges(numbers: np.ndarray, ranges: Ranges, *, alone: int = 0) -> Units | None:
    """Chunks in ranges of open files; None if a range is too long for the scratch.

    ``alone``: bytes of a chunk of which only what is wanted is read, whatever the ranges; else 0.
    Needs ``native.file_functions()``.
    """
    longest = alone or int((ranges.his - ranges.los).max(initial=1))
    if longest > KEPT_BYTES:
        return None
    units = Units(
        block.IN_RANGES, numbers, ranges.offsets, ranges.sizes, ranges.bounds, longest, ranges
    )
    units.words += [
        (block.FILES, address_of_words(ranges.files)),
        (block.LOS, address_of_words(ranges.los)),
        (block.HIS, address_of_words(ranges.his)),
        (block.ALONE, int(alone > 0)),
        (block.APART, _APART),
    ]
    return units


def _place_of(
    out: Place,
) -> tuple[int, Sequence[int], Sequence[int], Sequence[int], bool]:
    """Address of the place of the first element of a box, its strides, how many elements make one
    place per dim, position of the first one, and whether it is written around the caches."""
    if isinstance(out, Handed):
        consumer = out.consumer
        return consumer.target, consumer.strides, consumer.factors, out.position, consumer.streamed
    rank = out.ndim
    return (
        address_of(out),
        out.strides,
        (1,) * rank,
        (0,) * rank,
        is_streamed(out),
    )
