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
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
from case import Case
from data import crop_box, digest
from peers import Contender, Unsupported, contender
from small import small_case

__all__ = ["main"]


class Server:
    """What a process remembers between requests: the prepared row, or the prepared small case."""

    def __init__(self, name: str, home: Path, n: int) -> None:
        self.name = name
        self.home = home
        self.n = n
        self.contender: Contender = contender(name)
        self.view: Any = None
        self.out: np.ndarray | None = None
        self.case: Case | None = None

    def prepare(self, *, store: str, action: str, given: bool) -> dict[str, Any]:
        """Make a row ready, run it once and describe what it returned."""
        self.release()
        view = self.contender.open(self.home / store)
        if action == "crop":
            view = self.contender.crop(view, crop_box(self.n))
        elif action == "halve":
            view = self.contender.halve(view)
        values = self.contender.fresh(view)
        if given:
            # Wrong everywhere, so that an element nobody writes is seen.
            self.out = np.full_like(values, 0xDEAD)
            self.contender.into(view, self.out)
            values = self.out
        self.view = view
        return {
            "shape": list(values.shape),
            "dtype": values.dtype.str,
            "digest": digest(values),
        }

    def measure(self) -> dict[str, Any]:
        """Seconds of one run of the prepared row, wall and CPU."""
        gc.collect()
        cpu = time.process_time()
        start = time.perf_counter()
        # The result dies after the clock was read: giving memory back is not part of a row.
        result = self._run()
        seconds = time.perf_counter() - start
        cpu = time.process_time() - cpu
        del result
        return {"seconds": seconds, "cpu": cpu}

    def _run(self) -> np.ndarray | None:
        if self.out is None:
            return self.contender.fresh(self.view)
        self.contender.into(self.view, self.out)
        return None

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
        self.view = self.out = self.case = None
        gc.collect()
        return {}


def main() -> None:
    """Serve until standard input ends: ``server.py NAME HOME N``."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    name, home, n = sys.argv[1:]
    server = Server(name, Path(home), int(n))
    verbs = {
        "prepare": server.prepare,
        "measure": server.measure,
        "prepare_small": server.prepare_small,
        "measure_small": server.measure_small,
        "release": server.release,
    }
    for line in sys.stdin:
        verb, keywords = json.loads(line)
        print(json.dumps(_answer(verbs[verb], keywords)), file=answers, flush=True)


def _answer(verb: Any, keywords: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(verb(**keywords))
    except Unsupported as reason:
        return {"unsupported": str(reason)}
    except Exception:  # noqa: BLE001  (the coordinator shows it and goes on with the others)
        return {"error": traceback.format_exc()}


if __name__ == "__main__":
    main()
