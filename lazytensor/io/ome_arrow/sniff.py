"""What something is that may hold OME-Arrow images: a folder of tables, a table, or neither.

``is_ome_arrow`` looks at names and first bytes only, so that ``lt.scan`` may ask it of anything;
``located`` finds the folder or file that is meant, once it is known to be one of these.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lazytensor.errors import FormatError, SourceNotFoundError
from lazytensor.io.ome_arrow.folder import MARKS, Folder, folder_of
from lazytensor.io.ome_arrow.only_table import SUFFIXES, only_table
from lazytensor.io.place import is_buffer
from lazytensor.io.store import Store
from lazytensor.io.store_open import make_store

__all__ = [
    "dataset_at",
    "folder_at",
    "holds_dataset",
    "is_ome_arrow",
    "is_table_in_memory",
    "located",
]

# Parquet (also with an encrypted footer), Arrow IPC files and streams, Vortex (to refuse it).
_MAGIC = (b"PAR1", b"PARE", b"ARROW1", b"\xff\xff\xff\xff", b"VTXF")
_PACKED = b"PK\x03\x04"
_RECORD = "pixels_meta"
_FOLDER = ".ome-arrow"


def is_table_in_memory(source: Any) -> bool:
    """Whether something is a table, array or record in memory, rather than where one lies."""
    if isinstance(source, Mapping):
        return _RECORD in source
    if type(source).__module__.partition(".")[0] in ("pyarrow", "polars"):
        return not is_buffer(source)
    return hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__")


def is_ome_arrow(source: Any) -> bool:
    """Whether a table, path, URL, bytes or store look like tables, by name or first bytes.

    >>> is_ome_arrow({"images.parquet": b"", "chunks.parquet": b""}), is_ome_arrow(b"PAR1")
    (True, True)
    >>> is_ome_arrow("s3://bucket/crops.parquet?versionId=1"), is_ome_arrow("s3://bucket/a.zarr")
    (True, False)
    """
    if is_table_in_memory(source):
        return True
    if is_buffer(source):
        return bytes(memoryview(source).cast("B")[:6]).startswith(_MAGIC)
    if isinstance(source, Mapping):
        return any(name in source for name in MARKS)
    if isinstance(source, Store):
        return folder_of(source) is not None
    if isinstance(source, tuple) and len(source) == 2:
        return _is_named(os.fsdecode(source[1])) if _is_path(source[1]) else False
    if not _is_path(source):
        return False
    text = os.path.expanduser(os.fsdecode(source))
    if os.path.isdir(text):
        return any(os.path.isfile(os.path.join(text, name)) for name in MARKS)
    if not os.path.isfile(text):
        return _is_named(text)
    return _first_bytes(text).startswith(_MAGIC)


def holds_dataset(
    source: Any,
    options: Mapping[str, Any] | None,
    missing_status: Sequence[int] = (404,),
) -> bool:
    """Whether there is a dataset in something that does not look like one: zip files, URLs.

    ``missing_status``: HTTP statuses that mean "not there".
    """
    try:
        return dataset_at(make_store(source, options, missing_status=missing_status)) is not None
    except (FormatError, SourceNotFoundError, TypeError):
        return False


def _is_path(source: Any) -> bool:
    return isinstance(source, (str, bytes, os.PathLike))


def _is_named(text: str) -> bool:
    """Whether the name of a file says that it is a table; of a chain of URLs, the first."""
    names = [part for part in text.split("::") if part != "zip"]
    return names[0].partition("?")[0].rstrip("/").lower().endswith(SUFFIXES)


def _first_bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(6)


def located(source: Any, options: Mapping[str, Any] | None) -> Folder | Any:
    """The folder of a dataset, or what ``open_container`` opens.

    Raises ``SourceNotFoundError`` when there is nothing, ``FormatError`` for a folder with several
    tables, or none.
    """
    if is_table_in_memory(source) or is_buffer(source):
        return source
    if isinstance(source, tuple) and len(source) == 2:
        return _pair(source, options)
    if isinstance(source, (Store, Mapping)):
        return _in_store(make_store(source, options))
    if not _is_path(source):
        known = hasattr(source, "fs") and hasattr(source, "path")  # paths of universal_pathlib
        return _pair((source.fs, source.path), options) if known else source
    text = os.path.expanduser(os.fsdecode(source))
    if "://" in text or "::" in text:
        return _remote(source, text, options)
    if os.path.isdir(text) or (os.path.isfile(text) and _first_bytes(text).startswith(_PACKED)):
        return _in_store(make_store(text, options))
    return source


def _pair(source: tuple[Any, Any], options: Mapping[str, Any] | None) -> Folder | Any:
    """``(fs, path)`` or ``(store, key)``, of which both may be of a folder."""
    first, path = source
    if hasattr(first, "_strip_protocol"):
        if _is_named(os.fsdecode(path)) and _FOLDER not in os.fsdecode(path):
            return source
        found = folder_at((first, path), options)
        return source if found is None else found
    store, key = make_store(first, options), os.fsdecode(path).strip("/")
    return folder_of(store, key) or (store, key)


def folder_at(source: Any, options: Mapping[str, Any] | None) -> Folder | None:
    """The dataset at a place that is no file; None if there is none."""
    if isinstance(source, tuple) and not hasattr(source[0], "_strip_protocol"):
        return None  # a key of a store
    try:
        store = make_store(source, options)
    except (FormatError, SourceNotFoundError, TypeError):
        return None  # a file, or nothing: who opens it says which
    return folder_of(store)


def _remote(source: Any, text: str, options: Mapping[str, Any] | None) -> Folder | Any:
    """A URL; what is called like a table is asked for as one first, though a folder may be too."""
    is_whole_zip = text.partition("?")[0].rstrip("/").lower().endswith(".zip") and "::" not in text
    if is_whole_zip or text.startswith(("zip::", "zip://::")):
        return _in_store(make_store(source, options))
    if _is_named(text) and _FOLDER not in text:
        return source
    found = folder_at(source, options)
    return source if found is None else found


def dataset_at(store: Store) -> Folder | None:
    """The dataset at the root of a store, or in the one folder that a zip file consists of."""
    found = folder_of(store)
    if found is not None or store.remote:
        return found
    folders = store.children("")
    return folder_of(store, folders[0]) if len(folders) == 1 else None


def _in_store(store: Store) -> Folder | tuple[Store, str]:
    """The dataset in a store, or the one table."""
    found = dataset_at(store)
    return (store, only_table(store)) if found is None else found
