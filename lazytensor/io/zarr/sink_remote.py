"""Zarr on file systems of fsspec, object stores above all.

A new array's objects are put where they belong. Nobody looks for them before the document is there
that comes last; a hidden note (``sink_tree``) reserves the place, put only if there is none where
the file system can do that. Who replaces an array writes beside it, under a hidden prefix, and at
the end removes the former documents and chunks, copies what is new, and puts the new documents.
That is not atomic: for a while there is no array, but never a mixture of two; a process that is
killed then leaves the whole new one beside, from which ``mode="resume"`` goes on.

There are no locks: nobody can tell a killed process from one that is writing. So what was begun is
only continued by ``mode="resume"`` or replaced by ``"overwrite"``, and never cleared away unasked.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from lazytensor.errors import SinkError, SinkExistsError
from lazytensor.io.staging_remote import Place, Remote
from lazytensor.io.store import Buffer, Store
from lazytensor.io.store_open import make_store
from lazytensor.io.zarr.sink_places import Mode, TreePlace, looked_for
from lazytensor.io.zarr.sink_tree import NOTE, Note, Tree, missing_groups

__all__ = ["RemotePlace"]

_SKIPPED = frozenset({NOTE})


class RemotePlace(TreePlace):
    """A prefix: ``inner`` at a place, which is the store."""

    copies = 1
    waits = True

    def __init__(self, place: Place, inner: str, mode: Mode, label: str) -> None:
        super().__init__(inner, mode, label, (f"{place.uri}/{inner}".rstrip("/"),))
        self._fs = place.fs
        self._remote = Remote(place, label)
        self._root = place.path
        self._path = f"{place.path}/{inner}".rstrip("/")
        self._at = self._path
        self._keeps = mode == "resume"
        self._begun = False
        self._groups: list[str] = []
        self._tree: Tree | None = None
        self._note = b""

    def _read(self, path: str) -> bytes | None:
        def ask() -> bytes | None:
            try:
                data: bytes = self._fs.cat_file(path)
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return None
            return data

        return self._remote.ask(ask)

    def _put_new(self, path: str, data: bytes) -> bool:
        """Put an object if there is none; False if there is."""
        try:
            self._fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        except (NotImplementedError, TypeError, ValueError):
            # It cannot promise that; not as safe against another one who does the same.
            if self._remote.exists(path):
                return False
            self._remote.put(path, lambda to: self._fs.pipe_file(to, data))
        return True

    def _under(self, path: str) -> list[str]:
        """All objects with a prefix."""
        self._fs.invalidate_cache()
        try:
            return list(self._remote.ask(lambda: self._fs.find(path)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def begin(self, tree: Tree, plan: str | None) -> None:
        """Reserve the place, or find what was begun."""
        self._tree = tree
        note = Note(tree.documents, plan, self.mode)
        self._note = note.to_bytes()
        with self._remote.named("cannot be written"):
            self._fs.invalidate_cache()
            if self.mode == "resume" and self._take_over(note):
                return
            there = {key: self._read(f"{self._path}/{key}") for key in looked_for(tree)}
            if any(data is not None for data in there.values()):
                self._settle(tree, there)
                if self.complete:
                    self._forget(f"{self._path}/{NOTE}")
                    return
                self._at = _hidden_beside(self._path)
            elif self._under(self._path):
                self._refuse_begun()
            self._make_groups(tree)
            self._begun = True
            if not self._put_new(f"{self._at}/{NOTE}", self._note):
                self._begun = False
                self._refuse_begun()

    def _refuse_begun(self) -> None:
        """What has no documents may be replaced only if it was written here."""
        known = self._read(f"{self._path}/{NOTE}") is not None
        if self.mode == "overwrite" and known:
            self._at = _hidden_beside(self._path)
            return
        way = (
            "mode='resume' goes on with it, mode='overwrite' begins anew"
            if known
            else "remove it yourself, or give another path"
        )
        what = "something that was begun" if known else "something that is no zarr"
        raise SinkExistsError(f"{self.label}: there is {what} already: {way}")

    def _take_over(self, wanted: Note) -> bool:
        other = ""
        for path in (self._path, *self._beside()):
            note = Note.of(self._read(f"{path}/{NOTE}"))
            if note is None:
                continue
            difference = note.differs(wanted)
            if difference is not None:
                other = f"{path!r} was begun, but {difference}"
                continue
            self._at = path
            self._begun = True
            skip = len(path) + 1
            self.present = {one[skip:] for one in self._under(path)} - _SKIPPED
            return True
        if other:
            raise SinkError(f"{self.label}: cannot go on: {other}; mode='overwrite' begins anew")
        return False

    def _beside(self) -> list[str]:
        """Hidden prefixes of the same place."""
        folder, _, name = self._path.rpartition("/")
        pattern = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{32}}\.tmp")
        try:
            found = self._fs.ls(folder, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        paths = [one.rstrip("/") for one in found]
        return [one for one in paths if pattern.fullmatch(one.rpartition("/")[2])]

    def _make_groups(self, tree: Tree) -> None:
        wanted = missing_groups(
            lambda key: self._read(f"{self._root}/{key}"),
            self.inner,
            tree.zarr_format,
            self.label,
        )
        for key, data in wanted.items():
            path = f"{self._root}/{key}"
            if self._put_new(path, data):
                self._groups.append(path)

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Put an object."""
        self._put(f"{self._at}/{key}", b"".join(parts), key)

    def _put(self, path: str, data: bytes, key: str) -> None:
        with self._remote.named(f"key {key!r}"):
            self._remote.put(path, lambda to: self._fs.pipe_file(to, data))

    def remove(self, key: str) -> None:
        """Remove an object."""
        with self._remote.named(f"key {key!r}"):
            self._forget(f"{self._at}/{key}")

    def _forget(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm_file(path)

    def reader(self) -> Store:
        """What was put."""
        return make_store((self._fs, self._at))

    def publish(self) -> None:
        """Put the documents; where something is replaced, put everything into its place."""
        tree = self._tree
        assert tree is not None
        if self.complete:
            return
        with self._remote.named("cannot be put into its place"):
            if self._at != self._path:
                self._swap(tree)
            for key, data in tree.documents.items():
                self._put(f"{self._path}/{key}", data, key)
            self._begun = False
            self._groups.clear()
            for path in self._under(self._at) if self._at != self._path else ():
                with suppress(Exception):  # the array is there; what is beside is in nobody's way
                    self._forget(path)
            with suppress(Exception):
                self._forget(f"{self._path}/{NOTE}")
            self._fs.invalidate_cache()

    def _swap(self, tree: Tree) -> None:
        """Remove the former array, documents first, and copy the objects of the new one."""
        for key in reversed(looked_for(tree)):
            self._forget(f"{self._path}/{key}")
        for path in self._under(self._path):
            self._forget(path)
        skip = len(self._at) + 1
        for path in self._under(self._at):
            key = path[skip:]
            if key != NOTE:
                copy = partial(self._fs.cp_file, path, f"{self._path}/{key}")
                self._remote.ask(copy)

    def _store(self) -> Store:
        self._fs.invalidate_cache()
        return make_store((self._fs, self._root))

    def _put_in_store(self, key: str, data: bytes) -> None:
        self._put(f"{self._root}/{key}", data, key)

    def abort(self) -> None:
        """Remove what was put; or keep it for ``mode="resume"``."""
        if not self._begun:
            return
        self._begun = False
        found = self._under(self._at)
        if self._keeps and len(found) > 1:
            return
        for path in [*found, *reversed(self._groups)]:
            if path not in self._groups or self._is_alone(path):
                self._forget(path)
        self._groups.clear()

    def _is_alone(self, path: str) -> bool:
        """Whether a group has nothing but documents that were made here."""
        return all(one in self._groups for one in self._under(path.rpartition("/")[0]))


def _hidden_beside(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
