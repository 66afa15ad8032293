"""Threads, forks, interrupts, compilers that come to grief: no hang, no noise, no leftovers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")

PRELUDE = textwrap.dedent(
    """
    import json, os, signal, sys, threading, time
    from pathlib import Path
    import numcodecs, numpy as np
    import lazytensor as lt
    from lazytensor import native
    from lazytensor.io.zarr import scan

    COUNT, SIZE = 64, 4096
    VALUES = (np.arange(COUNT * SIZE) * 2654435761 % 65521).astype("<u2")

    TINY = "def kernel(p): return -p"

    def tiny():
        found = native.wait("tiny", text=TINY, timeout=100)
        return found and found(5)

    def make(folder):
        blosc = {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1, "blocksize": 0}
        encode = numcodecs.Blosc("zstd").encode
        document = {"zarr_format": 2, "shape": [COUNT * SIZE], "chunks": [SIZE], "dtype": "<u2",
                    "compressor": blosc, "fill_value": 0, "order": "C", "filters": None}
        (folder / ".zarray").write_text(json.dumps(document))
        for n in range(COUNT):
            (folder / str(n)).write_bytes(bytes(encode(VALUES[n * SIZE:(n + 1) * SIZE])))
        return scan(str(folder))

    def good(source):
        out = np.zeros(COUNT * SIZE, "u2")
        source.read_into(((0, COUNT * SIZE),), out)
        return bool((out == VALUES).all())
    """
)


def run(
    body: str, folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A program with an array in ``folder / "array"``; every warning is told."""
    (folder / "array").mkdir(exist_ok=True)
    program = PRELUDE + 'folder = Path(sys.argv[1])\nsource = make(folder / "array")\n'
    return subprocess.run(
        [sys.executable, "-W", "always", "-c", program + textwrap.dedent(body), str(folder)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip


def check(done: subprocess.CompletedProcess[str], expected: str) -> None:
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, expected, "")


def test_many_threads_and_forks_among_them(tmp_path: Path) -> None:
    """Children forked while other threads decode can read, and end."""
    done = run(
        """
        assert native.wait("chunks", timeout=100)
        stop, bad = threading.Event(), []

        def reader():
            while not stop.is_set():
                if not good(source):
                    bad.append(1)

        threads = [threading.Thread(target=reader) for _ in range(8)]
        for thread in threads:
            thread.start()
        statuses = []
        for _ in range(12):
            child = os.fork()
            if not child:
                signal.alarm(30)
                x = lt.scan_zarr(str(folder / "array"))
                fine = good(source) and bool((x.collect() == VALUES).all())
                others = [threading.Thread(target=lambda: good(source)) for _ in range(3)]
                for thread in others:
                    thread.start()
                for thread in others:
                    thread.join()
                os._exit(0 if fine else 1)
            statuses.append(os.waitpid(child, 0)[1])
        stop.set()
        for thread in threads:
            thread.join()
        print(set(statuses), bad)
        """,
        tmp_path,
    )
    assert "DeprecationWarning" not in done.stderr or sys.version_info >= (3, 12)
    assert (done.returncode, done.stdout.strip()) == (0, "{0} []")


def test_interrupts_in_the_middle_of_collecting(tmp_path: Path) -> None:
    """Each Ctrl-C ends one collect; the next one is right, and no descriptor is left open."""
    done = run(
        """
        assert native.wait("chunks", timeout=100)
        x = lt.concat([lt.scan_zarr(str(folder / "array"))] * 40)
        expected = np.concatenate([VALUES] * 40)
        assert (x.collect() == expected).all()
        before = len(os.listdir("/proc/self/fd"))
        stopped = 0
        for n in range(30):
            timer = threading.Timer(0.0005 * (1 + n % 10), os.kill, [os.getpid(), signal.SIGINT])
            try:
                timer.start()
                for _ in range(50):
                    x.collect()
            except KeyboardInterrupt:
                stopped += 1
            timer.join()
        assert (x.collect() == expected).all()
        time.sleep(0.1)
        print(stopped, len(os.listdir("/proc/self/fd")) - before)
        """,
        tmp_path,
    )
    check(done, "30 0")


def test_a_program_that_ends_while_a_kernel_is_compiled(tmp_path: Path) -> None:
    done = run(
        """
        native.kernel("tiny", text=TINY)
        print(good(source))
        """,
        tmp_path,
        {"LAZYTENSOR_CACHE_DIR": str(tmp_path / "cache")},
    )
    check(done, "True")


def test_a_compiler_that_is_killed(tmp_path: Path) -> None:
    """One line in the log says so; reading goes on the plain way."""
    done = run(
        """
        native.kernel("tiny", text=TINY)
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        found = tiny()
        print(found, good(source), native.reason("tiny", text=TINY), children.read_text().split())
        """,
        tmp_path,
        {"LAZYTENSOR_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert done.returncode == 0
    assert done.stdout.strip() == "None True the compiler failed: exit status -9 []"
    assert done.stderr == (
        "tiny is done by slower code, since it cannot be compiled: "
        "the compiler failed: exit status -9\n"
    )


def test_a_cache_that_is_removed_meanwhile(tmp_path: Path) -> None:
    done = run(
        """
        import shutil
        native.kernel("tiny", text=TINY)
        shutil.rmtree(folder / "cache")
        print(tiny(), good(source))
        """,
        tmp_path,
        {"LAZYTENSOR_CACHE_DIR": str(tmp_path / "cache")},
    )
    assert (done.returncode, done.stdout.strip()) == (0, "-5 True")


@pytest.mark.parametrize("home", ["missing", "file", "/proc"])
def test_a_home_that_cannot_be_written_to(home: str, tmp_path: Path) -> None:
    """The kernel is compiled for this process alone; one line says where it could be kept."""
    (tmp_path / "file").touch()
    place = {"missing": "/dev/null/home", "file": str(tmp_path / "file")}.get(home, home)
    cleared = dict.fromkeys(("LAZYTENSOR_CACHE_DIR", "XDG_CACHE_HOME"), "")
    done = run(
        "print(tiny(), good(source))",
        tmp_path,
        {**cleared, "HOME": place},
    )
    assert (done.returncode, done.stdout.strip()) == (0, "-5 True")
    assert done.stderr.count("\n") == 1
    assert "compiled kernels are not kept" in done.stderr


def test_two_processes_that_compile_at_once(tmp_path: Path) -> None:
    (tmp_path / "array").mkdir()
    program = PRELUDE + textwrap.dedent(
        """
        folder = Path(sys.argv[1])
        source = make(folder / sys.argv[2])
        print(tiny(), good(source))
        """
    )
    running = []
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", program, str(tmp_path), name],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "LAZYTENSOR_CACHE_DIR": str(tmp_path / "cache")},
            )
        )
    for process in running:
        out, errors = process.communicate(timeout=120)
        assert (process.returncode, out.strip(), errors) == (0, "-5 True", "")
    kept = [path.suffix for path in (tmp_path / "cache" / "native").iterdir()]
    assert sorted(kept) == [".lock", ".o"]


def test_terminated_in_the_middle(tmp_path: Path) -> None:
    """SIGTERM ends a reading program at once, compiled code or not."""
    (tmp_path / "array").mkdir()
    program = PRELUDE + textwrap.dedent(
        """
        source = make(Path(sys.argv[1]) / "array")
        assert native.wait("chunks", timeout=100)
        print("reading", flush=True)
        while True:
            good(source)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.stdout.close()
    assert process.wait(timeout=30) == -signal.SIGTERM
