"""The contraction node and the law that moves views below it."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import lazytensor as lt
from lazytensor.errors import DTypeError, ShapeError
from lazytensor.plan.memory import array_node
from lazytensor.plan.nodes_contract import Contract
from lazytensor.plan.optimize import Trace, optimize
from tests.engines import ENGINES, SETTINGS
from tests.plans import distinct
from tests.sources import ChunkedArray


def matrix(*shape: int, dtype: str = "i8", dims: Any = None) -> lt.LazyTensor:
    return lt.asarray(distinct(shape, np.dtype(dtype), len(shape)), dims=dims)


def test_a_node_is_interned() -> None:
    x, y = matrix(3, 4), matrix(4, 5)
    assert (x @ y)._node is (x @ y)._node
    assert (x @ y)._node is lt.tensordot(x, y, axes=1)._node


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (((0,), (0,), (), ()), "do not match: 3 != 4"),
        (((), (), (1, 1), (0, 0)), "are not different dims"),
        (((), (), (2,), (0,)), "are not different dims"),
        (((), (), (1,), ()), "do not pair up"),
        (((0,), (), (), (0,)), "do not pair up"),
    ],
)
def test_a_wrong_pairing_is_refused(fields: Any, words: str) -> None:
    with pytest.raises(ShapeError, match=words):
        Contract(matrix(3, 4)._node, matrix(4, 5)._node, *fields)


def test_operands_share_a_dtype_of_numbers() -> None:
    x, y = array_node(np.zeros((2, 2), "f4")), array_node(np.zeros((2, 2)))
    with pytest.raises(DTypeError, match="cast one of them"):
        Contract(x, y, (), (), (1,), (0,))
    words = array_node(np.zeros((2, 2), "S3"))
    with pytest.raises(DTypeError, match="cannot be multiplied"):
        Contract(words, words, (), (), (1,), (0,))


def test_axes_and_chunks_follow_the_inputs() -> None:
    axes = [lt.Axis(scale=0.5, unit="micrometer"), lt.Axis()]
    x = lt.scan_source(ChunkedArray(np.zeros((6, 4)), (2, 3), dims=("y", "k"), axes=axes))
    w = lt.scan_source(ChunkedArray(np.zeros((4, 9)), (4, 5), dims=("k", "c")))
    product = x @ w
    assert product.chunks == (2, 5)
    assert product.axes[0].scale == 0.5
    assert [axis.name for axis in product.axes] == ["y", "c"]


def test_a_plan_with_a_product_is_written_and_read() -> None:
    x = matrix(2, 3, 4)
    for y in (x @ matrix(2, 4, 5), lt.tensordot(x, x, axes=([0, 2], [0, 2])), lt.vecdot(x, x)):
        again = lt.LazyTensor.deserialize(y.serialize())
        np.testing.assert_array_equal(again.collect(), y.collect())


def same(view: lt.LazyTensor, by_hand: lt.LazyTensor) -> None:
    assert optimize(view._node) is optimize(by_hand._node)


def test_rows_and_columns_move_below() -> None:
    x, y = matrix(6, 4, dims=("y", "k")), matrix(4, 5, dims=("k", "c"))
    same((x @ y)[1:3], x[1:3] @ y)
    same((x @ y)[:, ::2], x @ y[:, ::2])
    same((x @ y)[2], x[2] @ y)
    same((x @ y)[4:1:-1, 3], x[4:1:-1] @ y[:, 3])
    same((x @ y)[[4, 1]], x[[4, 1]] @ y)
    same((x.T @ x)[1:3], x.T[1:3] @ x)


def test_stacks_move_below_both() -> None:
    x, y = matrix(3, 6, 4), matrix(3, 4, 5)
    same((x @ y)[1], x[1] @ y[1])
    same((x @ y)[1:, 2], (x[1:, 2:3] @ y[1:])[:, 0])
    same((x @ y[0])[2], x[2] @ y[0])


def test_a_diagonal_is_a_sum_of_fewer_products() -> None:
    x, y = matrix(6, 4), matrix(4, 6)
    at = np.arange(6)
    diagonal = (x @ y).vindex[at, at]
    by_hand = Contract(x[at]._node, y[:, at]._node, (0,), (1,), (1,), (0,))
    assert optimize(diagonal._node) is by_hand
    np.testing.assert_array_equal(diagonal.collect(), np.diagonal(x.collect() @ y.collect()))
    through = (x @ y)[lt.d[0, 1].diagonal]
    assert type(optimize(through._node)) is Contract
    np.testing.assert_array_equal(through.collect(), np.diagonal(x.collect() @ y.collect()))


def test_what_would_enlarge_an_input_stays_above() -> None:
    x, y = matrix(4, 3), matrix(3, 4)
    rows, columns = np.tile(np.arange(1, 3), 6), np.repeat(np.arange(1, 3), 6)
    picked = (x @ y).vindex[rows, columns]
    plan = optimize(picked._node)
    assert type(plan.inputs[0]) is Contract
    assert plan.inputs[0].shape == (2, 2)
    np.testing.assert_array_equal(picked.collect(), (x.collect() @ y.collect())[rows, columns])


def test_the_law_is_shown() -> None:
    x, y = matrix(6, 4, dims=("y", "k")), matrix(4, 5, dims=("k", "c"))
    trace = Trace()
    optimize((x @ y)[1:3]._node, trace=trace)
    assert trace.counts() == {"view_through_contract": 1}
    text = (x @ y)[1:3].explain()
    assert text.splitlines()[0].startswith("contract k and k")
    assert "[y=1:3]" in text


@st.composite
def products(draw: Any) -> tuple[lt.LazyTensor, np.ndarray]:
    """A product of tensors with origins, and its values."""
    extents = [draw(st.integers(1, 4)) for _ in range(4)]
    q, m, k, n = extents
    shapes = draw(
        st.sampled_from(
            [((m, k), (k, n)), ((q, m, k), (q, k, n)), ((q, m, k), (k, n)), ((m, k), (q, k, n)),
             ((q, m, k), (1, k, n)), ((k,), (k, n)), ((q, k), (q, k))]
        )
    )  # fmt: skip
    sides = []
    for shape in shapes:
        values = distinct(shape, np.dtype("i8"), draw(st.integers(0, 5)))
        origin = [draw(st.integers(-3, 3)) for _ in shape]
        sides.append((ChunkedArray(values, [2] * len(shape), origin=origin), values))
    (s1, v1), (s2, v2) = sides
    x, y = lt.scan_source(s1), lt.scan_source(s2)
    if shapes == ((q, k), (q, k)):
        return lt.vecdot(x, y), np.vecdot(v1, v2)
    return x @ y, np.matmul(v1, v2)


@settings(deadline=None, max_examples=150)
@given(products(), st.data())
def test_views_of_products_have_the_same_values(
    pair: tuple[lt.LazyTensor, np.ndarray], data: st.DataObject
) -> None:
    lazy, values = pair
    axes = data.draw(st.permutations(range(values.ndim)))
    lazy, values = lt.permute_dims(lazy, axes), values.transpose(axes)
    key: list[Any] = []
    for n in values.shape:
        kind = data.draw(st.integers(0, 4))
        if kind == 0:
            key.append(data.draw(st.integers(-n, n - 1)))
        elif kind == 1:
            key.append(slice(*[data.draw(st.none() | st.integers(-n, n)) for _ in range(2)],
                             data.draw(st.sampled_from((None, 1, 2, -1)))))  # fmt: skip
        elif kind == 2:
            key.extend([None, slice(None)])
        elif kind == 3 and not any(isinstance(k, np.ndarray) for k in key):
            key.append(np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5))))
        else:
            key.append(slice(None))
    view, expected = lazy[tuple(key)], values[tuple(key)]
    flags = data.draw(st.sampled_from(SETTINGS))
    engine = data.draw(st.sampled_from(sorted(ENGINES)))
    plan = optimize(view._node, flags)
    assert (plan.domain, plan.dtype) == (view._node.domain, view._node.dtype)
    got = view.collect(engine=ENGINES[engine], optimizations=flags)
    np.testing.assert_array_equal(got, expected)


def test_a_slice_of_a_product_reads_its_rows_only() -> None:
    a = ChunkedArray(np.arange(600.0).reshape(20, 30), (2, 30))
    b = ChunkedArray(np.arange(600.0).reshape(30, 20), (30, 4))
    product = lt.scan_source(a) @ lt.scan_source(b)
    np.testing.assert_array_equal(product[3:5, 5].collect(), (a.values @ b.values)[3:5, 5])
    assert a.cells_read() == {(1, 0), (2, 0)}
    assert b.cells_read() == {(0, 1)}
