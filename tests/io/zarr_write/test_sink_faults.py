"""What zarr sinks leave when something goes wrong: what was there before, and nothing else."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.io import staging
from tests.io.zarr_write.test_sink_results import VALUES, content, files, source
from tests.sources import ChunkedArray


class Broken(ChunkedArray):
    """A source that fails when a certain element is read."""

    wrong: Any = lt.SourceError("the disk is gone")

    def read_into(self, box: Any, out: np.ndarray) -> None:
        if box[0][1] > 8:
            raise self.wrong
        super().read_into(box, out)


def stored(folder: Path, values: np.ndarray = VALUES, chunks: Any = 4) -> lt.LazyTensor:
    """An array whose plans have a digest that other processes find too."""
    return lt.asarray(values).sink_zarr(folder, chunks=chunks, compressor=None)


class TestModes:
    def test_create_refuses_what_is_there(self, tmp_path: Path) -> None:
        x = source()
        x.sink_zarr(tmp_path / "x", "a")
        before = content(tmp_path)
        for path in ("a", ""):
            with pytest.raises(lt.SinkExistsError, match="something at"):
                (x + 1).sink_zarr(tmp_path / "x", path)
        (tmp_path / "file").write_text("mine")
        for mode in ("create", "overwrite", "resume"):
            with pytest.raises(lt.SinkExistsError):
                x.sink_zarr(tmp_path / "file", mode=mode)  # type: ignore[arg-type]
        (tmp_path / "file").unlink()
        assert content(tmp_path) == before

    def test_overwrite_replaces_arrays_and_nothing_else(self, tmp_path: Path) -> None:
        x = source()
        x.sink_zarr(tmp_path / "x", "a", zarr_format=2)
        x.sink_zarr(tmp_path / "x", "b", zarr_format=2)
        found = (x + 1).sink_zarr(tmp_path / "x", "a", zarr_format=2, mode="overwrite")
        np.testing.assert_array_equal(found.collect(), VALUES + 1)
        with pytest.raises(lt.SinkExistsError, match="a group, and not an array"):
            x.sink_zarr(tmp_path / "x", mode="overwrite")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "notes").write_text("text")
        with pytest.raises(lt.SinkExistsError, match="no zarr array"):
            x.sink_zarr(tmp_path / "mine", mode="overwrite")
        assert set(lt.open_zarr(tmp_path / "x")) == {"a", "b"}

    def test_an_empty_folder_is_nothing(self, tmp_path: Path) -> None:
        for mode in ("create", "overwrite", "resume"):
            (tmp_path / mode).mkdir()
            found = source().sink_zarr(tmp_path / mode, mode=mode)  # type: ignore[arg-type]
            np.testing.assert_array_equal(found.collect(), VALUES)

    def test_groups_around(self, tmp_path: Path) -> None:
        x = source()
        x.sink_zarr(tmp_path / "x", "a/b/c")
        assert {"zarr.json", "a/zarr.json", "a/b/zarr.json"} <= set(files(tmp_path / "x"))
        with pytest.raises(lt.SinkError, match="is an array, and has none in it"):
            x.sink_zarr(tmp_path / "x", "a/b/c/d")
        with pytest.raises(lt.SinkError, match="zarr_format=3"):
            x.sink_zarr(tmp_path / "x", "a/z", zarr_format=2)

    def test_consolidated_metadata_of_the_store(self, tmp_path: Path) -> None:
        for zarr_format in (2, 3):
            place = tmp_path / str(zarr_format)
            source().sink_zarr(place, "a/b", zarr_format=zarr_format)
            source().sink_zarr(place, "c", zarr_format=zarr_format, consolidated=True)
            group = lt.open_zarr(place, consolidated=True)
            assert set(group) == {"a", "c"} and list(group["a"]) == ["b"]
            np.testing.assert_array_equal(group["a/b"].collect(), VALUES)
        with pytest.raises(ValueError, match="array in a group"):
            source().sink_zarr(tmp_path / "x", consolidated=True)


class TestFailures:
    @pytest.mark.parametrize("mode", ["create", "overwrite", "resume"])
    def test_a_source_that_fails_in_the_middle(self, tmp_path: Path, mode: Any) -> None:
        if mode == "overwrite":
            stored(tmp_path / "x")
        before = content(tmp_path)
        with pytest.raises(lt.SourceError, match="the disk is gone"):
            lt.scan_source(Broken(VALUES, (4, 4, 4))).sink_zarr(
                tmp_path / "x", chunks=4, mode=mode, engine=lt.LocalEngine(max_memory=1 << 20)
            )
        if mode != "resume":
            assert content(tmp_path) == before

    def test_nothing_is_left_of_groups_that_were_made(self, tmp_path: Path) -> None:
        broken = lt.scan_source(Broken(VALUES, (4, 4, 4)))
        with pytest.raises(lt.SourceError):
            broken.sink_zarr(tmp_path / "new" / "x", "a/b")
        assert os.listdir(tmp_path) == []
        source().sink_zarr(tmp_path / "x", "a")
        before = content(tmp_path)
        with pytest.raises(lt.SourceError):
            broken.sink_zarr(tmp_path / "x", "g/h/b")
        assert content(tmp_path) == before

    def test_ctrl_c(self, tmp_path: Path) -> None:
        broken = Broken(VALUES, (4, 4, 4))
        broken.wrong = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            lt.scan_source(broken).sink_zarr(tmp_path / "x", chunks=4)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("at", [1, 5, 30])
    def test_a_disk_that_is_full(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
    ) -> None:
        stored(tmp_path / "x", VALUES)
        before = content(tmp_path)
        calls = iter(range(1, 1000))
        write = staging.write_all

        def full(fd: int, parts: Sequence[Any], place: int | None = None) -> int:
            if next(calls) >= at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(fd, parts, place)

        monkeypatch.setattr(staging, "write_all", full)
        with pytest.raises(lt.SinkError, match="No space left") as caught:
            (source() + 1).sink_zarr(tmp_path / "x", chunks=4, mode="overwrite")
        assert caught.value.errno == errno.ENOSPC
        assert at == 1 or "key 'c/" in str(caught.value)
        assert content(tmp_path) == before

    def test_all_units_that_failed_are_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        together = threading.Barrier(2, timeout=20)

        def fails(self: Any, key: str, parts: Any) -> None:
            if key.startswith("c/"):
                together.wait()
                raise lt.SinkError(f"key {key!r}: gone")
            put(self, key, parts)

        put = staging.StagedFolder.put
        monkeypatch.setattr(staging.StagedFolder, "put", fails)
        values = np.ones((2, 1 << 20), "u1")
        with pytest.raises(lt.SinkError, match="key 'c/") as caught:
            source(values, (1, 1 << 20)).sink_zarr(
                tmp_path / "x", chunks=(1, 1 << 20), engine=lt.LocalEngine(threads=2)
            )
        assert any("not written: c/0/0, c/1/0" in note for note in caught.value.__notes__)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_folder_that_may_not_be_written_to(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(lt.SinkError, match="Permission denied"):
            source().sink_zarr(tmp_path / "x")
        tmp_path.chmod(0o700)
        assert os.listdir(tmp_path) == []

    def test_two_sinks_on_one_path(self, tmp_path: Path) -> None:
        """The second one to end finds the place taken, and the first one's array is whole."""
        begun, ended = threading.Event(), threading.Event()

        def slow(box: Any, out: np.ndarray) -> None:
            begun.set()
            assert ended.wait(20)

        slow_source = ChunkedArray(VALUES, (20, 13, 7))
        slow_source.read_into = slow  # type: ignore[method-assign]
        errors: list[BaseException] = []

        def run() -> None:
            try:
                lt.scan_source(slow_source).sink_zarr(tmp_path / "x")
            except lt.SinkError as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        assert begun.wait(20)
        with pytest.raises(lt.SinkError, match="somebody else is writing it"):
            source().sink_zarr(tmp_path / "x", mode="resume")
        source().sink_zarr(tmp_path / "x")
        ended.set()
        thread.join(20)
        assert isinstance(errors[0], lt.SinkExistsError)
        assert os.listdir(tmp_path) == ["x"]
        np.testing.assert_array_equal(lt.scan_zarr(tmp_path / "x").collect(), VALUES)

    def test_sinks_into_one_new_store_at_once(self, tmp_path: Path) -> None:
        names = [f"g/{n}" for n in range(8)]
        threads = [
            threading.Thread(target=lambda name=name: source().sink_zarr(tmp_path / "x", name))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        group = lt.open_zarr(tmp_path / "x")["g"]
        assert sorted(f"g/{name}" for name in group) == names
        for name in group:
            np.testing.assert_array_equal(group[name].collect(), VALUES)
