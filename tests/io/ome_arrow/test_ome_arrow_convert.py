"""From one format to another and back: what an image means is kept as far as each has a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.sample import write_sample
from tests.io.tenso.packets import distinct, same
from tests.sources import ChunkedArray

ENCODINGS = ["chunks", "bytes", "list"]
AXES = (
    lt.Axis("t", "time", "second", 2.5, 10.0),
    lt.Axis("c", "channel", labels=("DNA", "ER", "RNA")),
    lt.Axis("z", "space", "micrometer", 0.3, -1.5),
    lt.Axis("y", "space", "micrometer", 0.1, 4.0),
    lt.Axis("x", "space", "nanometer", 100.0),
)


class Described(ChunkedArray):
    """A source that says all that a source can say."""

    attrs = {  # type: ignore[assignment]  # noqa: RUF012
        "acquisition_datetime": "2024-02-29T12:30:45.123456",
        "objective": {"magnification": 63, "oil": True},
    }


def described(dtype: Any = "u2") -> lt.LazyTensor:
    values = distinct(dtype, (2, 3, 4, 9, 8))
    return lt.scan_source(
        Described(values, (1, 1, 2, 5, 8), dims="tczyx", axes=AXES, origin=(5, 0, -3, 7, 1 << 40))
    )


def meaning(x: lt.LazyTensor) -> Any:
    """What an image means: its axes, where it lies, its attributes but for what names it."""
    own = ("id", "name", "image_type", "channels")
    return x.axes, x.origin, {key: x.attrs[key] for key in x.attrs if key not in own}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The sample as OME-Zarr."""
    return lt.open_ome_zarr(write_sample(tmp_path_factory.mktemp("sample") / "image.zarr"))[0]


class TestDatasets:
    def test_all_of_it_is_kept(self, tmp_path: Path) -> None:
        x = described("f4")
        found = x.sink_ome_arrow(tmp_path / "x", image_type="label", name="mine")[0]
        assert meaning(found) == meaning(x)
        assert same(found.collect(), x.collect())
        assert (found.attrs["image_type"], found.attrs["name"]) == ("label", "mine")

    def test_and_of_a_part_of_it(self, tmp_path: Path) -> None:
        x = described()[:, ::2, 1:, 2:-1, ::-1]
        found = x.sink_ome_arrow(tmp_path / "x")[0]
        assert (found.axes, found.origin) == (x.axes, x.origin)
        assert found.axes[1].labels == ("DNA", "RNA")
        assert found.axes[4].scale == -100.0
        assert same(found.collect(), x.collect())

    def test_through_tenso_and_back(self, tmp_path: Path) -> None:
        x = described()
        first = x.sink_ome_arrow(tmp_path / "a", channels=["DNA", "ER", "RNA"])[0]
        tenso = first.sink_tenso(tmp_path / "b", chunks="auto")
        assert meaning(tenso) == meaning(x)
        again = tenso.sink_ome_arrow(tmp_path / "c")[0]
        assert meaning(again) == meaning(x)
        assert dict(again.attrs) == dict(first.attrs)
        assert same(again.collect(), x.collect())

    def test_images_that_are_added_keep_what_the_others_have(self, tmp_path: Path) -> None:
        x, y = described(), described("i8")[:, :1, :, 3:]
        x.sink_ome_arrow(tmp_path / "x")
        table = y.sink_ome_arrow(tmp_path / "x", mode="append")
        assert meaning(table[0]) == meaning(x)
        assert (table[1].axes, table[1].origin) == (y.axes, y.origin)

    def test_many_images_share_what_they_mean(self, tmp_path: Path) -> None:
        x = described()
        crops = lt.stack([x[:, :, :, n : n + 4] for n in range(3)], axis="row")
        table = crops.sink_ome_arrow(tmp_path / "x")
        assert all(one.axes == crops.axes[1:] for one in table)


class TestRows:
    @pytest.mark.parametrize("encoding", ["bytes", "list"])
    def test_what_a_row_has_a_place_for_is_kept(self, tmp_path: Path, encoding: Any) -> None:
        x = described()
        found = x.sink_ome_arrow(tmp_path / "x", encoding=encoding)[0]
        kept = [(axis.kind, axis.unit, axis.scale) for axis in found.axes[2:]]
        assert kept == [(axis.kind, axis.unit, axis.scale) for axis in AXES[2:]]
        assert found.axes[1].labels == AXES[1].labels
        assert found.attrs["acquisition_datetime"] == x.attrs["acquisition_datetime"]
        assert same(found.collect(), x.collect())

    def test_a_moment_elsewhere_is_that_moment_in_greenwich(self, tmp_path: Path) -> None:
        class Elsewhere(Described):
            attrs = {"acquisition_datetime": "2024-02-29T23:30:00+02:00"}  # type: ignore[assignment]  # noqa: RUF012

        x = lt.scan_source(Elsewhere(np.zeros((2, 3), "u1"), (2, 3), dims="yx"))
        found = x.sink_ome_arrow(tmp_path / "x", encoding="bytes")[0]
        assert found.attrs["acquisition_datetime"] == "2024-02-29T21:30:00"

    @pytest.mark.parametrize("first", ENCODINGS)
    @pytest.mark.parametrize("second", ENCODINGS)
    def test_from_one_layout_to_another(self, tmp_path: Path, first: Any, second: Any) -> None:
        x = described()
        options = {"image_id": "one", "name": "first", "image_type": "image"}
        one = x.sink_ome_arrow(tmp_path / "a", encoding=first, **options)[0]
        two = one.sink_ome_arrow(tmp_path / "b", encoding=second)[0]
        assert same(two.collect(), x.collect())
        assert {key: two.attrs[key] for key in ("id", "name", "image_type", "channels")} == {
            key: one.attrs[key] for key in ("id", "name", "image_type", "channels")
        }
        for before, after in zip(x.axes[1:], two.axes[1:], strict=True):
            assert (before.unit, before.scale, before.labels) == (
                after.unit, after.scale, after.labels,
            )  # fmt: skip


class TestOmeZarr:
    @pytest.mark.parametrize("encoding", ENCODINGS)
    @pytest.mark.parametrize("level", [0, 2])
    def test_channels_and_sizes_are_kept(
        self, tmp_path: Path, image: Any, encoding: Any, level: int
    ) -> None:
        x = image[level]
        found = x.sink_ome_arrow(tmp_path / "x", encoding=encoding, channels=image.channels)[0]
        assert same(found.collect()[0], x.collect())
        assert found.axes[1].labels == ("nuclei", "spots")
        colors = [channel["color_rgba"] for channel in found.attrs["channels"]]
        assert colors == [0x00A0FFFF, 0xFFB000FF]
        for before, after in zip(x.axes[1:], found.axes[2:], strict=True):
            assert (before.name, before.kind, before.unit) == (after.name, after.kind, after.unit)
            assert before.scale == after.scale
        tenso = found.sink_tenso(tmp_path / "t", chunks="auto")
        again = tenso.sink_ome_arrow(tmp_path / "y")[0]
        assert again.axes == found.axes
        assert again.attrs["channels"] == found.attrs["channels"]
        assert same(again.collect(), found.collect())

    def test_one_channel_of_several(self, tmp_path: Path, image: Any) -> None:
        table = image[1].sink_ome_arrow(tmp_path / "x", channels=image.channels)
        found = table[0][:, 1:].sink_ome_arrow(tmp_path / "y", encoding="bytes")[0]
        (channel,) = found.attrs["channels"]
        assert (channel["name"], channel["color_rgba"]) == ("spots", 0xFFB000FF)


class TestChannels:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (["A", "B"], [("A", None), ("B", None)]),
            ([{"name": "A", "color": "ff0000"}, "B"], [("A", 0xFF0000FF), ("B", None)]),
            ([{"color": "#0000FF80"}, {"color": (1, 2, 3)}], [(None, 0xFF80), (None, 0x10203FF)]),
            ([{"color_rgba": 5}, {"color": [0, 0, 0, 1]}], [(None, 5), (None, 1)]),
        ],
    )  # fmt: skip
    def test_in_every_spelling(self, tmp_path: Path, given: Any, expected: Any) -> None:
        x = lt.asarray(np.zeros((2, 3, 4), "u1"), dims=("c", "y", "x"))
        for encoding in ENCODINGS:
            found = x.sink_ome_arrow(tmp_path / encoding, encoding=encoding, channels=given)[0]
            channels = found.attrs["channels"]
            assert [(one["name"], one["color_rgba"]) for one in channels] == expected
            assert [one["id"] for one in channels] == ["ch-0", "ch-1"]

    def test_all_fields(self, tmp_path: Path) -> None:
        x = lt.asarray(np.zeros((1, 3, 4), "u1"), dims=("c", "y", "x"))
        given = {
            "id": "Channel:0:0", "name": "GFP", "emission_um": 0.509, "excitation_um": 0.488,
            "illumination": "Epifluorescence", "color_rgba": 0x00FF00FF,
        }  # fmt: skip
        for encoding in ENCODINGS:
            found = x.sink_ome_arrow(tmp_path / encoding, encoding=encoding, channels=[given])[0]
            assert found.attrs["channels"] == [given]

    @pytest.mark.parametrize(
        ("given", "error", "match"),
        [
            (["A"], lt.DimensionError, "names 1 channels, the tensor has 2"),
            ("AB", TypeError, "a sequence of names"),
            ({"name": "A"}, TypeError, "a sequence of names"),
            ([1, 2], TypeError, "a name, a mapping or an object"),
            ([{"label": "A"}, "B"], ValueError, "unknown key 'label'"),
            ([{"color": "red"}, "B"], ValueError, "a colour is 'RRGGBB'"),
            ([{"color": (1, 2, 256)}, "B"], ValueError, "a colour is 'RRGGBB'"),
        ],
    )
    def test_what_are_none(self, tmp_path: Path, given: Any, error: Any, match: str) -> None:
        x = lt.asarray(np.zeros((2, 3, 4), "u1"), dims=("c", "y", "x"))
        with pytest.raises(error, match=match):
            x.sink_ome_arrow(tmp_path / "x", channels=given)
