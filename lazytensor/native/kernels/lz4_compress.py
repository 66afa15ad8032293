"""A block of LZ4 with the matches that lz4_flex 0.11 finds, which is the compressor of tenso.

LZ4 leaves open which matches a compressor takes; for packets that are the same byte for byte it has
to be the same choice: one table of 4096 places by a hash of five bytes, the last place that had it,
longer steps the longer nothing was found (one byte more each 32 tries), a match grown backwards
over what is not written yet, the place two bytes before its end remembered too. The table goes on
from block to block of a frame, with places counted from where its first block begins: those of
former blocks are too small to be taken.

Words: address of the block, its bytes, address of room for the result (its bytes, 1/255 more, and
64), address of 4096 words of 32 bits that were 0 before the first block, and bytes of the blocks
before. Returns how many bytes the result has.

Rule: ``src/block/compress.rs`` and ``src/frame/compress.rs`` of lz4_flex 0.11.5; LZ4 block format
1.6.4.
"""

from __future__ import annotations

from lazytensor.native.intrinsics import (
    inner,
    load_i64,
    load_u8,
    load_u32,
    store_u8,
    store_u16,
    store_u32,
)
from lazytensor.native.kernels.memory import word

_PRIME = 889523592379
_FARTHEST = 65535
_SHORTEST = 13  # bytes of a block that is not all literals
_NO_START = 12  # bytes at its end where no match begins
_LITERALS = 6  # and that are literals


@inner
def place_of(at: int) -> int:
    """The place in the table of the five bytes at an address."""
    return (((load_i64(at) << 24) * _PRIME) >> 52) & 4095


@inner
def put_length(to: int, n: int) -> int:
    """The rest of a length that does not fit into a token; behind it."""
    while n >= 255:
        store_u8(to, 255)
        to += 1
        n -= 255
    store_u8(to, n)
    return to + 1


@inner
def put_literals(to: int, at: int, n: int, token: int) -> int:
    """A token, the length of the literals and these; behind them."""
    if n < 15:
        store_u8(to, (n << 4) | token)
        to += 1
    else:
        store_u8(to, 240 | token)
        to = put_length(to + 1, n - 15)
    for i in range(n):
        store_u8(to + i, load_u8(at + i))
    return to + n


@inner
def grown(at: int, other: int, end: int) -> int:
    """How many bytes from ``at`` on, before ``end``, are those from ``other`` on."""
    n = 0
    while at + n + 8 <= end and load_i64(at + n) == load_i64(other + n):
        n += 8
    while at + n < end and load_u8(at + n) == load_u8(other + n):
        n += 1
    return n


def kernel(p: int) -> int:
    """Compress the block."""
    source, nbytes, target, table = word(p, 0), word(p, 1), word(p, 2), word(p, 3)
    before = word(p, 4)
    end = source + nbytes
    if nbytes < _SHORTEST:
        return put_literals(target, source, nbytes, 0) - target
    last = nbytes - _NO_START
    to, written = target, 0
    at = 0
    if before == 0:
        # No match begins where nothing is yet.
        store_u32(table + 4 * place_of(source), 0)
        at = 1
    while True:
        tries, ahead = 32, at
        while True:
            step = tries >> 5
            tries += 1
            at = ahead
            ahead += step
            if at > last:
                return put_literals(to, source + written, nbytes - written, 0) - target
            spot = table + 4 * place_of(source + at)
            found = int(load_u32(spot)) - before
            store_u32(spot, at + before)
            if found < 0 or at - found > _FARTHEST:
                continue
            if load_u32(source + found) == load_u32(source + at):
                break
        apart = at - found
        while (
            found > 0 and at > written and load_u8(source + at - 1) == load_u8(source + found - 1)
        ):
            at -= 1
            found -= 1
        n = grown(source + at + 4, source + found + 4, end - _LITERALS)
        begin, at = at, at + 4 + n
        store_u32(table + 4 * place_of(source + at - 2), at - 2 + before)
        to = put_literals(to, source + written, begin - written, min(n, 15))
        store_u16(to, apart)
        to += 2
        if n >= 15:
            to = put_length(to, n - 15)
        written = at
