"""The node kind that gives every element the parameter of its group.

Groups are runs of elements in C order, which may cross rows, so the parameter of an element is
looked up by a number that grows linearly with its position, divided by the size of a group. No
index transform can say that, and repeating the parameters in a plan of its own would ask for whole
rows where a part of each is wanted. Written down as numbers, one for each dim, it is closed under
every view that is affine: what is sliced out of a tensor looks up what it needs and no more.
"""

from __future__ import annotations

from dataclasses import replace

from lazytensor.errors import ShapeError
from lazytensor.plan.align import describe_shape
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.node import Node
from lazytensor.plan.source import Box
from lazytensor.plan.spec import Axis

__all__ = ["Spread"]


class Spread(Node):
    """``x[i[leads[0]], i[leads[1]], ..., (offset + sum(strides * i)) // group]`` at coordinates i.

    ``x`` has one dim more than there are ``leads``: dims of the result whose coordinates are those
    of its first dims. ``strides`` has an integer for each dim of the result, whose domain is
    ``window``.

    >>> from lazytensor.plan.memory import array_node
    >>> scales = array_node(np.float32([0.5, 2.0]))
    >>> Spread(scales, IndexDomain(shape=(2, 3)), (), (3, 1), 0, 4)
    <Spread (2, 3) float32>
    """

    __slots__ = ("group", "leads", "offset", "strides", "window", "x")
    fields = ("x", "window", "leads", "strides", "offset", "group")
    x: Node
    window: IndexDomain
    leads: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    group: int

    def _prepare(self) -> None:
        rank = self.window.rank
        if len(self.strides) != rank or self.x.ndim != len(self.leads) + 1 or self.group < 1:
            raise ShapeError(
                f"parameters {describe_shape(self.x.domain)} do not belong to groups of "
                f"{self.group} of a tensor {describe_shape(self.window)}"
            )
        if not all(0 <= d < rank for d in self.leads):
            raise ShapeError(f"dims {self.leads} are not all dims of {describe_shape(self.window)}")
        self._set((self.x,), self.window, self.x.dtype)
        if self.size:
            lo, hi = self.x.domain.inclusive_min, self.x.domain.exclusive_max
            own = tuple(zip(self.window.inclusive_min, self.window.exclusive_max, strict=True))
            for (a, b), first, end in zip(self.needed(own), lo, hi, strict=True):
                if a < first or b > end:
                    raise ShapeError(
                        f"{describe_shape(self.x.domain)} parameters are not enough for groups of "
                        f"{self.group} of a tensor {describe_shape(self.window)}"
                    )

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        return Spread(inputs[0], self.window, self.leads, self.strides, self.offset, self.group)

    def place(self, box: Box) -> int:
        """Number of the element in the corner of a box, from which groups are counted."""
        return self.offset + sum([s * lo for s, (lo, _) in zip(self.strides, box, strict=True)])

    def needed(self, box: Box) -> Box:
        """The box of ``x`` that a box of the result, which is not empty, is made of."""
        first = last = self.place(box)
        for stride, (lo, hi) in zip(self.strides, box, strict=True):
            more = stride * (hi - 1 - lo)
            first, last = first + min(0, more), last + max(0, more)
        return (*[box[d] for d in self.leads], (first // self.group, last // self.group + 1))

    def _derive_axes(self) -> tuple[Axis, ...]:
        return tuple([replace(Axis(), name=name) for name in self.domain.labels])

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        return tuple([DimGrid.whole(n) for n in self.shape])
