"""Writing files so that nobody ever sees a half of them.

Everything is written beside its place, under a hidden name that ends in ``.tmp``, and put into its
place at the end: by a link or a rename where there is nothing yet, by an exchange where something
is replaced, each of which happens at once. Whatever is written holds a lock on its hidden name, so
that the next one to write to the same place can tell what a killed process has left from what
another one is writing, and clears it away (but for Windows, which has no such locks: there it
stays).

Processes that read, are killed or fail find the old or the new; the files are not forced to the
disk, so that a machine that loses its power may still find neither.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Literal

from lazytensor.errors import SinkError, SinkExistsError
from lazytensor.io.linux import fallocate
from lazytensor.io.linux import renameat2 as _renameat2
from lazytensor.io.store import Buffer

__all__ = [
    "Mode", "Staged", "StagedFile", "StagedFolder", "check_mode", "is_locked", "left_behind",
    "named", "read_at", "write_all",
]  # fmt: skip

Mode = Literal["create", "overwrite"]
_MODES = ("create", "overwrite")
_FLAGS = (
    os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)
_MOST_BUFFERS = 512
_EXCHANGE, _AT_CWD = 2, -100
_MOVES_OPEN = os.name != "nt"
"""Whether files that are open may be renamed and removed."""

_LONGEST = 200
"""Bytes of the name of a place that hidden names begin with, which have 255 at most."""

_CANNOT_ALLOCATE = (None, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EINTR, errno.EPERM)
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
def named(label: str, what: str) -> Iterator[None]:
    """Make of errors of the system those of a sink, with their ``errno``."""
    try:
        yield
    except SinkError:
        raise
    except OSError as error:
        failed = SinkError(f"{label}: {what}: {error}")
        failed.errno = error.errno
        raise failed from error


class Staged(ABC):
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
        with named(self.label, "cannot be written"):
            self._refuse()
            folder, name = os.path.split(self.path)
            self._make_folders(folder)
            _clear(folder, name)
            while not self._is_begun(os.path.join(folder, _hidden(name))):
                self._unlock()
            self._permit()

    def _is_begun(self, own: str) -> bool:
        # Known before it is made, so that an interrupt in between leaves nothing.
        self._own = own
        try:
            self._lock = self._make(own)
        except OSError:
            self._own = ""
            raise
        # Somebody may have taken it for a leftover before it was locked.
        return _lock(self._lock) and os.path.lexists(own)

    def _permit(self) -> None:
        """Let those read it, from now on, who may read what it replaces."""
        try:
            found, own = os.lstat(self.path), os.lstat(self._own)
        except FileNotFoundError:
            return
        if stat.S_IFMT(found.st_mode) == stat.S_IFMT(own.st_mode):
            least = 0o700 if stat.S_ISDIR(own.st_mode) else 0o600
            with suppress(OSError):  # file systems without permissions
                os.chmod(self._own, found.st_mode & 0o777 | least)

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

    @abstractmethod
    def _make(self, own: str) -> int:
        """Make what is written to; its descriptor, -1 where there is none."""

    def _publish(self) -> None:
        if not _MOVES_OPEN:
            self._unlock()
        with named(self.label, "cannot be put into its place"):
            if self._mode == "create":
                self._put_new()
            else:
                self._replace()
        self._folders_made.clear()
        self._unlock()

    @abstractmethod
    def _put_new(self) -> None:
        """Put it where nothing may be; ``SinkExistsError`` if something is."""

    def _replace(self) -> None:
        self._refuse()
        if not os.path.lexists(self.path) and self._moved():
            return
        if os.path.isfile(self._own) and os.path.isfile(self.path):
            os.replace(self._own, self.path)
            self._own = ""
            return
        old = self._own
        if not _exchange(self._own, self.path):
            old = f"{self._own[:-4]}.old.tmp"
            self._move_twice(old)
        self._own = old
        with suppress(OSError):  # it is nobody's any more, and cleared away by the next one
            _remove(old)
        self._own = ""

    def _moved(self) -> bool:
        """Put it where there is nothing; False if another one was quicker."""
        try:
            os.rename(self._own, self.path)
        except OSError:
            if not os.path.lexists(self.path):
                raise
            return False
        self._own = ""
        return True

    def _move_twice(self, old: str) -> None:
        """Replace in two steps, between which there is nothing for a moment."""
        try:
            os.rename(self.path, old)
            os.rename(self._own, self.path)
        except BaseException:
            if os.path.lexists(old) and not os.path.lexists(self.path):
                os.rename(old, self.path)
            raise

    def abort(self) -> None:
        """Remove what was written."""
        if not _MOVES_OPEN:
            self._unlock()
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
        with named(self.label, f"at byte {at}"):
            write_all(self._lock, [data], at)

    def allocate(self, nbytes: int) -> None:
        """Have room for so many bytes before the first is written; raises ``SinkError``."""
        if not nbytes:
            return
        with named(self.label, f"there is no room for {nbytes} bytes"):
            failed = fallocate(self._lock, 0, 0, nbytes)
            if failed in _CANNOT_ALLOCATE:
                os.ftruncate(self._lock, nbytes)
            elif failed:
                raise OSError(failed, os.strerror(failed))

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
        with named(self.label, f"key {key!r}"):
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
        try:
            return os.open(own, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            return -1  # somebody has taken it for a leftover already

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


def _lock(fd: int) -> bool:
    """Lock an open file or folder until it is closed; False if another one has."""
    try:
        import fcntl
    except ImportError:
        return True
    if fd < 0:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: nothing is cleared away there, either
    return True


def left_behind(folder: str, name: str) -> Iterator[tuple[str, int]]:
    """What killed processes have left that wrote to a place: paths, each with a descriptor that has
    its lock until the next one is asked for."""
    try:
        import fcntl
    except ImportError:
        return
    for one in os.listdir(folder):
        if not _is_ours(one, name):
            continue
        path = os.path.join(folder, one)
        with suppress(OSError):  # it is being written, or there are no locks here
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path, fd
            finally:
                os.close(fd)


def _clear(folder: str, name: str) -> None:
    """Remove what killed processes have left that wrote to the same place."""
    for path, _ in left_behind(folder, name):
        with suppress(OSError):
            _remove(path)


def is_locked(folder: str, name: str) -> str | None:
    """The hidden name of something that somebody is writing to a place; None if nobody is, or there
    are no locks."""
    try:
        import fcntl
    except ImportError:
        return None
    for one in os.listdir(folder):
        if not _is_ours(one, name):
            continue
        with suppress(FileNotFoundError):
            fd = os.open(os.path.join(folder, one), os.O_RDONLY | os.O_NONBLOCK)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return one
            except OSError:
                continue
            finally:
                os.close(fd)
    return None


def _hidden(name: str) -> str:
    """A hidden name for what is to be put in a place."""
    return f"{_begin(name)}{uuid.uuid4().hex}.tmp"


def _begin(name: str) -> str:
    """What hidden names of a place begin with."""
    while len(os.fsencode(name)) > _LONGEST:
        name = name[:-1]
    return f".{name}."


def _is_ours(found: str, name: str) -> bool:
    begin = _begin(name)
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
    done = rename(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE)
    return done == 0
