"""Where a dataset is: a folder of tables, in whatever store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lazytensor.errors import SourceNotFoundError
from lazytensor.io.store import Loaded, Store, join_key

if TYPE_CHECKING:
    from lazytensor.io.ome_arrow.container import Container

__all__ = ["CHUNKS", "IMAGES", "INDEX", "MARKS", "Folder", "folder_of"]

IMAGES, CHUNKS, INDEX = "images.parquet", "chunks.parquet", "index.parquet"
"""Tables of a dataset; chunks are in the second unless the index says otherwise."""

MARKS = (IMAGES, CHUNKS, "_ome_arrow_dataset.json")
"""A folder with one of these is meant to be a dataset."""


class Folder(NamedTuple):
    """The prefix ``root`` of the keys of a store. ``mapped``: whether its tables are mapped.

    ``present``: which files were there when somebody looked; None if nobody has.
    """

    store: Store
    root: str
    mapped: bool = False
    present: frozenset[str] | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.store.name}/{self.root}" if self.root else self.store.name

    def key(self, file: str) -> str:
        """Of a file in it."""
        return join_key(self.root, file)

    def looked_at(self) -> Folder:
        """The same, now knowing what is in it."""
        names = (*MARKS, INDEX)
        sizes = self.store.size_many([self.key(name) for name in names])
        there = [name for name, size in zip(names, sizes, strict=True) if size is not None]
        return self._replace(present=frozenset(there))

    def open(self, file: str) -> Container:
        """A table in it."""
        from lazytensor.io.ome_arrow.containers import container_at

        return container_at(self.store, self.key(file), mmap=self.mapped)

    def load(self, files: Sequence[str]) -> list[Loaded]:
        """Files that are read as a whole, asked for together."""
        found = self.store.load_many([self.key(file) for file in files])
        loaded: list[Loaded] = []
        for file, one in zip(files, found, strict=True):
            if one is None:
                raise SourceNotFoundError(f"{self.name} has no file {file!r} any more")
            if not isinstance(one, Loaded):
                raise one
            loaded.append(one)
        return loaded


def folder_of(store: Store, root: str = "") -> Folder | None:
    """The dataset at a prefix of a store; None if there is none."""
    found = Folder(store, root).looked_at()
    return found if found.present and not found.present.isdisjoint(MARKS) else None
