"""Processes: plans and engines work in forked and in spawned children, whatever the parent did."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.exec.pool import CancelToken
from lazytensor.exec.read_ahead import Portion, ReadAhead
from lazytensor.plan import counters, node
from tests.io.servers import serving
from tests.io.zarr_cases import array_v3

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


VALUES = np.arange(64 * 48, dtype="i4").reshape(64, 48)


def stored(folder: Path, name: str) -> dict[str, bytes]:
    """The files of a small array, which also lies below ``folder``."""
    zarr = pytest.importorskip("zarr")
    shards = (32, 48) if name == "sharded" else None
    array = zarr.create_array(
        folder / name, shape=VALUES.shape, chunks=(8, 16), shards=shards, dtype="i4"
    )
    array[...] = VALUES
    files = [path for path in sorted((folder / name).rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@contextmanager
def address(kind: str, folder: Path, name: str) -> Iterator[str]:
    """Where the array is, once it is there."""
    files = stored(folder, name)
    if kind == "local":
        yield str(folder / name)
        return
    with zipfile.ZipFile(folder / "x.zip", "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    if kind == "zip":
        yield f"zip://{name}::{folder}/x.zip"
        return
    pytest.importorskip("aiohttp")
    with serving({**files, "x.zip": (folder / "x.zip").read_bytes()}) as server:
        yield f"{server.url}/{name}" if kind == "http" else f"zip://{name}::{server.url}/x.zip"


def part(x: lt.LazyTensor, i: int) -> bytes:
    """What worker number ``i`` reads, in another way than anybody before."""
    read: np.ndarray = x[i : 64 - i : i + 1, ::2].collect(engine=lt.LocalEngine(threads=2))
    return read.tobytes()


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("name", ["plain", "sharded"])
@pytest.mark.parametrize("kind", ["local", "zip", "http", "remote zip"])
def test_children_read_what_their_parent_read(kind: str, name: str, tmp_path: Path) -> None:
    with address(kind, tmp_path, name) as url:
        x = lt.scan_zarr(url)
        assert np.array_equal(x.collect(), VALUES)
        for i in range(2):
            expected = VALUES[i : 64 - i : i + 1, ::2].tobytes()
            assert in_child(lambda i=i: part(x, i)[:60_000]) == expected[:60_000]  # type: ignore[misc]
            # A grandchild, and the parent afterwards, which is none the worse.
            assert in_child(lambda i=i: in_child(lambda: part(x, i)[:60_000])) == expected[:60_000]  # type: ignore[misc]
            assert part(x, i) == expected


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("kind", ["local", "http"])
def test_workers_of_a_loader(kind: str, tmp_path: Path) -> None:
    """As torch's DataLoader does it: forked workers, a queue of requests, a queue of answers."""
    context = multiprocessing.get_context("fork")
    with address(kind, tmp_path, "sharded") as url:
        x = lt.scan_zarr(url)
        x[:5].collect()
        requests, answers = context.SimpleQueue(), context.SimpleQueue()

        def serve() -> None:
            while (i := requests.get()) is not None:
                answers.put((i, part(x, i)))

        workers = [context.Process(target=serve, daemon=True) for _ in range(2)]
        for worker in workers:
            worker.start()
        for i in range(6):
            requests.put(i)
        got = dict(_within(answers.get) for _ in range(6))
        for _ in workers:
            requests.put(None)
        for worker in workers:
            worker.join(DEADLINE)
            assert worker.exitcode == 0
        assert got == {i: VALUES[i : 64 - i : i + 1, ::2].tobytes() for i in range(6)}


def _within(call: Any) -> Any:
    """What a call returns, unless that takes too long."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert found, "no answer from the workers"
    return found[0]


def run_script(program: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that runs a program."""
    paths = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program), *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


def test_a_process_that_read_remotely_ends_in_silence(tmp_path: Path) -> None:
    program = """
        import sys, lazytensor as lt
        x = lt.scan_zarr(sys.argv[1])
        x.collect(); print(int(x.sum().collect()))
    """
    with address("http", tmp_path, "sharded") as url:
        ended = run_script(program, url)
        assert ended.communicate(timeout=60) == (f"{VALUES.sum()}\n", "")
        assert ended.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="sends a signal")
@pytest.mark.parametrize("threads", [1, 3, 16])
def test_ctrl_c_while_a_server_is_slow(threads: int) -> None:
    """It ends the waiting of all threads, and the store can be used afterwards."""
    program = """
        import signal, sys
        import lazytensor as lt
        signal.signal(signal.SIGINT, signal.default_int_handler)
        x = lt.scan_zarr(sys.argv[1])
        print("scanned", flush=True)
        sys.stdin.readline()
        try:
            x.collect(engine=lt.LocalEngine(threads=int(sys.argv[2])))
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        sys.stdin.readline()
        print(int(x[::9].sum().collect()))
    """
    # Chunks that are not there take as long as others do.
    document = array_v3((48, 1 << 20), (1, 1 << 20), "uint8", fill_value=3)
    with serving({"a/zarr.json": json.dumps(document).encode()}) as server:
        run = run_script(program, f"{server.url}/a", str(threads))
        assert run.stdout is not None and run.stdin is not None
        assert run.stdout.readline() == "scanned\n"
        server.latency = 3 * DEADLINE
        _send_line(run)
        began = time.monotonic()
        while server.at_once < threads:
            assert run.poll() is None and time.monotonic() - began < DEADLINE
            time.sleep(0.01)
        began = time.monotonic()
        run.send_signal(signal.SIGINT)
        assert run.stdout.readline() == "interrupted\n"
        assert time.monotonic() - began < DEADLINE
        server.latency = 0
        _send_line(run)
        assert run.communicate(timeout=60)[0] == f"{3 * 6 << 20}\n"


def _send_line(run: subprocess.Popen[str]) -> None:
    assert run.stdin is not None
    run.stdin.write("\n")
    run.stdin.flush()


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


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_iterator_that_another_thread_waits_for_goes_on_in_child(prefetch: int) -> None:
    """The thread that was asking does not exist there, nor does what it held."""
    parent, asked, go_on = os.getpid(), threading.Event(), threading.Event()

    def make(number: int, cancel: CancelToken) -> Portion:
        if number == 1 and os.getpid() == parent:
            asked.set()
            assert go_on.wait(60)
        return Portion([2 * number, 2 * number + 1])

    items = ReadAhead(make, 3, items=6, prefetch=prefetch)
    assert [next(items), next(items)] == [0, 1]
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(items))
    thread.start()
    try:
        assert asked.wait(60)
        time.sleep(0.01)  # so that the thread is where it waits
        assert in_child(lambda: repr(list(items)).encode()) == b"[2, 3, 4, 5]"
    finally:
        go_on.set()
        thread.join(60)
    assert found == [2, 3, 4, 5]
