"""Arrays handed over between processes, as a packet in memory that they share.

One process, the owner, makes a segment and puts values into it, again and again if it likes;
others attach to it by name. A segment is a file that is mapped, in ``/dev/shm`` where there is one
and else in the folder of temporary files: 64 bytes of description, then a packet.

**No torn reads.** The description has a sequence number, odd while values are being put, and the
XXH3-64 of the packet. ``get`` copies the packet and compares both before it believes a byte, so it
returns what was put once or raises. ``value`` does not copy: its arrays are the memory itself, and
what is put later shows in them; ``sequence`` tells.

**Lifetime.** The name goes when the owner closes the segment, ends, or, if it was killed, when any
process of the user makes another segment. The memory stays until the last array that lies in it is
gone, in every process: it is never unmapped under a view.

``multiprocessing.shared_memory`` is not used: up to Python 3.12 its tracker removes a segment when
any process that attached to it ends, and nothing ties views to the mapping.
"""

from __future__ import annotations

import mmap
import os
import re
import secrets
import stat
import struct
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from lazytensor.errors import ChecksumError, FormatError, SourceError, SourceNotFoundError
from lazytensor.io.tenso.buffers import packet_in, settled
from lazytensor.io.tenso.decode import Decoded
from lazytensor.io.tenso.encode import Encoded, Options, encode
from lazytensor.native.addresses import address_of_bytes

__all__ = ["Shared", "attach", "share"]

_MAGIC = b"LZTSHM01"
_PREFIX = "lazytensor-shm-"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_HEAD = struct.Struct("<8sQQQqQ")  # magic, sequence, bytes of packet, XXH3, owner, its start
_SEQUENCE = struct.Struct("<Q")
_SEQUENCE_AT = 8
_START = 64
_PATIENCE = 2.0
"""Seconds that somebody waits for values that are just being put."""


def _folder() -> Path:
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and os.access(shm, os.W_OK) else Path(tempfile.gettempdir())


def _path_of(name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name shared memory: up to 128 letters, digits, '_', '.' and '-'"
        )
    return _folder() / f"{_PREFIX}{name}"


def _start_of(pid: int) -> int:
    """When a process started, in ticks; 0 where that is not known or it is gone.

    With it a number that was given to another process meanwhile is not mistaken for the owner.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


class Shared:
    """A segment of shared memory that holds one packet; made by ``share`` and ``attach``.

    ``name``: for ``attach`` in other processes. ``nbytes``: of the packet. ``capacity``: of the
    largest that fits. A context manager that closes it.
    """

    def __init__(self, name: str, path: Path, memory: mmap.mmap, owner: int | None) -> None:
        self.name = name
        self._memory: mmap.mmap | None = memory
        self._owner = owner
        self._writing = threading.Lock()
        # Runs when nobody has the segment any more, at the latest when the interpreter ends.
        self._unlinked = weakref.finalize(self, _unlink, path, owner) if owner else None

    @property
    def capacity(self) -> int:
        """Bytes of the largest packet that fits."""
        return len(self._open()) - _START

    @property
    def nbytes(self) -> int:
        """Bytes of the packet that is there."""
        return int(_HEAD.unpack_from(self._open())[2])

    @property
    def sequence(self) -> int:
        """How often values were put; while they are being put, as before."""
        return self._raw_sequence() // 2

    def _raw_sequence(self) -> int:
        return int(_SEQUENCE.unpack_from(self._open(), _SEQUENCE_AT)[0])

    def _open(self) -> mmap.mmap:
        if self._memory is None:
            raise ValueError(f"shared memory {self.name!r} is closed")
        return self._memory

    @property
    def value(self) -> Decoded:
        """The values, without a copy: read-only arrays that are the shared memory.

        What is put later shows in them, half put too; they stay valid after ``close``. Raises
        ``SourceError`` while values are being put and go on being put.
        """
        self._settled_sequence()
        packet = memoryview(self._open())[_START : _START + self.nbytes]
        return self._decoded(packet.toreadonly(), writable=False)

    def get(self) -> Decoded:
        """The values as they were put last, in arrays of their own that may be written.

        Raises ``SourceError`` where the owner stopped in the middle of putting, ``ChecksumError``
        where somebody else wrote into the memory.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            sequence = self._settled_sequence()
            memory = self._open()
            _, _, nbytes, wanted, _, _ = _HEAD.unpack_from(memory)
            data = _copied(memoryview(memory)[_START : _START + min(nbytes, self.capacity)])
            if self._raw_sequence() == sequence and _hash(data) == wanted:
                return self._decoded(data, writable=True)
            if time.monotonic() > deadline:
                if self._raw_sequence() == sequence:
                    raise ChecksumError(f"shared memory {self.name!r}: the packet was written over")
                raise SourceError(f"shared memory {self.name!r}: values are put faster than read")

    def _settled_sequence(self) -> int:
        """The sequence number, once nobody is putting values."""
        deadline = time.monotonic() + _PATIENCE
        while (sequence := self._raw_sequence()) % 2:
            if time.monotonic() > deadline:
                raise SourceError(
                    f"shared memory {self.name!r}: its owner has been putting values for "
                    f"{_PATIENCE:g} s; it may have been stopped in the middle"
                )
            time.sleep(0.0005)
        return sequence

    def _decoded(self, data: memoryview, *, writable: bool) -> Decoded:
        where = f"shared memory {self.name!r}"
        value, _ = packet_in(data, 0, sparse="scipy", legacy=False, where=where)
        return settled(value, copy=False, writable=writable)

    def put(self, obj: object) -> None:
        """Put other values in the place of those that are there. Only the owner may.

        Raises ``ValueError`` for a packet that does not fit, before anything is changed.
        """
        if self._owner != os.getpid():
            raise ValueError(f"shared memory {self.name!r} belongs to another process")
        self._put(encode(obj, Options()))

    def _put(self, encoded: Encoded) -> None:
        if encoded.nbytes > self.capacity:
            raise ValueError(
                f"a packet of {encoded.nbytes} bytes does not fit into shared memory {self.name!r} "
                f"of {self.capacity}; share it under another name"
            )
        memory = self._open()
        with self._writing:
            # Odd also where an earlier put was interrupted.
            sequence = self._raw_sequence() | 1
            _SEQUENCE.pack_into(memory, _SEQUENCE_AT, sequence)
            at, view = _START, memoryview(memory)
            for part in encoded.parts:
                view[at : at + len(part)] = part
                at += len(part)
            digest = _hash(view[_START:at])
            _HEAD.pack_into(
                memory,
                0,
                _MAGIC,
                sequence,
                at - _START,
                digest,
                os.getpid(),
                _start_of(os.getpid()),
            )
            _SEQUENCE.pack_into(memory, _SEQUENCE_AT, sequence + 1)

    def close(self) -> None:
        """Let go of the memory; as its owner also of its name. Arrays that lie in it stay valid."""
        self.unlink()
        # Without a reference of ours it is unmapped when the last array in it is gone.
        self._memory = None

    def unlink(self) -> None:
        """Give up the name, as owner: nobody can attach any more, who has done so goes on."""
        if self._unlinked is not None:
            self._unlinked()

    def __enter__(self) -> Shared:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._memory is None:
            return f"Shared({self.name!r}, closed)"
        return f"Shared({self.name!r}, {self.nbytes} of {self.capacity} bytes)"


def _copied(data: memoryview) -> memoryview:
    """A copy that begins at a multiple of 64, so that what is decoded from it can stay there."""
    room = np.empty(len(data) + _START, np.uint8)
    first = -address_of_bytes(room) % _START
    copy = room[first : first + len(data)].data
    copy[:] = data
    return copy


def _hash(data: memoryview) -> int:
    import xxhash

    return int(xxhash.xxh3_64_intdigest(data))


def _unlink(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked child has the object, but not the segment
        path.unlink(missing_ok=True)


def share(obj: object, name: str | None = None, *, capacity: int | None = None) -> Shared:
    """Put values where other processes of this user can have them, by ``attach(name)``.

    Parameters
    ----------
    obj
        What ``dumps`` takes: an array, a ``QuantizedArray``, a dict of these.
    name
        Up to 128 letters, digits, ``_``, ``.`` and ``-``; by default a random one.
    capacity
        Bytes of the largest packet that ``put`` will put; by default that of this one.

    The segment goes with its owner: keep the object as long as others may want to attach. Raises
    ``FileExistsError`` where the name is taken, ``ValueError`` for a capacity that is too small,
    and what ``dumps`` raises.

    >>> with share(np.arange(3)) as owned, attach(owned.name) as other:
    ...     owned.put(np.arange(3) + 10)
    ...     other.get(), other.sequence
    (array([10, 11, 12]), 2)
    """
    encoded = encode(obj, Options())
    room = encoded.nbytes if capacity is None else capacity
    if room < encoded.nbytes:
        raise ValueError(f"a packet of {encoded.nbytes} bytes needs more than capacity={room}")
    sweep()
    chosen = f"{os.getpid()}-{secrets.token_hex(8)}" if name is None else name
    path = _path_of(chosen)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    try:
        fd = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)
    except FileExistsError:
        raise FileExistsError(f"there is shared memory {chosen!r} already") from None
    try:
        _reserve(fd, _START + room)
        # An owner that is killed from here on can be told.
        head = _HEAD.pack(_MAGIC, 1, 0, 0, os.getpid(), _start_of(os.getpid()))
        os.write(fd, head)
        memory = mmap.mmap(fd, _START + room)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    made = Shared(chosen, path, memory, os.getpid())
    try:
        made._put(encoded)
    except BaseException:
        made.close()
        raise
    return made


def _reserve(fd: int, nbytes: int) -> None:
    """Have the memory now: touching a mapped page that cannot be had would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, nbytes)
    else:
        os.truncate(fd, nbytes)


def attach(name: str) -> Shared:
    """The segment that another process shares under ``name``.

    Raises ``SourceNotFoundError`` where there is none, ``FormatError`` for what is no segment,
    ``PermissionError`` for one of another user.

    >>> with share({"a": np.ones(2)}) as owned:
    ...     attach(owned.name).value
    {'a': array([1., 1.])}
    """
    path = _path_of(name)
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise SourceNotFoundError(f"there is no shared memory {name!r}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_size < _START:
            raise FormatError(f"{name!r} is no shared memory of lazytensor")
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            raise PermissionError(f"shared memory {name!r} belongs to another user")
        memory = mmap.mmap(fd, status.st_size, access=mmap.ACCESS_READ)
    finally:
        os.close(fd)
    if memory[: len(_MAGIC)] != _MAGIC:
        raise FormatError(f"{name!r} is no shared memory of lazytensor")
    return Shared(name, path, memory, None)


def sweep() -> None:
    """Remove what owners left behind that were killed."""
    for path in _segments():
        try:
            with path.open("rb") as file:
                head = file.read(_HEAD.size)
        except OSError:
            continue  # somebody else's, or just gone
        if len(head) < _HEAD.size or not head.startswith(_MAGIC):
            continue
        _, _, _, _, owner, start = _HEAD.unpack(head)
        if not _is_alive(owner, start):
            path.unlink(missing_ok=True)


def _segments() -> Iterator[Path]:
    for path in _folder().glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and (
                not hasattr(os, "getuid") or status.st_uid == os.getuid()
            ):
                yield path


def _is_alive(pid: int, start: int) -> bool:
    if sys.platform == "win32":
        return True  # a file that is mapped cannot be removed there, and the folder is temporary
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not start or _start_of(pid) in (0, start)
