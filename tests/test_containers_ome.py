"""OME-Zarr: axes, pyramids, labels, plates; real stores and hand-made bad ones."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazytensor.containers_ome import OmeZarr, open_ome, scan_ome
from lazytensor.errors import (
    FormatError,
    LazyTensorError,
    OutOfBoundsError,
    SerializationError,
    SourceNotFoundError,
)
from lazytensor.io.ome_zarr import from_json
from lazytensor.io.zarr import ZarrSource
from lazytensor.plan.registry import open_source
from lazytensor.plan.spec import Axis
from tests.io.zarr_cases import array_v2, array_v3, group_v3, store


def keep(source: Any) -> Any:
    """The source itself in place of a tensor."""
    return source


def opened(data: Any) -> OmeZarr:
    return open_ome(data, wrap=keep)


def steps(*vectors: list[float]) -> list[dict[str, Any]]:
    kinds = ("scale", "translation")
    return [{"type": k, k: v} for k, v in zip(kinds, vectors, strict=False)]


def multiscale(**changes: Any) -> dict[str, Any]:
    return {
        "name": "cells",
        "axes": [
            {"name": "c", "type": "channel"},
            {"name": "y", "type": "space", "unit": "micrometer"},
            {"name": "x", "type": "space", "unit": "micrometer"},
        ],
        "datasets": [
            {"path": "s0", "coordinateTransformations": steps([1, 0.5, 0.5])},
            {"path": "s1", "coordinateTransformations": steps([1, 1, 1.0], [0, 0.25, 0.25])},
        ],
        **changes,
    }


OMERO = {
    "channels": [
        {
            "label": "DAPI",
            "color": "0000FF",
            "window": {"min": 0, "max": 255, "start": 3, "end": 99},
        },
        {"label": "GFP", "color": "00FF00", "active": False},
    ]
}


def image_v5(image: dict[str, Any] | None = None, **ome: Any) -> dict[str, bytes]:
    image = multiscale() if image is None else image
    ome = {"version": "0.5", "multiscales": [image], "omero": OMERO, **ome}
    names = ["c", "y", "x"]
    return store(
        **{
            "zarr.json": group_v3(attributes={"ome": ome}),
            "s0__zarr.json": array_v3((2, 8, 6), (1, 4, 4), dimension_names=names),
            "s1__zarr.json": array_v3((2, 4, 3), (1, 4, 4), dimension_names=names),
        }
    )


def image_v4(prefix: str = "", **changes: Any) -> dict[str, bytes]:
    attributes = {"multiscales": [multiscale(version="0.4", **changes)], "omero": OMERO}
    return store(
        **{
            f"{prefix}.zgroup": {"zarr_format": 2},
            f"{prefix}.zattrs": attributes,
            f"{prefix}s0__.zarray": array_v2((2, 8, 6), (1, 4, 4)),
            f"{prefix}s1__.zarray": array_v2((2, 4, 3), (1, 4, 4)),
        }
    )


@pytest.mark.parametrize(("data", "version"), [(image_v5(), "0.5"), (image_v4(), "0.4")])
def test_an_image(data: dict[str, bytes], version: str) -> None:
    root = opened(data)
    assert (root.version, len(root), root.plate) == (version, 1, None)
    image = root[0]
    assert (image.name, image.path, len(image), len(image.levels)) == ("cells", "", 2, 2)
    assert [level.spec.shape for level in image] == [(2, 8, 6), (2, 4, 3)]
    assert image[-1] is image.levels[1] and image[0].levels == image.sources
    labels = ("DAPI", "GFP")
    assert (
        image.axes
        == image[0].spec.axes
        == (
            Axis("c", "channel", None, 1.0, 0.0, labels),
            Axis("y", "space", "micrometer", 0.5, 0.0),
            Axis("x", "space", "micrometer", 0.5, 0.0),
        )
    )
    assert image[1].spec.axes[1] == Axis("y", "space", "micrometer", 1.0, 0.25)
    assert image[0].spec.dims == ("c", "y", "x")
    first, second = image.channels
    assert (first.index, first.name, first.color, first.active) == (0, "DAPI", "0000FF", True)
    assert first.window == {"min": 0, "max": 255, "start": 3, "end": 99}
    assert (second.window, second.active) == (None, False)
    assert "multiscales" in image.attrs and "multiscales" in root.attrs
    assert "OmeImage" in repr(image) and "version" in repr(root)
    assert root.images[0][0].key == image[0].key == root[""][0].key


def test_transformations_of_the_whole_image_come_last() -> None:
    image = multiscale(coordinateTransformations=steps([1, 2, 10], [0, 7, -1]))
    axes = opened(image_v5(image))[0][1].spec.axes
    assert [(a.scale, a.offset) for a in axes] == [(1.0, 0.0), (2.0, 7.5), (10.0, 1.5)]


@pytest.mark.parametrize(
    "channels",
    [
        [{"label": "a"}],
        [{"label": "a"}, {"label": "b"}, {"label": "c"}],
        [{}, {"label": 3}],
        "none",
        None,
    ],
)
def test_channels_that_do_not_fit_name_nothing(channels: Any) -> None:
    data = image_v5(omero={"channels": channels})
    assert opened(data)[0].axes[0].labels is None


BAD: list[tuple[dict[str, Any], str]] = [
    ({"axes": []}, "two to five axes"),
    ({"axes": [{"type": "space"}, {"name": "y"}, {"name": "x"}]}, "axes[0]: name"),
    ({"axes": ["c", "y", "x"]}, "axes: expected a list of objects"),
    ({"axes": [{"name": n} for n in "tczyxw"]}, "two to five axes"),
    ({"axes": [{"name": "y"}, {"name": "x"}]}, "2 finite numbers"),
    ({"datasets": []}, "at least one array"),
    ({"datasets": "s0"}, "datasets: expected a list"),
    ({"datasets": [{"coordinateTransformations": steps([1, 1, 1])}]}, "path: expected a string"),
    ({"datasets": [{"path": "s0"}]}, "coordinateTransformations"),
    ({"datasets": [{"path": "s0", "coordinateTransformations": []}]}, "one scale"),
    ({"datasets": [{"path": "s0", "coordinateTransformations": steps([1, 1])}]}, "3 finite"),
    (
        {"datasets": [{"path": "s0", "coordinateTransformations": steps([1, 1, "2"])}]},  # type: ignore[list-item]
        "3 finite numbers",
    ),
    (
        {"datasets": [{"path": "s0", "coordinateTransformations": steps([1, 1, float("nan")])}]},
        "3 finite numbers",
    ),
    (
        {"datasets": [{"path": "s0", "coordinateTransformations": steps([1, 1, 10**400])}]},
        "3 finite numbers",
    ),
    (
        {"datasets": [{"path": "s0", "coordinateTransformations": [{"type": "affine"}]}]},
        "one scale",
    ),
    (
        {"datasets": [{"path": "s9", "coordinateTransformations": steps([1, 1, 1])}]},
        "level 0 ('s9'): there is no array",
    ),
    (
        {"datasets": [{"path": "../x", "coordinateTransformations": steps([1, 1, 1])}]},
        "not allowed",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_bad_images_are_named(changes: dict[str, Any], message: str, version: str) -> None:
    data = image_v4(**changes) if version == "0.4" else image_v5(multiscale(**changes))
    with pytest.raises(LazyTensorError) as caught:
        scan_ome(data, wrap=keep)
    assert message in str(caught.value)
    assert "allowed" in message or isinstance(caught.value, FormatError)
    assert "allowed" in message or "memory/" in str(caught.value)


def test_arrays_that_do_not_fit_the_axes() -> None:
    data = image_v5()
    data["s1/zarr.json"] = json.dumps(array_v3((4, 3), (4, 4))).encode()
    with pytest.raises(FormatError, match=r"level 1 \('s1'\) has 2 dimensions"):
        opened(data)[0][0]
    swapped = array_v3((2, 4, 3), (1, 4, 4), dimension_names=["c", "x", "y"])
    data["s1/zarr.json"] = json.dumps(swapped).encode()
    with pytest.raises(FormatError, match=r"dimensions \('c', 'x', 'y'\)"):
        opened(data)[0][0]


@pytest.mark.parametrize("version", ["0.6", "0.6.dev1", "0.6rc0", "1.0", 7, [1]])
def test_other_versions_are_refused_by_name(version: Any) -> None:
    refused = r"version: OME-Zarr .* is not supported, 0\.1 to 0\.5 are; open_zarr opens"
    with pytest.raises(FormatError, match=refused):
        opened(image_v5(version=version))
    data = image_v4()
    document = json.loads(data[".zattrs"])
    document["multiscales"][0]["version"] = version
    with pytest.raises(FormatError, match=refused):
        opened(data | {".zattrs": json.dumps(document).encode()})


def test_what_is_no_ome_zarr_is_refused() -> None:
    with pytest.raises(FormatError, match="expected OME-Zarr metadata"):
        opened(store(**{"zarr.json": group_v3()}))
    with pytest.raises(FormatError, match="use scan_zarr"):
        opened(store(**{"zarr.json": array_v3((1,), (1,))}))
    with pytest.raises(SourceNotFoundError, match="no zarr group at memory"):
        opened({})
    with pytest.raises(SourceNotFoundError, match="below it there is my_image"):
        opened({f"my_image/{key}": value for key, value in image_v5().items()})
    with pytest.raises(FormatError, match="multiscales: expected at least one image"):
        opened(image_v5(multiscales=[]))
    with pytest.raises(FormatError, match="multiscales: expected a list"):
        opened(image_v5(multiscales={}))


def test_levels_images_and_names_out_of_bounds() -> None:
    root = opened(image_v5())
    for bad in (2, -3):
        with pytest.raises(OutOfBoundsError, match=f"level {bad} does not exist; there are 2"):
            root[0][bad]
    with pytest.raises(OutOfBoundsError, match="image 1"):
        root[1]
    with pytest.raises(KeyError, match="nowhere"):
        root["nowhere"]
    with pytest.raises(FormatError, match="no well 'A/1'"):
        scan_ome(image_v5(), well="A/1", wrap=keep)
    with pytest.raises(KeyError, match="label 'nuclei' does not exist"):
        scan_ome(image_v5(), label="nuclei", wrap=keep)


def labelled() -> dict[str, bytes]:
    axes = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]
    level = {"path": "0", "coordinateTransformations": steps([0.5, 0.5])}
    label = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    return image_v5() | store(
        **{
            "labels__zarr.json": group_v3(attributes={"ome": {"labels": ["nuclei"]}}),
            "labels__nuclei__zarr.json": group_v3(attributes={"ome": {**label, "image-label": {}}}),
            "labels__nuclei__0__zarr.json": array_v3((8, 6), (8, 6), "int8"),
        }
    )


def test_labels() -> None:
    image = opened(labelled())[0]
    assert list(image.labels) == ["nuclei"] and len(image.labels) == 1
    assert image.labels["nuclei"][0].spec.dtype == "int8"
    assert image.labels["nuclei"].path == "labels/nuclei"
    assert scan_ome(labelled(), label="nuclei", wrap=keep).spec.shape == (8, 6)
    assert opened(labelled())["labels/nuclei"][0].spec.shape == (8, 6)
    assert dict(opened(image_v5())[0].labels) == {}
    bad = labelled() | store(**{"labels__zarr.json": group_v3(attributes={"ome": {"labels": [3]}})})
    with pytest.raises(FormatError, match="labels: expected paths"):
        opened(bad)[0].labels


def plate(**changes: Any) -> dict[str, bytes]:
    document = {
        "version": "0.4",
        "name": "p",
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "7"}],
        "wells": [{"path": "B/7", "rowIndex": 1, "columnIndex": 0}],
        "acquisitions": [{"id": 1}],
        **changes,
    }
    fields = [{"path": "0"}, {"path": "1", "acquisition": 1}]
    return (
        store(
            **{
                ".zgroup": {"zarr_format": 2},
                ".zattrs": {"plate": document},
                "B__.zgroup": {"zarr_format": 2},
                "B__7__.zgroup": {"zarr_format": 2},
                "B__7__.zattrs": {"well": {"images": fields, "version": "0.4"}},
            }
        )
        | image_v4("B__7__0__")
        | image_v4("B__7__1__", name="second")
    )


def test_a_plate() -> None:
    root = opened(plate())
    found = root.plate
    assert found is not None and len(root) == 0 and root.images == ()
    assert (found.name, found.rows, found.columns) == ("p", ("A", "B"), ("7",))
    assert found.wells == tuple(found) == ("B/7",) and len(found) == 1
    assert found.acquisitions == ({"id": 1},)
    well = found["B/7"]
    assert len(well) == 2 and well.fields == ("0", "1") and well.acquisitions == (None, 1)
    assert [image.name for image in well] == ["cells", "second"]
    assert well[1].path == "B/7/1" and well[1][0].spec.shape == (2, 8, 6)
    assert scan_ome(plate(), well="B/7", field=1, level=1, wrap=keep).spec.shape == (2, 4, 3)
    assert root["B/7/1"].name == "second"
    with pytest.raises(OutOfBoundsError, match="field 2"):
        well[2]
    with pytest.raises(KeyError, match="well 'A/1' does not exist; there is B/7"):
        found["A/1"]
    with pytest.raises(FormatError, match=r"is a plate: name a well= \(there is B/7\)"):
        scan_ome(plate(), wrap=keep)
    with pytest.raises(
        FormatError, match=r"is a plate: .*open_ome_zarr\(...\).plate\[well\]\[field\]"
    ):
        root[0]
    with pytest.raises(FormatError, match=r"'B/7' is a well, use plate\['B/7'\]\[field\]"):
        root["B/7"]
    assert scan_ome(plate(), "B/7/1", wrap=keep).spec.shape == (2, 8, 6)
    with pytest.raises(SourceNotFoundError, match="no image group at 'B/9/0'"):
        scan_ome(plate(), "B/9/0", wrap=keep)
    assert scan_ome(plate(), well="B/7", field=np.int64(-1), wrap=keep).spec.shape == (2, 8, 6)
    with pytest.raises(TypeError, match="field is chosen by its number, not by str"):
        scan_ome(plate(), well="B/7", field="0", wrap=keep)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes", [{"rows": 3}, {"columns": [{}]}, {"wells": [{"path": 3}]}, {"wells": None}]
)
def test_bad_plates_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=f"plate: {next(iter(changes))}"):
        opened(plate(**changes)).plate


def test_a_well_alone() -> None:
    data = {k.removeprefix("B/7/"): v for k, v in plate().items() if k.startswith("B/7/")}
    root = opened(data)
    assert len(root) == 2 and root[1].name == "second"


@pytest.mark.parametrize("listed", [True, False])
def test_a_collection_of_images(listed: bool) -> None:
    order = ["1", "0"] if listed else ["0", "1"]
    data = store(**{".zgroup": {"zarr_format": 2}, ".zattrs": {"bioformats2raw.layout": 3}})
    data |= image_v4("0__", name="0") | image_v4("1__", name="1")
    if listed:
        data |= store(**{"OME__.zgroup": {"zarr_format": 2}, "OME__.zattrs": {"series": order}})
    root = opened(data)
    assert [image.name for image in root] == order
    assert scan_ome(data, 1, wrap=keep).spec.shape == (2, 8, 6)


def test_several_images_in_one_group() -> None:
    second = copy.deepcopy(multiscale(name="second"))
    second["datasets"].pop()
    root = opened(image_v5(multiscales=[multiscale(), second]))
    assert [len(image) for image in root] == [2, 1]


def test_json_round_trip(tmp_path: Path) -> None:
    for key, data in plate().items():
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    source = scan_ome(tmp_path, well="B/7", level=1, wrap=keep)
    document = json.loads(json.dumps(source.to_json()))
    again = open_source(document)
    assert (
        isinstance(again, ZarrSource)
        and again.key == source.key
        and again.spec.axes == source.spec.axes
    )
    assert len(again.levels) == 2
    for broken in ({"uri": 3}, {**document, "level": 5}, {**document, "image": "0"}):
        with pytest.raises(SerializationError):
            from_json(broken)


def test_real_sharded_image(data_root: Path) -> None:
    root = opened(data_root / "idr0062A_6001240_z100-139.zarr")
    image = root[0]
    assert (root.version, len(image)) == ("0.5", 3)
    assert [axis.name for axis in image.axes] == list("czyx")
    assert image.axes[0].labels == ("LaminB1", "Dapi")
    assert image.axes[1].unit == "micrometer" and image.axes[2].scale == 0.3603981534640209
    assert image[0].storage.shards == (1, 10, 512, 512) and image[0].spec.chunks == (1, 1, 256, 256)
    assert len(image.labels["0"]) == 4 and image.labels["0"][3].spec.shape == (1, 40, 34, 33)


def test_real_plate(data_root: Path) -> None:
    found = opened(data_root / "nf1_plate_ngff04.zarr").plate
    assert found is not None and found.wells == ("B/7", "D/6")
    image = found["B/7"][0]
    assert image.axes[0].labels == ("DAPI", "GFP", "RFP")
    assert [level.spec.axes[2].offset for level in image] == [
        0.0,
        0.25196850393700787,
        0.7619047619047619,
    ]
    assert image.labels["thr"][2].spec.shape == (64, 63)


def test_examples_of_the_specification(data_root: Path) -> None:
    examples = data_root / "ome-zarr-examples-v04"
    for path in sorted(examples.glob("valid/*")) + sorted(examples.glob("warning/*")):
        root = opened(path)
        assert root.plate or [image[0].spec.ndim for image in root]
    for path in sorted(examples.glob("invalid/*")):
        with pytest.raises(FormatError):
            scan_ome(path, wrap=keep)
