"""Processes: plans and engines work in forked and in spawned children, whatever the parent did."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.plan import counters, node

REPOSITORY = Path(__file__).resolve().parents[2]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
# A child that never ends must not keep the tests waiting.
DEADLINE = 20


def in_child(call: Any) -> bytes:
    """What ``call`` returns in a forked child, through a pipe; empty if it raised or hung."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        watch = threading.Timer(DEADLINE, os._exit, (3,))
        watch.daemon = True
        watch.start()
        try:
            os.write(write_end, call())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return answer


def work(n: int) -> int:
    """Build and run something that takes several tasks and all of the machinery."""
    x = lt.asarray(np.arange(1 << 19, dtype="f8").reshape(512, 1024)) + n
    return int((x - lt.mean(x, axis=0)).max().collect(engine=lt.LocalEngine(threads=2)))


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
class TestFork:
    def test_after_a_collect_the_child_collects(self) -> None:
        expected = work(1)
        assert in_child(lambda: str(work(1)).encode()) == str(expected).encode()

    def test_while_another_thread_builds_plans(self) -> None:
        stop = threading.Event()

        def build() -> None:
            x = lt.asarray(np.arange(10))
            i = 0
            while not stop.is_set():
                i += 1
                _ = (x + i)[1:] * 2

        builder = threading.Thread(target=build)
        builder.start()
        try:
            for i in range(10):
                found = in_child(lambda i=i: str(((lt.arange(8) + i)[2:]).collect().sum()).encode())  # type: ignore[misc]
                assert int(found) == sum(range(2, 8)) + 6 * i
        finally:
            stop.set()
            builder.join()

    @pytest.mark.parametrize("module", [node, counters])
    def test_while_another_thread_holds_a_lock(self, module: Any) -> None:
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with module._lock:
                held.set()
                release.wait(DEADLINE)

        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(DEADLINE)
        try:
            answer = in_child(lambda: f"{work(2)} {lt.metrics()['tasks'] > 0}".encode())
        finally:
            release.set()
            holder.join()
        assert answer == f"{work(2)} True".encode()

    def test_while_a_collect_runs(self) -> None:
        started, release = threading.Event(), threading.Event()

        def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
            started.set()
            release.wait(DEADLINE)
            out[...] = 7

        x = lt.virtual_chunked(
            read, shape=(1 << 18,), dtype="f8", chunks=(1 << 17,), concurrent=False
        )
        handle = x.collect(background=True)
        assert started.wait(DEADLINE)

        def child() -> bytes:
            release.set()
            return str(x[:3].collect().sum()).encode()

        answer = in_child(child)
        release.set()
        assert answer == b"21.0"
        assert handle.result(timeout=DEADLINE).sum() == 7 << 18


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_plans_travel_to_workers_of_a_pool(method: str, tmp_path: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    program = f"""
        import multiprocessing, numpy as np
        import lazytensor as lt
        from concurrent.futures import ProcessPoolExecutor

        def total(x):
            return float(lt.sum(x).collect())

        if __name__ == "__main__":
            x = lt.asarray(np.arange(100_000.0)) * 2
            x.collect()
            parts = [x[i : i + 100] for i in range(0, 400, 100)]
            context = multiprocessing.get_context({method!r})
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                print(list(pool.map(total, parts)) == [float(p.collect().sum()) for p in parts])
    """
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(program))
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60,
        check=False, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert ended.stdout == "True\n", ended.stderr
