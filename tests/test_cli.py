"""The command line, the demo and its sample image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.cli import main
from lazytensor.demo import project, run, side_by_side
from lazytensor.sample import write_sample

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's image."""
    return write_sample(tmp_path_factory.mktemp("image") / "sample.zarr")


def write_ome(
    root: Path, values: np.ndarray, axes: list[dict[str, str]], chunks: tuple[int, ...]
) -> str:
    """An OME-Zarr 0.4 image written by zarr-python."""
    import zarr

    group = zarr.open_group(root, mode="w", zarr_format=2)
    array = group.create_array("0", shape=values.shape, dtype=values.dtype, chunks=chunks)
    array[...] = values
    scale = {"type": "scale", "scale": [1.0] * values.ndim}
    dataset = {"path": "0", "coordinateTransformations": [scale]}
    multiscale = {"version": "0.4", "axes": axes, "datasets": [dataset]}
    group.attrs["multiscales"] = [multiscale]
    return str(root)


AXES = {
    "t": {"name": "t", "type": "time"},
    "c": {"name": "c", "type": "channel"},
    "z": {"name": "z", "type": "space"},
    "y": {"name": "y", "type": "space"},
    "x": {"name": "x", "type": "space"},
}


def ok(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Output of a command that succeeds and says nothing on standard error."""
    assert main(argv) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line of a command that ends with exit code 2 and prints nothing else."""
    try:
        code: Any = main(argv)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    return captured.err


# --- the sample ---------------------------------------------------------------------------------


def test_sample_is_an_image_that_zarr_reads(sample: Path) -> None:
    import zarr

    group = zarr.open_group(sample, mode="r")
    full = group["0"]
    assert isinstance(full, zarr.Array)
    assert full.shape == (2, 8, 256, 320)
    assert 0 < full.nchunks_initialized < full.nchunks, "some chunks are left out"
    values = np.asarray(full[...])
    half = np.asarray(group["1"][...])  # type: ignore[index]
    assert half.shape == (2, 8, 128, 160)
    blocks = values.reshape(2, 8, 128, 2, 160, 2).mean(axis=(3, 5))
    np.testing.assert_array_equal(half, np.rint(blocks))


def test_sample_metadata(sample: Path) -> None:
    image = lt.open_ome_zarr(sample)[0]
    assert [channel.name for channel in image.channels] == ["nuclei", "spots"]
    assert [level.shape[2:] for level in image.levels] == [(256, 320), (128, 160), (64, 80)]
    axis = image.levels[1].axes[3]
    assert (axis.name, axis.unit, axis.scale, axis.offset) == ("x", "micrometer", 0.5, 0.125)


# --- the demo -----------------------------------------------------------------------------------


def test_demo_prints_and_writes_a_picture(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ok(capsys, "demo", str(sample), "--out", str(tmp_path))
    for expected in ("plan", "reads", "projection  (2, 256, 320) uint16", "min 0, mean ", "bytes"):
        assert expected in out
    path = tmp_path / "picture.png"
    assert str(path) in out

    from PIL import Image

    with Image.open(path) as opened:
        pixels = np.asarray(opened)
    assert pixels.shape == (128, 2 * 160 + 4, 3)
    assert pixels[:, 160:164].max() == 0, "the gap between the panels is a hole"
    assert pixels[:, :160].max() > 200
    assert pixels[:, 164:].max() > 200


def test_demo_makes_its_own_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run(None, tmp_path)
    assert path.is_file()
    assert (tmp_path / "sample.zarr" / "zarr.json").is_file()
    assert "picture" in capsys.readouterr().out


def test_demo_reads_each_stored_chunk_once(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = sum(path.stat().st_size for path in (sample / "0" / "c").rglob("*") if path.is_file())
    run(str(sample), tmp_path)
    line = next(text for text in capsys.readouterr().out.splitlines() if text.startswith("read "))
    read = int(line.split()[1].replace(",", ""))
    # The range of a channel must be known before it is applied: twice, but never once a consumer.
    assert stored <= read <= 2 * stored


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        ("yx", (20, 30)),
        ("cyx", (3, 20, 30)),
        ("zyx", (4, 20, 30)),
        ("tzyx", (2, 4, 20, 30)),
        ("tczyx", (3, 2, 4, 5, 7)),
        ("zyx", (1, 1, 1)),
    ],
)
def test_project_takes_two_to_five_axes(names: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)[..., ::-1]
    chunks = tuple(min(4, extent) for extent in shape)
    store = write_ome(tmp_path / "image.zarr", values, [AXES[name] for name in names], chunks)
    expected = values
    if "t" in names:
        expected = expected[shape[0] // 2]
    if "z" in names:
        expected = expected.max(axis=names.replace("t", "").index("z"))
    expected = expected if "c" in names else expected[None]
    planes, _ = project(lt.scan_ome_zarr(store))
    np.testing.assert_array_equal(planes.collect(), expected)
    assert run(store, tmp_path).is_file()


def test_side_by_side_values() -> None:
    values = np.arange(2 * 6 * 8, dtype=np.uint8).reshape(2, 6, 8)
    picture = side_by_side(lt.asarray(values, dims=("c", "y", "x"))).collect()
    scaled = values.astype(np.float32) - values.min(axis=(1, 2), keepdims=True)
    bright = np.sqrt(scaled / (values.max(axis=(1, 2)) - values.min(axis=(1, 2)))[:, None, None])
    whole = bright.reshape(2, 3, 2, 4, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(picture[:, :, :4], whole, rtol=1e-5)
    assert not picture[:, :, 4:8].any()
    np.testing.assert_allclose(picture[:, :, 8:], bright[:, 1:4, 2:6], rtol=1e-5)


def test_a_flat_channel_is_black() -> None:
    picture = side_by_side(lt.asarray(np.full((1, 4, 4), 7, np.uint16))).collect()
    assert picture.max() == 0


def test_demo_on_a_real_image(
    data_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ok(
        capsys, "demo", str(data_root / "idr0062A_6001240_z100-139.zarr"), "--out", str(tmp_path)
    )
    assert "picture" in out


# --- info and explain ---------------------------------------------------------------------------


def test_info(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ok(capsys, "info", str(sample / "0"))
    for expected in ("(2, 8, 256, 320)", "uint16", "(1, 4, 64, 64)", "gzip", "units_total"):
        assert expected in out


def test_info_of_an_image_shows_axes_and_pyramid(
    sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads(ok(capsys, "info", str(sample), "--json"))
    assert facts["shape"] == [2, 8, 256, 320]
    assert facts["dims"] == ["c", "z", "y", "x"]
    assert facts["axes"][0]["labels"] == ["nuclei", "spots"]
    assert facts["axes"][1]["unit"] == "micrometer"
    assert facts["fill_value"] == 0
    assert facts["units_stored"] == 64
    assert [level["shape"][2:] for level in facts["pyramid"]] == [[256, 320], [128, 160], [64, 80]]
    assert [level["scale"][3] for level in facts["pyramid"]] == [0.25, 0.5, 1.0]


def test_explain_applies_operations_in_order(
    sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = str(sample / "0")
    operations = ("--index", "0,:,::2", "--downsample", "y=2,x=2:mean", "--cast", "f4")
    x = lt.scan(uri)[0, :, ::2].downsample(y=2, x=2, method="mean").astype("f4")
    assert ok(capsys, "explain", uri, *operations) == x.explain() + "\n"
    y = lt.scan(uri).astype("f4").downsample([1, 1, 2, 2], method="max")[0, ..., -1]
    operations = ("--cast", "float32", "--downsample", "1,1,2,2:max", "--index=0,...,-1")
    assert ok(capsys, "explain", uri, *operations) == y.explain() + "\n"
    z = lt.quantize(lt.scan(uri), "qint4").data[0]
    operations = ("--quantize", "qint4", "--index", "0")
    assert ok(capsys, "explain", uri, *operations) == z.explain() + "\n"


@pytest.mark.parametrize("form", ["plain", "tree", "dot", "json", "html"])
@pytest.mark.parametrize("stage", ["logical", "physical"])
def test_explain_in_all_forms(
    sample: Path, capsys: pytest.CaptureFixture[str], form: Any, stage: Any
) -> None:
    uri = str(sample / "0")
    x = lt.scan(uri).astype("f4")[0]
    argv = ("explain", uri, "--cast", "f4", "--index", "0", "--format", form, "--stage", stage)
    assert ok(capsys, *argv) == x.explain(format=form, stage=stage) + "\n"
    assert ok(capsys, *argv, "--rules") == x.explain(format=form, stage=stage, rules=True) + "\n"


def test_explain_takes_one_form(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not allowed with" in refused(
        capsys, "explain", str(sample / "0"), "--json", "--format", "dot"
    )


def test_explain_json(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(ok(capsys, "explain", str(sample / "0"), "--json"))


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (("--index", "0,a"), "'a' is no int, slice or ..."),
        (("--index", ""), "'' is no int, slice or ..."),
        (("--index", "0:1:2:3"), "is no int, slice or ..."),
        (("--downsample", "y=2,3"), "is no list of factors"),
        (("--downsample", "y=two"), "is no list of factors"),
        (("--cast", "float7"), "'float7' is no dtype"),
        (("--quantize", "int8"), "'int8' is no quantized dtype (there are qint8, "),
        (("--index", "99"), "99"),
        (("--downsample", "q=2"), "q"),
        (("--downsample", "2"), "1 factors for 4 dims"),
        (("--downsample", "1,1,2,2:average"), "average"),
    ],
)
def test_wrong_operations(
    sample: Path, capsys: pytest.CaptureFixture[str], operation: tuple[str, ...], text: str
) -> None:
    assert text in refused(capsys, "explain", str(sample / "0"), *operation)


@pytest.mark.parametrize("command", ["info", "explain", "demo"])
def test_nothing_there(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, command, str(tmp_path / "none.zarr"))
    assert line.startswith(f"lazytensor {command}: error: ")
    assert "none.zarr" in line


def image_table(path: Path, rows: int) -> str:
    """A Parquet file with a column of images of different sizes, of which row 1 is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    records: list[Any] = [
        {
            "id": f"image-{k}",
            "pixels_meta": {"type": "uint8", "size_x": 3, "size_y": 2 + k} | ONES,
            "planes": [{"t": 0, "c": 0, "z": 0, "pixels": [k] * 3 * (2 + k)}],
        }
        for k in range(rows)
    ]
    records[1] = None
    pq.write_table(pa.table({"well": [f"A{k}" for k in range(rows)], "cell": records}), path)
    return str(path)


ONES = {"size_z": 1, "size_c": 1, "size_t": 1}


def test_info_of_a_table_lists_its_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = image_table(tmp_path / "cells.parquet", 13)
    facts = json.loads(ok(capsys, "info", uri, "--json"))
    assert (facts["format"], facts["rows"]) == ("ome-arrow", 13)
    assert (facts["image_columns"], facts["other_columns"]) == (["cell"], ["well"])
    empty = {"row": 1, "column": "cell", "id": None, "shape": None, "dtype": None}
    last = {
        "row": 9, "column": "cell", "id": "image-9", "shape": [1, 1, 1, 11, 3], "dtype": "uint8"
    }  # fmt: skip
    assert (facts["images"][1], facts["images"][-1]) == (empty, last)
    assert (len(facts["images"]), facts["more"]) == (10, 3)
    out = ok(capsys, "info", uri)
    for expected in ("row 9", "(1, 1, 1, 11, 3)", "uint8", "well", "13", "... and 3 more"):
        assert expected in out
    assert "row 10" not in out


def test_an_image_of_a_table_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = image_table(tmp_path / "cells.parquet", 3)
    assert json.loads(ok(capsys, "info", uri, "--row", "2", "--json"))["shape"] == [1, 1, 1, 4, 3]
    chosen = lt.scan(uri, image_id="image-2").astype("f4").explain() + "\n"
    for choice in (("--row", "2", "--column", "cell"), ("--image-id", "image-2"), ("--row=-1",)):
        assert ok(capsys, "explain", uri, *choice, "--cast", "f4") == chosen
    assert "3 rows" in refused(capsys, "explain", uri)
    assert "no row 7" in refused(capsys, "info", uri, "--row", "7")
    assert "null" in refused(capsys, "info", uri, "--row", "1")
    assert "'other'" in refused(capsys, "info", uri, "--column", "other")
    assert "'no'" in refused(capsys, "explain", uri, "--image-id", "no")
    assert "not allowed with" in refused(capsys, "info", uri, "--row", "0", "--image-id", "a")


def test_only_tables_of_images_have_rows(sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "error: " in refused(capsys, "info", str(sample), "--row", "0")


def test_info_of_a_dataset_lists_its_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = str(tmp_path / "two.ome-arrow")
    x = lt.asarray(np.zeros((2, 1, 1, 1, 3, 4), np.float32), dims=["row", "t", "c", "z", "y", "x"])
    x.sink_ome_arrow(uri)
    facts = json.loads(ok(capsys, "info", uri, "--json"))
    assert (facts["rows"], facts["more"]) == (2, 0)
    assert "image_id" in facts["other_columns"]
    assert [one["shape"] for one in facts["images"]] == [[1, 1, 1, 3, 4]] * 2
    name = facts["images"][1]["id"]
    assert "[1, 1, 1, 3, 4]" not in ok(capsys, "info", uri, "--image-id", name)


def test_info_of_a_bundle_lists_its_packets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bundle.tenso"
    bundle = {
        "image": np.zeros((2, 3)),
        "train": {"y": np.arange(4, dtype="i2")},
        "note": lt.io.tenso.StringTensor(["a", "bc"]),
    }
    path.write_bytes(lt.io.tenso.dumps(bundle))
    facts = json.loads(ok(capsys, "info", str(path), "--json"))
    assert facts["arrays"][:2] == [
        {"key": "image", "shape": [2, 3], "dtype": "float64"},
        {"key": "train/y", "shape": [4], "dtype": "int16"},
    ]
    assert [one["key"] for one in facts["arrays"]] == ["image", "train/y", "note"]
    assert "train/y" in ok(capsys, "info", str(path))


@pytest.mark.parametrize("argv", [(), ("wrong",), ("info",), ("info", "a", "--flag")])
def test_wrong_usage(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "error: " in refused(capsys, *argv)


def test_corrupt_metadata(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "zarr.json").write_text((sample / "0" / "zarr.json").read_text()[:-40])
    assert "zarr.json" in refused(capsys, "info", str(tmp_path))


def test_module_is_the_command(sample: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lazytensor", "info", str(sample / "2"), "--json"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["shape"] == [2, 8, 64, 80]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_plans_are_printed_in_any_encoding(sample: Path, encoding: str) -> None:
    """Such as a redirected file has on Windows: what it cannot hold is ``?``, and nothing fails."""
    done = subprocess.run(
        [sys.executable, "-m", "lazytensor", "explain", str(sample), "--downsample", "y=2"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == b""
    assert "?? scan zarr" in done.stdout.decode(encoding)


def test_a_url_whose_file_system_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str, **options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    assert "lazytensor-engine[s3]" in refused(capsys, "info", "s3://bucket/x.zarr")


def test_an_unknown_scheme_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Protocol not known: absurd" in refused(capsys, "info", "absurd://bucket/x.zarr")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"lazytensor {lt.__version__}\n"
