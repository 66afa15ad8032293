"""Tensors that are written as OME-Arrow: which of their dims is which, and in what pieces.

The format has images of five dims, t, c, z, y, x. A tensor has some of them, in any order, and what
it has not is of size 1 in the file. A dim called "row", which stacks of images have, is none of
them: it counts images.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lazytensor.build import as_node
from lazytensor.build_views import permute_dims
from lazytensor.callsite import about
from lazytensor.errors import DimensionError, ShapeError
from lazytensor.plan.spec import Axis
from lazytensor.sinking import LazySink, Made, Options, done

if TYPE_CHECKING:
    from lazytensor.io.ome_arrow.schemas import Written
    from lazytensor.plan.node import Node

__all__ = ["sink_ome_arrow"]

Encoding = Literal["chunks", "bytes", "list"]
_ENCODINGS = ("chunks", "bytes", "list")
_DIMS = ("t", "c", "z", "y", "x")
_ROW = "row"
_KINDS = dict(zip(_DIMS, ("time", "channel", "space", "space", "space"), strict=True))
# What dims without names are; four of them may be tzyx, tcyx or czyx.
_UNNAMED = {2: "yx", 3: "zyx", 5: "tczyx"}
_LEAST_CHUNK, _MOST_CHUNK = 1 << 20, 4 << 20


class _How(NamedTuple):
    """How to write."""

    path: Any
    storage_options: Options
    encoding: Encoding
    compression: str | None
    chunk_compression: str | None
    column: str
    mode: Literal["create", "overwrite", "append"]


def sink_ome_arrow(
    x: Any,
    path: Any,
    *,
    image_id: str | Sequence[str] | None = None,
    encoding: Encoding = "chunks",
    channels: Any = None,
    chunks: Any = None,
    compression: str | None = "zstd",
    chunk_compression: str | None = None,
    name: str | Sequence[str] | None = None,
    image_type: str | None = None,
    column: str = "ome_arrow",
    mode: Literal["create", "overwrite", "append"] = "create",
    storage_options: Options = None,
    lazy: bool = False,
    engine: Any = "auto",
    progress: Any = None,
) -> Any:
    """What ``LazyTensor.sink_ome_arrow`` does."""
    with about(x):
        how = _How(path, storage_options, encoding, compression, chunk_compression, column, mode)
        _check(how, chunks)
        names = _names(x)
        node = _arranged(x, names)
        rows = _ROW in names
        written = _written(x, node, rows, image_id, name, image_type, channels, encoding)
        sizes = _chunk_sizes(node, chunks, names)
        make = partial(_made, how, node, written, sizes)
        sink = LazySink((x,), make, partial(_opened, path, storage_options))
    return done(sink, lazy, engine, progress)


def _opened(path: Any, storage_options: Options) -> Any:
    # By the front door: tables are made of tensors, and this belongs to a method of those.
    import lazytensor

    return lazytensor.open_ome_arrow(path, storage_options=storage_options)


def _check(how: _How, chunks: Any) -> None:
    """``ValueError`` for options that there are not, or not for what is written."""
    from lazytensor.io.ome_arrow.parquet_growing import CODECS
    from lazytensor.io.ome_arrow.sink_places import check_mode

    check_mode(how.mode)
    if how.encoding not in _ENCODINGS:
        raise ValueError(f"encoding={how.encoding!r}: expected one of {_ENCODINGS}")
    if how.compression is not None and how.compression not in CODECS:
        raise ValueError(f"compression={how.compression!r}: expected None or one of {CODECS}")
    if how.chunk_compression is not None:
        if how.chunk_compression not in CODECS:
            raise ValueError(
                f"chunk_compression={how.chunk_compression!r}: expected None or one of {CODECS}"
            )
        if how.encoding != "bytes":
            raise ValueError(
                f"chunk_compression is for encoding='bytes'; of {how.encoding!r} Parquet "
                f"compresses pages: compression={how.chunk_compression!r}"
            )
    if chunks is not None and how.encoding == "list":
        raise ValueError("encoding='list' has planes and no chunks")


def _made(how: _How, node: Node, written: Written, chunks: tuple[int, ...]) -> Made:
    from lazytensor.io.staging_remote import place_of

    place = place_of(how.path, how.storage_options)
    if how.encoding == "chunks":
        from lazytensor.io.ome_arrow.sink_dataset import DatasetSink

        sink = DatasetSink(place, written, chunks, compression=how.compression, mode=how.mode)
        return Made(sink, (node,))
    from lazytensor.io.ome_arrow.sink import InlineSink

    inline = InlineSink(
        place,
        written,
        None if how.encoding == "list" else chunks,
        column=how.column,
        compression=how.compression,
        chunk_compression=how.chunk_compression,
        mode=how.mode,
    )
    return Made(inline, (node,))


def _arranged(x: Any, names: Sequence[str]) -> Node:
    """The plan of a tensor with all dims of images, maybe behind "row"."""
    wanted = [*([_ROW] if _ROW in names else []), *_DIMS]
    present = [dim for dim in wanted if dim in names]
    order = tuple([names.index(dim) for dim in present])
    if order != tuple(range(len(order))):
        x = type(x)._wrap(permute_dims(as_node(x), order))
    index = tuple([slice(None) if dim in present else None for dim in wanted])
    return as_node(x[index] if len(present) < len(wanted) else x)


def _names(x: Any) -> list[str]:
    """Which dim of an image each dim of a tensor is; ``DimensionError`` where that is not said."""
    given = [dim.lower() for dim in x.dims]
    if not any(given) and x.ndim in _UNNAMED:
        return list(_UNNAMED[x.ndim])
    odd = [dim for dim in given if dim not in (*_DIMS, _ROW)]
    if odd or len(set(given)) < len(given):
        raise DimensionError(
            f"OME-Arrow images have dims t, c, z, y, x (some of them, in any order; 'row' for a "
            f"stack of images), this tensor has {tuple(x.dims)}: name them, as in "
            f'x.label["c", "y", "x"], and select or reduce along others'
        )
    return given


def _written(
    x: Any,
    node: Node,
    rows: bool,
    image_id: Any,
    name: Any,
    image_type: str | None,
    channels: Any,
    encoding: Encoding,
) -> Written:
    from lazytensor.io.ome_arrow.schemas import Written, channels_of, check_dtype, check_sizes

    shape = node.shape[-5:]
    check_dtype(node.dtype, listed=encoding == "list")
    check_sizes(shape, inline=encoding != "chunks")
    axes = [
        replace(axis, name=dim, kind=axis.kind or _KINDS[dim])
        for dim, axis in zip(_DIMS, node.axes[-5:], strict=True)
    ]
    attrs = dict(x.attrs)
    count = node.shape[0] if rows else 1
    found = channels_of(channels, axes[1].labels, attrs.get("channels"), shape[1])
    if any(channel["name"] for channel in found):
        axes[1] = _with_labels(axes[1], [channel["name"] for channel in found])
    if image_type is None and isinstance(attrs.get("image_type"), str):
        image_type = attrs["image_type"]
    if name is None and isinstance(attrs.get("name"), str):
        name = [attrs["name"]] * count
    ids = _of_each("image_id", image_id, count)
    if ids is not None and len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise ValueError(f"image_id {twice!r} is given twice; images have ids of their own")
    return Written(
        shape=shape,
        dtype=node.dtype,
        axes=tuple(axes),
        origin=tuple([int(lo) for lo in node.domain.inclusive_min[-5:]]),
        rows=count if rows else None,
        ids=ids,
        names=_of_each("name", name, count),
        image_type=image_type,
        channels=found,
        attrs=attrs,
    )


def _with_labels(axis: Axis, names: Sequence[str | None]) -> Axis:
    return replace(axis, labels=tuple([name or f"C{n}" for n, name in enumerate(names)]))


def _of_each(what: str, given: Any, count: int) -> tuple[str, ...] | None:
    """A text for each image, from one or several."""
    if given is None:
        return None
    several = isinstance(given, Iterable) and not isinstance(given, str)
    found = tuple(given) if several else (given,)
    wrong = [one for one in found if not isinstance(one, str)]
    if wrong:
        raise TypeError(f"{what} is text, or a sequence of texts, and not {wrong[0]!r}")
    if len(found) != count:
        raise DimensionError(f"{what}: {len(found)} for {count} images; give one for each")
    return found


def _chunk_sizes(node: Node, chunks: Any, names: Sequence[str]) -> tuple[int, ...]:
    """Extents of chunks from ``chunks=``, along t, c, z, y, x; ``names``: dims of the tensor."""
    shape = node.shape[-5:]
    if chunks is None or isinstance(chunks, str):
        if chunks not in (None, "auto"):
            raise ValueError(f"chunks={chunks!r}: expected 'auto', None or an extent for each dim")
        return _auto_chunks(node, shape)
    given = [dim for dim in names if dim != _ROW]
    if isinstance(chunks, (int, np.integer)):
        chunks = [chunks] * len(shape)
    elif not isinstance(chunks, Mapping):
        chunks = list(chunks)
        dims = given if len(chunks) == len(given) else _DIMS
        if len(chunks) != len(dims):
            raise DimensionError(f"chunks: {len(chunks)} extents for dims {tuple(given)}")
        chunks = dict(zip(dims, chunks, strict=True))
    if isinstance(chunks, Mapping):
        unknown = [dim for dim in chunks if dim not in _DIMS]
        if unknown:
            raise DimensionError(f"chunks: there is no dim {unknown[0]!r}; dims are {_DIMS}")
        chunks = [chunks.get(dim, n) for dim, n in zip(_DIMS, shape, strict=True)]
    for size in chunks:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ShapeError(f"chunks {tuple(chunks)} must be positive integers")
    return tuple([min(int(size), n) for size, n in zip(chunks, shape, strict=True)])


def _auto_chunks(node: Node, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Cells of what is read, or else planes, made of 1 to 4 MiB.

    Larger ones are halved along the longest of z, y, x; smaller ones are doubled along x, y, z, so
    that they are planes, then some planes, before they go over several channels and times.
    """
    sizes = []
    for cells, n, dim in zip(node.grid[-5:], shape, _DIMS, strict=True):
        if cells is None or cells.free:
            sizes.append(n if dim in "yx" else 1)
        else:
            sizes.append(max(1, min(n, cells.nominal)))

    def nbytes() -> int:
        return math.prod(sizes) * node.dtype.itemsize

    while nbytes() > _MOST_CHUNK and max(sizes) > 1:
        d = sizes.index(max(sizes[2:])) if max(sizes[2:]) > 1 else sizes.index(max(sizes))
        sizes[d] = -(-sizes[d] // 2)
    for d in (4, 3, 2, 1, 0):
        while sizes[d] < shape[d] and nbytes() < _LEAST_CHUNK:
            sizes[d] = min(shape[d], 2 * sizes[d])
    return tuple(sizes)
