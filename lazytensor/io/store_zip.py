"""A zip file as a store, wherever the file lies.

The central directory is read once. Stored (uncompressed) entries are byte ranges of the archive and
are read in place, so a sharded array in a zip file keeps its partial reads, and a zip file in an
object store is never downloaded. Deflated entries are inflated whole, never to more than the
directory promises. What is read whole is checked against its checksum. The archive is only read as
long as it is the file whose directory was read.
"""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

from lazytensor.errors import (
    ChecksumError,
    ChunkDecodeError,
    FormatError,
    SourceChangedError,
    SourceError,
    SourceNotFoundError,
)
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, MemoryObject, Store, StoredObject, check_key, join_key
from lazytensor.io.store_local import LocalStore
from lazytensor.io.store_memory import keys_at

__all__ = ["ZipStore"]

_LOCAL_HEADER = 30
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED, _SIZES_FOLLOW = 1, 8
_DIRECTORY_GUESS = 64 << 10
"""Bytes from the end of an archive that usually hold its directory."""
_EXTRA_GUESS = 64
"""Bytes that the extra fields of an entry's own header usually take at most."""
_MOST_INFLATED = 1032
"""Deflate cannot make more bytes than this of one."""


class _Entry(NamedTuple):
    offset: int
    packed: int
    size: int
    method: int
    flags: int
    crc: int


class _File(io.RawIOBase):
    """An opened object as a file, for ``zipfile`` to read the directory from."""

    def __init__(self, whole: StoredObject) -> None:
        self._whole = whole
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._whole.size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} is before the start")
        self._at = base + offset
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._whole.size - self._at)
        count = left if size < 0 else min(size, left)
        data = bytes(self._whole.read(self._at, count))
        self._at += count
        return data


class _Section(StoredObject):
    """A stretch of an opened file."""

    __slots__ = ("_base", "_whole", "size", "token")

    def __init__(self, whole: StoredObject, base: int, size: int, token: Hashable) -> None:
        self._whole = whole
        self._base = base
        self.size = size
        self.token = token

    def read(self, start: int, nbytes: int, scratch: Scratch | None = None) -> Buffer:
        """Exactly ``nbytes`` bytes from ``start`` of the stretch."""
        if start < 0 or nbytes < 0 or start + nbytes > self.size:
            raise SourceError(f"bytes [{start}, {start + nbytes}) of {self.size} do not exist")
        return self._whole.read(self._base + start, nbytes, scratch)

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill ``out`` from ``start`` of the stretch on."""
        if start < 0 or start + len(out) > self.size:
            raise SourceError(f"bytes [{start}, {start + len(out)}) of {self.size} do not exist")
        self._whole.read_into(self._base + start, out)

    def read_many(
        self, ranges: Sequence[tuple[int, int]], scratch: Scratch | None = None
    ) -> Iterator[Buffer]:
        """The bytes of each range, as the file delivers them."""
        if any(start < 0 or end > self.size for start, end in ranges):
            raise SourceError(f"{ranges[:3]}... of {self.size} bytes do not exist")
        base = self._base
        return self._whole.read_many([(base + lo, base + hi) for lo, hi in ranges], scratch)

    def close(self) -> None:
        """Close the archive."""
        self._whole.close()


class ZipStore(Store):
    """The entries of a zip file.

    ``archive``: its path, or the ``Store`` that holds it, then under ``key``. ``root``: only the
    entries below this path, without it. ``uri``: what reopens it, by default made from the store.

    Raises ``SourceNotFoundError`` when there is no such file, ``FormatError`` when it is no
    readable archive or names an entry that would lead out of a folder. Of entries with the same
    name the last is the one, as for ``zipfile``.
    """

    def __init__(
        self, archive: str | os.PathLike[str] | Store, key: str = "", *, root: str = ""
    ) -> None:
        if not isinstance(archive, Store):
            folder, key = os.path.split(os.path.abspath(archive))
            self.name, self.uri = os.fspath(archive), os.path.join(folder, key)
            self._archive: Store = LocalStore(folder)
        else:
            self.name = f"{archive.name.rstrip('/')}/{key}"
            self.uri = None if archive.uri is None else _chained(archive.uri, key, root)
            self._archive = archive
        self._key = key
        self.remote = self._archive.remote
        self.batch = self._archive.batch
        self.gap = self._archive.gap
        self.merge_limit = self._archive.merge_limit
        root = join_key(root)
        self._below = f"{root}/" if root else ""
        self.identity = ("zip", self._archive.identity, key, root)
        self._starts: dict[str, int] = {}
        self._read_directory()
        if root:
            self.name = f"{self.name}/{root}"

    def _read_directory(self) -> None:
        whole = self._archive.open_many([self._key], (-_DIRECTORY_GUESS, 0))[0]
        if whole is None:
            raise SourceNotFoundError(f"there is nothing at {self.name!r}")
        with whole:
            try:
                with zipfile.ZipFile(_File(whole)) as file:
                    found = file.infolist()
            except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
                raise FormatError(f"{self.name}: expected a zip file: {error}") from error
            self._state = whole.state
            self._size = whole.size
        self._entries: dict[str, _Entry] = {}
        for e in found:
            self._check_name(e.orig_filename)
            if not e.is_dir() and e.filename.startswith(self._below):
                self._entries[e.filename[len(self._below) :]] = _Entry(
                    e.header_offset, e.compress_size, e.file_size, e.compress_type,
                    e.flag_bits, e.CRC,
                )  # fmt: skip

    def _check_name(self, name: str) -> None:
        try:
            check_key(name)
        except SourceError as error:
            raise FormatError(f"{self.name}: refused, for one of its entries: {error}") from error

    def _open_archive(self) -> StoredObject:
        """The archive, if it still is the file whose directory was read."""
        whole = self._archive.open(self._key)
        if whole is not None and (whole.state, whole.size) == (self._state, self._size):
            return whole
        if whole is not None:
            whole.close()
        raise self._changed()

    def _changed(self) -> SourceChangedError:
        return SourceChangedError(f"{self.name} has changed since it was opened; scan it again")

    def open(self, key: str) -> StoredObject | None:
        """A handle on one entry, or None."""
        entry = self._entries.get(check_key(key))
        if entry is None:
            return None
        whole = self._open_archive()
        try:
            opened = self._section(key, entry, whole)
        except BaseException:
            whole.close()
            raise
        if isinstance(opened, MemoryObject):
            whole.close()
        return opened

    def _section(self, key: str, entry: _Entry, whole: StoredObject) -> StoredObject:
        """A handle on an entry: the stretch of the archive if it is stored as it is."""
        start = self._starts.get(key)
        if start is None:
            self._refuse(key, entry)
            head = whole.read(entry.offset, _LOCAL_HEADER)
            start = self._starts[key] = entry.offset + self._data_start(key, entry, head)
        if entry.method == zipfile.ZIP_STORED:
            return _Section(whole, start, entry.packed, _token(whole, entry))
        inflated = self._inflate(key, entry, whole.read(start, entry.packed))
        return MemoryObject(inflated, _token(whole, entry))

    def using(
        self,
        key: str,
        work: Callable[[StoredObject], None],
        ahead: tuple[int, int] | None = None,
    ) -> bool:
        """Do something with a handle on an entry; see ``Store.using``."""
        entry = self._entries.get(check_key(key))
        if entry is None:
            return False

        def in_archive(whole: StoredObject) -> None:
            if (whole.state, whole.size) != (self._state, self._size):
                raise self._changed()
            work(self._section(key, entry, whole))

        if not self._archive.using(self._key, in_archive):
            raise self._changed()
        return True

    def _refuse(self, key: str, entry: _Entry) -> None:
        where = f"{self.name}, entry {key!r}"
        if entry.flags & _ENCRYPTED:
            raise FormatError(f"{where}: encrypted; only archives without a password are read")
        if entry.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError(
                f"{where}: compression method {entry.method}; stored and deflated are read"
            )
        if entry.method == zipfile.ZIP_STORED and entry.packed != entry.size:
            raise FormatError(f"{where}: stored as it is, but as {entry.packed} of {entry.size}")
        if entry.offset + _LOCAL_HEADER + entry.packed > self._size:
            raise self._misplaced(key, entry)
        if entry.size > _MOST_INFLATED * entry.packed + _MOST_INFLATED:
            raise FormatError(f"{where}: {entry.packed} bytes cannot hold {entry.size}")

    def _data_start(self, key: str, entry: _Entry, head: Buffer) -> int:
        """Where the data begins, from the start of the entry's own header."""
        head = bytes(head[:_LOCAL_HEADER])
        if head[:4] != _SIGNATURE:
            raise self._misplaced(key, entry)
        told = not int.from_bytes(head[6:8], "little") & _SIZES_FOLLOW
        if told and int.from_bytes(head[14:18], "little") != entry.crc:
            # Written over in place: the directory is of another archive.
            raise self._changed()
        name, extra = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        start = _LOCAL_HEADER + name + extra
        if entry.offset + start + entry.packed > self._size:
            raise self._misplaced(key, entry)
        return start

    def _misplaced(self, key: str, entry: _Entry) -> FormatError:
        return FormatError(
            f"{self.name}, entry {key!r}: there is no header at byte {entry.offset}, or no room "
            f"after it for {entry.packed} bytes"
        )

    def _inflate(self, key: str, entry: _Entry, data: Buffer) -> bytes:
        where = f"{self.name}, entry {key!r}"
        try:
            out = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, entry.size + 1)
        except zlib.error as error:
            raise ChunkDecodeError(f"{where}: {error}") from error
        if len(out) != entry.size:
            raise ChunkDecodeError(f"{where}: expected {entry.size} bytes, found others")
        self._verify(key, entry, out)
        return out

    def _verify(self, key: str, entry: _Entry, data: Buffer) -> None:
        from isal import isal_zlib  # six times as fast as zlib: it costs less than the copy

        found = isal_zlib.crc32(data)
        if found != entry.crc:
            raise ChecksumError(
                f"{self.name}, entry {key!r}: expected crc32 {entry.crc:08x}, found {found:08x}"
            )

    def get(self, key: str, scratch: Scratch | None = None) -> Buffer | None:
        """The whole entry, or None."""
        if self.remote:
            return self.get_many([key])[0]
        opened = self.open(key)
        if opened is None:
            return None
        with opened:
            data = opened.read(0, opened.size, scratch)
        if isinstance(opened, _Section):
            self._verify(key, self._entries[key], data)
        return data

    def get_many(self, keys: Sequence[str]) -> list[Buffer | None]:
        """The whole entries, with one request each, or fewer where they lie side by side."""
        if not self.remote:
            return [self.get(key) for key in keys]
        wanted = [(key, self._entries.get(check_key(key))) for key in keys]
        there = [(key, entry) for key, entry in wanted if entry is not None]
        if not there:
            return [None] * len(keys)
        found = self._entries_of(there)
        return [None if entry is None else found[key] for key, entry in wanted]

    def _entries_of(self, there: list[tuple[str, _Entry]]) -> dict[str, Buffer]:
        ranges = []
        for key, entry in there:
            self._refuse(key, entry)
            length = _LOCAL_HEADER + len((self._below + key).encode()) + _EXTRA_GUESS
            ranges.append((entry.offset, min(self._size, entry.offset + length + entry.packed)))
        found: dict[str, Buffer] = {}

        def read(whole: StoredObject) -> None:
            if (whole.state, whole.size) != (self._state, self._size):
                raise self._changed()
            for (key, entry), data in zip(there, whole.read_many(ranges), strict=True):
                start = self._data_start(key, entry, data)
                body: Buffer = memoryview(data)[start : start + entry.packed]
                if len(body) < entry.packed:
                    body = whole.read(entry.offset + start, entry.packed)
                if entry.method == zipfile.ZIP_STORED:
                    self._verify(key, entry, body)
                    found[key] = body
                else:
                    found[key] = self._inflate(key, entry, body)

        if not self._archive.using(self._key, read):
            raise self._changed()
        return found

    def size(self, key: str) -> int | None:
        """Length of the entry once unpacked, or None."""
        entry = self._entries.get(check_key(key))
        return None if entry is None else entry.size

    def token(self, key: str) -> Hashable | None:
        """The archive's own token, with the entry's checksum."""
        entry = self._entries.get(check_key(key))
        return None if entry is None else (self._archive.token(self._key), entry.crc)

    def token_many(self, keys: Sequence[str]) -> list[Hashable | None]:
        """As ``token``; the archive is asked once."""
        whole = self._archive.token(self._key)
        entries = [self._entries.get(check_key(key)) for key in keys]
        return [None if entry is None else (whole, entry.crc) for entry in entries]

    def children(self, prefix: str) -> list[str]:
        """Names one level below ``prefix`` that have entries below them."""
        start = f"{prefix}/" if prefix else ""
        rests = (key[len(start) :] for key in self._entries if key.startswith(start))
        return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})

    def listed(self, prefix: str, depth: int, limit: int) -> list[str] | None:
        """Entries of the directory, which is in memory."""
        return keys_at(self._entries, prefix, depth, limit)

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every entry below ``prefix``."""
        start = f"{prefix}/" if prefix else ""
        return ((key, entry.size) for key, entry in self._entries.items() if key.startswith(start))


def _token(whole: StoredObject, entry: _Entry) -> Hashable | None:
    """Token of an entry, the one that ``ZipStore.token`` gives: none where the archive has none."""
    return None if whole.token is None else (whole.token, entry.crc)


def _chained(uri: str, key: str, root: str) -> str:
    """The URL of an archive inside a store, as fsspec writes it.

    >>> _chained("http://host/data?sig=1", "a.zip", "x")
    'zip://x::http://host/data/a.zip?sig=1'
    """
    address, mark, query = uri.partition("?")
    inside = f"zip://{root}" if root else "zip"
    return f"{inside}::{address.rstrip('/')}/{key}{mark}{query}"
