"""Groups: mappings of arrays and groups, from metadata alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from lazytensor.containers import ZarrGroup, open_group
from lazytensor.errors import FormatError, SourceError, SourceNotFoundError
from lazytensor.io.store_counting import CountingStore
from lazytensor.io.zarr import ZarrSource
from tests.io.zarr_cases import array_v2, array_v3, distinct, group_v3, read_all, same, store


def keep(source: Any) -> Any:
    """The source itself in place of a tensor."""
    return source


def hierarchy(zarr_format: int) -> dict[str, bytes]:
    if zarr_format == 3:
        return store(
            **{
                "zarr.json": group_v3(attributes={"top": 1}),
                "a__zarr.json": array_v3((4,), (2,)),
                "g__zarr.json": group_v3(),
                "g__b__zarr.json": array_v3((2, 3), (2, 3), "uint8"),
                "g__h__zarr.json": group_v3(attributes={"deep": True}),
                "junk__file": b"",
            }
        )
    return store(
        **{
            ".zgroup": {"zarr_format": 2},
            ".zattrs": {"top": 1},
            "a__.zarray": array_v2((4,), (2,)),
            "g__.zgroup": {"zarr_format": 2},
            "g__b__.zarray": array_v2((2, 3), (2, 3), "|u1"),
            "g__h__.zgroup": {"zarr_format": 2},
            "g__h__.zattrs": {"deep": True},
            "junk__file": b"",
        }
    )


@pytest.fixture(params=[2, 3])
def group(request: pytest.FixtureRequest) -> ZarrGroup:
    return open_group(hierarchy(request.param), wrap=keep)


def test_a_group_is_a_mapping(group: ZarrGroup) -> None:
    assert isinstance(group, Mapping)
    assert list(group) == ["a", "g"] and len(group) == 2 and "a" in group and "g/h" in group
    assert "x" not in group and 3 not in group and group.get("x") is None
    assert isinstance(group["a"], ZarrSource) and group["a"].spec.shape == (4,)
    assert group["g/b"].spec.shape == group["g"]["b"].spec.shape == group["/g//b/"].spec.shape
    assert list(group.arrays()) == ["a"] and list(group.groups()) == ["g"]
    assert dict(group.items()).keys() == {"a", "g"}
    assert [type(value).__name__ for value in group.values()] == ["ZarrSource", "ZarrGroup"]


def test_facts(group: ZarrGroup) -> None:
    assert dict(group.attrs) == {"top": 1} and dict(group["g/h"].attrs) == {"deep": True}
    assert (group.path, group["g/h"].path, group.uri) == ("", "g/h", "memory")
    assert group.metadata["zarr_format"] in (2, 3) and "ZarrGroup('memory/g'" in repr(group["g"])
    with pytest.raises(TypeError):
        group.attrs["top"] = 2  # type: ignore[index]
    with pytest.raises(TypeError):
        group[3]  # type: ignore[index]


def test_walk_and_tree(group: ZarrGroup) -> None:
    assert [path for path, _ in group.walk()] == ["a", "g", "g/b", "g/h"]
    assert [path for path, _ in group.walk(max_depth=1)] == ["a", "g"]
    assert group.tree().splitlines() == [
        "memory",
        "├── a  uint16 (4,) chunks (2,)",
        "└── g",
        "    ├── b  uint8 (2, 3) chunks (2, 3)",
        "    └── h",
    ]


def test_what_is_not_there_is_named(group: ZarrGroup) -> None:
    with pytest.raises(KeyError, match="there is no 'x'; it has a, g"):
        group["x"]
    with pytest.raises(SourceNotFoundError):
        group["g/x"]
    with pytest.raises(SourceError, match="not allowed"):
        group["../secret"]


def test_groups_open_at_a_path() -> None:
    data = hierarchy(3)
    assert list(open_group(data, "g", wrap=keep)) == ["b", "h"]
    with pytest.raises(SourceNotFoundError):
        open_group(data, "x", wrap=keep)
    with pytest.raises(FormatError, match="scan_zarr"):
        open_group(data, "a", wrap=keep)
    with pytest.raises(FormatError, match="no consolidated metadata"):
        open_group(data, wrap=keep, consolidated=True)


def test_bad_metadata_below_is_an_error_where_it_is_asked_for() -> None:
    data = hierarchy(3) | {"g/b/zarr.json": b"{"}
    group = open_group(data, wrap=keep)
    assert group["a"].spec.shape == (4,)
    with pytest.raises(FormatError, match=r"g/b/zarr\.json"):
        group["g/b"]
    with pytest.raises(FormatError, match="zarr_format"):
        open_group(store(**{".zgroup": {"zarr_format": 1}}), wrap=keep)


def test_implicit_groups() -> None:
    data = store(**{"zarr.json": group_v3(), "x__y__zarr.json": array_v3((1,), (1,))})
    group = open_group(data, wrap=keep)
    assert list(group) == ["x"] and list(group["x"]) == ["y"]
    assert list(open_group(data, "x", wrap=keep)) == ["y"]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_consolidated_metadata_is_read_once(tmp_path: Path, zarr_format: Any) -> None:
    values = distinct((4, 3), "int16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = zarr.create_group(str(tmp_path), zarr_format=zarr_format, attributes={"x": 1})
        made = root.create_group("g").create_array("a", shape=(4, 3), chunks=(2, 2), dtype="i2")
        made[...] = values
        zarr.consolidate_metadata(str(tmp_path))
    counted = CountingStore(tmp_path)
    group = open_group(counted, wrap=keep)
    opened = counted.requests
    assert [path for path, _ in group.walk()] == ["g", "g/a"] and dict(group.attrs) == {"x": 1}
    assert "g/b" not in group
    assert counted.requests == opened
    assert same(read_all(group["g/a"]), values)
    group["g/a"].check()
    apart = open_group(tmp_path, wrap=keep, consolidated=False)
    assert np.array_equal(read_all(apart["g/a"]), values)
    assert list(open_group(tmp_path, wrap=keep, consolidated=True)) == ["g"]


@pytest.mark.parametrize(
    "consolidated",
    [3, {"metadata": 3}, {"metadata": {"a": 3}}, {"kind": "outline", "metadata": {}}],
)
def test_bad_consolidated_metadata(consolidated: Any) -> None:
    document = group_v3(consolidated_metadata=consolidated)
    with pytest.raises(FormatError, match="consolidated_metadata"):
        open_group(store(**{"zarr.json": document}), wrap=keep)
    if isinstance(consolidated, dict) and "kind" not in consolidated:
        data = store(**{".zgroup": {"zarr_format": 2}, ".zmetadata": consolidated})
        with pytest.raises(FormatError, match="zmetadata"):
            open_group(data, wrap=keep)
