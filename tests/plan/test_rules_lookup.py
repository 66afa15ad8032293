"""Lookup tables: where the law fires, what it makes, and that nothing else changes."""

from __future__ import annotations

import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cast, Constant, Elementwise, View
from lazytensor.plan.nodes_axis import Lookup, lookup_size
from lazytensor.plan.ops import ELEMENTWISE
from lazytensor.plan.ops_cost import COSTS, LOOKUPS, operation_cost
from lazytensor.plan.optimize import Trace, optimize
from lazytensor.plan.rules import lookup
from tests.engines import ENGINES
from tests.sources import ChunkedArray

OFF = lt.QueryOptFlags().update(lookup_tables=False)
MANY = 1 << 20
F8 = np.dtype("f8")


def image(dtype: Any = "u1", count: int = MANY, **options: Any) -> lt.LazyTensor:
    """Every value of a small dtype, many times."""
    dtype = np.dtype(dtype)
    unsigned = (np.arange(count) * 7919).astype(f"u{dtype.itemsize}")
    values = unsigned % 2 == 0 if dtype.kind == "b" else unsigned.view(dtype)
    return lt.asarray(values, **options)


def by_force(patch: pytest.MonkeyPatch) -> None:
    """The law fires wherever it may, whatever the gain."""

    def saved(node: Node, leaf: Node, cost: float, count: int) -> float:
        return 0.0 if isinstance(node, Lookup) else 1.0

    patch.setattr(lookup, "_FEWEST", 0)
    patch.setattr(lookup, "_saved", saved)
    # A quick look says no where a table could not be cheaper; none is as cheap as this.
    patch.setattr(lookup, "_MARGIN", -1.0)


def tables(x: lt.LazyTensor) -> list[Lookup]:
    return [node for node in walk(optimize(x._node)) if isinstance(node, Lookup)]


def test_before_and_after() -> None:
    x = image()
    before = lt.sin(x.astype("f8"))._node
    (trace := Trace()).firings.clear()
    after = optimize(before, None, trace)
    assert trace.counts() == {"look_up_chain": 1}
    assert isinstance(after, Lookup)
    every = after.table.inputs[0].inputs[0]
    assert after is Lookup(Elementwise("sin", (Cast(every, F8),)), x._node)
    assert every.source.array.tolist() == list(range(256))  # type: ignore[attr-defined]
    again = lt.cos(x.astype("f8")) * 1
    assert tables(again)[0].table.inputs[0].inputs[0].inputs[0] is every


def test_it_reads_like_this() -> None:
    x = image()
    assert "look up in 256 values" in lt.sin(x.astype("f8")).explain()
    assert "look up" not in lt.sin(x.astype("f8")).explain(optimizations=OFF)


CHEAP = {
    "one add": lambda x: x + 1,
    "arithmetic": lambda x: x * 2 + 1,
    "a cast": lambda x: x.astype("f4"),
    "a comparison": lambda x: x > 5,
}


@pytest.mark.parametrize("make", CHEAP.values(), ids=CHEAP.keys())
@pytest.mark.parametrize("dtype", ["?", "u1", "u2"])
def test_cheap_chains_are_computed(make: Any, dtype: str) -> None:
    assert not tables(make(image(dtype)))


def test_few_elements_and_wide_values_are_computed() -> None:
    for x in (image(count=5000), image("u2", count=20_000), lt.asarray(np.zeros(MANY, "i4"))):
        assert not tables(lt.sin(x.astype("f8")))
    assert tables(lt.sin(image(count=20_000).astype("f8")))
    assert tables(lt.sin(image("u2", count=400_000).astype("f8")))


def test_operations_that_may_raise_are_never_tabled() -> None:
    base = lt.sin(image().astype("f8")) * 0 + 3
    powers = lt.pow(base.astype("i1"), image("i1"))
    assert not any("pow" in str(table) for table in tables(powers))
    x = image("i1")
    y = lt.pow(np.int8(2), x).astype("f8")
    for chain in (lt.sin(y), lt.sin(lt.exp(y))):
        for table in tables(chain):
            assert all(getattr(node, "op", "") != "pow" for node in walk(table.table))
        with pytest.raises(lt.DTypeError, match="negative"):
            chain.collect()
    assert operation_cost("pow", (np.dtype("i1"),), np.dtype("i1")) is None
    # Only negative powers raise, and here there are none.
    positive = lt.asarray(np.abs(np.arange(MANY) % 7).astype("i1"))
    assert lt.sin(lt.pow(np.int8(2), positive).astype("f8")).collect().shape == (MANY,)


DTYPES = ["?", "u1", "i1", "u2", "i2", ">i2", "f2", ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn]

CHAINS = {
    "curve": lambda x: lt.sin(lt.astype(x, lt.float64) * 2 + 1),
    "window": lambda x: lt.astype(
        lt.clip(lt.sqrt((lt.astype(x, lt.float32) - 3) / 200), 0, 1) * 255, lt.uint8
    ),
    "selection": lambda x: lt.where(x > 1, lt.exp(lt.astype(x, lt.float64)), -0.0),
    "several uses": lambda x: lt.atan2(lt.astype(x, lt.float64), lt.astype(x, lt.float32) + 1),
    "division": lambda x: 1 / lt.tan(lt.astype(x, lt.float64)) // 0,
    "members": lambda x: lt.isin(x, lt.astype(lt.asarray([1, 0, 77]), x.dtype)),
}


@pytest.mark.parametrize("make", CHAINS.values(), ids=CHAINS.keys())
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_are_the_same_to_the_bit(
    dtype: Any, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bit patterns: every NaN, infinity, zero and denormal there is."""
    by_force(monkeypatch)
    x = image(dtype, dims=("x",)).reshape(1 << 10, -1)
    y = make(x)
    assert tables(y)
    expected = y.collect(optimizations=OFF)
    for found in (y.collect(), y.collect(engine="interpret")):
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()


def test_blocks_and_engines_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    by_force(monkeypatch)
    values = (np.arange(60) * 37).astype("i1").reshape(6, 10)
    x = lt.scan_source(ChunkedArray(values, (2, 3), origin=(4, -2), dims=("y", "x")))
    y = x * 2 + 1
    assert tables(y)
    assert y.domain == x.domain
    for engine in ENGINES.values():
        np.testing.assert_array_equal(y.collect(engine=engine), values * 2 + 1)
        np.testing.assert_array_equal(
            y[1:4, ::-2].collect(engine=engine), (values * 2 + 1)[1:4, ::-2]
        )


def test_a_table_is_made_once_and_slices_still_reach_the_source() -> None:
    values = np.zeros((1 << 11, 1 << 10), "u1")
    source = ChunkedArray(values, (1 << 7, 1 << 10))
    y = lt.sin(lt.scan_source(source).astype("f8"))
    y.collect(engine=lt.LocalEngine(threads=2))
    read = sorted(source.boxes)
    assert len(read) == len(set(read))
    source.boxes.clear()
    small = y[5, :30]
    assert not tables(small)
    small.collect()
    assert source.boxes == [((5, 6), (0, 30))]
    source.boxes.clear()
    half = y[:1024]
    assert len(tables(half)) == 1
    half.collect()
    assert max(hi for (_, hi), _ in source.boxes) == 1024


def test_it_goes_below_what_is_not_a_chain() -> None:
    """Two images, and a chain over their 8-bit sum."""
    a, b = image(), image()
    (table,) = tables(lt.sin((a + b * 3).astype("f8")))
    assert table.x is (a + b * 3)._node


def test_all_of_a_chain_is_one_table() -> None:
    x = image("u2")
    y = lt.sin(lt.cos(lt.sqrt(x.astype("f8"))).astype("f4").astype("f2"))
    (table,) = tables(y)
    assert table.x is x._node
    assert lookup_size(table.x.dtype) == table.table.size == 1 << 16


def test_the_table_of_what_is_searched_is_left_alone() -> None:
    x = image()
    found = lt.isin(x, x[:3])
    (table,) = tables(found)
    np.testing.assert_array_equal(found.collect(), found.collect(optimizations=OFF))
    assert any(node is x._node for node in walk(table.table))


def test_broadcast_scalars_are_scalars_in_the_table() -> None:
    x = lt.asarray(np.zeros((1 << 10, 1 << 10), "u1"))
    constant = View(Constant.of(2.0, F8), lt.IndexTransform(input_shape=x.shape, output=[]))
    node = Elementwise("sin", (Elementwise("multiply", (Cast(x._node, F8), constant)),))
    assert node.domain == x.domain
    after = optimize(node)
    assert isinstance(after, Lookup)


def test_other_names_are_no_chain() -> None:
    """The result would have names that the index has not."""
    x = lt.asarray(np.zeros((1 << 10, 1 << 10), "u1"))
    column = Constant.of(2.0, F8)
    named = View(column, lt.IndexTransform(input_shape=x.shape, input_labels=["a", "b"], output=[]))
    node = Elementwise("atan2", (Cast(x._node, F8), named))
    after = optimize(node)
    assert after.domain == node.domain
    assert not isinstance(after, Lookup)


def test_casts_that_C_leaves_open_are_computed() -> None:
    y = lt.sin(image("f2").astype("f8")).astype("u4")
    (table,) = tables(y)
    assert table.dtype == F8


def test_firing_is_idempotent() -> None:
    y = lt.isin(lt.sin(image("u2").astype("f8")).astype("u1"), [1, 2])
    after = optimize(y._node)
    trace = Trace()
    assert optimize(after, None, trace) is after
    assert not trace.firings


@pytest.mark.parametrize("dtype", ["u1", "f4"])
@pytest.mark.parametrize("last", ["f4", "c8"])
def test_every_node_of_a_long_chain_is_looked_at_once(
    dtype: str, last: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Node] = []
    found_below = lookup._found_below
    monkeypatch.setattr(lookup, "_found_below", lambda x: looked.append(x) or found_below(x))
    node: Node = array_node(np.zeros(MANY, dtype))
    for i in range(2000):
        node = Elementwise("add", (node, Constant.of(i % 7 + 1, node.dtype)))
    node = Elementwise("sin", (Cast(node, np.dtype(last)),))
    for i in range(2000):
        node = Elementwise("add", (node, Constant.of(i % 7 + 1, node.dtype)))
    optimize(node)
    assert len(looked) == len(set(looked))
    assert len(looked) <= 2 * node.height


def test_costs_are_those_of_operations() -> None:
    assert set(COSTS) - {"cast"} <= set(ELEMENTWISE)
    assert all(cost >= 0 for column in COSTS.values() for cost in column.values())
    assert set(LOOKUPS) == {"1", "2", "4", "8"}


UNARY = [
    name
    for name, column in COSTS.items()
    if name != "cast" and ELEMENTWISE[name].arity == 1 and column
]


STEPS = st.lists(
    st.sampled_from([*UNARY, "f4", "f8", "u1", "i2", "+", "*", "+1", "*3", "where"]),
    min_size=1,
    max_size=6,
)


def chain_of(x: lt.LazyTensor, steps: list[str]) -> lt.LazyTensor:
    """The steps one after the other, those left out that the dtype does not have."""
    y = x
    for step in steps:
        try:
            if step in ("f4", "f8", "u1", "i2"):
                y = y.astype(step)
            elif step == "where":
                y = lt.where(y > 1, y, lt.astype(lt.asarray(3), y.dtype))
            elif step in ("+", "*"):
                y = y + y if step == "+" else y * y
            elif step in ("+1", "*3"):
                y = y + True if step == "+1" else y * lt.astype(lt.asarray(3), y.dtype)
            else:
                y = getattr(lt, step)(y)
        except lt.DTypeError:
            continue
    return y


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(DTYPES), STEPS)
def test_the_quick_look_says_no_only_where_nothing_is_saved(dtype: Any, steps: list[str]) -> None:
    node = chain_of(image(dtype), steps)._node
    if isinstance(node, (Cast, Elementwise)) and not lookup._may_pay(node):
        offers = lookup._leaves(node)
        assert all(lookup._saved(node, leaf, cost, node.size) == 0 for leaf, cost in offers)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(DTYPES), STEPS)
def test_random_chains_over_every_value(dtype: Any, steps: list[str]) -> None:
    """Fired by force, on all bit patterns of the dtype."""
    y = chain_of(image(dtype, count=max(2, lookup_size(np.dtype(dtype)))), steps)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        by_force(patch)
        warnings.simplefilter("error")
        after = optimize(y._node, None, Trace())
        found = lt.LazyTensor._wrap(after).collect(
            engine="interpret", optimizations=lt.QueryOptFlags.none()
        )
    expected = y.collect(engine="interpret", optimizations=lt.QueryOptFlags.none())
    assert found.tobytes() == expected.tobytes()
