"""Writing files so that nobody ever sees a half of them.

Everything is written beside its place, under a hidden name that ends in ``.tmp``, and put into its
place at the end: by a link or a rename where there is nothing yet, by an exchange where something
is replaced, each of which happens at once. Whatever is written holds a lock on its hidden name, so
that the next one to write to the same place can tell what a killed process has left from what
another one is writing, and clears it away.

Processes that read, are killed or fail find the old or the new; the files are not forced to the
disk, so that a machine that loses its power may still find neither.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Literal

from lazytensor.errors import SinkError, SinkExistsError
from lazytensor.io.store import Buffer

__all__ = [
    "Mode", "Staged", "StagedFile", "StagedFolder", "check_mode", "read_at", "write_all",
]  # fmt: skip

Mode = Literal["create", "overwrite"]
_MODES = ("create", "overwrite")
_FLAGS = (
    os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)
_MOST_BUFFERS = 512
_EXCHANGE, _AT_CWD = 2, -100
_HAS_OFFSETS = hasattr(os, "preadv") and hasattr(os, "pwritev")
_seeking = threading.Lock()
"""Held where a system has no reads and writes at an offset, and the place in a file is shared."""


def check_mode(mode: str) -> None:
    """``ValueError`` unless ``mode`` says what becomes of what is there."""
    if mode not in _MODES:
        raise ValueError(f"mode must be one of {_MODES}, not {mode!r}")


def write_all(fd: int, parts: Sequence[Buffer], at: int | None = None) -> int:
    """Write buffers one behind the other, at an offset or where the file is; how many bytes."""
    views = [memoryview(part).cast("B") for part in parts if len(part)]
    total = 0
    while views:
        some = views[:_MOST_BUFFERS]
        done = _write_some(fd, some, None if at is None else at + total)
        total += done
        while views and done >= len(views[0]):
            done -= len(views.pop(0))
        if done:
            views[0] = views[0][done:]
    return total


def _write_some(fd: int, views: list[memoryview], at: int | None) -> int:
    if at is None:
        return os.writev(fd, views) if hasattr(os, "writev") else os.write(fd, views[0])
    if _HAS_OFFSETS:
        return os.pwritev(fd, views, at)
    with _seeking:
        os.lseek(fd, at, os.SEEK_SET)
        return os.write(fd, views[0])


def read_at(fd: int, view: memoryview, at: int) -> None:
    """Fill a buffer from an offset on, whoever else reads and writes; ``OSError`` at the end."""
    while len(view):
        if _HAS_OFFSETS:
            count = os.preadv(fd, [view], at)
        else:
            with _seeking:
                os.lseek(fd, at, os.SEEK_SET)
                data = os.read(fd, len(view))
            count = len(data)
            view[:count] = data
        if not count:
            raise OSError("the file was cut off while it was written")
        view, at = view[count:], at + count


@contextmanager
def _named(label: str, what: str) -> Iterator[None]:
    """Make of errors of the system those of a sink."""
    try:
        yield
    except SinkError:
        raise
    except OSError as error:
        raise SinkError(f"{label}: {what}: {error}") from error


class Staged:
    """Something that is written beside ``path`` and put there at the end; see the module.

    ``mode``: ``"create"`` refuses what is there (``SinkExistsError``), ``"overwrite"`` replaces it
    if it is a file, or a folder that is empty or has the file ``mark``.
    """

    def __init__(self, path: str, mode: Mode, label: str, mark: str | None = None) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))
        self.label = label
        self._mode = mode
        self._mark = mark
        self._lock = -1
        self._own = ""
        self._folders_made: list[str] = []

    @property
    def own(self) -> str:
        """The hidden name under which it is written."""
        return self._own

    def begin(self) -> None:
        """Make the hidden file or folder; raises ``SinkError``."""
        with _named(self.label, "cannot be written"):
            self._refuse()
            folder, name = os.path.split(self.path)
            self._make_folders(folder)
            _clear(folder, name)
            while not self._own:
                own = os.path.join(folder, f".{name}.{uuid.uuid4().hex}.tmp")
                self._lock = self._make(own)
                # Somebody may have taken it for a leftover before it was locked.
                if _lock(self._lock) and os.path.lexists(own):
                    self._own = own
                else:
                    self._unlock()

    def _make_folders(self, folder: str) -> None:
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for one in reversed(missing):
            with suppress(FileExistsError):
                os.mkdir(one)
                self._folders_made.append(one)

    def _refuse(self) -> None:
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return
        if self._mode == "create":
            raise SinkExistsError(
                f"{self.label}: there is something at {self.path!r} already; give another path, or "
                f"mode='overwrite'"
            )
        if stat.S_ISREG(found.st_mode) or (stat.S_ISDIR(found.st_mode) and self._may_go(self.path)):
            return
        raise SinkExistsError(
            f"{self.label}: {self.path!r} is not what was written here before; remove it yourself"
        )

    def _may_go(self, folder: str) -> bool:
        names = os.listdir(folder)
        return not names or (self._mark is not None and self._mark in names)

    def _make(self, own: str) -> int:
        raise NotImplementedError

    def _publish(self) -> None:
        with _named(self.label, "cannot be put into its place"):
            if self._mode == "create":
                self._put_new()
            else:
                self._replace()
        self._folders_made.clear()
        self._unlock()

    def _put_new(self) -> None:
        raise NotImplementedError

    def _replace(self) -> None:
        self._refuse()
        if not os.path.lexists(self.path):
            os.rename(self._own, self.path)
        elif os.path.isfile(self._own) and os.path.isfile(self.path):
            os.replace(self._own, self.path)
        else:
            old = self._own
            if not _exchange(self._own, self.path):
                # Two steps, between which there is nothing for a moment.
                old = f"{self._own[:-4]}.old.tmp"
                os.rename(self.path, old)
                try:
                    os.rename(self._own, self.path)
                except BaseException:
                    os.rename(old, self.path)
                    raise
            self._own = ""
            _remove(old)
        self._own = ""

    def abort(self) -> None:
        """Remove what was written."""
        own, self._own = self._own, ""
        if own:
            _remove(own)
        for folder in reversed(self._folders_made):
            with suppress(OSError):  # somebody else has put something there
                os.rmdir(folder)
        self._folders_made.clear()
        self._unlock()

    def _unlock(self) -> None:
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


class StagedFile(Staged):
    """A file; ``descriptor`` is open for writing at any offset."""

    @property
    def descriptor(self) -> int:
        """Of the hidden file."""
        return self._lock

    def put(self, at: int, data: Buffer) -> None:
        """Write bytes at an offset; raises ``SinkError``."""
        with _named(self.label, f"at byte {at}"):
            write_all(self._lock, [data], at)

    def allocate(self, nbytes: int) -> None:
        """Have room for so many bytes before the first is written; raises ``SinkError``."""
        if not nbytes:
            return
        with _named(self.label, f"there is no room for {nbytes} bytes"):
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(self._lock, 0, nbytes)
                except OSError as error:
                    if error.errno not in _CANNOT_ALLOCATE:
                        raise
                else:
                    return
            os.ftruncate(self._lock, nbytes)

    def publish(self) -> None:
        """Put it into its place; raises ``SinkError``, and then nothing has changed."""
        self._publish()

    def _make(self, own: str) -> int:
        return os.open(own, _FLAGS, 0o666)

    def _put_new(self) -> None:
        try:
            os.link(self._own, self.path)
        except FileExistsError:
            raise SinkExistsError(
                f"{self.label}: something was put at {self.path!r} meanwhile"
            ) from None
        except (OSError, AttributeError):
            # No links here, as on FAT: not as safe against another one who does the same.
            self._refuse()
            os.rename(self._own, self.path)
        else:
            os.unlink(self._own)
        self._own = ""


class StagedFolder(Staged):
    """A folder of files, each of which is there as a whole or not at all.

    ``fresh``: what names have to begin with so that nobody has written them before: nothing.
    """

    fresh = ""

    def __init__(self, path: str, mode: Mode, label: str, mark: str | None = None) -> None:
        super().__init__(path, mode, label, mark)
        self._folders: set[str] = set()
        self._made = threading.Lock()

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Write one file, from any thread; raises ``SinkError`` naming the key."""
        path = f"{self._own}/{key}"
        folder, _, name = path.rpartition("/")
        hidden = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        with _named(self.label, f"key {key!r}"):
            self._have(folder)
            fd = os.open(hidden, _FLAGS, 0o666)
            try:
                write_all(fd, parts)
            finally:
                os.close(fd)
            os.replace(hidden, path)

    def publish(self, key: str, parts: Sequence[Buffer]) -> None:
        """Write the last file, and put the folder into its place; raises ``SinkError``, and then
        nothing has changed."""
        self.put(key, parts)
        self._publish()

    def _have(self, folder: str) -> None:
        if folder in self._folders:
            return
        os.makedirs(folder, exist_ok=True)
        with self._made:
            self._folders.add(folder)

    def _make(self, own: str) -> int:
        os.mkdir(own)
        if sys.platform == "win32":
            return -1
        return os.open(own, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def _put_new(self) -> None:
        try:
            os.rename(self._own, self.path)
        except OSError as error:
            if not os.path.lexists(self.path):
                raise
            raise SinkExistsError(
                f"{self.label}: something was put at {self.path!r} meanwhile"
            ) from error
        self._own = ""


def _cannot_allocate() -> frozenset[int]:
    import errno

    names = ("EOPNOTSUPP", "ENOTSUP", "EINVAL", "ENOSYS")
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


_CANNOT_ALLOCATE = _cannot_allocate()


def _lock(fd: int) -> bool:
    """Lock an open file or folder until it is closed; False if another one has."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: nothing is cleared away there, either
    return True


def _clear(folder: str, name: str) -> None:
    """Remove what killed processes have left that wrote to the same place."""
    try:
        import fcntl
    except ImportError:
        return
    with suppress(OSError):
        found = [one for one in os.listdir(folder) if _is_ours(one, name)]
        for one in found:
            path = os.path.join(folder, one)
            fd = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            except OSError:
                continue  # being written, or no locks here
            finally:
                os.close(fd)


def _is_ours(found: str, name: str) -> bool:
    begin = f".{name}."
    if not (found.startswith(begin) and found.endswith(".tmp")):
        return False
    digits = found[len(begin) : -4].removesuffix(".old")
    return len(digits) == 32 and all(c in "0123456789abcdef" for c in digits)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(FileNotFoundError):
        os.unlink(path)


def _exchange(one: str, other: str) -> bool:
    """Exchange two names at once, where the system can (Linux)."""
    rename = _renameat2()
    if rename is None:
        return False
    done: int = rename(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE)
    return done == 0


@cache
def _renameat2() -> Any:
    if sys.platform != "linux":
        return None
    import ctypes

    function = getattr(ctypes.CDLL(None), "renameat2", None)
    if function is not None:
        integer, text = ctypes.c_int, ctypes.c_char_p
        function.argtypes = (integer, text, integer, text, ctypes.c_uint)
    return function
