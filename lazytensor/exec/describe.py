"""Tasks in words: what ``explain(stage="physical")`` prints.

Shows every stage with its number of tasks, and the steps of one of the largest, which stands for
all of them: tasks of a stage differ in nothing but their boxes. Nothing is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lazytensor.exec.local import prepare
from lazytensor.exec.lower import lower
from lazytensor.exec.memory import Budget, memory_limit
from lazytensor.exec.physical import Program, Step
from lazytensor.exec.reduce import ReduceTasks
from lazytensor.exec.stages import Stage, plan_stages
from lazytensor.plan.cost import format_bytes, format_count
from lazytensor.plan.node import Node
from lazytensor.plan.source import Box, Source

__all__ = ["describe_tasks"]


def describe_tasks(plan: Node) -> str:
    """The stages of an optimised plan, one line each, and the steps of a task of each.

    >>> print(describe_tasks((lt.zeros((2, 3)) + 1)._node))
    stage 1: Elementwise (2, 3) float64, 1 task of ≤ ...
      task for [0:2, 0:3]
        ...
    """
    stored: dict[Node, np.ndarray] = {}
    limit = memory_limit()
    lines: list[str] = []
    for number, stage in enumerate(plan_stages([plan]), 1):
        lines.extend(_describe_stage(stage, number, stored, limit))
        for node in stage.nodes:
            stored[node] = np.broadcast_to(np.zeros((), node.dtype), node.shape)
    return "\n".join(lines)


def _describe_stage(
    stage: Stage, number: int, stored: dict[Node, np.ndarray], limit: int
) -> list[str]:
    reductions = stage.reductions
    node = reductions[0].x if reductions else stage.nodes[0]
    compiled, grid, task_bytes = prepare(node, stored, limit)
    tasks = (
        ReduceTasks(reductions, compiled, grid, [], Budget(limit)).count
        if reductions
        else grid.count
    )
    names = ", ".join(repr(x)[1:-1] for x in stage.nodes)
    plural = "" if tasks == 1 else "s"
    head = (
        f"stage {number}: {names}, {format_count(tasks)} task{plural} of ≤ "
        f"{format_bytes(task_bytes)}"
    )
    if not grid.count:
        return [head]
    program = lower(compiled, grid.largest())
    return [head, f"  task for {_shown_box(program.box)}", *_describe_steps(program)]


def _describe_steps(program: Program) -> list[str]:
    return [f"    {_describe_step(step)}" for step in program.steps]


def _describe_step(step: Step) -> str:
    inputs = ", ".join(f"%{ref.slot}" for ref in step.inputs)
    details = " ".join(filter(None, map(_shown_argument, step.args)))
    parts = (f"%{step.slot} = {step.op}", inputs, details, str(step.shape), str(step.dtype))
    return " ".join(filter(None, parts))


def _shown_argument(value: Any) -> str:
    """Names, sources and boxes say something in one line; the rest is for the machine."""
    if isinstance(value, str):
        return value
    if isinstance(value, Source):
        return value.label
    is_box = isinstance(value, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(n, int) for n in pair)
        for pair in value
    )
    return _shown_box(value) if value and is_box else ""


def _shown_box(box: Box) -> str:
    return f"[{', '.join(f'{lo}:{hi}' for lo, hi in box)}]"
