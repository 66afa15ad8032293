"""What will run, as records that ``plan.explain_work`` prints.

Shows every stage with its number of tasks, and the steps of one of the largest, which stands for
all of them: tasks of a stage differ in nothing but their boxes. Stages and tasks are those of
``LocalEngine.schedule``, which the engine runs by. Nothing is read.
"""

from __future__ import annotations

import re
from typing import Any

from lazytensor.config import QueryOptFlags
from lazytensor.exec.demand import whole_box
from lazytensor.exec.demand_reshape import below_reshapes
from lazytensor.exec.engine import is_tiny, resolve_engine
from lazytensor.exec.estimate import no_array
from lazytensor.exec.interpret import InterpretEngine
from lazytensor.exec.kernels.choice import kernels_of_run
from lazytensor.exec.local import LocalEngine
from lazytensor.exec.lower import lower
from lazytensor.exec.physical import Program, Step
from lazytensor.exec.schedule import Pass
from lazytensor.exec.steps_fused import how
from lazytensor.plan.explain_labels import LABELS, describe, format_shape, function_name
from lazytensor.plan.explain_work import StageWork, StepWork
from lazytensor.plan.node import Node, walk
from lazytensor.plan.optimize import optimize
from lazytensor.plan.outline import one_line
from lazytensor.plan.source import Box, Source

__all__ = ["describe_work", "node_name", "step_details"]

_FUNCTIONS = frozenset({"call", "inspect"})
"""Steps whose first argument is a function of the user's."""


def describe_work(
    node: Node, engine: Any = "auto", optimizations: QueryOptFlags | None = None
) -> list[StageWork]:
    """The stages of a plan as it was written, each with the steps of one of its tasks.

    ``engine``: as in ``collect``; one that is neither ours nor the interpreter is taken for the
    default one.

    >>> stage, = describe_work((lt.zeros((2, 3)) + 1)._node)
    >>> stage.tasks, stage.box, stage.steps[-1].label
    (1, '[0:2, 0:3]', 'add 1.0')
    """
    chosen = resolve_engine(engine)
    if isinstance(chosen, LocalEngine) and is_tiny(node):
        return [_whole(node)]
    flags = QueryOptFlags() if optimizations is None else optimizations
    plan = optimize(node, flags)
    if isinstance(chosen, InterpretEngine):
        return [_whole(plan)]
    plan = below_reshapes(plan)
    local = chosen if isinstance(chosen, LocalEngine) else LocalEngine()
    program = local.one_task([plan])
    if program is not None:
        steps = _steps(program)
        return [StageWork(1, (_shown(plan),), 1, program.nbytes, _shown_box(program.box), steps)]
    with kernels_of_run(local.kernels):
        schedule = local.schedule([plan], no_array, flags)
        return [_stage(number, one) for number, one in enumerate(schedule.passes, 1)]


def _whole(plan: Node) -> StageWork:
    """The one task of a plan that is computed whole, node by node: the interpreter's, and so little
    data in memory that cutting it would cost more than computing."""
    slots: dict[Node, int] = {}
    steps = []
    for node in walk(plan):
        slots[node] = len(slots)
        inputs = tuple([slots[x] for x in node.inputs])
        words = " ".join(node_name(node).split())
        steps.append(StepWork(slots[node], words, inputs, "", node.shape, str(node.dtype)))
    nbytes = sum(node.nbytes for node in slots)
    return StageWork(1, (_shown(plan),), 1, nbytes, _shown_box(whole_box(plan)), tuple(steps))


def _stage(number: int, one: Pass) -> StageWork:
    names = tuple(map(_shown, one.stage.nodes))
    compiled, grid, _ = one.prepared
    if not grid.count:
        return StageWork(number, names, one.tasks, one.nbytes, "", ())
    program = lower(compiled, grid.largest())
    return StageWork(number, names, one.tasks, one.nbytes, _shown_box(program.box), _steps(program))


def _shown(node: Node) -> str:
    """Phrase, shape and dtype."""
    return f"{node_name(node)} {format_shape(node)} {node.dtype}"


def node_name(node: Node) -> str:
    """The phrase of a node; of nodes that an engine puts into plans, the name of their kind."""
    if type(node) in LABELS:
        return one_line(describe(node))
    return re.sub(r"(?<!^)(?=[A-Z])", " ", type(node).__name__).lower()


def _steps(program: Program) -> tuple[StepWork, ...]:
    return tuple(
        StepWork(
            step.slot,
            step.op,
            tuple(ref.slot for ref in step.inputs),
            step_details(step),
            step.shape,
            str(step.dtype),
        )
        for step in program.steps
    )


def step_details(step: Step, *, boxes: bool = True) -> str:
    """The arguments of a step, as far as they say something in one line."""
    args = step.args
    if step.op == "fused":
        return f"{args[0]} ({how(args[1])})" if boxes else str(args[0])
    if step.op in _FUNCTIONS:
        args = (function_name(args[0]), *args[1:])
    return " ".join(filter(None, [_shown_argument(arg, boxes) for arg in args]))


def _shown_argument(value: Any, boxes: bool) -> str:
    """Names, sources and boxes say something in one line; the rest is for the machine."""
    if isinstance(value, str):
        return value
    if isinstance(value, Source):
        return value.label
    is_box = isinstance(value, tuple) and all(
        isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(n, int) for n in pair)
        for pair in value
    )
    return _shown_box(value) if boxes and is_box and value else ""


def _shown_box(box: Box) -> str:
    return f"[{', '.join(f'{lo}:{hi}' for lo, hi in box)}]"
