"""Operations along one axis on every engine: values, blocks, what is read, memory, holes."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.plan import nodes_axis
from lazytensor.plan.node import walk
from lazytensor.plan.nodes_axis import BlockTotals, Cumulate
from lazytensor.plan.ops_scan import CUMULATIONS, lanes
from tests.engines import ENGINES, SETTINGS
from tests.plans import distinct
from tests.sources import ChunkedArray

DTYPES = ("?", "u1", "i2", "u2", "i4", "u8", "i8", "f2", "f4", "f8", "c8", "c16", ">i4", ">f8")
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -2.0]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Axes longer than a few elements are made in two passes."""
    monkeypatch.setattr(nodes_axis, "_WHOLE_AXIS", 0)
    monkeypatch.setattr(nodes_axis, "_BLOCK", 16)


def chunked(values: np.ndarray, chunks: tuple[int, ...], **more: Any) -> lt.LazyTensor:
    return lt.scan_source(ChunkedArray(values, chunks, **more))


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """To the bit: NaN, signs of zero and dtype."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)
    if found.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))


def everywhere(x: lt.LazyTensor, expected: np.ndarray) -> None:
    for engine in ENGINES.values():
        same(x.collect(engine=engine), expected)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sorting_is_numpys(dtype: str, axis: int) -> None:
    values = (distinct((5, 7), np.dtype("i4")) % 5).astype(dtype)
    x = chunked(values, (2, 3))
    order = np.argsort(values, axis=axis, kind="stable")
    everywhere(lt.sort(x, axis=axis), np.sort(values, axis=axis))
    everywhere(lt.argsort(x, axis=axis), order)
    everywhere(lt.sort(x, axis=axis, descending=True), np.flip(np.sort(values, axis=axis), axis))
    found = lt.argsort(x, axis=axis, descending=True).collect()
    same(np.take_along_axis(values, found, axis), np.flip(np.sort(values, axis=axis), axis))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("descending", [False, True])
def test_special_values_sort_stably(dtype: str, descending: bool) -> None:
    values = np.array([*SPECIAL, 0.0, -0.0, 0.0, np.nan], dtype)
    x = chunked(values, (4,))
    keys = -values if descending else values
    order = np.argsort(keys, kind="stable")
    if descending:  # NaN before all
        nan = np.isnan(values[order])
        order = np.concatenate([order[nan], order[~nan]])
    everywhere(lt.argsort(x, descending=descending), order)
    everywhere(lt.sort(x, descending=descending), values[order])


def test_nan_keep_their_bits_when_sorted() -> None:
    bits = np.array([0x7FC00001, 0x3F800000, 0xFFC00002, 0x7FC00003], np.uint32)
    x = lt.asarray(bits.view(np.float32))
    for engine in ENGINES.values():
        found = lt.sort(x).collect(engine=engine).view(np.uint32)
        assert found.tolist() == bits[[1, 0, 2, 3]].tolist()


def test_complex_numbers_sort_by_parts() -> None:
    values = np.array([1 + 2j, 1 - 1j, complex(np.nan, 0), 0 + 5j, complex(1, np.nan)])
    everywhere(lt.sort(lt.asarray(values)), np.sort(values))


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "int4", "uint4"])
def test_small_formats_sort_as_what_they_are(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    wide = np.array([3, 1, 2, 0, 1, 7], np.float32)
    if "float" in name:
        wide = np.array([3, np.nan, -1, 2, np.nan, -0.0, 0.0], np.float32)
    x = lt.asarray(wide.astype(dtype))
    for engine in ENGINES.values():
        found = lt.sort(x).collect(engine=engine)
        assert found.dtype == dtype
        same(found.astype(np.float32), np.sort(wide, kind="stable"))
        same(lt.argsort(x).collect(engine=engine), np.argsort(wide, kind="stable"))


def test_strings_and_dates_sort() -> None:
    words = np.array([["b", "ä", ""], ["zz", "a", "b"]], np.dtypes.StringDType())
    days = np.array(["2020-01-02", "NaT", "1999-01-01"], "M8[D]")
    for engine in ENGINES.values():
        found = lt.sort(lt.asarray(words), axis=1).collect(engine=engine)
        assert found.tolist() == np.sort(words, axis=1).tolist()
        assert lt.isin(lt.asarray(words), ["b"]).collect(engine=engine).sum() == 2
        np.testing.assert_array_equal(
            lt.sort(lt.asarray(days)).collect(engine=engine), np.sort(days)
        )


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1,), (1, 1)])
def test_empty_and_single(shape: tuple[int, ...]) -> None:
    values = np.zeros(shape, "f4")
    for x in (lt.asarray(values), chunked(values, tuple(max(1, n) for n in shape))):
        everywhere(lt.sort(x), np.sort(values))
        everywhere(lt.argsort(x), np.argsort(values))
        everywhere(lt.cumulative_sum(x, axis=0), np.cumsum(values, axis=0))
        everywhere(lt.cumulative_prod(x, axis=-1), np.cumprod(values, axis=-1))
        everywhere(lt.diff(x), np.diff(values))
        everywhere(lt.isin(x, [0]), np.isin(values, [0]))
        everywhere(lt.isin(x, np.zeros(0, "f4")), np.zeros(shape, bool))
        indices = np.zeros(shape, "i8")
        everywhere(lt.take_along_axis(x, indices), np.take_along_axis(values, indices, -1))


# Cumulative operations.


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
def test_cumulation_in_two_passes(name: str, dtype: str, axis: int, small_blocks: None) -> None:
    values = distinct((9, 11), np.dtype(dtype))
    x = chunked(values, (2, 3))
    found = getattr(lt, name)(x, axis=axis)
    passes = any(isinstance(node, BlockTotals) for node in walk(found._node))
    assert passes == (name == "cumulative_sum" or np.dtype(dtype).kind in "biu")
    with np.errstate(all="ignore"):
        wide = {"f": "f8", "c": "c16"}.get(np.dtype(dtype).kind)
        expected = np.add if name == "cumulative_sum" else np.multiply
        whole = expected.accumulate(
            values, axis=axis, dtype=wide or ("u8" if dtype.startswith("u") else "i8")
        )
        whole = whole.astype(found.dtype)
    reference = found.collect(engine="interpret")
    np.testing.assert_allclose(reference, whole, rtol=1e-6 if wide else 0)
    everywhere(found, reference)
    everywhere(
        lt.cumulative_sum(x, axis=axis)[1:7, ::-2],
        lt.cumulative_sum(x, axis=axis).collect()[1:7, ::-2],
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 7), st.integers(1, 3), st.sampled_from(SETTINGS),
    st.sampled_from(sorted(ENGINES)), st.data(),
)  # fmt: skip
def test_any_window_of_any_cut(
    n: int, chunk: int, block: int, flags: lt.QueryOptFlags, engine: str, data: st.DataObject
) -> None:
    values = distinct((3, n), np.dtype("f8"))
    before = nodes_axis._WHOLE_AXIS, nodes_axis._BLOCK
    nodes_axis._WHOLE_AXIS, nodes_axis._BLOCK = 0, 16 * block
    try:
        x = chunked(values, (2, chunk), origin=(-4, 7))
        y = lt.cumulative_sum(x, axis=1)
    finally:
        nodes_axis._WHOLE_AXIS, nodes_axis._BLOCK = before
    assert y.domain == x.domain
    whole = y.collect(engine="interpret")
    np.testing.assert_array_equal(whole, np.cumsum(values, axis=1))
    bounds = st.none() | st.integers(-n - 1, n + 1)
    steps = st.sampled_from((None, 2, -1))
    key = (slice(data.draw(bounds), data.draw(bounds)), slice(
        data.draw(bounds), data.draw(bounds), data.draw(steps)))  # fmt: skip
    same(y[key].collect(engine=ENGINES[engine], optimizations=flags), whole[key])


@pytest.mark.parametrize("n", [1, 63, 64, 65, 100, 4096, 5000, 300_000])
def test_float_sums_keep_the_bound(n: int) -> None:
    rng = np.random.default_rng(n)
    for values in (np.full(n, 0.1), rng.normal(size=n), rng.exponential(size=n) ** 8):
        exact = np.cumsum(values.astype(np.longdouble))
        found = CUMULATIONS["cumulative_sum"].accumulate(values, 0)
        count = np.arange(1, n + 1)
        bound = 4 * np.sqrt(count) * np.finfo(float).eps * np.cumsum(np.abs(values))
        assert (np.abs(found - exact) <= bound).all()


def test_float32_sums_are_those_of_float64_rounded() -> None:
    values = np.random.default_rng(0).normal(size=(3, 500)).astype("f4")
    expected = np.cumsum(values, axis=1, dtype="f8").astype("f4")
    everywhere(lt.cumulative_sum(lt.asarray(values), axis=1), expected)


def test_special_values_accumulate() -> None:
    values = np.array([-0.0, -0.0, 1, np.inf, 2, -np.inf, 5], "f8")
    with np.errstate(invalid="ignore"):
        expected = np.cumsum(values)
    everywhere(lt.cumulative_sum(lt.asarray(values)), expected)
    values = np.array([-0.0, 2, np.inf, 1], "f4")
    with np.errstate(invalid="ignore"):
        expected = np.cumprod(values)
    everywhere(lt.cumulative_prod(lt.asarray(values)), expected)


def test_products_may_overflow_and_come_back() -> None:
    """As NumPy's: a product that is 0 once stays 0, and is never NaN by chance."""
    values = np.concatenate([np.full(3000, 0.5), np.full(6000, 2.0)])
    everywhere(lt.cumulative_prod(chunked(values, (512,))), np.cumprod(values))


@pytest.mark.parametrize(("dtype", "to"), [("f4", "i4"), ("i4", "f4"), ("u1", "u1"), ("i8", "c8")])
def test_a_dtype_may_be_asked_for(dtype: str, to: str, small_blocks: None) -> None:
    values = (distinct((20,), np.dtype("i4")) * 1.5).astype(dtype)
    found = lt.cumulative_sum(chunked(values, (3,)), dtype=to)
    everywhere(found, np.cumsum(values, dtype=to))


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2"])
def test_small_floats_are_accumulated_wide(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    values = np.linspace(0, 1, 40).astype(dtype)
    expected = np.cumsum(values.astype("f8")).astype(dtype)
    for engine in ENGINES.values():
        found = lt.cumulative_sum(lt.asarray(values)).collect(engine=engine)
        assert found.dtype == dtype
        same(found.astype("f4"), expected.astype("f4"))


def test_threads_do_not_change_a_bit(small_blocks: None) -> None:
    values = np.random.default_rng(1).normal(size=(4, 999))
    y = lt.cumulative_sum(chunked(values, (2, 10)), axis=1)
    first = y.collect(engine=lt.LocalEngine(threads=1)).tobytes()
    for threads in (2, 5):
        assert y.collect(engine=lt.LocalEngine(threads=threads)).tobytes() == first


def test_two_passes_read_twice_and_a_window_only_what_stands_before(small_blocks: None) -> None:
    values = distinct((64,), np.dtype("i8"))
    source = ChunkedArray(values, (4,))
    y = lt.cumulative_sum(lt.scan_source(source))
    y[40:44].collect(engine=ENGINES["blocks-64"])
    read = sorted(hi for ((_, hi),) in source.boxes)
    assert read[-1] == 44
    # Totals of the blocks before; of the last block the elements themselves.
    assert sum(hi - lo for ((lo, hi),) in source.boxes) <= 48
    source.boxes.clear()
    y[:4].collect(engine=ENGINES["blocks-64"])
    assert source.boxes == [((0, 4),)]


def test_memory_stays_within_its_limit() -> None:
    values = np.ones(1 << 21, "f8")
    y = lt.cumulative_sum(chunked(values, (1 << 16,)))
    assert isinstance(y._node, Cumulate)
    assert y._node.block == 0  # 16 MiB: whole
    with pytest.raises(lt.MemoryLimitError, match="max_memory"):
        y.collect(engine=lt.LocalEngine(max_memory="8MiB"))


# Gathering.

PARTS = (slice(None), slice(1, None), slice(None, None, -1), slice(0, 1), 0)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(sorted(ENGINES)), st.sampled_from(SETTINGS))
def test_gathers_agree_with_numpy(
    data: st.DataObject, engine: str, flags: lt.QueryOptFlags
) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    axis = data.draw(st.integers(0, len(shape) - 1))
    count = data.draw(st.integers(0, 6))
    wanted = [data.draw(st.sampled_from((1, n))) for n in shape]
    given_shape = [data.draw(st.sampled_from((1, n))) if m == n else n
                   for n, m in zip(shape, wanted, strict=True)]  # fmt: skip
    wanted[axis], given_shape[axis] = count, shape[axis]
    values = distinct(tuple(given_shape), np.dtype("i4"))
    n = shape[axis]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    indices = rng.integers(-n, n, wanted)
    x = chunked(values, (2,) * len(shape), origin=(3,) * len(shape))
    j = chunked(indices, (2,) * len(shape), origin=(-1,) * len(shape))
    y = lt.take_along_axis(x, j, axis=axis)
    expected = np.take_along_axis(values, indices, axis)
    assert y.shape == expected.shape
    assert y.origin[axis] == -1
    same(y.collect(engine=ENGINES[engine], optimizations=flags), expected)
    key = tuple(
        data.draw(st.sampled_from(PARTS))
        if m else slice(None)
        for m in expected.shape
    )  # fmt: skip
    same(y[key].collect(engine=ENGINES[engine], optimizations=flags), np.asarray(expected[key]))


@pytest.mark.parametrize("shape", [(4,), (2, 4)])
def test_an_index_outside_is_named(shape: tuple[int, ...]) -> None:
    x = lt.asarray(np.zeros(shape), dims=("y", "x")[-len(shape) :])
    indices = np.zeros(shape, "i8")
    indices[..., 2] = 4
    for engine in ENGINES.values():
        with pytest.raises(lt.OutOfBoundsError, match=r"index 4 .* dim 'x' with size 4"):
            lt.take_along_axis(x, indices).collect(engine=engine)
    with pytest.raises(lt.OutOfBoundsError, match="index -5"):
        lt.take_along_axis(x, indices - 5).collect()


def test_a_table_is_read_once_however_many_tasks() -> None:
    source = ChunkedArray(np.arange(100), (10,))
    indices = np.random.default_rng(0).integers(0, 100, 1000)
    y = lt.take_along_axis(lt.scan_source(source), chunked(indices, (20,)))
    same(y.collect(engine=ENGINES["blocks-64"]), indices)
    assert sum(hi - lo for ((lo, hi),) in source.boxes) == 100


def test_other_dims_are_cut_and_read_once() -> None:
    values = distinct((12, 20), np.dtype("i4"))
    source = ChunkedArray(values, (3, 5))
    y = lt.sort(lt.scan_source(source), axis=1)
    same(y[4:8].collect(engine=ENGINES["blocks-64"]), np.sort(values, 1)[4:8])
    assert {box[0] for box in source.boxes} <= {(4, 6), (6, 8), (4, 8)}
    assert sum((b - a) * (d - c) for (a, b), (c, d) in source.boxes) == 4 * 20


# Searching.


@pytest.mark.parametrize("side", ["left", "right"])
def test_searches_are_numpys(side: Any) -> None:
    table = np.array([-np.inf, 0.0, 1.0, 1.0, 3.0, np.nan])
    values = np.array([[np.nan, 1.0, -5.0], [2.0, np.inf, -0.0]])
    expected = np.searchsorted(table, values, side=side)
    everywhere(lt.searchsorted(lt.asarray(table), chunked(values, (1, 2)), side=side), expected)
    everywhere(lt.searchsorted(chunked(table, (2,)), lt.asarray(values), side=side), expected)
    order = np.array([3, 0, 5, 1, 4, 2])
    shuffled = np.empty_like(table)
    shuffled[order] = table
    everywhere(
        lt.searchsorted(chunked(shuffled, (2,)), values, side=side, sorter=lt.asarray(order)),
        expected,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_membership_is_numpys(dtype: str) -> None:
    values = distinct((4, 6), np.dtype(dtype))
    members = values.ravel()[[3, 7, 7, 20]]
    x = chunked(values, (2, 5), origin=(2, 2))
    found = lt.isin(x, chunked(members, (3,)))
    assert found.domain == x.domain
    everywhere(found, np.isin(values, members))
    everywhere(lt.isin(x, lt.asarray(members.reshape(2, 2)), invert=True),
               np.isin(values, members, invert=True))  # fmt: skip


def test_nan_is_no_member() -> None:
    everywhere(
        lt.isin(lt.asarray(np.array([np.nan, -0.0])), [np.nan, 0.0]), np.array([False, True])
    )


# Holes.


def with_hole() -> lt.LazyTensor:
    left = lt.asarray(np.arange(12.0).reshape(3, 4))
    right = lt.asarray(np.arange(6.0).reshape(2, 3)).translate_to[0, 5]
    return lt.overlay([left, right])


@pytest.mark.parametrize(
    ("make", "fine", "wrong"),
    [
        (lambda x: lt.cumulative_sum(x, axis=1), (slice(None), slice(0, 4)), (0, 4)),
        (lambda x: lt.cumulative_sum(x, axis=0), (slice(0, 2), slice(0, 4)), (2, 5)),
        (lambda x: lt.cumulative_sum(x, axis=1), (0, slice(0, 4)), (0, 6)),
        (lambda x: lt.sort(x, axis=0), (slice(None), slice(0, 4)), (0, 6)),
        (lambda x: lt.take_along_axis(x, np.zeros((1, 8), int), axis=0), (0, slice(0, 3)), (0, 5)),
        (lambda x: lt.isin(x, [1.0]), (0, slice(0, 3)), (0, 4)),
        (lambda x: lt.isin([1.0], x[:, :4]), (0,), None),
    ],
)
@pytest.mark.parametrize("flags", SETTINGS[:2])
def test_holes_are_found_where_they_are_needed(
    make: Any, fine: Any, wrong: Any, flags: lt.QueryOptFlags
) -> None:
    y = make(with_hole())
    y[fine].collect(optimizations=flags)
    if wrong is not None:
        with pytest.raises(lt.HoleError):
            y[wrong].collect(optimizations=flags)


def test_lanes_tile_an_array() -> None:
    for shape in ((), (5,), (3, 4), (2, 3, 4), (0, 3)):
        for axis in range(-1, len(shape)):
            for most in (1, 3, 100):
                seen = np.zeros(shape, int)
                for part in lanes(shape, axis, most):
                    seen[part] += 1
                assert (seen == 1).all()


def test_long_lanes_are_the_same_however_they_are_cut() -> None:
    values = np.random.default_rng(3).normal(size=(2, 200_001))
    for dtype in ("f8", "f4", "i8"):
        x = lt.asarray(values.astype(dtype), chunks=(1, 5000))
        y = lt.cumulative_sum(x, axis=1)
        whole = y.collect(engine="interpret")
        everywhere(y, whole)
        everywhere(y[1, 150_001:150_007], whole[1, 150_001:150_007])
        wide = "i8" if dtype == "i8" else "f8"
        product = np.cumprod(values[0].astype(dtype), dtype=wide)[:9].astype(dtype)
        everywhere(lt.cumulative_prod(x, axis=1)[0, :9], product)


def test_two_passes_need_little_memory() -> None:
    source = ChunkedArray(np.ones(1 << 24), (1 << 18,))
    y = lt.cumulative_sum(lt.scan_source(source)) * 2
    found = y.collect(engine=lt.LocalEngine(threads=2, max_memory="64MiB"))
    assert found[-1] == 2 << 24
    assert np.array_equal(found[: 1 << 20], np.arange(2, 2 + (2 << 20), 2))
    assert sum(hi - lo for ((lo, hi),) in source.boxes) <= 2 << 24
