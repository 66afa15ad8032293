"""The laws that move a reshape up, and what it then reads."""

from __future__ import annotations

from collections import Counter
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import lazytensor as lt
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.nodes import Reduce, Reshape
from lazytensor.plan.optimize import Trace, optimize
from lazytensor.plan.reshaping import groups, reshaped_grid
from tests.engines import ENGINES, SETTINGS
from tests.plans import distinct
from tests.sources import ChunkedArray


def tensor(*shape: int, dtype: str = "i4") -> lt.LazyTensor:
    return lt.asarray(distinct(shape, np.dtype(dtype)))


def same(lazy: lt.LazyTensor, by_hand: lt.LazyTensor) -> None:
    assert optimize(lazy._node) is optimize(by_hand._node)


def test_what_looks_at_one_position_goes_below() -> None:
    x = tensor(4, 6)
    same(lt.reshape(x, (-1,)) + 1, lt.reshape(x + 1, (-1,)))
    same(lt.reshape(x, (3, 8)).astype("f4"), lt.reshape(x.astype("f4"), (3, 8)))
    same(lt.sqrt(lt.reshape(x, (3, 8)).astype("f4")), lt.reshape(lt.sqrt(x.astype("f4")), (3, 8)))
    flat = lt.reshape(x, (-1,))
    same(flat * flat, lt.reshape(x * x, (-1,)))


def test_reductions_of_whole_groups_go_below() -> None:
    x = tensor(4, 6, 5)
    same(lt.sum(lt.reshape(x, (-1,))), lt.sum(x))
    same(lt.argmax(lt.reshape(x, (-1,))), lt.argmax(x))
    same(lt.max(lt.reshape(x, (4, 30)), axis=1), lt.max(x, axis=(1, 2)))
    same(lt.mean(lt.reshape(x, (24, 5)), axis=0), lt.mean(x, axis=(0, 1)))
    same(lt.sum(lt.reshape(x, (24, 5)), axis=1), lt.reshape(lt.sum(x, axis=2), (24,)))


@pytest.mark.parametrize(
    "lazy",
    [
        lt.sum(lt.reshape(tensor(4, 6), (3, 8)), axis=0),
        lt.argmin(lt.reshape(tensor(4, 6, 5), (24, 5)), axis=0),
        lt.reshape(tensor(4, 6), (24,)) + tensor(24),
        lt.reshape(tensor(4, 6), (8, 3)) + lt.reshape(tensor(3), (1, 3)),
        lt.reshape(tensor(2, 0), (0, 3)) + 1,
    ],
    ids=["half a group", "index along two dims", "one operand", "broadcast", "empty"],
)
def test_where_a_reshape_has_to_stay(lazy: lt.LazyTensor) -> None:
    trace = Trace()
    optimize(lazy._node, trace=trace)
    assert "reduce_before_reshape" not in trace.counts()
    values = lazy.collect(optimizations=lt.QueryOptFlags.none())
    np.testing.assert_array_equal(lazy.collect(), values)


def test_the_law_is_shown() -> None:
    lazy = lt.reshape(tensor(4, 6), (-1,)) + 1
    trace = Trace()
    after = optimize(lazy._node, trace=trace)
    assert trace.counts() == {"elementwise_before_reshape": 1}
    assert type(after) is Reshape
    assert lazy.explain().splitlines()[0].startswith("reshape (24,)")


def test_groups_of_extents_of_one() -> None:
    x = tensor(1, 4, 1, 6)
    lazy = lt.sum(lt.reshape(x, (2, 2, 1, 6, 1)), axis=(0, 1, 2))
    assert type(optimize(lazy._node)) is not Reduce
    np.testing.assert_array_equal(lazy.collect(), x.collect().sum((0, 1, 2))[:, None])


@st.composite
def reshapes(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes of the same elements."""
    factors = draw(st.lists(st.sampled_from((1, 2, 2, 3, 5)), min_size=1, max_size=5))
    return draw(joined(factors)), draw(joined(factors))


@st.composite
def joined(draw: Any, factors: list[int]) -> tuple[int, ...]:
    shape = [1]
    for factor in factors:
        if draw(st.booleans()):
            shape.append(factor)
        else:
            shape[-1] *= factor
    return tuple(shape if draw(st.booleans()) or len(shape) == 1 or shape[0] != 1 else shape[1:])


@settings(deadline=None, max_examples=150)
@given(reshapes(), st.data())
def test_reshapes_have_the_same_values(shapes: Any, data: st.DataObject) -> None:
    below, above = shapes
    values = distinct(below, np.dtype(data.draw(st.sampled_from(("i4", "f8", "?", "c8")))))
    source = ChunkedArray(
        values, [data.draw(st.integers(1, 4)) for _ in below], origin=[2] * len(below)
    )
    lazy: Any = lt.reshape(lt.scan_source(source), above)
    exact: Any = values.reshape(above)
    for _ in range(data.draw(st.integers(0, 3))):
        what = data.draw(st.integers(0, 5))
        if what == 0:
            lazy, exact = lazy * 2, exact * 2
        elif what == 1 and exact.ndim:
            axes = tuple(sorted(data.draw(st.sets(st.integers(0, exact.ndim - 1), min_size=1))))
            keep = data.draw(st.booleans())
            lazy = lt.count_nonzero(lazy, axis=axes, keepdims=keep)
            exact = np.asarray(np.count_nonzero(exact, axis=axes, keepdims=keep))
        elif what == 2 and exact.dtype.kind in "if":
            axis = data.draw(st.none() | st.integers(0, exact.ndim - 1)) if exact.ndim else None
            lazy, exact = lt.argmax(lazy, axis=axis), np.asarray(np.argmax(exact, axis=axis))
        elif what == 3 and exact.ndim:
            key = tuple(
                slice(
                    data.draw(st.integers(0, n - 1)), None, data.draw(st.sampled_from((1, 2, -1)))
                )
                for n in exact.shape
            )
            lazy, exact = lazy[key], exact[key]
        elif what == 4:
            lazy, exact = lt.reshape(lazy, (-1,)), exact.reshape(-1)
        else:
            lazy, exact = lazy.astype("c16"), exact.astype("c16")
    flags = data.draw(st.sampled_from(SETTINGS))
    engine = data.draw(st.sampled_from(sorted(ENGINES)))
    got = lazy.collect(engine=ENGINES[engine], optimizations=flags)
    assert got.dtype == exact.dtype
    np.testing.assert_array_equal(got, exact)


@pytest.mark.parametrize(
    "to", [(-1,), (16, -1), (-1, 64), (16, 8, 8, 64), (32, 64, 32), (4, 4, 4096)]
)
@pytest.mark.parametrize("above", ["nothing", "sum", "plus", "product"])
def test_every_chunk_is_decoded_once(to: Any, above: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lazytensor.exec import workgrid

    monkeypatch.setattr(workgrid, "TARGET", 4096)
    monkeypatch.setattr(workgrid, "_SMALLEST", 4096)
    source = ChunkedArray(np.arange(16 * 64 * 64).reshape(16, 64, 64), (8, 16, 16))
    lazy: Any = lt.reshape(lt.scan_source(source), to)
    exact: Any = source.values.reshape(to)
    if above == "sum":
        lazy, exact = lt.sum(lazy), exact.sum()
    elif above == "plus":
        lazy, exact = lazy * 2 + 1, exact * 2 + 1
    elif above == "product":
        lazy, exact = lazy @ lt.ones(exact.shape[-1], dtype="i8"), exact.sum(-1)
    np.testing.assert_array_equal(lazy.collect(engine=lt.LocalEngine(threads=2)), exact)
    read = Counter(cell for box in source.boxes for cell in source.cells_of(box))
    assert len(read) == 32
    assert set(read.values()) == {1}


def test_a_result_is_written_where_the_caller_wants_it() -> None:
    source = ChunkedArray(np.arange(24.0).reshape(4, 6), (2, 3))
    lazy = lt.reshape(lt.scan_source(source), (-1,))
    out = np.zeros(24)
    assert lazy.collect(out=out) is out
    np.testing.assert_array_equal(out, np.arange(24.0))
    wide = np.zeros((24, 3))
    assert np.shares_memory(lazy.collect(out=wide[:, 1]), wide)
    np.testing.assert_array_equal(wide[:, 1], np.arange(24.0))


def test_a_dim_that_stays_keeps_its_cells() -> None:
    cells = (DimGrid.regular(6, 2), DimGrid.regular(8, 4), DimGrid.regular(5, 3))
    assert [g and g.nominal for g in reshaped_grid(cells, (6, 8, 5), (48, 5), 1)] == [16, 3]
    assert [g and g.nominal for g in reshaped_grid(cells, (6, 8, 5), (6, 2, 4, 5), 1)] == [
        2,
        1,
        4,
        3,
    ]
    assert [g and g.nominal for g in reshaped_grid(cells, (6, 8, 5), (16, 3, 5), 1)] == [
        None,
        None,
        3,
    ]
    huge = (DimGrid.regular(1 << 20, 1 << 10), DimGrid.regular(1 << 20, 1 << 10))
    assert reshaped_grid(huge, (1 << 20, 1 << 20), (1 << 40,), 1) == (None,)


def test_groups_are_the_finest() -> None:
    assert groups((6, 4, 1, 5), (24, 5)) == [((0, 1), (0,)), ((3,), (1,))]
    assert groups((4, 6), (2, 12)) == [((0, 1), (0, 1))]
    assert groups((1, 1), (1,)) == []
