"""How arrays in memory are written into a document, and read from one.

An array that somebody handed in is its values, names and cells. One that stands in for a tensor it
was computed from has all that is known of that tensor beside its values, under a format of its own:
a library that does not know it says so, rather than put the values at other coordinates.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from lazytensor.errors import SerializationError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.edges import Edges
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.memory import MemorySource
from lazytensor.plan.serde_values import (
    array_from_bytes,
    dtype_from_json,
    dtype_to_json,
    expect,
    fail,
    ints_from_json,
    little_endian_bytes,
    number_from_json,
    number_to_json,
)
from lazytensor.plan.spec import Axis, TensorSpec

__all__ = ["FORMATS", "memory_from_json", "memory_to_json"]

FORMATS = ("memory", "computed")

_MAX_NDIM = 64
_AXIS = ("kind", "unit", "scale", "offset")


def memory_to_json(source: MemorySource, put: Callable[[bytes, str], Any]) -> dict[str, Any]:
    """The document of an array in memory; ``put`` takes its bytes and says what stands for them.

    Raises ``SerializationError`` for attributes that are no JSON.
    """
    array = source.array
    assert array is not None
    document: dict[str, Any] = {
        "dtype": dtype_to_json(array.dtype),
        "shape": list(array.shape),
        **(_standing_in_to_json(source) if source.stands_in else _given_to_json(source)),
    }
    if array.dtype.kind == "T":
        return {**document, "strings": array.ravel().tolist()}
    shape = "×".join(map(str, array.shape))
    what = f"the {shape} {array.dtype} array in memory"
    return {**document, "data": put(little_endian_bytes(array), what)}


def memory_from_json(
    document: dict[str, Any], get: Callable[[Any, str], bytes | memoryview], what: str
) -> MemorySource:
    """Inverse of ``memory_to_json``; ``get`` gives the bytes that something stands for."""
    shape = ints_from_json(document.get("shape"), f"shape of {what}")
    if len(shape) > _MAX_NDIM:
        fail(what, f"at most {_MAX_NDIM} dims", shape)
    dtype = dtype_from_json(document.get("dtype"), f"dtype of {what}")
    array = _read_array(document, dtype, shape, get, what)
    build = _given_from_json if document.get("format") == "memory" else _standing_in_from_json
    return build(document, array, what)


def _read_array(
    document: dict[str, Any],
    dtype: np.dtype,
    shape: tuple[int, ...],
    get: Callable[[Any, str], bytes | memoryview],
    what: str,
) -> np.ndarray:
    if dtype.kind != "T":
        return array_from_bytes(get(document.get("data"), what), dtype, shape, what)
    strings = expect(document.get("strings"), list, f"strings of {what}")
    return np.array([expect(s, str, f"a string of {what}") for s in strings], dtype).reshape(shape)


# What somebody handed in.


def _given_to_json(source: MemorySource) -> dict[str, Any]:
    cut = source.cut
    return {
        "format": "memory",
        "dims": list(source.spec.dims),
        "chunks": None if cut is None else [c if isinstance(c, int) else list(c) for c in cut],
        "firm": source.firm,
    }


def _given_from_json(document: dict[str, Any], array: np.ndarray, what: str) -> MemorySource:
    chunks = document.get("chunks")
    if chunks is not None:
        chunks = [
            c if isinstance(c, int) else ints_from_json(c, f"chunks of {what}")
            for c in expect(chunks, list, f"chunks of {what}")
        ]
    dims = expect(document.get("dims"), list, f"dims of {what}")
    if len({name for name in dims if name}) < sum(1 for name in dims if name):
        fail(f"dims of {what}", "different names", dims)
    return MemorySource(
        array,
        chunks=chunks,
        dims=[expect(name, str, f"a dim of {what}") for name in dims],
        firm=expect(document.get("firm"), bool, f"firm of {what}"),
    )


# What was computed from a tensor.


def _standing_in_to_json(source: MemorySource) -> dict[str, Any]:
    spec = source.spec
    return {
        "format": "computed",
        "domain": spec.domain.to_json(),
        "axes": [_axis_to_json(axis) for axis in spec.axes],
        "cells": [None if cells is None else _cells_to_json(cells) for cells in spec.grid],
        "attrs": _attrs_to_json(source),
    }


def _standing_in_from_json(document: dict[str, Any], array: np.ndarray, what: str) -> MemorySource:
    domain = IndexDomain(json=expect(document.get("domain"), dict, f"domain of {what}"))
    if domain.shape != array.shape:
        fail(f"domain of {what}", f"one of shape {array.shape}", domain.shape)
    axes = _per_dim(document.get("axes"), domain, f"axes of {what}")
    cells = _per_dim(document.get("cells"), domain, f"cells of {what}")
    grid = [
        None if value is None else _cells_from_json(value, n, f"cells of {what}")
        for value, n in zip(cells, domain.shape, strict=True)
    ]
    named = zip(axes, domain.labels, strict=True)
    world = [_axis_from_json(value, name, f"an axis of {what}") for value, name in named]
    spec = TensorSpec(domain, array.dtype, tuple(world), tuple(grid))
    return MemorySource.standing_in(array, spec, _attrs_from_json(document.get("attrs"), what))


def _per_dim(value: Any, domain: IndexDomain, what: str) -> list[Any]:
    values: list[Any] = expect(value, list, what)
    return values if len(values) == domain.rank else fail(what, f"{domain.rank} entries", values)


def _axis_to_json(axis: Axis) -> dict[str, Any]:
    document = {name: number_to_json(getattr(axis, name)) for name in _AXIS}
    return {**document, "labels": None if axis.labels is None else list(axis.labels)}


def _axis_from_json(value: Any, name: str, what: str) -> Axis:
    document = expect(value, dict, what)
    kind, unit, scale, offset = [number_from_json(document.get(key), what) for key in _AXIS]
    labels = document.get("labels")
    if labels is not None:
        labels = tuple(expect(s, str, what) for s in expect(labels, list, what))
    return Axis(
        name,
        None if kind is None else expect(kind, str, what),
        None if unit is None else expect(unit, str, what),
        None if scale is None else expect(scale, (int, float), what),
        expect(offset, (int, float), what),
        labels,
    )


def _cells_to_json(cells: DimGrid) -> dict[str, Any]:
    sizes = None if cells.edges is None else np.diff(np.asarray(cells.edges)).tolist()
    return {"size": cells.chunk, "free": cells.free, "sizes": sizes}


def _cells_from_json(value: Any, extent: int, what: str) -> DimGrid:
    document = expect(value, dict, what)
    size = expect(document.get("size"), int, what)
    free = expect(document.get("free"), bool, what)
    if size < 1:
        fail(what, "of a positive size", size)
    if document.get("sizes") is None:
        return DimGrid(extent, size, free=free)
    sizes = ints_from_json(document["sizes"], what)
    if any(n < 0 for n in sizes) or sum(sizes) != extent:
        fail(what, f"sizes that add up to {extent}", sizes)
    return DimGrid(extent, size, Edges(sizes, [1] * len(sizes)), free=free)


def _attrs_to_json(source: MemorySource) -> str:
    try:
        return json.dumps(dict(source.attrs))
    except (TypeError, ValueError) as error:
        raise SerializationError(
            f"the attributes of an array in memory are no JSON ({error}): keep them elsewhere"
        ) from error


def _attrs_from_json(value: Any, what: str) -> dict[str, Any]:
    text = expect(value, str, f"attrs of {what}")
    try:
        found: dict[str, Any] = expect(json.loads(text), dict, f"attrs of {what}")
    except (ValueError, RecursionError) as error:
        if isinstance(error, SerializationError):
            raise
        fail(f"attrs of {what}", "JSON", text)
    return found
