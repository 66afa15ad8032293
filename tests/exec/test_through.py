"""Lines: what is read runs through steps as it is decoded, with the same result as step by step."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.exec import fusion, schedule, steps_fused, through, workgrid
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.profile import COLUMNS, profiling, rows_of
from lazytensor.exec.through import Line, line_of, lines_of, turned, varying_first
from lazytensor.plan.optimize import optimize
from lazytensor.plan.source import Box
from tests.compiled_engines import compiling, used
from tests.engines import Blocks
from tests.sources import ChunkedArray

zarr = pytest.importorskip("zarr")

APART = lt.QueryOptFlags(fusion=False)
VALUES = (np.arange(48 * 40 * 72) * 2654435761 % 4096).astype("u2").reshape(48, 40, 72)


class Handing(ChunkedArray):
    """A source that hands its chunks to consumers, unless it ``refuses``.

    ``handed``: how many values it handed over.
    """

    handed = 0
    refuses = False

    def read_strided(self, box: Box, steps: tuple[int, ...], out: np.ndarray) -> None:
        whole = np.empty([b - a for a, b in box], self.values.dtype)
        self.read_into(box, whole)
        out[...] = whole[tuple(slice(None, None, step) for step in steps)]

    def read_through(self, box: Box, steps: tuple[int, ...], consumer: Any) -> bool:
        if self.refuses:
            return False
        whole = np.empty([b - a for a, b in box], self.values.dtype)
        self.read_into(box, whole)
        values = whole[tuple(slice(None, None, step) for step in steps)]
        cuts = [range(0, n, 8) for n in values.shape]
        for position in itertools.product(*cuts):
            piece = values[tuple(slice(p, p + 8) for p in position)]
            consumer.take(piece, position)
            with self._lock:
                self.handed += piece.size
        return True


def handing(values: np.ndarray = VALUES) -> tuple[Handing, lt.LazyTensor]:
    source = Handing(values, (8, 8, 8)[: values.ndim])
    return source, lt.scan_source(source)


@pytest.fixture(scope="module", autouse=True)
def kernels() -> Iterator[None]:
    with compiling():
        yield


@pytest.fixture(autouse=True)
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fusion, through, steps_fused):
        monkeypatch.setattr(module, "_FEWEST", 0)


def chain(x: lt.LazyTensor) -> lt.LazyTensor:
    return ((x.astype("f4") - 100) * 0.5).round().clip(0, 255).astype("u1")


def program(x: lt.LazyTensor) -> Any:
    node = optimize(x._node)
    box = tuple(zip(node.domain.inclusive_min, node.domain.exclusive_max, strict=True))
    return lower(Compiled(node, fusing=True), box)


def parts(line: Line | None) -> list[str]:
    return [] if line is None else [step.op for step in line.steps]


X = handing()[1]
LINES: dict[str, tuple[lt.LazyTensor, list[str]]] = {
    "read": (X, ["read"]),
    "part": (X[1:, ::2], ["read_strided"]),
    "map": (chain(X), ["read", "fused"]),
    "turned": (lt.permute_dims(X, (1, 0, 2)).astype("f4")[::-1], ["read_placed", "fused"]),
    "strided": (X[:, ::3].astype("f4"), ["read_strided", "fused"]),
    "windows": (lt.downsample(X, (2, 2, 2)), ["read", "downsample"]),
    "all": (
        lt.downsample(X.astype("f4") * 2, (2, 2, 2)).astype("f8") / 3,
        ["read", "fused", "downsample", "fused"],
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_programs_that_are_one_line(name: str) -> None:
    x, expected = LINES[name]
    assert parts(line_of(program(x))) == expected


@pytest.mark.parametrize(
    "x",
    [
        lt.asarray(VALUES) * 2 + 1,
        lt.exp(X.astype("f4")),
        X[:8] + X[40:],
        lt.concat([X * 2, X + 1]),
        X[[5, 2, 2]].astype("f4"),
        (X - lt.asarray(VALUES[0])) * 2,
    ],
)
def test_programs_that_are_more_than_a_line(x: lt.LazyTensor) -> None:
    assert line_of(program(x)) is None


def test_lines_within_programs() -> None:
    other = handing(VALUES[::-1].copy())[1]
    both = program(lt.concat([X * 2, chain(other[::-1]).astype("u2")]))
    assert [parts(line) for line in lines_of(both).ends.values()] == [
        ["read", "fused"],
        ["read_placed", "fused"],
    ]
    (line,) = lines_of(program((X - lt.asarray(VALUES[0])) * other)).ends.values()
    assert parts(line) == ["read", "fused"] and len(line.others) == 2
    assert not lines_of(program(lt.stack([X * 2, (X * 2).astype("f4")]))).ends.keys() - {1}


def same(x: lt.LazyTensor, engine: Any) -> np.ndarray:
    """The values, which all engines have, fused and apart."""
    found = x.collect(engine=engine)
    want = x.collect(engine=lt.LocalEngine(threads=1, kernels="numpy"), optimizations=APART)
    assert found.dtype == want.dtype
    assert found.tobytes() == want.tobytes()
    return found


ENGINES = {
    "one": lt.LocalEngine(threads=1),
    "three": lt.LocalEngine(threads=3),
    "blocks": Blocks(1 << 14, 3),
    "numpy": lt.LocalEngine(threads=2, kernels="numpy"),
}


@pytest.mark.parametrize("name", ENGINES)
def test_values_of_lines(name: str) -> None:
    engine = ENGINES[name]
    source, x = handing()
    flat = lt.asarray(VALUES[3].astype("f4") + 1)
    for y in (
        chain(x),
        chain(lt.permute_dims(x, (1, 0, 2))[::-1, 3:]),
        chain(x[5, ::3]),
        (x.astype("f4") - 3) / flat,
        (flat - x) / (x + flat[::-1]),
        (x.astype("f4") - 3) / flat[:, 7:8],
    ):
        source.handed = 0
        same(y, engine)
        assert source.handed == (0 if name == "numpy" else y.size)


def test_what_lies_across_is_turned_in_blocks() -> None:
    source, x = handing()
    same(chain(lt.permute_dims(x, (2, 0, 1))), ENGINES["one"])
    assert source.handed == 0
    same(chain(lt.permute_dims(x, (2, 0, 1))[..., 5]), ENGINES["one"])


def test_each_chunk_is_read_once() -> None:
    source, x = handing()
    chain(x).collect(engine=lt.LocalEngine(threads=2))
    cells = [cell for box in source.boxes for cell in source.cells_of(box)]
    assert len(cells) == len(set(cells)) == 6 * 5 * 9


@pytest.mark.parametrize("name", ["one", "blocks"])
def test_windows_of_lines(name: str) -> None:
    source, x = handing()
    other_way = lt.permute_dims(x, (1, 2, 0))
    for y, handed in (
        (lt.downsample(x, (2, 2, 2)), True),
        (lt.downsample(x.astype("f4") * 2, (2, 2, 2), "max").astype("f8"), True),
        (lt.downsample(other_way, (2, 2, 2)), True),
        (lt.downsample(lt.flip(x, axis=1).translate_to[0, 0, 0], (2, 2, 2)), True),
        (lt.downsample(other_way.astype("f4") * 2, (2, 2, 2), "max"), True),
        # Windows that begin before the array.
        (lt.downsample(x[1:, :39], (2, 2, 2)), False),
    ):
        source.handed = 0
        same(y, ENGINES[name])
        if name == "one":
            assert source.handed == (VALUES.size if handed else 0)


def test_sums_of_floats_are_made_in_their_order() -> None:
    x = lt.permute_dims(handing()[1], (1, 2, 0)).astype("f4") * 2
    line = line_of(program(lt.downsample(x, (2, 2, 2))))
    assert line is not None and line.windows is not None
    out = np.empty(line.windows.shape, "f4")
    assert through._consumer_of_windows(line, line.windows, out) is None


def test_a_source_that_refuses_is_read_in_boxes() -> None:
    source, x = handing()
    source.refuses = True
    same(chain(x), ENGINES["three"])
    same(lt.downsample(x, (2, 2, 2)), ENGINES["one"])
    assert source.handed == 0


def test_other_lines_go_on_in_memory() -> None:
    """A join of lines, a reduction of one, operands that are read themselves, levels of levels."""
    _, x = handing()
    _, other = handing(VALUES[::-1].copy())
    engine = Blocks(1 << 15, 2)
    same(lt.concat([x * 2, (x + 1)[::-1]], axis=1), engine)
    same((x - other) * (other + 1), engine)
    same(lt.downsample(lt.downsample(x, (2, 2, 2)), (1, 2, 2)), engine)
    same(lt.max(x * 2 + 1, axis=0), engine)
    seen: list[int] = []
    y = (x * 2 + 1).inspect(lambda domain, block: seen.append(block.size))
    same(y + 1, engine)
    assert sum(seen) == 2 * VALUES.size


def test_results_that_are_parts_of_other_arrays() -> None:
    _, x = handing()
    out = np.zeros((48, 50, 144), "u1")[:, 5:45, ::2]
    chain(x).collect(engine=lt.LocalEngine(threads=2), out=out)
    np.testing.assert_array_equal(out, chain(x).collect(engine=lt.InterpretEngine()))


def test_operands_in_any_place() -> None:
    (region,) = Compiled((X.astype("f4") / 3 - X[::-1] * 2)._node, fusing=True).regions.values()
    expression = region.expression
    swapped = varying_first(expression, 1)
    assert varying_first(expression, 0) is expression
    assert swapped.arrays == expression.arrays[::-1]
    assert varying_first(swapped, 1) == expression


def test_a_target_is_seen_as_its_source_lies() -> None:
    (step,) = program(lt.permute_dims(X, (2, 0, 1))[::-1, 3:]).steps
    array = np.empty(step.shape, "f4")
    seen = turned(step, array)
    assert seen.shape == (45, 40, 72) and np.shares_memory(seen, array)
    assert seen.strides == (array.strides[1], array.strides[2], -array.strides[0])


@pytest.fixture(params=["plain", "sharded", "missing"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    how: dict[str, Any] = {"chunks": (16, 8, 24)}
    if request.param == "sharded":
        how = {"shards": (32, 16, 48), "chunks": (16, 8, 24)}
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=VALUES.shape, dtype="u2", fill_value=7, **how
    )
    if request.param == "missing":
        array[16:32, :16] = VALUES[16:32, :16]
    else:
        array[...] = VALUES
    return tmp_path / "a.zarr"


def test_lines_of_stored_arrays(stored: Path) -> None:
    x = lt.scan_zarr(stored)
    for name in ("one", "three", "blocks"):
        used.clear()
        same(chain(x), ENGINES[name])
        assert used
        same(chain(lt.permute_dims(x, (1, 0, 2))[::-1, 3:]), ENGINES[name])
        same((x.astype("f4") - 3) / lt.asarray(VALUES[3].astype("f4") + 1), ENGINES[name])
        same(lt.downsample(x, (2, 2, 2)), ENGINES[name])


def test_what_is_read_is_counted_as_ever(stored: Path) -> None:
    counts = []
    for kernels, flags in (("numba", lt.QueryOptFlags()), ("numpy", APART)):
        x = lt.scan_zarr(stored)
        before = lt.metrics()
        chain(x).collect(engine=lt.LocalEngine(threads=1, kernels=kernels), optimizations=flags)
        after = lt.metrics()
        names = ("bytes_read", "bytes_decoded", "units_read", "chunks_missing")
        counts.append([after[name] - before[name] for name in names if name in after])
    assert counts[0] == counts[1] and any(counts[0])


def test_damaged_chunks_are_errors_as_ever(tmp_path: Path) -> None:
    how: dict[str, Any] = {"shape": VALUES.shape, "dtype": "u2", "chunks": (16, 8, 24)}
    zarr.create_array(tmp_path / "a.zarr", **how)[...] = VALUES
    damaged = tmp_path / "a.zarr" / "c" / "1" / "2" / "0"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    x = lt.scan_zarr(tmp_path / "a.zarr")
    texts = []
    for kernels, flags in (("numba", lt.QueryOptFlags()), ("numpy", APART)):
        for threads in (1, 3):
            with pytest.raises(lt.SourceError) as error:
                chain(x).collect(
                    engine=lt.LocalEngine(threads=threads, kernels=kernels), optimizations=flags
                )
            texts.append(str(error.value))
    assert "c/1/2/0" in texts[0]
    assert len(set(texts)) == 1


def test_memory_of_lines_is_held_to_the_limit() -> None:
    _, x = handing()
    plan = chain(x)
    need = plan.estimate(engine=lt.LocalEngine(threads=1)).peak_memory
    engine = lt.LocalEngine(threads=3, max_memory=need)
    np.testing.assert_array_equal(
        plan.collect(engine=engine), plan.collect(engine=lt.InterpretEngine())
    )


def test_a_profile_has_a_row_for_each_step_of_a_line(stored: Path) -> None:
    plan = chain(lt.scan_zarr(stored))
    with profiling() as recorder:
        plan.collect(engine=lt.LocalEngine(threads=2))
    rows = {row[1]: dict(zip(COLUMNS, row, strict=True)) for row in rows_of(recorder)}
    read, fused, _ = rows
    assert read.startswith("read zarr") and fused.startswith("fused cast, subtract, multiply")
    assert rows[fused]["tasks"] == rows[read]["tasks"]
    assert rows[fused]["kernel_s"] > 0 == rows[fused]["read_s"]
    assert rows[read]["bytes_decoded"] > 0 == rows[read]["kernel_s"]


def tasks_of(x: lt.LazyTensor, **options: Any) -> int:
    """How many tasks a run takes, of which the result is that of the interpreter."""
    before = lt.metrics()["tasks"]
    found = x.collect(engine=lt.LocalEngine(threads=1, **options))
    np.testing.assert_array_equal(found, x.collect(engine="interpret"))
    return int(lt.metrics()["tasks"] - before)


def test_what_flows_takes_few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (workgrid, schedule):
        monkeypatch.setattr(module, "TARGET", 6000)
    monkeypatch.setattr(workgrid, "_SMALLEST", 6000)
    x = handing()[1]
    for y in (chain(x), lt.downsample(x, (2, 2, 2))):
        many = tasks_of(y, kernels="numpy")
        assert many > 40
        assert tasks_of(y, kernels="numba") <= many // 2
    # How a sum is cut decides what it is.
    mean = x.astype("f4").mean(axis=0)
    assert tasks_of(mean, kernels="numba") == tasks_of(mean, kernels="numpy")
    # What waits in memory does not flow.
    both = x + x[::-1]
    assert tasks_of(both, kernels="numba") == tasks_of(both, kernels="numpy")
