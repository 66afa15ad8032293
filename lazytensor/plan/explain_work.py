"""What runs, in words: stages, their tasks and the steps of a task, in the formats of ``explain``.

The records here hold nothing but text and numbers. An engine fills them in (``exec.describe``);
printing them needs to know no more of engines.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from lazytensor.plan.cost import format_bytes, format_count
from lazytensor.plan.drawing import Box, Graph
from lazytensor.plan.explain import behind, check_format
from lazytensor.plan.explain_formats import (
    Notes,
    dot_string,
    footer,
    fragment,
    html_table,
    html_text,
    notes_as_data,
    notes_html,
)

__all__ = ["StageWork", "StepWork", "explain_work", "work_graph"]

_MAX_STEPS = 200


class StepWork(NamedTuple):
    """One step of a task.

    ``slot``: the number of its result; ``inputs``: those it takes; ``details``: its arguments, as
    far as they say something in one line.
    """

    slot: int
    op: str
    inputs: tuple[int, ...]
    details: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def label(self) -> str:
        """The step without its inputs and its result: ``elementwise add``."""
        return f"{self.op} {self.details}".strip()


class StageWork(NamedTuple):
    """Results that are computed before whatever needs them, in tasks that differ in their boxes.

    ``task_nbytes``: what a task holds, at most. ``box``: the part of the domain that a largest task
    computes, empty if there is none; ``steps``: those of that task, the last one its result.
    """

    number: int
    results: tuple[str, ...]
    tasks: int
    task_nbytes: int
    box: str
    steps: tuple[StepWork, ...]

    @property
    def head(self) -> str:
        """The stage in one line."""
        plural = "" if self.tasks == 1 else "s"
        return (
            f"stage {self.number}: {', '.join(self.results)}, {format_count(self.tasks)} "
            f"task{plural} of ≤ {format_bytes(self.task_nbytes)}"
        )


def explain_work(stages: Sequence[StageWork], notes: Notes, format: str = "plain") -> str:
    """Stages as text; formats are those of ``plan.explain.explain``.

    The JSON object has ``stages``, each with ``number``, ``results``, ``tasks``, ``task_nbytes``,
    ``box`` and ``steps``, which have ``slot``, ``op``, ``inputs`` (slots), ``details``, ``shape``
    and ``dtype``; and ``estimate`` and ``rules`` as a plan's.

    >>> step = StepWork(0, "read", (), "zarr a.zarr", (4, 4), "uint8")
    >>> stage = StageWork(1, ("Scan (4, 4) uint8",), 1, 16, "[0:4, 0:4]", (step,))
    >>> print(explain_work([stage], Notes(None, None, ())))
    stage 1: Scan (4, 4) uint8, 1 task of ≤ 16 B
      task for [0:4, 0:4]
        %0 = read zarr a.zarr (4, 4) uint8
    """
    check_format(format)
    return _FORMATS[format](stages, notes)


def _plain(stages: Sequence[StageWork], notes: Notes) -> str:
    lines: list[str] = []
    for stage in stages:
        lines.append(stage.head)
        if not stage.box:
            continue
        lines.append(f"  task for {stage.box}")
        for step in stage.steps[:_MAX_STEPS]:
            inputs = ", ".join(f"%{slot}" for slot in step.inputs)
            words = (f"%{step.slot} = {step.op}", inputs, step.details, str(step.shape), step.dtype)
            lines.append("    " + " ".join(filter(None, words)))
        lines += [f"    {text}" for text in _more(stage)]
    return "\n".join([*lines, *behind(notes)])


def _more(stage: StageWork) -> list[str]:
    hidden = len(stage.steps) - _MAX_STEPS
    return [f"… {format_count(hidden)} more steps"] if hidden > 0 else []


def _tree(stages: Sequence[StageWork], notes: Notes) -> str:
    """The steps of each task as a tree, its result on top."""
    lines: list[str] = []
    for stage in stages:
        lines.append(stage.head)
        if not stage.box:
            continue
        lines.append(f"└─ task for {stage.box}")
        lines += _step_tree(stage)
    return "\n".join([*lines, *behind(notes)])


def _step_tree(stage: StageWork) -> list[str]:
    steps = {step.slot: step for step in stage.steps}
    shown: set[int] = set()
    lines: list[str] = []
    # (slot, rails before it, its own branch, rails of its inputs)
    stack = [(stage.steps[-1].slot, "   ", "└─ ", "      ")]
    while stack:
        slot, rails, branch, rest = stack.pop()
        step = steps[slot]
        if len(lines) >= _MAX_STEPS:
            return [*lines, "   … more steps"]
        if slot in shown:
            lines.append(f"{rails}{branch}↑ %{slot} {step.label}")
            continue
        shown.add(slot)
        lines.append(f"{rails}{branch}%{slot} {step.label}  {step.shape} {step.dtype}")
        inputs = list(dict.fromkeys(step.inputs))
        for i, below in reversed(list(enumerate(inputs))):
            last = i == len(inputs) - 1
            stack.append((below, rest, *(("└─ ", rest + "   ") if last else ("├─ ", rest + "│  "))))
    return lines


def _dot(stages: Sequence[StageWork], notes: Notes) -> str:
    """A graph for Graphviz: a cluster a stage, steps below what takes them."""
    out = ["digraph work {", "  rankdir=BT;", '  node [shape=box, fontname="monospace"];']
    for stage in stages:
        name = f"s{stage.number}"
        out.append(f"  subgraph cluster_{name} {{")
        out.append(f"    label={dot_string(stage.head)};")
        for step in stage.steps:
            text = f"{step.label}\n{step.shape} {step.dtype}"
            out.append(f"    {name}_{step.slot} [label={dot_string(text)}];")
            out += [
                f"    {name}_{slot} -> {name}_{step.slot};" for slot in dict.fromkeys(step.inputs)
            ]
        if not stage.steps:
            out.append(f"    {name} [label={dot_string('no tasks')}];")
        out.append("  }")
    if last := footer(notes):
        out.append(f"  label={dot_string(last)};")
    return "\n".join([*out, "}"])


def _json(stages: Sequence[StageWork], notes: Notes) -> str:
    data: list[dict[str, Any]] = [
        {**stage._asdict(), "steps": [step._asdict() for step in stage.steps]} for stage in stages
    ]
    return json.dumps({"stages": data, **notes_as_data(notes)}, indent=1)


def _html(stages: Sequence[StageWork], notes: Notes) -> str:
    """A table of the stages, and the steps of each folded away below it."""
    rows = [
        [
            str(stage.number),
            ", ".join(stage.results),
            format_count(stage.tasks),
            f"≤ {format_bytes(stage.task_nbytes)}",
        ]
        for stage in stages
    ]
    parts = [html_table(["stage", "results", "tasks", "a task holds"], rows)]
    for stage in stages:
        steps = [
            [
                f"%{step.slot}",
                step.label,
                ", ".join(f"%{slot}" for slot in step.inputs),
                f"{step.shape} {step.dtype}",
            ]
            for step in stage.steps[:_MAX_STEPS]
        ]
        head = html_text(f"stage {stage.number}: task for {stage.box or 'nothing'}")
        table = html_table(["slot", "step", "takes", "result"], steps)
        more = "".join(f"<p>{html_text(text)}</p>" for text in _more(stage))
        parts.append(f"<details><summary>{head}</summary>{table}{more}</details>")
    return fragment("".join(parts) + notes_html(notes))


def work_graph(stages: Sequence[StageWork]) -> Graph:
    """The boxes of a picture: each stage a box with the steps of a task below it."""
    boxes: list[Box] = []
    edges: list[tuple[int, int]] = []
    for stage in stages:
        head = len(boxes)
        boxes.append(Box((stage.head, f"task for {stage.box or 'nothing'}"), "head"))
        # The last steps: what they take is before them.
        steps = {step.slot: step for step in stage.steps[-_MAX_STEPS:]}
        numbers = {slot: head + 1 + i for i, slot in enumerate(reversed(steps))}
        for slot, number in numbers.items():
            step = steps[slot]
            boxes.append(Box((step.label, f"{step.shape} {step.dtype}")))
            if number == head + 1:
                edges.append((head, number))
            edges += [(number, numbers[x]) for x in dict.fromkeys(step.inputs) if x in numbers]
        if more := _more(stage):
            boxes.append(Box((more[0],), "gap"))
            edges.append((head, len(boxes) - 1))
    return Graph(boxes, edges)


_FORMATS: dict[str, Callable[[Sequence[StageWork], Notes], str]] = {
    "plain": _plain,
    "tree": _tree,
    "dot": _dot,
    "json": _json,
    "html": _html,
}
