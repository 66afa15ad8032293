"""From what a user calls "the store" to a ``Store``.

One table of attempts, tried in order; each recognises one kind of argument. Objects of zarr-python
are recognised by their classes, looked up among the modules that are imported already, so that zarr
is never imported for it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lazytensor.errors import FormatError, SourceError, SourceNotFoundError
from lazytensor.io.store import Store, join_key
from lazytensor.io.store_local import LocalStore
from lazytensor.io.store_memory import DictStore
from lazytensor.io.store_retry import patiently, shown

__all__ = ["file_system", "http_session", "is_zarr_node", "make_store", "resolve_store"]

_LOCAL_SCHEMES = ("file", "local")
# Files of a store that people name in place of the folder that they are in.
_DOCUMENTS = frozenset(
    ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata", "attributes.json")
)
_ZIP_MAGIC = b"PK"
_DRIVE = r"/[A-Za-z]:(?=[/\\]|$)"
# Which extra of this distribution brings the file system of a URL scheme.
_EXTRAS = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http", "gs": "gs", "gcs": "gs"}
_S3_CONNECTIONS = 512
"""Connections that S3 file systems made here may open; ``io_concurrency`` is the real limit."""


def make_store(
    store: Any,
    storage_options: Mapping[str, Any] | None = None,
    *,
    missing_status: Sequence[int] = (404,),
) -> Store:
    """The store meant by ``store``.

    ``store``: a path (folder or zip file), any fsspec URL, ``(fs, path)``, a ``UPath``, a mapping
    of keys to bytes, a ``Store``, or an open zarr-python ``Array``, ``Group`` or ``Store`` of any
    kind. ``storage_options`` go to fsspec. ``missing_status``: HTTP statuses that mean "no such
    object".

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
    if is_zarr_node(store):
        store, inner = store.store, store.path
    for attempt in _ATTEMPTS:
        made = attempt(store, dict(storage_options or {}), tuple(missing_status))
        if made is not None:
            return made, join_key(inner, path)
    raise TypeError(
        f"{type(store).__name__} is not a store: give a path, a URL, (fs, path), a dict of bytes "
        "or an open zarr array, group or store"
    )


def _known_class(module: str, name: str) -> Any:
    """A class of another library, or what is no object's class; nothing is imported for it."""
    return getattr(sys.modules.get(module), name, ())


def is_zarr_node(obj: Any) -> bool:
    """Whether something is an open array, group or store path of zarr-python.

    >>> is_zarr_node("a.zarr")
    False
    """
    kinds = (
        *(_known_class("zarr", name) for name in ("Array", "Group", "AsyncArray", "AsyncGroup")),
        _known_class("zarr.storage", "StorePath"),
    )
    return isinstance(obj, tuple(kind for kind in kinds if kind))


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
        return _local(_path_of(rest, windows=os.name == "nt"))
    if mark or "::" in text:
        return _remote(text, options, missing)
    return _local(text)


def _path_of(address: str, *, windows: bool) -> str:
    """The path that the part of a ``file`` URL after ``//`` stands for.

    Percent signs are an escape, as in every URL, unless only the path as it is written exists:
    ``file://`` put before a path is common too.

    >>> _path_of("/data/a%20b.zarr", windows=False), _path_of("localhost/x", windows=False)
    ('/data/a b.zarr', '/x')
    """
    if address.startswith("localhost/"):
        address = address.removeprefix("localhost")
    if windows:
        is_share = not address.startswith("/") and not re.match(_DRIVE, f"/{address}")
        address = f"//{address}" if is_share else _without_drive_slash(address)
    from urllib.parse import unquote

    decoded = unquote(address)
    return address if not os.path.exists(decoded) and os.path.exists(address) else decoded


def _without_drive_slash(path: str) -> str:
    """The path of a ``file:///C:/...`` URL as Windows has it: ``C:/...``."""
    return path[1:] if re.match(_DRIVE, path) else path


def _local(path: str) -> Store:
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        return LocalStore(path)
    if not os.path.exists(path):
        raise SourceNotFoundError(f"there is nothing at {path!r} (from {os.getcwd()!r})")
    if path.endswith(".zip") or _starts_with_zip_magic(path):
        return _zip_store(path)
    folder, name = os.path.split(os.path.abspath(path))
    hint = f", such as {folder!r}" if name in _DOCUMENTS else ""
    raise FormatError(
        f"{path!r} is a file; expected a folder or a zip file that holds a store{hint}"
    )


def _starts_with_zip_magic(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def _remote(url: str, options: dict[str, Any], missing: tuple[int, ...]) -> Store:
    if url.partition("?")[0].endswith(".zip") and "::" not in url:
        url = f"zip::{url}"
    first, mark, rest = url.partition("::")
    if mark and (first == "zip" or first.startswith("zip://")):
        return _zip_inside(first.removeprefix("zip").removeprefix("://"), rest, options, missing)
    fs, path = file_system(url, options)
    return _of_file_system(fs, path, missing)


def _zip_inside(root: str, url: str, options: dict[str, Any], missing: tuple[int, ...]) -> Store:
    """A zip file at a URL, or the part of it below ``root``."""
    options = {k: v for k, v in options.items() if k != "zip"}  # they are for fsspec's reader
    scheme, mark, rest = url.partition("://")
    if "::" not in url and (not mark or scheme in _LOCAL_SCHEMES):
        path = _path_of(rest, windows=os.name == "nt") if mark else url
        folder, name = os.path.split(os.path.abspath(os.path.expanduser(path)))
        return _zip_store(LocalStore(folder), name, root=root)
    fs, path = file_system(url, options)
    return _zip_in(fs, path, root, missing)


def _zip_in(fs: Any, path: str, root: str, missing: tuple[int, ...]) -> Store:
    address, mark, query = path.partition("?")
    folder, _, name = address.rstrip("/").rpartition("/")
    return _zip_store(_of_file_system(fs, f"{folder}{mark}{query}", missing), name, root=root)


def file_system(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    """The file system and the path that a URL means, once the necessary is at hand."""
    from fsspec.core import url_to_fs

    scheme = url.rpartition("::")[2].partition("://")[0]
    try:
        fs, path = patiently(lambda: url_to_fs(url, **_tuned(url, scheme, options)))
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"there is nothing at {shown(url)!r}: {error}") from error
    except ValueError as error:
        raise SourceError(f"{shown(url)!r}: {error}") from error
    except ImportError as error:
        extra = _EXTRAS.get(scheme)
        hint = f": pip install 'lazytensor-engine[{extra}]'" if extra else ""
        raise ImportError(f"{shown(url)!r}: {error}{hint}") from error
    return fs, path


def _tuned(url: str, scheme: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options under which as many requests can be under way as ``io_concurrency`` allows.

    Left to themselves aiohttp opens 100 connections and botocore 10.
    """
    if "::" in url:
        return options
    match _EXTRAS.get(scheme):
        case "http" if "get_client" not in options:
            return {**options, "get_client": http_session}
        case "s3" if "session" not in options:
            config = {"max_pool_connections": _S3_CONNECTIONS, **options.get("config_kwargs", {})}
            return {**options, "config_kwargs": config}
    return options


async def http_session(**settings: Any) -> Any:
    """A session of aiohttp that opens as many connections as it is asked to."""
    import aiohttp

    if "connector" not in settings:
        settings["connector"] = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(**settings)


def _of_file_system(fs: Any, path: str, missing: tuple[int, ...]) -> Store:
    """The store for a file system: asynchronous ones are asked in another way."""
    fs = getattr(fs, "sync_fs", fs)
    if getattr(fs, "async_impl", False):
        from lazytensor.io.store_remote import RemoteStore

        return RemoteStore(fs, path, missing_status=missing)
    from lazytensor.io.store_fsspec import FsspecStore

    return FsspecStore(fs, path, missing_status=missing)


def _zip_store(*args: Any, **options: Any) -> Store:
    """A zip file; most stores are none, and are there before its reader is imported."""
    from lazytensor.io.store_zip import ZipStore

    return ZipStore(*args, **options)


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
    if stripped.partition("?")[0].endswith(".zip"):
        return _zip_in(fs, stripped, "", missing)
    return _of_file_system(fs, stripped, missing)


def _from_upath(store: Any, options: dict[str, Any], missing: tuple[int, ...]) -> Store | None:
    """A path of universal_pathlib, which brings its file system along."""
    if not isinstance(store, _known_class("upath", "UPath")):
        return None
    return _from_file_system((store.fs, store.path), options, missing)


def _from_mapping(store: Any, options: dict[str, Any], missing: tuple[int, ...]) -> Store | None:
    return DictStore(store) if isinstance(store, Mapping) else None


def _from_zarr(store: Any, options: dict[str, Any], missing: tuple[int, ...]) -> Store | None:
    """An open store of zarr-python: what it stands for where that is known, else the store itself.

    Subclasses and wrappers may do anything on the way, so only the classes themselves are known.
    """
    if not isinstance(store, _known_class("zarr.abc.store", "Store")):
        return None
    if type(store).__module__.startswith("zarr.storage."):
        match type(store).__name__:
            case "LocalStore":
                return LocalStore(store.root)
            case "MemoryStore":
                return DictStore(store._store_dict)
            case "ZipStore" if store.read_only:  # else it may have no directory yet
                return _zip_store(store.path)
            case "FsspecStore":
                fs = getattr(store.fs, "sync_fs", store.fs)
                return _from_file_system((fs, store.path), options, missing)
    from lazytensor.io.store_zarr import ZarrStore

    return ZarrStore(store)


_ATTEMPTS: tuple[Callable[[Any, dict[str, Any], tuple[int, ...]], Store | None], ...] = (
    _from_store,
    _from_text,
    _from_upath,
    _from_file_system,
    _from_mapping,
    _from_zarr,
)
