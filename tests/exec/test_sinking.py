"""The driver of sinks: which blocks targets are given, in what order things happen, what is cleaned
up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec import workgrid
from lazytensor.exec.sinking import Sinking, check_places, collect_and_sink
from lazytensor.plan.source import Box
from tests.engines import ENGINES
from tests.sources import ChunkedArray

Cells = tuple[int | None, ...]


class Target:
    """Remembers what it was given."""

    def __init__(
        self, shape: Sequence[int], cells: Cells, runs: Any = "any", held: int = 0
    ) -> None:
        self.label = "target"
        self.cells = cells
        self.runs = runs
        self.values = np.zeros(shape)
        self.boxes: list[Box] = []
        self._held = held
        self._lock = threading.Lock()

    def held(self, nbytes: int) -> int:
        return self._held

    def write(self, box: Box, values: np.ndarray) -> None:
        assert values.shape == tuple(hi - lo for lo, hi in box)
        part = tuple(slice(lo, hi) for lo, hi in box)
        with self._lock:
            self.boxes.append(box)
            self.values[(*part, ...)] = values


class Sink:
    """Remembers what was asked of it."""

    def __init__(self, *targets: Any, place: str = "nowhere", fails: str = "") -> None:
        self.label = f"sink {place}"
        self.places: tuple[str, ...] = (place,)
        self.targets = targets
        self.calls: list[str] = []
        self._fails = fails

    def begin(self) -> None:
        self._call("begin")

    def finish(self) -> None:
        self._call("finish")

    def abort(self) -> None:
        self._call("abort")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self._fails:
            raise lt.SinkError(f"{name} failed")


def run(x: lt.LazyTensor, target: Target, engine: Any = "auto", **options: Any) -> list[np.ndarray]:
    return collect_and_sink([], [Sinking(Sink(target), (x._node,))], engine=engine, **options)


def tensor(shape: Sequence[int], chunks: Sequence[int]) -> tuple[ChunkedArray, lt.LazyTensor]:
    stored = ChunkedArray(np.arange(np.prod(shape), dtype="f8").reshape(shape), chunks)
    return stored, lt.scan_source(stored)


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workgrid, "TARGET", 1 << 10)
    monkeypatch.setattr(workgrid, "_SMALLEST", 1 << 8)


class TestBlocks:
    @given(data=st.data())
    def test_every_unit_is_given_once_and_whole(self, data: st.DataObject) -> None:
        shape = data.draw(st.lists(st.integers(0, 9), max_size=3))
        chunks = [data.draw(st.integers(1, 10)) for _ in shape]
        units = [data.draw(st.integers(1, 10)) for _ in shape]
        stored, x = tensor(shape, chunks)
        target = Target(shape, tuple(units))
        engine = lt.LocalEngine(
            threads=data.draw(st.integers(1, 3)),
            max_memory=data.draw(st.sampled_from([1 << 30, 1 << 16])),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workgrid, "TARGET", 256)
            patch.setattr(workgrid, "_SMALLEST", 64)
            run(x * 2, target, engine)
        np.testing.assert_array_equal(target.values, stored.values * 2)
        expected = [
            tuple((i * u, min(n, i * u + u)) for i, u, n in zip(index, units, shape, strict=True))
            for index in np.ndindex(*[-(-n // u) for n, u in zip(shape, units, strict=True)])
        ]
        assert sorted(target.boxes) == sorted(expected)

    @pytest.mark.usefixtures("small_tasks")
    @pytest.mark.parametrize("cells", [(4, 4), (8, 4), (16, 16), (2, 2), (4, 32)])
    def test_chunks_whose_grid_agrees_are_read_once(self, cells: Cells) -> None:
        stored, x = tensor((32, 32), (8, 8))
        target = Target((32, 32), cells)
        run(x + 1, target, lt.LocalEngine(threads=2, max_memory="1MiB"))
        assert Counter(cell for box in stored.boxes for cell in stored.cells_of(box)) == Counter(
            stored.cells_read()
        )

    @pytest.mark.usefixtures("small_tasks")
    def test_runs_in_order_where_they_must_be(self) -> None:
        stored, x = tensor((12, 8, 8), (4, 4, 8))
        target = Target((12, 8, 8), (None,) * 3, "only")
        run(x + 1, target, lt.LocalEngine(threads=1))
        assert all(
            box[1:] == ((0, 8), (0, 8)) or box[0][1] - box[0][0] == 1 for box in target.boxes
        )
        flat = [np.ravel_multi_index([lo for lo, _ in box], (12, 8, 8)) for box in target.boxes]
        assert flat == sorted(flat)
        np.testing.assert_array_equal(target.values, stored.values + 1)
        reads = Counter(cell for box in stored.boxes for cell in stored.cells_of(box))
        assert set(reads.values()) == {1}

    def test_boxes_of_whole_cells_where_runs_would_take_too_much(self) -> None:
        stored, x = tensor((64, 64, 64), (16, 16, 16))
        target = Target((64, 64, 64), (None,) * 3, "rather")
        run(x + 1, target, lt.LocalEngine(threads=1, max_memory="600KiB"))
        np.testing.assert_array_equal(target.values, stored.values + 1)
        reads = Counter(cell for box in stored.boxes for cell in stored.cells_of(box))
        assert set(reads.values()) == {1}

    def test_what_targets_hold_counts(self) -> None:
        stored, x = tensor((64, 64), (8, 8))
        with pytest.raises(lt.MemoryLimitError):
            run(x, Target((64, 64), (8, 8), held=2 << 20), lt.LocalEngine(max_memory="1MiB"))
        assert stored.boxes == []

    def test_coordinates_do_not_matter(self) -> None:
        stored, x = tensor((10, 10), (4, 4))
        target = Target((7, 5), (3, 3))
        run(x[3:, ::2].translate_to[-100, 50], target)
        np.testing.assert_array_equal(target.values, stored.values[3:, ::2])

    def test_what_is_in_memory_is_not_copied_on_the_way(self) -> None:
        values = np.arange(64.0).reshape(8, 8)
        seen: list[bool] = []

        class Looks(Target):
            def write(self, box: Box, found: np.ndarray) -> None:
                seen.append(np.shares_memory(found, values))

        run(lt.asarray(values), Looks((8, 8), (4, 4)))
        assert seen == [True] * 4

    def test_constants_and_missing_chunks(self) -> None:
        target = Target((40, 40), (8, 8))
        run(lt.full((40, 40), 3.0), target)
        assert (target.values == 3).all()

    @pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES.keys())
    def test_any_engine(self, engine: Any) -> None:
        stored, x = tensor((11, 6), (4, 4))
        target = Target((11, 6), (5, 5))
        run((x - x.mean(axis=0))[1:, ::-1][:10], Target((10, 6), (5, 5)), engine)
        run(x.sum(axis=0, keepdims=True) + x, target, engine)
        expected = stored.values.sum(axis=0, keepdims=True) + stored.values
        np.testing.assert_allclose(target.values, expected)

    @pytest.mark.parametrize("flags", [lt.QueryOptFlags(), lt.QueryOptFlags.none()])
    def test_several_targets_of_one_plan_share_its_blocks(self, flags: lt.QueryOptFlags) -> None:
        stored, x = tensor((24, 24), (6, 6))
        targets = [Target((24, 24), cells) for cells in ((6, 6), (6, 6), (4, 24))]
        some = [Sinking(Sink(one, place=f"/{i}"), (x._node,)) for i, one in enumerate(targets)]
        values = collect_and_sink([x._node, x.sum()._node], some, optimizations=flags)
        for target in targets:
            np.testing.assert_array_equal(target.values, stored.values)
        np.testing.assert_array_equal(values[0], stored.values)
        assert float(values[1]) == stored.values.sum()

    def test_arrays_are_filled_before_the_first_value_is_given(self) -> None:
        stored, x = tensor((30, 20), (10, 20))
        mean = np.zeros(20)
        seen: list[np.ndarray] = []

        class Looks(Target):
            def write(self, box: Box, found: np.ndarray) -> None:
                seen.append(mean.copy())

        # The array that is asked for needs more steps than what is delivered.
        node = ((x.mean(axis=0) * 2 - x.mean(axis=0)).reshape((4, 5)) + 0).reshape((20,))._node
        sink = Sink(mean, Looks((30, 20), (10, 20)))
        collect_and_sink([], [Sinking(sink, (node, x._node))])
        for found in seen:
            np.testing.assert_allclose(found, stored.values.mean(axis=0))

    def test_a_stored_reduction_as_a_root(self) -> None:
        stored, x = tensor((30, 20), (10, 20))
        target = Target((20,), (7,))
        run(x.max(axis=0), target)
        np.testing.assert_array_equal(target.values, stored.values.max(axis=0))


class TestOrder:
    def test_begun_before_and_finished_after(self) -> None:
        _, x = tensor((8, 8), (4, 4))
        sink = Sink(Target((8, 8), (4, 4)))
        collect_and_sink([], [Sinking(sink, (x._node,))])
        assert sink.calls == ["begin", "finish"]

    @pytest.mark.parametrize("fails", ["begin", "finish", "finish abort"])
    def test_whatever_fails_all_are_aborted(self, fails: str) -> None:
        _, x = tensor((8, 8), (4, 4))
        good = Sink(Target((8, 8), (4, 4)), place="/good")
        bad = Sink(Target((8, 8), (4, 4)), place="/bad", fails=fails)
        never = Sink(Target((8, 8), (4, 4)), place="/never")
        sinks = [Sinking(one, (x._node,)) for one in (good, bad, never)]
        with pytest.raises(lt.SinkError, match=fails.split()[0]) as error:
            collect_and_sink([], sinks)
        assert good.calls[-1] == bad.calls[-1] == "abort"
        assert never.calls == ([] if fails == "begin" else ["begin", "abort"])
        notes = getattr(error.value, "__notes__", [])
        assert notes == (["sink /bad: abort failed"] if "abort" in fails else [])

    def test_an_error_of_a_target_is_raised(self) -> None:
        class Full(Target):
            def write(self, box: Box, found: np.ndarray) -> None:
                raise lt.SinkError(f"unit {box} did not fit")

        _, x = tensor((8, 8), (4, 4))
        sink = Sink(Full((8, 8), (4, 4)))
        with pytest.raises(lt.SinkError, match=r"unit \(\(0, 4\), \(0, 4\)\) did not fit"):
            collect_and_sink([], [Sinking(sink, (x._node,))], engine=lt.LocalEngine(threads=2))
        assert sink.calls == ["begin", "abort"]

    def test_not_inside_a_reader(self) -> None:
        def read(domain: Any, out: np.ndarray) -> None:
            _, x = tensor((4,), (2,))
            run(x, Target((4,), (2,)))

        x = lt.virtual_chunked(read, shape=(4,), dtype="f8")
        with pytest.raises(lt.SourceError) as error:
            x.collect()
        assert isinstance(error.value.__cause__, RuntimeError)

    @pytest.mark.parametrize(
        ("one", "other", "overlap"),
        [
            ("/a/b", "/a/b", True),
            ("/a/b", "/a/b/c", True),
            ("/a/b", "/a/bc", False),
            ("/a/b", "/a//./b", True),
            ("s3://bucket/a", "s3://bucket/a/", True),
            ("s3://bucket/a", "s3://bucket/ab", False),
            ("/a/b", "file:///a/b", True),
        ],
    )
    def test_places(self, one: str, other: str, overlap: bool) -> None:
        sinks = [Sinking(Sink(place=place), ()) for place in (one, other)]
        if overlap:
            with pytest.raises(lt.SinkError, match="both written"):
                check_places([], sinks)
        else:
            check_places([], sinks)
