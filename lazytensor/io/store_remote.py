"""Object stores and HTTP: where every question is a round trip.

So questions are few and go out together. Opening an object fetches its end (or what the caller says
it wants first) and learns size and token from the same answer; ranges of one object are merged into
some sixteen requests that run at once, because one long answer is slower than several; objects and
ranges of many objects are one batch; and what is known of an object from before is used again, each
answer being checked against it. All requests of the process to one URL scheme share one limit (the
option ``io_concurrency``).

Requests run on fsspec's event loop: 256 of them need one thread, and Ctrl-C ends them.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeVar

from lazytensor.config import option
from lazytensor.errors import SourceChangedError, SourceError
from lazytensor.io.scratch import Scratch
from lazytensor.io.store import Buffer, Loaded, StoredObject, check_key, merge_ranges
from lazytensor.io.store_fsspec import FsspecStore
from lazytensor.io.store_portal import Shared, gate_of, run_on, together
from lazytensor.io.store_retry import Patience, status_of
from lazytensor.io.store_transport import Answer, ChangedError, Part, Transport, transport

__all__ = ["RemoteStore"]

_T = TypeVar("_T")
_TAIL = 16 << 10
"""Bytes from the end that opening an object fetches: most indices of shards, many small objects."""
_MOST_KNOWN = 4096
_AT_ONCE = 16
"""Requests that the ranges of one batch are merged into, if they are long enough."""
_MOST_MERGED = 8 << 20
_PIECE = 4 << 20
"""What is longer than ``_MOST_MERGED`` is fetched in pieces of this size, at once."""
_WINDOW = 64 << 20
"""Bytes that iterating over ranges fetches ahead."""
_FIRST_BYTE = (0, 1)
_NO_LISTING = (401, 403, 405, 406)
"""HTTP knows no listings: what a server that has none answers instead."""


class RemoteStore(FsspecStore):
    """The objects below one path of an asynchronous fsspec file system; arguments as there."""

    together = True

    def _take(self, fs: Any) -> None:
        self._transport: Transport = transport(fs)
        # What was last seen of objects: size and token. Guarded by nothing, since an entry that
        # gets lost costs one request and one that is out of date is noticed.
        self._known: OrderedDict[str, tuple[int, Hashable]] = OrderedDict()
        self._looks: Shared[Answer | None] = Shared()
        super()._take(fs)  # the last, because it tells other threads that all is there

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        for made in ("_transport", "_looks"):
            state.pop(made)
        state["_known"] = OrderedDict()
        return state

    def _path(self, key: str) -> str:
        return self._talk().path(self._root, check_key(key))

    def _talk(self) -> Transport:
        """How this process asks."""
        _ = self._fs  # makes both anew after a fork
        return self._transport

    def _run(self, call: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        return run_on(self._fs.loop, call)

    async def _request(
        self, key: str, limit: int, call: Callable[[], Coroutine[Any, Any, Answer]]
    ) -> Answer | None:
        """One question, asked again after failures that pass; None if there is no such object."""
        gate, patience = gate_of(self.scheme), Patience()
        while True:
            await gate.enter(limit)
            try:
                return await call()
            except ChangedError:
                raise
            # No common base: see FsspecStore._ask.
            except Exception as error:
                if self._is_absent(error):
                    return None
                final = self._transport.insists and not isinstance(error, ConnectionResetError)
                pause = None if final else patience.pause(error)
                if pause is None:
                    raise self._failed(key, error) from error
            finally:
                gate.leave()
            await asyncio.sleep(pause)

    async def _fetch(
        self, key: str, part: Part | None, token: Hashable | None, limit: int
    ) -> Answer | None:
        path = self._path(key)
        return await self._request(key, limit, lambda: self._transport.fetch(path, part, token))

    async def _look(self, key: str, part: Part, limit: int) -> Answer | None:
        path = self._path(key)
        return await self._request(key, limit, lambda: self._transport.look(path, part))

    async def _look_once(self, key: str, part: Part, limit: int) -> Answer | None:
        """The same; those who ask at once, as tasks do that begin with the same shard, ask once."""
        return await self._looks.answer((key, part), lambda: self._look(key, part, limit))

    def get(self, key: str, scratch: Scratch | None = None) -> Buffer | None:
        """The whole object, or None."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> list[Buffer | None]:
        """The whole objects, asked for together."""
        limit = option("io_concurrency")
        for key in keys:  # before the first request goes out
            check_key(key)
        answers = self._run(lambda: together([self._fetch(key, None, None, limit) for key in keys]))
        return [None if answer is None else answer.data for answer in answers]

    def load_many(self, keys: Sequence[str]) -> list[Loaded | SourceError | None]:
        """The whole objects and their tokens, each asked for once where answers tell both."""
        limit = option("io_concurrency")
        return self._run(lambda: together([self._loaded(key, limit) for key in keys]))

    async def _loaded(self, key: str, limit: int) -> Loaded | SourceError | None:
        try:
            seen = None if self._transport.pins else await self._look(key, _FIRST_BYTE, limit)
            answer = await self._fetch(key, None, None, limit)
        except SourceError as error:
            return error
        if answer is None or answer.data is None:
            return None
        return Loaded(answer.data, answer.token if seen is None else seen.token)

    def open(self, key: str) -> StoredObject | None:
        """A handle that asks for ranges, or None."""
        return self.open_many([key])[0]

    def open_many(
        self,
        keys: Sequence[str],
        ahead: tuple[int, int] | None = None,
        *,
        recall: bool = False,
    ) -> list[StoredObject | None]:
        """Handles on several objects, or None, each with the bytes ``ahead`` at hand."""
        found: dict[str, StoredObject | None] = {}
        if recall:
            recalled = {key: self._recall(key) for key in keys}
            found = {key: opened for key, opened in recalled.items() if opened is not None}
        absent = [key for key in keys if key not in found]
        if absent:
            part, limit = _ahead(ahead), option("io_concurrency")
            look = self._look_once if recall else self._look
            answers = self._run(lambda: together([look(key, part, limit) for key in absent]))
            for key, answer in zip(absent, answers, strict=True):
                found[key] = self._opened(key, answer)
        return [found[key] for key in keys]

    def _recall(self, key: str) -> _RemoteObject | None:
        """A handle on an object as it was last seen, if answers will tell that it is another."""
        known = self._known.get(check_key(key)) if self._talk().pins else None
        return None if known is None else _RemoteObject(self, key, *known, sure=False)

    def _opened(self, key: str, answer: Answer | None) -> _RemoteObject | None:
        self._known.pop(key, None)
        if answer is None:
            return None
        if answer.token is not None:
            self._known[key] = answer.size, answer.token
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        opened = _RemoteObject(self, key, answer.size, answer.token)
        if answer.data:
            opened.keep([(answer.start, memoryview(answer.data))])
        return opened

    def using(
        self,
        key: str,
        work: Callable[[StoredObject], None],
        ahead: tuple[int, int] | None = None,
    ) -> bool:
        """Do something with a handle on an object; see ``Store.using``."""
        recalled = self._recall(key)
        if recalled is not None:
            try:
                work(recalled)
                if self.prefetch([(recalled, [])])[0]:
                    return True
            except SourceChangedError:
                pass
        for last in (False, True):
            opened = self.open_many([key], ahead)[0]
            if opened is None:
                return False
            try:
                work(opened)
            except SourceChangedError:
                if last:
                    raise
            else:
                break
        return True

    def prefetch(
        self, parts: Sequence[tuple[StoredObject, Sequence[tuple[int, int]]]]
    ) -> list[bool]:
        """Fetch ranges of several objects, merged and together; see ``Store.prefetch``."""
        mine = [(whole, ranges) for whole, ranges in parts if isinstance(whole, _RemoteObject)]
        calls = [whole for whole, ranges in mine if ranges or not whole.sure]
        if not calls:
            return [True] * len(parts)
        total = sum(end - start for _, ranges in mine for start, end in ranges)
        most = min(_MOST_MERGED, max(self.merge_limit, total // _AT_ONCE))
        limit = option("io_concurrency")
        same = iter(
            self._run(
                lambda: together([self._read(whole, ranges, most, limit) for whole, ranges in mine])
            )
        )
        return [next(same) if isinstance(whole, _RemoteObject) else True for whole, _ in parts]

    async def _read(
        self, opened: _RemoteObject, ranges: Sequence[tuple[int, int]], most: int, limit: int
    ) -> bool:
        """Have ranges of one object at hand; False if it is another one by now."""
        merged = [(lo, hi) for lo, hi, _ in merge_ranges(ranges, self.gap, most)]
        # Up to the next one if that is near, so that who merges them otherwise finds no gap.
        ends = [lo if hi < lo <= hi + self.gap else hi for (_, hi), (lo, _) in pairwise(merged)]
        ends += [hi for _, hi in merged[-1:]]
        groups = [
            span
            for (lo, _), hi in zip(merged, ends, strict=True)
            for span in opened.lacking(lo, hi, self.gap)
        ]
        if groups and not self._transport.ranges:
            groups = [(0, opened.size)]
        try:
            spans = await together([self._span(opened, lo, hi, limit) for lo, hi in groups])
            if (spans and not self._transport.pins) or not (spans or opened.sure):
                await self._check(opened, limit)
        except ChangedError:
            self._known.pop(opened.key, None)
            return False
        opened.sure = True
        opened.keep([(lo, span) for (lo, _), span in zip(groups, spans, strict=True)])
        return True

    async def _span(self, opened: _RemoteObject, lo: int, hi: int, limit: int) -> memoryview:
        """Exactly the bytes ``[lo, hi)``; ``ChangedError`` if they are of another content."""
        if hi - lo > _MOST_MERGED and self._transport.ranges:
            return await self._pieces(opened, lo, hi, limit)
        part = (lo, hi) if self._transport.ranges else None
        answer = await self._fetch(opened.key, part, opened.token, limit)
        if answer is not None and answer.data is None:
            answer = await self._fetch(opened.key, None, opened.token, limit)
        if answer is None or answer.data is None or answer.size not in (-1, opened.size):
            raise ChangedError
        if len(answer.data) == opened.size:
            opened.keep([(0, memoryview(answer.data))])
        skip = lo - answer.start
        span = memoryview(answer.data)[skip : skip + hi - lo]
        if skip < 0 or len(span) != hi - lo:
            raise SourceError(
                f"{self.name}, key {opened.key!r}: asked for bytes [{lo}, {hi}), got "
                f"{len(answer.data)} bytes from {answer.start}; does the server support range "
                "requests?"
            )
        return span

    async def _pieces(self, opened: _RemoteObject, lo: int, hi: int, limit: int) -> memoryview:
        """A long span in several requests: one alone is far slower than a server can be."""
        whole = memoryview(bytearray(hi - lo))

        async def piece(start: int, end: int) -> None:
            whole[start - lo : end - lo] = await self._span(opened, start, end, limit)

        await together([piece(at, min(at + _PIECE, hi)) for at in range(lo, hi, _PIECE)])
        return whole

    async def _check(self, opened: _RemoteObject, limit: int) -> None:
        """``ChangedError`` if an object is another one now than when it was opened."""
        answer = await self._look(opened.key, _FIRST_BYTE, limit)
        if answer is None or (answer.size, answer.token) != (opened.size, opened.token):
            raise ChangedError

    def children(self, prefix: str) -> list[str]:
        """Names of the folders below ``prefix``; none where the server does not list any."""
        try:
            return super().children(prefix)
        except SourceError as error:
            refusal = error.__cause__
            if self.scheme != "http" or refusal is None or status_of(refusal) not in _NO_LISTING:
                raise
            return []

    def _status(self, keys: Sequence[str]) -> list[Answer | None]:
        limit = option("io_concurrency")
        return self._run(lambda: together([self._look(key, _FIRST_BYTE, limit) for key in keys]))

    def size(self, key: str) -> int | None:
        """Length in bytes, or None."""
        return self.size_many([key])[0]

    def size_many(self, keys: Sequence[str]) -> list[int | None]:
        """Lengths in bytes, or None, asked for together."""
        return [None if answer is None else answer.size for answer in self._status(keys)]

    def token(self, key: str) -> Hashable | None:
        """ETag or modification time, and size; None where the server tells neither."""
        return self.token_many([key])[0]

    def token_many(self, keys: Sequence[str]) -> list[Hashable | None]:
        """Tokens of objects, asked for together."""
        return [None if answer is None else answer.token for answer in self._status(keys)]


def _ahead(wanted: tuple[int, int] | None) -> Part:
    """The part that opening fetches: at least so much that small objects come whole."""
    if wanted is None or wanted[0] < 0:
        return min(-_TAIL, wanted[0] if wanted else 0), 0
    return 0, max(_TAIL, wanted[1])


class _RemoteObject(StoredObject):
    """``sure``: whether an answer has confirmed that the object still is this one."""

    __slots__ = ("_spans", "_starts", "_store", "key", "size", "sure", "token")

    def __init__(
        self,
        store: RemoteStore,
        key: str,
        size: int,
        token: Hashable | None,
        *,
        sure: bool = True,
    ) -> None:
        self._store = store
        self.key = key
        self.size = size
        self.token = token
        self.sure = sure
        self._starts: list[int] = []
        self._spans: list[memoryview] = []

    def keep(self, spans: Sequence[tuple[int, memoryview]]) -> None:
        """Have the bytes from some offsets on at hand; bytes kept earlier stay.

        No span lies inside another, so that of two the one that starts later ends later too: then
        only the last that starts before a range can hold it.
        """
        for start, span in spans:
            end = start + len(span)
            at = bisect_right(self._starts, start)
            if at and self._starts[at - 1] + len(self._spans[at - 1]) >= end:
                continue
            first = at - 1 if at and self._starts[at - 1] == start else at
            while at < len(self._starts) and self._starts[at] + len(self._spans[at]) <= end:
                at += 1
            self._starts[first:at] = [start]
            self._spans[first:at] = [span]

    def kept(self, start: int, end: int) -> memoryview | None:
        """A range that is at hand, or None; one that lies in several spans is put together."""
        parts = self._parts(start, end)
        if parts is None or len(parts) == 1:
            return None if parts is None else parts[0]
        return memoryview(b"".join(parts))

    def holds(self, start: int, end: int) -> bool:
        """Whether a range is at hand."""
        return self._parts(start, end) is not None

    def lacking(self, start: int, end: int, gap: int) -> list[tuple[int, int]]:
        """What to fetch so that a range is at hand: what is not, and what is if it is ``gap`` bytes
        or less between two such parts."""
        first, most = max(0, bisect_right(self._starts, start) - 1), end - start
        holes: list[tuple[int, int]] = []
        for lo, span in zip(self._starts[first:], self._spans[first:], strict=True):
            if lo >= end:
                break
            if start < lo:
                holes.append((start, lo))
            start = max(start, lo + len(span))
        if start < end:
            holes.append((start, end))
        return [(lo, hi) for lo, hi, _ in merge_ranges(holes, gap, most)]

    def _parts(self, start: int, end: int) -> list[memoryview] | None:
        """The pieces that make up a range, or None; spans begin and end in the same order."""
        parts: list[memoryview] = []
        at = max(0, bisect_right(self._starts, start) - 1)
        while start < end:
            if at == len(self._starts) or self._starts[at] > start:
                return None
            lo = start - self._starts[at]
            part = self._spans[at][lo : lo + end - start]
            if not part:
                return None
            parts.append(part)
            start += len(part)
            at += 1
        return parts

    def read(self, start: int, nbytes: int, scratch: Scratch | None = None) -> Buffer:
        """Exactly ``nbytes`` bytes from ``start``."""
        if start < 0 or nbytes < 0 or start + nbytes > self.size:
            raise SourceError(
                f"{self._store.name}, key {self.key!r}: bytes [{start}, {start + nbytes}) of "
                f"{self.size} do not exist"
            )
        return next(self.read_many([(start, start + nbytes)]))

    def read_many(
        self, ranges: Sequence[tuple[int, int]], scratch: Scratch | None = None
    ) -> Iterator[Buffer]:
        """The bytes of each range, fetched a window ahead."""
        at = 0
        while at < len(ranges):
            stop, nbytes = at, 0
            while stop < len(ranges) and (stop == at or nbytes < _WINDOW):
                nbytes += ranges[stop][1] - ranges[stop][0]
                stop += 1
            yield from self._window(ranges[at:stop])
            at = stop

    def _window(self, ranges: Sequence[tuple[int, int]]) -> list[Buffer]:
        before = self._starts.copy(), self._spans.copy()
        wanted = [span for span in ranges if not self.holds(*span)]
        if wanted and not self._store.prefetch([(self, wanted)])[0]:
            raise SourceChangedError(
                f"{self._store.name}, key {self.key!r}: changed while it was read"
            )
        found: list[Buffer] = []
        for span in ranges:
            part = self.kept(*span)
            assert part is not None, "prefetch brought it"
            found.append(part)
        if wanted and sum(map(len, self._spans)) > _WINDOW:
            # The caller goes on to what follows: what was fetched is not wanted again.
            self._starts, self._spans = before
        return found

    def close(self) -> None:
        """Let go of what is at hand."""
        self._starts, self._spans = [], []
