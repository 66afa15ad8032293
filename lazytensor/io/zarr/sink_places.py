"""Where zarr is written, so that nobody sees an array before all of it is there.

There are four kinds of places, each with what it can do: a folder of this machine
(``sink_local``: a hidden one beside it, put into its place at once), a file system of fsspec
(``sink_remote``: objects under their names, the document without which nobody looks for them last),
a zip file (``sink_zip``), and a mapping in memory, which is filled at the end.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from typing import Any, Literal

from lazytensor.errors import SinkExistsError
from lazytensor.io.store import Buffer, Store, join_key
from lazytensor.io.store_memory import DictStore
from lazytensor.io.zarr.sink_consolidated import (
    consolidated_files,
    documents_below,
    is_consolidated,
)
from lazytensor.io.zarr.sink_tree import Tree, differs, kind_at, missing_groups

__all__ = [
    "MappingPlace",
    "Mode",
    "TreePlace",
    "ZarrMemoryPlace",
    "buffer_of_zarr",
    "check_mode",
    "looked_for",
]

Mode = Literal["create", "overwrite", "resume"]
_MODES = ("create", "overwrite", "resume")


def check_mode(mode: str, *others: str) -> None:
    """``ValueError`` unless ``mode`` says what becomes of what is there; ``others``: modes that
    there are as well, and that are not for this."""
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {(*_MODES, *others)}, not {mode!r}")


class TreePlace(ABC):
    """A place for a node, and what is below it.

    ``inner``: path in the store. ``label``: names the sink in errors. ``places``: absolute paths or
    URLs of what is made. ``complete``: whether all is there already; ``present``: keys that are,
    for ``mode="resume"`` (both once it has begun). ``copies``: how many copies of an object there
    are while it is put. ``consolidates``: whether ``consolidate`` can be asked for.
    ``replaces``: whether empty objects have to be removed. ``waits``: whether putting an object
    mostly waits for a network.
    """

    complete = False
    consolidates = True
    replaces = False
    waits = False
    copies = 0

    def __init__(self, inner: str, mode: Mode, label: str, places: Iterable[str]) -> None:
        self.inner = inner
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

    def may_have(self, key: str) -> bool:
        """Whether there may be an object that must not be there if it is empty now."""
        return key in self.present

    def remove(self, key: str) -> None:
        """Remove one of those that it ``may_have``."""
        raise NotImplementedError

    def reader(self) -> Store:
        """What is ``present``, to be read."""
        raise NotImplementedError

    @abstractmethod
    def publish(self) -> None:
        """Write the documents, and let everybody see all of it; raises ``SinkError``."""

    def consolidate(self, *, anew: bool) -> None:
        """Write consolidated metadata of the whole store, after ``publish``; if there is none yet,
        only if it is made ``anew``."""
        if not self.consolidates or not self.inner:
            return
        if not anew and not is_consolidated(self._store()):
            return
        documents = documents_below(self._store())
        zarr_format = 3 if "zarr.json" in documents else 2
        for key, data in consolidated_files(documents, zarr_format).items():
            self._put_in_store(key, data)

    def _store(self) -> Store:
        """The store, to be read."""
        raise NotImplementedError

    def _put_in_store(self, key: str, data: bytes) -> None:
        """Replace an object of the store."""
        raise NotImplementedError

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
            other = differs(
                {key: known[key] for key in known if key in tree.documents}, tree.documents
            )
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
        super().__init__(inner, mode, label, (f"memory:{id(data)}/{inner}",))
        self._data = data
        self._made: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._tree: Tree | None = None

    def _wrap(self, data: bytes) -> Any:
        return data

    def _read(self, key: str) -> Buffer | None:
        return DictStore(self._data).get(key)

    def _here(self) -> list[str]:
        start = f"{self.inner}/" if self.inner else ""
        return [key for key in list(self._data) if key.startswith(start)]

    def begin(self, tree: Tree, plan: str | None) -> None:
        """Look at what is there."""
        self._tree = tree
        missing_groups(self._read, self.inner, tree.zarr_format, self.label)
        self._look(tree)

    def _look(self, tree: Tree) -> None:
        if self._here():
            found = {key: self._read(join_key(self.inner, key)) for key in looked_for(tree)}
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
        groups = missing_groups(self._read, self.inner, tree.zarr_format, self.label)
        for key in self._here():
            del self._data[key]
        files = {join_key(self.inner, k): v for k, v in {**self._made, **tree.documents}.items()}
        for key, data in {**groups, **files}.items():
            self._data[key] = self._wrap(data)
        self._made = {}

    def _store(self) -> Store:
        return DictStore(self._data)

    def _put_in_store(self, key: str, data: bytes) -> None:
        self._data[key] = self._wrap(data)

    def abort(self) -> None:
        """Forget it."""
        self._made = {}


class ZarrMemoryPlace(MappingPlace):
    """The dict of a memory store of zarr-python, whose values are buffers of its own kind."""

    def _wrap(self, data: bytes) -> Any:
        return buffer_of_zarr(data)


def buffer_of_zarr(data: bytes) -> Any:
    """Bytes as zarr-python keeps them."""
    from zarr.core.buffer import default_buffer_prototype

    return default_buffer_prototype().buffer.from_bytes(data)
