"""Programs: what is asked for twice is computed once, in as few steps as the window needs."""

from __future__ import annotations

import gc
import pickle
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.demand import whole_box
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.physical import Program
from lazytensor.exec.steps import run_program
from lazytensor.plan.source import Box
from tests.sources import ChunkedArray


def program_of(x: lt.LazyTensor, box: Box | None = None) -> Program:
    return lower(Compiled(x._node), whole_box(x._node) if box is None else box)


def run(x: lt.LazyTensor, program: Program) -> np.ndarray:
    out = np.empty([hi - lo for lo, hi in program.box], x.dtype)
    run_program(program, Scratch(), out)
    return out


def ops(program: Program) -> list[str]:
    return [step.op for step in program.steps]


class TestSharing:
    def test_a_diamond_is_computed_once(self) -> None:
        x = lt.scan_source(ChunkedArray(np.arange(12.0), (4,))) + 1
        program = program_of(x * x)
        assert ops(program).count("read") == 1
        assert ops(program).count("elementwise") == 2
        np.testing.assert_array_equal(run(x, program), (np.arange(12.0) + 1) ** 2)

    def test_overlapping_requests_of_a_computed_node_are_joined(self) -> None:
        values = np.arange(40.0)
        x = lt.sqrt(lt.asarray(values))
        program = program_of(x[1:] - x[:-1])
        assert ops(program).count("elementwise") == 2
        np.testing.assert_allclose(run(x, program), np.diff(np.sqrt(values)), rtol=1e-15)

    def test_a_leaf_comes_just_before_who_needs_it(self) -> None:
        values = np.arange(128.0)
        for x in (lt.asarray(values), lt.scan_source(ChunkedArray(values, (8,)))):
            total = x[0:8] + 1
            for i in range(1, 8):
                total = total + x[16 * i : 16 * i + 8]
            program = program_of(total)
            reads = [step.slot for step in program.steps if step.op == "read"]
            users = [
                step.slot for step in program.steps for ref in step.inputs if ref.slot in reads
            ]
            assert len(reads) == len(users) == 8
            assert all(user - slot <= 2 for slot, user in zip(reads, users, strict=True))
            # What is alive at a time does not grow with the number of slices.
            assert program.moved <= 5 * 64
            expected = values.reshape(8, 16)[:, :8].sum(0) + 1
            np.testing.assert_array_equal(run(total, program), expected)

    def test_a_scalar_is_made_once(self) -> None:
        x = lt.asarray(np.arange(4.0))
        program = program_of((x + 2.5) * 2.5 - 2.5)
        assert ops(program).count("constant") == 1
        np.testing.assert_array_equal(run(x, program), (np.arange(4.0) + 2.5) * 2.5 - 2.5)

    def test_programs_are_no_garbage_of_cycles(self) -> None:
        x = lt.asarray(np.arange(4.0)) + 2.5
        found = []
        gc.disable()
        try:
            for _ in range(4):
                gc.collect()
                for _ in range(50):
                    program = program_of(x[1:] * x[:-1])
                    del program
                found.append(gc.collect())
            # Less than one object each: imports, and other threads, may leave some of theirs.
            assert min(found) < 50
        finally:
            gc.enable()

    def test_distant_requests_are_not_joined(self) -> None:
        x = lt.sqrt(lt.asarray(np.arange(1000.0)))
        program = program_of(x[:3] + x[990:993])
        assert max(int(np.prod(step.shape)) for step in program.steps) == 3

    @given(
        st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), min_size=1, max_size=40),
        st.booleans(),
    )
    def test_any_set_of_requests_is_answered(
        self, spans: list[tuple[int, int]], chunked: bool
    ) -> None:
        values = np.arange(40.0)
        x = lt.scan_source(ChunkedArray(values, (7,))) if chunked else lt.asarray(values) * 1.0
        found = lt.concat([x[a : a + n] for a, n in spans])
        expected = np.concatenate([values[a : a + n] for a, n in spans])
        np.testing.assert_array_equal(run(found, program_of(found)), expected)

    def test_thousands_of_requests_of_one_node_take_steps_in_proportion(self) -> None:
        values = np.arange(20_000.0)
        x = lt.asarray(values) + 1
        order = np.random.default_rng(3).permutation(4000)
        found = lt.concat([x[5 * i : 5 * i + 4] for i in order])
        program = program_of(found + x.cache()[:16_000])
        assert len(program.steps) < 8020
        expected = (values + 1).reshape(4000, 5)[order, :4].ravel() + values[:16_000] + 1
        np.testing.assert_array_equal(run(found, program), expected)


class TestWindows:
    def test_a_window_of_many_layers_takes_a_few_steps(self) -> None:
        tiles = [
            (lt.asarray(np.full((4, 4), i)) + 0).translate_to[4 * (i // 100), 4 * (i % 100)]
            for i in range(10_000)
        ]
        mosaic = lt.overlay(tiles)
        compiled = Compiled(mosaic._node)
        program = lower(compiled, ((18, 26), (100, 103)))
        assert len(program.steps) < 20
        rows, columns = np.meshgrid(range(18, 26), range(100, 103), indexing="ij")
        np.testing.assert_array_equal(run(mosaic, program), rows // 4 * 100 + columns // 4)

    def test_every_window_has_the_values_of_the_whole(self) -> None:
        values = np.arange(6 * 7.0).reshape(6, 7)
        x = lt.scan_source(ChunkedArray(values, (2, 3), origin=(-2, 5)))
        y = lt.pad(x[1:] - x[:-1], 1, mode="wrap")
        whole = y.collect(engine="interpret")
        compiled = Compiled(y._node)
        bounds = [
            [(a, b) for a in range(lo, hi + 1) for b in range(a, hi + 1, 2)]
            for lo, hi in whole_box(y._node)
        ]
        for box in product(*bounds):
            part = tuple(slice(a - lo, b - lo) for (a, b), lo in zip(box, y.origin, strict=True))
            np.testing.assert_array_equal(run(y, lower(compiled, box)), whole[part])


class TestMemory:
    def test_slots_are_freed_as_soon_as_they_are_used(self) -> None:
        x = lt.asarray(np.arange(1000.0))
        y = x
        for i in range(20):
            y = lt.sqrt(y + i)
        assert program_of(y).nbytes <= 4 * x.nbytes + 1000

    def test_what_user_code_has_seen_is_never_recycled(self) -> None:
        x = lt.scan_source(ChunkedArray(np.arange(8.0), (4,))) + 1
        program = program_of(x.inspect(print) * 2)
        shown = next(step for step in program.steps if step.op == "inspect")
        assert {shown.slot, shown.inputs[0].slot} <= program.escaped
        assert not any(program.escaped & set(step.frees) for step in program.steps)

    def test_scratch_gives_each_taker_its_own_memory(self) -> None:
        scratch = Scratch()
        a = scratch.take((10,), np.dtype("f8"))
        scratch.give(a)
        assert np.shares_memory(scratch.take((9,), np.dtype("f8")), a)
        b = scratch.take((10,), np.dtype("f8"))
        scratch.keep(b)
        scratch.give(b)
        assert not np.shares_memory(scratch.take((10,), np.dtype("f8")), b)
        scratch.give(np.empty(3))


@pytest.mark.parametrize("engine", ["local", "interpret"])
def test_programs_are_plain_data(engine: str) -> None:
    x = lt.asarray(np.arange(24.0).reshape(4, 6))
    y = (lt.sqrt(x) * 2)[:, ::-1].T
    program = pickle.loads(pickle.dumps(program_of(y)))
    np.testing.assert_array_equal(run(y, program), y.collect(engine=engine))
