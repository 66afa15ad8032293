"""From what a user calls "the store" to a ``Store``.

One table of attempts, tried in order; each recognises one kind of argument. Objects of zarr-python
are recognised by their attributes, so that zarr is never imported for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lazytensor.errors import FormatError, SourceError, SourceNotFoundError
from lazytensor.io.store import Store, join_key
from lazytensor.io.store_fsspec import FsspecStore
from lazytensor.io.store_local import LocalStore
from lazytensor.io.store_memory import DictStore
from lazytensor.io.store_zip import ZipStore

__all__ = ["make_store", "resolve_store"]

_LOCAL_SCHEMES = ("file", "local")
_ZIP_MAGIC = b"PK"
_DRIVE = re.compile(r"/[A-Za-z]:(?=[/\\]|$)")
# Which extra of this distribution brings the file system of a URL scheme.
_EXTRAS = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http", "gs": "gs", "gcs": "gs"}


def make_store(
    store: Any,
    storage_options: Mapping[str, Any] | None = None,
    *,
    missing_status: Sequence[int] = (404,),
) -> Store:
    """The store meant by ``store``.

    ``store``: a path (folder or zip file), any fsspec URL, ``(fs, path)``, a mapping of keys to
    bytes, a ``Store``, or an open zarr-python ``Array``, ``Group`` or ``Store`` of a local or
    memory kind. ``storage_options`` go to fsspec. ``missing_status``: HTTP statuses that mean "no
    such object".

    Raises ``SourceNotFoundError`` when there is nothing at a local path, ``FormatError`` when it
    is a file of another kind, ``SourceError`` for a URL that fsspec does not know, ``ImportError``
    naming what to install for one whose file system is missing, ``TypeError`` for anything else.

    >>> make_store({"zarr.json": b"{}"})
    DictStore('memory')
    """
    return resolve_store(store, "", storage_options, missing_status=missing_status)[0]


def resolve_store(
    store: Any,
    path: str = "",
    storage_options: Mapping[str, Any] | None = None,
    *,
    missing_status: Sequence[int] = (404,),
) -> tuple[Store, str]:
    """The store and the path inside it; an open zarr array or group brings its own path along.

    Arguments and errors as ``make_store``.

    >>> resolve_store({"zarr.json": b"{}"}, "/a//b/")
    (DictStore('memory'), 'a/b')
    """
    inner = ""
    if _is_zarr_object(store) and hasattr(store, "store"):
        store, inner = store.store, store.path
    for attempt in _ATTEMPTS:
        made = attempt(store, dict(storage_options or {}), tuple(missing_status))
        if made is not None:
            return made, join_key(inner, path)
    raise TypeError(
        f"{type(store).__name__} is not a store: give a path, a URL, (fs, path), a dict of bytes "
        "or an open zarr array, group or store"
    )


def _is_zarr_object(obj: Any) -> bool:
    return type(obj).__module__.split(".", 1)[0] == "zarr"


def _from_store(store: Any, options: dict[str, Any], missing: tuple[int, ...]) -> Store | None:
    return store if isinstance(store, Store) else None


def _from_text(store: Any, options: dict[str, Any], missing: tuple[int, ...]) -> Store | None:
    if not isinstance(store, (str, os.PathLike)):
        return None
    text = os.fspath(store)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    scheme, mark, rest = text.partition("://")
    if mark and scheme in _LOCAL_SCHEMES:
        return _local(_without_drive_slash(rest) if os.name == "nt" else rest)
    if mark or "::" in text:
        return _remote(text, options, missing)
    return _local(text)


def _without_drive_slash(path: str) -> str:
    """The path of a ``file:///C:/...`` URL as Windows has it: ``C:/...``."""
    return path[1:] if _DRIVE.match(path) else path


def _local(path: str) -> Store:
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        return LocalStore(path)
    if not os.path.exists(path):
        raise SourceNotFoundError(f"there is nothing at {path!r} (from {os.getcwd()!r})")
    if path.endswith(".zip") or _starts_with_zip_magic(path):
        return ZipStore(path)
    raise FormatError(f"{path!r} is a file; expected a folder or a zip file that holds a store")


def _starts_with_zip_magic(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def _remote(url: str, options: dict[str, Any], missing: tuple[int, ...]) -> Store:
    from fsspec.core import url_to_fs

    if url.endswith(".zip") and "::" not in url:
        url = f"zip::{url}"
    try:
        fs, path = url_to_fs(url, **options)
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"there is nothing at {url!r}: {error}") from error
    except ValueError as error:
        raise SourceError(f"{url!r}: {error}") from error
    except ImportError as error:
        extra = _EXTRAS.get(url.rpartition("::")[2].partition("://")[0])
        hint = f": pip install 'lazytensor-engine[{extra}]'" if extra else ""
        raise ImportError(f"{url!r}: {error}{hint}") from error
    return FsspecStore(fs, path, missing_status=missing)


def _from_file_system(
    store: Any, options: dict[str, Any], missing: tuple[int, ...]
) -> Store | None:
    if not isinstance(store, tuple) or len(store) != 2:
        return None
    fs, path = store
    protocols = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    stripped = fs._strip_protocol(os.fspath(path))
    if not set(protocols).isdisjoint(_LOCAL_SCHEMES):
        return _local(stripped)
    return FsspecStore(fs, stripped, missing_status=missing)


def _from_mapping(store: Any, options: dict[str, Any], missing: tuple[int, ...]) -> Store | None:
    return DictStore(store) if isinstance(store, Mapping) else None


def _from_zarr(store: Any, options: dict[str, Any], missing: tuple[int, ...]) -> Store | None:
    """An open store of zarr-python: a folder, a zip file, an fsspec path or a dict of buffers."""
    if not _is_zarr_object(store):
        return None
    match type(store).__name__:
        case "LocalStore":
            return LocalStore(store.root)
        case "MemoryStore":
            return DictStore(store._store_dict)
        case "ZipStore":
            return ZipStore(store.path)
        case "FsspecStore":
            return FsspecStore(store.fs, store.path, missing_status=missing)
        case other:
            raise TypeError(
                f"a zarr store of type {other} cannot be read here; LocalStore, MemoryStore, "
                "ZipStore and FsspecStore can, and so can the path or URL it stands for"
            )


_ATTEMPTS: tuple[Callable[[Any, dict[str, Any], tuple[int, ...]], Store | None], ...] = (
    _from_store,
    _from_text,
    _from_file_system,
    _from_mapping,
    _from_zarr,
)
