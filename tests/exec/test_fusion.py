"""Regions: which operations become one step, and that their values stay what they were."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import fusion
from lazytensor.exec.fusion import Region, regions_of
from lazytensor.exec.lower import Compiled, lower
from lazytensor.plan.node import Node, walk
from lazytensor.plan.optimize import optimize
from tests.engines import ENGINES
from tests.plans import Mirror, plans
from tests.sources import ChunkedArray

APART = lt.QueryOptFlags(fusion=False)
VALUES = np.arange(24 * 20, dtype="u2").reshape(24, 20)


@pytest.fixture(autouse=True)
def small_regions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "_FEWEST", 0)


def stored(values: np.ndarray = VALUES, chunks: Sequence[int] = (8, 10)) -> lt.LazyTensor:
    return lt.scan_source(ChunkedArray(values, chunks))


def regions(x: lt.LazyTensor, stored: Sequence[Node] = ()) -> list[Region]:
    compiled = Compiled(
        x._node, {node: np.zeros(node.shape, node.dtype) for node in stored}, fusing=True
    )
    return list(compiled.regions.values())


def labels(x: lt.LazyTensor) -> list[str]:
    return sorted(region.label for region in regions(x))


def ops(x: lt.LazyTensor, flags: lt.QueryOptFlags | None = None) -> list[str]:
    """The steps of the one task of a plan."""
    node = optimize(x._node, flags or lt.QueryOptFlags())
    fusing = flags is None or flags.fusion
    box = tuple((0, n) for n in node.shape)
    return [step.op for step in lower(Compiled(node, fusing=fusing), box).steps]


def chain(x: lt.LazyTensor) -> lt.LazyTensor:
    return ((x.astype("f4") - 100) * 0.5).round().clip(0, 255).astype("u1")


def test_a_chain_is_one_step() -> None:
    x = chain(stored())
    (region,) = regions(x)
    assert region.label == "cast, subtract, multiply, round, clip, cast"
    assert region.expression.arrays == (np.dtype("u2"),)
    assert len(region.constants) == len(region.expression.constants) == 4
    assert ops(x) == ["read", "fused"]
    assert ops(x, APART).count("elementwise") == 4


def test_what_is_used_twice_inside_is_computed_once() -> None:
    x = stored().astype("f4")
    (region,) = regions(x * x + x)
    assert region.label == "cast, multiply, add"
    assert len(region.inputs) == 1


def test_what_others_need_is_a_region_of_its_own() -> None:
    x = stored()
    y = x.astype("f4") * 2
    both = lt.stack([y + 1, lt.exp(y) + 1])
    assert labels(both) == ["cast, multiply"]
    assert labels(lt.concat([y + 1, (y[::-1] - 1) * 3])) == ["cast, multiply", "subtract, multiply"]


def test_functions_without_a_scalar_form_and_of_users_are_in_no_region() -> None:
    x = stored().astype("f4")
    assert labels(lt.exp(x * 2 + 1) * 3) == ["cast, multiply, add"]
    assert labels(lt.map_blocks(lambda b: b + 1, x * 2, dtype="f4") * 2 + 1) == [
        "cast, multiply", "multiply, add",
    ]  # fmt: skip


def test_what_is_broadcast_is_computed_before() -> None:
    x, row = stored().astype("f4"), stored(VALUES[0], (10,)).astype("f4")
    found = regions(x * 2 + (row - 3) * 5)
    assert sorted(region.label for region in found) == [
        "cast, multiply, add", "cast, subtract, multiply",
    ]  # fmt: skip


def test_one_operation_in_memory_is_left_to_numpy() -> None:
    x = lt.asarray(VALUES)
    assert labels(x.astype("f4")) == []
    assert labels(x.astype("f4") + 1) == ["cast, add"]
    assert labels(stored().astype("f4")) == ["cast"]
    assert labels(lt.downsample(stored(), (2, 2)).astype("f4")) == ["cast"]


def test_what_is_there_already_is_an_input() -> None:
    x = stored()
    y = x.astype("f4") * 2
    (region,) = regions((y + 1) * 3, [y._node])
    assert region.label == "add, multiply"
    assert region.inputs == (y._node,)
    assert regions(x + 1, [x._node]) == []
    assert regions(y, [y._node]) == []


def test_regions_end_somewhere() -> None:
    x = stored().astype("f4")
    for i in range(1000):
        x = x + i
    sizes = [len(region.expression.steps) for region in regions(x)]
    assert sum(sizes) == 1001 and max(sizes) == fusion._MOST
    many = sum([lt.asarray(VALUES + i) for i in range(40)], lt.asarray(VALUES))
    assert all(len(region.inputs) <= fusion._MOST_INPUTS for region in regions(many))
    np.testing.assert_array_equal(
        many.collect(engine=ENGINES["blocks-64"]), sum([VALUES + i for i in range(40)], VALUES)
    )


def test_long_chains_take_time_in_proportion() -> None:
    def seconds(count: int) -> float:
        x = stored()
        for i in range(count):
            x = x * 3 + i
        order = list(walk(x._node))
        begin = time.process_time()
        regions_of(order)
        return time.process_time() - begin

    seconds(100)
    assert seconds(10_000) < 40 * seconds(1000) + 0.5


def test_regions_are_remembered_and_forgotten_with_the_plan() -> None:
    x = chain(stored(VALUES.copy()))
    assert regions(x)[0].inputs == regions(x)[0].inputs
    assert x._node in fusion._memo
    dies = weakref.ref(x._node)
    del x
    gc.collect()
    assert dies() is None


def test_a_region_holds_small_pieces_only() -> None:
    x = stored(np.zeros((512, 1024), "u2"), (512, 1024))
    box = ((0, 512), (0, 1024))
    fused = lower(Compiled(chain(x)._node, fusing=True), box)
    apart = lower(Compiled(chain(x)._node), box)
    assert fused.nbytes < 0.6 * apart.nbytes
    assert fused.moved < 0.5 * apart.moved


def test_the_flag_reaches_plans_that_are_printed() -> None:
    x = chain(stored())
    on, off = (
        x.explain(stage="physical", optimizations=flags) for flags in (lt.QueryOptFlags(), APART)
    )
    assert "fused %0 cast, subtract, multiply, round, clip, cast (" in on
    assert "fused" not in off and "elementwise" in off


@pytest.mark.parametrize("kernels", ["numpy", "auto"])
@pytest.mark.parametrize("threads", [1, 3])
def test_values_are_those_of_the_operations(kernels: str, threads: int) -> None:
    x, row = stored(), lt.asarray(np.linspace(0, 1, 20, dtype="f4"))
    engine = lt.LocalEngine(threads=threads, kernels=kernels)
    plans: list[Any] = [
        chain(x),
        (x.astype("f4") - row) / (row + 1),
        lt.where(x > 100, x * 2, x[::-1] + 1),
        (x.astype("f8") * x[:, ::-1])[3:, ::2] - lt.mean(x),
        lt.concat([x * 2 + 1, (x - 1) ^ 3], axis=1),
        (x[5] + x[:, 3:4] * 2) & 255,
        (x.translate_to[-5, 7] + x.translate_to[-5, 7] * 3)[-3:],
    ]
    for plan in plans:
        want = plan.collect(engine=ENGINES["interpret"])
        for flags in (lt.QueryOptFlags(), APART):
            found = plan.collect(engine=engine, optimizations=flags)
            assert found.dtype == want.dtype
            np.testing.assert_array_equal(found, want)


@given(pair=plans(), end=st.sampled_from(["f4", "f8", "i4", "u1"]))
def test_random_plans_are_the_same_fused_and_apart(
    pair: tuple[lt.LazyTensor, Mirror], end: str
) -> None:
    x = pair[0]
    if x.dtype.kind == "c":
        x = lt.real(x)
    y = (x.astype("f8") * 3 - 1).astype("f4") * x.astype("f4")
    y = lt.clip(y, 0, 200).astype(end) + 1 if end != "f8" else y.astype(end) / 3
    for name in ("blocks-1", "blocks-64", "local"):
        fused = y.collect(engine=ENGINES[name])
        apart = y.collect(engine=ENGINES[name], optimizations=APART)
        assert fused.tobytes() == apart.tobytes()


def test_errors_name_the_operation_as_ever() -> None:
    x = lt.scan_source(ChunkedArray(np.array([2, 3, 4]), (2,)))
    broken = 2 ** (x - 3) + 1
    for flags in (lt.QueryOptFlags(), APART):
        with pytest.raises(lt.DTypeError, match="negative"):
            broken.collect(engine=ENGINES["blocks-64"], optimizations=flags)
