"""Tensors that are written as zarr: their chunks, attributes and documents, and what is made of
them. What they are written to is the matter of ``lazytensor.io.zarr``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lazytensor.callsite import about
from lazytensor.errors import ShapeError
from lazytensor.per_dim import per_dim
from lazytensor.plan.node import Node
from lazytensor.sinking import LazySink, Made, Options, auto_chunks, done
from lazytensor.sinking_region import Align, Into, append_sink, region_sink

if TYPE_CHECKING:
    from lazytensor.io.zarr.documents import ArrayDocuments

__all__ = ["How", "Mode", "array_files", "plan_digest", "sink_zarr"]

Mode = Literal["create", "overwrite", "resume"]
_NAMES_V2 = "_ARRAY_DIMENSIONS"


class How(NamedTuple):
    """How an array is written; see ``LazyTensor.sink_zarr``."""

    zarr_format: int = 3
    chunks: Any = "auto"
    shards: Any = None
    compressor: Any = "zstd"
    filters: Any = ()
    fill_value: Any = 0
    attributes: Mapping[str, Any] | None = None
    key_encoding: Any = None


_DEFAULT = How()._asdict()


def sink_zarr(
    x: Any,
    store: Any,
    path: str,
    how: How,
    *,
    mode: Mode | Literal["append"],
    axis: int | str,
    region: Any,
    align: Align,
    write_empty: bool,
    consolidated: bool,
    storage_options: Options,
    lazy: bool,
    engine: Any,
    progress: Any,
) -> Any:
    """What ``LazyTensor.sink_zarr`` does."""
    from lazytensor.io.zarr.sink_places import check_mode

    into = Into(store, path, storage_options, align, write_empty)

    def opened() -> Any:
        from lazytensor.io.zarr import scan

        return type(x)._from_source(scan(store, path, storage_options=storage_options))

    with about(x):
        if region is not None:
            _check_region(how, mode, consolidated)
            return done(region_sink(x, into, region, opened), lazy, engine, progress)
        appends, mode = mode == "append", "create" if mode == "append" else mode
        check_mode(mode, "append")
        found = array_files(x, how)
        node: Node = x._node

        def make() -> Made:
            from lazytensor.io.zarr.sink import ZarrSink
            from lazytensor.io.zarr.sink_open import tree_place
            from lazytensor.io.zarr.sink_tree import Tree

            place = tree_place(store, path, mode, "zarr", storage_options)
            tree = Tree("array", how.zarr_format, found.files)
            arrays = {"": found.metadata}
            digest = partial(plan_digest, (node,))
            sink = ZarrSink(
                place, tree, arrays, plan=digest, write_empty=write_empty, around=consolidated
            )
            return Made(sink, (node,))

        sink = append_sink(x, into, axis, make, opened) if appends else LazySink((x,), make, opened)
    return done(sink, lazy, engine, progress)


def _check_region(how: How, mode: str, consolidated: bool) -> None:
    """``ValueError`` for options of an array that is made."""
    given = [name for name, value in how._asdict().items() if value is not _DEFAULT[name]]
    given += ["mode"] * (mode != "create") + ["consolidated"] * consolidated
    if given:
        raise ValueError(
            f"region= writes into an array that is there, for which {given[0]}= is settled"
        )


def plan_digest(nodes: Sequence[Node]) -> str | None:
    """A digest of plans that another process would find too; None if there is none."""
    from lazytensor.plan.serde import stable_key

    keys = [stable_key(node) for node in nodes]
    return None if None in keys else "-".join([key for key in keys if key is not None])


def array_files(x: Any, how: How) -> ArrayDocuments:
    """The documents of a tensor; raises what ``array_documents`` does."""
    from lazytensor.io.zarr.documents import array_documents

    node: Node = x._node
    chunks, shards = _cells(node, how.chunks, how.shards)
    names = [name or None for name in node.domain.labels]
    return array_documents(
        node.shape,
        node.dtype,
        chunks=chunks,
        shards=shards,
        compressor=how.compressor,
        filters=how.filters,
        fill_value=how.fill_value,
        attributes=_attributes(x, how.attributes),
        dimension_names=names,
        zarr_format=how.zarr_format,
        key_encoding=how.key_encoding,
    )


def _attributes(x: Any, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Those that are given, else those of what is read, and what axes mean.

    What is read has said for itself which content it has and what its dims are called.
    """
    from lazytensor.io.zarr.world import with_axes
    from lazytensor.plan.levels import ATTRIBUTE

    if given is None:
        own = (ATTRIBUTE, _NAMES_V2)
        given = {key: value for key, value in x.attrs.items() if key not in own}
    return with_axes(given, x._node.axes)


def _cells(node: Node, chunks: Any, shards: Any) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """Extents of chunks, and of shards if there are to be any."""
    automatic = isinstance(chunks, str)
    if automatic and chunks != "auto":
        raise ValueError(f"chunks={chunks!r}: expected 'auto', or an extent for each dim")
    whole = [max(1, n) for n in node.shape]
    sizes = auto_chunks(node) if automatic else _extents(node, chunks, whole, "chunks")
    if shards is None:
        return sizes, None
    rounded = [-(-n // size) * size for n, size in zip(whole, sizes, strict=True)]
    around = _extents(node, shards, rounded, "shards")
    if automatic:
        pairs = zip(sizes, around, strict=True)
        sizes = tuple([_divisor(whole, size) for size, whole in pairs])
    return sizes, around


def _divisor(whole: int, most: int) -> int:
    """The largest divisor of ``whole`` that is not above ``most``.

    >>> _divisor(64, 48), _divisor(7, 5)
    (32, 1)
    """
    small = [n for n in range(1, math.isqrt(whole) + 1) if not whole % n]
    return max(n for n in (*small, *[whole // n for n in small]) if n <= max(1, most))


def _extents(node: Node, given: Any, whole: Sequence[int], what: str) -> tuple[int, ...]:
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        given = (given,) * node.ndim
    sizes = per_dim(node.domain, given, whole, what)
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ShapeError(f"{what} {tuple(sizes)} must be positive integers")
    return tuple([int(size) for size in sizes])
