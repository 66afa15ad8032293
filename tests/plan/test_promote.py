"""Dtype rules: promotion equals NumPy 2's, Python scalars are weak."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytensor.errors import DTypeError
from lazytensor.plan.ops import ELEMENTWISE
from lazytensor.plan.promote import (
    Loop,
    common_dtype,
    describe,
    fits,
    scalar_array,
    weak_type,
)

CODES = "?bhilBHILefdFD"
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
INT4 = np.dtype(ml_dtypes.int4)


@pytest.mark.parametrize("pair", [*itertools.product(CODES, CODES)], ids="".join)
def test_two_dtypes_promote_as_numpy_promotes_them(pair: tuple[str, str]) -> None:
    first, second = (np.dtype(code) for code in pair)
    expected = np.result_type(first, second)
    assert common_dtype((first, second)) == expected
    for name in ("add", "multiply", "maximum"):
        assert ELEMENTWISE[name].result_dtype((first, second)) == expected
    assert ELEMENTWISE["where"].result_dtype((np.dtype(bool), first, second)) == expected


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("value", [True, 3, 2.5, 1j])
def test_python_scalars_are_weak(code: str, value: complex) -> None:
    dtype = np.dtype(code)
    entry = weak_type(type(value))
    expected = np.add(np.ones(1, dtype), value).dtype
    assert ELEMENTWISE["add"].loop((dtype, entry)).result == expected
    assert ELEMENTWISE["add"].loop((entry, dtype)).result == expected
    clipped = ELEMENTWISE["clip"].loop((dtype, entry, entry))
    assert clipped.result == np.result_type(dtype, value)


def test_only_exact_python_types_are_weak() -> None:
    assert weak_type(np.float64) is None
    assert weak_type(str) is None
    assert weak_type(bool) == np.dtype(bool)


@pytest.mark.parametrize("name", ["add", "divide", "less", "maximum", "clip", "where"])
def test_scalars_do_not_widen_small_floats(name: str) -> None:
    row = ELEMENTWISE[name]
    signatures: dict[str, tuple[Any, ...]] = {
        "clip": (BFLOAT16, float, int),
        "where": (np.dtype(bool), BFLOAT16, float),
    }
    loop = row.loop(signatures.get(name, (BFLOAT16, float)))
    assert loop.result == (np.dtype(bool) if name == "less" else BFLOAT16)
    assert loop.operands[-1] == BFLOAT16


def test_scalars_do_not_widen_four_bit_integers() -> None:
    assert ELEMENTWISE["add"].loop((INT4, int)) == Loop((INT4, INT4), INT4)
    assert scalar_array(-8, INT4) == -8
    with pytest.raises(DTypeError, match="8 does not fit int4"):
        scalar_array(8, INT4)


@pytest.mark.parametrize("code", "bhilBHIL")
def test_integers_that_do_not_fit_are_refused(code: str) -> None:
    dtype = np.dtype(code)
    info = np.iinfo(dtype)
    add = ELEMENTWISE["add"]
    loop = add.loop((dtype, int))
    for value in (int(info.min), int(info.max)):
        assert add.scalar(1, value, loop) == value
    for value in (int(info.min) - 1, int(info.max) + 1, 10**100):
        with pytest.raises(DTypeError, match=f"does not fit {dtype}"):
            add.scalar(1, value, loop)


def test_integers_too_large_for_floats_are_refused_in_few_words() -> None:
    with pytest.raises(DTypeError, match="integer of 1329 bits does not fit float64") as caught:
        scalar_array(10**400, np.dtype(float))
    assert len(str(caught.value)) < 200


def test_large_floats_become_infinite_without_a_warning() -> None:
    assert scalar_array(1e10, np.dtype("f2")) == np.inf


@given(st.sampled_from("bhilBHIL"), st.integers(-(2**70), 2**70))
def test_comparisons_answer_for_every_integer_as_numpy_does(code: str, value: int) -> None:
    dtype = np.dtype(code)
    info = np.iinfo(dtype)
    x = np.array([info.min, 0, 1, 100, info.max], dtype)
    for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
        row = ELEMENTWISE[name]
        assert row.ufunc is not None
        constant = row.scalar(1, value, row.loop((dtype, int)))
        np.testing.assert_array_equal(row.evaluate(x, constant), row.ufunc(x, value))
        constant = row.scalar(0, value, row.loop((int, dtype)))
        np.testing.assert_array_equal(row.evaluate(constant, x), row.ufunc(value, x))


@given(st.integers(-(2**70), 2**70))
def test_what_fits_compares_as_the_integer_does(value: int) -> None:
    stand_in = fits(value)
    for other in (np.array([-(2**63), 0, 2**63 - 1]), np.array([0, 2**64 - 1], np.uint64)):
        expected = [int(x) < value for x in other]
        assert np.less(other, stand_in).tolist() == expected


def test_dtypes_in_words() -> None:
    u1, f4 = np.dtype("u1"), np.dtype("f4")
    assert describe((u1,)) == "uint8"
    assert describe((u1, f4, int)) == "uint8, float32 and Python int"


def test_rules_are_looked_up_once() -> None:
    row = ELEMENTWISE["hypot"]
    signature = (np.dtype("f4"), np.dtype("f8"))
    assert row.loop(signature) is row.loop(signature)
