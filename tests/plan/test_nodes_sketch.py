"""Nodes of quantiles, histograms and masks: what they know, and how views move below them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant, Scan, View
from lazytensor.plan.nodes_sketch import Edges, Histogram, Masked, Quantile
from lazytensor.plan.optimize import Trace, optimize
from tests.engines import ENGINES, SETTINGS
from tests.sources import ChunkedArray


def stack(dtype: str = "u2") -> tuple[np.ndarray, ChunkedArray, lt.LazyTensor]:
    array = (np.arange(4 * 12 * 10) * 7 % 251).reshape(4, 12, 10).astype(dtype)
    source = ChunkedArray(array, (1, 4, 5), dims=("c", "y", "x"), origin=(5, -3, 0))
    return array, source, lt.scan_source(source)


def fired(tensor: lt.LazyTensor) -> dict[str, int]:
    trace = Trace()
    optimize(tensor._node, trace=trace)
    return trace.counts()


def test_what_nodes_know_before_anything_is_read() -> None:
    _, source, x = stack()
    s = lt.stats(x, by="c", mask=x > 9)
    q = s.quantile([[0.1, 0.5], [0.2, 1.0]])
    assert q.shape == (2, 2, 4)
    assert q.dims == ("", "", "c")
    assert q.domain.inclusive_min == (0, 0, 5)
    assert q.chunks == (2, 2, 1)
    counts, edges = s.histogram
    assert counts.shape == (4, 65536)
    assert counts.dims == ("c", "")
    assert counts.dtype == np.int64
    assert edges.shape == (65537,)
    assert s.mean.chunks == (1,)
    assert not source.boxes


def test_plans_say_what_is_summarised() -> None:
    _, _, x = stack()
    s = lt.stats(x, axis=("y", "x"), mask=x > 9, bins=5)
    assert "quantile 0.01, 0.998 over y, x" in s.quantile([0.01, 0.998]).explain()
    assert "quantile 0.5 over y, x · approx" in s.quantile(0.5, approx=True).explain()
    text = s.histogram[0].explain()
    assert "histogram of 5 bins over y, x" in text
    assert "edges of 5 bins" in text
    assert "masked min over y, x" in text
    assert "masked std over y, x" in s.std.explain()


def test_a_mask_lies_on_the_domain_of_what_it_masks() -> None:
    a, b = lt.asarray(np.zeros((2, 3))), lt.asarray(np.zeros((2, 3), bool))
    node = Masked(a._node, b._node)
    assert node.dtype.names == ("value", "keep")
    with pytest.raises(lt.DTypeError, match="boolean"):
        Masked(a._node, a._node)
    with pytest.raises(lt.ShapeError, match="mask"):
        Masked(a._node, b[:1]._node)
    with pytest.raises(lt.ShapeError, match="mask"):
        Masked(a._node, b.translate_by[1, 0]._node)
    with pytest.raises(lt.DTypeError, match="numbers"):
        lt.stats(np.array(["a"], "S1"), mask=np.array([True])).mean


def test_masks_pair_with_positions() -> None:
    array, _, x = stack()
    mask = lt.scan_source(ChunkedArray(array > 100, (2, 2, 2), origin=(0, 9, 9)))
    found = lt.stats(x, by=0, mask=mask).sum
    assert found.collect().tolist() == [int(part[part > 100].sum()) for part in array]
    assert found[1:3].collect().tolist() == found.collect().tolist()[1:3]
    with pytest.raises(lt.DimensionError, match="named"):
        lt.stats(x, mask=mask.label["a", "b", "c"])


def optimized(tensor: lt.LazyTensor) -> Node:
    return optimize(tensor._node)


def test_a_view_of_kept_dims_moves_below() -> None:
    """Printed, the same node as written by hand, and only what is needed is read."""
    _, source, x = stack()
    for whole, by_hand in (
        (lt.quantile(x, 0.5, axis=("y", "x"))[1:3], lt.quantile(x[1:3], 0.5, axis=("y", "x"))),
        (
            lt.quantile(x, [0.5, 1.0], axis=("y", "x"))[:, 1:3],
            lt.quantile(x[1:3], [0.5, 1.0], axis=("y", "x")),
        ),
        (
            lt.stats(x, by="c", mask=x > 9).max[1:3],
            lt.stats(x[1:3], by="c", mask=x[1:3] > 9).max,
        ),
        (
            lt.stats(x, by="c", bins=3, range=(0, 300)).histogram[0][1:3],
            lt.stats(x[1:3], by="c", bins=3, range=(0, 300)).histogram[0],
        ),
    ):
        assert optimized(whole) is optimized(by_hand)
        assert any(name.startswith("view_through") for name in fired(whole))
        before, after = whole.explain(optimized=False), whole.explain()
        assert before.splitlines()[0].startswith("view")
        assert not after.splitlines()[0].startswith("view")
        source.boxes.clear()
        for engine in ENGINES.values():
            np.testing.assert_array_equal(
                whole.collect(engine=engine),
                whole.collect(engine=engine, optimizations=lt.QueryOptFlags.none()),
            )
        source.boxes.clear()
        whole.collect()
        assert {cell[0] for cell in source.cells_read()} == {1, 2}


@pytest.mark.parametrize(
    "key",
    [
        (1, 2), (slice(None), 2), (0,), (slice(None), slice(3, 0, -2)), ([1, 0, 1], [3, 3, 0]),
        (slice(None), [2, 0]), (None, ..., 1), (slice(0, 0),), (slice(None), slice(1, 1)),
    ],
    ids=str,
)  # fmt: skip
def test_any_view_of_a_summary_is_a_view_of_its_values(key: Any) -> None:
    array, _, x = stack()
    key = tuple(np.array(k) if isinstance(k, list) else k for k in key)
    s = lt.stats(x, by="c", mask=x > 9, bins=4, range=(0, 260))
    expected = np.array([np.quantile(part[part > 9], [0.25, 0.5]) for part in array]).T
    counts = np.array([np.histogram(part[part > 9], 4, (0, 260))[0] for part in array])
    for engine in ENGINES.values():
        for flags in SETTINGS[::5]:
            options = {"engine": engine, "optimizations": flags}
            found = s.quantile([0.25, 0.5])[key].collect(**options)
            np.testing.assert_array_equal(found, expected[key])
            found = s.histogram[0].T[key[-1]].collect(**options)
            np.testing.assert_array_equal(found, counts.T[key[-1]])


def test_a_view_moves_below_a_mask() -> None:
    _, _, x = stack()
    y = x > 9
    view = lt.stats(x, mask=y)._node
    assert isinstance(view, Masked)
    crop = x[1:, 2:5]
    moved = optimize(View(view, crop._node.transform))  # type: ignore[attr-defined]
    assert moved is optimize(Masked(crop._node, (crop > 9)._node))


def test_a_summary_that_others_need_is_not_computed_twice() -> None:
    _, _, x = stack()
    q = lt.quantile(x, 0.5, axis=("y", "x"))
    assert "view_through_quantile" not in fired(q[1:3] + q.sum())


def test_equal_summaries_are_one_node() -> None:
    _, _, x = stack()
    assert lt.quantile(x, 0.5)._node is lt.quantile(x, 0.5)._node
    assert lt.quantile(x, 0.5)._node is not lt.quantile(x, np.float64(0.5))._node
    a, b = (lt.histogram(x, 5, (0, 9))[0]._node for _ in range(2))
    assert a is b
    assert isinstance(a, Histogram)
    assert isinstance(a.edges, Edges)


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_holes_are_found_in_all_that_is_looked_at(engine: Any) -> None:
    array = lt.asarray(np.arange(12.0).reshape(3, 4), dims=("y", "x"))
    holed = lt.overlay([array, array.translate_by[0, 8]])
    for tensor in (
        lt.quantile(holed, 0.5),
        lt.quantile(holed, [0.5], axis=1),
        lt.histogram(holed, 3)[0],
        lt.histogram(holed, 3)[1],
        lt.histogram(holed, 3, (0, 1))[0],
        lt.stats(holed, mask=holed > 3).mean,
        lt.stats(holed, mask=lt.asarray(np.ones((3, 12), bool))).count,
        lt.normalize(holed, percentiles=(1, 99)),
    ):
        with pytest.raises(lt.HoleError, match="covered by none"):
            tensor.collect(engine=engine)
    filled = lt.quantile(holed, 0.5, axis=0)[2:4]
    np.testing.assert_array_equal(filled.collect(engine=engine), [6.0, 7.0])


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Quantile", {"axes_": [7]}),
        ("Quantile", {"q_shape": [3]}),
        ("Quantile", {"q_dtype": "S8"}),
        ("Histogram", {"axes_": [0, 0]}),
        ("MaskedReduce", {"axes_": [-1]}),
        ("MaskedReduce", {"op": "median"}),
    ],
)
def test_documents_are_checked(kind: str, change: dict[str, Any]) -> None:
    import json

    x = lt.asarray(np.arange(6.0).reshape(2, 3))
    s = lt.stats(x, mask=x > 1)
    tensor = {"Quantile": s.quantile(0.5), "Histogram": s.histogram[0], "MaskedReduce": s.mean}
    document = json.loads(tensor[kind].serialize())
    nodes = [node for node in document["nodes"] if node.get("kind", node.get("op")) == kind]
    assert nodes, document["nodes"][-1].keys()
    nodes[0].update(change)
    with pytest.raises((lt.SerializationError, lt.LazyTensorError)):
        lt.LazyTensor.deserialize(json.dumps(document))


def test_nodes_hold_what_they_were_given() -> None:
    node = lt.quantile([1.0, 2.0], [0.25, 0.5])._node
    assert isinstance(node, Quantile)
    assert node.quantiles.tolist() == [0.25, 0.5]
    assert isinstance(node.x, Scan)
    low = Constant.of(np.nan, np.dtype("f8"))
    edges = Edges(low, low, 3, np.dtype("f8"), True)
    tensor = lt.LazyTensor._wrap(edges)
    with pytest.raises(ValueError, match="finite"):
        tensor.collect()
