"""Running: errors, cancelling, contexts, memory of user code, background, progress, counters."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.config import option
from lazytensor.exec import crew
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.events import _listeners, start_run
from lazytensor.exec.pool import run_tasks
from tests.sources import ChunkedArray

TWO = lt.LocalEngine(threads=2)


@pytest.fixture
def large() -> np.ndarray:
    """16 MiB: at least 16 tasks."""
    return np.arange(1 << 21, dtype="f8").reshape(2048, 1024)


@pytest.fixture(autouse=True)
def no_thread_stays() -> Any:
    """Every test leaves as many threads as it found, but what waits for a compiler."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name == "lazytensor-compiler":
            continue
        for _ in range(1000):
            # Those that have no work go; one may just be at the end of its work.
            crew.dismiss()
            thread.join(timeout=0.01)
            if not thread.is_alive():
                break
        assert not thread.is_alive()


def chunked(values: np.ndarray) -> lt.LazyTensor:
    return lt.scan_source(ChunkedArray(values, (256, 256)))


def where(domain: lt.IndexDomain) -> tuple[slice, ...]:
    bounds = zip(domain.inclusive_min, domain.exclusive_max, strict=True)
    return tuple(slice(lo, hi) for lo, hi in bounds)


class TestUserCode:
    def test_what_inspect_keeps_is_not_overwritten(self, large: np.ndarray) -> None:
        kept: list[tuple[lt.IndexDomain, np.ndarray]] = []
        x = (chunked(large) + 1).inspect(lambda domain, values: kept.append((domain, values)))
        (x * 2).collect(engine=TWO)
        lt.sum(x - 1).collect(engine=TWO)
        assert len(kept) > 8
        for domain, values in kept:
            np.testing.assert_array_equal(values, large[where(domain)] + 1)

    def test_what_a_block_function_keeps_is_not_overwritten(self, large: np.ndarray) -> None:
        kept: list[tuple[np.ndarray, np.ndarray]] = []

        def double(block: np.ndarray) -> np.ndarray:
            kept.append((block, block.copy()))
            return block * 2

        lt.map_blocks(double, chunked(large) + 1, dtype="f8").collect(engine=TWO)
        assert len(kept) == 32
        assert all(np.array_equal(block, copy) for block, copy in kept)

    def test_what_it_sees_is_read_only(self) -> None:
        def spoil(domain: lt.IndexDomain, values: np.ndarray) -> None:
            values[...] = 0

        with pytest.raises(ValueError, match="read-only"):
            lt.arange(5).inspect(spoil).collect()

    @pytest.mark.parametrize("engine", ["local", "interpret"])
    def test_its_error_reaches_the_caller(self, large: np.ndarray, engine: str) -> None:
        def fail(block: np.ndarray) -> np.ndarray:
            raise KeyError("by purpose")

        with pytest.raises(KeyError, match="by purpose"):
            lt.map_blocks(fail, chunked(large), dtype="f8").collect(engine=engine)

    def test_a_reader_error_is_a_source_error_with_its_cause(self) -> None:
        def fail(domain: lt.IndexDomain, out: np.ndarray) -> None:
            raise ZeroDivisionError("by purpose")

        x = lt.virtual_chunked(fail, shape=(4096, 1024), dtype="f8", chunks=(256, 256))
        with pytest.raises(lt.SourceError, match=r"fail.*ZeroDivisionError: by purpose") as caught:
            (x + 1).collect(engine=TWO)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)

    @pytest.mark.parametrize("how", ["collect", "asarray", "background"])
    def test_collecting_inside_a_reader_is_an_error(self, how: str) -> None:
        def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
            inner = lt.arange(8) + 1
            if how == "collect":
                inner.collect()
            elif how == "asarray":
                np.asarray(inner)
            else:
                # Waiting for another thread would not deadlock: runs do not share workers.
                out[...] = inner.collect(background=True).result(timeout=20)[: out.size]

        x = lt.virtual_chunked(read, shape=(8,), dtype="i8", chunks=(8,))
        if how == "background":
            assert x.collect(engine=TWO).tolist() == list(range(1, 9))
        else:
            with pytest.raises(RuntimeError, match="inside a reader"):
                x.collect(engine=TWO)

    def test_collecting_inside_a_block_function_works(self, large: np.ndarray) -> None:
        def add(block: np.ndarray) -> np.ndarray:
            return block + int(lt.asarray([1, 2]).sum())

        found = lt.map_blocks(add, chunked(large), dtype="f8").collect(engine=TWO)
        np.testing.assert_array_equal(found, large + 3)

    def test_workers_see_the_config_of_the_caller(self, large: np.ndarray) -> None:
        seen: dict[str, object] = {}
        both = threading.Barrier(2)

        def note(domain: lt.IndexDomain, values: np.ndarray) -> None:
            name = threading.current_thread().name
            if name not in seen:
                seen[name] = option("verbose")
                both.wait(timeout=20)

        with lt.Config(verbose=True):
            chunked(large).inspect(note).collect(engine=TWO)
        assert len(seen) == 2
        assert set(seen.values()) == {True}


class TestErrors:
    def test_the_first_task_that_fails_is_told(self) -> None:
        met = threading.Barrier(2)

        def work(number: int, scratch: Scratch) -> None:
            met.wait(timeout=20)
            if number == 0:
                time.sleep(0.05)
            raise ValueError(f"task {number}")

        for _ in range(3):
            with pytest.raises(ValueError, match="task 0"):
                run_tasks(2, work, threads=2, run=start_run(2))

    def test_an_error_stops_the_others_before_their_next_task(self) -> None:
        done: list[int] = []

        def work(number: int, scratch: Scratch) -> None:
            if number == 3:
                raise ValueError("task 3")
            done.append(number)
            time.sleep(0.002)

        with pytest.raises(ValueError, match="task 3"):
            run_tasks(1000, work, threads=2, run=start_run(1000))
        assert len(done) < 50

    def test_fewer_threads_than_asked_for_do_the_work(
        self, monkeypatch: pytest.MonkeyPatch, large: np.ndarray
    ) -> None:
        def refuse(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        x = chunked(large) + 1
        monkeypatch.setattr(threading.Thread, "start", refuse)
        np.testing.assert_array_equal(x.collect(engine=lt.LocalEngine(threads=8)), large + 1)


PROGRAM_PARTS = """
    import os, signal, threading, time
    import numpy as np
    import lazytensor as lt
    from lazytensor.exec import crew

    done = []

    def working():
        # Threads but those that wait for a compiler.
        return sum(t.name != "lazytensor-compiler" for t in threading.enumerate())

    def read(domain, out):
        time.sleep(0.05)
        done.append(domain.origin)
        out[...] = 1

    x = lt.virtual_chunked(read, shape=(1 << 27,), dtype="f8", chunks=(1 << 20,))
"""


def python(program: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    source = textwrap.dedent(PROGRAM_PARTS) + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=timeout, check=False
    )


class TestStopping:
    @pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself")
    def test_ctrl_c_stops_within_a_task_and_leaves_no_thread(self) -> None:
        ended = python("""
            # A process started in the background of a shell inherits that Ctrl-C is ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            started = time.monotonic()
            try:
                lt.sum(x).collect(engine=lt.LocalEngine(threads=3))
            except KeyboardInterrupt:
                crew.dismiss()
                print("interrupted", len(done) < 60, working())
                before = len(done)
                time.sleep(0.2)
                print(len(done) - before)
        """)
        assert ended.stdout.split() == ["interrupted", "True", "1", "0"], ended.stderr
        assert ended.stderr == ""

    def test_leaving_while_a_collect_runs_in_the_background(self) -> None:
        ended = python("""
            handle = lt.sum(x).collect(background=True, engine=lt.LocalEngine(threads=2))
            while not done:
                time.sleep(0.01)
            print("leaving")
        """)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "leaving\n", "")

    @pytest.mark.parametrize("engine", [TWO, lt.InterpretEngine()])
    def test_a_background_run_is_cancelled(self, engine: Any) -> None:
        started, release = threading.Event(), threading.Event()
        reads: list[int] = []

        def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
            reads.append(domain.origin[0])
            started.set()
            release.wait(timeout=20)

        parts = [
            lt.virtual_chunked(read, shape=(1 << 18,), dtype="f8", chunks=(1 << 17,), origin=(i,))
            for i in range(20)
        ]
        handle = lt.concat(parts).collect(background=True, engine=engine)
        ended: list[object] = []
        handle.add_done_callback(ended.append)
        assert started.wait(timeout=20)
        assert not handle.done()
        assert handle.cancel()
        release.set()
        with pytest.raises(concurrent.futures.CancelledError):
            handle.result(timeout=20)
        assert isinstance(handle.exception(timeout=20), concurrent.futures.CancelledError)
        assert handle.done() and not handle.cancel()
        assert len(reads) <= 4
        assert ended == [handle]

    def test_waiting_may_time_out(self) -> None:
        release = threading.Event()
        x = lt.virtual_chunked(lambda d, out: release.wait(20), shape=(3,), dtype="i4")
        handle = x.collect(background=True)
        with pytest.raises(TimeoutError):
            handle.result(timeout=0.01)
        release.set()
        assert handle.result(timeout=20).tolist() == [0, 0, 0]
        assert handle.exception() is None

    def test_a_background_error_is_raised_by_result(self) -> None:
        def fail(domain: lt.IndexDomain, out: np.ndarray) -> None:
            raise LookupError("by purpose")

        handle = lt.virtual_chunked(fail, shape=(3,), dtype="i4").collect(background=True)
        with pytest.raises(lt.SourceError, match="by purpose"):
            handle.result(timeout=20)


class TestAsync:
    def test_several_run_together(self, large: np.ndarray) -> None:
        async def main() -> list[Any]:
            x = chunked(large)
            return list(await asyncio.gather(*(lt.max(x + i).collect_async() for i in range(4))))

        assert asyncio.run(main()) == [large.max() + i for i in range(4)]

    def test_errors_are_raised_where_it_is_awaited(self) -> None:
        def fail(domain: lt.IndexDomain, out: np.ndarray) -> None:
            raise LookupError("by purpose")

        x = lt.virtual_chunked(fail, shape=(3,), dtype="i4")
        with pytest.raises(lt.SourceError, match="by purpose"):
            asyncio.run(x.collect_async())

    def test_cancelling_stops_the_run_and_nothing_complains(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        release = threading.Event()
        reads: list[int] = []

        def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
            reads.append(domain.origin[0])
            release.wait(timeout=20)

        x = lt.virtual_chunked(read, shape=(1 << 22,), dtype="f8", chunks=(1 << 17,))

        async def main() -> None:
            await asyncio.wait_for(x.collect_async(engine=TWO), timeout=0.1)

        with caplog.at_level(logging.DEBUG), pytest.raises(TimeoutError):
            asyncio.run(main())
        release.set()
        for thread in threading.enumerate():
            if thread.name == "lazytensor-background":
                thread.join(timeout=20)
        assert len(reads) <= 4
        assert not [r for r in caplog.records if r.name == "concurrent.futures"]


class TestTelling:
    def test_progress_counts_every_task(self, large: np.ndarray) -> None:
        seen: list[tuple[int, int]] = []
        x = chunked(large) + 1
        x.collect(engine=TWO, progress=lambda done, total: seen.append((done, total)))
        total = x.estimate().tasks
        assert seen == [(i + 1, total) for i in range(total)]

    def test_a_progress_bar_is_written_and_closed(
        self, large: np.ndarray, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with lt.ProgressBar(mininterval=0):
            chunked(large).collect(engine=TWO)
        assert "task" in capsys.readouterr().err
        chunked(large).collect(engine=TWO, progress=True)
        assert "task" in capsys.readouterr().err
        chunked(large).collect(engine=TWO)
        assert capsys.readouterr().err == ""

    def test_runs_that_overlap_have_a_bar_each(self) -> None:
        bars: list[list[int]] = []

        class Bar:
            def __init__(self, tasks: int) -> None:
                self.counts = [tasks, 0]
                bars.append(self.counts)

            def update(self, tasks: int) -> None:
                self.counts[1] += tasks

            def close(self) -> None:
                self.counts.append(-1)

        def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
            raise LookupError("by purpose")

        values = np.arange(1 << 21, dtype="f8").reshape(2048, 1024)
        token = _listeners.set((Bar,))
        try:
            handles = [(chunked(values) + i).collect(background=True) for i in range(3)]
            for handle in handles:
                handle.result(timeout=30)
            with pytest.raises(lt.SourceError):
                lt.virtual_chunked(read, shape=(3,), dtype="i4").collect()
        finally:
            _listeners.reset(token)
        tasks = (chunked(values) + 1).estimate().tasks
        assert bars == [[tasks, tasks, -1]] * 3 + [[1, 0, -1]]

    def test_an_error_of_a_progress_function_reaches_the_caller(self, large: np.ndarray) -> None:
        def fail(done: int, total: int) -> None:
            raise LookupError("by purpose")

        with pytest.raises(LookupError, match="by purpose"):
            chunked(large).collect(engine=TWO, progress=fail)

    def test_metrics_count_tasks_units_and_bytes(self) -> None:
        document = (
            b'{"zarr_format": 2, "shape": [6], "chunks": [2], "dtype": "<i4", "fill_value": 0, '
            b'"order": "C", "compressor": null, "filters": null}'
        )
        chunks = {f"{i}": np.arange(2 * i, 2 * i + 2, dtype="<i4").tobytes() for i in range(3)}
        lt.metrics(reset=True)
        x = lt.scan_zarr({".zarray": document, **chunks})
        assert lt.metrics()["units_read"] == 0
        assert x[:4].collect().tolist() == [0, 1, 2, 3]
        found = lt.metrics(reset=True)
        assert (found["tasks"], found["units_read"]) == (1, 2)
        assert (found["bytes_read"], found["bytes_decoded"]) == (16, 16)
        assert lt.metrics()["units_read"] == 0

    def test_counts_of_ended_threads_stay(self, large: np.ndarray) -> None:
        lt.metrics(reset=True)
        x = chunked(large) + 1
        x.collect(engine=lt.LocalEngine(threads=4))
        assert lt.metrics()["tasks"] == x.estimate().tasks


class TestDeterminism:
    @pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "prod"])
    @pytest.mark.parametrize("axis", [None, 0, 1])
    def test_the_same_bits_for_any_number_of_threads(self, name: str, axis: int | None) -> None:
        values = np.random.default_rng(5).normal(1, 1e-4, (2048, 1024))
        x = getattr(lt, name)(chunked(values), axis=axis)
        results = [
            x.collect(engine=lt.LocalEngine(threads=n)).tobytes() for n in (1, 2, 3, 4, 4, 2)
        ]
        assert len(set(results)) == 1
        found, expected = (
            np.frombuffer(results[0]),
            np.asarray(getattr(np, name)(values, axis=axis)),
        )
        n = values.size if axis is None else values.shape[axis]
        scale = {"sum": np.abs(values).sum(axis), "prod": np.abs(expected)}.get(name, 1.0)
        bound = 4 * np.sqrt(n) * np.finfo("f8").eps * np.asarray(scale).ravel()
        assert (np.abs(found - expected.ravel()) <= bound).all()
