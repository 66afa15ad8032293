"""A small HTTP server with latency, for the remote rows: ``latency.py FOLDER SECONDS``.

It holds the files of a folder in memory and answers GET and HEAD, with single byte ranges and
connections that stay open, each answer a fixed time after its request. It is no more than that,
because it shares the machine with those who ask it: a server that does everything would take more
of the processor than the clients whose speed is to be seen. ``/1/x`` and ``/2/x`` are both ``x``,
so that a client can be given an address that it has never seen.

It prints its address when it listens, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

__all__ = ["main"]

_END = b"\r\n\r\n"


class _Connection(asyncio.Protocol):
    """One client; a request is answered before the next is looked at."""

    def __init__(self, files: dict[str, tuple[bytes, str]], latency: float) -> None:
        self.files = files
        self.latency = latency
        self.received = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        while _END in self.received:
            request, _, self.received = self.received.partition(_END)
            loop = asyncio.get_running_loop()
            loop.call_later(self.latency, self._send, self._answer(request.decode("latin-1")))

    def _send(self, parts: list[bytes]) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.writelines(parts)

    def _answer(self, request: str) -> list[bytes]:
        first, *lines = request.split("\r\n")
        method, target, _ = first.split(" ")
        fields = {key.lower(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
        name = target.partition("?")[0].lstrip("/").partition("/")[2]
        if method not in ("GET", "HEAD") or name not in self.files:
            return [_head("404 Not Found", 0)]
        body, tag = self.files[name]
        common = {"ETag": tag, "Accept-Ranges": "bytes"}
        asked = fields.get("range", "")
        if not asked:
            head = _head("200 OK", len(body), **common)
            return [head] if method == "HEAD" else [head, body]
        start, stop = _range(asked, len(body))
        if start >= stop:
            whole = f"bytes */{len(body)}"
            return [_head("416 Range Not Satisfiable", 0, **{"Content-Range": whole})]
        common["Content-Range"] = f"bytes {start}-{stop - 1}/{len(body)}"
        head = _head("206 Partial Content", stop - start, **common)
        return [head] if method == "HEAD" else [head, body[start:stop]]


def _head(status: str, length: int, **fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}"]
    lines += [f"{key}: {value}" for key, value in fields.items()]
    return "\r\n".join(lines).encode() + _END


def _range(asked: str, size: int) -> tuple[int, int]:
    """Start and stop of ``bytes=a-b``, ``bytes=a-`` or ``bytes=-n``."""
    first, _, last = asked.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def _load(folder: Path) -> dict[str, tuple[bytes, str]]:
    files = {}
    for path in folder.rglob("*"):
        if path.is_file():
            body = path.read_bytes()
            tag = hashlib.sha256(body).hexdigest()[:16]
            files[path.relative_to(folder).as_posix()] = (body, f'"{tag}"')
    return files


async def _serve(folder: Path, latency: float) -> None:
    files = _load(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(files, latency), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"http://{host}:{port}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Serve until standard input ends."""
    folder, latency = sys.argv[1:]
    asyncio.run(_serve(Path(folder), float(latency)))


if __name__ == "__main__":
    main()
