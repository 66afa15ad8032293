"""``persist``: the same tensor in all that is known of it, with its values in memory."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings

import lazytensor as lt
from lazytensor.errors import HoleError, SerializationError
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan
from lazytensor.plan.source import Source
from tests.engines import ENGINES
from tests.plan.random_plans import plans
from tests.sources import ChunkedArray

VALUES = np.arange(13 * 17, dtype="i4").reshape(13, 17)
AXES = (
    lt.Axis("y", "space", "micrometer", 0.5, 3.0),
    lt.Axis("x", "channel", labels=tuple(f"c{i}" for i in range(17))),
)


def source() -> ChunkedArray:
    return ChunkedArray(VALUES, (4, 6), dims=("y", "x"), origin=(5, -3), axes=AXES, name="image")


def tensor(of: Source) -> lt.LazyTensor:
    return lt.scan_source(of)


def wrapped(node: Node) -> lt.LazyTensor:
    return lt.LazyTensor._wrap(node)


def same(found: lt.LazyTensor, x: lt.LazyTensor) -> None:
    """All that is known without values, and the values."""
    assert found is not x
    assert found.schema == x.schema
    assert found.dims == tuple(axis.name for axis in found.axes) == x.dims
    assert found.origin == x.origin
    assert dict(found.attrs) == dict(x.attrs)
    assert [found.chunk_edges(d) for d in range(x.ndim)] == [
        x.chunk_edges(d) for d in range(x.ndim)
    ]
    assert [None if g is None else g.free for g in found._node.grid] == [
        None if g is None else g.free for g in x._node.grid
    ]
    lt.testing.assert_equal(found, x)


VIEWS: dict[str, Any] = {
    "whole": lambda x: x,
    "crop": lambda x: x[1:12, 5:],
    "inside one cell": lambda x: x[5:7, 7:9],
    "across one edge": lambda x: x[2:6, 4:9],
    "steps": lambda x: x[::3, 1::2],
    "backwards": lambda x: x[::-1, 15:2:-4],
    "one row": lambda x: x[6],
    "one element": lambda x: x[6, 2],
    "turned": lambda x: x.mT,
    "a new axis": lambda x: x[:, None, 2:],
    "rows picked": lambda x: x.oindex[[2, 0, 7]],
    "nothing": lambda x: x[4:4],
    "translated": lambda x: x.translate_to[100, 200],
    "renamed": lambda x: x.label["a", ""],
    "rechunked": lambda x: x.rechunk(y=5),
    "computed": lambda x: (x * 2 + 1)[1:],
    "padded": lambda x: lt.pad(x, 3),
    "downsampled": lambda x: x.downsample((2, 3)),
    "reduced": lambda x: lt.sum(x, axis=0),
    "stacked": lambda x: lt.stack([x, x], axis="t"),
    "joined": lambda x: lt.concat([x[:5], x[2:]], axis=0),
    "reshaped": lambda x: x.reshape(-1),
    "broadcast": lambda x: lt.broadcast_to(x[:1], (4, 17)),
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_it_is_like_the_tensor(view: Any, engine: Any) -> None:
    x = view(tensor(source()))
    same(x.persist(engine=engine), x)


@given(plans())
@settings(max_examples=150, deadline=None)
def test_it_is_like_any_tensor(node: Node) -> None:
    try:
        expected = wrapped(node).collect()
    except HoleError:
        return
    found = wrapped(node).persist()
    assert found.schema == wrapped(node).schema
    assert found.collect().tobytes() == expected.tobytes()
    again = found.persist()
    assert again.schema == found.schema


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_plans_on_it_read_nothing(engine: Any) -> None:
    of = source()
    x = tensor(of)[1:, 2:]
    kept = x.persist(engine=engine)
    read = len(of.boxes)
    assert read
    uses = {
        "coordinates": lambda x: x.coord[8:11, 1:7],
        "domain": lambda x: x[lt.IndexDomain(inclusive_min=[7, 0], shape=[3, 5])],
        "world": lambda x: x.sel(x="c9", y=slice(4.0, 6.0)),
        "blocks": lambda x: x.blocks[1, 1],
        "overlay": lambda x: lt.overlay([x, x.translate_by[2, 3]], fill_value=7),
        "with another": lambda x: x[::2] - x[:1],
        "reduced": lambda x: lt.mean(x, axis="y"),
        "downsampled": lambda x: x.downsample((3, 2)),
        "median": lambda x: x.downsample((2, 2), method="median", align="position"),
        "in other cells": lambda x: x.rechunk(3),
        "gathered": lambda x: x.vindex[[0, 3, 3], [5, 1, 0]],
        "stats": lambda x: lt.quantile(x, 0.3),
        "reshaped": lambda x: x.reshape(-1)[5:90:7],
    }
    expected = {name: use(x).collect(engine=engine) for name, use in uses.items()}
    of.boxes.clear()
    for name, use in uses.items():
        y = use(kept)
        assert y.schema == use(x).schema, name
        assert y.estimate().chunks_read == 0
        found = y.collect(engine=engine)
        assert found.dtype == expected[name].dtype
        assert found.tobytes() == expected[name].tobytes(), name
    assert not of.boxes


def rows_of(block: np.ndarray) -> np.ndarray:
    """Tells the block it was called with: its first element, everywhere."""
    return np.full_like(block, block.flat[0])


@pytest.mark.parametrize("view", ["whole", "crop", "steps", "inside one cell", "backwards"])
def test_blocks_are_cut_alike(view: str) -> None:
    x = VIEWS[view](tensor(source()))
    lt.testing.assert_equal(
        lt.map_blocks(rows_of, x.persist(), dtype="i4"), lt.map_blocks(rows_of, x, dtype="i4")
    )


DTYPES: dict[str, np.ndarray] = {
    **{
        code: np.arange(6).reshape(2, 3).astype(code)
        for code in ("?", "u1", "i8", "f2", "f4", "f8", "c8", "c16", ">u2", ">f8", "M8[s]", "S3")
    },
    "bfloat16": np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16),
    "float8": np.arange(6).reshape(2, 3).astype(ml_dtypes.float8_e4m3fn),
    "strings": np.array([["a", "", "µ" * 40], ["b", "c", "d"]], np.dtypes.StringDType()),
    "unicode": np.array([["a", "", "µ"], ["b", "c", "d"]]),
    "records": np.array([(1, 2.5), (3, np.nan)], [("a", "u1"), ("b", "<f4")]),
    "no dims": np.array(7, "i2"),
    "empty": np.zeros((0, 3), "f4"),
    "special": np.array([np.nan, -0.0, np.inf, -np.inf]),
}


@pytest.mark.parametrize("values", DTYPES.values(), ids=DTYPES)
def test_dtypes_and_documents(values: np.ndarray) -> None:
    x = lt.asarray(values, copy=True)
    x = x.translate_by[(4,) * x.ndim]
    kept = x.persist()
    others = [
        pickle.loads(pickle.dumps(kept)),
        lt.LazyTensor.deserialize(kept.serialize()),
        lt.LazyTensor.deserialize(kept.serialize(format="binary")),
    ]
    for found in (kept, *others):
        assert found.schema == x.schema
        result = found.collect()
        assert (result.dtype, result.shape) == (values.dtype, values.shape)
        if values.dtype.kind == "T":
            assert result.tolist() == values.tolist()
        else:
            assert result.tobytes() == values.tobytes()


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_what_is_known_survives_documents(view: Any) -> None:
    x = view(tensor(source()))
    kept = x.persist()
    same(pickle.loads(pickle.dumps(kept)), kept)
    for format in ("json", "binary"):
        found = lt.LazyTensor.deserialize(kept.serialize(format=format))  # type: ignore[arg-type]
        same(found, kept)
        assert found.serialize(format=format) == kept.serialize(format=format)  # type: ignore[arg-type]


def test_attributes() -> None:
    class Described(ChunkedArray):
        attrs = {"voxel": [0.5, float("nan")], "by": {"name": "µ"}}  # noqa: RUF012

    x = tensor(Described(VALUES, (4, 6)))
    kept = x.persist()
    assert kept.attrs == x.attrs and kept[2:].attrs == x.attrs
    assert (kept + 1).attrs == (x + 1).attrs == {}
    with pytest.raises(TypeError):
        kept.attrs["by"] = 1  # type: ignore[index]
    found = lt.LazyTensor.deserialize(kept.serialize())
    assert repr(found.attrs) == repr(kept.attrs)
    assert kept.storage is None and kept.levels == ()

    class Odd(ChunkedArray):
        attrs = {"function": len}  # noqa: RUF012

    kept = tensor(Odd(VALUES, (4, 6))).persist()
    assert kept.attrs["function"] is len
    with pytest.raises(SerializationError, match="attributes"):
        kept.serialize()


def test_it_is_a_snapshot_of_its_own() -> None:
    values = VALUES.copy()
    x = lt.asarray(values)
    kept, again = x.persist(), x.persist()
    values[...] = 0
    assert np.array_equal(kept.collect(), VALUES) and not x.collect().any()
    assert again._node is not kept._node
    # What is collected of it belongs to whoever collected it.
    kept.collect()[...] = -1
    np.asarray(kept)[...] = -1
    kept.collect(out=np.empty_like(VALUES))[...] = -1
    assert np.array_equal(kept.collect(), VALUES)


def test_its_memory_goes_with_it() -> None:
    kept = tensor(source()).persist()
    node = kept._node
    assert isinstance(node, Scan)
    array = node.source.array
    assert array is not None
    gone = weakref.ref(array)
    y = kept + 1
    del node, array, kept
    gc.collect()
    assert gone() is not None and y.collect()[0, 0] == 1
    del y
    gc.collect()
    assert gone() is None


def test_how_it_is_run() -> None:
    of = source()
    x = tensor(of)
    with lt.Config(engine="interpret"):
        same(x.persist(), x)
    with lt.Config(implicit_collect="raise"):
        same(x.persist(), x)  # nothing about it is implicit
    with lt.testing.raise_if_collects(), pytest.raises(RuntimeError, match="raise_if_collects"):
        x.persist()
    with pytest.raises(TypeError, match="QueryOptFlags"):
        x.persist(optimizations=False)  # type: ignore[arg-type]
    same(x.persist(optimizations=lt.QueryOptFlags.none(), progress=False), x)
    kept = x.persist()
    of.boxes.clear()
    found = lt.collect_all([kept + 1, kept[2:], lt.sum(kept)])
    assert np.array_equal(found[0], VALUES + 1) and found[2] == VALUES.sum()
    assert not of.boxes
    holed = lt.overlay([x], domain=lt.IndexDomain(inclusive_min=[0, 0], shape=[9, 9]))
    with pytest.raises(HoleError):
        holed.persist()


def test_how_it_looks() -> None:
    kept = tensor(source())[1:].persist()
    assert "array" in kept.explain()
    assert repr(kept) == repr(tensor(source())[1:])


DAMAGE: dict[str, tuple[str, Any]] = {
    "another shape": ("domain", {"inclusive_min": [0], "exclusive_max": [5]}),
    "no domain": ("domain", None),
    "too few axes": ("axes", []),
    "an axis that is none": ("axes", [3]),
    "labels that are none": ("axes", [{"kind": None, "unit": None, "scale": None,
                                       "offset": {"float": "0x0p+0"}, "labels": [1]}]),
    "an offset that is none": ("axes", [{"kind": None, "unit": None, "scale": None,
                                         "offset": "far", "labels": None}]),
    "no cells": ("cells", [{"size": 0, "free": False}]),
    "cells that do not cover it": ("cells", [{"size": 2, "free": False, "sizes": [2, 1]}]),
    "cells of no size": ("cells", [{"size": 9, "free": False, "sizes": [9, -5]}]),
    "cells that may be free": ("cells", [{"size": 1, "free": 0, "sizes": [4]}]),
    "attributes that are none": ("attrs", "[1]"),
    "attributes that are no JSON": ("attrs", "{"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_documents_are_refused(name: str, value: Any) -> None:
    from lazytensor.plan.serde import from_document, to_document

    document = to_document(lt.asarray(np.arange(4)).persist()._node)
    from_document(document)
    document["nodes"][0]["source"][name] = value
    with pytest.raises(SerializationError):
        from_document(document)
