"""What is computed before the rest: reductions, caches, and what several results share."""

from __future__ import annotations

import numpy as np

import lazytensor as lt
from lazytensor.exec.stages import plan_stages
from lazytensor.plan.node import Node
from tests.sources import ChunkedArray


def kinds(*results: lt.LazyTensor) -> list[tuple[str, ...]]:
    stages = plan_stages([x._node for x in results])
    return [tuple(type(node).__name__ for node in stage.nodes) for stage in stages]


def source() -> ChunkedArray:
    return ChunkedArray(np.arange(64.0 * 32).reshape(64, 32), (8, 8))


def test_a_pointwise_plan_is_one_stage() -> None:
    x = lt.scan_source(source())
    assert kinds((x + 1)[3:] * 2) == [("Elementwise",)]


def test_a_reduction_comes_first_and_once() -> None:
    x = lt.scan_source(source())
    assert kinds(x - lt.mean(x, axis=0)) == [("Reduce",), ("Elementwise",)]
    assert kinds(lt.mean(x) + lt.mean(x)) == [("Reduce",), ("Elementwise",)]


def test_reductions_of_one_input_over_the_same_axes_are_one_pass() -> None:
    data = source()
    x = lt.scan_source(data)
    y = (x - lt.mean(x)) / lt.std(x)
    assert kinds(y) == [("Reduce", "Reduce"), ("Elementwise",)]
    lt.collect_all([lt.mean(x), lt.std(x), lt.max(x)])
    read = [cell for box in data.boxes for cell in data.cells_of(box)]
    assert len(read) == len(set(read)) == 32


def test_a_reduction_of_a_reduction_is_two_stages() -> None:
    x = lt.scan_source(source())
    assert kinds(lt.max(x - lt.max(x))) == [("Reduce",), ("Reduce",)]


def test_a_large_projection_is_reduced_where_it_is_needed() -> None:
    def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
        raise AssertionError("nothing is to be read")

    x = lt.virtual_chunked(read, shape=(8, 4096, 4096), dtype="u2", chunks=(1, 256, 256))
    assert kinds(lt.max(x, axis=0) + 1) == [("Elementwise",)]


def test_cache_is_kept_only_if_it_is_used_twice() -> None:
    x = (lt.scan_source(source()) + 1).cache()
    assert kinds(x * 2) == [("Elementwise",)]
    assert kinds(x + x[::-1]) == [("Cache",), ("Elementwise",)]


def test_a_cache_calls_a_function_once_a_cell() -> None:
    calls: list[int] = []

    def note(block: np.ndarray) -> np.ndarray:
        calls.append(1)
        return block

    x = lt.map_blocks(note, lt.scan_source(source()), dtype="f8").cache()
    found = (x + x[::-1]).collect(engine="local")
    values = source().values
    np.testing.assert_array_equal(found, values + values[::-1])
    assert len(calls) == 32


def test_equal_results_are_one_stage_and_both_outputs_are_filled() -> None:
    x = lt.scan_source(source()) + 1
    assert kinds(x, x) == [("Elementwise",)]
    first, second = lt.collect_all([x, x])
    np.testing.assert_array_equal(first, second)
    assert not np.shares_memory(first, second)


def test_stages_are_ordered() -> None:
    x = lt.scan_source(source())
    a = lt.mean(x, axis=0)
    b = lt.max(x - a)
    c = (x - a) / b
    seen: set[Node] = set()
    for stage in plan_stages([c._node, lt.sum(c)._node]):
        for node in stage.nodes:
            below = {n for n in node.inputs if type(n).__name__ == "Reduce"}
            assert below <= seen
        seen.update(stage.nodes)
