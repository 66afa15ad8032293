"""Decoded chunks in files, for later reads by any process of the same user.

An entry is one file of two tenso packets, one behind the other: 32 bytes that say what it is an
entry of (digests of the chunk's name and of the token of the object it was decoded from), and the
values, not compressed, both with checksums. Whoever looks for an entry knows every byte of both
headers, so a file is never parsed: what does not begin like that, is not as long as that, or has
values of another checksum, is no entry, and is removed. There is one file for a chunk, whatever its
token, so that a new version takes the place of the old one.

Several processes share a folder without talking to each other. Files are written under a name of
their own and renamed, so that they are there as a whole or not at all; one that a killed process
left behind is removed when it is old. What is read or removed may be gone, which is no error.

The folder is bounded by who writes: after each 1/32 of the limit, and when it seems full, a process
adds up what is there and removes what has not been used for longest (by the time of the file, which
reading renews) until a tenth is free. Only one does so at a time. So it exceeds its limit by no
more than what each process that writes at the same time has written since it last looked.

A folder that cannot be written (full, read-only, somebody else's) is a line in the log, and reads
go on without it. Entries are in a folder of their own, named by the version of this layout, which
nobody but its owner may write to, and in which links are not followed.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from lazytensor.io.tenso.encode import begin, dense_parts
from lazytensor.io.tenso.header import Flag, code_of
from lazytensor.plan.counters import GAUGES, count

__all__ = ["DiskCache", "Entry", "disk_cache", "entry_of"]

VERSION = 1

_LAYOUT = f"lazytensor-chunks-{VERSION}"
_SUFFIX = ".tenso"
_TEMPORARY = "tmp-"
_LOCK = "lock"
_DIGEST = 16
_MARK_AT = 64
"""Where the digests are in a file: behind the header of a packet of 32 bytes."""

_FOOTER = 8
_BLOCK = 4096
_LOOK_EVERY = 32
_FREE = 10
_RENEW_S = 60.0
_LEFT_BEHIND_S = 600.0
_REST_S = 60.0
"""How long nothing is written after that went wrong."""

_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def digest(text: str) -> bytes:
    """What stands for a name or a token in a file."""
    return blake2b(text.encode(), digest_size=_DIGEST).digest()


class Entry(NamedTuple):
    """A chunk: the name of its file, the digest of its own name, the header of its values."""

    file: str
    name: bytes
    header: bytes
    nbytes: int

    def head(self, token: bytes) -> bytes:
        """Everything in front of the values in the file of the entry with this token."""
        mark = np.frombuffer(self.name + token, np.uint8)
        return b"".join([bytes(part) for part in dense_parts(mark, integrity=True)]) + self.header


def entry_of(name: str, shape: Sequence[int], dtype: np.dtype) -> Entry:
    """The entry of a chunk of a dtype that packets hold, in native byte order.

    >>> entry_of("an array, chunk 3", (2, 3), np.dtype("f4")).nbytes
    24
    """
    nbytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    header = begin(Flag.INTEGRITY, code_of(dtype), tuple(shape), 64)
    key = digest(name)
    return Entry(key.hex() + _SUFFIX, key, header, nbytes)


class DiskCache:
    """The entries in a folder, which is made when the first of them is.

    >>> import tempfile
    >>> cache = DiskCache(tempfile.mkdtemp(), 1 << 20)
    >>> values, token = np.arange(3.0), digest("an ETag")
    >>> entry = entry_of("an array, chunk 3", values.shape, values.dtype)
    >>> cache.keep(entry, token, values.view("u1"))
    >>> out = np.zeros(3)
    >>> cache.load(entry, token, out.view("u1")), out
    (True, array([0., 1., 2.]))
    >>> cache.load(entry, digest("another"), out.view("u1"))
    False
    """

    def __init__(self, folder: str, most: int) -> None:
        self.most = most
        self._folder = os.path.join(folder, _LAYOUT)
        self._checked = False
        self._told = False
        self._known: int | None = None
        self._written = 0
        self._rest_until = -1.0
        self._renew_lock()

    def _renew_lock(self) -> None:
        """In a forked child, whose parent's other threads may have held it."""
        self._lock = threading.Lock()
        self._looking = False

    @property
    def nbytes(self) -> int:
        """Bytes of all entries, as far as this process knows."""
        return (self._known or 0) + self._written

    def token_of(self, entry: Entry) -> bytes | None:
        """The digest of the token that an entry was kept with; None if there is none."""
        with suppress(OSError), self._opened(entry) as file:
            head = os.read(file, _MARK_AT + 2 * _DIGEST)[_MARK_AT:]
            if len(head) == 2 * _DIGEST:
                return head[_DIGEST:]
        return None

    def load(self, entry: Entry, token: bytes, out: np.ndarray) -> bool:
        """Fill ``out`` (contiguous bytes) from an entry; False, and ``out`` is anything, if there
        is none with this token. A damaged one is removed."""
        try:
            with self._opened(entry) as file:
                return self._read(file, entry, token, out.data)
        except OSError:
            return False

    @contextmanager
    def _opened(self, entry: Entry) -> Iterator[int]:
        """A descriptor of the file; ``OSError`` for what is none."""
        self._check()
        file = os.open(os.path.join(self._folder, entry.file), _READ | _BINARY)
        try:
            yield file
        finally:
            os.close(file)

    def _read(self, file: int, entry: Entry, token: bytes, out: memoryview) -> bool:
        head = entry.head(token)
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return False
        with open(file, "rb", buffering=0, closefd=False) as raw:
            begins = raw.read(len(head)) or b""
            at = _MARK_AT + _DIGEST
            other = begins[at : at + _DIGEST]
            if begins[:at] == head[:at] and len(other) == _DIGEST and other != token:
                return False  # of another version of the object
            good = (
                begins == head
                and status.st_size == len(head) + entry.nbytes + _FOOTER
                and _filled(raw, out)
                and raw.read(_FOOTER) == _footer(out)
            )
        if not good:
            self._remove(entry.file)
            return False
        now = time.time()
        if not 0 <= now - status.st_mtime <= _RENEW_S:
            with suppress(OSError):
                os.utime(file if os.utime in os.supports_fd else self._path(entry.file))
        return True

    def keep(self, entry: Entry, token: bytes, values: np.ndarray) -> None:
        """Keep the values (contiguous bytes) of a chunk. What goes wrong is a line in the log."""
        size = entry.nbytes + 4 * _MARK_AT
        if size > self.most // 2 or time.monotonic() < self._rest_until:
            return
        try:
            self._check()
            self._write(entry, [entry.head(token), values.data, _footer(values.data)])
            self._account(size)
        except OSError as error:
            self._rest_until = time.monotonic() + _REST_S
            if not self._told:
                self._told = True
                logging.getLogger("lazytensor.io").warning(
                    "chunks are read without the cache in %s: %s", self._folder, error
                )

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, name)

    def _check(self) -> None:
        """That the folder is there, ours, and nobody else's; ``OSError`` if it is not."""
        if self._checked:
            return
        os.makedirs(os.path.dirname(self._folder), mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
        status = os.lstat(self._folder)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(f"{self._folder} is no folder")
        if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
            raise PermissionError(f"{self._folder} belongs to another user")
        if os.name == "posix" and status.st_mode & 0o022:
            raise PermissionError(f"other users may write to {self._folder}")
        self._checked = True

    def _write(self, entry: Entry, parts: Sequence[bytes | memoryview]) -> None:
        name = self._path(f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}")
        try:
            file = os.open(name, _WRITE | _BINARY, 0o600)
        except FileNotFoundError:  # somebody cleared the folder away
            self._checked = False
            self._check()
            file = os.open(name, _WRITE | _BINARY, 0o600)
        try:
            with open(file, "wb", buffering=0) as raw:
                for part in parts:
                    view = memoryview(part).cast("B")
                    while view.nbytes:
                        view = view[raw.write(view) :]
            os.replace(name, self._path(entry.file))
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise

    def _remove(self, name: str) -> bool:
        try:
            os.unlink(self._path(name))
        except OSError:
            return False
        return True

    def _account(self, nbytes: int) -> None:
        """Count what was written, and look at the folder when that is due."""
        with self._lock:
            self._written += _on_disk(nbytes)
            due = (
                self._known is None
                or self._written > self.most // _LOOK_EVERY
                or self._known + self._written > self.most
            )
            if not due or self._looking:
                return
            self._looking = True
        try:
            self.evict()
        finally:
            self._looking = False

    def evict(self) -> None:
        """Add up what is in the folder; if that is too much, remove what was not used for longest.

        Nothing, while another process does.
        """
        with self._alone() as alone:
            if not alone:
                with self._lock:  # it knows; look again after as much as before
                    self._known, self._written = self.nbytes, 0
                return
            found, total = [], 0
            now = time.time()
            for name, status in _listed(self._folder):
                if name.startswith(_TEMPORARY) and now - status.st_mtime > _LEFT_BEHIND_S:
                    self._remove(name)
                    continue
                total += _on_disk(status.st_size)
                if name.endswith(_SUFFIX):
                    found.append((status.st_mtime_ns, _on_disk(status.st_size), name))
            if total > self.most:
                found.sort(reverse=True)
                enough = self.most - self.most // _FREE
                while found and total > enough:
                    _, size, name = found.pop()
                    if self._remove(name):
                        count("disk_cache_evictions")
                    total -= size
            with self._lock:
                self._known, self._written = total, 0

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other process looks at the folder while the block runs. The system forgets the
        lock of a process that dies."""
        try:
            import fcntl
        except ImportError:
            yield True
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | _BINARY
        file = os.open(self._path(_LOCK), flags, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            except OSError:  # not every file system has locks; two that evict remove too much
                yield True
            else:
                yield True
        finally:
            os.close(file)


def _filled(raw: object, out: memoryview) -> bool:
    view = out.cast("B")
    while view.nbytes:
        got = raw.readinto(view)  # type: ignore[attr-defined]
        if not got:
            return False
        view = view[got:]
    return True


def _footer(values: memoryview) -> bytes:
    import xxhash

    return xxhash.xxh3_64_intdigest(values).to_bytes(_FOOTER, "little")


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def _listed(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Files of a folder; those that vanish meanwhile are left out."""
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False):
                    yield entry.name, entry.stat(follow_symlinks=False)


_caches: dict[str, DiskCache] = {}


def disk_cache(folder: str, most: int) -> DiskCache:
    """The cache of this process in a folder, which takes up to ``most`` bytes from now on."""
    found = _caches.get(folder)
    if found is None:
        found = _caches.setdefault(folder, DiskCache(folder, most))
    found.most = most
    return found


GAUGES["disk_cache_nbytes"] = lambda: sum([cache.nbytes for cache in _caches.values()])


def _after_fork_in_child() -> None:
    for cache in _caches.values():
        cache._renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
