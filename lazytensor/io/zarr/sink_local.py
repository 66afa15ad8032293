"""Zarr in folders of this machine: written beside its place under a hidden name, and put there by
one rename or exchange, after which the former array is gone.

The hidden folder has a note (``sink_tree``) and a lock that its process holds. ``mode="resume"``
takes one over whose lock is free and whose note says the same; any other mode clears it away. Of
``mode="resume"`` the folder also stays when a run fails in any other way, so that the next one goes
on. In the group around it an array that is being written is a folder without metadata, and so
nothing.
"""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Sequence
from contextlib import suppress

from lazytensor.errors import SinkError
from lazytensor.io.staging import StagedFile, StagedFolder, is_locked, left_behind, named
from lazytensor.io.store import Buffer, Store
from lazytensor.io.store_local import LocalStore
from lazytensor.io.zarr.sink_places import Mode, TreePlace, looked_for
from lazytensor.io.zarr.sink_tree import NOTE, Note, Tree, missing_groups

__all__ = ["FolderPlace"]


def _read(folder: str, key: str) -> bytes | None:
    try:
        with open(f"{folder}/{key}", "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


class _Folder(StagedFolder):
    """A staged folder that may be taken over, and that only replaces what the place lets it."""

    def __init__(self, path: str, label: str, place: FolderPlace) -> None:
        super().__init__(path, "overwrite" if place.mode == "overwrite" else "create", label)
        self._place = place

    def _refuse(self) -> None:
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(found.st_mode) and not os.listdir(self.path):
            return
        self._place.settle()

    def take_over(self, wanted: Note) -> bool:
        """Go on with what a killed process has left; ``SinkError`` if that is something else."""
        folder, name = os.path.split(self.path)
        if not os.path.isdir(folder):
            return False
        other = ""
        for path, fd in left_behind(folder, name):
            note = Note.of(_read(path, NOTE))
            if note is None:
                continue
            difference = note.differs(wanted)
            if difference is not None:
                other = f"{path!r} was begun, but {difference}"
                continue
            self._own, self._lock = path, os.dup(fd)
            self._mode = "overwrite" if note.mode == "overwrite" else "create"
            return True
        if other:
            raise SinkError(
                f"{self.label}: cannot go on: {other}; mode='create' or 'overwrite' begins anew"
            )
        return False

    @property
    def mode(self) -> Mode:
        """In which it is put into its place."""
        return self._mode

    def check_place(self) -> None:
        """``SinkExistsError`` if it could not be put there."""
        self._refuse()

    def keep(self) -> None:
        """Leave what was written to whoever goes on."""
        self._own = ""
        self._folders_made.clear()
        self._unlock()

    def clear_names(self) -> set[str]:
        """Keys of the files in it; those that nobody finished are removed."""
        found = set()
        skip = len(self._own) + 1
        for folder, _, names in os.walk(self._own):
            inside = folder[skip:].replace(os.sep, "/")
            for name in names:
                if name.startswith(".") and name.endswith(".tmp"):
                    os.unlink(os.path.join(folder, name))
                    continue
                found.add(f"{inside}/{name}" if inside else name)
        return found

    def forget(self, key: str) -> None:
        """Remove a file."""
        with named(self.label, f"key {key!r}"), suppress(FileNotFoundError):
            os.unlink(f"{self._own}/{key}")

    def finish(self) -> None:
        """Put it into its place."""
        self._publish()


class FolderPlace(TreePlace):
    """A folder: ``inner`` in the folder ``root``, which is the store."""

    def __init__(self, root: str, inner: str, mode: Mode, label: str) -> None:
        path = os.path.join(root, *inner.split("/")) if inner else root
        super().__init__(inner, mode, label, (path,))
        self._root = root
        self._path = path
        self._folder = _Folder(path, label, self)
        self._groups: list[str] = []
        self._made: list[str] = []
        self._tree: Tree | None = None
        self._keeps = mode == "resume"

    def begin(self, tree: Tree, plan: str | None) -> None:
        """Make the hidden folder, or take one over."""
        self._tree = tree
        note = Note(tree.documents, plan, self.mode)
        if self.mode == "resume":
            with named(self.label, "cannot be written"):
                if self._folder.take_over(note):
                    self.mode = self._folder.mode
                    self._folder.check_place()
                    self.present = self._folder.clear_names()
                    return
                self._refuse_another()
                if os.path.isdir(self._path) and os.listdir(self._path):
                    self.settle()
                    with suppress(FileNotFoundError):  # a process was killed that was done
                        os.unlink(os.path.join(self._path, NOTE))
                    return
        with named(self.label, "cannot be written"):
            self._make_groups(tree)
            self._folder.begin()
            self._folder.put(NOTE, [note.to_bytes()])

    def _refuse_another(self) -> None:
        """``SinkError`` if somebody is writing here: both would go on with the same."""
        folder, name = os.path.split(self._path)
        if os.path.isdir(folder) and (other := is_locked(folder, name)):
            raise SinkError(f"{self.label}: somebody else is writing it ({other!r})")

    def settle(self) -> None:
        """``SinkExistsError`` unless what is there may be replaced, or is what is wanted."""
        assert self._tree is not None
        found = {key: _read(self._path, key) for key in looked_for(self._tree)}
        self._settle(self._tree, found)

    def _make_groups(self, tree: Tree) -> None:
        """The groups around it that are not there; those of others are as good."""
        wanted = missing_groups(
            lambda key: _read(self._root, key), self.inner, tree.zarr_format, self.label
        )
        for key, data in wanted.items():
            path = os.path.join(self._root, *key.split("/"))
            folder, name = os.path.split(path)
            self._make_folder(folder)
            staged = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
            try:
                with open(staged, "xb") as file:
                    file.write(data)
                with suppress(FileExistsError):
                    os.link(staged, path)
                    self._groups.append(path)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(staged)

    def _make_folder(self, folder: str) -> None:
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for one in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(one)
                self._made.append(one)

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Write a file."""
        assert self._folder.own, "nothing was begun"
        self._folder.put(key, parts)

    def remove(self, key: str) -> None:
        """Remove a file."""
        self._folder.forget(key)

    def reader(self) -> Store:
        """The hidden folder."""
        return LocalStore(self._folder.own)

    def publish(self) -> None:
        """Write the documents, and put the folder into its place."""
        if self.complete:
            return
        assert self._tree is not None
        with named(self.label, "cannot be put into its place"):
            self._make_groups(self._tree)  # whoever made them may have taken them back
        for key, data in self._tree.documents.items():
            self._folder.put(key, [data])
        self._folder.finish()
        self._groups.clear()
        self._made.clear()
        with suppress(OSError):  # nobody minds it, and nobody else takes it away
            os.unlink(os.path.join(self._path, NOTE))

    def _store(self) -> Store:
        return LocalStore(self._root)

    def _put_in_store(self, key: str, data: bytes) -> None:
        staged = StagedFile(os.path.join(self._root, key), "overwrite", self.label)
        staged.begin()
        try:
            staged.put(0, data)
            staged.publish()
        except BaseException:
            staged.abort()
            raise

    def abort(self) -> None:
        """Remove the hidden folder, and groups that nobody else uses; or keep them."""
        own = self._folder.own
        if own and self._keeps and os.listdir(own) not in ([NOTE], []):
            self._folder.keep()
            return
        self._folder.abort()
        for path in reversed(self._groups):
            with suppress(OSError):
                folder = os.path.dirname(path)
                if self._is_alone(folder):
                    os.unlink(path)
                    if folder in self._made:
                        os.rmdir(folder)
        for folder in reversed(self._made):
            with suppress(OSError):  # somebody else has put something there
                os.rmdir(folder)
        self._groups.clear()
        self._made.clear()

    def _is_alone(self, folder: str) -> bool:
        """Whether a group has nothing but documents that were made here."""
        return all(os.path.join(folder, name) in self._groups for name in os.listdir(folder))
