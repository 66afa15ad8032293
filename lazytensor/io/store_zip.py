"""A local zip file as a store.

The central directory is read once. Stored (uncompressed) entries are byte ranges of the archive and
are read in place, so a sharded array in a zip file keeps its partial reads; deflated entries are
inflated whole, never to more than the directory promises.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Hashable, Iterator

from lazytensor.errors import ChunkDecodeError, FormatError, SourceError
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, MemoryObject, Store, StoredObject, check_key
from lazytensor.io.store_local import LocalStore

__all__ = ["ZipStore"]

_LOCAL_HEADER = 30
_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 1


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

    def close(self) -> None:
        """Close the archive."""
        self._whole.close()


class ZipStore(Store):
    """The entries of a zip file on a local disk.

    Raises ``SourceNotFoundError`` or ``FormatError`` when there is no readable archive; entries
    whose names would lead out of a folder are refused when they are asked for.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = os.fspath(path)
        self.uri: str = os.path.abspath(self.name)
        self.identity = ("zip", self.uri)
        folder, self._file = os.path.split(self.uri)
        self._folder = LocalStore(folder)
        try:
            with zipfile.ZipFile(self.uri) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise FormatError(f"{self.name}: expected a zip file: {error}") from error
        except OSError as error:
            raise SourceError(f"{self.name}: {error}") from error
        self._entries = {
            e.filename: (e.header_offset, e.compress_size, e.file_size, e.compress_type,
                         e.flag_bits, e.CRC)
            for e in entries
            if not e.is_dir()
        }  # fmt: skip

    def open(self, key: str) -> StoredObject | None:
        """A handle on one entry, or None."""
        entry = self._entries.get(check_key(key))
        if entry is None:
            return None
        offset, packed, size, method, flags, crc = entry
        whole = self._folder.open(self._file)
        if whole is None:
            raise SourceError(f"{self.name} has gone")
        try:
            header = bytes(whole.read(offset, _LOCAL_HEADER))
            if header[:4] != _SIGNATURE or flags & _ENCRYPTED:
                raise FormatError(f"{self.name}, entry {key!r}: damaged header, or encrypted")
            start = offset + _LOCAL_HEADER
            start += int.from_bytes(header[26:28], "little")
            start += int.from_bytes(header[28:30], "little")
            if method == zipfile.ZIP_STORED:
                return _Section(whole, start, packed, (whole.token, key))
            inflated = self._inflate(key, whole.read(start, packed), size, method, crc)
        except BaseException:
            whole.close()
            raise
        whole.close()
        return MemoryObject(inflated, (whole.token, key))

    def _inflate(self, key: str, data: Buffer, size: int, method: int, crc: int) -> bytes:
        where = f"{self.name}, entry {key!r}"
        if method != zipfile.ZIP_DEFLATED:
            raise FormatError(f"{where}: compression method {method}; stored and deflated are read")
        try:
            out = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
        except zlib.error as error:
            raise ChunkDecodeError(f"{where}: {error}") from error
        if len(out) != size or zlib.crc32(out) != crc:
            raise ChunkDecodeError(
                f"{where}: expected {size} bytes with crc {crc:08x}, found {len(out)} bytes"
            )
        return out

    def get(self, key: str, scratch: Scratch | None = None) -> Buffer | None:
        """The whole entry, or None."""
        opened = self.open(key)
        if opened is None:
            return None
        with opened:
            return opened.read(0, opened.size, scratch)

    def size(self, key: str) -> int | None:
        """Length of the entry once unpacked, or None."""
        entry = self._entries.get(check_key(key))
        return None if entry is None else entry[2]

    def token(self, key: str) -> Hashable | None:
        """The archive's inode, time and size, with the entry's checksum."""
        entry = self._entries.get(check_key(key))
        return None if entry is None else (self._folder.token(self._file), entry[5])

    def children(self, prefix: str) -> list[str]:
        """Names one level below ``prefix`` that have entries below them."""
        start = f"{prefix}/" if prefix else ""
        rests = (key[len(start) :] for key in self._entries if key.startswith(start))
        return sorted({rest.split("/", 1)[0] for rest in rests if "/" in rest})

    def walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Every entry below ``prefix``."""
        start = f"{prefix}/" if prefix else ""
        return ((key, entry[2]) for key, entry in self._entries.items() if key.startswith(start))
