"""Fetching what units read before tasks come to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from lazytensor.exec import ahead as module
from lazytensor.exec.ahead import Ahead, Unit, each_at_hand
from lazytensor.exec.memory import WAITING, Spare, sparing
from lazytensor.plan.source import Box, Read
from lazytensor.plan.stopping import STOPPED

ONE = 4 << 20


class Fetching:
    """A source that only fetches; ``fails``: the boxes that cannot be."""

    remote = True

    def __init__(self, fails: frozenset[int] = frozenset()) -> None:
        self.key = id(self)
        self.fetched: list[list[int]] = []
        self.entered: list[int] = []
        self.fails = fails
        self.wait = threading.Event()
        self.wait.set()

    @contextmanager
    def _at_hand(self) -> Iterator[None]:
        self.entered.append(threading.get_ident())
        yield

    def fetch_ahead(self, reads: Sequence[Read]) -> Any:
        places = [box[0][0] for box, _ in reads]
        self.fetched.append(places)
        self.wait.wait(20)
        for place in places:
            if place in self.fails:
                raise OSError(f"no {place}")
        return self._at_hand() if len(places) == 1 else Several(self)

    def ahead_nbytes(self, reads: Sequence[Read]) -> int:
        return ONE * len(reads)


class Several:
    """May be entered again and again."""

    def __init__(self, source: Fetching) -> None:
        self._source = source

    def __enter__(self) -> None:
        self._source.entered.append(threading.get_ident())

    def __exit__(self, *exc: object) -> None:
        return


def box_at(i: int) -> Box:
    return ((i, i + 1),)


def units(source: Fetching, count: int, nbytes: int = ONE) -> Iterator[Unit]:
    return (Unit(i, nbytes, [(source, [(box_at(i), (1,))])]) for i in range(count))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true() and time.monotonic() < deadline:
        time.sleep(0.002)
    assert true()


def is_free(spare: Spare) -> bool:
    return (spare._free, spare._places) == (spare.nbytes, WAITING)


def test_units_are_fetched_in_order_neighbours_together() -> None:
    source, spare = Fetching(), Spare(10 * ONE)
    with Ahead(units(source, 9), spare) as ahead:
        until(lambda: sum(map(len, source.fetched)) == 9)
        assert sorted(source.fetched) == [[0, 1], [2, 3], [4, 5], [6, 7], [8]]
        for i in range(9):
            with ahead.at_hand(i) as unit:
                assert unit is not None and unit.key == i
        assert is_free(spare)
    assert len(source.entered) == 9


def test_no_more_is_held_than_there_is_to_spare() -> None:
    source, spare = Fetching(), Spare(4 * ONE)
    with Ahead(units(source, 8), spare) as ahead:
        until(lambda: sum(map(len, source.fetched)) == 4)
        time.sleep(0.1)
        assert sum(map(len, source.fetched)) == 4 and not spare.take(1)
        with ahead.at_hand(0):
            pass
        assert not spare.take(1), "its neighbour is still held"
        with ahead.at_hand(1):
            pass
        until(lambda: sum(map(len, source.fetched)) == 6)
    assert is_free(spare)


def test_what_does_not_fit_is_left_to_the_tasks() -> None:
    source, spare = Fetching(), Spare(ONE)
    with Ahead(units(source, 3, nbytes=ONE + 1), spare) as ahead:
        for i in range(3):
            with ahead.at_hand(i) as unit:
                assert unit is None
    assert not source.fetched and is_free(spare)


def test_a_task_that_comes_first_reads_for_itself() -> None:
    source, spare = Fetching(), Spare(2 * ONE)
    with Ahead(units(source, 6), spare) as ahead:
        until(lambda: sum(map(len, source.fetched)) == 2)
        for i in (2, 3):
            with ahead.at_hand(i) as unit:
                assert unit is None
        for i in (0, 1):
            with ahead.at_hand(i) as unit:
                assert unit is not None
        until(lambda: len(source.fetched) > 1)
        assert source.fetched[1][0] == 4
    assert is_free(spare)


def test_a_failure_is_raised_by_the_tasks_that_need_it() -> None:
    source, spare = Fetching(frozenset([2])), Spare(10 * ONE)
    with Ahead(units(source, 6), spare) as ahead:
        until(lambda: sum(map(len, source.fetched)) == 6)
        for i in range(6):
            if i in (2, 3):
                with pytest.raises(OSError, match="no 2"), ahead.at_hand(i):
                    raise AssertionError
            else:
                with ahead.at_hand(i) as unit:
                    assert unit is not None
        assert is_free(spare)


def test_units_that_cannot_be_found_out_are_left_to_the_tasks() -> None:
    def failing() -> Iterator[Unit]:
        yield from units(source, 1)
        raise ValueError("the second one")

    source, spare = Fetching(), Spare(10 * ONE)
    with Ahead(failing(), spare) as ahead:
        until(lambda: source.fetched == [[0]])
        with ahead.at_hand(0) as unit, ahead.at_hand(1) as other:
            assert unit is not None and other is None
    assert is_free(spare)


def test_without_threads_tasks_read_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module, "send", no_thread)
    source = Fetching()
    with Ahead(units(source, 2), Spare(10 * ONE)) as ahead, ahead.at_hand(0) as unit:
        assert unit is None
    assert not source.fetched


def test_leaving_gives_back_what_nobody_took() -> None:
    source, spare = Fetching(), Spare(10 * ONE)

    def leave() -> None:
        with Ahead(units(source, 50), spare):
            until(lambda: sum(map(len, source.fetched)) == 10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave()
    assert is_free(spare)


def test_who_waits_sees_that_the_run_was_stopped() -> None:
    source = Fetching()
    source.wait.clear()
    stopped = False
    token = STOPPED.set(lambda: stopped)
    try:
        with Ahead(units(source, 2), Spare(10 * ONE)) as ahead:
            until(lambda: bool(source.fetched))
            stopped = True
            with pytest.raises(Exception, match="cancelled"), ahead.at_hand(0):
                raise AssertionError
            source.wait.set()
    finally:
        STOPPED.reset(token)


class TestEach:
    def source(self) -> Any:
        from lazytensor.plan.spec import make_spec

        source: Any = Fetching()
        source.spec = make_spec((40,), np.dtype("u1"), chunks=(1,), together=(4,))
        return source

    def test_neighbours_in_one_object_come_together(self) -> None:
        source, spare = self.source(), Spare(64 * ONE)
        with sparing(spare):
            found = list(each_at_hand(source, lambda: iter([9, 0, 8, 1, 39]), box_at))
        assert found == [0, 1, 9, 8, 39] and is_free(spare)
        # One read alone, come to before it was fetched, is carried out as ever.
        assert sorted(source.fetched) in ([[0, 1], [9, 8], [39]], [[0, 1], [9, 8]])

    def test_nothing_is_fetched_where_nothing_is_to_spare(self) -> None:
        source = self.source()
        assert list(each_at_hand(source, lambda: iter([3, 1]), box_at)) == [3, 1]
        with sparing(Spare(0)):
            assert sorted(each_at_hand(source, lambda: iter([3, 1]), box_at)) == [1, 3]
        assert not source.fetched

    def test_leaving_early_gives_all_back(self) -> None:
        source, spare = self.source(), Spare(64 * ONE)
        with sparing(spare):
            items = each_at_hand(source, lambda: iter(range(40)), box_at)
            assert next(items) == 0
            items.close()
        assert is_free(spare)
