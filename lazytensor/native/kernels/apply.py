"""The consumer that applies a map, element by element, to a box of any strides.

A map kernel knows consecutive elements only. Here the dims of a piece are put in the order of the
target, those that run on into each other for all operands are joined, and the whole is cut into
runs of a few thousand elements. An operand that lies in one stretch during a run is given to the
map where it is; any other is copied to the buffer first, and the result from there to its place.
``apply_block`` says what the words mean.
"""

from __future__ import annotations

from lazytensor.native.intrinsics import call_i64, fence, inner
from lazytensor.native.kernels.apply_block import (
    AT,
    CONSTANTS,
    COPIED,
    COPIED_SIZE,
    COPY,
    EXTENTS,
    FIRST_OTHER,
    LINE,
    MAP,
    OTHER_WORDS,
    OTHERS,
    PLACE_WORDS,
    RESULT_ITEM,
    RUN,
    SOURCE_ITEM,
    STRIDES,
)
from lazytensor.native.kernels.chunk_block import MOST_RANK, WORK_COUNTS
from lazytensor.native.kernels.consumer_block import (
    BUFFER,
    COUNTS,
    PARAMETERS,
    POSITION,
    RANK,
    SOURCE,
    SOURCE_STRIDES,
    STREAMED,
    TARGET,
    TARGET_STRIDES,
    WORK,
)
from lazytensor.native.kernels.memory import put, word
from lazytensor.native.kernels.scatter import scatter


@inner
def stride_of(t: int, o: int, d: int) -> int:
    """Bytes between neighbours of operand ``o`` along a dim."""
    return word(t, STRIDES + MOST_RANK * o + d)


@inner
def set_stride(t: int, o: int, d: int, value: int) -> None:
    """Set the stride of operand ``o`` along a dim."""
    put(t, STRIDES + MOST_RANK * o + d, value)


@inner
def place_of(t: int, m: int, o: int) -> int:
    """Where the words of operand ``o`` of ``m`` are; those of the counter come after the last."""
    return t + 8 * (MOST_RANK * (1 + 2 * m) + PLACE_WORDS * o)


@inner
def move(t: int, m: int, o: int, by: int) -> None:
    """Move the address of operand ``o`` by so many bytes."""
    place = place_of(t, m, o)
    put(place, AT, word(place, AT) + by)


@inner
def item_of(p: int, o: int) -> int:
    """Bytes of an element of operand ``o``."""
    if o == 0:
        return word(p, RESULT_ITEM)
    if o == 1:
        return word(p, SOURCE_ITEM)
    return word(p, FIRST_OTHER + OTHER_WORDS * (o - 2) + 1)


@inner
def given_stride(b: int, o: int, a: int) -> int:
    """Stride of operand ``o`` along dim ``a`` of the piece."""
    if o == 0:
        return word(word(b, TARGET_STRIDES), a)
    if o == 1:
        return word(word(b, SOURCE_STRIDES), a) if word(b, SOURCE_STRIDES) else 0
    return word(word(word(b, PARAMETERS), FIRST_OTHER + OTHER_WORDS * (o - 2) + 2), a)


@inner
def begin(b: int, o: int) -> int:
    """Address of the first element of operand ``o``."""
    if o == 0:
        return word(b, TARGET)
    if o == 1:
        return word(b, SOURCE)
    at = word(word(b, PARAMETERS), FIRST_OTHER + OTHER_WORDS * (o - 2))
    for a in range(word(b, RANK)):
        at += word(word(b, POSITION), a) * given_stride(b, o, a)
    return at


@inner
def swap_dims_of_all(t: int, m: int, i: int, j: int) -> None:
    """Exchange two dims of all operands."""
    for o in range(m + 1):
        row = t + 8 * MOST_RANK * o
        kept = word(row, i)
        put(row, i, word(row, j))
        put(row, j, kept)


@inner
def dims_in_order(b: int, t: int, m: int) -> int:
    """Note the dims that matter, outermost in the target first; their number, negative if empty.

    The target runs upwards: a dim along which it does not is turned round for all operands.
    """
    n = 0
    for o in range(m):
        put(place_of(t, m, o), AT, begin(b, o))
    for a in range(word(b, RANK)):
        extent = word(word(b, COUNTS), a)
        if extent == 0:
            return -1
        if extent == 1:
            continue
        turned = given_stride(b, 0, a) < 0
        put(t, EXTENTS + n, extent)
        for o in range(m):
            step = given_stride(b, o, a)
            if turned:
                move(t, m, o, (extent - 1) * step)
                step = -step
            set_stride(t, o, n, step)
        k = n
        while k > 0 and stride_of(t, 0, k - 1) < stride_of(t, 0, k):
            swap_dims_of_all(t, m, k - 1, k)
            k -= 1
        n += 1
    return n


@inner
def joined_dims(t: int, m: int, n: int) -> int:
    """Make one of dims that run on into each other for all operands; how many are left."""
    if n == 0:  # one element: a dim of its own
        put(t, EXTENTS, 1)
        for o in range(m):
            set_stride(t, o, 0, 0)
        return 1
    k = 0
    for d in range(1, n):
        extent = word(t, EXTENTS + d)
        joins = True
        for o in range(m):
            joins = joins and stride_of(t, o, k) == stride_of(t, o, d) * extent
        if joins:
            extent *= word(t, EXTENTS + k)
        else:
            k += 1
        put(t, EXTENTS + k, extent)
        for o in range(m):
            set_stride(t, o, k, stride_of(t, o, d))
    return k + 1


@inner
def bring_source_along(t: int, m: int, n: int, item: int) -> None:
    """Where the source is consecutive along an outer dim only, make it the second innermost.

    A run then has whole lines of the source, too, and not one element of each.
    """
    if stride_of(t, 1, n - 1) == item:
        return
    for d in range(n - 2):
        if abs(stride_of(t, 1, d)) == item:
            swap_dims_of_all(t, m, d, n - 2)
            return


@inner
def lies_in_one(t: int, o: int, head: int, n: int, rows: int, item: int) -> bool:
    """Whether a run's elements of an operand are consecutive in memory."""
    for d in range(n - 1, head, -1):
        if stride_of(t, o, d) != item:
            return False
        item *= word(t, EXTENTS + d)
    return rows == 1 or stride_of(t, o, head) == item


@inner
def note_copy_strides(t: int, m: int, o: int, head: int, n: int, item: int) -> None:
    """Strides of the copy of an operand: in C order, without gaps."""
    for d in range(n - 1, head - 1, -1):
        put(t, STRIDES + MOST_RANK * (m + o) + d, item)
        item *= word(t, EXTENTS + d)


@inner
def whole_lines(t: int, n: int, at: int, item: int, head: int, rows: int) -> bool:
    """Whether the target of every run begins and ends with a cache line."""
    union = at
    for d in range(n - 1):
        union |= stride_of(t, 0, d)
    last = rows if head == n - 1 else word(t, EXTENTS + n - 1)
    return (union | last * item | word(t, EXTENTS + n - 1) * item) % LINE == 0


@inner
def fetched(
    t: int, m: int, o: int, at: int, run: int, head: int, rank: int, p: int, work: int
) -> int:
    """Address of the consecutive elements of an operand in a run: where they are, or their copy."""
    place = place_of(t, m, o)
    copy = word(place, COPY)
    if copy and (at != word(place, COPIED) or run > word(place, COPIED_SIZE)):
        strides = t + 8 * (STRIDES + MOST_RANK * o + head)
        scatter(copy, at, work, rank, strides, strides + 8 * MOST_RANK * m, item_of(p, o), False)
        put(place, COPIED, at)
        put(place, COPIED_SIZE, run)
    return copy or at


@inner
def map_run(
    b: int, t: int, m: int, head: int, rank: int, done: int, rows: int, size: int, streamed: bool
) -> None:
    """Map ``rows`` rows of dim ``head``, of ``size`` elements each, from row ``done`` on."""
    p, work = word(b, PARAMETERS), word(b, WORK)
    words = place_of(t, m, m) + 8 * MOST_RANK
    put(work, WORK_COUNTS, rows)
    put(words, 0, rows * size)
    put(words, 2, word(p, CONSTANTS))
    for o in range(1, m):
        at = word(place_of(t, m, o), AT) + done * stride_of(t, o, head)
        put(words, 2 + o, fetched(t, m, o, at, rows * size, head, rank, p, work))
    to = word(place_of(t, m, 0), AT) + done * stride_of(t, 0, head)
    copy = word(place_of(t, m, 0), COPY)
    put(words, 1, copy or to)
    call_i64(word(p, MAP), (words,))
    if copy:
        strides = t + 8 * (STRIDES + head)
        scatter(to, copy, work, rank, strides + 8 * MOST_RANK * m, strides, item_of(p, 0), streamed)


@inner
def go_on(t: int, m: int, head: int) -> bool:
    """Go on to the next element of the dims before ``head``; False after the last."""
    counter = place_of(t, m, m)
    for k in range(head - 1, -1, -1):
        done, extent = word(counter, k) + 1, word(t, EXTENTS + k)
        by = 1 if done < extent else 1 - extent
        for o in range(m):
            move(t, m, o, by * stride_of(t, o, k))
        put(counter, k, done if done < extent else 0)
        if done < extent:
            return True
    return False


@inner
def make_copies(b: int, t: int, m: int, head: int, n: int, rows: int, streamed: bool) -> None:
    """Note which operands are copied, and where to."""
    p = word(b, PARAMETERS)
    copy = (place_of(t, m, m) + 8 * (MOST_RANK + m + 2) + LINE - 1) & -LINE
    for o in range(m):
        item, place = item_of(p, o), place_of(t, m, o)
        direct = lies_in_one(t, o, head, n, rows, item) and not (o == 0 and streamed)
        put(place, COPY, 0 if direct else copy)
        put(place, COPIED, 0)
        put(place, COPIED_SIZE, 0)
        if not direct:
            note_copy_strides(t, m, o, head, n, item)
            copy += (word(p, RUN) * item + LINE - 1) & -LINE


def kernel(b: int) -> int:
    """Apply the map to one piece."""
    p, t = word(b, PARAMETERS), word(b, BUFFER)
    m, most = word(p, OTHERS) + 2, word(p, RUN)
    n = dims_in_order(b, t, m)
    if n < 0:
        return 0
    n = joined_dims(t, m, n)
    bring_source_along(t, m, n, word(p, SOURCE_ITEM))
    # A run: whole dims from the innermost on while they fit, and as many rows of the next as do.
    head, size = n - 1, 1
    while head > 0 and 2 * size * word(t, EXTENTS + head) <= most:
        size *= word(t, EXTENTS + head)
        head -= 1
    extent = word(t, EXTENTS + head)
    rows = min(extent, most // size)
    if head < n - 1:  # parts of about as many rows each
        parts = (extent + rows - 1) // rows
        rows = (extent + parts - 1) // parts
    to = word(place_of(t, m, 0), AT)
    streamed = word(b, STREAMED) != 0 and whole_lines(t, n, to, item_of(p, 0), head, rows)
    make_copies(b, t, m, head, n, rows, streamed)
    for k in range(head):
        put(place_of(t, m, m), k, 0)
    for d in range(head + 1, n):
        put(word(b, WORK), WORK_COUNTS + d - head, word(t, EXTENTS + d))
    while True:
        for done in range(0, extent, rows):
            map_run(b, t, m, head, n - head, done, min(rows, extent - done), size, streamed)
        if not go_on(t, m, head):
            break
    if streamed:
        fence()
    return 0
