"""From what a user calls the store to the place that a zarr sink writes to.

As ``store_open`` does for reading; of stores of zarr-python those that stand for a folder, a dict
or a file system are written to without them, and the others not at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

from lazytensor.errors import SinkError
from lazytensor.io.staging_remote import Place, place_of
from lazytensor.io.store import Store, join_key
from lazytensor.io.store_open import is_zarr_node
from lazytensor.io.zarr.sink_places import (
    MappingPlace,
    Mode,
    TreePlace,
    ZarrMemoryPlace,
    buffer_of_zarr,
)

if TYPE_CHECKING:
    from lazytensor.io.zarr.sink_region import RegionPlace

__all__ = ["region_place", "tree_place"]


def tree_place(
    store: Any,
    path: str,
    mode: Mode,
    what: str,
    storage_options: Mapping[str, Any] | None = None,
) -> TreePlace:
    """The place of a node in what a user calls the store; ``what``: names the sink in errors.

    Raises ``TypeError`` for stores that cannot be written to, ``ValueError`` for modes that they
    do not have.
    """
    target, inner = _resolved(store, path, storage_options)
    if isinstance(target, _Buffers):
        return ZarrMemoryPlace(target.data, inner, mode, _label(what, "memory", inner))
    if isinstance(target, _Zip):
        from lazytensor.io.zarr.sink_zip import ZipPlace

        return ZipPlace(target.path, inner, mode, _label(what, target.path, inner))
    if not isinstance(target, Place):
        return MappingPlace(target, inner, mode, _label(what, "memory", inner))
    label = _label(what, target.name, inner)
    if target.fs is None:
        from lazytensor.io.zarr.sink_local import FolderPlace

        return FolderPlace(target.path, inner, mode, label)
    from lazytensor.io.zarr.sink_remote import RemotePlace

    return RemotePlace(target, inner, mode, label)


def region_place(
    store: Any, path: str, what: str, storage_options: Mapping[str, Any] | None = None
) -> RegionPlace:
    """The place of an array that is there; arguments and errors as ``tree_place``."""
    from lazytensor.io.zarr.sink_region import FolderRegion, MappingRegion, RemoteRegion

    target, inner = _resolved(store, path, storage_options)
    if isinstance(target, _Zip):
        raise ValueError(
            f"{_label(what, target.path, inner)}: zip files are only made, and not changed"
        )
    if isinstance(target, _Buffers):
        return MappingRegion(target.data, inner, _label(what, "memory", inner), buffer_of_zarr)
    if not isinstance(target, Place):
        return MappingRegion(target, inner, _label(what, "memory", inner), bytes)
    label = _label(what, target.name, inner)
    if target.fs is None:
        return FolderRegion(target.path, inner, label)
    return RemoteRegion(target, inner, label)


def _resolved(
    store: Any, path: str, storage_options: Mapping[str, Any] | None
) -> tuple[Place | _Buffers | _Zip | MutableMapping[str, Any], str]:
    """What is written to, and the path in it."""
    inner = join_key(path)
    if is_zarr_node(store):
        inner = join_key(store.path, inner)
        store = store.store
    store = _plain_store(store)
    if isinstance(store, (_Buffers, MutableMapping)):
        return store, inner
    if isinstance(store, (str, os.PathLike)) and _is_zip(os.fsdecode(store)):
        return _Zip(os.path.abspath(os.path.expanduser(os.fsdecode(store)))), inner
    return place_of(store, storage_options), inner


class _Zip(NamedTuple):
    """A zip file."""

    path: str


def _label(what: str, name: str, inner: str) -> str:
    return f"{what} {name}/{inner}".rstrip("/")


def _is_zip(text: str) -> bool:
    return text.endswith(".zip") and "://" not in text and not os.path.isdir(text)


class _Buffers:
    """The dict of a memory store of zarr-python."""

    def __init__(self, data: MutableMapping[str, Any]) -> None:
        self.data = data


def _plain_store(store: Any) -> Any:
    """What an open store of zarr-python stands for; other things as they are."""
    kind = type(store)
    if not kind.__module__.startswith("zarr."):
        if isinstance(store, Store) or (
            hasattr(store, "supports_writes") and hasattr(store, "get_partial_values")
        ):
            raise TypeError(
                f"{kind.__name__} cannot be written to by a sink: give the path or the URL that it "
                f"stands for"
            )
        return store
    if getattr(store, "read_only", False):
        raise SinkError(f"{kind.__name__} {store} was opened read only; open it with mode='r+'")
    match kind.__name__:
        case "LocalStore":
            return os.fspath(store.root)
        case "MemoryStore":
            return _Buffers(store._store_dict)
        case "FsspecStore":
            return _synchronous(store.fs), store.path
    raise TypeError(
        f"a {kind.__name__} of zarr cannot be written to by a sink: give the path or the URL that "
        f"it stands for"
    )


def _synchronous(fs: Any) -> Any:
    """A file system that may be called without a loop of one's own."""
    fs = getattr(fs, "sync_fs", fs)
    if not getattr(fs, "asynchronous", False):
        return fs
    return type(fs)(*fs.storage_args, **{**fs.storage_options, "asynchronous": False})
