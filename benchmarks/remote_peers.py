"""One client of the remote rows in one process: ``remote_peers.py NAME``.

Opening an array is ahead of the clock, reading is within. Every round is told an address that it
has not seen, so that nothing is known of the array but its metadata; ``again`` reads it a second
time, when the index of a shard may be known.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from data import digest
from serving import serve

__all__ = ["CLIENTS", "OBJECT", "OBJECTS", "RANGES", "main"]

OBJECT = 16 << 10
"""Bytes of an object, and of a range."""

OBJECTS = "objects"
RANGES = "ranges"
"""The two arrays, by the names of their folders."""

_ROWS = 1024
_MERGED = 16
"""Requests that the ranges are fetched with where nobody reads an index."""
_CONNECTIONS = 128

Read = Callable[[], np.ndarray]


class _Client(Protocol):
    """How a library opens an array at an address; the view is lazy where it can be."""

    def open(self, url: str, *, step: int) -> Read: ...


class LazyTensor:
    """Ours."""

    def __init__(self) -> None:
        import lazytensor

        self.lt = lazytensor

    def open(self, url: str, *, step: int) -> Read:
        array: Any = self.lt.scan_zarr(url)
        view = array[::step] if step > 1 else array
        return lambda: np.asarray(view.collect())


class TensorStore:
    """Default context."""

    def __init__(self) -> None:
        import tensorstore

        self.ts = tensorstore

    def open(self, url: str, *, step: int) -> Read:
        kvstore = {"driver": "http", "base_url": f"{url}/"}
        array = self.ts.open({"driver": "zarr3", "kvstore": kvstore}, read=True).result()
        return lambda: np.asarray(array[::step].read().result())


class Zarr:
    """zarr-python over fsspec, with as many requests at once as it is told."""

    def __init__(self, concurrency: int | None = None) -> None:
        import zarr

        self.zarr = zarr
        if concurrency:
            zarr.config.set({"async.concurrency": concurrency})

    def open(self, url: str, *, step: int) -> Read:
        array = self.zarr.open_array(url, mode="r")
        return lambda: np.asarray(array[::step] if step > 1 else array[:])


class _Bytes:
    """No reader: the bytes alone, their places known, the gaps fetched with the ranges."""

    def open(self, url: str, *, step: int) -> Read:
        return self._objects(url) if url.endswith(OBJECTS) else self._ranges(f"{url}/c/0/0", step)

    def _objects(self, url: str) -> Read:
        urls = [f"{url}/c/{y}/{x}" for y in range(16) for x in range(16)]

        def read() -> np.ndarray:
            blocks = [np.frombuffer(found, "<u2").reshape(64, 128) for found in self.whole(urls)]
            return np.block([blocks[16 * y : 16 * y + 16] for y in range(16)])

        return read

    def _ranges(self, url: str, step: int) -> Read:
        size = _ROWS * OBJECT // _MERGED
        starts = [size * i for i in range(_MERGED)]

        def read() -> np.ndarray:
            found = b"".join(self.ranges(url, [(start, start + size) for start in starts]))
            return np.frombuffer(found, "<u2").reshape(_ROWS, -1)[::step].copy()

        return read

    def whole(self, urls: Sequence[str]) -> list[bytes]:
        """The bytes of objects."""
        raise NotImplementedError

    def ranges(self, url: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes from start to stop of one object."""
        raise NotImplementedError


class Fsspec(_Bytes):
    """fsspec's HTTP client, which is asynchronous."""

    def __init__(self) -> None:
        import fsspec

        self.fs = fsspec.filesystem("http")

    def whole(self, urls: Sequence[str]) -> list[bytes]:
        found = self.fs.cat(list(urls))
        return [found[url] for url in urls]

    def ranges(self, url: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        starts, stops = zip(*spans, strict=True)
        found: list[bytes] = self.fs.cat_ranges([url] * len(spans), list(starts), list(stops))
        return found


class HttpClient(_Bytes):
    """The standard library's client, a connection a thread."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(_CONNECTIONS)
        self.hot = threading.local()

    def whole(self, urls: Sequence[str]) -> list[bytes]:
        return list(self.threads.map(self._get, urls))

    def ranges(self, url: str, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        fields = [{"Range": f"bytes={start}-{stop - 1}"} for start, stop in spans]
        return list(self.threads.map(self._get, [url] * len(spans), fields))

    def _get(self, url: str, fields: dict[str, str] | None = None) -> bytes:
        parts = urlsplit(url)
        if not hasattr(self.hot, "connection"):
            self.hot.connection = HTTPConnection(parts.netloc)
        self.hot.connection.request("GET", parts.path, headers=fields or {})
        with self.hot.connection.getresponse() as response:
            body: bytes = response.read()
        return body


CLIENTS: dict[str, Callable[[], _Client]] = {
    "lazytensor": LazyTensor,
    "fsspec alone": Fsspec,
    "http.client alone": HttpClient,
    "tensorstore": TensorStore,
    "zarr-python": Zarr,
    "zarr-python, 64 at once": lambda: Zarr(64),
}


def _server(client: _Client) -> dict[str, Callable[..., dict[str, Any]]]:
    def measure(*, url: str, step: int, again: bool) -> dict[str, Any]:
        read = client.open(url, step=step)
        if again:
            read()
        start = time.perf_counter()
        values = read()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "digest": digest(values)}

    return {"measure": measure}


def main() -> None:
    """Serve until standard input ends."""
    serve(_server(CLIENTS[sys.argv[1]]()))


if __name__ == "__main__":
    main()
