"""Where zarr is written, so that nobody sees an array before all of it is there.

There are four kinds of places, each with what it can do: a folder of this machine
(``sink_local``: a hidden one beside it, put into its place at once), a file system of fsspec
(``sink_remote``: objects under their names, the document without which nobody looks for them last),
a zip file (``sink_zip``), and a mapping in memory, which is filled at the end.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Literal

from lazytensor.errors import SinkError, SinkExistsError
from lazytensor.io.store import Buffer, Store, join_key
from lazytensor.io.store_memory import DictStore
from lazytensor.io.store_open import is_zarr_node
from lazytensor.io.zarr.sink_tree import Note, Tree, differs, kind_at, missing_groups

__all__ = ["Mode", "TreePlace", "check_mode", "tree_place"]

Mode = Literal["create", "overwrite", "resume"]
_MODES = ("create", "overwrite", "resume")


def check_mode(mode: str) -> None:
    """``ValueError`` unless ``mode`` says what becomes of what is there."""
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {_MODES}, not {mode!r}")


class TreePlace(ABC):
    """A place for a node, and what is below it.

    ``label``: names the sink in errors. ``places``: absolute paths or URLs of what is made.
    ``complete``: whether all is there already; ``present``: keys that are, for ``mode="resume"``
    (both once it has begun). ``copies``: how many copies of an object there are while it is put.
    """

    complete = False
    copies = 0

    def __init__(self, mode: Mode, label: str, places: Iterable[str]) -> None:
        self.mode: Mode = mode
        self.label = label
        self.places = tuple(places)
        self.present: set[str] = set()

    @abstractmethod
    def begin(self, tree: Tree, plan: str | None) -> None:
        """Reserve the place; ``plan``: digest of what is computed. Raises ``SinkError``."""

    @abstractmethod
    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Write an object at once, from any thread; raises ``SinkError`` naming the key."""

    def remove(self, key: str) -> None:
        """Remove one of those that are ``present``."""
        raise NotImplementedError

    def reader(self) -> Store:
        """What is ``present``, to be read."""
        raise NotImplementedError

    @abstractmethod
    def publish(self) -> None:
        """Write the documents, and let everybody see all of it; raises ``SinkError``."""

    @abstractmethod
    def abort(self) -> None:
        """Leave no trace; of ``mode="resume"`` what is needed to go on."""

    def _settle(self, tree: Tree, found: Mapping[str, bytes | None]) -> None:
        """``SinkExistsError`` unless what is there may be replaced, or is what is wanted.

        ``found``: the documents that are there, None for those that are not.
        """
        read = found.get
        there = kind_at(lambda key: read(key))
        if self.mode == "resume":
            known = {key: data for key, data in found.items() if data is not None}
            other = differs({key: known[key] for key in known if key in tree.documents}, tree.documents)
            if other is None:
                self.complete = True
                return
            raise SinkExistsError(
                f"{self.label}: there is something else at {self.places[0]!r} already ({other}); "
                f"give another path, or mode='overwrite'"
            )
        if self.mode == "create":
            raise SinkExistsError(
                f"{self.label}: there is something at {self.places[0]!r} already; give another "
                f"path, or mode='overwrite'"
            )
        if there is None or (tree.kind == "array" and there[0] == "group"):
            what = "no zarr array" if there is None else "a group, and not an array"
            raise SinkExistsError(
                f"{self.label}: what is at {self.places[0]!r} is {what}: remove it yourself, or "
                f"give the path of an array"
            )


_ALL = ("zarr.json", ".zarray", ".zgroup")


def looked_for(tree: Tree) -> tuple[str, ...]:
    """Keys by which it is known what is at a place."""
    return tuple(dict.fromkeys((*tree.documents, *_ALL)))


class MappingPlace(TreePlace):
    """A dict of bytes. ``wrap``: makes what its values are of bytes."""

    copies = 1

    def __init__(self, data: MutableMapping[str, Any], inner: str, mode: Mode, label: str) -> None:
        super().__init__(mode, label, ())
        self._data = data
        self._inner = inner
        self.places = (f"memory:{id(data)}/{inner}",)
        self._made: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._tree: Tree | None = None

    def _wrap(self, data: bytes) -> Any:
        return data

    def _read(self, key: str) -> Buffer | None:
        return DictStore(self._data).get(key)

    def _here(self) -> list[str]:
        start = f"{self._inner}/" if self._inner else ""
        return [key for key in list(self._data) if key.startswith(start)]

    def begin(self, tree: Tree, plan: str | None) -> None:
        """Look at what is there."""
        self._tree = tree
        missing_groups(self._read, self._inner, tree.zarr_format, self.label)
        self._look(tree)

    def _look(self, tree: Tree) -> None:
        if self._here():
            found = {key: self._read(join_key(self._inner, key)) for key in looked_for(tree)}
            self._settle(tree, {k: None if v is None else bytes(v) for k, v in found.items()})

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Keep it until the end."""
        data = b"".join(parts)
        with self._lock:
            self._made[key] = data

    def publish(self) -> None:
        """Replace what was there, documents last."""
        tree = self._tree
        assert tree is not None
        if self.complete:
            return
        self._look(tree)
        groups = missing_groups(self._read, self._inner, tree.zarr_format, self.label)
        for key in self._here():
            del self._data[key]
        files = {join_key(self._inner, k): v for k, v in {**self._made, **tree.documents}.items()}
        for key, data in {**groups, **files}.items():
            self._data[key] = self._wrap(data)
        self._made = {}

    def abort(self) -> None:
        """Forget it."""
        self._made = {}


class ZarrMemoryPlace(MappingPlace):
    """The dict of a memory store of zarr-python, whose values are buffers of its own kind."""

    def _wrap(self, data: bytes) -> Any:
        from zarr.core.buffer import default_buffer_prototype

        return default_buffer_prototype().buffer.from_bytes(data)


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
    inner = join_key(path)
    if is_zarr_node(store):
        inner = join_key(store.path, inner)
        store = store.store
    store = _plain_store(store)
    if isinstance(store, _Buffers):
        return ZarrMemoryPlace(store.data, inner, mode, _label(what, "memory", inner))
    if isinstance(store, MutableMapping):
        return MappingPlace(store, inner, mode, _label(what, "memory", inner))
    if isinstance(store, (str, os.PathLike)) and _is_zip(os.fsdecode(store)):
        from lazytensor.io.zarr.sink_zip import ZipPlace

        text = os.path.abspath(os.path.expanduser(os.fsdecode(store)))
        return ZipPlace(text, inner, mode, _label(what, text, inner))
    from lazytensor.io.staging_remote import place_of

    place = place_of(store, storage_options)
    if place.fs is None:
        from lazytensor.io.zarr.sink_local import FolderPlace

        return FolderPlace(place.path, inner, mode, _label(what, place.name, inner))
    from lazytensor.io.zarr.sink_remote import RemotePlace

    return RemotePlace(place, inner, mode, _label(what, place.name, inner))


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
