"""What running a program takes in memory.

A step takes room for its result, unless it only looks at an input; for what its kernel needs
beside; and, if it reads, for what the source holds while it decodes. Rooms of results are recycled
by size (``exec.buffers``), so that what a thread holds is more than what is alive at one time: a
room of the wrong size is kept for the next task. All of that is followed here, step by step, when
a program is made. It is what tasks ask the budget for, and what ``estimate`` adds up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lazytensor.exec.buffers import size_class
from lazytensor.exec.physical import READS, Program, Step
from lazytensor.plan.families import Families
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.source import Source

__all__ = ["Footprint", "footprint", "nbytes_of_one", "source_memory", "task_memory"]

_Shapes = list[tuple[int, ...]]

# Steps whose result is (or may be) a view of an input: the input's memory must live as long.
_ALIASES = frozenset({"view", "field", "reshape", "pass", "inspect", "join", "overlay"})
# Steps whose result takes no memory: it is there already, or one element seen many times.
_LOOKS = frozenset({"constant", "full", "stored", "field", "pass", "inspect"})
# Steps that do not write their result to where it is wanted: they look at an input, or make it.
_SEEN = _LOOKS | {"view", "reshape", "reduce"}
# Steps whose inputs are shown to user code, which may keep them.
_ESCAPES = frozenset({"call", "inspect"})


class Footprint(NamedTuple):
    """Steps that say after which of them a slot's memory is free, and what they take.

    ``escaped``: slots whose memory never is. ``alive``: bytes of results alive at one time, views
    counted as if they were copies, which is about what a program moves. ``nbytes``: bytes that
    running it takes, at most.
    """

    steps: list[Step]
    escaped: frozenset[int]
    alive: int
    nbytes: int


def footprint(steps: list[Step]) -> Footprint:
    """Follow a program through its steps."""
    frees, escaped = _frees(steps)
    last = len(steps) - 1
    sizes: list[int] = []
    # The size of the room that each step takes for its result, 0 where it takes none.
    rooms: list[int] = []
    idle: dict[int, int] = {}
    alive = most = held = beside = reading = 0
    out = []
    for step, gone in zip(steps, frees, strict=True):
        op, slot, inputs, args, shape, dtype, _ = step
        size = math.prod(shape) * dtype.itemsize
        own = 0 if op in _LOOKS else _own(step, size, slot == last)
        if op in _SHOWN and _is_shown(step, steps):
            size = 0
        room = size_class(own) if own else 0
        sizes.append(size)
        rooms.append(room)
        alive += size
        if alive > most:
            most = alive
        if own:
            if slot != last and idle.get(room):
                idle[room] -= 1
            else:
                held += own
        if op in _BESIDE:
            beside = max(beside, _beside(step, steps))
        if op in READS:
            reading = max(reading, _reading(step))
        if not gone:
            out.append(step)
            continue
        for other in gone:
            alive -= sizes[other]
            room = rooms[other]
            if room:
                idle[room] = idle.get(room, 0) + 1
        out.append(Step(op, slot, inputs, args, shape, dtype, tuple(gone)))
    return Footprint(out, escaped, most, held + beside + reading)


_SHOWN = frozenset({"reshape", "view"})


def _is_shown(step: Step, steps: Sequence[Step]) -> bool:
    """Whether a step shows memory that is there in another shape, perhaps a part of it."""
    below, reshaped = step, False
    while below.op in _SHOWN:
        if below.op == "view" and below.args[0].has_arrays:
            return False
        reshaped = reshaped or below.op == "reshape"
        below = steps[below.inputs[0].slot]
    return reshaped and (
        below.op == "stored" or (below.op == "read" and below.args[0].array is not None)
    )


def nbytes_of_one(step: Step, size: int) -> int:
    """Bytes that a program of one step takes, which has no inputs and a result of ``size`` bytes.

    What ``footprint`` would say; windows are made of such programs by the thousand.
    """
    nbytes = _own(step, size, True)
    if step.op in _BESIDE:
        nbytes += _beside(step, (step,))
    if step.op in READS:
        nbytes += _reading(step)
    return nbytes


def task_memory(program: Program) -> int:
    """Bytes that running a program takes beside the array that it fills."""
    last = program.steps[-1]
    return program.nbytes - (0 if last.op in _SEEN else _own(last, _size(last), True))


def source_memory(program: Program) -> int:
    """Bytes of it that every thread takes that has a part in reading."""
    return max([_reading(step) for step in program.steps if step.op in READS], default=0)


def _frees(steps: list[Step]) -> tuple[list[list[int]], frozenset[int]]:
    """Slots that are free after each step, and slots that never are.

    From behind: what a look is taken at is needed for as long as the look.
    """
    count = len(steps)
    last_use = list(range(count))
    # Nothing needs the result later, and nothing may take its memory either.
    last_use[-1] = count
    shown: set[int] = set()
    for step in reversed(steps):
        slot = step.slot
        until, is_shown = slot, step.op in _ESCAPES
        if step.op in _ALIASES:
            until, is_shown = last_use[slot], is_shown or slot in shown
        for ref in step.inputs:
            if last_use[ref.slot] < until:
                last_use[ref.slot] = until
            if is_shown:
                shown.add(ref.slot)
    # And from the front: a look may be the very same array as its input, so that giving it back
    # would free what is still read.
    until_all: list[int] = []
    for step in steps:
        until = last_use[step.slot]
        if step.op in _ALIASES:
            until = max([until, *[until_all[ref.slot] for ref in step.inputs]])
            if len(step.inputs) == 1:
                last_use[step.slot] = until
        until_all.append(until)
    escaped = _escaped(steps, shown) if shown else frozenset()
    frees: list[list[int]] = [[] for _ in steps]
    for slot, at in enumerate(last_use):
        if at < count and slot not in escaped:
            frees[at].append(slot)
    return frees, escaped


def _escaped(steps: list[Step], shown: set[int]) -> frozenset[int]:
    """What was shown, and what may be the same array, not only a view of it."""
    for step in steps:
        if step.op in _ALIASES and any(ref.slot in shown for ref in step.inputs):
            shown.add(step.slot)
    return frozenset(shown)


def _size(step: Step) -> int:
    return math.prod(step.shape) * step.dtype.itemsize


def _own(step: Step, size: int, is_last: bool) -> int:
    """Bytes that are taken for the result of a step."""
    op = step.op
    if op in _LOOKS:
        return 0
    if op == "view":
        return size if step.args[0].has_arrays else 0
    if op == "read":
        return size if step.args[0].array is None else 0
    if op in ("join", "overlay") and not is_last and len(step.inputs) == 1:
        holes = op == "overlay" and step.args[2]
        return size if holes else 0
    return size


def _beside(step: Step, steps: Sequence[Step]) -> int:
    """Bytes that a kernel holds beside its inputs and its result."""
    shapes = [
        steps[ref.slot].shape if ref.part is None else tuple([p.stop - p.start for p in ref.part])
        for ref in step.inputs
    ]
    held: int = _BESIDE[step.op](step, shapes)
    return held


_PER_POINT = 5
"""Words of each point of a gather, beside its positions."""


def _gather(step: Step, _shapes: _Shapes) -> int:
    """What is wanted of one cell, twice; tables of points; and where index arrays vary along
    several dims, the values before they are put in their order."""
    source: Source = step.args[0]
    spec = source.spec
    cell = [
        n if cells is None else min(n, cells.chunk)
        for n, cells in zip(spec.shape, spec.grid, strict=True)
    ]
    size = _size(step)
    arrays = [m.array.values for m in step.args[1].maps if m.array is not None]
    several = any(sum([n > 1 for n in array.shape]) > 1 for array in arrays)
    beside = 2 * min(size, math.prod(cell) * step.dtype.itemsize)
    return beside + _listed(step.args[1]) + (size if several else 0)


def _taken(step: Step, _shapes: _Shapes) -> int:
    """Of index arrays that vary together the values, before they are put in their place; or tables
    of where they are."""
    return _size(step) + _listed(step.args[0]) if step.args[0].has_arrays else 0


def _listed(transform: IndexTransform) -> int:
    """Of points that are looked up: their positions, cells, byte offsets and places."""
    sizes = [m.array.values.nbytes for m in transform.maps if m.array is not None]
    return sum(sizes) + _PER_POINT * max(sizes, default=0)


def _downsample(step: Step, shapes: _Shapes) -> int:
    from lazytensor.exec.kernels.downsample import work_nbytes

    return work_nbytes(step.args[1], step.dtype, math.prod(shapes[0]))


def _reading(step: Step) -> int:
    """Bytes that a source holds while it reads what a step asks for."""
    source: Source = step.args[0]
    held = getattr(source, "reading_nbytes", None)
    return 0 if held is None else int(held(_size(step)))


_BESIDE: Families[str, Callable[[Step, _Shapes], int]] = Families(
    {"gather": _gather, "view": _taken, "downsample": _downsample},
    {
        **dict.fromkeys(("contract", "panels"), "lazytensor.exec.steps_contract:MEMORY"),
        **dict.fromkeys(
            ("block_totals", "cumulate", "lookup", "search", "sort", "take_along"),
            "lazytensor.exec.steps_axis:MEMORY",
        ),
        "fused": "lazytensor.exec.steps_fused:MEMORY",
    },
)
"""Steps whose kernels need memory of their own: how much, from the step and its inputs' shapes."""
