"""Positions: every key means what NumPy says it means, and coordinates stay with the elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazytensor.errors import DimensionError, LazyTensorError, OutOfBoundsError, ShapeError
from lazytensor.exec.kernels.gather import apply_transform
from lazytensor.plan.domain import Dim, IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.selection import isel, positional, positional_oindex, positional_vindex


def source(shape: tuple[int, ...], origin: tuple[int, ...]) -> tuple[IndexDomain, np.ndarray]:
    """A domain and an array of distinct values on it."""
    domain = IndexDomain(inclusive_min=origin, shape=shape)
    return domain, np.arange(int(np.prod(shape))).reshape(shape)


def values(transform: IndexTransform, array: np.ndarray, origin: tuple[int, ...]) -> np.ndarray:
    """What the transform selects."""
    return apply_transform(transform.validate(), array, origin)


@st.composite
def slices(draw: Any, n: int) -> slice:
    bound = st.one_of(st.none(), st.integers(-n - 2, n + 2))
    step = draw(st.one_of(st.none(), st.integers(1, 4), st.integers(-4, -1)))
    return slice(draw(bound), draw(bound), step)


@st.composite
def arrays(draw: Any, n: int, shape: tuple[int, ...] | None = None) -> Any:
    wanted = shape or draw(st.sampled_from([(), (1,), (3,), (2, 1), (2, 3), (0,)]))
    wanted = wanted if n else (0,)
    flat = [draw(st.integers(-n, n - 1)) for _ in range(int(np.prod(wanted)))]
    found = np.array(flat, draw(st.sampled_from([np.int64, np.int8]))).reshape(wanted)
    return found.tolist() if found.ndim == 1 and found.size and draw(st.booleans()) else found


@st.composite
def key_terms(draw: Any, shape: tuple[int, ...], *, masks: bool = True) -> list[Any]:
    """Terms for some leading or trailing dimensions."""
    terms: list[Any] = []
    d = 0
    last = draw(st.integers(0, len(shape)))
    while d < last:
        n = shape[d]
        kinds = ["slice", "slice", "array", "full"] + (["int"] if n else [])
        kinds += ["mask"] if masks else []
        kind = draw(st.sampled_from(kinds))
        if kind == "mask":
            used = draw(st.integers(1, min(2, len(shape) - d)))
            size = int(np.prod(shape[d : d + used]))
            bits = draw(st.lists(st.booleans(), min_size=size, max_size=size))
            terms.append(np.array(bits, bool).reshape(shape[d : d + used]))
            d += used
            continue
        if kind == "int":
            terms.append(draw(st.sampled_from([int, np.int32]))(draw(st.integers(-n, n - 1))))
        elif kind == "array":
            terms.append(draw(arrays(n)))
        else:
            terms.append(draw(slices(n)) if kind == "slice" else slice(None))
        d += 1
    return terms


@st.composite
def cases(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], Any]:
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 4, 5, 0]), min_size=0, max_size=4)))
    origin = tuple(draw(st.integers(-6, 6)) for _ in shape)
    key = draw(key_terms(shape))
    if draw(st.booleans()):
        key.insert(draw(st.integers(0, len(key))), ...)
        if key[-1] is not ... and draw(st.booleans()):
            key = [k for k in key if k is not ...]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        extra = draw(st.sampled_from([None, None, None, True, False, np.True_]))
        key.insert(draw(st.integers(0, len(key))), extra)
    alone = len(key) == 1 and draw(st.booleans())
    return shape, origin, key[0] if alone else tuple(key)


@settings(max_examples=800, deadline=None, derandomize=True)
@given(cases())
def test_keys_mean_what_numpy_says(case: Any) -> None:
    shape, origin, key = case
    domain, array = source(shape, origin)
    try:
        expected = array[key]
    except IndexError:
        with pytest.raises(OutOfBoundsError):
            positional(domain, key)
        return
    if _masks_another_extent(shape, key):
        return
    transform = positional(domain, key)
    np.testing.assert_array_equal(
        values(transform, array, origin), np.asarray(expected), strict=True
    )
    assert transform.domain.explicit


def _masks_another_extent(shape: tuple[int, ...], key: Any) -> bool:
    """Whether a mask without elements is on dimensions that have some: NumPy lets that pass."""
    masks = [k for k in key if isinstance(k, np.ndarray)] if isinstance(key, tuple) else [key]
    empty = [m for m in masks if isinstance(m, np.ndarray) and m.dtype == bool and 0 in m.shape]
    if not empty:
        return False
    try:
        positional(IndexDomain(shape=shape), key)
    except OutOfBoundsError as error:
        return "mask" in str(error)
    return False


def outer(array: np.ndarray, key: tuple[Any, ...]) -> np.ndarray:
    """Index one axis after the other, from the last to the first."""
    axis = array.ndim
    for term in reversed(key):
        used = term.ndim if isinstance(term, np.ndarray) and term.dtype == bool else 1
        axis -= used
        array = array[(slice(None),) * axis + (term,)]
    return array


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_outer_keys_index_one_axis_after_the_other(data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    origin = tuple(data.draw(st.integers(-6, 6)) for _ in shape)
    domain, array = source(shape, origin)
    terms = [np.asarray(t) if isinstance(t, list) else t for t in data.draw(key_terms(shape))]
    used = sum(t.ndim if isinstance(t, np.ndarray) and t.dtype == bool else 1 for t in terms)
    key = (*terms, *(slice(None),) * (len(shape) - used))
    transform = positional_oindex(domain, key)
    np.testing.assert_array_equal(
        values(transform, array, origin), np.asarray(outer(array, key)), strict=True
    )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_pointwise_keys_put_the_points_first(data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    origin = tuple(data.draw(st.integers(-6, 6)) for _ in shape)
    domain, array = source(shape, origin)
    key = tuple(data.draw(st.one_of(slices(n), arrays(n, (3,)), arrays(n, (2, 1)))) for n in shape)
    joint = [np.asarray(k) for k in key if not isinstance(k, slice)]
    transform = positional_vindex(domain, key)
    found = values(transform, array, origin)
    if not joint:
        np.testing.assert_array_equal(found, array[key], strict=True)
        return
    at = [d for d, k in enumerate(key) if not isinstance(k, slice)]
    kept = array[tuple(slice(None) if d in at else key[d] for d in range(len(shape)))]
    moved = np.moveaxis(kept, at, range(len(at)))
    np.testing.assert_array_equal(found, moved[tuple(joint)], strict=True)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (slice(2, 5), Dim(12, 15)),
        (slice(-3, 99), Dim(17, 20)),
        (slice(4, 4), Dim(14, 14)),
        (slice(8, 2), Dim(18, 18)),
        (slice(None, None, 2), Dim(5, 10)),
        (slice(1, None, 3), Dim(3, 6)),
        (slice(None, None, -1), Dim(-19, -9)),
        (slice(7, 2, -2), Dim(-8, -5)),
        ([3, 4], Dim(2)),
        (None, Dim(1)),
        (np.arange(10) % 2 == 0, Dim(5)),
    ],
)
def test_a_slice_keeps_the_coordinates_of_its_elements(key: Any, expected: Dim) -> None:
    domain = IndexDomain(inclusive_min=[10], shape=[10])
    assert positional(domain, key).domain[0] == expected


def test_a_strided_slice_starts_at_the_quotient_rounded_toward_zero() -> None:
    domain = IndexDomain(inclusive_min=[-5], shape=[11])
    transform = positional(domain, slice(None, None, 2))
    assert transform.domain[0] == Dim(-2, 4)
    assert transform.output[0].offset == -1


def test_labels_stay_with_slices_and_with_arrays_of_one_dimension() -> None:
    domain = IndexDomain(shape=[3, 4, 5], labels=["z", "y", "x"])
    key = (slice(1, 2), [0, 1], None)
    assert positional(domain, key).domain.labels == ("z", "y", "", "x")


def test_untouched_dimensions_keep_implicit_bounds() -> None:
    domain = IndexDomain([Dim(3, implicit_upper=True), Dim(4)])
    assert repr(positional(domain, (slice(None), slice(1, 2))).domain) == "{ [0, 3*), [1, 2) }"
    assert repr(positional(domain, slice(1, 2)).domain) == "{ [1, 2), [0, 4) }"


def test_isel_selects_by_name_and_number() -> None:
    domain, array = source((3, 4, 5), (10, 20, 30))
    labelled = domain.label["z", "y", "x"]
    transform = isel(labelled, {"x": [4, 0], -2: slice(None, None, -2), "z": 1})
    np.testing.assert_array_equal(
        values(transform, array, (10, 20, 30)), array[1, ::-2][:, [4, 0]], strict=True
    )
    assert transform.domain.labels == ("y", "x")


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"q": 0}, DimensionError),
        ({3: 0}, DimensionError),
        ({"x": 0, 2: 1}, DimensionError),
        ({"x": 9}, OutOfBoundsError),
        ({"x": None}, OutOfBoundsError),
        ({"x": ...}, OutOfBoundsError),
    ],
)
def test_isel_refuses(keys: Any, error: type[LazyTensorError]) -> None:
    domain = IndexDomain(shape=[3, 4, 5], labels=["z", "y", "x"])
    with pytest.raises(error):
        isel(domain, keys)


@pytest.mark.parametrize(
    "key",
    [
        4,
        -5,
        np.int8(4),
        (0, 0, 0),
        (..., ...),
        (0, ..., 0, 0),
        [0, 4],
        [[0], [-5]],
        1.0,
        "x",
        [1.5],
        np.zeros(3, bool),
        np.zeros((4, 2), bool),
        np.zeros((4, 3, 1), bool),
        ([0, 1], [0, 1, 2]),
    ],
)
def test_bad_positions_are_index_errors(key: Any) -> None:
    with pytest.raises(OutOfBoundsError):
        positional(IndexDomain(shape=[4, 3]), key)


def test_messages_name_dimension_index_and_size() -> None:
    domain = IndexDomain(shape=[4, 3], labels=["y", "x"])
    with pytest.raises(OutOfBoundsError, match=r"index 7 .* dimension 1 \('x'\) with size 3"):
        positional(domain, (0, 7))
    with pytest.raises(OutOfBoundsError, match=r"index -9 .* dimension 0 \('y'\) with size 4"):
        positional(domain, [1, -9])


def test_a_zero_step_is_refused() -> None:
    with pytest.raises(ShapeError, match="cannot be zero"):
        positional(IndexDomain(shape=[4]), slice(None, None, 0))


def test_slice_bounds_that_are_no_integers_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="integers"):
        positional(IndexDomain(shape=[4]), slice(0.5, 2))


def test_rank_is_limited() -> None:
    with pytest.raises(ShapeError, match="65 dimensions"):
        positional(IndexDomain(shape=[1] * 60), (None,) * 5)
    assert positional(IndexDomain(shape=[1] * 60), (None,) * 4).input_rank == 64
