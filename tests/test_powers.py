"""Powers and curves: a value depends on its operands, not on where it lies or who computes it."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import lazytensor as lt
from lazytensor.plan.node import walk
from lazytensor.plan.nodes import Elementwise
from lazytensor.plan.ops import ELEMENTWISE
from lazytensor.plan.optimize import optimize
from tests.engines import ENGINES
from tests.sources import ChunkedArray

SETTINGS = [lt.QueryOptFlags(), lt.QueryOptFlags.none()]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 2.0, 1e-30, 1e30, -3.5]
rng = np.random.default_rng(5)


def numbers(dtype: Any, n: int = 3000) -> np.ndarray:
    """Any bits, special values, and ordinary numbers of a dtype."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, n).astype(bool)
    bits = rng.integers(0, 256, n * dtype.itemsize, dtype="u1").view(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.concatenate([bits, np.array([0, 1, info.min, info.max], dtype)])
    with np.errstate(all="ignore"):
        return np.concatenate(
            [bits, np.array(SPECIAL, dtype), (rng.normal(size=n) * 100).astype(dtype)]
        )


def every_way(x: lt.LazyTensor) -> list[np.ndarray]:
    return [
        x.collect(engine=engine, optimizations=flags)
        for name, engine in ENGINES.items()
        if name != "blocks-1"
        for flags in SETTINGS
    ]


def operations(x: lt.LazyTensor) -> list[str]:
    return [node.op for node in walk(optimize(x._node)) if isinstance(node, Elementwise)]


DTYPES = ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize("power", [2, 0.5, -1, 1, 0, 3, 2.0, -0.5])
@pytest.mark.parametrize("dtype", [*DTYPES, ml_dtypes.bfloat16])
def test_one_power_of_all_is_numpys(dtype: Any, power: float) -> None:
    values = numbers(dtype)
    if power == -1 and np.dtype(dtype).kind in "biu":
        with pytest.raises(lt.DTypeError):
            lt.asarray(values) ** power
        return
    with np.errstate(all="ignore"):
        wanted = np.power(values, lt.result_type(values.dtype, power).type(power))
    x = lt.scan_source(ChunkedArray(values, (1000,)))
    if power == 0.5 and wanted.dtype in ("f4", "f8"):
        # NumPy takes the square root of all for one power, and powers for an array of powers.
        wanted[values == -np.inf] = np.inf
        wanted += 0.0
    for found in every_way(x**power):
        assert found.dtype == wanted.dtype
        assert found.tobytes() == wanted.tobytes()


def test_which_powers_are_another_operation() -> None:
    def of(dtype: Any, power: Any) -> list[str]:
        x = lt.scan_source(ChunkedArray(np.ones(5, dtype), (2,)))
        return operations(x**power)

    for dtype in (*DTYPES[1:9], "f2", "f4", "f8"):
        assert of(dtype, 2) == ["square"], dtype
    assert of("?", 2) == ["square"]
    assert of("f4", 0.5) == of("i4", 0.5) == ["pow"]
    assert of("f8", -1) == of("u2", -1.0) == ["reciprocal"]
    assert of("f8", 1) == []
    for dtype, power in (("f2", 0.5), ("c8", 2), (ml_dtypes.bfloat16, 2), ("f4", 3), ("i4", 1)):
        assert of(dtype, power) == ["pow"], dtype
    x = lt.scan_source(ChunkedArray(np.ones((2, 3), "f4"), (2, 2), dims=("y", "x")))
    wide = x[:1] ** lt.full((4, 3), 2.0, dtype="f4")
    assert operations(wide) == ["square"] and wide.shape == (4, 3)
    named = lt.scan_source(ChunkedArray(np.ones(3), (2,))) ** lt.full((3,), 2.0).label["x"]
    assert optimize(named._node).domain == named.domain and named.dims == ("x",)
    variable = x ** lt.scan_source(ChunkedArray(np.full((2, 3), 2.0, "f4"), (2, 2)))
    assert operations(variable) == ["pow"]


@pytest.mark.parametrize("power", [2, 0.5, -1, 1, 0, 3.3])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_powers_do_not_depend_on_how_they_are_given(dtype: str, power: float) -> None:
    """NumPy (2.4) rounds powers that repeat in memory otherwise than arrays of powers."""
    values = numbers(dtype)[-3000:].reshape(30, 100)
    x = lt.scan_source(ChunkedArray(values, (10, 30)))
    wanted = (x**power).collect().tobytes()
    one = np.dtype(dtype).type(power)
    column, row = np.full((30, 1), one), np.full((1, 100), one)
    whole = np.full((30, 100), one)
    given: dict[str, Any] = {
        "column": column,
        "row": row,
        "whole": whole,
        "whole, stored": lt.scan_source(ChunkedArray(whole, (7, 30))),
        "column, stored": lt.scan_source(ChunkedArray(column, (7, 1))),
        "made of constants": lt.full((30, 100), power - 1, dtype=dtype) + 1,
        "kept": lt.full((30, 100), power, dtype=dtype).cache(),
        "no dims": lt.asarray(np.array(one)),
        "one element": np.array([one]),
    }
    for name, powers in given.items():
        y = x**powers
        for found in every_way(y):
            assert found.tobytes() == wanted, name
        for part in ((slice(None), slice(7, 8)), (3, 7), (slice(None, None, -2), slice(5, 60, 3))):
            assert y[part].collect().tobytes() == y.collect()[part].tobytes(), name


def test_mixed_powers() -> None:
    values = np.abs(numbers("f8")[-3000:]).reshape(30, 100)
    powers = rng.choice([-1.0, 0.5, 1.0, 2.0, 3.3, 0.0, np.nan, np.inf], (30, 100))
    found = [y.tobytes() for y in every_way(lt.asarray(values) ** lt.asarray(powers))]
    assert len(set(found)) == 1
    result = (lt.asarray(values) ** lt.asarray(powers)).collect()
    for power in (-1.0, 0.5, 1.0, 2.0, 3.3):
        assert np.array_equal(
            result[powers == power], (lt.asarray(values) ** power).collect()[powers == power]
        )
    ones = np.isnan(powers) & (values != 1)
    assert np.isnan(result[ones]).all() and (result[powers == 0] == 1).all()


@pytest.mark.parametrize("at", ["base", "power"])
def test_the_result_may_take_the_place_of_an_operand(at: str) -> None:
    base, power = np.abs(numbers("f4")[-3000:]), rng.choice(np.array([2, 0.5, 3.3], "f4"), 3000)
    wanted = ELEMENTWISE["pow"].evaluate(base, power)
    out = base if at == "base" else power
    assert ELEMENTWISE["pow"].evaluate(base, power, out=out) is out
    assert out.tobytes() == wanted.tobytes()


LAYOUTS: dict[str, Any] = {
    "backwards": lambda a: a[::-1].copy()[::-1],
    "apart": lambda a: np.repeat(a, 3)[::3],
    "far apart": lambda a: np.repeat(a, 1000)[::1000],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("name", [name for name, op in ELEMENTWISE.items() if op.arity < 3])
def test_values_do_not_depend_on_the_layout(name: str, dtype: str, layout: Any) -> None:
    op = ELEMENTWISE[name]
    x = (np.abs(rng.normal(size=700)) * 2).astype(dtype)
    if dtype[0] == "c":
        x *= 1 + 2j
    operands = (x, np.roll(x, 5))[: op.arity]
    try:
        wanted = op.evaluate(*operands)
    except lt.DTypeError:
        return
    laid = [layout(a) for a in operands]
    for out in (None, layout(np.empty_like(wanted))):
        found = op.evaluate(*laid, out=out)
        assert np.ascontiguousarray(found).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("name", ["exp", "tan", "log10", "acos"])
def test_curves_of_what_lies_backwards(name: str, engine: Any) -> None:
    values = rng.random(500)
    function = getattr(lt, name)
    wanted = function(lt.asarray(values)).collect()
    reversed_ = lt.asarray(values[::-1])
    assert np.array_equal(function(reversed_).collect(engine=engine), wanted[::-1])
    assert np.array_equal(function(lt.asarray(values))[::-1].collect(engine=engine), wanted[::-1])


def test_constants_to_a_power_are_what_all_elements_would_be() -> None:
    values = np.abs(numbers("f4")[-300:])
    for value in values:
        x = lt.full((5,), value, dtype="f4")
        for power in (2, 0.5, -1, 3.3):
            wanted = (lt.asarray(np.full(5, value)) ** power).collect()
            assert (x**power).collect().tobytes() == wanted.tobytes()
