"""The local engine: tasks in threads of this process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lazytensor.exec.buffers import Scratch, aligned_empty
from lazytensor.exec.events import start_run
from lazytensor.exec.lower import Compiled, lower
from lazytensor.exec.memory import memory_limit, thread_count, threads_within
from lazytensor.exec.pool import CancelToken, run_tasks
from lazytensor.exec.reduce import ReduceTasks
from lazytensor.exec.stages import Stage, plan_stages
from lazytensor.exec.steps import run_program
from lazytensor.exec.workgrid import WorkGrid, choose_grid
from lazytensor.plan.counters import count
from lazytensor.plan.node import Node
from lazytensor.plan.source import Box

__all__ = ["LocalEngine", "part_of", "prepare"]


def prepare(node: Node, stored: dict[Node, np.ndarray]) -> tuple[Compiled, WorkGrid, int]:
    """A plan ready for lowering, its blocks, and the bytes one task of it needs."""
    compiled = Compiled(node, stored)

    def cost(box: Box) -> int:
        return lower(compiled, box).nbytes

    grid = choose_grid(node, cost)
    return compiled, grid, cost(grid.middle()) if grid.count else 0


def part_of(node: Node, box: Box) -> tuple[slice, ...]:
    """Positions of a box of coordinates."""
    return tuple(
        [
            slice(lo - origin, hi - origin)
            for (lo, hi), origin in zip(box, node.domain.inclusive_min, strict=True)
        ]
    )


class LocalEngine:
    """Computes in threads, block by block.

    ``threads``: worker threads (default: option ``threads``, else the CPUs this process may use).
    ``max_memory``: bytes that running tasks may hold together, the results not counted (default:
    option ``max_memory``, else a quarter of what the process may use).

    >>> lt.arange(6).collect(engine=lt.LocalEngine(threads=1))
    array([0, 1, 2, 3, 4, 5])
    """

    name = "local"

    def __init__(self, threads: int | None = None, max_memory: int | str | None = None) -> None:
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be positive, not {threads}")
        self.threads = threads
        self.max_memory = max_memory
        memory_limit(max_memory)

    def __repr__(self) -> str:
        return f"LocalEngine(threads={self.threads}, max_memory={self.max_memory!r})"

    def run(
        self,
        roots: Sequence[Node],
        outs: Sequence[np.ndarray],
        *,
        progress: object = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Compute optimised plans into their outputs (C-contiguous, of shape and dtype)."""
        stored: dict[Node, np.ndarray] = {}
        for stage in plan_stages(roots):
            arrays = [
                outs[root] if root is not None else aligned_empty(node.shape, node.dtype)
                for node, root in zip(stage.nodes, stage.roots, strict=True)
            ]
            self._run_stage(stage, arrays, stored, progress, cancel)
            stored.update(zip(stage.nodes, arrays, strict=True))
        for root, out in zip(roots, outs, strict=True):
            if stored[root] is not out:
                np.copyto(out, stored[root], casting="no")

    def _run_stage(
        self,
        stage: Stage,
        arrays: list[np.ndarray],
        stored: dict[Node, np.ndarray],
        progress: object,
        cancel: CancelToken | None,
    ) -> None:
        reductions = stage.reductions
        node = reductions[0].x if reductions else stage.nodes[0]
        compiled, grid, task_bytes = prepare(node, stored)
        if reductions:
            tasks = ReduceTasks(reductions, compiled, grid, arrays)
            if tasks.fill_empty():
                return
            total, work = tasks.count, tasks.run
        else:
            out = arrays[0]
            total = grid.count

            def work(number: int, scratch: Scratch) -> None:
                box = grid.box(number)
                run_program(lower(compiled, box), scratch, out[(..., *part_of(node, box))])

        threads = threads_within(
            memory_limit(self.max_memory), task_bytes, thread_count(self.threads), repr(node)
        )
        run = start_run(total, progress)
        try:
            run_tasks(total, work, threads=threads, run=run, cancel=cancel)
        finally:
            run.stop()
        count("tasks", total)
