"""Where the files of a dataset are written, so that nobody ever sees a part of them.

On this machine a folder is written under a hidden name and put into its place at once; images are
added by writing a new one that begins with what the former one has, and exchanging the two; what
users have put beside the files of the dataset is in the new one, too. Object stores can do
neither: files are written here and sent one after the other, the one without which
nobody looks for others last.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal, Protocol

from lazytensor.errors import SinkError, SinkExistsError
from lazytensor.io.ome_arrow.folder import CHUNKS, IMAGES, INDEX
from lazytensor.io.staging import StagedFolder, named, write_all
from lazytensor.io.staging import check_mode as check_staged_mode
from lazytensor.io.staging_remote import Place, RemoteFile
from lazytensor.io.store import Buffer

__all__ = [
    "NOTE", "DatasetPlace", "Held", "Mode", "check_mode", "copy_bytes", "dataset_place",
]  # fmt: skip

NOTE = "_ome_arrow_dataset.json"
_FILES = (CHUNKS, INDEX, IMAGES, NOTE)
"""In the order in which they are sent: without the last two nobody takes it for a dataset."""

Mode = Literal["create", "overwrite", "append"]
_FLAGS = (
    os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
)
_COPIED = 8 << 20


def check_mode(mode: str) -> None:
    """``ValueError`` unless ``mode`` says what becomes of what is there."""
    if mode != "append":
        try:
            check_staged_mode(mode)
        except ValueError:
            raise ValueError(
                f"mode must be 'create', 'overwrite' or 'append', not {mode!r}"
            ) from None


class DatasetPlace(Protocol):
    """A dataset to be written. ``former``: the folder, on this machine, of the one that is there
    and is added to, None if there is none."""

    former: str | None

    def begin(self) -> None:
        """Reserve the place; raises ``SinkError``."""
        ...

    def write(self, at: int, parts: Sequence[Buffer]) -> None:
        """Write bytes of ``chunks.parquet``, from any thread; raises ``SinkError``."""
        ...

    def copy(self, path: str, nbytes: int) -> None:
        """Have ``chunks.parquet`` begin with the first bytes of another file."""
        ...

    def publish(self, files: Mapping[str, bytes]) -> None:
        """Write the other files, and let everybody see all of them; raises ``SinkError``."""
        ...

    def abort(self) -> None:
        """Leave no trace."""
        ...


def dataset_place(place: Place, mode: Mode, label: str) -> DatasetPlace:
    """A dataset to be written at a place."""
    kind = _LocalDataset if place.fs is None else _RemoteDataset
    found: DatasetPlace = kind(place, mode, label)
    return found


def copy_bytes(source: int, target: int, nbytes: int) -> None:
    """Copy the first bytes of a file into another one, in the system where it can do that: some
    file systems let two files have the same blocks."""
    done = 0
    if hasattr(os, "copy_file_range"):
        with suppress(OSError):  # not here: it is copied the usual way
            while done < nbytes:
                count = os.copy_file_range(source, target, nbytes - done, done, done)
                if not count:
                    break
                done += count
    with open(source, "rb", closefd=False) as file:
        file.seek(done)
        while done < nbytes:
            data = file.read(min(_COPIED, nbytes - done))
            if not data:
                raise OSError("the file was cut off while it was copied")
            done += write_all(target, [data], done)


class Held:
    """Something that is there and is added to, which nobody else may add to meanwhile.

    Raises ``SinkError`` if somebody does. ``path`` is locked, ``files`` must not change.
    """

    def __init__(self, path: str, files: Sequence[str], label: str) -> None:
        self._files = files
        self._label = label
        self._state = self._states()
        # Windows opens no folders, and has no such locks.
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
        self._lock = -1 if os.name == "nt" else os.open(path, flags)
        if not _locked(self._lock):
            self.release()
            raise SinkError(f"{label}: somebody else is adding images to it")

    def _states(self) -> list[tuple[int, ...]]:
        found = [os.stat(path) for path in self._files]
        return [(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for s in found]

    def check(self) -> None:
        """``SinkError`` if it is not what it was."""
        with named(self._label, "cannot be put into its place"):
            if self._states() != self._state:
                raise SinkError(f"{self._label}: somebody else has changed it meanwhile")

    def release(self) -> None:
        """Let others have it."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def _locked(fd: int) -> bool:
    """Lock a file or folder until it is closed; False if another one has."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True


def _carry(folder: str, into: str) -> None:
    """Have what is in a folder beside the files of a dataset in another one, too."""

    def ours(parent: str, names: list[str]) -> Sequence[str]:
        return _FILES if parent == folder else ()

    shutil.copytree(
        folder, into, symlinks=True, ignore=ours, copy_function=_linked, dirs_exist_ok=True
    )


def _linked(source: str, target: str) -> None:
    """Give a file a second name, or, on file systems that cannot do that, copy it."""
    try:
        os.link(source, target)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target)


class _LocalDataset:
    """A folder of this machine."""

    def __init__(self, place: Place, mode: Mode, label: str) -> None:
        self.former: str | None = None
        self._path = place.path
        self._mode = mode
        self._label = label
        self._staged: StagedFolder | None = None
        self._held: Held | None = None
        self._file = -1

    def begin(self) -> None:
        mode, mark = ("create" if self._mode == "append" else self._mode), NOTE
        if self._mode == "append" and os.path.lexists(self._path):
            self._hold_former()
            # What is there may be of another writer, and have no note.
            mode, mark = "overwrite", IMAGES
        self._staged = StagedFolder(self._path, mode, self._label, mark)
        self._staged.begin()
        with named(self._label, "cannot be written"):
            self._file = os.open(f"{self._staged.own}/{CHUNKS}", _FLAGS, 0o666)

    def _hold_former(self) -> None:
        files = [f"{self._path}/{name}" for name in (CHUNKS, IMAGES)]
        for file in files:
            if not os.path.isfile(file):
                raise SinkExistsError(
                    f"{self._label}: what is there is no dataset that images can be added to: it "
                    f"has no {os.path.basename(file)}; give another path"
                )
        with named(self._label, "cannot be added to"):
            self._held = Held(self._path, files, self._label)
        self.former = self._path

    def write(self, at: int, parts: Sequence[Buffer]) -> None:
        with named(self._label, f"{CHUNKS}, at byte {at}"):
            write_all(self._file, parts, at)

    def copy(self, path: str, nbytes: int) -> None:
        with named(self._label, f"{CHUNKS} cannot be copied"), open(path, "rb") as file:
            copy_bytes(file.fileno(), self._file, nbytes)

    def publish(self, files: Mapping[str, bytes]) -> None:
        assert self._staged is not None
        self._close_file()
        for name in (INDEX, IMAGES):
            self._staged.put(name, [files[name]])
        if self._held is not None:
            with named(self._label, "what else is in the folder cannot be copied"):
                _carry(self._path, self._staged.own)
            self._held.check()
        self._staged.publish(NOTE, [files[NOTE]])
        self._release()

    def abort(self) -> None:
        self._close_file()
        if self._staged is not None:
            self._staged.abort()
        self._release()

    def _close_file(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.release()


class _RemoteDataset:
    """Objects with common names, sent when all of them are there."""

    def __init__(self, place: Place, mode: Mode, label: str) -> None:
        self.former: str | None = None
        self._fs, self._path = place.fs, place.path
        self._mode = mode
        self._label = label
        self._place = place
        self._files: dict[str, RemoteFile] = {}
        self._sent: list[str] = []

    def begin(self) -> None:
        mode: Literal["create", "overwrite"] = "overwrite" if self._mode != "create" else "create"
        if self._mode == "append":
            with named(self._label, "cannot be read"):
                self._fetch()
        for name in _FILES:
            path = f"{self._path}/{name}"
            shown = [f"{one.rstrip('/')}/{name}" for one in (self._place.uri, self._place.name)]
            self._files[name] = RemoteFile(Place(self._fs, path, *shown), mode, self._label)
            self._files[name].begin()

    def _fetch(self) -> None:
        """Have the files of the former one here."""
        self._fs.invalidate_cache()
        if not self._fs.exists(f"{self._path}/{IMAGES}"):
            return
        self.former = tempfile.mkdtemp(prefix="lazytensor-")
        for name in (CHUNKS, IMAGES, INDEX):
            if self._fs.exists(f"{self._path}/{name}"):
                self._fs.get_file(f"{self._path}/{name}", f"{self.former}/{name}")

    def write(self, at: int, parts: Sequence[Buffer]) -> None:
        with named(self._label, f"{CHUNKS}, at byte {at}"):
            write_all(self._files[CHUNKS].descriptor, parts, at)

    def copy(self, path: str, nbytes: int) -> None:
        with named(self._label, f"{CHUNKS} cannot be copied"), open(path, "rb") as file:
            copy_bytes(file.fileno(), self._files[CHUNKS].descriptor, nbytes)

    def publish(self, files: Mapping[str, bytes]) -> None:
        for name, data in files.items():
            self._files[name].put(0, data)
        for name in (NOTE, IMAGES) if self._mode != "create" else ():
            # Rather nothing for a moment than images of one and chunks of another.
            with suppress(Exception):
                self._fs.rm_file(f"{self._path}/{name}")
        for name in _FILES:
            self._files[name].publish()
            self._sent.append(name)
        self._sent.clear()
        self._forget()

    def abort(self) -> None:
        for file in self._files.values():
            file.abort()
        for name in self._sent:
            with suppress(Exception):  # it is of no use without the others
                self._fs.rm_file(f"{self._path}/{name}")
        self._forget()

    def _forget(self) -> None:
        self._files.clear()
        former, self.former = self.former, None
        if former is not None:
            shutil.rmtree(former, ignore_errors=True)
