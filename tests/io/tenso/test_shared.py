"""Arrays in memory that processes share: what was put is read whole, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lazytensor.errors import ChecksumError, FormatError, SourceError, SourceNotFoundError
from lazytensor.io.tenso import shared
from lazytensor.io.tenso.shared import Shared, attach, share
from lazytensor.plan.quantization import QuantizedArray


def _others(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def _segments() -> set[str]:
    return {path.name for path in shared._segments()}


def test_another_process_reads_what_was_put() -> None:
    values = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    with share(values) as owned:
        done = _others(
            """
            import sys
            from lazytensor.io.tenso import attach
            with attach(sys.argv[1]) as other:
                value, copy = other.value, other.get()
                assert not value.flags.writeable and copy.flags.writeable
                assert copy.ctypes.data % 64 == 0 and value.ctypes.data % 64 == 0
            print(int(value.sum()), copy.dtype, copy.shape)
            """,
            owned.name,
        )
        assert (done.stdout, done.stderr) == (f"{values.sum()} uint16 (2, 3, 4)\n", "")
        # The other's end leaves the segment to its owner.
        assert np.array_equal(attach(owned.name).get(), values)


def test_bundles_and_quantized_arrays_are_handed_over() -> None:
    quantized = QuantizedArray(
        np.arange(-4, 4, dtype=np.int8), np.float32([0.5]), np.float32([2]), "qint8"
    )
    with share({"a": np.arange(3.0), "q": quantized}) as owned:
        other = attach(owned.name).get()
    assert isinstance(other, dict) and np.array_equal(other["a"], np.arange(3.0))
    assert np.array_equal(other["q"].data, quantized.data)


def test_the_name_goes_with_the_owner_and_views_stay() -> None:
    before = _segments()
    owned = share(np.arange(1000))
    other = attach(owned.name)
    view = other.value
    owned.close()
    other.close()
    assert _segments() == before
    with pytest.raises(SourceNotFoundError):
        attach(owned.name)
    with pytest.raises(ValueError, match="is closed"):
        _ = other.value
    gc.collect()
    assert isinstance(view, np.ndarray) and view[-1] == 999
    assert "closed" in repr(other)


def test_a_name_that_is_taken_is_refused() -> None:
    with share(np.arange(3), f"taken-{os.getpid()}") as owned:
        with pytest.raises(FileExistsError, match="already"):
            share(np.arange(4), owned.name)
        assert np.array_equal(attach(owned.name).get(), np.arange(3))


@pytest.mark.parametrize("name", ["", "a/b", "..", "../x", "a b", "x" * 200, "\0"])
def test_names_cannot_lead_elsewhere(name: str) -> None:
    if name == "..":
        with pytest.raises(SourceNotFoundError):
            attach(name)
        return
    with pytest.raises(ValueError, match="cannot name"):
        attach(name)


def test_put_replaces_and_counts() -> None:
    with share(np.arange(10), capacity=1 << 12) as owned:
        other = attach(owned.name)
        owned.put(np.arange(5, dtype=np.float32))
        assert other.sequence == 2 and np.array_equal(other.get(), np.arange(5, dtype=np.float32))
        with pytest.raises(ValueError, match="does not fit"):
            owned.put(np.zeros(1 << 12))
        assert np.array_equal(other.get(), np.arange(5, dtype=np.float32))
        with pytest.raises(ValueError, match="another process"):
            other.put(np.arange(3))
    with pytest.raises(ValueError, match="capacity"):
        share(np.arange(100), capacity=10)


def test_no_reader_ever_sees_half_of_what_was_put() -> None:
    """All elements of a value are the same; a mixture of two would show."""
    n = 50_000
    with share(np.zeros(n, np.int64)) as owned:
        stop = threading.Event()
        done = []

        def read() -> None:
            other = attach(owned.name)
            while not stop.is_set():
                got = other.get()
                assert isinstance(got, np.ndarray)
                assert (got == got[0]).all()
                done.append(int(got[0]))

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 1.0
        value = 0
        while time.monotonic() < deadline:
            value += 1
            owned.put(np.full(n, value))
            time.sleep(0.0005)
        stop.set()
        for thread in threads:
            thread.join()
    assert len(set(done)) > 1


def test_an_owner_that_stopped_in_the_middle_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_PATIENCE", 0.05)
    with share(np.arange(100)) as owned:
        memory = owned._open()
        shared._SEQUENCE.pack_into(memory, 8, 3)
        other = attach(owned.name)
        for read in (other.get, lambda: other.value):
            with pytest.raises(SourceError, match="stopped in the middle"):
                read()
        owned.put(np.arange(100) + 1)
        assert np.array_equal(other.get(), np.arange(100) + 1)


def test_what_was_written_over_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "_PATIENCE", 0.05)
    with share(np.arange(100)) as owned:
        owned._open()[-1] = 7
        with pytest.raises(ChecksumError, match="written over"):
            attach(owned.name).get()


def test_what_a_killed_owner_left_is_removed_with_the_next_segment() -> None:
    code = """
        import os, signal
        import numpy as np
        from lazytensor.io.tenso import share
        owned = share(np.arange(1000))
        print(owned.name, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    done = _others(code)
    assert done.returncode == -signal.SIGKILL
    name = done.stdout.strip()
    assert np.array_equal(attach(name).get(), np.arange(1000))  # until then it can be had
    with share(np.arange(3)), pytest.raises(SourceNotFoundError):
        attach(name)


def test_owners_that_end_leave_nothing() -> None:
    before = _segments()
    done = _others(
        """
        import numpy as np
        from lazytensor.io.tenso import share
        kept = [share(np.arange(10)) for _ in range(20)]
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert _segments() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_leaves_the_segment_to_its_parent() -> None:
    done = _others(
        """
        import os
        import numpy as np
        from lazytensor.io.tenso import attach, share
        owned = share(np.arange(10))
        child = os.fork()
        if not child:
            try:
                owned.put(np.arange(3))
            except ValueError:
                owned.close()
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert attach(owned.name).get().sum() == 45
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are not listed")
def test_a_thousand_rounds_leave_nothing_behind() -> None:
    def held() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        return len(os.listdir("/proc/self/fd")), maps.count("lazytensor-shm")

    before = held()
    for number in range(1000):
        with share(np.full(10, number)) as owned, attach(owned.name) as other:
            assert other.get()[0] == number  # type: ignore[index]
    gc.collect()
    assert held() == before


def test_what_is_no_segment_is_refused() -> None:
    path = shared._path_of(f"broken-{os.getpid()}")
    path.write_bytes(b"x" * 100)
    try:
        with pytest.raises(FormatError, match="no shared memory"):
            attach(f"broken-{os.getpid()}")
        path.write_bytes(b"")
        with pytest.raises(FormatError, match="no shared memory"):
            attach(f"broken-{os.getpid()}")
        with share(np.arange(2)):
            assert path.exists()  # it is not ours to remove
    finally:
        path.unlink()


def test_segments_know_their_sizes() -> None:
    with share(np.arange(8)) as owned:
        assert isinstance(owned, Shared)
        assert owned.nbytes == owned.capacity == 128
        assert repr(owned) == f"Shared({owned.name!r}, 128 of 128 bytes)"
