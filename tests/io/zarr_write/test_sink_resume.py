"""``mode="resume"``: going on with what a killed process has left, byte for byte the same."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io import staging
from lazytensor.io.zarr.sink_tree import NOTE
from tests.io.zarr_write.test_sink_results import content, files

KILLS = int(os.environ.get("LAZYTENSOR_TEST_KILLS", "12"))
"""How often processes are killed; several hundred take some minutes."""

BIG = np.random.default_rng(1).integers(0, 99, (32, 256, 256)).astype("u2")
HOW: dict[str, Any] = {"chunks": (8, 64, 64), "engine": lt.LocalEngine(threads=1)}
UNITS = 4 * 4 * 4


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An array whose plans have a digest that other processes find too."""
    place = tmp_path_factory.mktemp("stored") / "src"
    lt.asarray(BIG).sink_zarr(place, chunks=(8, 64, 64), compressor=None)
    return place


def begun(folder: Path) -> Path:
    """The hidden folder that a run has left."""
    (name,) = [one for one in os.listdir(folder) if one.endswith(".tmp")]
    return folder / name


class Stopping:
    """Lets so many files be written, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int = 1 << 30) -> None:
        put = staging.StagedFolder.put
        self.keys: list[str] = []

        def counted(folder: Any, key: str, parts: Any) -> None:
            if len(self.keys) >= most:
                raise lt.SinkError("stop")
            self.keys.append(key)
            put(folder, key, parts)

        monkeypatch.setattr(staging.StagedFolder, "put", counted)


@pytest.fixture
def left(tmp_path: Path, stored: Path, monkeypatch: pytest.MonkeyPatch) -> lt.LazyTensor:
    """A plan, half of which has been written to ``x``."""
    x = lt.scan_zarr(stored) + 1
    with monkeypatch.context() as patch:
        Stopping(patch, UNITS // 2)
        with pytest.raises(lt.SinkError, match="stop"):
            x.sink_zarr(tmp_path / "x", mode="resume", **HOW)
    assert os.listdir(tmp_path) == [begun(tmp_path).name]
    return x


def check(folder: Path, x: lt.LazyTensor) -> None:
    """What is in ``x`` is what had been written without anything going wrong."""
    (folder / "fresh").mkdir()
    x.sink_zarr(folder / "fresh" / "x", **HOW)
    assert content(folder / "x") == content(folder / "fresh" / "x")
    assert not [name for name in os.listdir(folder) if name.startswith(".")]


def test_goes_on(tmp_path: Path, left: lt.LazyTensor, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        counted = Stopping(patch)
        found = left.sink_zarr(tmp_path / "x", mode="resume", **HOW)
        # The other half, what the task in the middle had done, and the document.
        assert UNITS // 2 <= len(counted.keys) < 3 * UNITS // 4
    np.testing.assert_array_equal(found.collect(), BIG + 1)
    check(tmp_path, left)


def test_goes_on_after_create(
    tmp_path: Path, stored: Path, left: lt.LazyTensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ``"create"`` had begun when it was killed is as good."""
    note = json.loads((begun(tmp_path) / NOTE).read_text())
    note["mode"] = "create"
    (begun(tmp_path) / NOTE).write_text(json.dumps(note))
    left.sink_zarr(tmp_path / "x", mode="resume", **HOW)
    check(tmp_path, left)


def test_goes_on_with_an_overwrite(tmp_path: Path, left: lt.LazyTensor) -> None:
    note = json.loads((begun(tmp_path) / NOTE).read_text())
    note["mode"] = "overwrite"
    (begun(tmp_path) / NOTE).write_text(json.dumps(note))
    hidden = begun(tmp_path).rename(tmp_path / "hidden")
    lt.zeros((3,)).sink_zarr(tmp_path / "x")
    hidden.rename(tmp_path / (".x." + "0" * 32 + ".tmp"))
    left.sink_zarr(tmp_path / "x", mode="resume", **HOW)
    check(tmp_path, left)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty", "gone"])
def test_what_is_damaged_is_written_again(tmp_path: Path, left: lt.LazyTensor, damage: str) -> None:
    for key in files(begun(tmp_path))[3:9]:
        file = begun(tmp_path) / key
        if damage == "gone":
            file.unlink()
            continue
        data = {"cut": file.read_bytes()[:-3], "garbage": b"\x07" * 40, "empty": b""}[damage]
        file.write_bytes(data)
    left.sink_zarr(tmp_path / "x", mode="resume", **HOW)
    check(tmp_path, left)


def test_what_was_not_finished_is_removed(tmp_path: Path, left: lt.LazyTensor) -> None:
    (begun(tmp_path) / "c" / ".0.tmp").write_bytes(b"half")
    left.sink_zarr(tmp_path / "x", mode="resume", **HOW)
    check(tmp_path, left)


def test_what_should_be_empty_is_removed(tmp_path: Path) -> None:
    x = lt.zeros((64, 64)) * lt.arange(64)
    place = tmp_path / (".x." + "1" * 32 + ".tmp")
    x.sink_zarr(tmp_path / "x", chunks=32)
    note = {"version": 1, "mode": "create", "plan": None}
    note["documents"] = {"zarr.json": (tmp_path / "x" / "zarr.json").read_text()}
    (tmp_path / "x").rename(place)
    (place / NOTE).write_text(json.dumps(note))
    (place / "c" / "1").mkdir(parents=True)
    (place / "c" / "1" / "1").write_bytes(b"what nobody can decode")
    found = x.sink_zarr(tmp_path / "x", chunks=32, mode="resume")
    assert (found.collect() == 0).all() and files(tmp_path / "x") == ["zarr.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chunks": 50}, r"zarr.json: chunk_grid is .* there, and .* here"),
        ({"attributes": {"a": 1}}, "attributes"),
        ({"zarr_format": 2}, r"\.zarray is only here"),
    ],
)
def test_another_array_is_not_gone_on_with(
    tmp_path: Path, left: lt.LazyTensor, change: dict[str, Any], message: str
) -> None:
    before = content(begun(tmp_path))
    with pytest.raises(lt.SinkError, match=f"cannot go on: .*{message}"):
        left.sink_zarr(tmp_path / "x", mode="resume", **{**HOW, **change})
    with pytest.raises(lt.SinkError, match="another computation"):
        (left + 1).sink_zarr(tmp_path / "x", mode="resume", **HOW)
    assert content(begun(tmp_path)) == before
    (left + 1).sink_zarr(tmp_path / "x", mode="create", **HOW)
    assert os.listdir(tmp_path) == ["x"]


def test_what_it_reads_has_changed(tmp_path: Path) -> None:
    lt.asarray(BIG).sink_zarr(tmp_path / "src", chunks=(8, 64, 64))
    x = lt.scan_zarr(tmp_path / "src") + 1
    with pytest.MonkeyPatch.context() as patch:
        Stopping(patch, 9)
        with pytest.raises(lt.SinkError, match="stop"):
            x.sink_zarr(tmp_path / "x", mode="resume", **HOW)
    shutil.rmtree(tmp_path / "src")
    lt.asarray(BIG + 1).sink_zarr(tmp_path / "src", chunks=(8, 64, 64))
    with pytest.raises(lt.SinkError, match="what it reads has changed"):
        (lt.scan_zarr(tmp_path / "src") + 1).sink_zarr(tmp_path / "x", mode="resume", **HOW)


def test_what_is_complete_is_left_as_it_is(tmp_path: Path, left: lt.LazyTensor) -> None:
    left.sink_zarr(tmp_path / "x", mode="resume", **HOW)
    (tmp_path / "x" / NOTE).write_bytes(b"{}")  # as if killed at the very end
    before = lt.metrics()["tasks"]
    found = left.sink_zarr(tmp_path / "x", mode="resume", **HOW)
    assert lt.metrics()["tasks"] == before
    np.testing.assert_array_equal(found.collect(), BIG + 1)
    with pytest.raises(lt.SinkExistsError, match=r"something else at .*chunk_grid"):
        left.sink_zarr(tmp_path / "x", mode="resume", chunks=7)
    check(tmp_path, left)


@pytest.mark.parametrize("engine", ["local", "interpret"])
def test_one_is_complete_and_others_are_not(
    tmp_path: Path, stored: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = lt.scan_zarr(stored) + 1
    x.sink_zarr(tmp_path / "x", **HOW)
    x.sum().sink_zarr(tmp_path / "sum")
    before = content(tmp_path)
    counted = Stopping(monkeypatch)
    sinks = [
        x.sink_zarr(tmp_path / "x", mode="resume", chunks=HOW["chunks"], lazy=True),
        x.sum().sink_zarr(tmp_path / "sum", mode="resume", lazy=True),
        x.sink_zarr(tmp_path / "y", mode="resume", chunks=HOW["chunks"], lazy=True),
    ]
    found = lt.collect_all(sinks, engine=engine)
    assert len(counted.keys) == UNITS + 2
    assert int(found[1].collect()) == (BIG + 1).sum()
    after = content(tmp_path)
    assert {key: data for key, data in after.items() if key[0] != "y"} == before
    np.testing.assert_array_equal(found[2].collect(), BIG + 1)


def test_a_note_that_nobody_understands(tmp_path: Path, left: lt.LazyTensor) -> None:
    (begun(tmp_path) / NOTE).write_text(json.dumps({"version": 99}))
    left.sink_zarr(tmp_path / "x", mode="resume", **HOW)
    check(tmp_path, left)


def test_a_dump(tmp_path: Path, stored: Path) -> None:
    x = lt.scan_zarr(stored)
    both = {"a": x + 1, "g/b": x + 2}
    with pytest.MonkeyPatch.context() as patch:
        Stopping(patch, UNITS + 9)
        with pytest.raises(lt.SinkError, match="stop"):
            lt.dump_zarr(both, tmp_path / "x", mode="resume", **HOW)
    with pytest.MonkeyPatch.context() as patch:
        counted = Stopping(patch)
        group = lt.dump_zarr(both, tmp_path / "x", mode="resume", **HOW)
        assert len(counted.keys) < 2 * UNITS
    np.testing.assert_array_equal(group["g/b"].collect(), BIG + 2)
    lt.dump_zarr(both, tmp_path / "y", **HOW)
    assert content(tmp_path / "x") == content(tmp_path / "y")


CHILD = textwrap.dedent(
    """
    import os, sys
    import lazytensor as lt

    source, place = sys.argv[1:]
    one = lt.LocalEngine(threads=1)
    # Everything is imported, and no thread is there, when a child is forked.
    lt.zeros(3).sink_zarr({}, engine=one)
    lt.scan_zarr(source)[:1].sink_zarr(place + ".warm", mode="resume", engine=one)
    for line in sys.stdin:
        threads, mode = line.split()
        child = os.fork()
        if not child:
            x = lt.scan_zarr(source) + 1
            x.sink_zarr(
                place, chunks=(8, 64, 64), mode=mode, compressor="gzip:6",
                engine=lt.LocalEngine(threads=int(threads)),
            )
            os._exit(0)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)
    """
)


class Killed:
    """A process that writes the same array again and again, and is killed now and then."""

    def __init__(self, source: Path, place: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(source), str(place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, threads: int, mode: str, kill_after: float | None = None) -> bool:
        """Whether it came to its end."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{threads} {mode}\n")
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):  # it has come to its end
                os.kill(child, signal.SIGKILL)
        return int(self.process.stdout.readline()) == 0

    def close(self) -> None:
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()


@pytest.fixture
def killed(tmp_path: Path, stored: Path) -> Iterator[Killed]:
    found = Killed(stored, tmp_path / "x")
    yield found
    found.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_killed_at_any_moment(tmp_path: Path, stored: Path, killed: Killed) -> None:
    assert killed.run(1, "create")
    expected = content(tmp_path / "x")
    shutil.rmtree(tmp_path / "x")
    begin = time.perf_counter()
    assert killed.run(1, "create")
    whole = time.perf_counter() - begin
    shutil.rmtree(tmp_path / "x")
    draw = random.Random(0)
    kills = 0
    while kills < KILLS:
        # Some runs are killed again and again, until one has come to its end.
        first = draw.choice(["create", "resume", "overwrite"])
        done = killed.run(draw.choice([1, 2]), first, draw.uniform(0, whole))
        kills += not done
        while not done:
            if (tmp_path / "x").exists():  # published before the kill: it is whole
                assert expected.items() <= content(tmp_path / "x").items()
            if draw.random() < 0.3 and kills < KILLS:
                done = killed.run(draw.choice([1, 2]), "resume", draw.uniform(0, whole))
                kills += not done
            else:
                assert killed.run(2, "resume")
                done = True
        assert content(tmp_path / "x") == expected
        left = [name for name in os.listdir(tmp_path) if name not in ("x", "x.warm")]
        assert not left
        shutil.rmtree(tmp_path / "x")
