"""What a user gives as a table, as a container: found out by what it is, or how it begins."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lazytensor.errors import FormatError, SourceNotFoundError
from lazytensor.io.ome_arrow.container import Container
from lazytensor.io.ome_arrow.ipc import IpcContainer
from lazytensor.io.ome_arrow.ipc_contents import MAGIC
from lazytensor.io.ome_arrow.memory import MemoryContainer, table_of
from lazytensor.io.ome_arrow.only_table import only_table
from lazytensor.io.ome_arrow.parquet import ParquetContainer
from lazytensor.io.place import BufferStore, file_at
from lazytensor.io.store import Store, StoredObject
from lazytensor.io.store_open import make_store
from lazytensor.io.stored import Stored

__all__ = ["container_at", "open_container"]

_KIND = "table of images"
_TAIL = 1 << 16
_HEAD = 8
_PARQUET, _ENCRYPTED = b"PAR1", b"PARE"
_STREAM = b"\xff\xff\xff\xff"
_REFUSED = {
    b"VTXF": (
        "a Vortex file, which is not read: write its table as Parquet or Arrow IPC, such as with "
        "pyarrow.parquet.write_table(vortex.open(path).to_arrow().read_all(), 'x.parquet')"
    ),
    b"FEA1": (
        "a Feather file of version 1, which is not read: write it as version 2, which is Arrow "
        "IPC, with pyarrow.feather.write_feather(pyarrow.feather.read_table(path), 'x.arrow')"
    ),
    _ENCRYPTED: "an encrypted Parquet file, which is not read: decrypt it first",
}
_EXPECTED = "expected a Parquet file, or an Arrow IPC file or stream"


def open_container(
    source: Any, *, mmap: bool = False, storage_options: Mapping[str, Any] | None = None
) -> Container:
    """The table at a place, or in memory; no values are read.

    Parameters
    ----------
    source
        A path, any fsspec URL, ``(fs, path)``, ``(store, key)``, the bytes of a file, a store with
        one file in it; or a table in memory: of pyarrow a ``Table``, ``RecordBatch``, ``Array`` or
        ``ChunkedArray`` of structs or one ``StructScalar`` (the column is called ``"ome_arrow"``),
        a record as a ``dict``, whatever has ``__arrow_c_stream__``, of Polars a ``DataFrame``,
        ``Series``, or a ``LazyFrame``, which is collected now.
    mmap
        Whether arrays of a local file are views of it; it must not be truncated while one lives.

    Raises ``SourceNotFoundError``, and ``FormatError`` saying what was found instead.
    """
    table = None if isinstance(source, (str, os.PathLike, Store)) else table_of(source)
    if table is not None:
        return MemoryContainer(*table)
    store, key = _place(source, storage_options)
    return container_at(store, key, mmap=mmap)


def _place(source: Any, options: Mapping[str, Any] | None) -> tuple[Store, str]:
    if not isinstance(source, (Mapping, Store)):
        return file_at(source, options, _KIND)
    store = make_store(source, options)
    return store, only_table(store)


def container_at(store: Store, key: str, *, mmap: bool = False) -> Container:
    """The table in an object of a store; see ``open_container``."""
    whole = store.open_many([key], (-_TAIL, 0))[0]
    if whole is None:
        raise SourceNotFoundError(f"{store.name} has no file {key!r}")
    with whole:
        mapped = mmap and not isinstance(store, BufferStore)
        stored = Stored.scanned(store, key, whole, mapped=mapped)
        tail = bytes(whole.read(max(whole.size - _HEAD, 0), min(_HEAD, whole.size)))
        if tail.endswith(_PARQUET):
            return ParquetContainer(stored, whole)
        if tail.endswith(MAGIC):
            return IpcContainer(stored, stream=False, whole=whole)
        head = bytes(whole.read(0, min(_HEAD, whole.size)))
        if head.startswith(_STREAM):
            return IpcContainer(stored, stream=True, whole=whole)
        raise FormatError(_refusal(stored.name, head, tail, whole))


def _refusal(name: str, head: bytes, tail: bytes, whole: StoredObject) -> str:
    for magic, text in _REFUSED.items():
        if head.startswith(magic) or (magic == _ENCRYPTED and tail.endswith(magic)):
            return f"{name} is {text}"
    for magic, kind in ((_PARQUET, "a Parquet file"), (MAGIC, "an Arrow IPC file")):
        if head.startswith(magic):
            return (
                f"{name} begins as {kind} and does not end as one: found {tail[-len(magic) :]!r}, "
                f"expected {magic!r}; it is damaged, or was cut off"
            )
    return f"{name}: {_EXPECTED}, found {whole.size} bytes that begin with {head!r}"
