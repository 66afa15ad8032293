"""Writing into a zarr array that is there: a part of it, or behind its end.

Objects are replaced one by one, each at once, and those that come to hold nothing but the fill
value are removed. In a folder and in a dict that happens at the end, when all are there, so that a
run that fails has changed nothing; on a file system of fsspec each is put when it is encoded, so
that a run that fails leaves some new and some as they were. The document comes last: with the new
shape, if the array grows, and written anew in any case, so that whoever keeps what he has read sees
that it is old. Where the array says which content it has (``plan.levels``), it says another one
before the first object changes.

Who writes objects that he has to read before, or makes the array longer, holds a lock on the folder
meanwhile; file systems of fsspec have none.
"""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from lazytensor.errors import SinkError
from lazytensor.io.staging import StagedFile, StagedFolder, named
from lazytensor.io.staging_remote import Place, Remote
from lazytensor.io.store import Buffer, Store, join_key
from lazytensor.io.store_local import LocalStore
from lazytensor.io.store_memory import DictStore
from lazytensor.io.store_open import make_store
from lazytensor.io.zarr.document import parse_json
from lazytensor.io.zarr.documents import json_bytes
from lazytensor.io.zarr.metadata import ArrayMetadata
from lazytensor.io.zarr.sink import ArrayTarget
from lazytensor.io.zarr.sink_places import TreePlace
from lazytensor.io.zarr.sink_tree import Tree, differs
from lazytensor.plan.levels import ATTRIBUTE
from lazytensor.plan.sink import Target

__all__ = ["FolderRegion", "MappingRegion", "RegionPlace", "RegionSink", "RemoteRegion"]


class RegionPlace(TreePlace):
    """An array that is there. ``alone``: nobody else may write to it meanwhile."""

    replaces = True

    def __init__(self, inner: str, label: str, place: str) -> None:
        super().__init__(inner, "overwrite", label, (place,))
        self.alone = False
        self.before: Mapping[str, bytes] = {}
        self.between: Mapping[str, bytes] = {}
        self._after: Mapping[str, bytes] = {}

    def may_have(self, key: str) -> bool:
        """Nobody has looked."""
        return True

    def begin(self, tree: Tree, plan: str | None) -> None:
        """Find the array as it was when its documents were read; raises ``SinkError``."""
        self._after = tree.documents
        self._hold()
        self._check()

    def _check(self) -> None:
        """``SinkError`` if the array is not the one that was found; its content may be another."""
        found = {key: self._read(key) for key in self.before}
        there = {key: bytes(data) for key, data in found.items() if data is not None}
        difference = differs(_without_content(there), _without_content(self.before))
        if difference is not None:
            raise SinkError(
                f"{self.label}: somebody else has changed the array meanwhile ({difference}); try "
                f"again"
            )

    def publish(self) -> None:
        """Replace objects and documents."""
        self._check()
        for key, data in self.between.items():
            self._write(key, data)
        self._move()
        for key, data in self._after.items():
            self._write(key, data)
        self._release()

    def abort(self) -> None:
        """Forget what was not put into its place."""
        self._release()

    def _hold(self) -> None:
        """Have it alone, if that is wanted and possible."""

    @abstractmethod
    def _release(self) -> None:
        """Let others have it, and remove what is not in its place."""

    @abstractmethod
    def _read(self, key: str) -> Buffer | None:
        """A document of the array."""

    @abstractmethod
    def _write(self, key: str, data: bytes) -> None:
        """Replace a document of the array."""

    def _move(self) -> None:
        """Put objects into their places, and remove those that are empty."""


def _without_content(documents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Documents that do not say which content the array has: other writers change that, too."""
    found = {}
    for key, data in documents.items():
        document = parse_json(data, key)
        holder = document if key == ".zattrs" else document.get("attributes")
        ours = holder.get(ATTRIBUTE) if isinstance(holder, dict) else None
        if isinstance(ours, dict):
            ours.pop("content", None)
        found[key] = json_bytes(document)
    return found


class FolderRegion(RegionPlace):
    """In a folder: ``inner`` in the folder ``root``, which is the store."""

    def __init__(self, root: str, inner: str, label: str) -> None:
        self._path = os.path.join(root, *inner.split("/")) if inner else root
        super().__init__(inner, label, self._path)
        self._root = root
        self._staged = StagedFolder(os.path.join(self._path, "region"), "create", label)
        self._empty: set[str] = set()
        self._lock = -1

    def _hold(self) -> None:
        self._empty.clear()
        with named(self.label, "cannot be written"):
            if self.alone:
                self._lock = os.open(self._path, os.O_RDONLY)
                try:
                    import fcntl
                except ImportError:
                    return
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._staged.begin()

    def _release(self) -> None:
        self._staged.abort()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Write a file beside its place."""
        self._empty.discard(key)
        self._staged.put(key, parts)

    def remove(self, key: str) -> None:
        """Remember that it is to be removed."""
        self._empty.add(key)

    def _move(self) -> None:
        own = self._staged.own
        with named(self.label, "cannot be put into its place"):
            for folder, _, names in os.walk(own):
                inside = os.path.join(self._path, os.path.relpath(folder, own))
                os.makedirs(inside, exist_ok=True)
                for name in names:
                    os.replace(os.path.join(folder, name), os.path.join(inside, name))
            for key in self._empty:
                with suppress(FileNotFoundError, NotADirectoryError):
                    os.unlink(os.path.join(self._path, key))

    def _read(self, key: str) -> Buffer | None:
        return LocalStore(self._path).get(key)

    def _write(self, key: str, data: bytes) -> None:
        self._replace(os.path.join(self._path, key), data)

    def _replace(self, path: str, data: bytes) -> None:
        staged = StagedFile(path, "overwrite", self.label)
        staged.begin()
        try:
            staged.put(0, data)
            staged.publish()
        except BaseException:
            staged.abort()
            raise

    def _store(self) -> Store:
        return LocalStore(self._root)

    def _put_in_store(self, key: str, data: bytes) -> None:
        self._replace(os.path.join(self._root, key), data)


class MappingRegion(RegionPlace):
    """In a dict. ``wrap``: makes what its values are of bytes."""

    copies = 1

    def __init__(self, data: MutableMapping[str, Any], inner: str, label: str, wrap: Any) -> None:
        super().__init__(inner, label, f"memory:{id(data)}/{inner}")
        self._data = data
        self._wrap = wrap
        self._made: dict[str, bytes | None] = {}
        self._lock = threading.Lock()

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Keep it until the end."""
        data = b"".join(parts)
        with self._lock:
            self._made[key] = data

    def remove(self, key: str) -> None:
        """Remember that it is to be removed."""
        with self._lock:
            self._made[key] = None

    def _release(self) -> None:
        self._made = {}

    def _move(self) -> None:
        for key, data in self._made.items():
            if data is None:
                self._data.pop(join_key(self.inner, key), None)
            else:
                self._write(key, data)

    def _read(self, key: str) -> Buffer | None:
        return DictStore(self._data).get(join_key(self.inner, key))

    def _write(self, key: str, data: bytes) -> None:
        self._put_in_store(join_key(self.inner, key), data)

    def _store(self) -> Store:
        return DictStore(self._data)

    def _put_in_store(self, key: str, data: bytes) -> None:
        self._data[key] = self._wrap(data)


class RemoteRegion(RegionPlace):
    """On a file system of fsspec."""

    copies = 1
    waits = True

    def __init__(self, place: Place, inner: str, label: str) -> None:
        super().__init__(inner, label, f"{place.uri}/{inner}".rstrip("/"))
        self._fs = place.fs
        self._root = place.path
        self._path = f"{place.path}/{inner}".rstrip("/")
        self._remote = Remote(place, label)

    def begin(self, tree: Tree, plan: str | None) -> None:
        """Say that the content is another one: from now on, objects change."""
        super().begin(tree, plan)
        for key, data in self.between.items():
            self._write(key, data)
        self.before, self.between = {**self.before, **self.between}, {}

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Put an object into its place."""
        self._put(f"{self._path}/{key}", b"".join(parts), key)

    def _put(self, path: str, data: bytes, key: str) -> None:
        with self._remote.named(f"key {key!r}"):
            self._remote.put(path, lambda to: self._fs.pipe_file(to, data))

    def remove(self, key: str) -> None:
        """Remove an object."""
        with self._remote.named(f"key {key!r}"), suppress(FileNotFoundError):
            self._fs.rm_file(f"{self._path}/{key}")

    def _release(self) -> None:
        self._fs.invalidate_cache()

    def _read(self, key: str) -> Buffer | None:
        self._fs.invalidate_cache()
        return make_store((self._fs, self._path)).get(key)

    def _write(self, key: str, data: bytes) -> None:
        self._put(f"{self._path}/{key}", data, key)

    def _store(self) -> Store:
        self._fs.invalidate_cache()
        return make_store((self._fs, self._root))

    def _put_in_store(self, key: str, data: bytes) -> None:
        self._put(f"{self._root}/{key}", data, key)


class RegionSink:
    """A part of an array, of whole objects: those from the number ``first`` on (per dim).

    ``metadata``: of the array as it will be. ``before``, ``after``: its documents now and then, by
    key; ``between``: those that say that the content is another one.
    """

    def __init__(
        self,
        place: RegionPlace,
        metadata: ArrayMetadata,
        first: Sequence[int],
        *,
        before: Mapping[str, bytes],
        between: Mapping[str, bytes],
        after: Mapping[str, bytes],
        write_empty: bool,
    ) -> None:
        self.label = place.label
        self.places = place.places
        place.before, place.between = before, between
        self._place = place
        zarr_format = 3 if "zarr.json" in after else 2
        self._tree = Tree("array", zarr_format, after)
        self._target = ArrayTarget(place, "", metadata, write_empty=write_empty, first=first)
        self.targets: tuple[Target | np.ndarray, ...] = (self._target,)

    @property
    def failed(self) -> list[str]:
        """Keys of objects that could not be written."""
        return self._target.failed

    def begin(self) -> None:
        """Find the array as it was; raises ``SinkError``."""
        self._target.failed.clear()
        self._place.begin(self._tree, None)

    def finish(self) -> None:
        """Replace objects and documents."""
        self._place.publish()
        self._place.consolidate(anew=False)

    def abort(self) -> None:
        """Change nothing that is not changed yet."""
        self._place.abort()
