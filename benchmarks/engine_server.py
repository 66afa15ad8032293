"""One contender of ``engine.py`` in a process of its own, as ``server.py`` has it for reading."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from data import digest
from engine_peers import CONTENDERS, Ready, memory_job
from peers import Unsupported
from rise import rise_of
from serving import serve

__all__ = ["main"]


class Server:
    """What a process remembers between requests: the work that is prepared."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.work: Ready | None = None

    @cached_property
    def library(self) -> Any:
        """The library, imported with the first request."""
        made = CONTENDERS[self.name]()
        gc.collect()
        gc.freeze()
        return made

    def prepare(self, *, kind: str, path: str, n: int, given: bool) -> dict[str, Any]:
        """Make work ready, do it once and describe what it returned."""
        self.release()
        if not path:
            if not hasattr(self.library, "built"):
                raise Unsupported(f"{self.name} has no {kind}")
            self.work = memory_job(self.library, kind, n)
            return self._described(self.work())
        make = getattr(self.library, kind, None)
        if make is None:
            raise Unsupported(f"{self.name} has no {kind}")
        self.work = make(Path(path), None)
        described = self._described(self.work())
        if given:
            described = self._prepare_given(lambda out: make(Path(path), out))
        return described

    def _prepare_given(self, make: Callable[[np.ndarray], Ready]) -> dict[str, Any]:
        assert self.work is not None
        # Wrong everywhere, so that an element nobody writes is seen.
        like = self.work()
        # At a multiple of 64 bytes, as the results of most libraries are; NumPy's own are not.
        room = np.empty(like.nbytes + 64, np.uint8)
        start = -room.ctypes.data % 64
        out = room[start : start + like.nbytes].view(like.dtype).reshape(like.shape)
        out[...] = 77
        del like
        self.work = make(out)
        self.work()
        return self._described(out)

    @staticmethod
    def _described(values: Any) -> dict[str, Any]:
        if not isinstance(values, np.ndarray):
            return {"shape": list(values.shape)}
        if values.dtype.kind == "f" and values.size < 100:
            # Sums differ in their last digits.
            return {"values": [f"{value:.6e}" for value in values.reshape(-1).tolist()]}
        if values.dtype.kind in "iu" and values.dtype.itemsize > 2:
            values = values.astype(np.int64)
        return {"shape": list(values.shape), "digest": digest(values)}

    def threads(self, *, count: int) -> dict[str, Any]:
        """Let so many threads do the work from now on."""
        self.library.use_threads(count)
        return {}

    def measure(self, *, times: int = 1) -> dict[str, Any]:
        """Seconds of one run, of what is short the mean of several ``times``."""
        assert self.work is not None
        self._forget()
        start = time.perf_counter()
        # The result dies after the clock was read: giving memory back is not part of a row.
        result = self.work()
        for _ in range(times - 1):
            self.work()
        seconds = time.perf_counter() - start
        del result
        return {"seconds": seconds / times}

    def _forget(self) -> None:
        gc.collect()
        if hasattr(self.library, "forget"):
            self.library.forget()

    def peak(self) -> dict[str, Any]:
        """Bytes by which resident memory rises during one run, its result included."""
        assert self.work is not None
        self._forget()
        return {"bytes": rise_of(self.work)[0]}

    def release(self) -> dict[str, Any]:
        """Forget what is prepared."""
        self.work = None
        gc.collect()
        return {}


def main() -> None:
    """Serve until standard input ends: ``engine_server.py NAME``."""
    server = Server(sys.argv[1])
    serve(
        {
            "prepare": server.prepare,
            "threads": server.threads,
            "measure": server.measure,
            "peak": server.peak,
            "release": server.release,
        }
    )


if __name__ == "__main__":
    main()
