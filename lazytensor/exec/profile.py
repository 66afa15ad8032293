"""A run and where its time went, as a table (``x.profile()``).

The run that is measured is the one that ``collect`` makes: the same plan, tasks and threads. Rows
come from ``exec.recording``; here they get names and units.

``read_s`` and ``decode_s`` are the two parts of reading steps. Drivers say when they decode; where
compiled code reads and decodes files in one call, it looks at the clock around reading. What a
source other than a zarr array does counts as reading. What is computed in that call too, while
values are in the cache, is the ``kernel_s`` of the first step that takes them; further steps that
are done with it have rows without time. ``kernel_s`` is the time of all other steps, and in the row
``scheduling`` what a task takes beside its steps: its program is made, blocks of memory change
hands, and Python threads wait for each other's turn at the interpreter (which they also do within
steps: no clock tells that from work). ``wait_s`` is there the time that tasks waited for memory
that others held, and that threads had no task left while others were still at theirs.
All are sums over threads: the rows of a stage add up to its duration times its threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter_ns
from typing import Any

from lazytensor.exec.describe import node_name, step_details
from lazytensor.exec.physical import READS, Step
from lazytensor.exec.recording import RECORDER, Part, Recorder, Tally

__all__ = ["COLUMNS", "profiling", "rows_of"]

COLUMNS: dict[str, type] = {
    "stage": int,
    "operation": str,
    "tasks": int,
    "read_s": float,
    "decode_s": float,
    "kernel_s": float,
    "wait_s": float,
    "bytes_read": int,
    "bytes_decoded": int,
    "cache_hits": int,
}
"""Names and types of the columns, in order."""


@contextmanager
def profiling() -> Iterator[Recorder]:
    """Record the runs of the block.

    >>> with profiling() as recorder:
    ...     values = lt.asarray([1, 2]).collect()
    >>> [row[1] for row in rows_of(recorder)]
    ['scan array', 'scheduling']
    """
    recorder = Recorder()
    token = RECORDER.set(recorder)
    begin = perf_counter_ns()
    try:
        yield recorder
    finally:
        recorder.wall = perf_counter_ns() - begin
        RECORDER.reset(token)


def rows_of(recorder: Recorder) -> list[tuple[Any, ...]]:
    """What was recorded, a tuple of ``COLUMNS`` for each operation.

    An engine that records nothing gives one row with the duration of the run.
    """
    rows = recorder.rows()
    if not rows:
        return [(1, "run", None, None, None, recorder.wall / 1e9, None, None, None, None)]
    return [
        (
            row.stage,
            _name(row),
            row.tasks,
            row.read / 1e9,
            row.decode / 1e9,
            row.kernel / 1e9,
            row.wait / 1e9,
            row.bytes_read,
            row.bytes_decoded,
            row.cache_hits,
        )
        for row in rows
    ]


def _name(row: Tally) -> str:
    what = row.what
    if isinstance(what, str):
        return what
    if isinstance(what, Part):
        return f"{node_name(what.node)}: {what.name}"
    return _step_name(what) if isinstance(what, Step) else node_name(what)


def _step_name(step: Step) -> str:
    """A step without what differs from task to task, its boxes."""
    if step.op in READS:
        return f"{step.op} {step.args[0].label}"
    return f"{step.op} {step_details(step, boxes=False)}".rstrip() + f" {step.dtype}"
