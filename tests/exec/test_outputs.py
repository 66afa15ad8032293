"""Memory of results: used again when nobody has it, and never before."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import crew, outputs
from lazytensor.exec.outputs import SMALLEST, idle_bytes, output, release, trim_to
from tests.exec.test_forks import in_child, needs_fork

BYTES = np.dtype("u1")
SIZE = 2 * SMALLEST


@pytest.fixture(autouse=True)
def empty_pool() -> Iterator[None]:
    release()
    yield
    release()


def address(array: np.ndarray) -> int:
    where: int = array.__array_interface__["data"][0]
    return where


def is_recycled(where: int) -> bool:
    """Whether the next result lies there."""
    return address(output((SIZE,), BYTES)) == where


@pytest.mark.parametrize("dtype", ["u1", "?", "<u2", ">f4", "f8", "c16", "M8[ns]", "V24", "S7",
                                   ml_dtypes.bfloat16, [("a", "i4"), ("b", "f8")]])  # fmt: skip
def test_it_is_aligned_writable_and_of_any_dtype(dtype: Any) -> None:
    for _ in range(2):
        array = output((1024, 2049), np.dtype(dtype))
        assert array.dtype == np.dtype(dtype) and array.shape == (1024, 2049)
        assert address(array) % 64 == 0
        assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
        array[...] = np.zeros((), dtype)


def test_objects_and_strings_are_no_bytes() -> None:
    for dtype in (np.dtype(object), np.dtypes.StringDType()):
        array = output((1 << 18,), dtype)
        assert array.dtype == dtype
        assert array.base is None


def test_small_ones_are_left_to_the_allocator() -> None:
    output((SMALLEST - 1,), BYTES)
    assert idle_bytes() == 0


def test_memory_of_a_result_is_used_again_when_it_is_gone() -> None:
    first = output((SIZE,), BYTES)
    where = address(first)
    del first
    before = lt.metrics().get("outputs_recycled", 0)
    assert is_recycled(where)
    assert lt.metrics()["outputs_recycled"] == before + 1
    # One of about the size is as good, one of another size is not.
    assert address(output((SIZE // 8 - 5,), np.dtype("f8"))) == where
    assert address(output((SIZE // 2,), BYTES)) != where


def _torch(array: np.ndarray) -> Any:
    return pytest.importorskip("torch").from_numpy(array)


def _torch_of_dlpack(array: np.ndarray) -> Any:
    return pytest.importorskip("torch").from_dlpack(array)


def _jax(array: np.ndarray) -> Any:
    return pytest.importorskip("jax").numpy.from_dlpack(array)


def _arrow(array: np.ndarray) -> Any:
    return pytest.importorskip("pyarrow").py_buffer(array)


class _Cycle:
    def __init__(self, array: np.ndarray) -> None:
        self.me, self.array = self, array


HOLDERS: list[tuple[str, Callable[[np.ndarray], Any]]] = [
    ("itself", lambda a: a),
    ("view", lambda a: a[5:6]),
    ("view of views", lambda a: a[::2].reshape(4, -1)[1:].T),
    ("other dtype", lambda a: a.view("f8")),
    ("base", lambda a: a.base),
    ("memoryview", lambda a: a.data),
    ("part of a memoryview", lambda a: a.data[3:9].cast("B")),
    ("frombuffer", lambda a: np.frombuffer(a, "u2")),
    ("frombuffer of a memoryview", lambda a: np.frombuffer(a.data, "u2")[1:]),
    ("as_strided", lambda a: np.lib.stride_tricks.as_strided(a, (2,), (8,))),
    ("broadcast", lambda a: np.broadcast_to(a, (3, a.size))),
    ("subclass", lambda a: a.view(np.ma.MaskedArray)),
    ("ctypes pointer", lambda a: a.ctypes.data_as(ctypes.c_void_p)),
    ("ctypes array", lambda a: (ctypes.c_uint8 * 16).from_buffer(a.data)),
    ("capsule", lambda a: a.__dlpack__()),
    ("from_dlpack", np.from_dlpack),
    ("nditer", lambda a: np.nditer(a)),
    ("flat", lambda a: a.flat),
    ("weak reference to the base", lambda a: weakref.ref(a.base)),
    ("cycle", _Cycle),
    ("torch", _torch),
    ("view of torch", lambda a: _torch(a)[3:].numpy()[1:]),
    ("torch of dlpack", _torch_of_dlpack),
    ("jax", _jax),
    ("arrow", _arrow),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "hold"), HOLDERS)
def test_nothing_is_used_again_that_anybody_can_still_see(
    name: str, hold: Callable[[np.ndarray], Any]
) -> None:
    array = output((SIZE,), BYTES)
    array[...] = 7
    where, holder = address(array), hold(array)
    del array
    gc.collect()
    others = [output((SIZE,), BYTES) for _ in range(3)]
    for other in others:
        other[...] = 1
    assert where not in map(address, others)
    del others, holder
    gc.collect()
    assert where in {address(a) for a in [output((SIZE,), BYTES) for _ in range(4)]}


def test_resizing_moves_nothing_away() -> None:
    array = output((SIZE,), BYTES)
    with pytest.raises(ValueError, match="own"):
        array.resize((SIZE * 2,))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([1, 2, 3])), max_size=60))
def test_no_two_living_results_share_memory(steps: list[tuple[int, int]]) -> None:
    held: dict[int, np.ndarray] = {}
    marks: dict[int, int] = {}
    for number, (slot, size) in enumerate(steps):
        if slot in held and size == 3:
            del held[slot], marks[slot]
            continue
        held[slot] = output((size * SMALLEST,), BYTES)
        held[slot][...] = marks[slot] = number
    for slot, array in held.items():
        assert array[0] == array[-1] == marks[slot]


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_most", lambda: 4 * SIZE)
    for count in (3, 6, 9):
        for _ in range(2):
            held = [output((SIZE,), BYTES) for _ in range(count)]
            assert len({address(a) for a in held}) == count
            held.clear()
            assert idle_bytes() <= 4 * SIZE
    # Larger than all: never kept.
    output((5 * SIZE,), BYTES)
    assert idle_bytes() <= 4 * SIZE
    trim_to(SIZE)
    assert idle_bytes() <= SIZE
    release()
    assert idle_bytes() == 0


def test_the_one_not_used_for_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_most", lambda: 3 * SIZE)
    output((2 * SIZE,), BYTES)
    small = [output((SIZE,), BYTES) for _ in range(2)]
    assert idle_bytes() == 0, "there was room for one more, not for two"
    assert len({address(a) for a in small}) == 2
    del small
    assert idle_bytes() == 2 * SIZE


def test_many_of_one_size_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_ALIKE", 4)
    held = [output((SMALLEST,), BYTES) for _ in range(20)]
    held.clear()
    assert 0 < idle_bytes() <= 5 * SMALLEST


def test_what_nobody_uses_for_a_while_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    output((SIZE,), BYTES)
    assert outputs._rest() is True
    assert idle_bytes() > 0
    monkeypatch.setattr(outputs, "_SECONDS", 0.0)
    assert outputs._rest() is False
    assert idle_bytes() == 0


def test_after_a_while_the_next_result_frees_the_others() -> None:
    """As in a process of one thread, which has no helper to do it."""
    held = [output((SIZE,), BYTES), output((2 * SIZE,), BYTES)]
    where = address(held[0])
    held.clear()
    outputs._outputs._used -= 2 * outputs._SECONDS
    again = output((SIZE,), BYTES)
    assert address(again) == where and idle_bytes() == 0
    del again
    outputs._outputs._used -= 2 * outputs._SECONDS
    other = output((3 * SIZE,), BYTES)
    assert idle_bytes() == 0
    del other
    assert idle_bytes() == 3 * SIZE


def test_a_helper_without_work_frees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    crew.dismiss()
    monkeypatch.setattr(outputs, "_SECONDS", 0.05)
    monkeypatch.setattr(crew, "_SECONDS", 0.02)
    output((SIZE,), BYTES)
    errand = crew.Errand(lambda: None)
    crew.send(errand)
    errand.wait()
    for _ in range(1000):
        if not idle_bytes() and not crew.helpers():
            break
        threading.Event().wait(0.01)
    assert idle_bytes() == 0 and crew.helpers() == 0


def test_it_may_be_asked_for_while_it_answers() -> None:
    """As by a finalizer that collects, and is run inside."""
    array = output((SIZE,), BYTES)
    where = address(array)
    del array
    with outputs._outputs.lock:
        outputs._outputs._busy = True
        try:
            assert address(output((SIZE,), BYTES)) != where
            release()
        finally:
            outputs._outputs._busy = False
    assert is_recycled(where)


def test_from_several_threads_at_once() -> None:
    wrong: list[str] = []

    def use(mark: int) -> None:
        for _ in range(200):
            array = output((SMALLEST,), BYTES)
            array[::4096] = mark
            if (array[::4096] != mark).any():
                wrong.append("shared")

    threads = [threading.Thread(target=use, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@needs_fork
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_child_begins_with_nothing_and_leaves_its_parents_alone() -> None:
    kept = output((SIZE,), BYTES)
    kept[...] = 3
    output((SIZE,), BYTES)

    def child() -> bytes:
        nothing = idle_bytes()
        for _ in range(3):
            output((SIZE,), BYTES)[...] = 9
        return f"{nothing} {kept[0]} {kept[-1]}".encode()

    with outputs._outputs.lock:
        assert in_child(child) == b"0 3 3"
    assert (kept == 3).all() and idle_bytes() > 0


class TestRuns:
    def test_results_of_collect_are_recycled(self) -> None:
        x = lt.asarray(np.arange(SIZE, dtype="u1")) + np.uint8(1)
        where = address(x.collect())
        first = x.collect()
        assert address(first) == where
        second = x.collect()
        assert address(second) != where
        np.testing.assert_array_equal(first, second)
        assert first.flags.writeable and first.flags.c_contiguous

    def test_an_error_gives_it_back_and_a_run_that_is_stopped_as_well(self) -> None:
        def fail(domain: lt.IndexDomain, out: np.ndarray) -> None:
            out[...] = 1
            raise LookupError("by purpose")

        x = lt.virtual_chunked(fail, shape=(SIZE,), dtype="u1", chunks=(SIZE // 4,))
        for _ in range(3):
            with pytest.raises(lt.SourceError):
                x.collect(engine=lt.LocalEngine(threads=2))
            gc.collect()
        assert idle_bytes() > 0
        values = (lt.asarray(np.arange(SIZE, dtype="u1")) + np.uint8(1)).collect()
        assert values[:3].tolist() == [1, 2, 3]

    def test_nothing_is_used_again_while_a_task_of_a_cancelled_run_still_writes(self) -> None:
        started, release_task, written = threading.Event(), threading.Event(), threading.Event()
        targets: list[int] = []

        def read(domain: lt.IndexDomain, out: np.ndarray) -> None:
            targets.append(address(out))
            started.set()
            release_task.wait(timeout=20)
            out[...] = 255
            written.set()

        x = lt.virtual_chunked(read, shape=(SIZE,), dtype="u1", chunks=(SIZE,))
        handle = x.collect(background=True)
        assert started.wait(timeout=20)
        handle.cancel()
        others = [output((SIZE,), BYTES) for _ in range(3)]
        for other in others:
            other[...] = 0
        release_task.set()
        assert written.wait(timeout=20)
        assert not any(other.any() for other in others)

    def test_a_run_of_a_small_limit_keeps_little(self) -> None:
        held = [output((8 * SIZE,), BYTES) for _ in range(4)]
        held.clear()
        assert idle_bytes() >= 32 * SIZE
        x = lt.sum(lt.asarray(np.arange(1 << 20)))
        x.collect(engine=lt.LocalEngine(max_memory=16 * SIZE))
        assert idle_bytes() <= 16 * SIZE


@pytest.mark.skipif(os.name == "nt", reason="resident memory is read from /proc")
def test_deleted_results_do_not_pile_up() -> None:
    """Sizes that differ every time: what is kept stays within the bound."""
    for i in range(60):
        output((SIZE + i * SMALLEST // 2,), BYTES)
    assert idle_bytes() <= outputs._most()
