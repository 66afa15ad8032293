"""Stamps in stored pyramids: when they hold, when they no longer do, and what that costs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.plan.levels import (
    Stamp,
    content_key,
    make_attributes,
    new_content,
    read_stamp,
)
from lazytensor.plan.optimize import optimize
from tests.io.zarr_cases import array_v2, array_v3, group_v3

Store = dict[str, bytes]
VALUES = np.random.default_rng(0).integers(0, 60000, (16, 12)).astype("u2")


def halved(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = lt.downsample(values, (2, 2)).collect()
    return found


def chunks(values: np.ndarray, size: int, path: str, separator: str, prefix: str) -> Store:
    """The raw chunks of a 2-d array, those at the edges filled up."""
    found = {}
    for i in range(0, values.shape[0], size):
        for j in range(0, values.shape[1], size):
            block = np.zeros((size, size), values.dtype)
            part = values[i : i + size, j : j + size]
            block[: part.shape[0], : part.shape[1]] = part
            found[f"{path}/{prefix}{i // size}{separator}{j // size}"] = block.tobytes()
    return found


def image(version: str = "0.5", levels: int = 3) -> Store:
    """A pyramid as our own writer will make it: every level of the one before, all stamped."""
    arrays = [VALUES]
    while len(arrays) < levels:
        arrays.append(halved(arrays[-1]))
    is_v3 = version == "0.5"
    make = array_v3 if is_v3 else array_v2
    store: Store = {}
    above: str | None = None
    for number, values in enumerate(arrays):
        document = make(values.shape, (4, 4))
        content = new_content()
        own = content_key(document, make_attributes(content))
        assert own is not None
        stamp = None if above is None else Stamp("mean", (2, 2), above, own)
        write(store, str(number), document, make_attributes(content, stamp), is_v3)
        joined = ("/", "c/") if is_v3 else (".", "")
        store |= chunks(values, 4, str(number), *joined)
        above = own
    scales = [
        {
            "path": str(i),
            "coordinateTransformations": [{"type": "scale", "scale": [0.5 * 2**i] * 2}],
        }
        for i in range(levels)
    ]
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    described = {"version": version, "axes": axes, "datasets": scales, "name": "cells"}
    if is_v3:
        ome = {"version": version, "multiscales": [described]}
        store["zarr.json"] = json.dumps(group_v3(attributes={"ome": ome})).encode()
    else:
        store[".zgroup"] = b'{"zarr_format": 2}'
        store[".zattrs"] = json.dumps({"multiscales": [described]}).encode()
    return store


def write(
    store: Store, path: str, document: dict[str, Any], attributes: dict[str, Any], is_v3: bool
) -> None:
    if is_v3:
        store[f"{path}/zarr.json"] = json.dumps({**document, "attributes": attributes}).encode()
        return
    store[f"{path}/.zarray"] = json.dumps(document).encode()
    store[f"{path}/.zattrs"] = json.dumps(attributes).encode()


def changed(store: Store, key: str, change: Any) -> Store:
    """A copy of a store with one document edited."""
    store = dict(store)
    document = json.loads(store[key])
    change(document)
    store[key] = json.dumps(document).encode()
    return store


def reads_level(store: Store, factors: tuple[int, int] = (2, 2), level: int = 1) -> bool:
    """Whether a downsample of level 0 is a level; its values are right either way."""
    x = lt.scan_ome_zarr(store)
    lazy = x.downsample(factors)
    np.testing.assert_array_equal(lazy.collect(), lt.downsample(VALUES, factors).collect())
    return optimize(lazy._node) is x.levels[level]._node


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_stamped_levels_are_read(version: str) -> None:
    store = image(version)
    assert reads_level(store)
    x = lt.scan_ome_zarr(store)
    twice = x.downsample((2, 2)).downsample((2, 2))
    assert optimize(twice._node) is x.levels[2]._node
    np.testing.assert_array_equal(twice.collect(), halved(halved(VALUES)))
    assert not reads_level(store, (4, 4), 2)
    counting = lt.testing.CountingStore(store)
    y = lt.scan_ome_zarr(counting)
    before = len(counting.log)
    y.downsample((2, 2))[:2, :2].collect()
    assert {str(entry[1])[:2] for entry in counting.log[before:]} == {"1/"}


def test_the_plan_says_what_is_read() -> None:
    x = lt.scan_ome_zarr(image())
    first = x.downsample((2, 2)).explain().splitlines()[0]
    assert first.endswith("level 1 ← downsample (2, 2) mean · stamped")
    assert x.levels[2].explain().splitlines()[0].endswith("mean of level 1 · stamped")
    assert "level" not in x.explain()
    assert "saves" in x.downsample((2, 2)).explain(rules=True)


def test_proof_costs_no_request() -> None:
    def requests(store: Store) -> list[str]:
        counting = lt.testing.CountingStore(store)
        optimize(lt.scan_ome_zarr(counting).downsample((2, 2))._node)
        return [str(entry[:2]) for entry in counting.log]

    store = image()
    bare = store
    for number in range(3):
        bare = changed(bare, f"{number}/zarr.json", lambda doc: doc.pop("attributes"))
    assert requests(store) == requests(bare)
    assert not reads_level(bare)


DOCUMENTS: dict[str, tuple[str, Any, bool]] = {
    # name: document, what is done to it, whether the stamp of level 1 still holds
    "title": ("0/zarr.json", lambda d: d["attributes"].update(title="cells"), True),
    "note": ("1/zarr.json", lambda d: d["attributes"]["lazytensor"].update(note=1), True),
    "level 2 written": ("2/zarr.json", lambda d: d["attributes"].clear(), True),
    "written again": (
        "0/zarr.json",
        lambda d: d["attributes"]["lazytensor"].update(content=new_content()),
        False,
    ),
    "level written": (
        "1/zarr.json",
        lambda d: d["attributes"]["lazytensor"].update(content=new_content()),
        False,
    ),
    "replaced by another tool": ("0/zarr.json", lambda d: d["attributes"].clear(), False),
    "fill value": ("0/zarr.json", lambda d: d.update(fill_value=1), False),
    "fill value of the level": ("1/zarr.json", lambda d: d.update(fill_value=1), False),
    "method": (
        "1/zarr.json",
        lambda d: d["attributes"]["lazytensor"]["stamp"].update(method="min"),
        False,
    ),
    "factors": (
        "1/zarr.json",
        lambda d: d["attributes"]["lazytensor"]["stamp"].update(factors=[2, 1]),
        False,
    ),
    "version to come": (
        "1/zarr.json",
        lambda d: d["attributes"]["lazytensor"]["stamp"].update(version=2),
        False,
    ),
    "no stamp": ("1/zarr.json", lambda d: d["attributes"]["lazytensor"].pop("stamp"), False),
}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_stamp_holds_as_long_as_both_arrays_stay(name: str) -> None:
    key, change, holds = DOCUMENTS[name]
    assert reads_level(changed(image(), key, change)) is holds


def test_a_level_from_another_image_proves_nothing() -> None:
    store, other = image(), image()
    taken = {key: data for key, data in other.items() if key.startswith("1/")}
    assert not reads_level({**store, **taken})


def test_an_image_that_is_copied_whole_keeps_its_proof() -> None:
    assert reads_level(copy.deepcopy(image()))


def test_a_base_that_changes_after_the_scan_is_refused(tmp_path: Path) -> None:
    store = image()
    for key, data in store.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(data)
    x = lt.scan_ome_zarr(tmp_path)
    lazy = x.downsample((2, 2))
    nested = lazy.downsample((2, 2)) + 1
    level = x.levels[1]
    lazy.collect()
    rewritten = changed(
        store, "0/zarr.json", lambda d: d["attributes"]["lazytensor"].update(content="new")
    )
    (tmp_path / "0/zarr.json").write_bytes(rewritten["0/zarr.json"] + b" ")
    for stale in (lazy, nested, lazy[1:3]):
        with pytest.raises(lt.SourceChangedError, match="scan it again"):
            stale.collect()
    # Whoever asks for the level itself does not care what it was made of.
    np.testing.assert_array_equal(level.collect(), halved(VALUES))
    assert optimize(lt.scan_ome_zarr(tmp_path).downsample((2, 2))._node) is not level._node


def test_the_sources_come_back_from_a_document(tmp_path: Path) -> None:
    for key, data in image().items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(data)
    x = lt.scan_ome_zarr(tmp_path)
    text = x.downsample((2, 2), approx=True).serialize()
    assert text is not None
    again = lt.LazyTensor.deserialize(text)
    assert optimize(again._node) is x.levels[1]._node


# ---- what documents may hold

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
_HEX = "c0ffee"


@given(st.dictionaries(st.sampled_from(["lazytensor", "a"]), _json), _json)
def test_no_attributes_break_an_array(attributes: dict[str, Any], extra: Any) -> None:
    document = array_v3((4, 4), (4, 4))
    document["extra"] = extra
    key = content_key(document, attributes)
    assert key is None or isinstance(key, str)
    assert read_stamp(document, attributes) is None


@given(
    st.sampled_from(["version", "method", "factors", "source_key", "own_key"]),
    _json | st.lists(st.integers(-1, 2) | st.booleans(), max_size=3),
)
def test_a_damaged_stamp_is_none(field: str, value: Any) -> None:
    document = array_v3((4, 4), (4, 4))
    own = content_key(document, make_attributes(_HEX))
    assert own is not None
    stamp = Stamp("mode", (2, 2), "source", own)
    attributes = make_attributes(_HEX, stamp)
    assert read_stamp(document, attributes) == stamp
    attributes["lazytensor"]["stamp"][field] = value
    found = read_stamp(document, attributes)
    if found is not None:
        assert field in ("factors", "source_key", "method") or value == 1
        assert all(type(f) is int and f >= 1 for f in found.factors)


def test_a_document_that_is_too_deep_has_no_key() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert content_key({"a": deep}, make_attributes(_HEX)) is None
    while deep:
        deep = deep[0]


@pytest.mark.parametrize("content", ["", None, 3, "x" * 1000, ["a"]])
def test_a_content_id_is_a_short_text(content: Any) -> None:
    assert content_key({}, {"lazytensor": {"content": content}}) is None
