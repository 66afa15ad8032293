"""The collector of cyclic garbage waits while large plans are worked on, and only then."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.plan import garbage
from lazytensor.plan.garbage import collector_waits, is_large
from lazytensor.plan.optimize import optimize


@pytest.fixture(autouse=True)
def _on() -> Iterator[None]:
    assert gc.isenabled()
    yield
    gc.enable()


def chain(length: int) -> lt.LazyTensor:
    x = lt.asarray(np.arange(3.0))
    for k in range(length):
        x = x + k
    return x


def collections(call: object) -> int:
    """How often the collector looked through everything there is."""
    assert callable(call)
    gc.collect()
    before = gc.get_stats()[2]["collections"]
    call()
    return int(gc.get_stats()[2]["collections"] - before)


def test_it_is_on_again_after_an_error() -> None:
    def fail() -> None:
        with collector_waits():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()


def test_small_plans_leave_it_alone() -> None:
    with collector_waits(False):
        assert gc.isenabled()
    assert not is_large(chain(100)._node)
    assert is_large(chain(2000)._node)
    assert is_large(lt.stack([lt.full((2,), k) for k in range(2000)])[:, 1]._node)


def test_who_has_turned_it_off_finds_it_off() -> None:
    gc.disable()
    with collector_waits():
        assert not gc.isenabled()
    assert not gc.isenabled()
    np.testing.assert_array_equal(chain(2000).collect(), np.arange(3.0) + 1999 * 1000)
    assert not gc.isenabled()


def test_who_comes_second_does_not_make_it_longer() -> None:
    inside, leave = threading.Event(), threading.Event()

    def second() -> None:
        with collector_waits():
            inside.set()
            leave.wait(20)

    other = threading.Thread(target=second)
    with collector_waits():
        other.start()
        assert inside.wait(20)
        assert not gc.isenabled()
    assert gc.isenabled()
    leave.set()
    other.join()
    assert gc.isenabled()


def test_large_plans_are_optimised_and_collected_without_it() -> None:
    x = chain(5000)
    assert collections(lambda: optimize(x._node)) <= 1
    # Between planning and running it may look once each time.
    assert collections(x.collect) <= 3
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_it_on() -> None:
    with collector_waits():
        pid = os.fork()
        if pid == 0:
            on = gc.isenabled()
            with collector_waits():
                off = not gc.isenabled()
            os._exit(0 if on and off and gc.isenabled() else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert not gc.isenabled()
    assert gc.isenabled()


def test_what_is_imported_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything frozen afterwards, and what others froze stays so."""
    monkeypatch.setattr(garbage, "_MODULES", -1)
    looked: list[str] = []

    def look(phase: str, info: dict[str, int]) -> None:
        looked.append(phase)

    gc.collect()
    gc.callbacks.append(look)
    try:
        with garbage.importing():
            made = [[number] for number in range(50_000)]
            assert not looked
    finally:
        gc.callbacks.remove(look)
    assert len(made) == 50_000
    assert gc.isenabled() and gc.get_freeze_count() == 0
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with garbage.importing():
            pass
        assert gc.get_freeze_count() == frozen
    finally:
        gc.unfreeze()
