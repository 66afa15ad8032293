"""Nodes that an engine makes for itself, and what a pass over an input asks of them.

A result such as a quantile takes several looks at the data. The steps of it are nodes that no user
sees: ``Streamed`` ones are computed by a pass, block by block, ``Computed`` ones at once between
two passes. To a pass everything that it computes is a ``Member``.

By itself, since what cuts plans into steps has to know these kinds and nothing of passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Reduce
from lazytensor.plan.source import Box
from lazytensor.plan.spec import Axis

__all__ = [
    "Computed", "Made", "Member", "RepeatedMember", "Streamed", "kept_slices", "table_domain",
]  # fmt: skip


class Member(Protocol):
    """One node of a pass. States are whatever ``partial`` makes; ``a`` is merged before ``b``.

    ``work_itemsize``: bytes of temporaries for each element of a block, at most.
    """

    work_itemsize: int

    def state_nbytes(self, kept: int) -> int:
        """Bytes of a state of ``kept`` positions of the result."""
        ...

    def partial(self, block: np.ndarray, box: Box) -> Any:
        """The state of one block, which lies at ``box`` of the input."""
        ...

    def merge(self, a: Any, b: Any) -> Any:
        """The state of both."""
        ...

    def write(self, state: Any, box: Box) -> None:
        """Write the results of the positions that ``box`` keeps."""
        ...

    def write_empty(self) -> None:
        """Write the results of an input without elements."""
        ...


class RepeatedMember(Member, Protocol):
    """A member that need not see elements which are known to be equal.

    A pass asks whether the methods are there; only if all its members have them are regions that
    are known to be constant left out.
    """

    def repeated(self, value: np.ndarray, count: int, box: Box) -> Any:
        """The state of ``count`` elements ``value`` (0-d) for each position that ``box`` keeps.

        The first of them, in C order, lies at the lowest corner of the box.
        """
        ...

    def is_decided(self, value: np.ndarray) -> bool:
        """Whether the result is known as soon as one element is ``value``."""
        ...


class Streamed(Node):
    """A node, other than a reduction, that is computed by a pass over its input ``x``.

    What else it needs (``inputs[1:]``) is computed by earlier stages. Such nodes stand for the
    steps of an algorithm; the engine makes them (``exec.sketch``), never a user.
    """

    __slots__ = ()
    x: Node
    axes_: tuple[int, ...]

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        """The same step on other inputs."""
        return _with_inputs(self, inputs)

    def member(self, out: np.ndarray | None, stored: Mapping[Node, np.ndarray]) -> Member:
        """Its part in a pass that fills ``out``; None where only costs are asked for."""
        raise TypeError(f"{type(self).__name__} is computed by no pass")


class Computed(Node):
    """A small node computed at once from all of its inputs, between two passes.

    As ``Streamed`` it is made by the engine. Its inputs were computed by earlier stages, or are
    small themselves.
    """

    __slots__ = ()

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        """The same step on other inputs."""
        return _with_inputs(self, inputs)

    def compute(self, *inputs: np.ndarray) -> np.ndarray:
        """The values, of the node's shape and dtype."""
        raise TypeError(f"{type(self).__name__} computes nothing")


def _with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """Fields that are nodes, or tuples of nodes, are the inputs in their order."""
    rest = iter(inputs)
    fields: list[Any] = []
    for name in node.fields:
        value = getattr(node, name)
        if isinstance(value, Node):
            fields.append(next(rest))
        elif isinstance(value, tuple) and value and isinstance(value[0], Node):
            fields.append(tuple([next(rest) for _ in value]))
        else:
            fields.append(value)
    return type(node)(*fields)


def kept_slices(node: Reduce | Streamed, box: Box) -> list[slice]:
    """Positions, along the dims of the input that are not reduced, of a box of the input."""
    origin = node.x.domain.inclusive_min
    return [
        slice(lo - origin[d], hi - origin[d])
        for d, (lo, hi) in enumerate(box)
        if d not in node.axes_
    ]


def table_domain(kept: tuple[int, ...], *own: int) -> IndexDomain:
    """Of a table for each kept position, counted from 0."""
    shape = (*kept, *own)
    return IndexDomain._make((0,) * len(shape), shape)


class Made:
    """Axes and grid of nodes that no user sees: axes say nothing, and there is one cell."""

    __slots__ = ()
    shape: tuple[int, ...]

    def _derive_axes(self) -> tuple[Axis, ...]:
        return (Axis(),) * len(self.shape)

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return tuple(DimGrid.regular(n, max(1, n)) for n in self.shape)
