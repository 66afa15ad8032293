"""tenso packets as sources: where they are, which there are, and which of them is meant."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from lazytensor.errors import FormatError, SerializationError, SourceNotFoundError
from lazytensor.io.place import file_at
from lazytensor.io.store import Store, join_key
from lazytensor.io.store_open import make_store
from lazytensor.io.stored import Stored
from lazytensor.io.tenso.bundle import AHEAD, Found, named, packets_in, source_of
from lazytensor.io.tenso.checking import VERIFY
from lazytensor.io.tenso.chunked import DOCUMENT, TensoChunks, is_chunked, open_chunked
from lazytensor.io.tenso.dense_source import PacketSource
from lazytensor.io.tenso.in_packet import Place
from lazytensor.io.tenso.outline import Bundle, Packet, Quantized
from lazytensor.io.tenso.quantized_source import PARTS
from lazytensor.io.tenso.sparse_source import SparseSource

__all__ = ["Entry", "Opened", "from_json", "open_file", "scan"]

_KIND = "tenso packet"
_SHOWN = 20
_PACKED = b"PK\x03\x04"
_SMALL = 4096
"""Parameters of a quantized packet up to which they are read when it is scanned."""


class Entry(NamedTuple):
    """One packet that holds values: where it is in its file."""

    stored: Stored
    path: tuple[int | str, ...]
    packet: Packet
    verify: str
    legacy: bool

    def source(self, part: str = "values") -> PacketSource | SparseSource:
        """The source of it, or of a part of a quantized one; ``FormatError`` for strings."""
        place = Place(self.path, part, self.verify, legacy=self.legacy)
        return source_of(self.stored, place, self.packet)

    @property
    def is_quantized(self) -> bool:
        """Whether it is three arrays, which together stand for one."""
        return isinstance(self.packet, Quantized)

    @property
    def has_few_parameters(self) -> bool:
        """Whether scales and zero points are best read at once."""
        return isinstance(self.packet, Quantized) and self.packet.parameters <= _SMALL


class Opened(NamedTuple):
    """What is at a place: the packets of a file by key, or one chunked array (then no entries).

    ``is_bundle``: whether they were put together on purpose. ``name``: for messages.
    """

    name: str
    entries: dict[str, Entry]
    is_bundle: bool
    chunked: TensoChunks | None


def open_file(
    source: Any,
    *,
    verify: str = "whole",
    mmap: bool = False,
    legacy: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    single: bool = False,
) -> Opened:
    """Everything that there is at a place; headers are read, and no values.

    Parameters
    ----------
    source
        A path, any fsspec URL, ``(fs, path)``, ``(store, key)`` with anything that is accepted as
        a store, the bytes of a file; a folder, zip file or store with ``tenso.json`` in it, or with
        one file.
    single
        Whether one array is wanted: then one packet is looked for, and whether there are more.

    Raises ``SourceNotFoundError``, ``FormatError``, and ``ValueError`` for another ``verify``.
    """
    if verify not in VERIFY:
        raise ValueError(f"verify must be one of {VERIFY}, not {verify!r}")
    store, key = _resolve(source, storage_options)
    whole = None if key is None else store.open_many([key], (0, AHEAD))[0]
    if key is None or whole is None:
        if key is not None and not is_chunked(store, join_key(key)):
            raise SourceNotFoundError(f"{store.name} has no file {key!r}")
        if mmap:
            raise FormatError(f"{store.name}: mmap=True is for a single packet, not for chunks")
        return Opened(store.name, {}, False, open_chunked(store, key or "", verify=verify))
    with whole:
        stored = Stored.scanned(store, key, whole, mapped=mmap)
        where = f"tenso {stored.name}"
        most = 2 if single else None
        found = packets_in(whole, remote=store.remote, legacy=legacy, where=where, most=most)
        if single and len(found.packets) > 1:
            found = packets_in(whole, remote=store.remote, legacy=legacy, where=where)
    return _opened(stored, found, verify, legacy)


def _opened(stored: Stored, found: Found, verify: str, legacy: bool) -> Opened:
    entries = {
        key: Entry(stored, path, packet, verify, legacy)
        for key, (path, packet) in named(found.packets, stored.name).items()
    }
    is_bundle = any(isinstance(packet, Bundle) for packet in found.packets)
    return Opened(stored.name, entries, is_bundle, None)


def scan(source: Any, **options: Any) -> Entry | TensoChunks:
    """The one array at a place; arguments and errors as ``open_file``.

    Raises ``FormatError`` listing the keys of several.
    """
    opened = open_file(source, single=True, **options)
    if opened.chunked is not None:
        return opened.chunked
    if opened.is_bundle or len(opened.entries) != 1:
        keys = list(opened.entries)
        shown = ", ".join(map(repr, keys[:_SHOWN])) + ", ..." * (len(keys) > _SHOWN)
        kind = "a bundle with" if opened.is_bundle else "several packets,"
        raise FormatError(
            f"tenso {opened.name} is {kind} {shown or 'nothing in it'}: open it with lt.open_tenso"
        )
    return next(iter(opened.entries.values()))


def _resolve(source: Any, options: Mapping[str, Any] | None) -> tuple[Store, str | None]:
    """The store, and the key of a file in it; None for what lies at its root."""
    if isinstance(source, (str, os.PathLike)):
        text = os.path.expanduser(os.fsdecode(source))
        if "://" not in text and (os.path.isdir(text) or _is_zip(text)):
            return _in_store(make_store(text, options))
    elif isinstance(source, (Mapping, Store)):
        return _in_store(make_store(source, options))
    return file_at(source, options, _KIND)


def _is_zip(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(_PACKED)) == _PACKED


def _in_store(store: Store) -> tuple[Store, str | None]:
    """A chunked array, or the one file that there is."""
    if is_chunked(store):
        return store, None
    keys: list[str] = []
    for key, _ in store.walk(""):
        keys.append(key)
        if len(keys) > _SHOWN:
            break
    if len(keys) == 1:
        return store, keys[0]
    shown = ", ".join(map(repr, sorted(keys)[:_SHOWN])) + ", ..." * (len(keys) > _SHOWN)
    if not keys:
        raise SourceNotFoundError(f"{store.name}: expected {DOCUMENT!r} or a packet, found nothing")
    raise FormatError(
        f"{store.name}: expected {DOCUMENT!r} or one packet, found {shown}; name one of them: "
        f"(store, key)"
    )


def from_json(
    document: Mapping[str, Any], *, storage_options: Mapping[str, Any] | None = None
) -> PacketSource | SparseSource:
    """The source that ``PacketSource.to_json`` described, else ``SerializationError``."""
    uri, key, path = document.get("uri"), document.get("key"), document.get("packet")
    part, verify = document.get("part", "values"), document.get("verify", "whole")
    flags = document.get("mmap", False), document.get("legacy", False)
    good = (
        document.get("format") == "tenso"
        and isinstance(uri, str)
        and isinstance(key, str)
        and part in PARTS
        and verify in VERIFY
        and all(isinstance(flag, bool) for flag in flags)
        and _is_path(path)
    )
    if not good:
        raise SerializationError(f"expected a tenso packet in a file, found {dict(document)!r:.99}")
    assert isinstance(path, list)
    mmap, legacy = flags
    found = open_file(
        (make_store(uri, storage_options), key),
        verify=verify,
        mmap=mmap,
        legacy=legacy,
        storage_options=storage_options,
    )
    for entry in found.entries.values():
        if entry.path == tuple(path) and (part == "values" or entry.is_quantized):
            return entry.source(part)
    raise SerializationError(f"tenso {found.name} has no packet {path} with {part}")


def _is_path(path: object) -> bool:
    return (
        isinstance(path, list)
        and bool(path)
        and type(path[0]) is int
        and path[0] >= 0
        and all(isinstance(key, str) for key in path[1:])
    )
