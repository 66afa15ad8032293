"""Decodes chunks that lie in memory or in files, and puts each in its place, or gives it away.

``chunk_block`` says what the words of the parameter block mean. With a consumer
(``consumer_block``) the values of each chunk go to it while they are in the cache. A chunk that
cannot be read or decoded is marked and left to the caller's plain way.
"""

from __future__ import annotations

from lazytensor.native.intrinsics import call_i64, fence, inner
from lazytensor.native.kernels.chunk_block import (
    ADDRESSES,
    ALONE,
    APART,
    AS_BOOL,
    BOUNDS,
    CHUNK_NBYTES,
    CHUNK_SHAPE,
    CHUNK_STRIDES,
    CLOCK,
    CONSUMER,
    CONSUMER_BLOCK,
    CONSUMER_NS,
    DIRECT,
    DONE,
    ENCODED,
    ENCODED_NBYTES,
    FILES,
    FILL,
    HELD_FILE,
    HELD_LO,
    HIS,
    IN_FILES,
    IN_MEMORY,
    ITEM,
    KIND,
    LEFT_ALONE,
    LOS,
    NEXT,
    NOT_THERE,
    NUMBERS,
    ORIGIN,
    PARTS,
    PIECE_WORDS,
    PIECES,
    RANK,
    RAW,
    READ,
    READ_NS,
    ROW,
    ROW_NBYTES,
    SHORT,
    SHUFFLED,
    SIZES,
    STAGE_A,
    STAGE_B,
    STATUS,
    STREAMED,
    SWAPPED,
    TARGET,
    TARGET_STRIDES,
    WORK,
    WORK_COUNTS,
    WORK_POSITION,
    WORK_STRIDES,
)
from lazytensor.native.kernels.consumer_block import SOURCE, SOURCE_STRIDES
from lazytensor.native.kernels.consumer_block import TARGET as RESULT
from lazytensor.native.kernels.decode import decompress
from lazytensor.native.kernels.files import (
    MISSING,
    close_file,
    file_size,
    now,
    open_file,
    read_file,
)
from lazytensor.native.kernels.memory import put, take_one, word
from lazytensor.native.kernels.scatter import scatter
from lazytensor.native.kernels.shuffle import one_or_zero, swap_bytes, unshuffle


@inner
def is_plain(p: int) -> bool:
    """Whether chunks are stored as they are in memory."""
    return word(p, KIND) == RAW and not (word(p, SHUFFLED) or word(p, SWAPPED) or word(p, AS_BOOL))


@inner
def read_planes(p: int, unit: int, fd: int, to: int, start: int, lo: int, hi: int) -> bool:
    """Read what is wanted of a plain unit that begins at ``start``: in one go, from its byte ``lo``
    to ``hi``, or plane by plane, without what lies between them."""
    apart, planes, nbytes = 0, 1, hi - lo
    if word(p, APART):
        for d in range(word(p, RANK)):
            step, n = word(word(p, CHUNK_STRIDES), d), word(word(p, WORK), WORK_COUNTS + d)
            if n > 1 and step > apart:
                apart, planes = step, n
        nbytes -= (planes - 1) * apart
        if apart - nbytes < word(p, APART):
            nbytes, planes = hi - lo, 1
    put(word(p, READ), unit, planes * nbytes)
    for i in range(planes):
        at = lo + i * apart
        if not read_file(p, fd, to + at, nbytes, start + at):
            return False
    return True


@inner
def fetch_file(p: int, unit: int, to: int, lo: int, hi: int) -> int:
    """Read a unit's own file; address of its bytes, 0 on failure, ``MISSING`` without a file.

    Of plain chunks at most ``[lo, hi)`` is read, and to ``to`` if that is not 0.
    """
    fd = open_file(p, word(word(p, ADDRESSES), unit))
    if fd < 0:
        return MISSING if fd == MISSING else 0
    size, at = file_size(p, fd), word(p, ENCODED)
    good = 0 <= size <= word(p, ENCODED_NBYTES)
    if good and is_plain(p):
        at = to or at
        good = size == word(p, CHUNK_NBYTES) and read_planes(p, unit, fd, at, 0, lo, hi)
    elif good:
        good = read_file(p, fd, at, size, 0)
        put(word(p, READ), unit, size)
    put(word(p, SIZES), unit, size)
    close_file(p, fd)
    return at if good else 0


@inner
def fetch_range(p: int, unit: int, to: int, begin: int, end: int) -> int:
    """Read the range that a unit lies in, if it is not held; address of its bytes, 0 on failure.

    Of units that are ``ALONE`` only ``[begin, end)`` is read, and to ``to`` if that is not 0.
    """
    fd, lo = word(word(p, FILES), unit), word(word(p, LOS), unit)
    encoded = word(p, ENCODED)
    if word(p, ALONE):
        at, start = to or encoded, word(word(p, ADDRESSES), unit)
        good = word(word(p, SIZES), unit) == word(p, CHUNK_NBYTES)
        good = good and read_planes(p, unit, fd, at, start, begin, end)
        return at if good else 0
    if fd != word(p, HELD_FILE) or lo != word(p, HELD_LO):
        nbytes = word(word(p, HIS), unit) - lo
        put(p, HELD_FILE, -1)
        if nbytes > word(p, ENCODED_NBYTES) or not read_file(p, fd, encoded, nbytes, lo):
            return 0
        put(p, HELD_FILE, fd)
        put(p, HELD_LO, lo)
    return encoded + word(word(p, ADDRESSES), unit) - lo


@inner
def fetch(p: int, unit: int, to: int, lo: int, hi: int) -> int:
    """Address of the encoded bytes of a unit, 0 on failure, ``MISSING``; see ``fetch_file``."""
    if word(p, ORIGIN) == IN_MEMORY:
        return word(word(p, ADDRESSES), unit)
    begin = now(p) if word(p, CLOCK) else 0
    if word(p, ORIGIN) == IN_FILES:
        at = fetch_file(p, unit, to, lo, hi)
    else:
        at = fetch_range(p, unit, to, lo, hi)
    if begin:
        put(p, READ_NS, word(p, READ_NS) + now(p) - begin)
    return at


@inner
def decoded(p: int, at: int, size: int, lo: int, hi: int) -> int:
    """Address of the values of one chunk, or 0 if it could not be decoded.

    Only the bytes in ``[lo, hi)`` are sure to be there.
    """
    nbytes, stage = word(p, CHUNK_NBYTES), word(p, STAGE_A)
    shuffled, swapped, as_bool = word(p, SHUFFLED), word(p, SWAPPED), word(p, AS_BOOL)
    if is_plain(p):
        return at if size == nbytes else 0
    if shuffled:
        lo, hi = 0, nbytes
    if not decompress(p, at, size, stage, lo, hi):
        return 0
    if shuffled:
        turned = word(p, STAGE_B)
        unshuffle(turned, stage, nbytes // shuffled, shuffled)
        stage = turned
    if swapped:
        swap_bytes(stage, nbytes // swapped, swapped)
    if as_bool:
        one_or_zero(stage, nbytes)
    return stage


@inner
def piece_of(p: int, d: int, i: int) -> int:
    """Address of the entry of the i-th piece along a dim."""
    return word(word(p, PIECES), 2 * d + 1) + 8 * PIECE_WORDS * i


@inner
def deliver(p: int, to: int, at: int, steps: int, streamed: bool) -> None:
    """Put values in their place, or give them to the consumer; their counts and position are in
    ``WORK``, and without ``steps`` they are one value everywhere."""
    function = word(p, CONSUMER)
    if function == 0:
        places, rank = word(p, TARGET_STRIDES), word(p, RANK)
        scatter(to, at, word(p, WORK), rank, steps, places, word(p, ITEM), streamed)
        return
    block = word(p, CONSUMER_BLOCK)
    put(block, SOURCE, at)
    put(block, SOURCE_STRIDES, steps)
    put(block, RESULT, to)
    begin = now(p) if word(p, CLOCK) else 0
    call_i64(function, (block,))
    if begin:
        put(p, CONSUMER_NS, word(p, CONSUMER_NS) + now(p) - begin)


@inner
def decode_unit(p: int, unit: int) -> int:
    """Put one chunk in its place; what became of it."""
    rank, work, item = word(p, RANK), word(p, WORK), word(p, ITEM)
    number = word(word(p, NUMBERS), unit)
    to, offset, reach, whole = word(p, TARGET), 0, item, True
    for d in range(rank - 1, -1, -1):
        count = word(word(p, PIECES), 2 * d)
        piece = piece_of(p, d, number % count)
        number //= count
        extent = word(piece, 1)
        put(work, WORK_COUNTS + d, extent)
        whole = whole and extent == word(word(p, CHUNK_SHAPE), d)
        offset += word(piece, 0)
        reach += (extent - 1) * word(word(p, CHUNK_STRIDES), d)
        to += word(piece, 2)
        put(work, WORK_POSITION + d, word(piece, 3))
    direct = whole and word(p, DIRECT) != 0
    at = MISSING
    if word(word(p, SIZES), unit) >= 0:
        at = fetch(p, unit, to if direct else 0, offset, offset + reach)
    if at == MISSING:
        deliver(p, to, word(p, FILL), 0, False)
        return NOT_THERE if word(word(p, SIZES), unit) >= 0 else DONE
    size = word(word(p, SIZES), unit)
    if at == 0:
        return LEFT_ALONE
    if direct:
        good = at == to or decompress(p, at, size, to, 0, word(p, CHUNK_NBYTES))
        return DONE if good else LEFT_ALONE
    values = decoded(p, at, size, offset, offset + reach)
    if not values:
        return LEFT_ALONE
    deliver(p, to, values + offset, word(p, CHUNK_STRIDES), word(p, STREAMED) != 0)
    return DONE


@inner
def row_of(p: int, unit: int, end: int) -> int:
    """How many units from this one on, before ``end``, lie side by side along the last dim.

    1 where they leave one by one as well: where their rows are long (``SHORT``), or not consecutive
    in the target.
    """
    rank, short = word(p, RANK), word(p, SHORT)
    if rank == 0 or short == 0:
        return 1
    numbers, sizes = word(p, NUMBERS), word(p, SIZES)
    number, count = word(numbers, unit), word(word(p, PIECES), 2 * (rank - 1))
    first = number % count
    nbytes = word(p, ITEM)
    for d in range(rank - 1):
        nbytes *= word(word(p, CHUNK_SHAPE), d)
    most = min(count - first, end - unit)
    n, extent = 0, 0
    while n < most and word(numbers, unit + n) == number + n and word(sizes, unit + n) >= 0:
        wide = word(piece_of(p, rank - 1, first + n), 1)
        if wide >= short or (extent + wide) * nbytes > word(p, ROW_NBYTES):
            break
        extent += wide
        n += 1
    return max(1, n)


@inner
def decode_row(p: int, unit: int, n: int) -> int:
    """Put units that lie side by side in place together; how many were not done.

    A short row of a chunk is a part of a cache line, and the rows of a chunk lie so regularly in
    the target that they displace each other from the cache before the line is complete. So the
    chunks are put side by side in a compact place first, and long rows copied from there.
    """
    rank, work, item, row = word(p, RANK), word(p, WORK), word(p, ITEM), word(p, ROW)
    last = rank - 1
    number = word(word(p, NUMBERS), unit)
    first = number % word(word(p, PIECES), 2 * last)
    number //= word(word(p, PIECES), 2 * last)
    begin = word(piece_of(p, last, first), 3)
    piece = piece_of(p, last, first + n - 1)
    strides = work + 8 * WORK_STRIDES
    put(strides, last, item)
    step = (word(piece, 3) + word(piece, 1) - begin) * item
    to, offset, reach = word(p, TARGET), 0, item
    for d in range(last - 1, -1, -1):
        count = word(word(p, PIECES), 2 * d)
        piece = piece_of(p, d, number % count)
        number //= count
        put(work, WORK_COUNTS + d, word(piece, 1))
        put(strides, d, step)
        step *= word(piece, 1)
        offset += word(piece, 0)
        reach += (word(piece, 1) - 1) * word(word(p, CHUNK_STRIDES), d)
        to += word(piece, 2)
        put(work, WORK_POSITION + d, word(piece, 3))
    failures, run = 0, 0
    for k in range(n + 1):
        piece = piece_of(p, last, first + k)
        if k < n:
            lo = offset + word(piece, 0)
            hi = lo + reach + (word(piece, 1) - 1) * word(word(p, CHUNK_STRIDES), last)
            put(work, WORK_COUNTS + last, word(piece, 1))
            at, status = fetch(p, unit + k, 0, lo, hi), DONE
            steps = word(p, CHUNK_STRIDES)
            if at == MISSING:
                status, at, steps = NOT_THERE, word(p, FILL), 0
            elif at:
                at = decoded(p, at, word(word(p, SIZES), unit + k), lo, hi)
                at = at + lo if at else 0
            if at:
                place = row + (word(piece, 3) - begin) * item
                scatter(place, at, work, rank, steps, strides, item, False)
            else:
                status = LEFT_ALONE
            if status != DONE:
                put(word(p, STATUS), unit + k, status)
                failures += 1
            if at:
                continue
        # Those up to here leave together; of a chunk that is left alone, nobody is told anything.
        if run < k:
            piece = piece_of(p, last, first + run)
            place = word(piece, 3)
            put(work, WORK_POSITION + last, place)
            ends = piece_of(p, last, first + k - 1)
            put(work, WORK_COUNTS + last, word(ends, 3) + word(ends, 1) - place)
            values, streamed = row + (place - begin) * item, word(p, STREAMED) != 0
            deliver(p, to + word(piece, 2), values, strides, streamed)
        run = k + 1
    return failures


@inner
def decode_part(p: int, unit: int, end: int) -> int:
    """Put units in their places; how many were not done."""
    failures = 0
    put(p, HELD_FILE, -1)
    while unit < end:
        n = row_of(p, unit, end)
        if n > 1:
            failures += decode_row(p, unit, n)
        else:
            status = decode_unit(p, unit)
            if status != DONE:
                put(word(p, STATUS), unit, status)
                failures += 1
        unit += n
    return failures


def kernel(p: int) -> int:
    """Put units in their places, part by part until none is left; how many were not done."""
    failures = 0
    while True:
        part = take_one(word(p, NEXT))
        if part >= word(p, PARTS):
            break
        bounds = word(p, BOUNDS)
        failures += decode_part(p, word(bounds, part), word(bounds, part + 1))
    fence()
    return failures
