"""Hierarchies: consolidated metadata, implicit groups, and names that writers come up with."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import zarr

import lazytensor as lt
from lazytensor.errors import FormatError, SourceNotFoundError
from lazytensor.io.store_memory import DictStore
from lazytensor.io.zarr import GroupMetadata, open_node, scan, sniff
from tests.io.zarr_cases import array_v2, array_v3, group_v3, read_all, store


def _inline(**documents: Any) -> dict[str, Any]:
    listed = {key.replace("__", "/"): value for key, value in documents.items()}
    return {"kind": "inline", "must_understand": False, "metadata": listed}


def _zmetadata(**documents: Any) -> dict[str, Any]:
    listed = {key.replace("__", "/"): value for key, value in documents.items()}
    return {"zarr_consolidated_format": 1, "metadata": listed}


ONLY_V2 = {
    ".zmetadata": _zmetadata(
        **{
            ".zgroup": {"zarr_format": 2},
            ".zattrs": {"top": 1},
            "g__.zgroup": {"zarr_format": 2},
            "g__a__.zarray": array_v2((2,), (2,), "|u1"),
            "g__a__.zattrs": {"_ARRAY_DIMENSIONS": ["x"]},
            "g__.nczvar": {"unknown": "documents are passed over"},
        }
    ),
    "g__a__0": b"\x05\x06",
}
ONLY_V3 = {
    "zarr.json": group_v3(
        attributes={"top": 1},
        consolidated_metadata=_inline(
            g=group_v3(), g__a=array_v3((2,), (2,), "uint8", dimension_names=["x"])
        ),
    ),
    "g__a__c__0": b"\x05\x06",
}


@pytest.mark.parametrize("documents", [ONLY_V2, ONLY_V3], ids=["v2", "v3"])
def test_consolidated_metadata_alone_is_enough(documents: dict[str, Any]) -> None:
    data = store(**documents)
    group = lt.open_zarr(data)
    assert [path for path, _ in group.walk()] == ["g", "g/a"] and dict(group.attrs) == {"top": 1}
    for found in (group["g/a"], lt.open_zarr(data, "g")["a"], lt.scan_zarr(data, "g/a")):
        assert found.dims == ("x",) and found.collect().tolist() == [5, 6]
    assert list(lt.open_zarr(data, "g")) == ["a"]
    assert sniff(data, "g") == "zarr-group" and sniff(data, "g/a") == "zarr-array"
    with pytest.raises(SourceNotFoundError, match="no zarr array or group at memory/g/b"):
        lt.scan_zarr(data, "g/b")


def test_consolidated_metadata_is_not_looked_at_when_told_so() -> None:
    with pytest.raises(SourceNotFoundError):
        lt.open_zarr(store(**ONLY_V2), consolidated=False)
    assert list(lt.open_zarr(store(**ONLY_V3), consolidated=False)) == []


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_is_the_only_truth(zarr_format: int) -> None:
    """What it lists is believed, what it does not list is not there, whatever the files say."""
    if zarr_format == 2:
        listed = _zmetadata(**{".zgroup": {"zarr_format": 2}, "a__.zarray": array_v2((3,), (3,))})
        data = store(
            **{
                ".zgroup": {"zarr_format": 2},
                ".zmetadata": listed,
                "a__.zarray": array_v2((4,), (4,)),
                "b__.zarray": array_v2((4,), (4,)),
            }
        )
    else:
        listed = _inline(a=array_v3((3,), (3,)))
        data = store(
            **{
                "zarr.json": group_v3(consolidated_metadata=listed),
                "a__zarr.json": array_v3((4,), (4,)),
                "b__zarr.json": array_v3((4,), (4,)),
            }
        )
    group = lt.open_zarr(data)
    assert list(group) == ["a"] and group["a"].shape == (3,) and "b" not in group
    files = lt.open_zarr(data, consolidated=False)
    assert list(files) == ["a", "b"] and files["a"].shape == (4,)
    assert lt.scan_zarr(data, "a").shape == (4,)


def test_consolidated_metadata_of_groups_in_groups() -> None:
    inner = group_v3(
        attributes={"level": 1}, consolidated_metadata=_inline(a=array_v3((2,), (2,)), b=group_v3())
    )
    data = store(
        **{
            "zarr.json": group_v3(
                consolidated_metadata=_inline(g=inner, g__b=group_v3(attributes={"outer": True}))
            )
        }
    )
    group = lt.open_zarr(data)
    assert [path for path, _ in group.walk()] == ["g", "g/a", "g/b"]
    assert dict(group["g/b"].attrs) == {"outer": True} and dict(group["g"].attrs) == {"level": 1}


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_by_zarr_python(tmp_path: Path, zarr_format: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = zarr.create_group(str(tmp_path), zarr_format=zarr_format)
        group = root.create_group("g").create_group("h")
        group.create_array("a", shape=(3,), dtype="M8[s]")
        root.create_array("b", shape=(2,), dtype="U3")
        zarr.consolidate_metadata(str(tmp_path))
    found = lt.open_zarr(tmp_path, consolidated=True)
    assert [path for path, _ in found.walk()] == ["b", "g", "g/h", "g/h/a"]
    assert found["g/h/a"].dtype == "M8[s]" and found["b"].dtype == "U3"


@pytest.mark.parametrize(
    ("consolidated", "message"),
    [
        (_inline(**{"..__x": group_v3()}), "not allowed"),
        (_inline(**{"a\\b": group_v3()}), "not allowed"),
        (_inline(a=3), "metadata: a: expected an object"),
        (_inline(a=group_v3(consolidated_metadata=_inline(b=3))), "b: expected an object"),
        ({"kind": "other", "metadata": {}}, "kind: expected one of"),
    ],
)
def test_bad_consolidated_metadata_v3(consolidated: Any, message: str) -> None:
    data = store(**{"zarr.json": group_v3(consolidated_metadata=consolidated)})
    with pytest.raises(FormatError, match=r"memory/zarr\.json: consolidated_metadata.*") as caught:
        lt.open_zarr(data)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zarr_consolidated_format": 2}, "zarr_consolidated_format: expected 1, found 2"),
        ({"metadata": {"../.zgroup": {"zarr_format": 2}}}, "not allowed"),
        ({"metadata": {"a/.zarray": []}}, "a/.zarray: expected an object"),
        ({"metadata": None}, "metadata: expected an object"),
    ],
)
def test_bad_consolidated_metadata_v2(changes: dict[str, Any], message: str) -> None:
    data = store(**{".zgroup": {"zarr_format": 2}, ".zmetadata": _zmetadata() | changes})
    with pytest.raises(FormatError) as caught:
        lt.open_zarr(data)
    assert "memory/.zmetadata: " in str(caught.value) and message in str(caught.value)


def test_errors_in_consolidated_documents_name_the_file_and_the_path() -> None:
    data = store(**{".zmetadata": _zmetadata(**{"g__a__.zarray": {"zarr_format": 2}})})
    with pytest.raises(FormatError, match=r"memory/\.zmetadata: g/a/\.zarray: shape: expected"):
        lt.open_zarr(data)["g/a"]
    other = {"kind": "other", "must_understand": False}
    data = store(**{"zarr.json": group_v3(consolidated_metadata=other)})
    assert list(lt.open_zarr(data)) == []


# Groups without metadata


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_implicit_groups_at_any_depth(zarr_format: int) -> None:
    document = {2: array_v2((1,), (1,)), 3: array_v3((1,), (1,))}[zarr_format]
    name = {2: ".zarray", 3: "zarr.json"}[zarr_format]
    data = store(**{f"x__y__z__{name}": document, "junk__file": b""})
    group = lt.open_zarr(data)
    assert [path for path, _ in group.walk()] == ["x", "x/y", "x/y/z"]
    node = open_node(DictStore(data), "x")
    assert isinstance(node.metadata, GroupMetadata) and node.metadata.zarr_format == zarr_format
    with pytest.raises(SourceNotFoundError, match="below it there is"):
        open_node(DictStore(store(junk__file=b"", more__junk__file=b"")))


def test_a_large_folder_of_something_else_is_left_soon() -> None:
    data = {f"{i}/{j}/{k}/file": b"" for i in range(30) for j in range(8) for k in range(8)}
    with pytest.raises(SourceNotFoundError):
        lt.scan_zarr(data)


# Names


@pytest.mark.parametrize(
    "name", ["é日本", "a b", "c", "0", ".hidden", "%2e%2e", "a.b", "zarr.json"]
)
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_names_of_nodes(tmp_path: Path, name: str, zarr_format: int) -> None:
    folder = tmp_path / "root" / name
    folder.mkdir(parents=True)
    document = {2: array_v2((1,), (1,)), 3: array_v3((1,), (1,))}[zarr_format]
    (folder / {2: ".zarray", 3: "zarr.json"}[zarr_format]).write_text(json.dumps(document))
    root = tmp_path / "root"
    if name == "zarr.json":  # a folder in the place of the metadata
        assert list(lt.open_zarr(root)) == ["zarr.json"]
        return
    assert list(lt.open_zarr(root)) == [name]
    assert lt.open_zarr(root)[name].shape == lt.scan_zarr(root, name).shape == (1,)


def test_names_that_are_no_keys_are_passed_over() -> None:
    data = store(
        **{"zarr.json": group_v3(), "a\\b__zarr.json": group_v3(), "c__zarr.json": group_v3()}
    )
    assert list(lt.open_zarr(data)) == ["c"]


def test_attributes_may_hold_anything_that_python_writes() -> None:
    text = (
        '{"zarr_format": 3, "node_type": "array", "shape": [1], "data_type": "uint8", '
        '"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}, '
        '"chunk_key_encoding": "default", "codecs": ["bytes"], "fill_value": 7, '
        '"attributes": {"a": NaN, "b": -Infinity, "c": 123456789012345678901234567890, "d": 1e999, '
        '"e": 1, "e": 2, "f": "\\ud800", "g": null, "": []}}'
    )
    source = scan({"zarr.json": text.encode()})
    assert read_all(source).tolist() == [7]
    assert (
        source.attrs["a"] != source.attrs["a"]
        and source.attrs["c"] == 123456789012345678901234567890
    )
    assert source.attrs["e"] == 2 and source.attrs["f"] == "\ud800"


def _parses(data: bytes) -> bool:
    try:
        json.loads(data)
    except RecursionError:
        return False
    return True


@pytest.mark.parametrize("depth", [300, 1000, 100_000])
@pytest.mark.parametrize("key", ["attributes", "shape", "codecs", "fill_value", "extra"])
def test_deeply_nested_documents_are_read_or_refused(key: str, depth: int) -> None:
    document = array_v3((1,), (1,)) | {key: "@"}
    nested = "[" * depth + "]" * depth
    if key == "attributes":
        nested = f'{{"x": {nested}}}'
    data = json.dumps(document).replace('"@"', nested).encode()
    # How deep the parser of JSON goes is up to the release of Python; never as deep as 100 000.
    if key == "attributes" and (depth == 300 or (depth == 1000 and _parses(data))):
        assert lt.scan_zarr({"zarr.json": data}).shape == (1,)
        return
    with pytest.raises(FormatError, match=r"memory/zarr\.json") as caught:
        lt.scan_zarr({"zarr.json": data})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "names", [["a", "b"], "ab", [1, 2], [], None, {"a": 1}], ids=lambda names: str(names)
)
def test_names_of_xarray_that_do_not_fit_are_passed_over(names: Any) -> None:
    data = store(**{".zarray": array_v2((1,), (1,)), ".zattrs": {"_ARRAY_DIMENSIONS": names}})
    if names is None:
        assert scan(data).spec.dims == ("",)
        return
    with pytest.warns(UserWarning, match="_ARRAY_DIMENSIONS.*the dimensions have no names"):
        assert scan(data).spec.dims == ("",)


@pytest.mark.parametrize(
    ("transformers", "message"),
    [
        ([{"name": "x"}], r"storage_transformers\[0\]: 'x' is not supported"),
        (["x"], r"storage_transformers\[0\]: 'x' is not supported"),
        ([{"must_understand": False}], "name: expected a string"),
        ({}, "expected a list"),
    ],
)
def test_storage_transformers_that_matter_are_refused(transformers: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        scan(store(**{"zarr.json": array_v3((1,), (1,), storage_transformers=transformers)}))


def test_storage_transformers_that_do_not_matter_are_passed_over() -> None:
    ignorable = [{"name": "x", "must_understand": False}]
    document = array_v3((1,), (1,), storage_transformers=ignorable, fill_value=3)
    assert read_all(scan(store(**{"zarr.json": document}))).tolist() == [3]
