"""Helpers of runs: kept for the next one, given to one at a time, and gone before a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.exec import crew
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.crew import Errand, dismiss, helpers
from lazytensor.exec.events import Run
from lazytensor.exec.outputs import release
from lazytensor.exec.pool import run_tasks
from tests.exec.test_forks import in_child, needs_fork


@pytest.fixture(autouse=True)
def none_waits() -> Iterator[None]:
    dismiss()
    yield
    dismiss()


def ours() -> int:
    """How many helpers there are, at work or not."""
    return sum(
        thread.name.removeprefix("lazytensor-").isdigit() for thread in threading.enumerate()
    )


def run(count: int, work: Any, threads: int) -> None:
    run_tasks(count, work, threads=threads, run=Run((), 0))


def together(threads: int) -> set[int]:
    """Who works in a run of so many threads, each of which has one task."""
    met, seen = threading.Barrier(threads), set()

    def work(number: int, scratch: Scratch) -> None:
        met.wait(timeout=20)
        seen.add(threading.get_ident())

    run(threads, work, threads)
    return seen


class TestHelpers:
    def test_they_stay_for_the_next_run(self) -> None:
        first = together(3)
        assert len(first) == 3 and helpers() == 2
        assert together(3) == first
        assert together(2) < first
        assert helpers() == 2

    def test_one_thread_has_none(self) -> None:
        run(100, lambda number, scratch: None, 1)
        run(1, lambda number, scratch: None, 8)
        assert ours() == helpers() == 0

    def test_more_come_when_more_are_needed(self) -> None:
        assert len(together(2)) == 2
        assert len(together(6)) == 6
        assert helpers() == 5

    def test_they_are_daemons_with_a_name(self) -> None:
        together(2)
        names = [t.name for t in threading.enumerate() if t.daemon]
        assert any(name.startswith("lazytensor-") for name in names)

    def test_they_end_after_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(crew, "_SECONDS", 0.02)
        together(4)
        # The last one looks after memory that is kept.
        release()
        for _ in range(500):
            if not ours():
                break
            time.sleep(0.01)
        assert ours() == helpers() == 0
        assert len(together(3)) == 3

    def test_they_may_end_at_the_moment_they_are_needed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(crew, "_SECONDS", 0.001)
        for i in range(200):
            assert len(together(3)) == 3
            time.sleep((i % 5) * 0.0005)

    def test_a_run_inside_a_run_has_helpers_of_its_own(self) -> None:
        inner: list[int] = []

        def work(number: int, scratch: Scratch) -> None:
            inner.append(len(together(2)))

        run(4, work, 2)
        assert inner == [2, 2, 2, 2]

    def test_runs_of_several_threads(self) -> None:
        found: list[int] = []

        def many() -> None:
            found.extend(len(together(3)) for _ in range(50))

        threads = [threading.Thread(target=many) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert found == [3] * 250
        assert helpers() <= 10

    def test_each_run_has_the_context_of_its_caller(self) -> None:
        variable: ContextVar[int] = ContextVar("variable", default=0)
        for value in (1, 2):
            variable.set(value)
            met, seen = threading.Barrier(3), list[int]()

            def work(number: int, scratch: Scratch, seen: Any = seen, met: Any = met) -> None:
                met.wait(timeout=20)
                seen.append(variable.get())
                variable.set(-number)

            run(3, work, 3)
            assert seen == [value] * 3
            # In its own context a helper changes nothing of the caller's or of the next run.
            variable.set(value)

    def test_an_error_leaves_them_fit_for_the_next_run(self) -> None:
        def fail(number: int, scratch: Scratch) -> None:
            raise ValueError(f"task {number}")

        for _ in range(20):
            with pytest.raises(ValueError, match="task 0"):
                run(8, fail, 3)
        assert len(together(3)) == 3

    def test_nothing_of_a_run_is_held_when_it_is_over(self) -> None:
        class Held:
            pass

        for _ in range(50):
            held = Held()

            def work(number: int, scratch: Scratch, held: Any = held) -> None:
                pass

            run(4, work, 4)
            count = sys.getrefcount(held)
            del work
            assert sys.getrefcount(held) == count - 1 <= 2

    def test_one_that_has_not_begun_is_not_waited_for(self) -> None:
        release, began = threading.Event(), threading.Event()

        def hold() -> None:
            began.set()
            release.wait(timeout=20)

        # Sent, but never woken: as on a machine whose other processors are busy.
        errand = Errand(hold)
        errand.is_sent = True
        errand.wait()
        errand._do()
        assert not began.is_set()


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
class TestForks:
    def test_a_fork_finds_none_and_the_child_has_its_own(self) -> None:
        together(4)
        assert helpers() == 3
        answer = in_child(lambda: f"{ours()} {helpers()} {len(together(3))}".encode())
        assert answer == b"0 0 3"
        assert helpers() == 0
        assert len(together(3)) == 3

    @pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads are listed in /proc")
    def test_the_system_sees_none_of_them_when_it_forks(self) -> None:
        before = set(os.listdir("/proc/self/task"))
        together(4)
        made = set(os.listdir("/proc/self/task")) - before
        assert len(made) >= 3
        dismiss()
        for _ in range(500):
            if made.isdisjoint(os.listdir("/proc/self/task")):
                break
            time.sleep(0.01)
        assert made.isdisjoint(os.listdir("/proc/self/task"))

    def test_while_a_run_is_under_way(self) -> None:
        started, release = threading.Event(), threading.Event()

        def work(number: int, scratch: Scratch) -> None:
            started.set()
            release.wait(timeout=20)

        other = threading.Thread(target=run, args=(4, work, 2))
        other.start()
        assert started.wait(timeout=20)
        try:
            assert in_child(lambda: str(len(together(3))).encode()) == b"3"
        finally:
            release.set()
            other.join(timeout=20)


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_process_with_helpers_ends_at_once_and_in_silence() -> None:
    began = time.monotonic()
    ended = python("""
        import atexit
        import numpy as np
        import lazytensor as lt
        from lazytensor.exec import crew

        x = lt.asarray(np.arange(1 << 21, dtype="f8").reshape(2048, 1024)) + 1
        engine = lt.LocalEngine(threads=4)
        kept = x.collect(engine=engine)
        atexit.register(lambda: print(float(x.collect(engine=engine)[0, 0])))

        class Late:
            def __del__(self):
                try:
                    print("late", float(x[:1, :3].collect(engine=engine)[0, 2]))
                except ImportError:
                    pass  # modules are gone by then, and what is imported when used is not there

        late = Late()
        print(crew.helpers() > 0)
    """)
    assert ended.stdout.split()[:2] == ["True", "1.0"], ended.stderr
    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - began < 30


@pytest.mark.skipif(sys.platform == "win32", reason="signals to oneself")
def test_ctrl_c_at_any_moment_hangs_nothing() -> None:
    """Struck again and again, between any two lines, while runs are started and awaited."""
    ended = python("""
        import random, signal, sys, threading
        import numpy as np
        import lazytensor as lt
        from lazytensor.exec.pool import run_tasks
        from lazytensor.exec.events import Run

        class Struck(KeyboardInterrupt):
            pass

        def strike(number, frame):
            raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, strike)
        dice = random.Random(1)
        done = struck = 0
        for i in range(400):
            try:
                signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-5, 1e-3))
                for _ in range(40):
                    run_tasks(6, lambda number, scratch: None, threads=3, run=Run((), 0))
                    done += 1
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                struck += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        seen = []
        run_tasks(100, lambda number, scratch: seen.append(number), threads=3, run=Run((), 0))
        print(sorted(seen) == list(range(100)), struck > 50)
    """)
    assert ended.stdout == "True True\n", ended.stderr


def test_collects_work_from_callbacks_and_in_the_background() -> None:
    x = lt.asarray(np.arange(1 << 21, dtype="f8").reshape(2048, 1024))
    engine = lt.LocalEngine(threads=2)
    inside: list[float] = []

    def note(done: int, total: int) -> None:
        if done == 1:
            inside.append(float(lt.max(x + 1).collect(engine=engine)))

    handles = [(x + i).collect(engine=engine, background=True) for i in range(4)]
    (x * 2).collect(engine=engine, progress=note)
    assert inside == [float(1 << 21)]
    for i, handle in enumerate(handles):
        assert handle.result(timeout=60)[0, 1] == 1 + i
