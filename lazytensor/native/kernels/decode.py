"""From the encoded bytes of a chunk to its decoded bytes.

A decoder is trusted only as far as its input was checked: sizes in headers are compared with the
size that must come out before anything is written, and the produced size afterwards.
"""

from __future__ import annotations

from lazytensor.native.intrinsics import (
    call_i32,
    call_i64,
    copy_row,
    inner,
)
from lazytensor.native.kernels.chunk_block import (
    BLOSC,
    CHUNK_NBYTES,
    CONTEXT,
    DECODE,
    DECODE_LZ4,
    DECODE_ZSTD,
    FRAME_SIZE,
    KIND,
    LZ4,
    RAW,
    STAGE_B,
)
from lazytensor.native.kernels.memory import (
    load8,
    load32,
    word,
)
from lazytensor.native.kernels.shuffle import (
    unshuffle,
    unshuffle_bits,
)

_BLOSC_HEADER, _BLOSC_COPIED, _BLOSC_WHOLE = 16, 2, 16
_BLOSC_LZ4, _BLOSC_ZSTD = 1, 4


@inner
def decode_lz4(p: int, at: int, size: int, to: int, nbytes: int) -> bool:
    """Whether one LZ4 block gives exactly ``nbytes``."""
    return call_i32(word(p, DECODE_LZ4), (at, to, size, nbytes)) == nbytes


@inner
def decode_zstd(p: int, at: int, size: int, to: int, nbytes: int) -> bool:
    """Whether Zstandard frames give exactly ``nbytes``."""
    context = word(p, CONTEXT)
    if context == 0:  # there was no memory for one, and the library does not ask
        return False
    return call_i64(word(p, DECODE_ZSTD), (context, to, nbytes, at, size)) == nbytes


@inner
def blosc_header_holds(at: int, size: int, nbytes: int) -> bool:
    """Whether the header of a blosc container agrees with the sizes that are known."""
    if size < _BLOSC_HEADER or load32(at + 4) != nbytes or load8(at + 3) == 0:
        return False
    span, packed = load32(at + 8), load32(at + 12)
    if span == 0 or span > nbytes or packed > size:
        return False
    if load8(at + 2) & _BLOSC_COPIED:
        return packed >= _BLOSC_HEADER + nbytes
    return packed >= _BLOSC_HEADER + 4 * ((nbytes + span - 1) // span)


@inner
def blosc_block(p: int, at: int, end: int, to: int, nbytes: int, parts: int, form: int) -> bool:
    """Whether one block, stored in ``parts``, gives exactly ``nbytes``."""
    part = nbytes // parts
    for _ in range(parts):
        if at + 4 > end:
            return False
        size = load32(at)
        at += 4
        if size == 0 or size > end - at:
            return False
        if size == part:
            copy_row(to, at, part)
        elif form == _BLOSC_LZ4:
            if not decode_lz4(p, at, size, to, part):
                return False
        elif not decode_zstd(p, at, size, to, part):
            return False
        at += size
        to += part
    return True


@inner
def decode_blosc(p: int, at: int, size: int, to: int, nbytes: int, lo: int, hi: int) -> bool:
    """Whether a blosc container gives exactly ``nbytes``; only those in ``[lo, hi)`` are needed.

    Format 2 of the container (README_CHUNK_FORMAT of c-blosc 1) with LZ4 or Zstandard inside is
    taken apart here, so that one decompression context serves all blocks; the library makes a new
    one for each. What differs in any way is left to the library.
    """
    if not blosc_header_holds(at, size, nbytes):
        return False
    flags, item, span = load8(at + 2), load8(at + 3), load32(at + 8)
    form = flags >> 5
    known = (form == _BLOSC_LZ4 and word(p, DECODE_LZ4)) or (
        form == _BLOSC_ZSTD and word(p, DECODE_ZSTD)
    )
    plain = load8(at) == 2 and not flags & _BLOSC_COPIED and span % (8 * item) == 0
    if not (known and plain and nbytes % (8 * item) == 0 and item <= 8):
        return call_i32(word(p, DECODE), (at, to, nbytes, 1)) == nbytes
    end = at + load32(at + 12)
    in_bytes, in_bits = flags & 1 and item > 1, flags & 4
    begin, block = 0, 0
    while begin < nbytes:
        wide = min(span, nbytes - begin)
        if begin + wide <= lo or begin >= hi:
            begin += wide
            block += 1
            continue
        offset = load32(at + _BLOSC_HEADER + 4 * block)
        if offset < _BLOSC_HEADER or offset > end - at:
            return False
        split = not flags & _BLOSC_WHOLE and span // item >= 128 and wide == span
        turned = in_bytes or in_bits
        stage = word(p, STAGE_B) if turned else to + begin
        if not blosc_block(p, at + offset, end, stage, wide, item if split else 1, form):
            return False
        if in_bytes:
            unshuffle(to + begin, stage, wide // item, item)
        elif in_bits:
            unshuffle_bits(to + begin, stage, wide // item, item)
        begin += wide
        block += 1
    return True


@inner
def decompress(p: int, at: int, size: int, to: int, lo: int, hi: int) -> bool:
    """Whether exactly the bytes of one chunk came out; only those in ``[lo, hi)`` are needed."""
    nbytes, kind = word(p, CHUNK_NBYTES), word(p, KIND)
    if kind == RAW:
        if size != nbytes:
            return False
        copy_row(to, at, nbytes)
        return True
    if kind == BLOSC:
        return decode_blosc(p, at, size, to, nbytes, lo, hi)
    if kind == LZ4:
        return size >= 4 and load32(at) == nbytes and decode_lz4(p, at + 4, size - 4, to, nbytes)
    if call_i64(word(p, FRAME_SIZE), (at, size)) != nbytes:
        return False
    return decode_zstd(p, at, size, to, nbytes)
