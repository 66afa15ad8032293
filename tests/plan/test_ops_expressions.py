"""The scalar expressions of the table, compiled, against the evaluation on whole arrays.

One kernel a dtype holds every operation of that dtype, since compiling is what takes the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

from lazytensor.plan.op import Op
from lazytensor.plan.ops import ELEMENTWISE

# Transcendental functions may differ by units in the last place; everything else is bit for bit.
CLOSE = {
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "exp", "expm1"),
    *("hypot", "log", "log10", "log1p", "log2", "logaddexp", "pow", "sin", "sinh", "tan", "tanh"),
}

# Of a 0.0 and a -0.0 NumPy returns one or the other as the memory layout has it.
EITHER_ZERO = {"clip", "maximum", "minimum"}


def operands(dtype: np.dtype) -> list[np.ndarray]:
    """Three arrays whose elements pair edge values of a dtype with each other."""
    if dtype.kind == "b":
        values = np.array([True, False])
    elif dtype.kind in "iu":
        info = np.iinfo(dtype)
        values = np.array([0, 1, 2, 5, 9, 63, 70, info.max, info.min, info.max - 1], dtype)
    elif dtype.kind == "f":
        special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.3, -2.5, 3.5, 7.0, 1e-30]
        values = np.array(special, dtype)
    else:
        values = np.array([1 + 2j, -0.5 + 0.25j, 3j, -2.0, 0.0], dtype)
    first, second = (grid.ravel() for grid in np.meshgrid(values, values))
    return [first, second, np.roll(second, 1)]


def loops(dtype: np.dtype) -> list[tuple[Op, list[np.ndarray], np.ndarray, str]]:
    """Operations with an expression at this dtype, their operands and expected values."""
    found = []
    arrays = operands(dtype)
    for row in ELEMENTWISE.values():
        inputs = arrays[: row.arity]
        if row.name == "where":
            inputs = [arrays[0] != 0, *arrays[1:]]
        try:
            loop = row.loop(tuple(a.dtype for a in inputs))
        except TypeError:
            continue
        source = row.expression(loop)
        if source is None:
            continue
        cast = [a.astype(d) for a, d in zip(inputs, loop.operands, strict=True)]
        found.append((row, cast, row.evaluate(*inputs), source))
    return found


def compiled(cases: list[tuple[Op, list[np.ndarray], np.ndarray, str]]) -> Callable[..., None]:
    """A kernel that fills one output per case, from its arguments in order."""
    names: list[str] = []
    body: list[str] = []
    for k, (row, inputs, _, source) in enumerate(cases):
        arguments = [f"x{k}_{i}" for i in range(len(inputs))]
        names += [*arguments, f"out{k}"]
        body.append(f"        out{k}[i] = {source.format(*(f'{a}[i]' for a in arguments))}")
        assert row.arity == len(inputs)
    text = f"def kernel({', '.join(names)}):\n    for i in range(out0.size):\n" + "\n".join(body)
    scope: dict[str, Any] = {"np": np}
    exec(text, scope)
    kernel: Callable[..., None] = numba.njit(error_model="numpy")(scope["kernel"])
    return kernel


@pytest.mark.parametrize("code", ["?", "b", "l", "B", "L", "f", "d", "D"])
def test_expressions_mean_what_evaluation_means(code: str) -> None:
    cases = loops(np.dtype(code))
    outs = [np.empty_like(expected) for _, _, expected, _ in cases]
    arguments: list[np.ndarray] = []
    for (_, inputs, _, _), out in zip(cases, outs, strict=True):
        arguments += [*inputs, out]
    compiled(cases)(*arguments)
    for (row, _, expected, _), out in zip(cases, outs, strict=True):
        if expected.dtype.kind == "c" or (row.name in CLOSE and expected.dtype.kind == "f"):
            eps = float(np.finfo(expected.dtype).eps)
            np.testing.assert_allclose(out, expected, rtol=4 * eps, atol=4 * eps, err_msg=row.name)
        else:
            np.testing.assert_array_equal(out, expected, err_msg=row.name)
        if expected.dtype.kind == "f":
            known = ~np.isnan(expected) & ~((expected == 0) & (row.name in EITHER_ZERO))
            signs = np.signbit(out[known]), np.signbit(expected[known])
            np.testing.assert_array_equal(*signs, err_msg=row.name)


def test_mixed_integers_compare_by_value_in_kernels() -> None:
    big, small = np.array([2**63 + 1, 5], np.uint64), np.array([-1, 5], np.int64)
    names = ["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"]
    cases = []
    for name in names:
        row = ELEMENTWISE[name]
        source = row.expression(row.loop((big.dtype, small.dtype)))
        assert source is not None
        cases.append((row, [big, small], row.evaluate(big, small), source))
    outs = [np.empty(2, bool) for _ in names]
    compiled(cases)(*(a for out in outs for a in (big, small, out)))
    for (row, _, expected, _), out in zip(cases, outs, strict=True):
        np.testing.assert_array_equal(out, expected, err_msg=row.name)


def test_no_expression_where_only_numpy_is_right() -> None:
    def expression(name: str, *codes: str) -> str | None:
        row = ELEMENTWISE[name]
        return row.expression(row.loop(tuple(np.dtype(code) for code in codes)))

    assert expression("pow", "i4", "i4") is None
    assert expression("add", "f2", "f2") is None
    assert expression("equal", "U3", "U3") is None
    assert expression("add", "f4", "f4") == "{0} + {1}"
    assert (
        expression("bitwise_left_shift", "i4", "i4")
        == "({0} << {1} if 0 <= {1} < 32 else {0} ^ {0})"
    )
