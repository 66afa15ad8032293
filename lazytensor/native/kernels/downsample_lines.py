"""Lines of results: as many windows at once as a vector of the processor has lanes.

The code of one vector of results is written here instruction by instruction. A compiler that is
given loops over rows of 32 values spends its time before and behind them, and cannot know that
neighbours may be picked apart by shuffles; the same steps in vectors are 2 to 4 times as fast.

A window has ``rows`` rows of ``inner`` neighbours. Whole vectors of neighbours of all windows are
loaded row by row; what can be done row with row is done first, then neighbours are picked apart.

Numbers are reduced as integers that order as they do: see ``exec.kernels.downsample_keys``, whose
keys these are. The mean of signed integers is that of the unsigned ones they are when the lowest
becomes 0: the halves between them have the same even neighbour.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import types

from lazytensor.native.intrinsics import inner as inner_function
from lazytensor.native.intrinsics import intrinsic
from lazytensor.native.kernels.networks import odd_even_merge_sort

Vector = Any
"""A vector of LLVM's, while code is written."""

LINE = 64
"""Bytes of results that are made at once, if there are as many."""

_EXPONENT_BITS = {"f2": 5, "f4": 8, "f8": 11, "bfloat16": 8}


class Numbers(NamedTuple):
    """What is reduced: bytes each, ``u``, ``i`` or ``f``, and the bits of infinity if they have
    one."""

    size: int
    kind: str
    infinity: int

    @property
    def bits(self) -> int:
        """Bits of each."""
        return 8 * self.size

    @property
    def top(self) -> int:
        """The sign bit."""
        return 1 << self.bits - 1

    @property
    def nan(self) -> int:
        """The bits of the NaN that stands for all of them: infinity and the bit below."""
        return self.infinity | (self.infinity & -self.infinity) >> 1


def numbers_of(code: str) -> Numbers:
    """The numbers of a name such as ``u2``, ``f4`` or ``bfloat16``."""
    size = 2 if code == "bfloat16" else int(code[1:])
    exponent = _EXPONENT_BITS.get(code)
    if exponent is None:
        return Numbers(size, code[0], 0)
    fraction = 8 * size - 1 - exponent
    return Numbers(size, "f", (1 << exponent) - 1 << fraction)


class Lanes:
    """Writes code for vectors of some length."""

    def __init__(self, builder: Any, numbers: Numbers, count: int) -> None:
        self.builder = builder
        self.numbers = numbers
        self.count = count

    def constant(self, kind: Any, value: int | float) -> Vector:
        """The same number in every lane of a vector of some kind."""
        return ir.Constant(kind, [value] * kind.count)

    def like(self, vector: Vector, value: int) -> Vector:
        """The same integer in every lane; the sign bit counts as one."""
        top = 1 << vector.type.element.width - 1
        return self.constant(vector.type, value - 2 * top if value >= top else value)

    def pick(self, vector: Vector, start: int, step: int) -> Vector:
        """Every ``step``-th lane."""
        if step == 1:
            return vector
        lanes = list(range(start, vector.type.count, step))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
        return self.builder.shuffle_vector(vector, vector, mask)

    def load(self, at: Any, count: int, element: Any) -> Vector:
        """So many elements side by side, at any address."""
        kind = ir.VectorType(element, count)
        found = self.builder.load(self.builder.inttoptr(at, kind.as_pointer()))
        found.align = 1
        return found

    def less(self, left: Vector, right: Vector) -> Vector:
        """Where the one is less than the other; by their signs if the keys have one."""
        compare = self.builder.icmp_unsigned
        if self.numbers.kind != "u":
            compare = self.builder.icmp_signed
        return compare("<", left, right)

    def smaller(self, left: Vector, right: Vector) -> Vector:
        """Lane by lane."""
        return self.builder.select(self.less(left, right), left, right)

    def larger(self, left: Vector, right: Vector) -> Vector:
        """Lane by lane."""
        return self.builder.select(self.less(left, right), right, left)

    def flip(self, bits: Vector) -> Vector:
        """Sign and magnitude to two's complement and back: -0.0 is -1, and 0.0 is 0."""
        b, numbers = self.builder, self.numbers
        signs = b.ashr(bits, self.like(bits, numbers.bits - 1))
        return b.xor(b.and_(signs, self.like(bits, numbers.top - 1)), bits)

    def keys(self, bits: Vector, nan: int) -> Vector:
        """Integers that order as the numbers do, all NaNs as ``nan``."""
        b, numbers = self.builder, self.numbers
        if numbers.kind != "f":
            return bits
        magnitude = b.and_(bits, self.like(bits, numbers.top - 1))
        is_nan = b.icmp_signed(">", magnitude, self.like(bits, numbers.infinity))
        return b.select(is_nan, self.like(bits, nan), self.flip(bits))

    def sort(self, places: list[Vector]) -> None:
        """Sort the places of every lane."""
        for low, high in odd_even_merge_sort(len(places)):
            left, right = places[low], places[high]
            less = self.less(left, right)
            places[low] = self.builder.select(less, left, right)
            places[high] = self.builder.select(less, right, left)


Rows = list[Vector]
Reduction = Callable[[Lanes, Rows, int], Vector]
"""From the rows, with as many neighbours for each lane, the results."""


def _each_place(lanes: Lanes, rows: Rows, inner: int) -> list[Vector]:
    """One vector for each place of the windows, in C order."""
    return [lanes.pick(row, k, inner) for row in rows for k in range(inner)]


def _integer_mean(lanes: Lanes, rows: Rows, inner: int) -> Vector:
    """The exact sum of few values has at most twice their bits; rounding is half to even."""
    b, numbers, count = lanes.builder, lanes.numbers, len(rows) * inner
    narrow, wide = ir.IntType(numbers.bits), ir.IntType(2 * numbers.bits)
    if numbers.kind == "i":
        rows = [b.xor(row, lanes.like(row, numbers.top)) for row in rows]
    if inner % 2:
        sums = [b.zext(row, ir.VectorType(wide, row.type.count)) for row in rows]
    else:  # two neighbours are one wide integer
        inner //= 2
        pairs = [b.bitcast(row, ir.VectorType(wide, row.type.count // 2)) for row in rows]
        low = lanes.like(pairs[0], (1 << numbers.bits) - 1)
        half = lanes.like(pairs[0], numbers.bits)
        sums = [b.add(b.and_(pair, low), b.lshr(pair, half)) for pair in pairs]
    total = reduce(b.add, sums)
    total = reduce(b.add, [lanes.pick(total, k, inner) for k in range(inner)])
    mean = b.trunc(_divided(lanes, total, count), ir.VectorType(narrow, lanes.count))
    return b.xor(mean, lanes.like(mean, numbers.top)) if numbers.kind == "i" else mean


def _divided(lanes: Lanes, total: Vector, count: int) -> Vector:
    """``total / count``, rounded half to even."""
    b, one = lanes.builder, lanes.like(total, 1)
    if count & (count - 1) == 0:
        # Half less one, and the parity of the floor, carry into the quotient when they should.
        shift = lanes.like(total, count.bit_length() - 1)
        odd = b.and_(b.lshr(total, shift), one)
        return b.lshr(b.add(b.add(total, lanes.like(total, count // 2 - 1)), odd), shift)
    total = b.add(total, lanes.like(total, count // 2))
    quotient = b.udiv(total, lanes.like(total, count))
    if count % 2:
        return quotient
    tie = b.icmp_unsigned("==", b.mul(quotient, lanes.like(total, count)), total)
    odd = b.and_(quotient, one)
    return b.sub(quotient, b.select(tie, odd, lanes.like(total, 0)))


def _float_mean(lanes: Lanes, rows: Rows, inner: int) -> Vector:
    """The sum in C order, from 0: so a sum of -0.0 is 0.0."""
    b = lanes.builder
    places = _each_place(lanes, rows, inner)
    total = reduce(b.fadd, places, lanes.constant(places[0].type, 0.0))
    return b.fdiv(total, lanes.constant(total.type, float(len(places))))


def _smallest(lanes: Lanes, rows: Rows, inner: int) -> Vector:
    return _extreme(lanes, rows, inner, lanes.smaller, lanes.numbers.nan, 0)


def _largest(lanes: Lanes, rows: Rows, inner: int) -> Vector:
    return _extreme(lanes, rows, inner, lanes.larger, lanes.numbers.top, lanes.numbers.top)


def _extreme(
    lanes: Lanes, rows: Rows, inner: int, better: Callable[..., Vector], nan: int, sign: int
) -> Vector:
    """NaN is worse than all numbers; a window of NaNs gives the infinity with that sign."""
    b, numbers = lanes.builder, lanes.numbers
    found = reduce(better, [lanes.keys(row, nan) for row in rows])
    found = reduce(better, [lanes.pick(found, k, inner) for k in range(inner)])
    if numbers.kind != "f":
        return found
    none = b.icmp_signed("==", found, lanes.like(found, nan))
    return b.select(none, lanes.like(found, numbers.infinity | sign), lanes.flip(found))


def _median(lanes: Lanes, rows: Rows, inner: int) -> Vector:
    """The lower middle one of two sorted halves of the places.

    Of ``i + j`` smallest values, so many of each half, the last is the larger one of the last of
    each half; the right ``i`` is that for which it is smallest.
    """
    keys = [lanes.keys(row, lanes.numbers.nan) for row in rows]
    if inner == 2:
        lanes.sort(keys)
        halves = [[lanes.pick(row, k, 2) for row in keys] for k in range(2)]
    else:
        places = _each_place(lanes, keys, inner)
        halves = [places[: len(places) // 2], places[len(places) // 2 :]]
        for half in halves:
            lanes.sort(half)
    low, high = halves
    wanted = (len(low) + len(high) - 1) // 2 + 1
    candidates = []
    for i in range(max(0, wanted - len(high)), min(len(low), wanted) + 1):
        lasts = low[i - 1 : i] if i else []
        lasts = lasts + (high[wanted - i - 1 : wanted - i] if wanted > i else [])
        candidates.append(reduce(lanes.larger, lasts))
    median = reduce(lanes.smaller, candidates)
    return lanes.flip(median) if lanes.numbers.kind == "f" else median


def _mode(lanes: Lanes, rows: Rows, inner: int) -> Vector:
    """The first value of the longest run of equal ones, when sorted."""
    b, floating = lanes.builder, lanes.numbers.kind == "f"
    keys = [lanes.keys(row, lanes.numbers.nan) for row in rows]
    places = _each_place(lanes, keys, inner)
    lanes.sort(places)
    best = start = previous = places[0]
    one = lanes.like(best, 1)
    length = longest = one
    for current in places[1:]:
        same = b.icmp_signed("==", previous, current)
        if floating:  # -0.0 and the 0.0 behind it are one value
            negative = b.icmp_signed("==", previous, lanes.like(previous, -1))
            zero = b.icmp_signed("==", current, lanes.like(current, 0))
            same = b.or_(same, b.and_(negative, zero))
        length = b.select(same, b.add(length, one), one)
        start = b.select(same, start, current) if floating else current
        longer = b.icmp_unsigned(">", length, longest)
        best = b.select(longer, start, best)
        longest = b.select(longer, length, longest)
        previous = current
    return lanes.flip(best) if floating else best


_REDUCTIONS: dict[str, Reduction] = {
    "median": _median,
    "mode": _mode,
    "min": _smallest,
    "max": _largest,
}
_ELEMENTS = {4: ir.FloatType(), 8: ir.DoubleType()}


def _lanes_of(method: str, numbers: Numbers, inner: int, count: int) -> Any:
    """``reduce_lanes(target, source, offsets)``: ``count`` results of windows side by side."""
    summed_floats = method == "mean" and numbers.kind == "f"
    element = _ELEMENTS[numbers.size] if summed_floats else ir.IntType(numbers.bits)
    reduction = _REDUCTIONS.get(method, _float_mean if summed_floats else _integer_mean)

    @intrinsic
    def reduce_lanes(typing: Any, target: Any, source: Any, offsets: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            lanes = Lanes(builder, numbers, count)
            rows = [
                lanes.load(
                    builder.add(values[1], builder.extract_value(values[2], r)),
                    count * inner,
                    element,
                )
                for r in range(signature.args[2].count)
            ]
            results = reduction(lanes, rows, inner)
            where = builder.inttoptr(values[0], results.type.as_pointer())
            builder.store(results, where, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, offsets), emit

    return reduce_lanes


def _blocks_of(method: str, numbers: Numbers, inner: int, count: int) -> Any:
    """``blocks(target, source, n, offsets)``: a line of at least ``count`` results.

    What would be less than a vector at its end is a vector that ends there: some results twice.
    """
    reduce_lanes = _lanes_of(method, numbers, inner, count)
    size, reach = numbers.size, numbers.size * inner

    @inner_function
    def blocks(target: int, source: int, n: int, offsets: Any) -> None:
        for i in range((n + count - 1) // count):
            k = min(i * count, n - count)
            reduce_lanes(target + k * size, source + k * reach, offsets)

    return blocks


def line_of(method: str, code: str, rows: int, inner: int) -> Any:
    """``line(target, source, n, offsets)``: ``n`` results side by side.

    ``source`` is the address of the first window's first value, ``offsets`` a tuple of the bytes
    from there to each of the ``rows`` rows.
    """
    numbers = numbers_of(code)
    most = max(LINE // numbers.size, 4)
    a, b, c = most, most // 2, max(most // 8, 1)
    blocks_a, blocks_b, blocks_c, ones = (
        _blocks_of(method, numbers, inner, count) for count in (a, b, c, 1)
    )

    @inner_function
    def line(target: int, source: int, n: int, offsets: Any) -> None:
        if n >= a:
            blocks_a(target, source, n, offsets)
        elif n >= b:
            blocks_b(target, source, n, offsets)
        elif n >= c:
            blocks_c(target, source, n, offsets)
        else:
            ones(target, source, n, offsets)

    return line
