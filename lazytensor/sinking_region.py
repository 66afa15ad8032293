"""Tensors that are written into a zarr array that is there: which part of it, and what else is in
the stored objects that the part cuts.

Objects that are cut are not read by the sink: what they hold beside is put around the tensor, so
that the plan covers whole objects, and each task reads what it replaces itself.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from lazytensor.build_join import concat
from lazytensor.callsite import about
from lazytensor.errors import (
    DimensionError,
    DTypeError,
    FormatError,
    OutOfBoundsError,
    SerializationError,
    ShapeError,
    SourceNotFoundError,
)
from lazytensor.per_dim import dim_number, per_dim
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.node import Node
from lazytensor.sinking import LazySink, Made, Options

__all__ = ["Align", "Into", "append_sink", "region_sink"]

Align = Literal["error", "rmw"]
_ALIGNS = ("error", "rmw")
_Box = tuple[tuple[int, int], ...]


class Into(NamedTuple):
    """An array to write into, and how."""

    store: Any
    path: str
    storage_options: Options
    align: Align
    write_empty: bool

    def check(self) -> None:
        """``ValueError`` for an ``align`` that there is not."""
        if self.align not in _ALIGNS:
            raise ValueError(f"align must be one of {_ALIGNS}, not {self.align!r}")


class _Found(NamedTuple):
    """An array that is there: its documents by key, in order of writing, and its source."""

    metadata: Any
    documents: Mapping[str, bytes]
    source: Any

    @property
    def domain(self) -> IndexDomain:
        """Its dims, from zero."""
        found: IndexDomain = self.source.spec.domain
        return found


def region_sink(x: Any, into: Into, region: Any, opened: Callable[[], Any]) -> LazySink:
    """A sink of a part of an array; see ``LazyTensor.sink_zarr``."""
    into.check()

    def make() -> Made:
        with about(x):
            found = _find(into)
            box = _box(found.domain, region)
            return _made(x, into, found, box, found.metadata.shape)

    return LazySink((x,), make, opened)


def append_sink(
    x: Any, into: Into, axis: int | str, create: Callable[[], Made], opened: Callable[[], Any]
) -> LazySink:
    """A sink of what comes behind the end of an array along a dim; ``create()`` where there is
    none."""
    into.check()

    def make() -> Made:
        with about(x):
            try:
                found = _find(into)
            except SourceNotFoundError:
                return create()
            d = dim_number(found.domain, axis)
            shape = list(found.metadata.shape)
            if x.ndim != len(shape) or any(
                n != m for i, (n, m) in enumerate(zip(x.shape, shape, strict=True)) if i != d
            ):
                raise ShapeError(
                    f"{x.shape} cannot be appended to an array of {tuple(shape)} along dim {d}: "
                    f"the other extents differ"
                )
            box = [(0, n) for n in shape]
            box[d] = (shape[d], shape[d] + x.shape[d])
            shape[d] = box[d][1]
            return _made(x, into, found, tuple(box), tuple(shape))

    return LazySink((x,), make, opened)


def _find(into: Into) -> _Found:
    from lazytensor.io.store import join_key
    from lazytensor.io.store_open import resolve_store
    from lazytensor.io.zarr.document import parse_json
    from lazytensor.io.zarr.metadata import ArrayMetadata
    from lazytensor.io.zarr.node import Node as ZarrNode
    from lazytensor.io.zarr.node import open_node
    from lazytensor.io.zarr.source import ZarrSource

    class Itself(ZarrSource):
        """The array that is written to, whose objects tasks read before they replace them; with a
        name of its own, since other plans may not."""

        _called = "zarr"
        _variant: tuple[Hashable, ...] = ("written to",)

        def check(self) -> None:
            """The sink looks, when it has the array for itself."""

        def to_json(self) -> dict[str, Any]:
            """It is of this run only."""
            raise SerializationError(f"{self.label} is written to, and cannot be opened elsewhere")

    store, inner = resolve_store(into.store, into.path, into.storage_options)
    where = f"{store.name}/{inner}".rstrip("/")
    documents: dict[str, bytes] = {}
    for names in (("zarr.json",), (".zattrs", ".zarray")):
        for name in names:
            data = store.get(join_key(inner, name))
            if data is not None:
                documents[name] = bytes(data)
        if names[-1] in documents:
            break
    else:
        open_node(store, inner)  # which knows best why there is none
        raise FormatError(f"{where}: expected an array with a document of its own")
    # What is known of the array is what is compared with it before anything is written.
    meta = _parsed({key: parse_json(data, f"{where}/{key}") for key, data in documents.items()})
    if not isinstance(meta, ArrayMetadata):
        raise FormatError(f"{where} is a group, not an array: name one with path=")
    if meta.grid is not None:
        raise FormatError(f"{where}: arrays with chunks of several shapes can only be read")
    return _Found(meta, documents, Itself(store, ZarrNode(inner, meta, names[-1], None)))


def _parsed(documents: Mapping[str, dict[str, Any]]) -> Any:
    """What the reader makes of documents."""
    from lazytensor.io.zarr.metadata import parse_array_v2, parse_v3

    if "zarr.json" in documents:
        return parse_v3(documents["zarr.json"], "zarr.json")
    return parse_array_v2(documents[".zarray"], documents.get(".zattrs", {}), ".zarray")


def _box(domain: IndexDomain, region: Any) -> _Box:
    """The part that is meant; ``OutOfBoundsError`` if it is not in the array."""
    if isinstance(region, IndexDomain):
        pairs = zip(region.inclusive_min, region.exclusive_max, strict=True)
        region = tuple([slice(lo, hi) for lo, hi in pairs])
    if isinstance(region, slice):
        region = (region,)
    whole = [slice(None)] * domain.rank
    if not isinstance(region, Mapping):
        region = tuple(region)
        region = (*region, *whole[len(region) :])
    box = []
    for part, n in zip(per_dim(domain, region, whole, "slices"), domain.shape, strict=True):
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise TypeError(f"region: {part!r}: expected slices with step 1, one per dim")
        lo = 0 if part.start is None else int(part.start)
        hi = n if part.stop is None else int(part.stop)
        if not 0 <= lo <= hi <= n:
            raise OutOfBoundsError(f"region: [{lo}, {hi}) is not within [0, {n}) of the array")
        box.append((lo, hi))
    return tuple(box)


def _made(x: Any, into: Into, found: _Found, box: _Box, shape: tuple[int, ...]) -> Made:
    from lazytensor.io.zarr.sink_open import region_place
    from lazytensor.io.zarr.sink_region import RegionSink

    _check(x, found, box)
    between, after, meta = _documents(found, shape)
    hull = _hull(box, meta.chunk_shape, shape)
    place = region_place(into.store, into.path, "zarr", into.storage_options)
    if hull != box and into.align == "error":
        raise ShapeError(
            f"{place.label}: {_text(box)} cuts stored objects of {meta.chunk_shape}, which would "
            f"have to be read and written again: write {_text(hull)}, or align='rmw'"
        )
    place.alone = hull != box or shape != found.metadata.shape
    sink = RegionSink(
        place,
        meta,
        [lo // n for (lo, _), n in zip(hull, meta.chunk_shape, strict=True)],
        before=found.documents,
        between=between,
        after=after,
        write_empty=into.write_empty,
    )
    return Made(sink, (_around(x, found, box, hull),))


def _text(box: _Box) -> str:
    return ", ".join([f"{lo}:{hi}" for lo, hi in box])


def _check(x: Any, found: _Found, box: _Box) -> None:
    extents = tuple([hi - lo for lo, hi in box])
    if x.shape != extents:
        raise ShapeError(f"a tensor of shape {x.shape} does not fit a region of {extents}")
    dtype = found.metadata.dtype
    if x.dtype != dtype and x.dtype.newbyteorder("=") != dtype:
        raise DTypeError(f"the array holds {dtype}, and not {x.dtype}: cast the tensor first")
    for d, (own, other) in enumerate(zip(x.dims, found.domain.labels, strict=True)):
        if own and other and own != other:
            raise DimensionError(f"dim {d} is called {own!r}, and {other!r} in the array")


def _hull(box: _Box, units: Sequence[int], shape: Sequence[int]) -> _Box:
    """The whole objects in which a part lies."""
    if any(lo == hi for lo, hi in box):
        return box
    triples = zip(box, units, shape, strict=True)
    return tuple([(lo // n * n, min(most, -(-hi // n) * n)) for (lo, hi), n, most in triples])


def _documents(
    found: _Found, shape: tuple[int, ...]
) -> tuple[dict[str, bytes], dict[str, bytes], Any]:
    """Those that say that the content is another one (none, if none is said), those of the array as
    it will be, and what the reader makes of these."""
    from lazytensor.io.zarr.document import parse_json
    from lazytensor.io.zarr.documents import json_bytes
    from lazytensor.plan.levels import ATTRIBUTE, new_content

    parsed = {key: parse_json(data, key) for key, data in found.documents.items()}
    after = dict(found.documents)
    between: dict[str, bytes] = {}
    of_attributes = "zarr.json" if "zarr.json" in parsed else ".zattrs"
    document = parsed.get(of_attributes, {})
    attributes = document.get("attributes", {}) if "zarr.json" in parsed else document
    ours = attributes.get(ATTRIBUTE)
    if isinstance(ours, dict) and "content" in ours:
        attributes[ATTRIBUTE] = {**ours, "content": new_content()}
        between[of_attributes] = after[of_attributes] = json_bytes(document)
    key = next(reversed(after))
    if shape != found.metadata.shape:
        parsed[key]["shape"] = list(shape)
        after[key] = json_bytes(parsed[key])
    return between, after, _parsed(parsed)


def _around(x: Any, found: _Found, box: _Box, hull: _Box) -> Node:
    """The plan of a tensor with what lies around it in the objects that it cuts."""
    if hull == box:
        node: Node = x._node
        return node
    wrap = type(x)._wrap
    rank = len(box)
    there = _nameless(type(x)._from_source(found.source), rank)
    grown = _nameless(x, rank)
    for d in range(rank):
        (lo, hi), (first, last) = box[d], hull[d]
        beside = [slice(*part) for part in (*hull[:d], (0, 0), *box[d + 1 :])]
        parts = [
            there[(*beside[:d], slice(a, b), *beside[d + 1 :])] if part is None else part
            for a, b, part in ((first, lo, None), (lo, hi, grown), (hi, last, None))
            if a < b
        ]
        grown = parts[0]
        if len(parts) > 1:
            grown = wrap(concat([part._node for part in parts], d, "position", None))
    made: Node = grown._node
    return made


def _nameless(x: Any, rank: int) -> Any:
    """From zero, without names: positions are meant."""
    return x.translate_to[(0,) * rank].label[("",) * rank]
