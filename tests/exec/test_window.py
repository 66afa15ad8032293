"""Windows of stored arrays: the short way to a program leads to the one of the long way."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor import native
from lazytensor.exec import local, lower, workgrid
from lazytensor.exec.cancelling import kind as cancelled_kind
from lazytensor.exec.demand import whole_box
from lazytensor.exec.events import Run
from lazytensor.exec.lower import Compiled
from lazytensor.exec.physical import Program
from lazytensor.exec.pool import CancelToken, run_tasks
from lazytensor.exec.schedule import prepare
from lazytensor.exec.window import is_shared, window_of
from lazytensor.plan.node import Node
from lazytensor.plan.optimize import _fixpoint, optimize
from lazytensor.plan.source import Box
from lazytensor.plan.spec import make_spec
from lazytensor.plan.windows import window as settled
from tests.engines import SETTINGS
from tests.sources import ChunkedArray

LIMITS = (1, 64, 400, 1 << 30)
TARGETS = (16, 100, 1 << 20)


class StridedArray(ChunkedArray):
    """A source that leaves out elements by itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.steps: list[tuple[int, ...]] = []

    def read_strided(self, box: Box, steps: tuple[int, ...], out: np.ndarray) -> None:
        assert min(steps) >= 1
        whole = np.empty([b - a for a, b in box], out.dtype)
        self.read_into(box, whole)
        part = whole[tuple(slice(None, None, step) for step in steps)]
        assert part.shape == out.shape
        out[...] = part
        self.steps.append(steps)


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """A key for every dim, sometimes with a new axis; rarely an index array."""
    key: list[Any] = []
    for n in shape:
        if draw(st.integers(0, 5)) == 0:
            key.append(None)
        kind = draw(st.sampled_from("ssssiia"))
        if kind == "i":
            key.append(draw(st.integers(-n, n - 1)))
        elif kind == "a":
            key.append(draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=3)))
        else:
            ends = st.none() | st.integers(-n - 1, n + 1)
            step = st.sampled_from((None, 1, -1, 2, 3, -2, 7))
            key.append(slice(draw(ends), draw(ends), draw(step)))
    return tuple(key)


@st.composite
def windows(draw: st.DrawFn) -> tuple[lt.LazyTensor, lt.LazyTensor, ChunkedArray]:
    """A view of a stored array (possibly of a view), the same of a copy in memory, the source."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    kind = draw(st.sampled_from((ChunkedArray, StridedArray)))
    values = np.arange(np.prod(shape), dtype="i4").reshape(shape)
    origin = [draw(st.integers(-3, 3)) for _ in shape]
    if draw(st.booleans()):
        chunks = [draw(st.integers(1, n + 2)) for n in shape]
        source = kind(values, chunks, origin=origin)
        together = [draw(st.integers(1, 3)) for _ in shape]
        source._spec = make_spec(
            shape, values.dtype, origin=origin, chunks=chunks, together=together
        )
    else:
        cuts = [draw(st.sets(st.integers(1, n))) for n in shape]
        edges = [sorted({0, n, *cut}) for n, cut in zip(shape, cuts, strict=True)]
        source = kind(values, [np.diff(along).tolist() for along in edges], origin=origin)
    x, mirror = lt.scan_source(source), lt.asarray(values)
    for _ in range(draw(st.integers(0, 2))):
        key = draw(keys(x.shape)) if x.ndim else ()
        x, mirror = x.oindex[key], mirror.oindex[key]
        if 0 in x.shape:
            break
    if x.ndim > 1 and draw(st.booleans()):
        order = draw(st.permutations(range(x.ndim)))
        x, mirror = lt.permute_dims(x, order), lt.permute_dims(mirror, order)
    return x, mirror, source


@contextmanager
def target(nbytes: int) -> Iterator[None]:
    """Blocks of about so many bytes, so that small arrays are cut as large ones are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workgrid, "TARGET", nbytes)
        patch.setattr(workgrid, "_SMALLEST", nbytes)
        yield


@contextmanager
def the_long_way() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "window_of", lambda node, limit: None)
        yield


def window_program(node: Node, limit: int) -> Program | None:
    """The program of a plan that is one block however it is run."""
    found = window_of(node, limit)
    return found.program if found is not None and found.whole else None


def planned(node: Node) -> Program:
    """What the sweeps over a plan make of it as one block."""
    return lower._emit_up(lower._plan_down(Compiled(node), whole_box(node)), whole_box(node))


def test_a_window_is_one_step() -> None:
    x = lt.scan_source(ChunkedArray(np.arange(64).reshape(8, 8), (4, 4)))
    for view, op in ((x[1:3], "read"), (x[1, ::-1], "read_placed"), (x[::5], "gather")):
        program = window_program(view._node, 1 << 30)
        assert program is not None
        assert [step.op for step in program.steps] == [op]


@pytest.mark.parametrize("compressor", ["zstd", None])
def test_who_decodes_much_for_a_little_is_not_alone(tmp_path: Path, compressor: str | None) -> None:
    """Four chunks of 2 MiB for 64 bytes; where they are stored as they are, only those are read."""
    values = np.arange(256 * 256 * 32, dtype=np.uint32).reshape(256, 256, 32)
    x = lt.asarray(values).sink_zarr(tmp_path / "x", chunks=(128, 128, 32), compressor=compressor)
    corner = x[126:130, 126:130, 3]
    window = window_of(corner._node, 1 << 30)
    assert window is not None
    assert window.worth_sharing
    kernel = native.wait("chunks")
    assert is_shared(window.program) is (kernel is not None and compressor is not None)
    np.testing.assert_array_equal(corner.collect(), values[126:130, 126:130, 3])


def test_what_reading_takes_beside_the_result_counts() -> None:
    """A gather holds its values twice before they are in their order."""
    x = lt.scan_source(ChunkedArray(np.arange(64, dtype="i4").reshape(8, 8), (4, 4)))
    view = x[::5, [0, 7, 0]]
    program = window_program(view._node, 1 << 30)
    assert program is not None
    assert program.nbytes > view.nbytes
    assert window_of(view._node, program.nbytes) is not None
    assert window_of(view._node, program.nbytes - 1) is None


@given(windows(), st.sampled_from(LIMITS), st.sampled_from(TARGETS))
def test_its_program_is_that_of_the_long_way(
    window: tuple[lt.LazyTensor, lt.LazyTensor, ChunkedArray], limit: int, nbytes: int
) -> None:
    node = optimize(window[0]._node)
    with target(nbytes):
        program = window_program(node, limit)
        if program is None:
            return
        found = prepare(node, {}, limit)
    assert program == planned(node)
    assert found.grid.count == 1
    assert found.grid.box(0) == program.box
    assert found.nbytes == program.nbytes <= limit


@given(windows(), st.sampled_from(TARGETS), st.booleans())
def test_the_same_is_read_counted_and_told(
    window: tuple[lt.LazyTensor, lt.LazyTensor, ChunkedArray], nbytes: int, given_out: bool
) -> None:
    x, mirror, source = window

    def collect() -> tuple[np.ndarray, list[Box], dict[str, int], list[tuple[int, int]]]:
        told: list[tuple[int, int]] = []
        source.boxes.clear()
        lt.metrics(reset=True)
        out = np.empty(x.shape[::-1], x.dtype).T if given_out else None
        values = x.collect(
            engine=lt.LocalEngine(threads=1), out=out, progress=lambda *done: told.append(done)
        )
        assert out is None or values is out
        return values, list(source.boxes), lt.metrics(), told

    with target(nbytes):
        short = collect()
        with the_long_way():
            long = collect()
    np.testing.assert_array_equal(short[0], mirror.collect())
    np.testing.assert_array_equal(short[0], long[0])
    assert short[1:] == long[1:]


@given(windows(), st.sampled_from(SETTINGS))
def test_views_of_a_source_become_what_the_laws_make_of_them(
    window: tuple[lt.LazyTensor, lt.LazyTensor, ChunkedArray], flags: lt.QueryOptFlags
) -> None:
    node = window[0]._node
    found = settled(node, flags)
    if found is not None:
        assert optimize(node, flags) is found
        assert _fixpoint(node, flags, []) is found


@given(windows())
def test_a_block_that_needs_nothing_below_takes_one_step(
    window: tuple[lt.LazyTensor, lt.LazyTensor, ChunkedArray],
) -> None:
    node = optimize(window[0]._node)
    assert lower.lower(Compiled(node), whole_box(node)) == planned(node)


class TestStrided:
    VALUES = np.arange(24 * 20, dtype="u2").reshape(24, 20)

    @pytest.mark.parametrize(
        ("key", "steps"),
        [
            (np.s_[::2, 1::3], (2, 3)),
            (np.s_[20:2:-3], (3, 1)),
            (np.s_[5, ::-2], (1, 2)),
            (np.s_[::4, 3:4:2], (4, 1)),
            (np.s_[None, ::2], (2, 1)),
        ],
    )
    @pytest.mark.parametrize("nbytes", [32, 1 << 20])
    def test_a_source_that_can_leaves_out_elements_itself(
        self, key: Any, steps: tuple[int, ...], nbytes: int
    ) -> None:
        source = StridedArray(self.VALUES, (8, 5))
        with target(nbytes):
            found = lt.scan_source(source)[key].collect()
        np.testing.assert_array_equal(found, self.VALUES[key])
        assert set(source.steps) <= {steps, (1,) * 2, (1, steps[1]), (steps[0], 1)}
        assert source.steps

    def test_one_that_cannot_is_read_between_first_and_last(self) -> None:
        source = ChunkedArray(self.VALUES, (8, 5))
        found = lt.scan_source(source)[1:20:3, ::-2].collect()
        np.testing.assert_array_equal(found, self.VALUES[1:20:3, ::-2])
        assert source.boxes == [((1, 20), (1, 20))]

    def test_what_is_decoded_and_left_out_counts_as_work(self) -> None:
        x = lt.scan_source(StridedArray(self.VALUES, (8, 5)))[::4, ::5]
        with target(200):
            assert window_program(x._node, 1 << 20) is None
            found = prepare(x._node, {}, 1 << 20)
        assert found.grid.count == 3
        assert found.nbytes < x.nbytes < 200

    def test_the_estimate_counts_the_chunks(self) -> None:
        can, cannot = StridedArray(self.VALUES, (8, 5)), ChunkedArray(self.VALUES, (8, 5))
        counts = [lt.scan_source(s)[::3, 2::2].estimate().chunks_read for s in (can, cannot)]
        assert counts == [12, 12]

    def test_what_skips_chunks_reads_only_those_it_meets(self) -> None:
        source = StridedArray(self.VALUES, (2, 20))
        np.testing.assert_array_equal(lt.scan_source(source)[::8].collect(), self.VALUES[::8])
        assert source.boxes == [((0, 17), (0, 20))] and source.steps == [(8, 1)]
        assert lt.scan_source(source)[::8].estimate().chunks_read == 3


class Failing(ChunkedArray):
    """Raises what it is told to when it is read; counts how often it was checked."""

    def __init__(self, error: BaseException | None) -> None:
        super().__init__(np.arange(64).reshape(8, 8), (4, 4))
        self.error = error
        self.checks = 0

    def check(self) -> None:
        self.checks += 1

    def read_into(self, box: Box, out: np.ndarray) -> None:
        if self.error is not None:
            raise self.error
        super().read_into(box, out)


class TestRules:
    def test_the_source_is_checked_once(self) -> None:
        source = Failing(None)
        lt.scan_source(source)[1:3, 2].collect()
        assert source.checks == 1

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError, lt.SourceError])
    def test_an_error_is_raised_as_it_is_and_the_bar_closed(self, kind: type) -> None:
        error = kind("by purpose")
        closed: list[int] = []

        class Watch:
            def update(self, tasks: int) -> None:
                raise AssertionError("no task was done")

            def close(self) -> None:
                closed.append(1)

        lt.metrics(reset=True)
        x = lt.scan_source(Failing(error))[1:3]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(local, "start_run", lambda tasks, _: _run_of(Watch(), tasks))
            with pytest.raises(kind) as caught:
                x.collect()
        assert caught.value is error
        assert closed == [1]
        assert "tasks" not in {name for name, n in lt.metrics().items() if n}

    def test_an_error_of_ours_names_the_line_the_window_was_built_on(self) -> None:
        with pytest.raises(lt.SourceError, match=r"built at .*test_window\.py:\d+"):
            lt.scan_source(Failing(lt.SourceError("no disk")))[1:3].collect()

    def test_a_cancelled_run_reads_nothing(self) -> None:
        source = Failing(AssertionError("read"))
        token = CancelToken()
        token.cancel()
        node = lt.scan_source(source)[1:3]._node
        with pytest.raises(cancelled_kind()):
            lt.LocalEngine().run([node], [np.empty(node.shape, node.dtype)], cancel=token)

    def test_what_exceeds_the_memory_is_refused_before_the_first_byte(self) -> None:
        source = Failing(AssertionError("read"))
        with pytest.raises(lt.MemoryLimitError, match=r"one task of <.*limit is 8 B"):
            lt.scan_source(source)[1:3].collect(engine=lt.LocalEngine(max_memory=8))

    def test_no_collect_in_a_reader_and_none_where_it_is_forbidden(self) -> None:
        x = lt.scan_source(Failing(None))

        def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
            out[...] = x[1:3, 1].collect()

        with pytest.raises(RuntimeError, match="inside a reader"):
            lt.virtual_chunked(read, shape=(2,), dtype="i8", chunks=(2,)).collect()
        with lt.testing.raise_if_collects(), pytest.raises(RuntimeError, match="raise_if"):
            x[1:3].collect()

    def test_verbose_tells_what_is_read(self) -> None:
        told = io.StringIO()
        with lt.Config(verbose=True), redirect_stderr(told):
            lt.scan_source(Failing(None))[1:3].collect()
        assert "reads 2 of 4 chunks" in told.getvalue()

    def test_a_result_is_aligned_writable_and_owned(self) -> None:
        x = lt.scan_source(Failing(None))
        for key in (np.s_[1:3], np.s_[1, 2], np.s_[:, ::-1]):
            found = x[key].collect()
            assert found.ctypes.data % 64 == 0
            assert found.flags.c_contiguous
            assert found.flags.writeable


def _run_of(watch: Any, tasks: int) -> Run:
    return Run((lambda count: watch,), tasks)


class TestAlone:
    """A run of one thread does its tasks in the caller, by the rules of all runs."""

    def run(self, count: int, work: Any, cancel: CancelToken | None = None) -> list[int]:
        advanced: list[int] = []

        class Watch:
            def update(self, tasks: int) -> None:
                advanced.append(tasks)

            def close(self) -> None: ...

        run_tasks(count, work, threads=1, run=_run_of(Watch(), count), cancel=cancel)
        return advanced

    def test_in_order_with_one_scratch(self) -> None:
        seen: list[tuple[int, int]] = []
        assert self.run(5, lambda n, scratch: seen.append((n, id(scratch)))) == [1] * 5
        assert [n for n, _ in seen] == list(range(5))
        assert len({scratch for _, scratch in seen}) == 1

    def test_the_first_error_ends_it(self) -> None:
        seen: list[int] = []

        def work(number: int, scratch: Any) -> None:
            seen.append(number)
            if number == 2:
                raise ValueError("two")

        with pytest.raises(ValueError, match="two"):
            self.run(5, work)
        assert seen == [0, 1, 2]

    def test_cancelling_ends_it_before_the_next_task(self) -> None:
        token, seen = CancelToken(), []

        def work(number: int, scratch: Any) -> None:
            seen.append(number)
            token.cancel()

        with pytest.raises(cancelled_kind()):
            self.run(5, work, token)
        assert seen == [0]


class TestPlanning:
    def test_a_box_is_worked_out_once_while_a_plan_of_one_block_is_chosen_and_run(self) -> None:
        x = lt.scan_source(ChunkedArray(np.arange(64.0).reshape(8, 8), (4, 4)))
        boxes: list[Box] = []
        with pytest.MonkeyPatch.context() as patch:
            plan_down = lower._plan_down

            def counting(compiled: Compiled, box: Box) -> Any:
                boxes.append(box)
                return plan_down(compiled, box)

            patch.setattr(lower, "_plan_down", counting)
            found = (x[1:5] * 2 + 1).collect()
        np.testing.assert_array_equal(found, np.arange(64.0).reshape(8, 8)[1:5] * 2 + 1)
        assert boxes == [((1, 5), (0, 8))]

    def test_of_the_programs_made_while_choosing_one_is_kept(self) -> None:
        x = lt.scan_source(ChunkedArray(np.arange(64.0).reshape(8, 8), (2, 2))) + 1
        with target(64):
            compiled, grid, nbytes = prepare(x._node, {}, 1 << 20)
        assert grid.count > 2
        assert list(compiled.programs) == [grid.largest()]
        assert nbytes == lower.lower(compiled, grid.largest()).nbytes

    def test_engines_by_name_follow_the_options_where_they_run(self) -> None:
        x = lt.scan_source(Failing(None))[1:3]
        with lt.Config(max_memory=8), pytest.raises(lt.MemoryLimitError):
            x.collect(engine="local")
        assert x.collect(engine="local").shape == (2, 8)
        engine = lt.LocalEngine()
        with lt.Config(kernels="numpy"):
            assert engine.kernels == "numpy"
        assert engine.kernels == "auto"


class _Rows:
    """Rows of an array, handed out to whoever asks next."""

    def __init__(self, source: SharedArray, box: Box, steps: tuple[int, ...], out: np.ndarray):
        part = tuple(slice(a, b, step) for (a, b), step in zip(box, steps, strict=True))
        self.source, self.values, self.out = source, source.values[part], out
        self.rows = iter(range(len(out)))
        self.lock = threading.Lock()

    def work(self) -> None:
        self.source.workers.add(threading.get_ident())
        self.source.gate.wait(5)
        while True:
            with self.lock:
                row = next(self.rows, None)
            if row is None:
                return
            if row == self.source.broken:
                raise ValueError(f"row {row}")
            self.out[row] = self.values[row]

    def end(self) -> None:
        self.source.ends += 1

    def close(self) -> None:
        self.source.closes += 1


class SharedArray(ChunkedArray):
    """A source that threads read together; each must bring another one along."""

    def __init__(self, values: np.ndarray, threads: int) -> None:
        super().__init__(values, (8, values.shape[1]))
        self.values = values
        self.workers: set[int] = set()
        self.gate = threading.Barrier(threads)
        self.ends = self.closes = 0
        self.broken = -1

    def read_strided(self, box: Box, steps: tuple[int, ...], out: np.ndarray) -> None:
        raise AssertionError("to be read together")

    def shared_read(self, box: Box, steps: tuple[int, ...], out: np.ndarray) -> _Rows:
        return _Rows(self, box, steps, out)

    def shares(self, box: Box, steps: tuple[int, ...]) -> bool:
        return True


class TestReadingTogether:
    VALUES = np.arange(512 * 400, dtype=np.int64).reshape(512, 400)

    @pytest.mark.parametrize("threads", [1, 2, 3])
    def test_all_threads_work_on_one_task(self, threads: int) -> None:
        source = SharedArray(self.VALUES, threads)
        x = lt.scan_source(source)
        told: list[tuple[int, int]] = []
        before = lt.metrics()["tasks"]
        engine = lt.LocalEngine(threads=threads)
        got = x.collect(engine=engine, progress=lambda *now: told.append(now))
        np.testing.assert_array_equal(got, self.VALUES)
        assert len(source.workers) == threads
        assert (source.ends, source.closes, told) == (1, 1, [(1, 1)])
        assert lt.metrics()["tasks"] == before + 1

    def test_any_view_of_it(self) -> None:
        for key in np.s_[::-1, 3:], np.s_[1::2, ::-3], np.s_[:, :, None]:
            source = SharedArray(self.VALUES, 2)
            got = lt.scan_source(source)[key].collect(engine=lt.LocalEngine(threads=2))
            np.testing.assert_array_equal(got, self.VALUES[key])
            assert len(source.workers) == 2

    def test_an_error_closes_and_does_not_end_it(self) -> None:
        source = SharedArray(self.VALUES, 2)
        source.broken = 100
        with pytest.raises(ValueError, match="row 100"):
            lt.scan_source(source).collect(engine=lt.LocalEngine(threads=2))
        assert (source.ends, source.closes) == (0, 1)

    def test_cancelled_before_it_begins(self) -> None:
        token = CancelToken()
        token.cancel()
        source = SharedArray(self.VALUES, 1)
        out = np.zeros_like(self.VALUES)
        with pytest.raises(cancelled_kind()):
            local.LocalEngine(threads=1).run([lt.scan_source(source)._node], [out], cancel=token)
        assert (source.ends, source.closes, out.any()) == (0, 1, False)


@pytest.mark.parametrize("shards", [None, (64, 64, 128)])
@pytest.mark.parametrize("compressed", [False, True])
def test_zarr_files_read_together(tmp_path: Path, shards: Any, *, compressed: bool) -> None:
    """Boxes of all sizes, with missing chunks, by any number of threads."""
    assert native.wait("chunks", timeout=100) is not None
    zarr = pytest.importorskip("zarr")
    values = np.arange(150 * 130 * 140, dtype=np.uint32).reshape(150, 130, 140)
    values[:64, :64] = 0  # chunks that are not stored
    options = {} if compressed else {"compressors": None}
    array = zarr.create_array(
        str(tmp_path / "a"), shape=values.shape, dtype="u4", chunks=(32, 16, 32), shards=shards,
        fill_value=0, **options,
    )  # fmt: skip
    array[...] = values
    x = lt.scan_zarr(tmp_path / "a")
    assert x._node.source.shared_read(((0, 150), (0, 130), (0, 140)), (1, 1, 1), values) is not None
    rng = np.random.default_rng(3)
    for _ in range(25):
        lo = [int(rng.integers(0, n // 2)) for n in values.shape]
        hi = [int(rng.integers(n // 2 + 1, n + 1)) for n in values.shape]
        step = [int(rng.choice([1, 1, 1, 2, -1, -3])) for _ in lo]
        key = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
        turned = tuple(slice(None, None, s) for s in step)
        view = lt.permute_dims(x[key][turned], (2, 0, 1))
        before = lt.metrics()
        got = view.collect(engine=lt.LocalEngine(threads=int(rng.integers(1, 5))))
        after = lt.metrics()
        np.testing.assert_array_equal(got, values[key][turned].transpose(2, 0, 1))
        with the_long_way(), pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAZYTENSOR_NATIVE", "0")
            np.testing.assert_array_equal(view.collect(), got)
        plain = lt.metrics()
        if shards is None:
            for name in ("units_read", "chunks_missing"):
                first, middle, last = (counts.get(name, 0) for counts in (before, after, plain))
                assert middle - first == last - middle
