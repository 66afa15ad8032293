"""Values at the image of a transform, against evaluating it point by point."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor.errors import OutOfBoundsError, ShapeError
from lazytensor.exec.kernels.gather import apply_transform
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform, OutputIndexMap


def brute_force(transform: IndexTransform, array: np.ndarray, origin: tuple[int, ...]) -> Any:
    """One point at a time."""
    out = np.empty(transform.domain.shape, array.dtype)
    ranges = [range(n) for n in out.shape]
    lows = transform.domain.inclusive_min
    for position in itertools.product(*ranges):
        point = transform([p + lo for p, lo in zip(position, lows, strict=True)])
        out[position] = array[tuple(c - o for c, o in zip(point, origin, strict=True))]
    return out


@st.composite
def cases(draw: Any) -> tuple[IndexTransform, np.ndarray, tuple[int, ...]]:
    """A random transform into an array with distinct values."""
    rank, out_rank = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    shape = [draw(st.integers(1, 3)) for _ in range(rank)]
    lows = [draw(st.integers(-3, 3)) for _ in range(rank)]
    domain = IndexDomain(inclusive_min=lows, shape=shape)
    maps, sizes, origin = [], [], []
    for _ in range(out_rank):
        kind = draw(st.sampled_from(["constant", "single", "array"] if rank else ["constant"]))
        offset, stride = draw(st.integers(-4, 4)), draw(st.sampled_from([1, 1, 2, -1, -3]))
        if kind == "constant":
            maps.append(OutputIndexMap(offset))
            values = np.array([offset])
        elif kind == "single":
            dim = draw(st.integers(0, rank - 1))
            maps.append(OutputIndexMap(dim, offset, stride))
            values = offset + stride * (lows[dim] + np.arange(shape[dim]))
        else:
            extent = [n if draw(st.booleans()) else 1 for n in shape]
            flat = [draw(st.integers(-2, 2)) for _ in range(int(np.prod(extent)))]
            index = np.array(flat).reshape(extent)
            maps.append(OutputIndexMap(index, offset, stride))
            values = offset + stride * index
        below, above = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        origin.append(int(values.min()) - below)
        sizes.append(int(values.max()) + above + 1 - origin[-1])
    array = np.arange(int(np.prod(sizes)), dtype=np.int32).reshape(sizes)
    order = draw(st.permutations(range(out_rank)))
    array = np.array(array.transpose(order), order="C").transpose(np.argsort(order).astype(int))
    return IndexTransform(domain, maps), array, tuple(origin)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases())
def test_equals_evaluation_point_by_point(case: Any) -> None:
    transform, array, origin = case
    expected = brute_force(transform, array, origin)
    found = apply_transform(transform, array, origin)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, expected, strict=True)
    out = np.empty(expected.shape, array.dtype)
    assert apply_transform(transform, array, origin, out=out) is out
    np.testing.assert_array_equal(out, expected, strict=True)


BOXES = [
    (slice(2, 5), slice(None, None, -1)),
    (3, slice(None, None, 2)),
    (slice(5, 0, -2), 1, None),
]


@pytest.mark.parametrize("key", BOXES)
def test_boxes_are_views(key: Any) -> None:
    array = np.arange(42).reshape(6, 7)
    base = IndexTransform(input_shape=[6, 7])
    view = apply_transform(base[key], array, (0, 0))
    assert np.shares_memory(view, array)
    assert not view.flags.writeable


def test_diagonal_broadcast_and_transpose_are_views() -> None:
    array = np.arange(12).reshape(3, 4)
    domain = IndexDomain(shape=[4, 3, 2])
    single, constant = OutputIndexMap(input_dimension=1), OutputIndexMap(2)
    view = apply_transform(IndexTransform(domain, [single, constant]), array, (0, 0))
    assert np.shares_memory(view, array)
    np.testing.assert_array_equal(
        view, np.broadcast_to(array[None, :, 2, None], (4, 3, 2)), strict=True
    )
    diagonal = IndexTransform(IndexDomain(shape=[3]), [OutputIndexMap(input_dimension=0)] * 2)
    np.testing.assert_array_equal(apply_transform(diagonal, array, (0, 0)), array.diagonal())


@pytest.mark.parametrize("dtype", ["bool", "float16", "complex128", "S3", "U2", "M8[s]", "i4,f8"])
def test_any_dtype(dtype: str) -> None:
    array = np.zeros((3, 4), dtype)
    array.reshape(-1).view("u1")[:] = np.arange(array.nbytes) % 2
    transform = IndexTransform(input_shape=[3, 4]).oindex[[2, 0], ::-2]
    found = apply_transform(transform, array, (0, 0))
    assert found.tobytes() == array[[2, 0], ::-2].tobytes()


def test_strings_of_any_length() -> None:
    texts = [["a", "a longer text than fits into the array itself"], ["", "d"]]
    array = np.array(texts, np.dtypes.StringDType())
    base = IndexTransform(input_shape=[2, 2])
    for key in ((slice(None, None, -1), 1), ([1, 0],), ([1, 0], [1, 1])):
        found = apply_transform(base[key], array, (0, 0))
        assert found.dtype == array.dtype
        assert found.tolist() == array[key].tolist()


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 2)])
def test_empty_results_read_nothing(shape: tuple[int, ...]) -> None:
    maps = [OutputIndexMap(99)]
    found = apply_transform(IndexTransform(IndexDomain(shape=shape), maps), np.arange(3.0), (0,))
    assert found.shape == shape and found.dtype == np.float64


def test_a_zero_dimensional_array() -> None:
    found = apply_transform(IndexTransform(IndexDomain(shape=[2]), []), np.asarray(7), ())
    np.testing.assert_array_equal(found, [7, 7])


@pytest.mark.parametrize(
    "transform",
    [
        IndexTransform(input_shape=[4]),
        IndexTransform(input_rank=0, output=[OutputIndexMap(-1)]),
        IndexTransform(input_shape=[2], output=[OutputIndexMap([0, 3])]),
        IndexTransform(input_shape=[2], output=[OutputIndexMap([0, -1])]),
    ],
)
def test_an_image_outside_the_array_is_refused(transform: IndexTransform) -> None:
    with pytest.raises(OutOfBoundsError, match="axis 0"):
        apply_transform(transform, np.arange(3), (0,))


def test_ranks_and_shapes_must_fit() -> None:
    transform = IndexTransform(input_shape=[3])
    with pytest.raises(ShapeError, match="output rank 1"):
        apply_transform(transform, np.zeros((3, 3)), (0, 0))
    with pytest.raises(ShapeError, match="out has shape"):
        apply_transform(transform, np.zeros(3), (0,), out=np.zeros(4))
