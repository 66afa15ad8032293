"""Stored levels in the place of what would be computed: which, when, and never a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec.interpret import interpret
from lazytensor.plan.levels import Stamp, describe_level, like_levels, proven_levels
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Scan
from lazytensor.plan.optimize import Trace, optimize
from lazytensor.plan.rules.pyramid import stamped_level_for_downsample
from lazytensor.plan.spec import Axis
from tests.engines import ENGINES
from tests.sources import ChunkedArray

METHODS = ("mean", "median", "mode", "min", "max", "stride")
PLAIN = lt.QueryOptFlags(pyramid_substitution=False)


class Level(ChunkedArray):
    """A counting source that belongs to a pyramid."""

    def __init__(self, values: np.ndarray, chunks: Sequence[int], **options: Any) -> None:
        super().__init__(values, chunks, **options)
        self.pyramid: tuple[Level, ...] = ()
        self.content: str | None = None
        self.stamp: Stamp | None = None

    @property
    def levels(self) -> tuple[Any, ...]:
        return self.pyramid


def reduced(values: np.ndarray, factors: Sequence[int], method: Any) -> np.ndarray:
    """What a downsample of an array from coordinate 0 is."""
    return interpret(lt.downsample(lt.asarray(values), tuple(factors), method)._node)


def pyramid(
    values: np.ndarray,
    steps: Sequence[Sequence[int]],
    method: str = "mean",
    *,
    chunks: int = 4,
    stamped: bool = True,
    from_first: bool = False,
    scale: float | None = None,
    dims: Sequence[str] | None = None,
) -> tuple[Level, ...]:
    """Levels each of which was made from the one before, or all from the first."""
    made = [values]
    for factors in steps:
        made.append(reduced(made[0 if from_first else -1], factors, method))
    levels = []
    for number, array in enumerate(made):
        axes = None
        if scale is not None:
            by = values.shape[-1] / array.shape[-1]
            axes = [Axis("", None, None, scale * by) for _ in array.shape]
        level = Level(array, (chunks,) * array.ndim, axes=axes, dims=dims, name=str(number))
        level.content = f"key {number}"
        if number and stamped:
            of = 0 if from_first else number - 1
            factors = tuple(steps[number - 1])
            level.stamp = Stamp(method, factors, f"key {of}", level.content)
        levels.append(level)
    for level in levels:
        level.pyramid = tuple(levels)
    return tuple(levels)


def distinct(shape: tuple[int, ...], dtype: str = "u2") -> np.ndarray:
    size = int(np.prod(shape))
    values = np.random.default_rng(size).permutation(size).reshape(shape)
    return (values % 251 if dtype in ("u1", "i1") else values).astype(dtype)


def scans(*levels: Level) -> list[lt.LazyTensor]:
    return [lt.scan_source(level) for level in levels]


def rules(x: lt.LazyTensor) -> set[str]:
    trace = Trace()
    optimize(x._node, None, trace)
    return {f.law.name for f in trace.firings if f.law.flag == "pyramid_substitution"}


# ---- before and after


def test_a_stamped_level_stands_in() -> None:
    fine, coarse = pyramid(distinct((16, 12)), [(2, 2)])
    x, y = scans(fine, coarse)
    z = x.downsample((2, 2))
    assert optimize(z._node) is y._node
    assert z.explain(optimized=False).startswith("downsample (2, 2) mean")
    first = z.explain().splitlines()[0]
    assert first.split("   ")[-1] == "level 1 ← downsample (2, 2) mean · stamped"
    np.testing.assert_array_equal(z.collect(), coarse.values)
    assert not fine.boxes and len(coarse.cells_read()) == 4
    assert "saves" in z.explain(rules=True)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda x: x.downsample((2, 2))[1:3], lambda y: y[1:3]),
        (lambda x: x[4:8].downsample((2, 2)), lambda y: y[2:4]),
        (lambda x: x[4:].downsample((2, 2)), lambda y: y[2:]),
        (lambda x: x.downsample((2, 2))[3, ::-1], lambda y: y[3, ::-1]),
        (lambda x: x.T.downsample((2, 2)), lambda y: y.T),
        (lambda x: x.translate_by[6, -4].downsample((2, 2)), lambda y: y.translate_by[3, -2]),
        (lambda x: lt.flip(x, axis=1).downsample((2, 2)), None),
        (lambda x: x.downsample((2, 2)).astype("f4") * 2, lambda y: y.astype("f4") * 2),
    ],
)
def test_before_and_after(build: Any, expected: Any) -> None:
    fine, coarse = pyramid(distinct((16, 13)), [(2, 2)])
    x, y = scans(fine, coarse)
    before = build(x)
    found = optimize(before._node)
    if expected is not None:
        assert found is optimize(expected(y)._node)
    np.testing.assert_array_equal(interpret(found), interpret(before._node))


def test_an_even_extent_may_be_flipped() -> None:
    fine, coarse = pyramid(distinct((16, 12)), [(2, 2)])
    x, y = scans(fine, coarse)
    # Flipped, coordinates run from -11 to 0: blocks of two begin at odd positions of the source.
    assert optimize(lt.flip(x, axis=1).downsample((2, 2))._node) is not y._node
    shifted = lt.flip(x, axis=1).translate_to[0, 0].downsample((2, 2))
    assert not any(n is x._node for n in walk(optimize(shifted._node)))
    np.testing.assert_array_equal(shifted.collect(), reduced(fine.values[:, ::-1], (2, 2), "mean"))


@pytest.mark.parametrize(
    "build",
    [
        lambda x: x[1:].downsample((2, 2)),  # begins inside a block
        lambda x: x[:15].downsample((2, 2)),  # ends inside one
        lambda x: x.translate_by[1, 0].downsample((2, 2)),
        lambda x: x.translate_to[0, 0][1:].translate_to[0, 0].downsample((2, 2)),
        lambda x: x.downsample((2, 1)),
        lambda x: x.downsample((4, 4)),  # a mean of means is no mean
        lambda x: x.downsample((2, 2), method="median"),
        lambda x: x[::2].downsample((2, 2)),
        lambda x: x[[0, 1, 2, 3]].downsample((2, 2)),
        lambda x: x.astype("u4").downsample((2, 2)),
        lambda x: lt.broadcast_to(x[0], (16, 12)).downsample((2, 2)),
    ],
)
def test_what_a_level_does_not_hold_is_computed(build: Any) -> None:
    fine, coarse = pyramid(distinct((16, 12)), [(2, 2)])
    (x,) = scans(fine)
    lazy = build(x)
    assert not rules(lazy)
    np.testing.assert_array_equal(lazy.collect(), lazy.collect(optimizations=PLAIN))
    assert not coarse.boxes


def test_what_ends_with_the_array_needs_no_whole_block() -> None:
    fine, coarse = pyramid(distinct((15, 13)), [(2, 4)])
    x, y = scans(fine, coarse)
    assert optimize(x[8:].downsample((2, 4))._node) is optimize(y[4:]._node)
    assert rules(x[8:14].downsample((2, 4)))
    assert not rules(x[8:13].downsample((2, 4)))


def test_levels_of_levels() -> None:
    levels = pyramid(distinct((32, 32)), [(2, 2), (2, 2)])
    x, _, z = scans(*levels)
    assert optimize(x.downsample((2, 2)).downsample((2, 2))._node) is z._node
    assert not rules(x.downsample((4, 4)))
    levels = pyramid(distinct((32, 32)), [(2, 2), (4, 4)], from_first=True)
    x, _, z = scans(*levels)
    assert optimize(x.downsample((4, 4))._node) is z._node
    assert describe_level(levels[2]) == "level 2 ← downsample (4, 4) mean · stamped"


@pytest.mark.parametrize("method", ["min", "max"])
def test_extremes_nest(method: str) -> None:
    values = distinct((32, 30), "f4")
    values[3, 3], values[8:12, 8:12], values[0, :3] = np.nan, np.nan, (-0.0, 0.0, -0.0)
    levels = pyramid(values, [(2, 2), (2, 2)], method)
    x, y, z = scans(*levels)
    assert optimize(x.downsample((4, 4), method=method)._node) is z._node
    for factors, base, rest in [((8, 4), z, (2, 1)), ((6, 2), y, (3, 1)), ((2, 10), y, (1, 5))]:
        lazy = x.downsample(factors, method=method)
        assert optimize(lazy._node) is base.downsample(rest, method=method)._node
        np.testing.assert_array_equal(
            lazy.collect().view("u4"), lazy.collect(optimizations=PLAIN).view("u4")
        )
    assert not rules(x.downsample((3, 2), method=method))


def test_strides_are_views() -> None:
    fine, coarse = pyramid(distinct((32, 32)), [(2, 2)], "stride")
    x, y = scans(fine, coarse)
    for build, expected in [
        (lambda x: x.downsample((2, 2), method="stride"), y),
        (lambda x: x[::2, ::2], y),
        (lambda x: x[::4, ::2], y[::2]),
        (lambda x: x[6::-2, 4], y[3::-1, 2]),
        (lambda x: x[::2, ::2] + 1, y + 1),
        (lambda x: x[2::2, ::2][1:5], y[2:6]),
    ]:
        assert optimize(build(x)._node) is optimize(expected._node)  # type: ignore[no-untyped-call]
    for lazy in (x[1::2, ::2], x[::2, ::3], x[::2], x[::2, 5], x):
        assert not rules(lazy)


def test_a_float_mean_keeps_its_order() -> None:
    rng = np.random.default_rng(1)
    fine, coarse = pyramid(rng.normal(size=(16, 16)).astype("f4"), [(2, 2)])
    x, y = scans(fine, coarse)
    assert optimize(x.downsample((2, 2))._node) is y._node
    assert not rules(x.T.downsample((2, 2)))
    assert not rules(lt.flip(x).translate_to[0, 0].downsample((2, 2)))
    assert rules(x[None].downsample((1, 2, 2)))


# ---- proof


def test_without_proof_nothing_stands_in() -> None:
    fine, coarse = pyramid(distinct((16, 12)), [(2, 2)])
    (x,) = scans(fine)
    lazy = x.downsample((2, 2))
    stamp = coarse.stamp
    assert stamp is not None
    for wrong in (
        None,
        Stamp("mean", (2, 2), "another array", "key 1"),
        Stamp("mode", (2, 2), "key 0", "key 1"),
        Stamp("mean", (2, 3), "key 0", "key 1"),
        Stamp("mean", (2, 2, 1), "key 0", "key 1"),
    ):
        coarse.stamp = wrong
        assert proven_levels(fine, "mean") == [] or wrong is None
        assert stamped_level_for_downsample(lazy._node) is None
    coarse.stamp = stamp
    assert stamped_level_for_downsample(lazy._node) is not None
    fine.content = None
    assert stamped_level_for_downsample(lazy._node) is None


def test_a_level_of_another_dtype_is_another_array() -> None:
    fine, coarse = pyramid(distinct((16, 12)), [(2, 2)])
    other = Level(coarse.values.astype("f4"), (4, 4))
    other.stamp, other.content = coarse.stamp, coarse.content
    fine.pyramid = (fine, other)
    assert not rules(lt.scan_source(fine).downsample((2, 2), approx=True))


def test_the_flag_switches_all_of_it_off() -> None:
    fine, coarse = pyramid(distinct((16, 12)), [(2, 2)])
    (x,) = scans(fine)
    for lazy in (x.downsample((2, 2)), x.downsample((2, 2), approx=True)):
        assert optimize(lazy._node, PLAIN) is lazy._node
        lazy.collect(optimizations=PLAIN)
    assert not coarse.boxes


# ---- approximations


def test_a_level_that_is_alike_stands_in_where_allowed() -> None:
    levels = pyramid(distinct((32, 32)), [(2, 2), (2, 2)], "median", stamped=False)
    x, y, z = scans(*levels)
    assert not rules(x.downsample((2, 2)))
    assert optimize(x.downsample((2, 2), approx=True)._node) is y._node
    assert optimize(x.downsample((4, 4), method="max", approx=True)._node) is z._node
    lazy = x.downsample((8, 4), approx=True)
    assert optimize(lazy._node) is z.downsample((2, 1), approx=True)._node
    assert optimize(x.downsample((8, 2), approx=True)[1:3]._node) is optimize(
        y.downsample((4, 1), approx=True)[1:3]._node
    )
    assert not rules(x.downsample((3, 2), approx=True))
    assert not rules(x[1:].downsample((2, 2), approx=True))
    assert "level 1" in x.downsample((2, 2), approx=True).explain().splitlines()[0]
    assert (
        x.downsample((2, 2), approx=True)
        .explain(optimized=False)
        .startswith("downsample (2, 2) mean · approx")
    )


def test_levels_that_leave_out_the_last_block() -> None:
    values = distinct((17, 33))
    fine, coarse = Level(values, (4, 4)), Level(reduced(values, (2, 2), "mean")[:8, :16], (4, 4))
    fine.pyramid = coarse.pyramid = (fine, coarse)
    x, y = scans(fine, coarse)
    assert [level.factors for level in like_levels(fine, (2, 2))] == [(2, 2)]
    whole = x.downsample((2, 2), approx=True)
    assert whole.shape == (9, 17) and not rules(whole)
    assert optimize(whole[:8, 3:16]._node) is optimize(y[:8, 3:16]._node)
    assert not rules(whole[:, 3:16])


def test_scales_say_which_factor_is_meant() -> None:
    fine, coarse = pyramid(distinct((16, 1)), [(2, 1)], stamped=False)
    assert [level.factors for level in like_levels(fine, (2, 7))] == [(2, 7)]
    fine, coarse = pyramid(distinct((16, 16)), [(2, 2)], stamped=False, scale=0.5)
    assert [level.factors for level in like_levels(fine, (2, 2))] == [(2, 2)]
    odd = Level(coarse.values, (4, 4), axes=[Axis("", None, None, 1.1)] * 2)
    fine.pyramid = (fine, odd)
    assert like_levels(fine, (2, 2)) == []


# ---- cost


def test_no_more_is_read_than_before() -> None:
    values = distinct((64, 64))
    fine, coarse = pyramid(values, [(2, 2)], chunks=8)
    wide = Level(coarse.values, (32, 32))
    wide.stamp, wide.content = coarse.stamp, coarse.content
    fine.pyramid = wide.pyramid = (fine, wide)
    (x,) = scans(fine)
    small = x.downsample((2, 2))[:2, :2]
    assert not rules(small)  # one chunk of the base against one of 32 x 32
    assert rules(x.downsample((2, 2)))


def test_a_base_that_is_read_anyway_is_enough() -> None:
    fine, coarse = pyramid(distinct((16, 16)), [(2, 2)])
    (x,) = scans(fine)
    up = lt.repeat(lt.repeat(x.downsample((2, 2)), 2, axis=0), 2, axis=1)
    lazy = x - up
    np.testing.assert_array_equal(lazy.collect(), lazy.collect(optimizations=PLAIN))
    assert not coarse.boxes and not rules(lazy)
    # Where only a part of the base is read, the level still saves the rest.
    assert rules(x[:4, :4] + x.downsample((2, 2))[:4, :4] + x.downsample((2, 2))[4:, 4:])


# ---- values


@st.composite
def plans(draw: st.DrawFn) -> tuple[lt.LazyTensor, bool]:
    """A downsample of views of a pyramid, of which blocks often coincide with the level's."""
    rank = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, 17)) for _ in range(rank))
    dtype = draw(st.sampled_from(["u1", "i2", "f4", "f8", "bool", "c8"]))
    methods = METHODS if dtype != "c8" else ("mean", "mode", "stride")
    method = draw(st.sampled_from(methods))
    values = np.random.default_rng(draw(st.integers(0, 9))).normal(0, 99, size=shape)
    with np.errstate(invalid="ignore"):
        values = values.astype(dtype)
    if dtype in ("f4", "f8"):
        values.flat[:: max(2, draw(st.integers(2, 9)))] = draw(st.sampled_from([0.0, -0.0, np.nan]))
    steps = [tuple(draw(st.integers(1, 3)) for _ in range(rank)) for _ in range(2)]
    levels = pyramid(values, steps, method, chunks=3, from_first=draw(st.booleans()))
    x = lt.scan_source(levels[0])
    for _ in range(draw(st.integers(0, 3))):
        x = _viewed(draw, x, steps[0])
    chosen = draw(st.sampled_from([method, method, *methods]))
    factors = [draw(st.sampled_from([1, 2, 3, 4, *steps[0]])) for _ in range(x.ndim)]
    if x.ndim == rank and draw(st.booleans()):
        factors = list(steps[0])
    y = x.downsample(tuple(factors), method=chosen)
    for _ in range(draw(st.integers(0, 1))):
        y = _viewed(draw, y, (1,) * y.ndim)
    return y, any(f > 1 for f in factors)


def _viewed(draw: st.DrawFn, x: lt.LazyTensor, by: Sequence[int]) -> lt.LazyTensor:
    kind = draw(st.sampled_from(["cut", "move", "turn", "flip", "pick", "step"]))
    if kind == "turn":
        return lt.permute_dims(x, tuple(draw(st.permutations(range(x.ndim)))))
    if not x.ndim:
        return x
    d = draw(st.integers(0, x.ndim - 1))
    f, n = by[d % len(by)], x.shape[d]
    if kind == "move":
        moves = [0] * x.ndim
        moves[d] = draw(st.sampled_from([f, -f, 1, 2 * f]))
        return x.translate_by[tuple(moves)]
    if kind == "flip":
        turned = lt.flip(x, axis=d)
        return turned.translate_to[(0,) * x.ndim] if draw(st.booleans()) else turned
    if kind == "pick":
        return x[(slice(None),) * d + (draw(st.integers(0, n - 1)),)] if n else x
    if kind == "step":
        return x[(slice(None),) * d + (slice(draw(st.integers(0, 2)), None, f),)]
    lo = draw(st.integers(0, n // max(1, f))) * f
    hi = draw(st.sampled_from([n, lo + f, lo + 2 * f]))
    return x[(slice(None),) * d + (slice(lo, hi),)]


@settings(max_examples=300)
@given(plans(), st.sampled_from(sorted(ENGINES)))
def test_values_stay(found: tuple[lt.LazyTensor, bool], engine: str) -> None:
    lazy, _ = found
    expected = interpret(lazy._node)
    after = optimize(lazy._node)
    assert after.domain == lazy._node.domain
    assert optimize(after) is after
    values = lazy.collect(engine=ENGINES[engine])
    assert values.dtype == expected.dtype and values.shape == expected.shape
    np.testing.assert_array_equal(values, expected)
    if values.dtype.kind == "f":
        numbers = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(values)[numbers], np.signbit(expected)[numbers])


def test_random_plans_meet_levels() -> None:
    met = 0

    @settings(max_examples=200, database=None, derandomize=True)
    @given(plans())
    def count(found: tuple[lt.LazyTensor, bool]) -> None:
        nonlocal met
        met += bool(rules(found[0]))

    count()
    assert met >= 20


def test_approximations_keep_shape_and_place() -> None:
    @settings(max_examples=100)
    @given(plans(), st.data())
    def check(found: tuple[lt.LazyTensor, bool], data: st.DataObject) -> None:
        base = next(n for n in walk(found[0]._node) if isinstance(n, Scan))
        x: lt.LazyTensor = lt.scan_source(base.source)
        factors = tuple(data.draw(st.integers(1, 6)) for _ in range(x.ndim))
        lazy = x.downsample(factors, approx=True)
        node: Node = optimize(lazy._node)
        assert node.domain == x.downsample(factors).domain
        assert lazy.collect().shape == lazy.shape

    check()


def test_a_law_that_does_not_apply_is_quick() -> None:
    import timeit

    node = lt.downsample(lt.zeros((8, 8)), (2, 2))._node
    best = min(timeit.repeat(lambda: stamped_level_for_downsample(node), number=1000, repeat=5))
    assert best / 1000 < 3e-6
