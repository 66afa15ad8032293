"""Windows of one size of one plan, read by the thousand: what loaders of tiles stand on.

A plan is optimised and prepared once, and then only the place of the window changes. Where the plan
is a view of a source that reads many windows at once, a batch is one call of it; any other plan is
lowered for each window. Decoded chunks are kept between batches, and compared with their files once
in the life of a reader: what changes afterwards may not be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np

from lazytensor.config import QueryOptFlags, option, parse_bytes
from lazytensor.errors import DTypeError, OutOfBoundsError, ShapeError
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.events import Run
from lazytensor.exec.joined import Result, window_layout
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.memory import Budget, TaskOf, memory_limit, thread_count
from lazytensor.exec.pool import CancelToken, run_tasks
from lazytensor.exec.steps import run_program
from lazytensor.plan.caching import CACHING, DISK_CACHING, Caching, new_disk_run, new_run
from lazytensor.plan.counters import count
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Scan, View
from lazytensor.plan.optimize import optimize
from lazytensor.plan.output_map import CONSTANT
from lazytensor.plan.source import Reading

__all__ = ["WindowReader"]


class WindowReader:
    """Reads windows of a plan into arrays, from any thread.

    ``node``: the plan. ``shape``: of a window, one extent per dim. ``cache_bytes``: how much of
    decoded chunks to keep (default: option ``cache_bytes``). ``threads``: how many work on one
    batch (default: as a run); with one, several threads may each read batches of their own, which
    is as fast, and no thread is started. ``run``: what ``new_run`` gave, by which several readers
    keep the same chunks, instead of ``cache_bytes``.

    >>> from lazytensor.plan.memory import array_node
    >>> reader = WindowReader(array_node(np.arange(10)), (3,))
    >>> reader.read([[0], [5]], np.zeros((2, 3), int))
    array([[0, 1, 2],
           [5, 6, 7]])
    """

    def __init__(
        self,
        node: Node,
        shape: Sequence[int],
        *,
        cache_bytes: int | str | None = None,
        threads: int | None = None,
        run: Caching | None = None,
    ) -> None:
        if len(shape) != node.ndim or not all(
            0 < extent <= whole for extent, whole in zip(shape, node.shape, strict=False)
        ):
            raise ShapeError(
                f"windows of shape {tuple(shape)} do not fit into {node.shape}: give one extent "
                f"per dim, at least 1 and at most that of the dim"
            )
        self.node = optimize(node, QueryOptFlags())
        self.shape = tuple([int(extent) for extent in shape])
        self._threads = threads
        nbytes = option("cache_bytes") if cache_bytes is None else parse_bytes(cache_bytes)
        self._use = new_run(nbytes) if run is None else run
        self._disk = new_disk_run()
        self._origin = np.array(node.domain.inclusive_min, np.int64)
        self._last = np.array(node.domain.exclusive_max, np.int64) - self.shape
        self._direct = _Direct.of(self.node, self.shape)
        self._compiled = None if self._direct else Compiled(self.node, {})
        self._budget = Budget(memory_limit())
        for scan in walk(self.node):
            if isinstance(scan, Scan):
                scan.source.check()

    @property
    def reads_together(self) -> bool:
        """Whether a batch is one call of a source, else a program for each window."""
        return self._direct is not None

    def read(self, origins: Any, out: Result, *, cancel: CancelToken | None = None) -> Result:
        """Fill ``out[i]`` with the window whose first element is at the coordinates ``origins[i]``.

        ``origins``: integers, ``(windows, dims)``. ``out``: of shape ``(windows, *shape)`` and the
        dtype of the plan, with any strides; or an array for each, all with the same strides.
        Returns ``out``. Raises ``ShapeError`` if they do not fit, ``OutOfBoundsError`` naming the
        first window that leaves the domain, and what a collect raises.
        """
        starts = np.asarray(origins, np.int64)
        one_array = isinstance(out, np.ndarray)
        some = [out[0]] if one_array and len(out) else list(out)
        # Compiled code takes the strides of the first for those of all.
        kinds = {(one.shape, one.strides, one.dtype) for one in some}
        shapes = {out.shape[1:]} if isinstance(out, np.ndarray) else {kind[0] for kind in kinds}
        fits = len(out) == len(starts) and shapes <= {self.shape} and len(kinds) <= 1
        if starts.shape != (len(starts), len(self.shape)) or not fits:
            raise ShapeError(
                f"{starts.shape} origins and {len(out)} x {', '.join(map(str, shapes))} with "
                f"{len(kinds)} kinds of strides: windows of {self.shape} take "
                f"(n, {len(self.shape)}) and n alike"
            )
        if any(kind[2] != self.node.dtype for kind in kinds):
            raise DTypeError(f"windows of {self.node.dtype} do not go into {some[0].dtype}")
        outside = ((starts < self._origin) | (starts > self._last)).any(axis=1)
        if outside.any():
            at = int(outside.argmax())
            raise OutOfBoundsError(
                f"window {at} at {tuple(starts[at].tolist())} leaves the domain {self.node.domain}"
            )
        if not len(starts):
            return out
        token, disk = CACHING.set(self._use), DISK_CACHING.set(self._disk)
        try:
            self._read(starts, out, cancel)
        finally:
            CACHING.reset(token)
            DISK_CACHING.reset(disk)
        count("tasks")
        return out

    def _read(self, starts: np.ndarray, out: Result, cancel: CancelToken | None) -> None:
        threads = thread_count(self._threads)
        reading = None if self._direct is None else self._direct.begin(starts, out)
        if reading is not None:
            with closing(reading):
                if threads == 1:
                    reading.work()
                else:
                    _together(reading, threads, cancel)
                reading.end()
            return
        compiled = self._compiled or Compiled(self.node, {})
        self._compiled = compiled
        name = TaskOf(self.node)

        def work(number: int, scratch: Scratch) -> None:
            lo = starts[number].tolist()
            box = tuple([(a, a + n) for a, n in zip(lo, self.shape, strict=True)])
            program = lower(compiled, box)
            with self._budget.holding(program.nbytes, name):
                run_program(program, scratch, out[number])

        run = Run((), 0)
        run_tasks(len(starts), work, threads=threads, run=run, cancel=cancel)


class _Direct:
    """A plan that is a view of a source that reads many windows at once.

    ``base``, ``weights``: the first element of a window at ``origin`` is at ``base + origin @
    weights`` in the source.
    """

    def __init__(self, node: View | Scan, shape: tuple[int, ...]) -> None:
        scan = node if isinstance(node, Scan) else node.x
        assert isinstance(scan, Scan)
        self._source: Any = scan.source
        lo = node.domain.inclusive_min
        corner = tuple([(a, a + n) for a, n in zip(lo, shape, strict=True)])
        self._layout = window_layout(node, corner)
        rank = len(shape)
        self._base = np.zeros(scan.ndim, np.int64)
        self._weights = np.zeros((rank, scan.ndim), np.int64)
        if isinstance(node, Scan):
            self._weights[...] = np.eye(rank, dtype=np.int64)
            return
        for at, (kind, offset, stride, dim, _, _) in enumerate(node.transform.maps):
            self._base[at] = offset
            if kind != CONSTANT:
                self._weights[dim, at] = stride
                self._base[at] += min(0, stride * (shape[dim] - 1))

    @classmethod
    def of(cls, node: Node, shape: tuple[int, ...]) -> _Direct | None:
        """None for other plans, and views whose windows are not boxes of the source."""
        scan = node.x if isinstance(node, View) else node
        if not isinstance(scan, Scan) or not hasattr(scan.source, "read_windows"):
            return None
        if isinstance(node, View) and node.transform.has_arrays:
            return None
        assert isinstance(node, (View, Scan))
        found = cls(node, shape)
        return None if found._layout is None else found

    def begin(self, starts: np.ndarray, out: Result) -> Reading | None:
        """The reading of a batch, or None where windows are read one by one."""
        layout = self._layout
        assert layout is not None
        corners = self._base + starts @ self._weights
        reading: Reading | None = self._source.read_windows(
            corners, layout.counts, layout.steps, layout.places(out)
        )
        return reading


def _together(reading: Reading, threads: int, cancel: CancelToken | None) -> None:
    def work(number: int, scratch: Scratch) -> None:
        reading.work()

    run_tasks(threads, work, threads=threads, run=Run((), 0), cancel=cancel)
