"""Lines of steps that need no array between them: what is read runs through them piece by piece.

A *line* is a read whose values one step alone needs: an expression of elements (``fused``), windows
of them, and perhaps one more expression of the results. A source that hands over its values as it
decodes them (``plan.source.ThroughSource``) runs a line without the array in between: a compiled
consumer takes each chunk while it is in the cache, and writes results to where they are wanted.
Where the source cannot, or the compiled code is not there, the same steps run one after the other,
with the same result.

It is its own module, since who runs programs (``exec.steps``) should not have to know what may be
left out of them, and passes over blocks (``exec.reduce``) ask for lines as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from lazytensor.exec.kernels.choice import chosen_kernels, compiled
from lazytensor.exec.kernels.consumer import CompiledConsumer
from lazytensor.exec.kernels.downsample_compiled import can_take, downsample_consumer, takes_cut
from lazytensor.exec.kernels.downsample_compiled import saved_seconds as downsample_seconds
from lazytensor.exec.kernels.expression import CAST, Expression
from lazytensor.exec.kernels.maps import CompiledMap, compiled_map, map_consumer
from lazytensor.exec.physical import READS, Program, Ref, Step
from lazytensor.native.streaming import is_streamed
from lazytensor.plan.ops import OPERATIONS
from lazytensor.plan.source import Consumer

__all__ = [
    "Line", "Lines", "goes_once", "line_of", "lines_of", "may_run", "passes_of", "read_line",
    "run_line", "saved_seconds", "turned", "varying_first", "with_scalars",
]  # fmt: skip


class Line(NamedTuple):
    """A read, and what becomes of its values.

    ``read``: a step ``read``, ``read_placed`` or ``read_strided``. ``before``: the expression of
    its values (a step ``fused``, whose input ``varying`` they are), ``windows``: a step
    ``downsample`` of those, ``after``: an expression of the windows' results alone; each None where
    there is none.
    """

    read: Step
    before: Step | None = None
    varying: int = 0
    windows: Step | None = None
    after: Step | None = None

    @property
    def last(self) -> Step:
        """The step whose result the line has."""
        return self.after or self.windows or self.before or self.read

    @property
    def steps(self) -> tuple[Step, ...]:
        """Its steps, in order."""
        return tuple([step for step in self[:2] + self[3:] if isinstance(step, Step)])

    @property
    def others(self) -> tuple[Ref, ...]:
        """What the expression takes beside the values that are read."""
        if self.before is None:
            return ()
        inputs = self.before.inputs
        return (*inputs[: self.varying], *inputs[self.varying + 1 :])

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the read and constants goes into it."""
        return self.before is None or len(self.before.inputs) == 1


class Lines(NamedTuple):
    """The lines of a program by the slot of their last step, and the slots they do without."""

    ends: Mapping[int, Line]
    within: frozenset[int]


_FEWEST = 1 << 20
"""Bytes below which an array in between stays in the caches, and is there sooner than a consumer is
set up."""

_DECODER = "chunks"
"""The kernel that hands over chunks (``native.kernels``)."""

_SAVED_SECONDS = 3e-10
"""What NumPy takes for a pass over one element that compiled code does without."""

_READS = frozenset({"read", "read_placed", "read_strided"})
_TAKERS = frozenset({"fused", "downsample"})
_NONE = Lines({}, frozenset())


def lines_of(program: Program) -> Lines:
    """The lines of a program; reads alone are none."""
    steps = program.steps
    takers = [step for step in steps if step.op in _TAKERS]
    if not takers or not _reads_of(steps):
        return _NONE
    uses = _uses(steps)
    ends: dict[int, Line] = {}
    within: set[int] = set()
    for step in takers:
        line = _longer(step, ends, steps, uses)
        if line is None:
            continue
        # A line that goes on is the longer line.
        before = step.inputs[line.varying if step is line.before else 0].slot
        ends.pop(before, None)
        within.add(before)
        ends[step.slot] = line
    return Lines(ends, frozenset(within)) if ends else _NONE


def line_of(program: Program) -> Line | None:
    """The line that is all of a program, which may be a read alone; None if it is more than that.

    >>> from lazytensor.exec.lower import Compiled, lower
    >>> zeros = lt.zeros((4,))._node
    >>> line_of(lower(Compiled(zeros), ((0, 4),))) is None
    True
    """
    steps = program.steps
    last = steps[-1]
    if len(steps) == 1:
        return Line(last) if last.op in _READS and last.args[0].array is None else None
    if last.op not in _TAKERS or program.escaped:
        return None
    line = lines_of(program).ends.get(last.slot)
    if line is None:
        return None
    inner = sum([step is not None for step in (line.before, line.windows, line.after)])
    return line if len(steps) == inner + 1 else None


_SHOWN = frozenset({"constant", "full", "stored", "view", "reshape", "pass"})
_FEW = 16
"""Of so many elements one is a parameter or the like: whatever is done with it takes no time."""


def goes_once(program: Program) -> bool:
    """Whether compiled code goes once over arrays in memory, and puts results where they belong.

    >>> from lazytensor.exec.lower import Compiled, lower
    >>> x = lt.asarray(np.ones(4))._node
    >>> goes_once(lower(Compiled(x), ((0, 4),)))
    True
    """
    *before, last = program.steps
    if chosen_kernels() == "numpy":
        return False
    if last.op not in ("fused", "quantize_rows"):
        before = list(program.steps)
    few = math.prod(last.shape) // _FEW
    return all(_is_shown(step) or _is_small(step, few) for step in before)


def _is_small(step: Step, few: int) -> bool:
    """Whether a step makes few elements, and of no source."""
    return step.op not in READS and math.prod(step.shape) <= max(1, few)


def _is_shown(step: Step) -> bool:
    """Whether a step shows memory that is there."""
    return step.op in _SHOWN or (step.op == "read" and step.args[0].array is not None)


def may_run(line: Line) -> bool:
    """Whether a line might be run while its source reads, as far as can be told at once."""
    read = line.read
    return (
        hasattr(read.args[0], "read_through")
        and math.prod(read.shape) * read.dtype.itemsize >= _FEWEST
        and (line.windows is not None or _runs_along(read))
        and chosen_kernels() != "numpy"
    )


def run_line(line: Line, others: Sequence[np.ndarray], out: np.ndarray) -> bool:
    """Run a line into ``out``; False, and nothing done, where that cannot be.

    ``others``: the arrays of ``line.others``.
    """
    if line.windows is None:
        consumer = _consumer_of_values(line, others, out)
    else:
        consumer = _consumer_of_windows(line, line.windows, out)
    return consumer is not None and read_line(line.read, consumer)


def _consumer_of_values(
    line: Line, others: Sequence[np.ndarray], out: np.ndarray
) -> CompiledConsumer | None:
    """What computes the expression of a line of values."""
    step = line.before
    assert step is not None
    _, expression, constants = step.args
    read = line.read
    expression, constants, others = with_scalars(
        varying_first(expression, line.varying), constants, others
    )
    return map_consumer(
        expression,
        constants,
        [turned(read, np.broadcast_to(other, out.shape)) for other in others],
        turned(read, out),
        streamed=is_streamed(out),
        saves=saved_seconds(expression, out.size),
    )


def _consumer_of_windows(line: Line, step: Step, out: np.ndarray) -> CompiledConsumer | None:
    """What reduces the windows of a line, with the expressions before and after."""
    factors, method, lo, out_lo = step.args
    read = line.read
    ordered = read.op == "read" or _keeps_order(read)
    cut = ordered and takes_cut(method, step.dtype)
    if not can_take(lo, read.shape, factors, out_lo, out.shape, cut=cut):
        return None
    if not ordered and method == "mean" and step.dtype.kind not in "iub":
        # Sums of floats depend on the order in a window; what is picked by its order key does not.
        return None
    before, after = _map_of(line.before), _map_of(line.after)
    if (before is None) != (line.before is None) or (after is None) != (line.after is None):
        return None
    return downsample_consumer(
        method,
        step.dtype,
        _factors_of(read, factors),
        turned(read, out),
        pre=before,
        source=None if before is None else read.dtype,
        post=after,
        saves=downsample_seconds(method, read.shape),
        streamed=is_streamed(out),
    )


def _map_of(step: Step | None) -> CompiledMap | None:
    if step is None:
        return None
    _, expression, constants = step.args
    return compiled_map(expression, constants, saved_seconds(expression, math.prod(step.shape)))


def _runs_along(read: Step) -> bool:
    """Whether neighbours in the source are neighbours in the result. Where they are not, a block is
    turned at once: in a result too large for the caches, a chunk's columns are far apart."""
    if read.op == "read":
        return True
    _, _, order, index, *_ = read.args
    dims = iter(order)
    placed = [next(dims) for part in index if part is not None]
    long = [d for d in placed if read.shape[d] > 1]
    return not long or long[-1] == max(long)


def _keeps_order(read: Step) -> bool:
    """Whether values lie in the result of a read as they lie in its source."""
    _, _, order, index, *_ = read.args
    return tuple(order) == tuple(sorted(order)) and all(
        part is None or isinstance(part, int) or part.step is None for part in index
    )


def _factors_of(read: Step, factors: tuple[int, ...]) -> tuple[int, ...]:
    """Factors per dim of the source that a read fills its result from."""
    if read.op == "read":
        return factors
    _, _, order, index, *_ = read.args
    dims = iter(order)
    return tuple(
        [1 if part is None else factors[next(dims)] for part in index if not isinstance(part, int)]
    )


@lru_cache(maxsize=256)
def varying_first(expression: Expression, number: int) -> Expression:
    """The same expression with one of its array operands before the others."""
    if number == 0:
        return expression
    arrays = expression.arrays
    moved = {number: 0, **{k: k + 1 for k in range(number)}}
    steps = [
        step._replace(operands=tuple([moved.get(slot, slot) for slot in step.operands]))
        for step in expression.steps
    ]
    return Expression(
        (arrays[number], *arrays[:number], *arrays[number + 1 :]),
        expression.constants,
        tuple(steps),
        moved.get(expression.result, expression.result),
    )


_OF_PLACE = frozenset({"clip", "maximum", "minimum"})
"""What NumPy computes otherwise with a scalar than with an array: of 0.0 and -0.0, the other."""


def with_scalars(
    expression: Expression, constants: Sequence[bytes], others: Sequence[np.ndarray]
) -> tuple[Expression, Sequence[bytes], Sequence[np.ndarray]]:
    """The same with operands of one element as constants: a loop then has them in a register.

    ``others``: the array operands but the first.

    >>> f4 = np.dtype("f4")
    >>> from lazytensor.exec.kernels.expression import ExpressionStep
    >>> sum = Expression((f4, f4), (), (ExpressionStep("add", (0, 1), f4),), 2)
    >>> with_scalars(sum, (), [np.float32(1).reshape(())])[0].constants
    (dtype('float32'),)
    """
    single = tuple([k for k, other in enumerate(others, 1) if other.size == 1])
    if not single or not _OF_PLACE.isdisjoint([step.name for step in expression.steps]):
        return expression, constants, others
    values = [others[k - 1].tobytes() for k in single]
    rest = [other for other in others if other.size != 1]
    return _operands_as_constants(expression, single), (*constants, *values), rest


@lru_cache(maxsize=256)
def _operands_as_constants(expression: Expression, numbers: tuple[int, ...]) -> Expression:
    """Some array operands behind the constants."""
    arrays, count = expression.arrays, len(expression.arrays)
    kept = [k for k in range(count) if k not in numbers]
    first = count + len(expression.constants)
    order = [*kept, *range(count, first), *numbers, *range(first, first + len(expression.steps))]
    new = {slot: i for i, slot in enumerate(order)}
    return Expression(
        tuple([arrays[k] for k in kept]),
        (*expression.constants, *[arrays[k] for k in numbers]),
        tuple(
            [
                step._replace(operands=tuple([new[slot] for slot in step.operands]))
                for step in expression.steps
            ]
        ),
        new[expression.result],
    )


def saved_seconds(expression: Expression, size: int) -> float:
    """About what compiled code saves on so many elements: a pass over them for each operation."""
    return _SAVED_SECONDS * passes_of(expression) * size


def passes_of(expression: Expression) -> int:
    """How often NumPy goes over the values of an expression."""
    return sum(
        [1 if step.name == CAST else OPERATIONS[step.name].passes for step in expression.steps]
    )


def turned(read: Step, array: np.ndarray) -> np.ndarray:
    """An array with the dims of what a step reads, seen with those of its source.

    Where the read fills ``array``, this is what the source fills: strides (which may be negative)
    and address of a consumer's target, or of another operand, are those of the array returned.
    """
    if read.op == "read":
        return array
    _, _, order, index, *_ = read.args
    return array.transpose(order)[(*index, ...)]


def read_line(read: Step, consumer: Consumer) -> bool:
    """Have the source of a step hand its values to a consumer; False, and nothing done, if it reads
    whole boxes only.

    The consumer's strides are per dim of the source (see ``turned``).
    """
    source, box = read.args[:2]
    steps = read.args[4] if read.op == "read_strided" else (1,) * len(box)
    read_through = getattr(source, "read_through", None)
    if read_through is None:
        return False
    if chosen_kernels() == "numba":
        # What decodes chunks is compiled as well, and who reads never waits for that.
        compiled(_DECODER, None, math.inf)
    return bool(read_through(box, steps, consumer))


def _reads_of(steps: tuple[Step, ...]) -> bool:
    return any(step.op in _READS and step.args[0].array is None for step in steps)


def _uses(steps: tuple[Step, ...]) -> list[int]:
    """How often each slot is looked at, the result once more."""
    uses = [0] * len(steps)
    uses[-1] = 1
    for step in steps:
        for ref in step.inputs:
            uses[ref.slot] += 1
    return uses


def _longer(
    step: Step, ends: Mapping[int, Line], steps: tuple[Step, ...], uses: list[int]
) -> Line | None:
    """The line that ends with a step, if what it takes is one that can go on."""
    for number, ref in enumerate(step.inputs):
        if ref.part is not None or uses[ref.slot] != 1:
            continue
        line = ends.get(ref.slot) or _begun(steps[ref.slot], step)
        longer = None if line is None else _with(line, step, number)
        if longer is not None:
            return longer
    return None


def _begun(read: Step, taker: Step) -> Line | None:
    """A line of a read alone; what is broadcast is better read once."""
    if read.op not in _READS or read.args[0].array is not None:
        return None
    if taker.op == "fused" and read.shape != taker.shape:
        return None
    return Line(read)


def _with(line: Line, step: Step, number: int) -> Line | None:
    """A line with one more step, if it takes that."""
    alone = len(step.inputs) == 1
    if step.op == "downsample":
        return line._replace(windows=step) if line.windows is None and line.is_plain else None
    if line.windows is None:
        return line._replace(before=step, varying=number) if line.before is None else None
    return line._replace(after=step) if alone and line.after is None else None
