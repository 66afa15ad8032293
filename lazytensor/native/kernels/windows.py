"""Puts every piece that any of many windows wants of a chunk in its place, chunk by chunk.

A chunk is decoded once, into the memory where it is kept or into scratch, and looked at by all its
windows while it is in the cache. What is kept decoded already is not read.
"""

from __future__ import annotations

from lazytensor.native.intrinsics import copy_row, fence, inner
from lazytensor.native.kernels.chunk_block import (
    BOUNDS,
    CHUNK_NBYTES,
    CHUNK_STRIDES,
    DONE,
    FILL,
    HELD_FILE,
    ITEM,
    LEFT_ALONE,
    NEXT,
    NOT_THERE,
    PARTS,
    RANK,
    SIZES,
    STAGE_A,
    STATUS,
    TARGET_STRIDES,
    WORK,
    WORK_COUNTS,
)
from lazytensor.native.kernels.chunks import decoded, fetch
from lazytensor.native.kernels.files import MISSING
from lazytensor.native.kernels.memory import put, take_one, word
from lazytensor.native.kernels.scatter import scatter
from lazytensor.native.kernels.windows_block import COUNTS, FIRST, FROM, LAST, READY, SLOTS, TO


@inner
def place_pieces(p: int, unit: int, values: int, steps: int) -> None:
    """Put all pieces of a unit in place; without ``steps``, one value everywhere."""
    rank, work = word(p, RANK), word(p, WORK)
    for piece in range(word(word(p, FIRST), unit), word(word(p, LAST), unit)):
        counts = word(p, COUNTS) + 8 * rank * piece
        for d in range(rank):
            put(work, WORK_COUNTS + d, word(counts, d))
        at = values + word(word(p, FROM), piece) if steps else values
        to = word(word(p, TO), piece)
        scatter(to, at, work, rank, steps, word(p, TARGET_STRIDES), word(p, ITEM), False)


@inner
def reach_of(p: int, unit: int, end: int) -> int:
    """Where in the chunk the first of the wanted bytes lies, or (``end``) the last one ends."""
    rank, steps = word(p, RANK), word(p, CHUNK_STRIDES)
    lowest, highest = word(p, CHUNK_NBYTES), 0
    for piece in range(word(word(p, FIRST), unit), word(word(p, LAST), unit)):
        lo = word(word(p, FROM), piece)
        hi = lo + word(p, ITEM)
        for d in range(rank):
            hi += (word(word(p, COUNTS) + 8 * rank * piece, d) - 1) * word(steps, d)
        lowest, highest = min(lowest, lo), max(highest, hi)
    return highest if end else lowest


@inner
def place_unit(p: int, unit: int) -> int:
    """Put what windows want of one chunk in its places; what became of it."""
    slot, steps = word(word(p, SLOTS), unit), word(p, CHUNK_STRIDES)
    if slot and word(word(p, READY), unit):
        place_pieces(p, unit, slot, steps)
        return DONE
    lo, hi = 0, word(p, CHUNK_NBYTES)
    if not slot:
        lo, hi = reach_of(p, unit, 0), reach_of(p, unit, 1)
    there = word(word(p, SIZES), unit) >= 0
    at = fetch(p, unit, slot, lo, hi) if there else MISSING
    if at == MISSING:
        place_pieces(p, unit, word(p, FILL), 0)
        return NOT_THERE if there else DONE
    if at == 0:
        return LEFT_ALONE
    stage = word(p, STAGE_A)
    if slot:
        put(p, STAGE_A, slot)
    values = decoded(p, at, word(word(p, SIZES), unit), lo, hi)
    put(p, STAGE_A, stage)
    if not values:
        return LEFT_ALONE
    if slot and values != slot:
        copy_row(slot, values, hi)
    place_pieces(p, unit, values, steps)
    return DONE


def kernel(p: int) -> int:
    """Do units, part by part until none is left; how many were not done."""
    failures = 0
    while True:
        part = take_one(word(p, NEXT))
        if part >= word(p, PARTS):
            break
        bounds = word(p, BOUNDS)
        put(p, HELD_FILE, -1)
        for unit in range(word(bounds, part), word(bounds, part + 1)):
            status = place_unit(p, unit)
            if status != DONE:
                put(word(p, STATUS), unit, status)
                failures += 1
    fence()
    return failures
