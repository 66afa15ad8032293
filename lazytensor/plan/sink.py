"""What an engine needs to know of the things it writes: the ``Sink`` and ``Target`` protocols.

A sink knows nothing of plans, engines or laziness, as a source does not. It says in which units
each of its targets can be written (``cells``), and takes them from any thread, each once, whole and
in any order. Nothing of it can be seen before ``finish``, so that a run that fails, or a process
that is killed, leaves no half result and what was there before is intact.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from lazytensor.plan.source import Box

__all__ = ["Runs", "Sink", "Target", "ThriftyTarget"]

Runs = Literal["any", "rather", "only"]
"""Whether boxes have to be runs of elements in C order: they need not, they rather are (each of
their rows costs a write otherwise), or they must be."""


class Target(Protocol):
    """Where the values of one tensor go.

    ``label``: one short phrase for errors. ``cells``: extents of a unit of writing along each dim,
    None along dims that may be cut anywhere; the last unit along a dim is cut off by the tensor.
    ``runs``: see ``Runs``; for targets without cells.
    """

    label: str
    cells: tuple[int | None, ...]
    runs: Runs

    def held(self, nbytes: int) -> int:
        """Bytes that a thread holds beside the values while it writes ``nbytes`` of them."""
        ...

    def write(self, box: Box, values: np.ndarray) -> None:
        """Take the values of one unit: a cell, or any box where there are no cells.

        ``box``: positions from zero. ``values``: of its extents and the tensor's dtype, maybe
        strided, read-only, or memory that is used again afterwards. Writing a unit again, also at
        the same time in another thread, does no harm. Raises a ``SinkError`` that names the unit;
        ``ValueError`` for values that it does not hold.
        """
        ...


class ThriftyTarget(Target, Protocol):
    """A target some of whose units need not be written; all of this is optional.

    ``waits``: writing mostly waits for a network. ``complete``: everything is there already, and
    nothing is to be written. ``seems_written``, ``has``: of a box of whole units. All but the first
    are asked once the sink has begun.
    """

    waits: bool
    complete: bool

    def passes_over(self, value: np.ndarray) -> bool:
        """Whether units that are all ``value`` (0-d) need not be written."""
        ...

    def seems_written(self, box: Box) -> bool:
        """Whether all units are there, as far as a glance tells."""
        ...

    def has(self, box: Box) -> bool:
        """Whether all units are there and can be read; those that cannot will be written."""
        ...


class Sink(Protocol):
    """Something that results are written to, all or nothing.

    ``label``: one short phrase, such as ``"tenso out.tenso"``. ``places``: the absolute paths or
    URLs that it makes or replaces. ``targets``: one for each tensor that belongs to it; an array
    for those that it wants in memory, which are filled before others are begun.
    """

    label: str
    places: tuple[str, ...]
    targets: tuple[Target | np.ndarray, ...]

    def begin(self) -> None:
        """Reserve the place. Raises a ``SinkError`` (``SinkExistsError``) where that cannot be."""
        ...

    def finish(self) -> None:
        """Let everybody see the result: what does so is written last, and at once."""
        ...

    def abort(self) -> None:
        """Leave no trace, whatever was begun. After ``finish`` and when called again, nothing."""
        ...
