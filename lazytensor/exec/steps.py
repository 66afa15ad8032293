"""The kernels of program steps, and the loop that runs a program.

One function per step name, in one table: ``kernel(step, inputs, out, scratch) -> array``. With
``out`` given, the result must be written there; otherwise a kernel returns a view of an input
where it can and scratch memory where it must. Kernels are NumPy and release the GIL for the bulk
of their work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from lazytensor.errors import DTypeError, ShapeError
from lazytensor.exec.buffers import Scratch
from lazytensor.exec.joined import fill_windows
from lazytensor.exec.kernels.cast import cast_into
from lazytensor.exec.kernels.downsample import downsample_into
from lazytensor.exec.kernels.gather import apply_transform
from lazytensor.exec.physical import Program, Ref, Step
from lazytensor.exec.recording import RECORDER, Recorder
from lazytensor.exec.sparse import read_sparse
from lazytensor.exec.steps_axis import KERNELS as AXIS_KERNELS
from lazytensor.exec.steps_contract import KERNELS as CONTRACT_KERNELS
from lazytensor.exec.steps_fused import KERNELS as FUSED_KERNELS
from lazytensor.exec.steps_sketch import KERNELS as SKETCH_KERNELS
from lazytensor.exec.through import Line, lines_of, may_run, run_line
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.ops import ELEMENTWISE, REDUCTIONS
from lazytensor.plan.source import Box, window

__all__ = ["call_cells", "peek_program", "run_program"]

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
    for slot in program.escaped:
        scratch.keep(slots[slot])
    return slots[last], list(slots.values())


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


def _read_windows(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = _room(step, out, scratch)
    fill_windows(step, into)
    return into


def _gather(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    source, transform = step.args
    into = _room(step, out, scratch)
    if into.size:
        read_sparse(source, transform, into)
    return into


def _view(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    transform, origin = step.args
    if transform.has_arrays:
        return apply_transform(transform, inputs[0], origin, out=out)
    return apply_transform(transform, inputs[0], origin)


def _elementwise(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = _room(step, out, scratch)
    return ELEMENTWISE[step.args[0]].evaluate(*inputs, out=into)


def _cast(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = _room(step, out, scratch)
    cast_into(inputs[0], into)
    return into


def _field(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    view: np.ndarray = inputs[0][step.args[0]]
    return view


def _reduce(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    op, axes, keepdims, params = step.args
    return REDUCTIONS[op].whole(inputs[0], axes, keepdims=keepdims, params=dict(params))


def _join(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    axis, new, pieces = step.args
    if out is None and len(pieces) == 1:
        return np.expand_dims(inputs[0], axis) if new else inputs[0]
    into = _room(step, out, scratch)
    for place, values in zip(pieces, inputs, strict=True):
        into[_slices(place)] = np.expand_dims(values, axis) if new else values
    return into


def _overlay(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    fill, pieces, holes = step.args
    if out is None and not holes and len(pieces) == 1:
        return inputs[0]
    into = _room(step, out, scratch)
    if holes:
        # Without a fill value the engine has made sure that no hole is really asked for.
        into[...] = np.zeros((), step.dtype) if fill is None else np.frombuffer(fill, step.dtype)[0]
    for place, values in zip(pieces, inputs, strict=True):
        into[_slices(place)] = values
    return into


def _paste(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    composite, box, place = step.args
    into = _room(step, out, scratch)
    if place is None:
        composite.paste(box, into)
    else:
        order, index = place
        composite.paste(box, into.transpose(order)[(*index, ...)])
    return into


def _downsample(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    factors, method, lo, out_lo = step.args
    into = _room(step, out, scratch)
    if into.size:
        downsample_into(inputs[0], lo, factors, method, into, out_lo)
    return into


def _reshape(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    shape, steps, start = step.args
    flat = np.ascontiguousarray(inputs[0]).reshape(-1)
    if 0 in shape:
        return flat[:0].reshape(shape)
    if flat.dtype.kind == "T":  # which as_strided does not know
        offsets = np.ix_(*[np.arange(n) * step for n, step in zip(shape, steps, strict=True)])
        return flat[np.ravel(sum(offsets, start=start))].reshape(shape)
    strides = tuple(step * flat.itemsize for step in steps)
    return np.lib.stride_tricks.as_strided(flat[start:], shape, strides, writeable=False)


def _pass(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    return inputs[0]


def _inspect(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    function, box, labels = step.args
    shown = inputs[0].view()
    shown.flags.writeable = False
    function(_domain(box, labels), shown)
    return inputs[0]


def _call(
    step: Step, inputs: list[np.ndarray], out: np.ndarray | None, scratch: Scratch
) -> np.ndarray:
    into = _room(step, out, scratch)
    call_cells(step.args, inputs, into)
    return into


def call_cells(args: tuple[Any, ...], inputs: Sequence[np.ndarray], out: np.ndarray) -> None:
    """Apply a user's block function to every cell of a box and keep what lies in the box.

    ``inputs`` hold the union of the cells with their halo as far as the domain reaches; the part
    of the halo that lies outside is made up here, by the boundary rule.
    """
    function, dtype, box, spans, halo, boundary, validate, labels, domain, bases = args
    if not all(spans):
        return
    cover = tuple((along[0][0], along[-1][1]) for along in spans)
    for cell in product(*spans):
        blocks = [
            _block(x, base, cell, cover, halo, boundary, domain)
            for x, base in zip(inputs, bases, strict=True)
        ]
        extra = {} if labels is None else {"domain": _domain(cell, labels)}
        result = np.asarray(function(*blocks, **extra))
        core = tuple(hi - lo for lo, hi in cell)
        if validate and result.shape != core:
            raise ShapeError(
                f"map_blocks: {_name(function)} returned shape {result.shape} for the cell "
                f"{cell} of shape {core}; trim the halo, or change the function"
            )
        if validate and result.dtype != dtype:
            raise DTypeError(
                f"map_blocks: {_name(function)} returned {result.dtype}, the plan says {dtype}; "
                f"pass dtype={result.dtype}"
            )
        inner = tuple((max(a, lo), min(b, hi)) for (a, b), (lo, hi) in zip(cell, box, strict=True))
        out[_slices(_relative(inner, box))] = result[_slices(_relative(inner, cell))]


def _block(
    x: np.ndarray,
    base: Box,
    cell: Box,
    cover: Box,
    halo: tuple[int, ...],
    boundary: str | None,
    domain: Box,
) -> np.ndarray:
    """One operand's block for a cell, with its halo made up outside the domain."""
    skip = len(cell) - x.ndim
    part: list[slice] = []
    widths: list[tuple[int, int]] = []
    for d in range(x.ndim):
        (a, b), (c0, _), (lo, hi) = cell[skip + d], cover[skip + d], domain[skip + d]
        h = halo[skip + d]
        if base[d][1] - base[d][0] == 1 and hi - lo != 1:
            part.append(slice(None))
            widths.append((0, 0))
            continue
        first = max(lo, c0 - h)
        start, stop = max(lo, a - h), min(hi, b + h)
        part.append(slice(start - first, stop - first))
        widths.append((start - (a - h), (b + h) - stop))
    block = window(x, part)
    if boundary is None or not any(w for pair in widths for w in pair):
        view = block.view()
        view.flags.writeable = False
        return view
    return np.pad(block, widths, mode=_PAD_MODES[boundary])


# map_blocks speaks of boundaries as image filters do; NumPy pads by other names.
_PAD_MODES: dict[str, Any] = {"reflect": "symmetric", "nearest": "edge", "constant": "constant"}


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _domain(box: Box, labels: tuple[str, ...]) -> IndexDomain:
    return IndexDomain._make(tuple(lo for lo, _ in box), tuple(hi for _, hi in box), labels)


def _relative(inner: Box, outer: Box) -> Box:
    return tuple((a - lo, b - lo) for (a, b), (lo, _) in zip(inner, outer, strict=True))


def _slices(box: Box) -> tuple[slice, ...]:
    return tuple([slice(a, b) for a, b in box])


_KERNELS: dict[str, Kernel] = {
    "constant": _constant,
    "full": _full,
    "stored": _stored,
    "read": _read,
    "read_placed": _read_placed,
    "read_strided": _read_strided,
    "read_windows": _read_windows,
    "gather": _gather,
    "view": _view,
    "elementwise": _elementwise,
    "cast": _cast,
    "field": _field,
    "reduce": _reduce,
    "join": _join,
    "overlay": _overlay,
    "paste": _paste,
    "downsample": _downsample,
    "reshape": _reshape,
    "pass": _pass,
    "call": _call,
    "inspect": _inspect,
    **AXIS_KERNELS,
    **CONTRACT_KERNELS,
    **SKETCH_KERNELS,
    **FUSED_KERNELS,
}
