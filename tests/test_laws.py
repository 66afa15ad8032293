"""Laws of views, on random plans, for every engine and every combination of optimizer flags.

Each law says that two ways to write a plan give the same values, dtype and domain, bit for bit.
Where they come from: the rewrite laws of the index algebra, which the optimizer may use only as
far as they hold here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lazytensor as lt
from tests.engines import ENGINES, SETTINGS
from tests.plans import Mirror, Pair, distinct, plans
from tests.sources import ChunkedArray

RUNS = st.tuples(st.sampled_from(sorted(ENGINES)), st.sampled_from(SETTINGS))
Run = tuple[str, lt.QueryOptFlags]


def read(x: Any, run: Run) -> np.ndarray:
    engine, flags = run
    found: np.ndarray = x.collect(engine=ENGINES[engine], optimizations=flags)
    return found


def agree(left: Any, right: Any, run: Run) -> None:
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    if left.size:
        assert left.domain == right.domain
    np.testing.assert_array_equal(read(left, run), read(right, run))


def numbers(pair: Pair) -> lt.LazyTensor:
    """The tensor, if it can be downsampled by every method."""
    x, _ = pair
    assume(x.dtype.kind in "iuf")
    return x


def factors(data: st.DataObject, x: lt.LazyTensor) -> tuple[int, ...]:
    return tuple(data.draw(st.integers(1, 4)) for _ in x.shape)


def bounds(x: lt.LazyTensor) -> list[tuple[int, int]]:
    return list(zip(x.domain.inclusive_min, x.domain.exclusive_max, strict=True))


def box(data: st.DataObject, x: lt.LazyTensor) -> tuple[slice, ...]:
    """Unit slices in coordinates, within the domain."""
    out = []
    for lo, hi in bounds(x):
        a = data.draw(st.integers(lo, hi))
        out.append(slice(a, data.draw(st.integers(a, hi))))
    return tuple(out)


# Indexing.


def _integers(data: st.DataObject, n: int, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    values = data.draw(st.lists(st.integers(-n, n - 1), min_size=count, max_size=count))
    return np.array(values, np.int64).reshape(shape)


def _slice(data: st.DataObject, n: int) -> slice:
    return slice(
        data.draw(st.none() | st.integers(-n - 1, n + 1)),
        data.draw(st.none() | st.integers(-n - 1, n + 1)),
        data.draw(st.sampled_from((None, 1, 2, 3, -1, -2))),
    )


def numpy_key(data: st.DataObject, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Any NumPy key: integers, slices, new axes, an ellipsis, index arrays, a mask."""
    arrays = data.draw(st.sampled_from([(3,), (1,), (2, 2)]))
    key: list[Any] = []
    for n in shape:
        kind = data.draw(st.sampled_from(["slice", "slice", "array", "int", "mask"]))
        if kind == "mask" and not any(isinstance(k, np.ndarray) for k in key):
            key.append(np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool))
            count = int(key[-1].sum())
            arrays = (count,)
        elif kind == "array" and n:
            key.append(_integers(data, n, arrays))
        elif kind == "int" and n:
            key.append(data.draw(st.integers(-n, n - 1)))
        else:
            key.append(_slice(data, n))
    for _ in range(data.draw(st.sampled_from([0, 0, 1]))):
        key.insert(data.draw(st.integers(0, len(key))), None)
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(key)))
        key.insert(at, ...)
    return tuple(key)


@settings(max_examples=200)
@given(plans(), st.data(), RUNS)
def test_indexing_commutes_with_collecting(pair: Pair, data: st.DataObject, run: Run) -> None:
    x, mirror = pair
    key = numpy_key(data, x.shape)
    found = read(x[key], run)
    expected = mirror.values[key]
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@given(plans(min_ndim=1), st.data(), RUNS)
def test_an_index_of_an_index(pair: Pair, data: st.DataObject, run: Run) -> None:
    x, mirror = pair
    lazy, values = x, mirror.values
    for _ in range(3):
        key = numpy_key(data, lazy.shape)
        lazy, values = lazy[key], values[key]
        assume(lazy.ndim <= 5)
    np.testing.assert_array_equal(read(lazy, run), values)


@pytest.mark.parametrize("flags", SETTINGS, ids=repr)
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_view_of_nothing(engine: str, flags: lt.QueryOptFlags) -> None:
    """There is no position below an empty view to go to: its index leads outside what it views."""
    nothing = lt.zeros((1, 0), dtype="u1").translate_to[2, -3]
    moved = nothing - lt.max(lt.ones((1, 3), dtype="u1"))
    for x in (lt.max(nothing, axis=0), moved[0], moved.astype("f4")[0], lt.concat([moved] * 2)[1]):
        for key in (np.zeros(0, bool), (None, np.zeros(0, np.int64)), [[]]):
            found = read(x[key], (engine, flags))
            assert found.shape == np.empty(0)[key].shape


@given(plans(min_ndim=1), st.data(), RUNS)
def test_outer_indexing(pair: Pair, data: st.DataObject, run: Run) -> None:
    x, mirror = pair
    values = mirror.values
    key: list[Any] = []
    for d, n in enumerate(x.shape):
        one = _integers(data, n, (data.draw(st.integers(1, 4)),)) if n else slice(None)
        one = one if data.draw(st.booleans()) else _slice(data, n)
        key.append(one)
        values = values[(*[slice(None)] * d, one)]
    np.testing.assert_array_equal(read(x.oindex[tuple(key)], run), values)


@given(plans(min_ndim=1), st.data(), RUNS)
def test_coordinates_are_positions_moved_by_the_origin(
    pair: Pair, data: st.DataObject, run: Run
) -> None:
    x, mirror = pair
    key = box(data, x)
    part = tuple(
        slice(k.start - lo, k.stop - lo) for k, (lo, _) in zip(key, bounds(x), strict=True)
    )
    np.testing.assert_array_equal(read(x.coord[key], run), mirror.values[part])
    agree(x.coord[key], x[part], run)


# Downsampling.


@pytest.mark.parametrize("method", ["stride", "min", "max"])
@given(plans(min_ndim=1), st.data(), RUNS)
def test_downsampling_twice_is_downsampling_by_the_product(
    method: Any, pair: Pair, data: st.DataObject, run: Run
) -> None:
    x = numbers(pair)
    f, g = factors(data, x), factors(data, x)
    product = tuple(a * b for a, b in zip(f, g, strict=True))
    twice = lt.downsample(lt.downsample(x, g, method), f, method)
    agree(twice, lt.downsample(x, product, method), run)


METHODS = st.sampled_from(["stride", "mean", "median", "mode", "min", "max"])


@given(plans(min_ndim=1), st.data(), METHODS, RUNS)
def test_downsample_and_transpose(pair: Pair, data: st.DataObject, method: Any, run: Run) -> None:
    x = numbers(pair)
    f = factors(data, x)
    axes = tuple(data.draw(st.permutations(range(x.ndim))))
    above = lt.permute_dims(lt.downsample(x, f, method), axes)
    below = lt.downsample(lt.permute_dims(x, axes), tuple(f[a] for a in axes), method)
    if method == "mean" and x.dtype.kind == "f":
        # The sums of a block run in the order of the dims.
        engine = read(above, run), read(below, run)
        np.testing.assert_allclose(*engine, rtol=1e-6, atol=1e-4)
        return
    agree(above, below, run)


@given(plans(min_ndim=1), st.data(), METHODS, RUNS)
def test_downsample_and_translate(pair: Pair, data: st.DataObject, method: Any, run: Run) -> None:
    x = numbers(pair)
    f = factors(data, x)
    by = tuple(data.draw(st.integers(-3, 3)) for _ in f)
    above = lt.downsample(x, f, method).translate_by[by]
    moved = tuple(b * k for b, k in zip(by, f, strict=True))
    agree(above, lt.downsample(x.translate_by[moved], f, method), run)


@given(plans(min_ndim=1), st.data(), METHODS, RUNS)
def test_downsample_and_unit_slices(pair: Pair, data: st.DataObject, method: Any, run: Run) -> None:
    x = numbers(pair)
    f = factors(data, x)
    view = lt.downsample(x, f, method)
    key = box(data, view)
    base = tuple(
        slice(max(lo, min(hi, k.start * n)), max(lo, min(hi, k.stop * n)))
        for k, n, (lo, hi) in zip(key, f, bounds(x), strict=True)
    )
    agree(view.coord[key], lt.downsample(x.coord[base], f, method), run)


@given(plans(min_ndim=1), st.data(), RUNS)
def test_stride_keeps_multiples(pair: Pair, data: st.DataObject, run: Run) -> None:
    x = numbers(pair)
    f = factors(data, x)
    agree(lt.downsample(x, f, "stride"), x[lt.d[:].stride[f]], run)


@given(plans(min_ndim=1), st.data(), METHODS, RUNS)
def test_downsample_of_a_concat_with_seams_at_multiples(
    pair: Pair, data: st.DataObject, method: Any, run: Run
) -> None:
    x = numbers(pair)
    f = factors(data, x)
    d = data.draw(st.integers(0, x.ndim - 1))
    lo, hi = bounds(x)[d]
    cut = data.draw(st.integers(lo, hi)) // f[d] * f[d]
    assume(lo < cut < hi)
    head = (*[slice(None)] * d, slice(None, cut))
    tail = (*[slice(None)] * d, slice(cut, None))
    parts = [lt.downsample(x.coord[key], f, method) for key in (head, tail)]
    agree(lt.concat(parts, axis=d, align="domain"), lt.downsample(x, f, method), run)


# Casts.

MONOTONE = {"u1": ("i2", "u2", "f4", "f8"), "i2": ("i4", "f4", "f8"), "u2": ("i4", "u4", "f4")}


@given(plans(min_ndim=1), st.data(), METHODS, RUNS)
def test_cast_below_downsample(pair: Pair, data: st.DataObject, method: Any, run: Run) -> None:
    """Whatever a cast that keeps order and distinctness does above a downsample, it does below."""
    assume(method != "mean")
    x = numbers(pair).astype(data.draw(st.sampled_from(sorted(MONOTONE))))
    to = data.draw(st.sampled_from(MONOTONE[x.dtype.str[1:]]))
    f = factors(data, x)
    agree(lt.downsample(x, f, method).astype(to), lt.downsample(x.astype(to), f, method), run)


@given(plans(), st.data(), RUNS)
def test_stride_and_any_cast(pair: Pair, data: st.DataObject, run: Run) -> None:
    x, _ = pair
    to = data.draw(st.sampled_from(["bool", "u1", "i2", "f2", "f4", "c8"]))
    f = factors(data, x)
    below = lt.downsample(x.astype(to), f, "stride")
    agree(lt.downsample(x, f, "stride").astype(to), below, run)


@given(plans(), st.sampled_from(["f8", "c16"]), st.sampled_from(["f8", "c16", "?"]), RUNS)
def test_a_lossless_cast_on_the_way_changes_nothing(
    pair: Pair, wide: str, to: str, run: Run
) -> None:
    x, _ = pair
    agree(x.astype(wide).astype(to), x.astype(to), run)


# Joins and overlays.


@given(plans(min_ndim=1), st.data(), RUNS)
def test_a_concat_of_the_parts_is_the_whole(pair: Pair, data: st.DataObject, run: Run) -> None:
    x, mirror = pair
    d = data.draw(st.integers(0, x.ndim - 1))
    lo, hi = bounds(x)[d]
    at = data.draw(st.integers(lo, hi))
    parts = [x.coord[(*[slice(None)] * d, key)] for key in (slice(None, at), slice(at, None))]
    agree(lt.concat(parts, axis=d, align="domain"), x, run)
    np.testing.assert_array_equal(read(lt.concat(parts, axis=d), run), mirror.values)


@given(plans(), st.data(), RUNS)
def test_a_layer_of_a_stack_is_the_tensor(pair: Pair, data: st.DataObject, run: Run) -> None:
    x, _ = pair
    axis = data.draw(st.integers(0, x.ndim))
    joined = lt.stack([x, x + 1, x], axis=axis)
    at = data.draw(st.integers(0, 2))
    np.testing.assert_array_equal(
        read(joined[(*[slice(None)] * axis, at)], run),
        read([x, x + 1, x][at].astype(joined.dtype), run),
    )


@st.composite
def tiles(draw: Any) -> list[lt.LazyTensor]:
    """Up to six tensors of one dtype and rank at random places, as often apart as overlapping."""
    ndim = draw(st.integers(1, 3))
    layers = []
    for i in range(draw(st.integers(1, 6))):
        shape = draw(st.lists(st.integers(0 if i % 3 == 2 else 1, 4), min_size=ndim, max_size=ndim))
        origin = draw(st.lists(st.integers(-5, 5), min_size=ndim, max_size=ndim))
        values = distinct(tuple(shape), np.dtype("i2"), i)
        chunks = [draw(st.integers(1, 3)) for _ in shape]
        if draw(st.booleans()):
            layers.append(lt.scan_source(ChunkedArray(values, chunks, origin=origin)))
        else:
            layers.append(lt.asarray(values).translate_to[tuple(origin)])
    return layers


def painted(layers: list[lt.LazyTensor], hull: lt.IndexDomain) -> Mirror:
    """Layers painted over each other; -1 where there is none."""
    values = np.full(hull.shape, -1, np.int16)
    for x in layers:
        where = tuple(
            slice(a - lo, b - lo) for (a, b), lo in zip(bounds(x), hull.inclusive_min, strict=True)
        )
        if x.size:
            values[where] = x.collect()
    return Mirror(values, tuple(hull.origin))


@settings(max_examples=150)
@given(tiles(), st.data(), RUNS)
def test_overlay_paints_later_over_earlier(
    layers: list[lt.LazyTensor], data: st.DataObject, run: Run
) -> None:
    whole = lt.overlay(layers, fill_value=-1)
    mirror = painted(layers, whole.domain)
    np.testing.assert_array_equal(read(whole, run), mirror.values)
    key = numpy_key(data, whole.shape)
    np.testing.assert_array_equal(read(whole[key], run), mirror.values[key])


@settings(max_examples=150)
@given(tiles(), st.data(), METHODS, RUNS)
def test_a_hole_is_an_error_exactly_when_it_is_asked_for(
    layers: list[lt.LazyTensor], data: st.DataObject, method: Any, run: Run
) -> None:
    whole = lt.overlay(layers)
    mirror = painted(layers, whole.domain)
    f = factors(data, whole)
    holes = lt.asarray((mirror.values < 0).astype("u1")).translate_to[mirror.origin]
    view = lt.downsample(whole, f, method)
    touched = lt.downsample(holes, f, "stride" if method == "stride" else "max")
    key = numpy_key(data, view.shape)
    if touched[key].collect().any():
        with pytest.raises(lt.HoleError):
            read(view[key], run)
    else:
        filled = lt.overlay(layers, fill_value=-1)
        np.testing.assert_array_equal(
            read(view[key], run), lt.downsample(filled, f, method).collect()[key]
        )


@given(tiles(), st.data(), RUNS)
def test_a_window_of_an_overlay_is_an_overlay_of_the_window(
    layers: list[lt.LazyTensor], data: st.DataObject, run: Run
) -> None:
    whole = lt.overlay(layers, fill_value=-1)
    key = box(data, whole)
    window = whole.coord[key].domain
    agree(whole.coord[key], lt.overlay(layers, domain=window, fill_value=-1), run)
    agree(whole[window], lt.overlay(layers, domain=window, fill_value=-1), run)


@given(tiles(), st.data(), RUNS)
def test_nested_overlays_are_one(
    layers: list[lt.LazyTensor], data: st.DataObject, run: Run
) -> None:
    at = data.draw(st.integers(0, len(layers) - 1))
    until = data.draw(st.integers(at + 1, len(layers)))
    flat = lt.overlay(layers, fill_value=-1)
    inner = lt.overlay(layers[at:until], fill_value=7)
    gaps = lt.overlay(layers[at:until], fill_value=-1)
    assume(7 not in read(inner, run) and -1 not in gaps.collect())
    agree(lt.overlay([*layers[:at], inner, *layers[until:]], fill_value=-1), flat, run)


@given(tiles(), st.data(), RUNS)
def test_a_hidden_layer_does_not_matter(
    layers: list[lt.LazyTensor], data: st.DataObject, run: Run
) -> None:
    top = lt.overlay(layers, fill_value=-1)
    part = top.coord[box(data, top)] - 1
    agree(lt.overlay([part, top], fill_value=-1), top, run)


@given(plans(min_ndim=1), st.data(), RUNS)
def test_an_overlay_of_neighbours_is_their_concat(
    pair: Pair, data: st.DataObject, run: Run
) -> None:
    x, _ = pair
    d = data.draw(st.integers(0, x.ndim - 1))
    n = x.shape[d]
    assume(x.size)
    after = (x + x).astype(x.dtype).translate_by[tuple(n if i == d else 0 for i in range(x.ndim))]
    joined = lt.concat([x, after], axis=d, align="domain")
    agree(lt.overlay([after, x]), joined, run)


# Computed values.


@given(plans(min_ndim=1), st.data(), RUNS)
def test_what_is_computed_elementwise_can_be_computed_of_a_part(
    pair: Pair, data: st.DataObject, run: Run
) -> None:
    x, _ = pair
    key = numpy_key(data, x.shape)
    np.testing.assert_array_equal(
        read(lt.maximum(x, x * 2)[key], run), read(lt.maximum(x[key], x[key] * 2), run)
    )


@given(plans(min_ndim=2), st.data(), RUNS)
def test_a_reduction_of_a_part_is_a_part_of_the_reduction(
    pair: Pair, data: st.DataObject, run: Run
) -> None:
    x, mirror = pair
    assume(x.shape[0])
    keepdims = data.draw(st.booleans())
    name = data.draw(st.sampled_from(["max", "min"]))
    lazy = getattr(lt, name)(x, axis=0, keepdims=keepdims)
    values = getattr(mirror.values, name)(axis=0, keepdims=keepdims)
    key = numpy_key(data, values.shape)
    np.testing.assert_array_equal(read(lazy[key], run), values[key])
