"""Free functions that write several tensors as zarr: ``dump_zarr``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from lazytensor.build import as_node
from lazytensor.callsite import about
from lazytensor.errors import DTypeError
from lazytensor.scanning import open_zarr
from lazytensor.sinking import LazySink, Made, done
from lazytensor.sinking_zarr import How, Mode, array_files, plan_digest
from lazytensor.tensor import LazyTensor

__all__ = ["dump_zarr"]


def dump_zarr(
    tensors: Mapping[str, Any],
    store: Any,
    path: str = "",
    *,
    attributes: Mapping[str, Any] | None = None,
    consolidated: bool = False,
    zarr_format: int = 3,
    chunks: Any = "auto",
    shards: Any = None,
    compressor: Any = "zstd",
    filters: Any = (),
    fill_value: Any = 0,
    key_encoding: Any = None,
    mode: Mode = "create",
    write_empty: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    lazy: bool = False,
    engine: Any = "auto",
    progress: Any = None,
) -> Any:
    """Write tensors by name as the arrays of one zarr group; what they share is computed once.

    Parameters
    ----------
    tensors
        A dict of tensors (and of what ``asarray`` takes), and of further dicts, which are groups;
        a name like ``"g/b"`` is an array in a group as well. ``{}`` is an empty group.
    store, path
        As ``LazyTensor.sink_zarr``; where the group lies.
    attributes
        Of the group. Arrays keep those of what they were read from.
    consolidated
        Say in the document of the group what those of all arrays say.
    mode
        As ``LazyTensor.sink_zarr``, of the group as a whole: ``"overwrite"`` replaces it with all
        that is in it.
    zarr_format, chunks, shards, compressor, filters, fill_value, key_encoding, write_empty
        As ``LazyTensor.sink_zarr``, for each of the arrays.
    storage_options, lazy, engine, progress
        As ``LazyTensor.sink_zarr``.

    Returns what ``lt.open_zarr(store, path)`` gives; a ``LazySink`` of it with ``lazy=True``.

    Raises ``ValueError`` for names that would mean two nodes, and as ``LazyTensor.sink_zarr``.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     x = lt.asarray(np.arange(4))
    ...     group = lt.dump_zarr({"a": x, "more": {"b": x + 1}}, folder + "/both.zarr")
    ...     print(group.tree().partition("both.zarr")[2], group["more/b"].collect())
    <BLANKLINE>
    ├── a  int64 (4,) chunks (4,)
    └── more
        └── b  int64 (4,) chunks (4,) [1 2 3 4]
    """
    from lazytensor.io.zarr.sink_places import check_mode

    if not isinstance(tensors, Mapping):
        raise TypeError(f"dump_zarr takes a dict of tensors, not {type(tensors).__name__}")
    check_mode(mode)
    handles, groups = _flat(tensors)
    how = How(
        zarr_format, chunks, shards, compressor, filters, fill_value, key_encoding=key_encoding
    )
    with about(list(handles.values())):
        found = {name: array_files(x, how) for name, x in handles.items()}
        nodes = tuple([x._node for x in handles.values()])

        def make() -> Made:
            from lazytensor.io.zarr.sink import ZarrSink
            from lazytensor.io.zarr.sink_open import tree_place
            from lazytensor.io.zarr.sink_tree import group_tree

            place = tree_place(store, path, mode, "zarr", storage_options)
            documents = {name: one.files for name, one in found.items()}
            tree = group_tree(
                documents, groups, attributes, zarr_format=zarr_format, consolidated=consolidated
            )
            arrays = {name: one.metadata for name, one in found.items()}
            digest = partial(plan_digest, nodes)
            sink = ZarrSink(place, tree, arrays, plan=digest, write_empty=write_empty)
            return Made(sink, nodes)

        opened = partial(open_zarr, store, path, storage_options=storage_options)
        sink = LazySink(list(handles.values()), make, opened)
    return done(sink, lazy, engine, progress)


def _flat(tensors: Mapping[str, Any]) -> tuple[dict[str, LazyTensor], list[str]]:
    """Tensors by path, and the groups that they lie in, outer ones first."""
    handles: dict[str, LazyTensor] = {}
    groups: dict[str, None] = {}
    for path, value in _entries(tensors, ""):
        for at in range(path.count("/")):
            groups["/".join(path.split("/")[: at + 1])] = None
        if value is None:
            groups[path] = None
            continue
        if path in handles:
            raise ValueError(f"dump_zarr: two tensors would be called {path!r}; rename one")
        handles[path] = value if isinstance(value, LazyTensor) else LazyTensor._wrap(as_node(value))
    both = next((path for path in handles if path in groups), None)
    if both is not None:
        raise ValueError(f"dump_zarr: {both!r} would be an array and a group; rename one")
    return handles, list(groups)


def _entries(tensors: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Paths and tensors; None for a group."""
    for key, value in tensors.items():
        path = prefix + _checked(key)
        if value is None:
            raise DTypeError(f"dump_zarr: {path!r} is None")
        if isinstance(value, Mapping):
            yield path, None
            yield from _entries(value, f"{path}/")
        else:
            yield path, value


def _checked(key: Any) -> str:
    """A name or path; ``ValueError`` for what a store cannot have."""
    parts = key.split("/") if isinstance(key, str) else [""]
    if any(not part or part.startswith(("__", ".")) or "\\" in part for part in parts):
        raise ValueError(
            f"dump_zarr: {key!r} is no name of an array: names are not empty and do not begin with "
            f"'.' or '__'"
        )
    return str(key)
