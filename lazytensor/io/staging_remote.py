"""Writing to file systems of fsspec so that nobody ever sees a half of it.

Object stores have no renames, but putting an object happens at once. So the files of a folder are
put under a name of their own (``fresh``), which nobody knows before the one file that says it, put
last, replaces the former one; only then is removed what that had named, and nothing else, since
another one may be writing. So what a killed process has left is seen by nobody, is in nobody's way,
and stays. A single file is written to this machine first and sent as a whole.
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

from lazytensor.errors import SinkError, SinkExistsError
from lazytensor.io.staging import Mode, StagedFile, StagedFolder
from lazytensor.io.store import Buffer
from lazytensor.io.store_open import file_system
from lazytensor.io.store_retry import patiently, shown

__all__ = [
    "Place",
    "Remote",
    "RemoteFile",
    "RemoteFolder",
    "place_of",
    "staged_file",
    "staged_folder",
]

_T = TypeVar("_T")
_FRESH = re.compile(r"\w+-[0-9a-f]{12}")
_LOCAL = frozenset({"file", "local"})
_AT_ONCE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"})
"""File systems on which nobody sees an object before all of it is there."""


class Place(NamedTuple):
    """Where to write: ``path`` of a file system of fsspec, or, without one, of this machine.

    ``uri``: an absolute path or a URL that opens it; ``name``: the same without secrets.
    """

    fs: Any
    path: str
    uri: str
    name: str


def place_of(path: Any, storage_options: Mapping[str, Any] | None = None) -> Place:
    """The place meant by a path, any fsspec URL, ``(fs, path)`` or a ``UPath``.

    Raises ``TypeError`` for anything else, ``ValueError`` for zip files, ``SourceError`` for a URL
    that fsspec does not know.

    >>> place_of("/data/x.tenso").uri
    '/data/x.tenso'
    """
    if hasattr(path, "fs") and hasattr(path, "path"):
        path = path.fs, path.path
    fs: Any
    if isinstance(path, tuple) and len(path) == 2 and hasattr(path[0], "_strip_protocol"):
        fs, inner = path[0], path[0]._strip_protocol(os.fspath(path[1]))
    elif isinstance(path, (str, os.PathLike)):
        text = os.fsdecode(path)
        if "://" not in text and "::" not in text:
            return _local(text)
        fs, inner = file_system(text, dict(storage_options or {}))
    else:
        raise TypeError(
            f"{type(path).__name__} is no place to write to: give a path, a URL or (fs, path)"
        )
    fs = getattr(fs, "sync_fs", fs)
    if not _LOCAL.isdisjoint(_protocols(fs)):
        return _local(inner)
    if "zip" in _protocols(fs) or inner.partition("?")[0].endswith(".zip"):
        raise ValueError(f"{shown(inner)!r}: zip files are read only; write to a folder and zip it")
    uri = fs.unstrip_protocol(inner.rstrip("/"))
    return Place(fs, inner.rstrip("/"), uri, shown(uri))


def _local(text: str) -> Place:
    if text.endswith(".zip"):
        raise ValueError(f"{text!r}: zip files are read only; write to a folder and zip it")
    path = os.path.abspath(os.path.expanduser(text))
    return Place(None, path, path, path)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def staged_file(place: Place, mode: Mode, label: str) -> StagedFile:
    """A file to be written at a place."""
    if place.fs is None:
        return StagedFile(place.path, mode, label, mark="tenso.json")
    return RemoteFile(place, mode, label)


def staged_folder(
    place: Place, mode: Mode, label: str, mark: str, known: Callable[[bytes], str | None]
) -> StagedFolder | RemoteFolder:
    """A folder to be written at a place.

    ``mark``: the file by which it is known; ``known``: the name, in the folder, of all that such a
    file tells of, or None if it tells nothing.
    """
    if place.fs is None:
        return StagedFolder(place.path, mode, label, mark)
    return RemoteFolder(place, mode, label, mark, known)


class Remote:
    """What both kinds ask of a file system."""

    def __init__(self, place: Place, label: str) -> None:
        self._fs = place.fs
        self._path = place.path
        self._name = place.name
        self._label = label

    @contextmanager
    def named(self, what: str) -> Iterator[None]:
        """Make of whatever a file system raises the error of a sink."""
        try:
            yield
        except SinkError:
            raise
        # What a file system raises has no common base.
        except Exception as error:
            said = shown(str(error)) or type(error).__name__
            failed = SinkError(f"{self._label}: {what}: {said}")
            failed.errno = getattr(error, "errno", None)
            raise failed from error

    def ask(self, call: Callable[[], _T]) -> _T:
        """What a request answers, asked again after failures that may pass."""
        return patiently(call)

    def exists(self, path: str) -> bool:
        """Whether there is an object, or any below it."""
        self._fs.invalidate_cache()
        return bool(self.ask(lambda: self._fs.exists(path)))

    def refuse(self) -> None:
        """Raise the error of a place that is taken."""
        raise SinkExistsError(
            f"{self._label}: there is something at {self._name!r} already; give another path, or "
            f"mode='overwrite'"
        )

    def put(self, path: str, send: Callable[[str], Any]) -> None:
        """Have an object at a path as a whole: ``send`` puts it at the path it is given."""
        if not _AT_ONCE.isdisjoint(_protocols(self._fs)):
            self.ask(lambda: send(path))
            return
        folder, _, name = path.rpartition("/")
        hidden = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        with suppress(Exception):  # some have no folders, and say so in many ways
            self._fs.makedirs(folder, exist_ok=True)
        try:
            self.ask(lambda: send(hidden))
            self.ask(lambda: self._fs.mv(hidden, path))
        except BaseException:
            with suppress(Exception):  # there may be nothing to remove
                self._fs.rm_file(hidden)
            raise


class RemoteFolder:
    """A folder of objects, of which nobody knows before ``publish``.

    ``fresh``: what the names of files begin with that nobody has written before.
    """

    def __init__(
        self,
        place: Place,
        mode: Mode,
        label: str,
        mark: str,
        known: Callable[[bytes], str | None],
    ) -> None:
        self._known = known
        self._remote = Remote(place, label)
        self._fs, self._path = place.fs, place.path
        self._mode = mode
        self._mark = mark
        self._begun = False
        self.fresh = f"-{uuid.uuid4().hex[:12]}"

    def begin(self) -> None:
        """Look at what is there; raises ``SinkError``."""
        with self._remote.named("cannot be written"):
            if self._remote.exists(self._path) and not self._is_left():
                known = self._remote.exists(f"{self._path}/{self._mark}")
                if self._mode == "create":
                    self._remote.refuse()
                if not known and not self._fs.isfile(self._path):
                    raise SinkExistsError(
                        f"{self._remote._label}: what is there is not what was written here "
                        f"before; remove it yourself"
                    )
        self._begun = True

    def _is_left(self) -> bool:
        """Whether there is nothing but what nobody knows, of others who write or were killed."""
        if self._fs.isfile(self._path):
            return False
        names = self._names()
        return bool(names) and all(map(_FRESH.fullmatch, names))

    def _names(self) -> list[str]:
        """What is in the folder, at its top."""
        found = self._fs.ls(self._path, detail=False)
        return [one.rstrip("/").rpartition("/")[2] for one in found]

    def put(self, key: str, parts: Sequence[Buffer]) -> None:
        """Write one file, from any thread; raises ``SinkError`` naming the key."""
        data = b"".join(parts)
        with self._remote.named(f"key {key!r}"):
            self._remote.put(f"{self._path}/{key}", lambda path: self._fs.pipe_file(path, data))

    def publish(self, key: str, parts: Sequence[Buffer]) -> None:
        """Write the file that names all others, and remove what the former one had named."""
        with self._remote.named("cannot be put into its place"):
            former = self._former() if self._mode == "overwrite" else []
            if self._mode == "create" and self._remote.exists(f"{self._path}/{self._mark}"):
                self._remote.refuse()
            self.put(key, parts)
            self._begun = False
            for path in former:
                with suppress(Exception):  # nobody knows it any more, and another one may be at it
                    self._fs.rm_file(path)
            self._fs.invalidate_cache()

    def _former(self) -> list[str]:
        """What the file tells of that is to be replaced."""
        if self._fs.isfile(self._path):
            return [self._path]
        mark = f"{self._path}/{self._mark}"
        if not self._remote.exists(mark):
            return []
        name = self._known(self._remote.ask(lambda: self._fs.cat_file(mark)))
        return [] if name is None else self._under(name)

    def _under(self, name: str) -> list[str]:
        """The files with this name, or in the folder with it."""
        path = f"{self._path}/{name}"
        return list(self._fs.find(path)) if self._remote.exists(path) else []

    def abort(self) -> None:
        """Remove what was written."""
        if not self._begun:
            return
        self._begun = False
        with suppress(FileNotFoundError):
            self._fs.invalidate_cache()
            for name in self._names():
                for path in self._under(name) if name.endswith(self.fresh) else ():
                    self._fs.rm_file(path)


class RemoteFile(StagedFile):
    """A file that is written here and sent when all of it is there."""

    def __init__(self, place: Place, mode: Mode, label: str) -> None:
        super().__init__(os.path.join(tempfile.gettempdir(), "lazytensor"), mode, label)
        self._place = place
        self._remote = Remote(place, label)

    def _refuse(self) -> None:
        if not self._remote.exists(self._place.path):
            return
        if self._mode == "create":
            self._remote.refuse()
        if self._place.fs.isdir(self._place.path):
            raise SinkExistsError(
                f"{self.label}: {self._place.name!r} is a folder; remove it yourself"
            )

    def begin(self) -> None:
        """Make the file here; raises ``SinkError`` where there is something already."""
        with self._remote.named("cannot be written"):
            self._refuse()
            self._lock, self._own = tempfile.mkstemp(prefix="lazytensor-", suffix=".tmp")

    def publish(self) -> None:
        """Send it."""
        fs, own = self._place.fs, self._own
        with self._remote.named("cannot be put into its place"):
            self._refuse()
            self._remote.put(self._place.path, lambda path: fs.put_file(own, path))
            fs.invalidate_cache()
        self.abort()
