"""An HTTP server on loopback that behaves as badly as a test asks for, and counts.

Written on ``asyncio`` protocols because a test of latency needs hundreds of requests in flight,
and on nothing else because what it must get wrong on purpose no web framework lets one get wrong.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

__all__ = ["ObjectServer", "Request", "serving"]

_REASONS = {200: "OK", 206: "Partial Content", 404: "Not Found", 412: "Precondition Failed"}


class Request(NamedTuple):
    """One request as the server saw it."""

    method: str
    path: str
    range: str | None
    if_match: str | None


class ObjectServer:
    """Serves ``objects`` (path without the leading slash to bytes) and keeps a ``log``.

    Switches, all of which may be changed at any time. ``latency``: seconds before an answer.
    ``quiet``: answers wait until nobody has asked for so many seconds, and are then given together;
    ``rounds`` counts how often, which is the number of round trips that follow from each other.
    ``ranges``: whether range requests are understood; ``suffixes``: whether ``bytes=-n`` is.
    ``head_length``: whether HEAD tells a length; ``lengths``: whether anything does. ``etags``:
    ``"strong"``, ``"weak"`` or None. ``check_etags``: whether ``If-Match`` is looked at. ``dates``:
    whether ``Last-Modified`` is sent. ``absent``: status for what is not there. ``faults``: answers
    to give first, one a request: a status, ``(status, headers)``, or ``"drop"`` (the connection
    ends before the answer) or ``"cut"`` (in the middle of it). ``only``: faults for requests whose
    path holds this. ``before``: called with each request before it is answered.
    """

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self.address = ""
        self.connections: set[asyncio.Transport] = set()
        self.life = 0
        self._release: asyncio.TimerHandle | None = None
        self.renew(objects)

    def renew(self, objects: dict[str, bytes] | None = None) -> None:
        """As new, under another ``url``.

        What still arrives for an older one (a request that nobody waits for any more may come at
        any time) is neither logged nor in anybody's way.
        """
        self.life += 1
        self._held: list[Callable[[], None]] = []
        self.objects = {} if objects is None else objects
        self.log: list[Request] = []
        self.latency = self.quiet = 0.0
        self.rounds = 0
        self.ranges = self.suffixes = True
        self.head_length = self.lengths = True
        self.etags: str | None = "strong"
        self.check_etags = True
        self.dates = False
        self.absent = 404
        self.faults: list[int | str | tuple[int, dict[str, str]]] = []
        self.only = ""
        self.before = lambda request: None
        self.most_at_once = 0
        self.at_once = 0

    @property
    def url(self) -> str:
        """The root."""
        return f"{self.address}/{self.life}"

    def own(self, path: str) -> str | None:
        """The path of an object below ``url``; None for one below an older url."""
        life, _, inner = path.partition("/")
        return inner if life == str(self.life) else None

    def hold(self, end: Callable[[], None]) -> None:
        """Keep an answer until it is quiet."""
        self._held.append(end)
        if self._release is not None:
            self._release.cancel()
        self._release = asyncio.get_running_loop().call_later(self.quiet, self._let_go)

    def _let_go(self) -> None:
        self.rounds += 1
        held, self._held = self._held, []
        for end in held:
            end()

    def etag(self, data: bytes) -> str | None:
        """The entity tag of a content, as it is sent."""
        if self.etags is None:
            return None
        tag = f'"{blake2b(data, digest_size=8).hexdigest()}"'
        return tag if self.etags == "strong" else f"W/{tag}"

    def answer(self, request: Request) -> tuple[bytes, bool]:
        """The bytes to send back, and whether the connection ends there."""
        fault = self.faults.pop(0) if self.faults and self.only in request.path else None
        if fault == "drop":
            return b"", True
        if isinstance(fault, int):
            return self._message(request, fault, b"no", {}), False
        if isinstance(fault, tuple):
            return self._message(request, fault[0], b"no", fault[1]), False
        whole = self._object(request)
        return (whole[:-1], True) if fault == "cut" else (whole, False)

    def _object(self, request: Request) -> bytes:
        data = self.objects.get(request.path)
        if data is None:
            return self._message(request, self.absent, b"absent", {})
        headers = {}
        tag = self.etag(data)
        if tag is not None:
            headers["ETag"] = tag
        if self.dates:
            headers["Last-Modified"] = formatdate(1e9, usegmt=True)
        # A strong comparison, as the standard has it: a weak tag equals nothing.
        equal = request.if_match in (None, tag) and not str(request.if_match).startswith("W/")
        if self.check_etags and not equal:
            return self._message(request, 412, b"", headers)
        if request.range is None or not self.ranges:
            return self._message(request, 200, data, headers)
        return self._part(request, data, headers)

    def _part(self, request: Request, data: bytes, headers: dict[str, str]) -> bytes:
        assert request.range is not None
        first, _, last = request.range.removeprefix("bytes=").partition("-")
        if not first and not self.suffixes:
            return self._message(request, 200, data, headers)
        start = int(first) if first else max(0, len(data) - int(last))
        end = min(len(data), int(last) + 1) if first and last else len(data)
        if start >= end:
            return self._message(request, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return self._message(request, 206, data[start:end], headers)

    def _message(
        self, request: Request, status: int, body: bytes, headers: dict[str, str]
    ) -> bytes:
        head = request.method == "HEAD"
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if not self.lengths and status == 200:
            lines.append("Transfer-Encoding: chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        elif not head or self.head_length:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else body)


class _Connection(asyncio.Protocol):
    def __init__(self, server: ObjectServer) -> None:
        self._server = server
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            first, *rest = self._data[:end].decode("latin-1").split("\r\n")
            self._data = self._data[end + 4 :]
            headers = {
                name.lower(): value for name, _, value in (line.partition(": ") for line in rest)
            }
            method, target, _ = first.split(" ")
            path = self._server.own(target.lstrip("/"))
            if path is None:
                self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            self._begin(Request(method, path, headers.get("range"), headers.get("if-match")))

    def _begin(self, request: Request) -> None:
        server = self._server
        server.log.append(request)
        server.at_once += 1
        server.most_at_once = max(server.most_at_once, server.at_once)
        end = partial(self._end, request, server.life)
        if server.quiet:
            server.hold(end)
        elif server.latency:
            asyncio.get_running_loop().call_later(server.latency, end)
        else:
            end()

    def _end(self, request: Request, life: int) -> None:
        server = self._server
        if life != server.life:
            self._transport.close()
            return
        server.at_once -= 1
        server.before(request)
        answer, ends = server.answer(request)
        self._transport.write(answer)
        if ends:
            self._transport.close()


@contextmanager
def serving(objects: dict[str, bytes] | None = None) -> Iterator[ObjectServer]:
    """A server in a thread of its own, on a free port; ``url`` is its root."""
    server = ObjectServer(objects)
    loop = asyncio.new_event_loop()
    listener = loop.run_until_complete(
        loop.create_server(lambda: _Connection(server), "127.0.0.1", 0)
    )
    port = listener.sockets[0].getsockname()[1]
    server.address = f"http://127.0.0.1:{port}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_end(server, listener), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: ObjectServer, listener: asyncio.Server) -> None:
    listener.close()
    for transport in list(server.connections):
        transport.abort()
    while server.connections:
        await asyncio.sleep(0.001)
