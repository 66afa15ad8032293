"""The kernels of program steps, and the loop that runs a program.

One function per step name, in one table: ``kernel(step, inputs, out, scratch) -> array``. With
``out`` given, the result must be written there; otherwise a kernel returns a view of an input
where it can and scratch memory where it must. Kernels are NumPy and release the GIL for the bulk
of their work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lazytensor.exec.buffers import Scratch
from lazytensor.exec.physical import Program, Ref, Step
from lazytensor.exec.recording import RECORDER, Recorder
from lazytensor.plan.families import Families
from lazytensor.plan.source import window

if TYPE_CHECKING:
    from lazytensor.exec.through import Line

__all__ = ["peek_program", "run_program"]

Kernel = Callable[[Step, list[np.ndarray], np.ndarray | None, Scratch], np.ndarray]


def run_program(program: Program, scratch: Scratch, out: np.ndarray) -> None:
    """Compute the program's box into ``out``."""
    result, held = _run(program, scratch, out)
    if result is not out:
        np.copyto(out, result, casting="no")
    for array in held:
        if array is not out:
            scratch.give(array)


def peek_program(program: Program, scratch: Scratch, consume: Callable[[np.ndarray], None]) -> None:
    """Compute the program's box and show it to ``consume``, which must not keep it."""
    result, held = _run(program, scratch, None)
    consume(result)
    for array in held:
        scratch.give(array)


def _run(
    program: Program, scratch: Scratch, out: np.ndarray | None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The result (possibly a view), and the arrays to give back once it is used."""
    scratch.expect(program.nbytes)
    slots: dict[int, np.ndarray] = {}
    last = len(program.steps) - 1
    recorder = RECORDER.get()
    if not last:
        _do(program.steps[0], slots, out, scratch, recorder)
    else:
        _do_steps(program, slots, out, scratch, recorder)
    for slot in program.escaped:
        scratch.keep(slots[slot])
    return slots[last], list(slots.values())


def _do_steps(
    program: Program,
    slots: dict[int, np.ndarray],
    out: np.ndarray | None,
    scratch: Scratch,
    recorder: Recorder | None,
) -> None:
    """Run the steps one after the other, but those of a line together where that can be."""
    from lazytensor.exec.through import lines_of  # of use to more than one step alone

    last = len(program.steps) - 1
    lines = lines_of(program)
    for step in program.steps:
        if step.slot in lines.within:
            continue
        into = out if step.slot == last else None
        line = lines.ends.get(step.slot)
        if line is None:
            _do(step, slots, into, scratch, recorder)
        elif not _do_line(line, slots, into, scratch, recorder):
            for part in line.steps:
                _do(part, slots, into if part is step else None, scratch, recorder)


def _do(
    step: Step,
    slots: dict[int, np.ndarray],
    out: np.ndarray | None,
    scratch: Scratch,
    recorder: Recorder | None,
) -> None:
    """Run one step."""
    inputs = [_fetch(slots, ref) for ref in step.inputs]
    if recorder is None:
        slots[step.slot] = _KERNELS[step.op](step, inputs, out, scratch)
    else:
        with recorder.step(step):
            slots[step.slot] = _KERNELS[step.op](step, inputs, out, scratch)
    del inputs
    for slot in step.frees:
        scratch.give(slots.pop(slot))


def _do_line(
    line: Line,
    slots: dict[int, np.ndarray],
    out: np.ndarray | None,
    scratch: Scratch,
    recorder: Recorder | None,
) -> bool:
    """Run the steps of a line while its source reads; False, and nothing done, if they cannot."""
    from lazytensor.exec.through import may_run, run_line

    if not may_run(line):
        return False
    last = line.last
    into = _room(last, out, scratch)
    others = [_fetch(slots, ref) for ref in line.others]
    if recorder is None:
        done = run_line(line, others, into)
    else:
        with recorder.line(*line.steps):
            done = run_line(line, others, into)
    if not done:
        if into is not out:
            scratch.give(into)
        return False
    slots[last.slot] = into
    del others
    for step in line.steps:
        for slot in step.frees:
            if slot in slots:
                scratch.give(slots.pop(slot))
    return True


def _fetch(slots: dict[int, np.ndarray], ref: Ref) -> np.ndarray:
    array = slots[ref.slot]
    return array if ref.part is None else window(array, ref.part)


def _room(step: Step, out: np.ndarray | None, scratch: Scratch) -> np.ndarray:
    return scratch.take(step.shape, step.dtype) if out is None else out


def _constant(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    data, dtype = step.args
    return np.frombuffer(data, dtype).reshape(())


def _full(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    data, dtype, shape = step.args
    return np.broadcast_to(np.frombuffer(data, dtype).reshape(()), shape)


def _stored(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    held, part = step.args
    return window(held.array, part)


def _read(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    source, box = step.args
    array = source.array
    if array is not None:
        origin = source.spec.domain.inclusive_min
        part = tuple(slice(a - o, b - o) for (a, b), o in zip(box, origin, strict=True))
        return window(array, part)
    into = _room(step, out, scratch)
    if into.size:
        source.read_into(box, into)
    return into


def _read_placed(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    source, box, order, index = step.args
    into = _room(step, out, scratch)
    if into.size:
        source.read_into(box, into.transpose(order)[(*index, ...)])
    return into


def _read_strided(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    source, box, order, index, steps = step.args
    into = _room(step, out, scratch)
    source.read_strided(box, steps, into.transpose(order)[(*index, ...)])
    return into


_KERNELS: Families[str, Kernel] = Families(
    {
        "constant": _constant,
        "full": _full,
        "stored": _stored,
        "read": _read,
        "read_placed": _read_placed,
        "read_strided": _read_strided,
    },
    {
        name: f"lazytensor.exec.{module}:KERNELS"
        for module, names in (
            ("steps_axis", ("block_totals", "cumulate", "lookup", "search", "sort", "take_along")),
            ("steps_call", ("call", "inspect")),
            ("steps_contract", ("contract", "panels")),
            ("steps_fused", ("fused",)),
            ("steps_quantize", ("quantize_rows", "spread")),
            (
                "steps_sketch",
                ("computed", "edges", "histogram", "masked", "masked_reduce", "quantile"),
            ),
            (
                "steps_values",
                (
                    "cast",
                    "downsample",
                    "elementwise",
                    "field",
                    "gather",
                    "join",
                    "overlay",
                    "pass",
                    "paste",
                    "read_windows",
                    "reduce",
                    "reshape",
                    "view",
                ),
            ),
        )
        for name in names
    },
)
