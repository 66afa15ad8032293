"""What a user runs into who adds to his tables and folders, and looks at what he has read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lazytensor as lt

SIZES = {f"size_{d}": n for d, n in zip("tczyx", (1, 1, 1, 2, 3), strict=True)}


def image(seed: int = 0) -> lt.LazyTensor:
    values = np.random.default_rng(seed).integers(0, 1 << 16, (1, 1, 1, 2, 3), np.uint16)
    return lt.asarray(values, dims="tczyx")


def record(number: int = 0) -> dict[str, Any]:
    channels = [{"id": "ch-0", "name": "DNA"}]
    planes = [{"t": 0, "c": 0, "z": 0, "pixels": [number] * 6}]
    return {
        "type": "ome.arrow",
        "id": f"image {number}",
        "pixels_meta": {"type": "uint8", **SIZES, "channels": channels},
        "planes": planes,
    }


class TestFoldersThatAreAddedTo:
    def folder(self, tmp_path: Path) -> Path:
        path = tmp_path / "x.ome-arrow"
        image().sink_ome_arrow(path)
        (path / "README.txt").write_text("how these were made")
        (path / "masks" / "old").mkdir(parents=True)
        (path / "masks" / "old" / "a.bin").write_bytes(b"abc")
        (path / "link").symlink_to("README.txt")
        return path

    def test_keep_what_else_is_in_them(self, tmp_path: Path) -> None:
        path = self.folder(tmp_path)
        table = image(1).sink_ome_arrow(path, mode="append")
        assert [np.array_equal(table[n].collect(), image(n).collect()) for n in (0, 1)] == [
            True
        ] * 2
        assert (path / "README.txt").read_text() == "how these were made"
        assert (path / "masks" / "old" / "a.bin").read_bytes() == b"abc"
        assert os.readlink(path / "link") == "README.txt"
        assert [name for name in os.listdir(tmp_path) if name != path.name] == []

    def test_keep_it_where_there_are_no_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def link(*args: Any, **options: Any) -> None:
            raise PermissionError("no links here")

        path = self.folder(tmp_path)
        monkeypatch.setattr(os, "link", link)
        image(1).sink_ome_arrow(path, mode="append")
        assert (path / "masks" / "old" / "a.bin").read_bytes() == b"abc"
        assert len(lt.open_ome_arrow(path)) == 2

    def test_are_what_they_were_where_that_fails(self, tmp_path: Path) -> None:
        path = self.folder(tmp_path)

        def fail(block: np.ndarray) -> np.ndarray:
            raise RuntimeError("on the way")

        before = sorted(os.listdir(path))
        with pytest.raises(RuntimeError, match="on the way"):
            lt.map_blocks(fail, image(1), dtype="u2").sink_ome_arrow(path, mode="append")
        assert sorted(os.listdir(path)) == before
        assert (path / "masks" / "old" / "a.bin").read_bytes() == b"abc"


class TestTablesThatAreAddedTo:
    @pytest.mark.parametrize("encoding", ["bytes", "list"])
    def test_have_no_id_twice(self, tmp_path: Path, encoding: Any) -> None:
        path = tmp_path / "x.parquet"
        image().sink_ome_arrow(path, encoding=encoding, image_id="a")
        with pytest.raises(lt.SinkExistsError, match="there is an image 'a' already"):
            image(1).sink_ome_arrow(path, encoding=encoding, image_id="a", mode="append")
        found = image(2).sink_ome_arrow(path, encoding=encoding, image_id="b", mode="append")
        assert len(found) == 2
        assert np.array_equal(lt.scan_ome_arrow(path, image_id="b").collect(), image(2).collect())

    def test_may_have_columns_that_take_no_nulls(self, tmp_path: Path) -> None:
        path = tmp_path / "x.parquet"
        image().sink_ome_arrow(path, encoding="bytes")
        table = pq.read_table(path)
        well = pa.field("well", pa.string(), nullable=False)
        pq.write_table(table.append_column(well, pa.array(["A01"])), path)
        before = path.read_bytes()
        with pytest.raises(lt.SinkError, match=r"column 'well'.*no nulls"):
            image(1).sink_ome_arrow(path, encoding="bytes", mode="append")
        assert path.read_bytes() == before


def test_ids_are_text() -> None:
    with pytest.raises(TypeError, match="image_id is text, or a sequence of texts, and not 5"):
        image().sink_ome_arrow("nowhere", image_id=5)


class TestAttributes:
    def test_of_one_image_are_not_those_of_another(self) -> None:
        table = lt.open_ome_arrow(pa.table({"ome_arrow": [record(0), record(1)]}))
        first, second = table[0], table[1]
        first.attrs["channels"][0]["name"] = "changed"
        assert [x.attrs["channels"][0]["name"] for x in (first, second, table[0])] == ["DNA"] * 3


@pytest.mark.parametrize("prefetch", [0, 2])
def test_errors_of_tiles_say_where_the_image_was_built(prefetch: int) -> None:
    spoilt = record()
    spoilt["planes"][0]["pixels"] = [1, 2]
    tiles = lt.ome.iter_tiles(lt.scan_ome_arrow(spoilt), (9, 9), prefetch=prefetch)
    with pytest.raises(
        lt.FormatError, match=rf"(?s)expected 6 values.*built at .*{Path(__file__).name}"
    ):
        next(tiles)
    assert list(tiles) == []


class TestPiecesThatAreReadAlone:
    """Of an Arrow IPC file without compression: a plane of it takes no more than that plane."""

    @pytest.fixture
    def planes(self, tmp_path: Path) -> Path:
        """Two images of 8 planes of 64 KiB in one record batch."""
        planes = [{"t": 0, "c": 0, "z": z, "pixels": np.full(1 << 15, z)} for z in range(8)]
        sizes = {**SIZES, "size_z": 8, "size_y": 128, "size_x": 256}
        one = {**record(), "pixels_meta": {"type": "uint16", **sizes}, "planes": planes}
        struct = pa.struct([("t", pa.int32()), ("c", pa.int16()), ("z", pa.int32()),
                            ("pixels", pa.list_(pa.uint16()))])  # fmt: skip
        meta = pa.struct([("type", pa.string()), *((name, pa.int32()) for name in sizes)])
        kind = pa.struct([("pixels_meta", meta), ("planes", pa.list_(struct))])
        path = tmp_path / "x.arrow"
        table = pa.table({"image": pa.array([one, one], kind)})
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
        return path

    def test_take_memory_of_their_own(self, planes: Path) -> None:
        plane = lt.scan_ome_arrow(planes, row=1)[0, 0, 5]
        with lt.Config(max_memory="200KiB"):
            assert plane.estimate().peak_memory < 200 << 10
            assert (plane.collect() == 5).all()

    def test_take_bytes_of_their_own_every_time(self, planes: Path) -> None:
        x = lt.scan_ome_arrow(planes, row=1)
        for _ in range(2):
            found = [x[0, 0, z].estimate(exact=True).bytes_read for z in (2, slice(2, 7))]
            assert found == [1 << 16, 5 << 16]
            lt.metrics(reset=True)
            x[0, 0, 2].collect()
        assert lt.metrics()["bytes_read"] == 1 << 16
        stack = lt.open_ome_arrow(planes).stack()
        assert stack[:, 0, 0, ::2].estimate(exact=True).bytes_read == 8 << 16

    def test_are_all_of_a_mapped_file(self, planes: Path) -> None:
        x = lt.scan_ome_arrow(planes, row=1, mmap=True)
        assert x.estimate(exact=True).bytes_read == 0
