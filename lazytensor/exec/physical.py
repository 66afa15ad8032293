"""What an engine runs: programs made of steps, as plain data.

A program computes the values of one box of one plan. Its steps are in order, each names its input
slots and writes one slot; the last one is the result. There is no reference to plan nodes in it
and everything in it can be pickled (as far as the sources and user functions can), so the same
programs run in threads here and in processes elsewhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lazytensor.plan.source import Box

__all__ = ["READS", "Program", "Ref", "Step"]

READS = frozenset({"read", "read_placed", "read_strided", "read_windows", "gather"})
"""Steps whose first argument is the source they read."""


class Ref(NamedTuple):
    """A slot, or a part of it (positions within the slot's array)."""

    slot: int
    part: tuple[slice, ...] | None


class Step(NamedTuple):
    """One operation of a program.

    ``op`` names a kernel in ``exec.steps``; ``args`` are its static arguments; ``frees`` are slots
    whose memory nobody needs after this step.
    """

    op: str
    slot: int
    inputs: tuple[Ref, ...]
    args: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    frees: tuple[int, ...]


class Program(NamedTuple):
    """Steps that compute one box; ``nbytes`` bounds the memory alive at any time.

    ``moved``: bytes of work, by which blocks are chosen: those, and what sources decode and leave
    out.

    ``escaped`` are slots that user code has seen and may have kept: their memory is not recycled.
    """

    box: Box
    steps: tuple[Step, ...]
    escaped: frozenset[int]
    nbytes: int
    moved: int
