"""``profile``: what it says adds up, and is what was read and run."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor import native
from lazytensor.exec import memory, recording
from lazytensor.exec.memory import Budget
from lazytensor.exec.profile import COLUMNS, profiling, rows_of
from lazytensor.exec.recording import RECORDER
from lazytensor.plan.clock import DECODING, decoding
from tests.engines import ENGINES, Blocks
from tests.plans import Mirror, plans
from tests.sources import ChunkedArray

TIMES = ["read_s", "decode_s", "kernel_s", "wait_s"]
VALUES = np.random.default_rng(3).poisson(90, (64, 96, 128)).astype("u2")
SMALL = lt.LocalEngine(threads=2, max_memory="16MiB")


@pytest.fixture(scope="module", params=["chunks", "shards", "raw"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A stored array: compressed chunks, shards of them, or bytes as they are."""
    options: dict[str, Any] = {
        "chunks": {"chunks": (16, 32, 32)},
        "shards": {"chunks": (16, 32, 32), "shards": (32, 96, 64)},
        "raw": {"chunks": (16, 32, 32), "compressors": None},
    }[request.param]
    path = str(tmp_path_factory.mktemp("profile") / "a.zarr")
    array = zarr.create_array(path, shape=VALUES.shape, dtype="u2", fill_value=7, **options)
    array[:] = VALUES
    return path


def rows(frame: pl.DataFrame, text: str) -> pl.DataFrame:
    return frame.filter(pl.col("operation").str.contains(text, literal=True))


def total(frame: pl.DataFrame, *names: str) -> float:
    return float(sum(frame[name].sum() for name in names))


QUERIES: dict[str, Any] = {
    "all": lambda x: x,
    "corner": lambda x: x[3:9, 5, ::7],
    "chain": lambda x: x.astype("f4") * 2 + 1,
    "blocks": lambda x: lt.downsample(x, (1, 2, 2)),
    "sum": lambda x: lt.sum(x, axis=(0, 1)),
    "standardised": lambda x: (x - lt.mean(x.astype("f4"))) / lt.std(x.astype("f4")),
    "join": lambda x: lt.concat([x[:10], x[30:] + 1]),
    "gather": lambda x: x[:, [3, 90, 4]],
}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("engine", ["local", SMALL])
def test_rows_are_what_ran(folder: str, query: str, engine: Any) -> None:
    plan = QUERIES[query](lt.scan(folder))
    expected = plan.collect(engine=engine)
    before = lt.metrics()
    begin = time.perf_counter()
    result, frame = plan.profile(engine=engine)
    wall = time.perf_counter() - begin
    after = lt.metrics().items()
    counted = {key: n - before.get(key, 0) for key, n in after if not isinstance(n, dict)}
    np.testing.assert_array_equal(result, expected)
    assert frame.columns == list(COLUMNS)
    assert min(frame[name].min() for name in frame.columns if name != "operation") >= 0  # type: ignore[type-var, operator]
    assert total(frame, *TIMES) <= 2 * wall
    assert total(frame, "bytes_read") == counted["bytes_read"]
    assert total(frame, "bytes_decoded") == counted["bytes_decoded"]
    assert total(frame, "cache_hits") == counted.get("cache_hits", 0)
    tasks = total(rows(frame, "scheduling"), "tasks")
    assert tasks == counted["tasks"] == plan.estimate(engine=engine).tasks
    assert frame["tasks"].max() <= tasks  # type: ignore[operator]
    reading = rows(frame, "zarr ")
    assert total(reading, "bytes_read") == total(frame, "bytes_read")
    assert total(reading, "read_s") > 0 and total(reading, "kernel_s") == 0
    others = frame.filter(~pl.col("operation").is_in(reading["operation"]))
    assert total(others, "read_s", "decode_s") == 0


@settings(deadline=None)
@given(plans(), st.sampled_from(["interpret", "blocks-1", "blocks-64", "local"]))
def test_random_plans(pair: tuple[lt.LazyTensor, Mirror], name: str) -> None:
    x, mirror = pair
    before = lt.metrics()["tasks"]
    with np.errstate(all="ignore"):
        result, frame = x.profile(engine=ENGINES[name])
    np.testing.assert_array_equal(result, mirror.values)
    stages = frame["stage"].unique().sort().to_list()
    assert stages == list(range(1, len(stages) + 1))
    assert rows(frame, "scheduling")["stage"].to_list() == stages
    assert rows(frame, "scheduling").n_unique("stage") == len(stages)
    if name != "interpret" and "scan array" not in frame["operation"].to_list():
        assert total(rows(frame, "scheduling"), "tasks") >= lt.metrics()["tasks"] - before


MS = 1_000_000
SECONDS = 60
"""After which a test fails that waits for what does not come."""


class Ticks:
    """A clock that goes on when a test says so, whatever else the machine does."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    clock = Ticks()
    monkeypatch.setattr(recording, "perf_counter_ns", clock)
    return clock


def test_a_stage_adds_up_to_the_time_of_its_threads(ticks: Ticks) -> None:
    """Five tasks of 20 ms on two threads: whoever has none left waits for 20 ms."""
    pair, others = threading.Barrier(2, timeout=SECONDS), threading.Event()

    def slow(block: np.ndarray) -> np.ndarray:
        if block[0] == 4:
            assert others.wait(SECONDS)
            ticks.ns += 20 * MS
        elif pair.wait() == 0:
            ticks.ns += 20 * MS
            pair.wait()
        else:
            pair.wait()
        return block

    def done(tasks: int, of: int) -> None:
        if tasks == of - 1:
            others.set()

    x = lt.scan_source(ChunkedArray(np.arange(5.0), (1,)))
    y = lt.map_blocks(slow, x, dtype=x.dtype)
    _, frame = y.profile(engine=Blocks(8, 2), progress=done)
    called = rows(frame, "slow")
    assert called["tasks"].to_list() == [5]
    assert total(called, "kernel_s") == pytest.approx(0.1)
    assert total(frame, "wait_s") == pytest.approx(0.02)
    assert total(frame, *TIMES) == pytest.approx(2 * 0.06)


def test_waiting_for_memory_is_waiting(ticks: Ticks, monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget(100)
    holding, waits = threading.Event(), threading.Event()

    @contextmanager
    def waiting() -> Iterator[None]:
        with recording.waiting():
            waits.set()
            yield

    monkeypatch.setattr(memory, "waiting", waiting)

    def hold() -> None:
        with budget.holding(80, "another task"):
            holding.set()
            assert waits.wait(SECONDS)
            ticks.ns += 30 * MS

    def work(number: int, scratch: Any) -> None:
        with budget.holding(50, "a task"):
            ticks.ns += 5 * MS

    with profiling() as recorder, recorder.stage(1, 1):
        thread = threading.Thread(target=hold)
        thread.start()
        assert holding.wait(SECONDS)
        recorder.task(work)(0, None)  # type: ignore[arg-type]
        thread.join()
    (row,) = rows_of(recorder)
    found = dict(zip(COLUMNS, row, strict=True))
    assert found["operation"] == "scheduling" and found["tasks"] == 1
    assert found["wait_s"] == pytest.approx(0.03)
    assert found["kernel_s"] == pytest.approx(0.005)


def stored_bytes() -> dict[str, bytes]:
    """``VALUES`` in 48 compressed chunks."""
    store = zarr.storage.MemoryStore()
    array = zarr.create_array(store, shape=VALUES.shape, dtype="u2", chunks=(16, 32, 32))
    array[:] = VALUES
    return {key: value.to_bytes() for key, value in store._store_dict.items()}


def test_bytes_are_those_that_a_store_delivered() -> None:
    counting = lt.testing.CountingStore(stored_bytes())
    plan = lt.scan_zarr(counting)[5:40, :50] * 2
    counting.reset()
    _, frame = plan.profile(engine=SMALL)
    assert total(frame, "bytes_read") == counting.bytes > 0
    assert total(frame, "bytes_decoded") == plan.estimate().bytes_decoded


def test_compiled_code_tells_reading_and_decoding_apart(folder: str) -> None:
    if native.wait("chunks") is None or native.file_functions() is None:
        pytest.skip("files are not read by compiled code here")
    x = lt.scan(folder)
    x.collect()
    _, frame = x.profile()
    reading = rows(frame, "zarr ")
    assert total(reading, "read_s") > 0 and total(reading, "decode_s") > 0


class SlowStore(lt.testing.CountingStore):
    """Takes its time for every object."""

    def get(self, key: str, scratch: Any = None) -> Any:
        time.sleep(0.01)
        return super().get(key, scratch)


def test_waiting_for_a_store_is_reading() -> None:
    x = lt.scan_zarr(SlowStore(stored_bytes()))
    _, frame = (x[:16, :32] * 2).profile(engine=lt.LocalEngine(threads=1))
    reading = rows(frame, "zarr ")
    assert total(reading, "read_s") >= 0.04 > total(reading, "decode_s") > 0


def test_indices_that_are_known_are_cache_hits(tmp_path: Path) -> None:
    path = str(tmp_path / "s.zarr")
    array = zarr.create_array(path, shape=(64, 64), dtype="u2", chunks=(8, 8), shards=(32, 32))
    array[:] = np.arange(4096).reshape(64, 64)
    for file in Path(path).rglob("*"):
        os.utime(file, (time.time() - 60,) * 2)  # what has just been written may change unseen
    x = lt.scan(path)
    _, first = x[:8, :8].profile()
    _, second = x[8:16, :8].profile()
    assert total(first, "cache_hits") == 0 and total(second, "cache_hits") == 1


def test_reductions_have_rows_of_their_own() -> None:
    x = lt.scan_source(ChunkedArray(np.arange(600.0).reshape(20, 30), (5, 5)))
    _, frame = lt.sum(x).profile(engine=ENGINES["blocks-64"])
    names = frame["operation"].to_list()
    assert names[0] == "read test chunked" and names[-1] == "scheduling"
    assert {"sum over 0, 1: partial", "sum over 0, 1: merge", "sum over 0, 1: write"} <= set(names)
    assert rows(frame, "write")["tasks"].to_list() == [1]


def test_the_interpreter_has_a_stage_of_nodes() -> None:
    x = lt.scan_source(ChunkedArray(np.arange(600.0).reshape(20, 30), (5, 5)))
    result, frame = (lt.sum(x + 1, axis=0) * 2).profile(engine="interpret")
    np.testing.assert_array_equal(result, (np.arange(600.0).reshape(20, 30) + 1).sum(0) * 2)
    assert frame["stage"].unique().to_list() == [1]
    assert rows(frame, "scan test chunked").height == 1
    assert rows(frame, "scheduling")["tasks"].to_list() == [1]
    tiny, frame = (lt.asarray([1, 2]) + 1).profile()
    assert tiny.tolist() == [2, 3] and "scan array" in frame["operation"].to_list()


class Foreign:
    """An engine that says nothing of its operations."""

    name = "foreign"

    def run(self, roots: Any, outs: Any, **options: Any) -> None:
        for out in outs:
            out[...] = 4


def test_other_engines_have_one_row() -> None:
    result, frame = (lt.asarray([1, 2]) + 1).profile(engine=Foreign())
    assert result.tolist() == [4, 4]
    assert frame["operation"].to_list() == ["run"]
    assert frame["kernel_s"][0] > 0 and frame["tasks"][0] is None


def test_errors_pass_and_nothing_stays_on() -> None:
    def bad(block: np.ndarray) -> np.ndarray:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        lt.map_blocks(bad, lt.ones((3,)), dtype=np.dtype("f8"), validate=False).profile()
    assert RECORDER.get() is None and DECODING.get() is None
    with decoding():
        pass


def test_runs_at_the_same_time_do_not_mix() -> None:
    found: list[pl.DataFrame] = []
    x = lt.scan_source(ChunkedArray(np.arange(4096.0).reshape(64, 64), (8, 8)))

    def run() -> None:
        found.append((x + 1).profile(engine=lt.LocalEngine(threads=2))[1])

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (x * 2).collect()
    assert len({tuple(frame["tasks"]) for frame in found}) == 1


def test_without_polars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="pip install polars"):
        lt.ones(2).profile()


def test_the_table_is_typed() -> None:
    _, frame = lt.ones(2).profile()
    assert frame.schema == {
        name: {int: pl.Int64, float: pl.Float64, str: pl.String}[kind]
        for name, kind in COLUMNS.items()
    }


def test_views_of_every_task_are_one_row(folder: str) -> None:
    x = lt.scan(folder)
    half = x.shape[0] // 2
    moved = lt.overlay(
        [x[:half].translate_to[0, 0, 0], x[half:].translate_to[half, 5, 3]], fill_value=0
    )
    plan = (moved.astype("f4") - lt.mean(moved.astype("f4")))[::-1]
    _, frame = plan.profile(engine=Blocks(1 << 12, 2))
    assert frame["tasks"].max() > 8  # type: ignore[operator]
    seen = frame.select("stage", "operation").rows()
    assert len(seen) == len(set(seen))
