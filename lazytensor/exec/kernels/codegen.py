"""Text of compiled kernels, made from expressions and the operation table.

A map kernel computes consecutive elements from consecutive elements: its words are the number of
elements, the address of the results, that of the constants (16 bytes for each), and that of every
operand that is an array. Strides, dims and positions are the business of who calls it. The text
names operations and dtypes only, no number of the program: equal work has equal text and is
compiled once.

Nothing is contracted or reordered, so results have NumPy's bits. What has no text is left to NumPy:
functions that its own vector code computes faster or otherwise, and conversions that it makes this
way here and that way there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np

from lazytensor.exec.kernels.cast import cast_into
from lazytensor.exec.kernels.expression import CAST, Expression, ExpressionStep
from lazytensor.plan.ops import ELEMENTWISE, OPERATIONS

__all__ = ["CONSTANT_NBYTES", "has_text", "source_of"]

CONSTANT_NBYTES = 16
"""Room of each constant."""

_CODES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"])
"""Dtypes that kernels know, in the byte order of the machine."""

_CALLED = r"\b(?:load|as|store)_[biuf][1248]\b"


@lru_cache(maxsize=1024)
def source_of(expr: Expression) -> str | None:
    """Source text of the map kernel of an expression; None where only NumPy is right, or as fast.

    >>> u2, f4 = np.dtype("u2"), np.dtype("f4")
    >>> text = source_of(Expression((u2,), (), (ExpressionStep("cast", (0,), f4),), 1))
    >>> [line.strip() for line in text.splitlines()[-4:]]
    ['v0 = load_u2(a0, i)', 'v1 = as_f4(v0)', 'store_f4(to, i, v1)', 'return 0']
    """
    dtypes = expr.dtypes
    if any(_code(dtype) is None for dtype in dtypes):
        return None
    count, first = len(expr.arrays), len(expr.arrays) + len(expr.constants)
    used = _used(expr)
    head = [f"    a{k} = word(p, {3 + k})" for k in range(count) if k in used]
    head += [
        f"    v{count + k} = load_{_code(dtype)}(constants + {CONSTANT_NBYTES * k}, 0)"
        for k, dtype in enumerate(expr.constants)
        if count + k in used
    ]
    body = [f"v{k} = load_{_code(expr.arrays[k])}(a{k}, i)" for k in range(count) if k in used]
    for slot, step in enumerate(expr.steps, first):
        if slot not in used:
            continue
        line = _line(step, dtypes, constants=frozenset(range(count, first)))
        if line is None:
            return None
        body.append(f"v{slot} = {line}")
    code = _code(expr.dtype)
    body.append(f"store_{code}(to, i, v{expr.result})")
    return "\n".join(
        [
            '"""A fused expression."""',
            "import numpy as np",
            "from lazytensor.native.kernels.memory import word",
            f"from lazytensor.native.kernels.elements import {', '.join(_names(body, head))}",
            "",
            "def kernel(p):",
            "    n, to, constants = word(p, 0), word(p, 1), word(p, 2)",
            *head,
            "    for i in range(n):",
            *(f"        {line}" for line in body),
            "    return 0",
            "",
        ]
    )


@lru_cache(maxsize=4096)
def has_text(name: str, operands: tuple[tuple[np.dtype, bool], ...], dtype: np.dtype) -> bool:
    """Whether one operation can be compiled. ``operands``: dtypes, and which are constants.

    >>> f4 = np.dtype("f4")
    >>> has_text("add", ((f4, False), (f4, True)), f4), has_text("sin", ((f4, False),), f4)
    (True, False)
    """
    arrays = tuple([dtype for dtype, constant in operands if not constant])
    constants = tuple([dtype for dtype, constant in operands if constant])
    slots, places = [0, len(arrays)], []
    for _, constant in operands:
        places.append(slots[constant])
        slots[constant] += 1
    step = ExpressionStep(name, tuple(places), dtype)
    return source_of(Expression(arrays, constants, (step,), len(operands))) is not None


def _code(dtype: np.dtype) -> str | None:
    """Kind and size, if kernels know the dtype."""
    code = f"{dtype.kind}{dtype.itemsize}"
    return code if code in _CODES and dtype.isnative else None


def _used(expr: Expression) -> set[int]:
    """The slots that the result is made of."""
    first = len(expr.arrays) + len(expr.constants)
    used = {expr.result}
    for slot in range(first + len(expr.steps) - 1, first - 1, -1):
        if slot in used:
            used.update(expr.steps[slot - first].operands)
    return used


def _names(*blocks: list[str]) -> list[str]:
    """The functions of ``elements`` that lines call."""
    called = {name for lines in blocks for line in lines for name in re.findall(_CALLED, line)}
    return sorted(called)


def _line(
    step: ExpressionStep, dtypes: tuple[np.dtype, ...], *, constants: frozenset[int]
) -> str | None:
    """Value of one step, or None."""
    taken = tuple(dtypes[slot] for slot in step.operands)
    if step.name == CAST:
        good = _casts_as_expected(taken[0], step.dtype)
        return f"as_{_code(step.dtype)}(v{step.operands[0]})" if good else None
    row = OPERATIONS[step.name]
    loop = row.loop(taken)
    known = all(_code(dtype) is not None for dtype in (*loop.operands, loop.result))
    source = row.expression(loop) if known and loop.result == step.dtype else None
    if source is None:
        return None
    if step.name in _TIES and step.dtype.kind == "f":
        # Of 0.0 and -0.0 clip chooses one for bounds that are scalars, and another for arrays.
        scalars = step.name != "clip" or set(step.operands[1:]) <= constants
        if not scalars or not _ties_as_expected(step.name, step.dtype):
            return None
    for k, (slot, dtype, needed) in enumerate(
        zip(step.operands, taken, loop.operands, strict=True)
    ):
        if not _casts_as_expected(dtype, needed):
            return None
        value = f"v{slot}" if dtype == needed else f"as_{_code(needed)}(v{slot})"
        source = source.replace(f"{{{k}}}", value)
    return f"as_{_code(step.dtype)}({source})"


@cache
def _ties_as_expected(name: str, dtype: np.dtype) -> bool:
    """Whether NumPy takes the one of 0.0 and -0.0 that the expression of the table takes.

    Which one is a matter of the vector instructions that this processor has, so it is asked.
    """
    zeros = np.tile(np.array([0.0, -0.0], dtype), 40)
    for low in zeros[:2]:
        for values in (zeros, np.repeat(zeros, 2)[::2], zeros[:3]):
            operands, kept = _TIES[name](values, low)
            found = ELEMENTWISE[name].evaluate(*operands)
            if not np.array_equal(np.signbit(found), np.signbit(kept)):
                return False
    return True


_TIES: dict[str, Callable[[np.ndarray, np.ndarray], tuple[tuple[np.ndarray, ...], np.ndarray]]] = {
    # Operands, and which of them is to come out.
    "clip": lambda x, bound: ((x, np.array(bound), np.array(bound)), x),
    "maximum": lambda x, other: ((np.full_like(x, other), x), x),
    "minimum": lambda x, other: ((np.full_like(x, other), x), x),
}


@cache
def _casts_as_expected(source: np.dtype, target: np.dtype) -> bool:
    """Whether NumPy converts as ``native.kernels.elements`` does.

    C leaves open which integer a float becomes that fits none, so NumPy is asked what it does on
    this processor with those, in long rows and in short ones. (With uint32 it does both of two.)
    """
    if source.kind != "f" or target.kind not in "iu":
        return True
    if target.kind == "u" and target.itemsize == 4:
        return False
    edges = [0.0, 0.5, 1.5, 127.5, 255.5, 256.0, 32768.0, 65536.0, 70000.0, 1e6]
    edges += [2.0**k + d for k in (31, 32, 40, 53, 62, 63, 64, 100) for d in (-600, 0, 600)]
    edges += [*(-edge for edge in edges), -(2.0**31) - 0.5, np.nan, np.inf, -np.inf]
    values = np.tile(np.array(edges, source), 3)
    expected = np.array([_converted(value, target) for value in values.tolist()], target)
    found = np.empty((3, values.size), target)
    cast_into(values, found[0])
    cast_into(np.repeat(values, 2)[::2], found[1])
    for start in range(0, values.size, 3):
        part = slice(start, start + 3)
        cast_into(values[part], found[2, part])
    return bool((found == expected).all())


def _converted(value: float, target: np.dtype) -> int:
    """The integer that kernels make of a float."""
    own = 8 * target.itemsize
    bits = max(32, own)
    flipped = 0
    if target.kind == "u" and own == 64 and value >= 2.0**63:
        value, flipped = value - 2.0**63, 2**63
    edge = 2 ** (bits - 1)
    whole = (int(value) if -edge - 1 < value < edge else -edge) ^ flipped
    low: int = whole % 2**own
    return low - 2**own if target.kind == "i" and low >= 2 ** (own - 1) else low
