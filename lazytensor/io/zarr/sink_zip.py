"""Zarr in a new zip file: entries as they are, one writer at a time.

Entries are stored, since chunks are compressed already and a reader then finds each by its offset.
The file is written under a hidden name; before its directory stands at its end, nobody could read
it anyway.
"""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Sequence
from contextlib import suppress

from lazytensor.io.staging import StagedFile, named
from lazytensor.io.store import Buffer, join_key
from lazytensor.io.zarr.sink_places import Mode, TreePlace
from lazytensor.io.zarr.sink_tree import Tree, missing_groups

__all__ = ["ZipPlace"]

_THE_BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The date of every entry: the same values make the same bytes."""


class ZipPlace(TreePlace):
    """A zip file that holds nothing but what is written. ``ValueError`` for other modes than
    ``"create"``."""

    consolidates = False
    copies = 1

    def __init__(self, path: str, inner: str, mode: Mode, label: str) -> None:
        if mode != "create":
            raise ValueError(
                f"{label}: zip files are only made, and not changed: mode='create', or write to a "
                f"folder"
            )
        super().__init__(inner, mode, label, (path,))
        self._file = StagedFile(path, "create", label)
        self._zip: zipfile.ZipFile | None = None
        self._lock = threading.Lock()
        self._tree: Tree | None = None

    def begin(self, tree: Tree, plan: str | None) -> None:
        """Make the hidden file."""
        self._tree = tree
        self._file.begin()
        opened = os.fdopen(os.dup(self._file.descriptor), "w+b")
        self._zip = zipfile.ZipFile(opened, "w", zipfile.ZIP_STORED)
        groups = missing_groups(lambda _: None, self.inner, tree.zarr_format, self.label)
        for key, data in groups.items():
            self._add(key, data)

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Add an entry."""
        self._add(join_key(self.inner, key), b"".join(parts))

    def _add(self, key: str, data: bytes) -> None:
        assert self._zip is not None
        entry = zipfile.ZipInfo(key, _THE_BEGINNING)
        entry.external_attr = 0o644 << 16
        with self._lock, named(self.label, f"key {key!r}"):
            self._zip.writestr(entry, data)

    def publish(self) -> None:
        """Write the directory, and put the file into its place."""
        assert self._tree is not None
        for key, data in self._tree.documents.items():
            self.put(key, [data])
        with named(self.label, "cannot be put into its place"):
            self._close()
        self._file.publish()

    def _close(self) -> None:
        opened, self._zip = self._zip, None
        if opened is not None:
            raw = opened.fp
            opened.close()
            if raw is not None:
                raw.close()

    def abort(self) -> None:
        """Remove the file."""
        with suppress(OSError, ValueError):  # it is of no use to anybody
            self._close()
        self._file.abort()
