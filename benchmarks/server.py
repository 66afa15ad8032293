"""One contender in one process, answering requests.

Each library has a process of its own: they bring thread pools, allocators and global settings
(zarrs is a global setting of zarr) that would disturb each other in one process. And the process
stays: starting it for each measurement would time imports, and running one library to its end
before the next starts would give each a different machine, as neighbours come and go. The
coordinator asks one process at a time; the others wait on their standard input.

A request is a line of JSON and so is its answer, on what was standard output when the process
started; what libraries print goes to standard error.
"""

from __future__ import annotations

import gc
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from case import Case
from data import Key, digest, key_slices
from peers import Contender, contender
from serving import serve
from small import small_case

__all__ = ["main"]

_PACKAGES = ("numpy", "numcodecs", "zarr")

Task = Callable[[], "np.ndarray | None"]


class Server:
    """What a process remembers between requests: the prepared row, or the prepared small case."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.task: Task | None = None
        self.case: Case | None = None

    @cached_property
    def contender(self) -> Contender:
        """The library, imported with the first request: that it is not there is an answer."""
        made = contender(self.name)
        # What is imported stays: a collection before each run need not look at it again.
        gc.collect()
        gc.freeze()
        return made

    def about(self) -> dict[str, Any]:
        """What this process runs on: an interpreter of its own is worth a line in the facts."""
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
        return {"about": f"Python {platform.python_version()}, {versions}"}

    def prepare(self, *, path: str, action: str, keys: list[Key], given: bool) -> dict[str, Any]:
        """Make a row ready, run it once and describe what it returned."""
        self.release()
        array = self.contender.open(Path(path))
        boxes = [key_slices(key) for key in keys]
        if len(boxes) > 1 or action in ("chunks", "inner"):
            values = self._prepare_pieces(self.contender.pieces(array, boxes))
        else:
            values = self._prepare_one(self._view(array, action, boxes), given=given)
        return {
            "shape": list(values.shape),
            "dtype": values.dtype.str,
            "digest": digest(values),
        }

    def _view(self, array: Any, action: str, boxes: Sequence[tuple[slice, ...]]) -> Any:
        if action == "halve":
            return self.contender.halve(array)
        return self.contender.view(array, boxes[0]) if boxes else array

    def _prepare_one(self, view: Any, *, given: bool) -> np.ndarray:
        values = self.contender.fresh(view)
        if not given:
            self.task = lambda: self.contender.fresh(view)
            return values
        # Wrong everywhere, so that an element nobody writes is seen.
        out = np.full_like(values, 0xDEAD)
        self.contender.into(view, out)
        self.task = lambda: self.contender.into(view, out)
        return out

    def _prepare_pieces(self, pieces: Sequence[Any]) -> np.ndarray:
        def task() -> None:
            for piece in pieces:
                self.contender.piece(piece)

        self.task = task
        return np.stack([np.asarray(self.contender.piece(piece)) for piece in pieces])

    def measure(self) -> dict[str, Any]:
        """Seconds of one run of the prepared row, wall and CPU."""
        if self.task is None:
            raise RuntimeError("no row is prepared")
        gc.collect()
        cpu = time.process_time()
        start = time.perf_counter()
        # The result dies after the clock was read: giving memory back is not part of a row.
        result = self.task()
        seconds = time.perf_counter() - start
        cpu = time.process_time() - cpu
        del result
        return {"seconds": seconds, "cpu": cpu}

    def prepare_small(self, *, key: str) -> dict[str, Any]:
        """Make a small case ready and return what its last step answers."""
        self.release()
        self.case = small_case(self.name, key)
        return {"answer": self.case.answer()}

    def measure_small(self, *, number: int) -> dict[str, Any]:
        """Seconds of the steps of the prepared case, each the median of ``number`` runs."""
        if self.case is None:
            raise RuntimeError("no case is prepared")
        gc.collect()
        return {"steps": self.case.times(number)}

    def release(self) -> dict[str, Any]:
        """Forget what is prepared, and the memory it holds."""
        self.task = self.case = None
        gc.collect()
        return {}


def main() -> None:
    """Serve until standard input ends: ``server.py NAME``."""
    server = Server(sys.argv[1])
    serve(
        {
            "about": server.about,
            "prepare": server.prepare,
            "measure": server.measure,
            "prepare_small": server.prepare_small,
            "measure_small": server.measure_small,
            "release": server.release,
        }
    )


if __name__ == "__main__":
    main()
