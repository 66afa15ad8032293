"""Running sums of integers and extremes of values, in lanes of vector registers.

Every total is kept in 32 lanes: lane ``i`` of a run takes its values ``i``, ``i + 32`` and so on,
what is left at the end of a run goes into one more, and lanes meet in the order of a tree. All of
them are exact, so no order matters; the loops are written in LLVM's language, because it would not
find the lanes by itself. Sums of floats, whose order does matter, are another matter
(``native.kernels.lanes``).

Each dtype has *totals*, named in ``TOTALS``. Floats are compared as integers in the same order
(``-0.0`` below ``0.0``), and NaN as the least of all where the least is looked for, as the greatest
where that is: so NaN wins, and of zeros of both signs the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types

from lazytensor.native.intrinsics import intrinsic

__all__ = [
    "TOTALS",
    "as_double",
    "cell_lanes",
    "form_of",
    "load",
    "row_lanes",
    "run_lanes",
    "store",
]

LANES = 32

_BIT, _I8, _I32, _I64 = (ir.IntType(n) for n in (1, 8, 32, 64))
_DOUBLE = ir.DoubleType()


class Form(NamedTuple):
    """A dtype and a number of lanes."""

    kind: str
    bits: int
    lanes: int

    @property
    def element(self) -> Any:
        """The type of one value: doubles, singles, or integers of its size."""
        if self.kind == "f" and self.bits > 16:
            return _DOUBLE if self.bits == 64 else ir.FloatType()
        return ir.IntType(self.bits)

    @property
    def integer(self) -> Any:
        """The integer of the same size."""
        return self.of(ir.IntType(self.bits))

    def of(self, element: Any) -> Any:
        """A vector of something else."""
        return ir.VectorType(element, self.lanes)

    def all(self, element: Any, value: Any) -> Any:
        """A vector of one value everywhere."""
        return ir.Constant(self.of(element), [value] * self.lanes)


def form_of(dtype: str, lanes: int) -> Form:
    """That of a dtype, by kind and size."""
    kind = "u" if dtype[0] == "b" else dtype[0]
    return Form(kind, 8 * int(dtype[1:]), lanes)


def _bits(b: Any, x: Any, f: Form) -> Any:
    return x if f.element == ir.IntType(f.bits) else b.bitcast(x, f.integer)


def _wide(b: Any, x: Any, f: Form, bits: int) -> Any:
    if bits == f.bits:
        return x
    kind = f.of(ir.IntType(bits))
    return b.sext(x, kind) if f.kind == "i" else b.zext(x, kind)


def as_double(b: Any, x: Any, f: Form) -> Any:
    """A vector of values as doubles."""
    kind = f.of(_DOUBLE)
    if f.kind == "f":
        return x if f.bits == 64 else b.fpext(x, kind)
    return b.sitofp(x, kind) if f.kind == "i" else b.uitofp(x, kind)


_INFINITY = {16: 0x7C00, 32: 0x7F80_0000, 64: 0x7FF0_0000_0000_0000}
"""Floats from here on, their sign taken off, are not finite."""


def _key(b: Any, x: Any, f: Form, lost: int) -> Any:
    """Integers in the order of the values; ``lost`` for NaN."""
    if f.kind != "f":
        return x
    integer = ir.IntType(f.bits)
    bits = _bits(b, x, f)
    turned = b.lshr(b.ashr(bits, f.all(integer, f.bits - 1)), f.all(integer, 1))
    infinity = _INFINITY[f.bits]
    size = b.and_(bits, f.all(integer, (1 << (f.bits - 1)) - 1))
    is_nan = b.icmp_unsigned(">", size, f.all(integer, infinity))
    return b.select(is_nan, f.all(integer, lost), b.xor(bits, turned))


def _finite_key(b: Any, x: Any, f: Form, sign: int) -> Any:
    """The same; infinity of a sign for what is not finite."""
    if f.kind != "f":
        return x
    integer = ir.IntType(f.bits)
    bits = _bits(b, x, f)
    turned = b.lshr(b.ashr(bits, f.all(integer, f.bits - 1)), f.all(integer, 1))
    infinity = _INFINITY[f.bits]
    size = b.and_(bits, f.all(integer, (1 << (f.bits - 1)) - 1))
    is_finite = b.icmp_unsigned("<", size, f.all(integer, infinity))
    lost = infinity if sign > 0 else -1 - infinity
    return b.select(is_finite, b.xor(bits, turned), f.all(integer, lost))


def _less(b: Any, x: Any, y: Any, f: Form) -> Any:
    compare = b.icmp_unsigned if f.kind == "u" else b.icmp_signed
    return compare("<", x, y)


def _range(f: Form) -> tuple[int, int]:
    """The least and the greatest key, as LLVM writes them."""
    return (0, (1 << f.bits) - 1) if f.kind == "u" else (-(1 << f.bits - 1), (1 << f.bits - 1) - 1)


class Total(NamedTuple):
    """One kind of total.

    ``bits(form)``: of its integers. ``first(form)``: what changes nothing.
    ``step(builder, total, values, form)``: with more values. ``join``: of two totals. ``word``: of
    one lane as an int64.
    """

    bits: Callable[[Form], int]
    first: Callable[[Form], Any]
    step: Callable[[Any, Any, Any, Form], Any]
    join: Callable[[Any, Any, Any, Form], Any]
    word: Callable[[Any, Any, Form], Any]

    def element(self, f: Form) -> Any:
        """The type of one total."""
        return ir.IntType(self.bits(f))


def _narrow(f: Form) -> int:
    """Of integers of up to 16 bits, 2^15 can be added in 32 bits."""
    return 32 if f.bits <= 16 else 64


def _to_word(b: Any, total: Any, f: Form) -> Any:
    if total.type == _I64:
        return total
    return b.zext(total, _I64) if f.kind == "u" else b.sext(total, _I64)


def _key_word(b: Any, total: Any, f: Form) -> Any:
    """Extremes are compared as signed words."""
    word = _to_word(b, total, f)
    return b.xor(word, _I64(-(1 << 63))) if f.kind == "u" and f.bits == 64 else word


def _unsigned_word(b: Any, total: Any, f: Form) -> Any:
    return total if total.type == _I64 else b.zext(total, _I64)


def _add(b: Any, one: Any, other: Any, f: Form) -> Any:
    return b.add(one, other)


def _square(b: Any, total: Any, x: Any, f: Form) -> Any:
    wide = _wide(b, x, f, 32)
    square = b.mul(wide, wide)
    return b.add(total, square if f.bits == 8 else b.zext(square, f.of(_I64)))


def _nonzero(b: Any, total: Any, x: Any, f: Form) -> Any:
    """NaN is not 0, and -0.0 is."""
    integer = ir.IntType(f.bits)
    bits = _bits(b, x, f)
    if f.kind == "f":
        bits = b.shl(bits, f.all(integer, 1))
    there = b.icmp_unsigned("!=", bits, f.all(integer, 0))
    return b.add(total, b.zext(there, f.of(_I32)))


def _least(b: Any, total: Any, x: Any, f: Form) -> Any:
    return _lesser(b, total, _key(b, x, f, _range(f)[0]), f)


def _greatest(b: Any, total: Any, x: Any, f: Form) -> Any:
    return _greater(b, total, _key(b, x, f, _range(f)[1]), f)


def _finite_least(b: Any, total: Any, x: Any, f: Form) -> Any:
    return _lesser(b, total, _finite_key(b, x, f, 1), f)


def _finite_greatest(b: Any, total: Any, x: Any, f: Form) -> Any:
    return _greater(b, total, _finite_key(b, x, f, -1), f)


def _lesser(b: Any, one: Any, other: Any, f: Form) -> Any:
    return b.select(_less(b, other, one, f), other, one)


def _greater(b: Any, one: Any, other: Any, f: Form) -> Any:
    return b.select(_less(b, one, other, f), other, one)


TOTALS = {
    # Integers modulo 2^64.
    "sum": Total(
        _narrow, lambda f: 0, lambda b, t, x, f: b.add(t, _wide(b, x, f, _narrow(f))), _add,
        _to_word,
    ),
    # Of integers of up to 16 bits.
    "squares": Total(
        lambda f: 32 if f.bits == 8 else 64, lambda f: 0, _square, _add, _unsigned_word
    ),
    "least": Total(lambda f: f.bits, lambda f: _range(f)[1], _least, _lesser, _key_word),
    "greatest": Total(lambda f: f.bits, lambda f: _range(f)[0], _greatest, _greater, _key_word),
    # Of floats; infinity where nothing is finite.
    "finite_least": Total(
        lambda f: f.bits, lambda f: _range(f)[1], _finite_least, _lesser, _key_word
    ),
    "finite_greatest": Total(
        lambda f: f.bits, lambda f: _range(f)[0], _finite_greatest, _greater, _key_word
    ),
    "nonzero": Total(lambda f: 32, lambda f: 0, _nonzero, _add, _unsigned_word),
}  # fmt: skip
"""Their names: what a fold is made of."""


def load(b: Any, at: Any, kind: Any) -> Any:
    """What is at an address, aligned or not."""
    found = b.load(b.inttoptr(at, kind.as_pointer()))
    found.align = 1
    return found


def store(b: Any, at: Any, value: Any) -> None:
    """Put a value at an address, aligned or not."""
    b.store(value, b.inttoptr(at, value.type.as_pointer()), align=1)


def _after(b: Any, at: Any, i: Any, size: int) -> Any:
    return b.add(at, b.mul(i, _I64(size)))


def _one_lane(b: Any, vector: Any, join: Callable[[Any, Any, Any, Form], Any], f: Form) -> Any:
    """Lanes as one element, half by half."""
    lanes = vector.type.count
    while lanes > 1:
        lanes //= 2
        halves = [
            b.shuffle_vector(
                vector, vector, ir.Constant(ir.VectorType(_I32, lanes), [*range(lo, lo + lanes)])
            )
            for lo in (0, lanes)
        ]
        vector = join(b, halves[0], halves[1], f)
    return b.extract_element(vector, _I32(0))


def _run(b: Any, dtype: str, at: Any, n: Any, what: Any) -> list[Any]:
    """One lane of everything that is totalled over a run.

    ``what(form)`` lists, for a number of lanes, the element, the first value, the step and the join
    of each.
    """
    size = int(dtype[1:])
    ends = []
    done = _I64(0)
    for lanes in (LANES, 1):
        f = form_of(dtype, lanes)
        totals = what(f)
        places: list[Any] = [cgutils.alloca_once(b, f.of(one[0])) for one in totals]  # type: ignore[no-untyped-call]
        for place, (element, first, _, _) in zip(places, totals, strict=True):
            b.store(f.all(element, first), place)
        count = b.sdiv(n, _I64(LANES)) if lanes > 1 else b.sub(n, done)
        with cgutils.for_range(b, count) as loop:
            where = _after(b, _after(b, at, done, size), loop.index, size * lanes)
            x = load(b, where, f.of(f.element))
            for place, (_, _, step, _) in zip(places, totals, strict=True):
                b.store(step(b, b.load(place), x, f), place)
        done = b.mul(count, _I64(LANES)) if lanes > 1 else done
        ends.append(
            [
                _one_lane(b, b.load(place), join, f)
                for place, (_, _, _, join) in zip(places, totals, strict=True)
            ]
        )
    scalar = form_of(dtype, 1)
    out = []
    for one, other, (_, _, _, join) in zip(*ends, what(scalar), strict=True):
        out.append(join(b, one, other, scalar))
    return out


def run_lanes(dtype: str, names: tuple[str, ...]) -> Callable[..., Any]:
    """``run(at, n, out)``: the totals of ``n`` contiguous values, a word for each, to ``out``."""
    kinds = [TOTALS[name] for name in names]

    def what(f: Form) -> list[Any]:
        return [(kind.element(f), kind.first(f), kind.step, kind.join) for kind in kinds]

    @intrinsic
    def run(typing: Any, at: Any, n: Any, out: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            found = _run(builder, dtype, values[0], values[1], what)
            scalar = form_of(dtype, 1)
            for i, (kind, total) in enumerate(zip(kinds, found, strict=True)):
                word = kind.word(builder, total, scalar)
                store(builder, builder.add(values[2], _I64(8 * i)), word)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), emit

    return run


def row_lanes(dtype: str, names: tuple[str, ...]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """``first(totals, step, n)`` and ``more(totals, step, at, rows, apart, n)``: totals of columns.

    The totals of one name begin ``step`` bytes after those of the name before, each of the size
    that it has in registers. ``first`` begins anew, ``more`` takes rows of values that are
    ``apart`` bytes from each other.
    """
    kinds = [TOTALS[name] for name in names]
    size = int(dtype[1:])

    def places(b: Any, totals: Any, step: Any, f: Form, i: Any) -> list[Any]:
        return [
            _after(b, b.add(totals, b.mul(step, _I64(k))), i, kind.bits(f) // 8)
            for k, kind in enumerate(kinds)
        ]

    @intrinsic
    def first(typing: Any, totals: Any, step: Any, n: Any) -> Any:
        def emit(context: Any, b: Any, signature: Any, values: Any) -> Any:
            totals, step, n = values

            def body(f: Form, i: Any) -> None:
                for kind, place in zip(kinds, places(b, totals, step, f, i), strict=True):
                    store(b, place, f.all(kind.element(f), kind.first(f)))

            _columns(b, dtype, n, body)
            return context.get_dummy_value()

        word = types.int64
        return types.void(word, word, word), emit

    @intrinsic
    def more(typing: Any, totals: Any, step: Any, at: Any, rows: Any, apart: Any, n: Any) -> Any:
        def emit(context: Any, b: Any, signature: Any, values: Any) -> Any:
            totals, step, at, rows, apart, n = values

            def body(f: Form, i: Any) -> None:
                ends = places(b, totals, step, f, i)
                found: list[Any] = []
                for kind, end in zip(kinds, ends, strict=True):
                    vector = f.of(kind.element(f))
                    found.append(cgutils.alloca_once(b, vector))  # type: ignore[no-untyped-call]
                    b.store(load(b, end, vector), found[-1])
                source = _after(b, at, i, size)
                with cgutils.for_range(b, rows) as loop:
                    x = load(b, b.add(source, b.mul(loop.index, apart)), f.of(f.element))
                    for kind, place in zip(kinds, found, strict=True):
                        b.store(kind.step(b, b.load(place), x, f), place)
                for end, place in zip(ends, found, strict=True):
                    store(b, end, b.load(place))

            _columns(b, dtype, n, body)
            return context.get_dummy_value()

        word = types.int64
        return types.void(word, word, word, word, word, word), emit

    return first, more


def _columns(b: Any, dtype: str, n: Any, body: Callable[[Form, Any], None]) -> None:
    """``body(form, i)`` for all of ``n`` columns, ``LANES`` at a time, then one by one."""
    done: Any = _I64(0)
    for lanes in (LANES, 1):
        count = b.sdiv(n, _I64(LANES)) if lanes > 1 else b.sub(n, done)
        with cgutils.for_range(b, count) as loop:
            body(form_of(dtype, lanes), b.add(done, b.mul(loop.index, _I64(lanes))))
        done = b.mul(count, _I64(LANES)) if lanes > 1 else done


def cell_lanes(dtype: str, names: tuple[str, ...]) -> Callable[..., Any]:
    """``leave(totals, step, first, cell, plane, n)``: totals of columns to cells side by side.

    A plane for each total. Cells hold words: sums are added up, of extremes the lesser or greater
    is kept.
    """
    kinds = [TOTALS[name] for name in names]

    @intrinsic
    def leave(
        typing: Any, totals: Any, step: Any, first: Any, cell: Any, plane: Any, n: Any
    ) -> Any:
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            b = builder
            totals, step, first, cell, plane, n = values

            def body(f: Form, i: Any) -> None:
                for k, (name, kind) in enumerate(zip(names, kinds, strict=True)):
                    nbytes = kind.bits(f) // 8
                    column = _after(b, b.add(totals, b.mul(step, _I64(k))), b.add(first, i), nbytes)
                    found = load(b, column, f.of(kind.element(f)))
                    to = _after(b, b.add(cell, b.mul(plane, _I64(k))), i, 8)
                    _MEETS[name](b, found, to, f)

            _columns(b, dtype, n, body)
            return context.get_dummy_value()

        word = types.int64
        return types.void(word, word, word, word, word, word), emit

    return leave


def _words(b: Any, total: Any, f: Form, *, unsigned: bool) -> Any:
    """Lanes of integers as int64."""
    kind = f.of(_I64)
    if total.type == kind:
        return total
    return b.zext(total, kind) if unsigned or f.kind == "u" else b.sext(total, kind)


def _meet_sum(b: Any, found: Any, to: Any, f: Form) -> None:
    store(b, to, b.add(load(b, to, f.of(_I64)), _words(b, found, f, unsigned=False)))


def _meet_count(b: Any, found: Any, to: Any, f: Form) -> None:
    store(b, to, b.add(load(b, to, f.of(_I64)), _words(b, found, f, unsigned=True)))


def _meet_extreme(sign: str) -> Callable[..., None]:
    def meet(b: Any, found: Any, to: Any, f: Form) -> None:
        words = _words(b, found, f, unsigned=False)
        if f.kind == "u" and f.bits == 64:
            words = b.xor(words, f.all(_I64, -(1 << 63)))
        before = load(b, to, f.of(_I64))
        store(b, to, b.select(b.icmp_signed(sign, words, before), words, before))

    return meet


_MEETS: dict[str, Callable[..., None]] = {
    "sum": _meet_sum,
    "squares": _meet_count,
    "least": _meet_extreme("<"),
    "greatest": _meet_extreme(">"),
    "finite_least": _meet_extreme("<"),
    "finite_greatest": _meet_extreme(">"),
    "nonzero": _meet_count,
}
