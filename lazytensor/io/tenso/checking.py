"""When the checksum of a packet is looked at, though its values are read in parts.

It covers all stored bytes of a body, so that nothing less than all of them can be checked.
``"always"`` reads them all before the first value is handed out, once for each state of the file.
``"whole"`` checks what is read anyway: bytes are hashed as they come, in order, while they are in
the cache. Tasks of one run read different parts, at any time, so the hash belongs to the run: a
part that comes too early is looked at again when its turn has come, and the check is made when all
has been seen. A run that reads less is not checked.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np

from lazytensor.errors import ChecksumError
from lazytensor.io.runs import PIECE
from lazytensor.io.store import Buffer, StoredObject
from lazytensor.io.tenso.decode import compare_checksum
from lazytensor.io.tenso.outline import FOOTER
from lazytensor.plan.counters import count
from lazytensor.plan.keeping import kept
from lazytensor.plan.one_at_a_time import OneAtATime

__all__ = ["VERIFY", "Check", "Session"]

VERIFY = ("whole", "always", "never")
_MOST_HELD = 64 << 20
"""Bytes of parts that came too early over a network, which are held; of others that is read
again."""

Span = tuple[int, int]


class Check:
    """The checksum of one packet, at ``checksum`` in the file.

    It is that of the bytes ``before``, ``body`` and ``behind`` (half-open offsets), of which
    ``body`` is what is read for its values. ``where``: named in errors. ``remote``: whether to read
    again is worse than to hold.
    """

    __slots__ = ("_done", "_turns", "before", "behind", "body", "checksum", "remote", "where")

    def __init__(
        self, before: Span, body: Span, behind: Span, checksum: int, where: str, *, remote: bool
    ) -> None:
        self.before = before
        self.body = body
        self.behind = behind
        self.checksum = checksum
        self.where = where
        self.remote = remote
        self._turns = OneAtATime()
        self._done: Hashable = None

    @property
    def beside(self) -> int:
        """Bytes that checking takes beside those of the values."""
        spans = (self.before, self.behind)
        return sum(stop - start for start, stop in spans) + FOOTER

    @property
    def is_done(self) -> bool:
        """Whether ``ensure`` has compared it before."""
        return self._done is not None

    @property
    def nbytes(self) -> int:
        """Bytes that checking takes, those of the values included."""
        return self.beside + self.body[1] - self.body[0]

    def ensure(self, whole: StoredObject) -> None:
        """Compare the checksum now, unless that was done with the file in this state."""
        state = whole.state, whole.size
        with self._turns:
            if self._done != state:
                session = Session(self)
                session.pass_to(whole, self.body[1])
                self._done = state

    def session(self) -> Session:
        """What the run of this context has seen of the packet so far."""
        return kept(("tenso-check", self), lambda: Session(self))


class Session:
    """The hash of a packet, as far as it has got."""

    __slots__ = ("_check", "_early", "_hasher", "_held", "_lock", "_over", "at")

    def __init__(self, check: Check) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._hasher: Any = None
        self._early: dict[int, tuple[int, Buffer | None]] = {}
        self._held = 0
        self._over = False
        self.at = check.body[0]

    def take(self, whole: StoredObject, start: int, data: memoryview) -> None:
        """Some of the body has been read. Raises ``ChecksumError`` if it was what was missing, and
        the checksum is another one."""
        stop = start + len(data)
        with self._lock:
            if self._over or stop <= self.at:
                return
            if start > self.at:
                if start not in self._early or self._early[start][0] < stop:
                    self._early[start] = stop, self._copy(data)
                return
            self._update(whole, data[self.at - start :])
            for begin, (end, copy) in self._catch_up():
                if copy is not None:
                    self._held -= len(copy)
                    self._update(whole, memoryview(copy)[self.at - begin :])
                else:
                    self._read_up_to(whole, end)
            if self.at == self._check.body[1]:
                self._finish(whole)

    def pass_to(self, whole: StoredObject, stop: int) -> None:
        """Read and hash all up to ``stop``."""
        with self._lock:
            self._read_up_to(whole, stop)
            if self.at == self._check.body[1]:
                self._finish(whole)

    def _copy(self, data: memoryview) -> bytes | None:
        if not self._check.remote or self._held + len(data) > _MOST_HELD:
            return None
        self._held += len(data)
        return bytes(data)

    def _catch_up(self) -> Iterator[tuple[int, tuple[int, Buffer | None]]]:
        """Parts that came early, and are next."""
        for start in sorted(self._early):
            if start > self.at:
                return
            found = self._early.pop(start)
            if found[0] > self.at:
                yield start, found

    def _update(self, whole: StoredObject, data: memoryview) -> None:
        if self._hasher is None:
            import xxhash

            self._hasher = xxhash.xxh3_64()
            self._hash(whole, *self._check.before)
        self._hasher.update(data)
        self.at += len(data)

    def _read_up_to(self, whole: StoredObject, stop: int) -> None:
        self._update(whole, memoryview(b""))
        if stop > self.at:
            self._hash(whole, self.at, stop)
            self.at = stop

    def _hash(self, whole: StoredObject, start: int, stop: int) -> None:
        if start >= stop:
            return
        room = np.empty(min(PIECE, stop - start), np.uint8)
        for at in range(start, stop, PIECE):
            part = room[: min(PIECE, stop - at)]
            whole.read_into(at, part.data)
            self._hasher.update(part)
            count("bytes_read", len(part))

    def _finish(self, whole: StoredObject) -> None:
        check = self._check
        self._update(whole, memoryview(b""))
        self._hash(whole, *check.behind)
        self._over = True
        stored = whole.read(check.checksum, FOOTER)
        count("bytes_read", FOOTER)
        try:
            compare_checksum(self._hasher.intdigest(), stored, check.where)
        except ChecksumError:
            self._over = False  # nor is it right the next time
            raise
