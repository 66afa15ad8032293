"""Promotion, Python scalars and questions about dtypes, as the strict namespace answers them."""

from __future__ import annotations

import operator
from typing import Any

import array_api_strict as strict
import numpy as np
import pytest

import lazytensor as lt

NAMES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64", "complex64", "complex128"),
]
BINARY = [
    *("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "pow", "atan2"),
    *("bitwise_and", "bitwise_left_shift", "logical_and", "equal", "less", "maximum", "copysign"),
    *("hypot", "logaddexp", "nextafter"),
]
OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "lshift", "eq", "lt"]
UNARY = [
    *("abs", "acos", "bitwise_invert", "ceil", "conj", "exp", "imag", "isnan", "logical_not"),
    *("negative", "positive", "real", "reciprocal", "round", "sign", "signbit", "sqrt", "trunc"),
]
REDUCTIONS = ["all", "any", "argmax", "count_nonzero", "max", "mean", "prod", "std", "sum", "var"]
SCANS = ["cumulative_sum", "cumulative_prod", "sort", "argsort", "diff"]


def outcome(call: Any, *args: Any, **options: Any) -> str | None:
    """Name of the result's dtype; None where the strict namespace refuses."""
    try:
        with np.errstate(all="ignore"):
            return str(call(*args, **options).dtype).rpartition(".")[2]
    except TypeError:
        return None


def operand(name: str, shape: Any = (2,)) -> tuple[Any, lt.LazyTensor]:
    return strict.ones(shape, dtype=getattr(strict, name)), lt.ones(shape, dtype=name)


@pytest.mark.parametrize("function", BINARY)
def test_two_operands_promote(function: str) -> None:
    for first in NAMES:
        for second in NAMES:
            (a, x), (b, y) = operand(first), operand(second)
            expected = outcome(getattr(strict, function), a, b)
            if expected is not None:
                assert getattr(lt, function)(x, y).dtype == expected, (first, second)


@pytest.mark.parametrize("function", UNARY)
def test_one_operand(function: str) -> None:
    for name in NAMES:
        a, x = operand(name)
        expected = outcome(getattr(strict, function), a)
        if expected is not None:
            assert getattr(lt, function)(x).dtype == expected, name


@pytest.mark.parametrize("function", REDUCTIONS)
def test_reductions(function: str) -> None:
    for name in NAMES:
        a, x = operand(name)
        expected = outcome(getattr(strict, function), a)
        if expected is not None:
            assert getattr(lt, function)(x).dtype == expected, name
            assert getattr(lt, function)(x).collect().dtype == expected, name


@pytest.mark.parametrize("function", ["sum", "prod", "cumulative_sum", "cumulative_prod"])
def test_dtypes_asked_for(function: str) -> None:
    for name in NAMES[1:]:
        for to in NAMES[1:]:
            a, x = operand(name)
            if name.startswith("complex") and not to.startswith("complex"):
                continue
            expected = outcome(getattr(strict, function), a, dtype=getattr(strict, to))
            if expected is not None:
                assert getattr(lt, function)(x, dtype=to).dtype == expected, (name, to)


@pytest.mark.parametrize("function", SCANS)
def test_along_an_axis(function: str) -> None:
    for name in NAMES:
        a, x = operand(name)
        expected = outcome(getattr(strict, function), a)
        if expected is not None:
            assert getattr(lt, function)(x).dtype == expected, name


@pytest.mark.parametrize("function", ["matmul", "tensordot", "vecdot"])
def test_products(function: str) -> None:
    options = {"axes": 1} if function == "tensordot" else {}
    for first in NAMES:
        for second in NAMES:
            (a, x), (b, y) = operand(first, (2, 2)), operand(second, (2, 2))
            expected = outcome(getattr(strict, function), a, b, **options)
            if expected is not None:
                assert getattr(lt, function)(x, y, **options).dtype == expected, (first, second)


@pytest.mark.parametrize("function", OPERATORS)
@pytest.mark.parametrize("scalar", [True, 1, 1.0, 1j])
def test_python_scalars_are_weak(function: str, scalar: Any) -> None:
    call = getattr(operator, function)
    for name in NAMES:
        a, x = operand(name)
        for expected, actual in (((a, scalar), (x, scalar)), ((scalar, a), (scalar, x))):
            wanted = outcome(call, *expected)
            if wanted is not None:
                assert call(*actual).dtype == wanted, (name, scalar)


@pytest.mark.parametrize("function", ["add", "maximum", "where", "hypot", "copysign"])
@pytest.mark.parametrize("scalar", [True, 1, 1.0, 1j])
def test_functions_take_scalars(function: str, scalar: Any) -> None:
    """Since 2024.12 functions take Python scalars where operators do."""
    for name in NAMES:
        a, x = operand(name)
        condition = (strict.asarray(True), lt.asarray(True)) if function == "where" else None
        theirs = (condition[0], a, scalar) if condition else (a, scalar)
        mine: tuple[Any, ...] = (condition[1], x, scalar) if condition else (x, scalar)
        expected = outcome(getattr(strict, function), *theirs)
        if expected is not None:
            assert getattr(lt, function)(*mine).dtype == expected, (name, scalar)


def test_integers_that_do_not_fit_are_refused() -> None:
    with pytest.raises((lt.DTypeError, OverflowError)):
        lt.ones(2, dtype="u1") + 256
    with pytest.raises((lt.DTypeError, OverflowError)):
        lt.ones(2, dtype="u1") - (-1)


def test_result_type_of_dtypes_arrays_and_scalars() -> None:
    samples: list[Any] = [*NAMES, 1, 1.0, 1j, True]
    for first in samples:
        for second in samples:
            theirs = [getattr(strict, s) if isinstance(s, str) else s for s in (first, second)]
            mine = [np.dtype(s) if isinstance(s, str) else s for s in (first, second)]
            try:
                expected = str(strict.result_type(*theirs)).rpartition(".")[2]
            except (TypeError, ValueError):
                continue
            assert lt.result_type(*mine) == expected, (first, second)
            arrays = [lt.zeros(1, dtype=s) if isinstance(s, np.dtype) else s for s in mine]
            assert lt.result_type(*arrays) == expected


def test_can_cast_agrees_wherever_the_strict_namespace_says_yes() -> None:
    for first in NAMES:
        for second in NAMES:
            if strict.can_cast(getattr(strict, first), getattr(strict, second)):
                assert lt.can_cast(np.dtype(first), np.dtype(second))
            assert lt.can_cast(np.dtype(first), np.dtype(second)) == np.can_cast(first, second)


@pytest.mark.parametrize("name", ["float32", "float64", "complex64", "complex128"])
def test_finfo(name: str) -> None:
    theirs, mine = strict.finfo(getattr(strict, name)), lt.finfo(np.dtype(name))
    for field in ("bits", "eps", "max", "min", "smallest_normal"):
        assert getattr(mine, field) == getattr(theirs, field)
        assert type(getattr(mine, field)) in (int, float)
    assert str(mine.dtype) == str(theirs.dtype).rpartition(".")[2]
    assert lt.finfo(lt.zeros(1, dtype=name)) == mine


@pytest.mark.parametrize("name", NAMES[1:9])
def test_iinfo(name: str) -> None:
    theirs, mine = strict.iinfo(getattr(strict, name)), lt.iinfo(np.dtype(name))
    for field in ("bits", "max", "min"):
        assert getattr(mine, field) == getattr(theirs, field)
        assert type(getattr(mine, field)) is int
    assert mine.dtype == name
    assert lt.iinfo(lt.zeros(1, dtype=name)) == mine


def test_a_cast_of_complex_numbers_to_real_ones_is_numpys_without_its_warning() -> None:
    x = lt.asarray(np.array([1 + 2j]))
    assert x.astype("f8").collect() == 1.0
