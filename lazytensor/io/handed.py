"""Where the values of a read go: into an array, or to a consumer.

A driver that decodes chunks says where each of them lies in what was asked for. If that is an
array, the values are put there; if it is a consumer (``plan.source.Consumer``), they are handed
over, and no array of them exists. Compiled code knows both (``codec.compiled``); what is decoded
the plain way goes through a small array of its own, made here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lazytensor.plan.source import Consumer, window

__all__ = ["Handed", "Place", "divides", "fill", "part_of", "put"]


class Handed:
    """A part of the box whose values a consumer takes.

    ``position``: of its first element in that box, from zero.
    """

    __slots__ = ("consumer", "dtype", "position", "shape")

    def __init__(
        self,
        consumer: Consumer,
        dtype: np.dtype,
        position: Sequence[int],
        shape: Sequence[int],
    ) -> None:
        self.consumer = consumer
        self.dtype = dtype
        self.position = tuple(position)
        self.shape = tuple(shape)

    def part(self, spot: Sequence[slice]) -> Handed:
        """A part of the part."""
        starts = [at + s.start for at, s in zip(self.position, spot, strict=True)]
        return Handed(self.consumer, self.dtype, starts, [s.stop - s.start for s in spot])


Place = np.ndarray | Handed


def part_of(place: Place, spot: Sequence[slice]) -> Place:
    """A part of a place."""
    return place.part(spot) if isinstance(place, Handed) else window(place, spot)


def put(place: Place, read: Callable[[np.ndarray], None]) -> None:
    """Let ``read`` fill a place.

    >>> out = np.zeros(2)
    >>> put(out, lambda values: values.fill(7))
    >>> out
    array([7., 7.])
    """
    if not isinstance(place, Handed):
        read(place)
        return
    values = np.empty(place.shape, place.dtype)
    read(values)
    place.consumer.take(values, place.position)


def fill(place: Place, value: np.ndarray) -> None:
    """Fill a place with one value; a consumer sees that it is one."""
    if isinstance(place, Handed):
        place.consumer.take(np.broadcast_to(value, place.shape), place.position)
    else:
        place[...] = value


def divides(pieces: Sequence[Sequence[tuple[int, slice, slice]]], factors: Sequence[int]) -> bool:
    """Whether all results of so many elements each lie in one piece (``Consumer.factors``).

    >>> halves = [(0, slice(2, 4), slice(0, 2)), (1, slice(0, 3), slice(2, 5))]
    >>> divides([halves], (2,)), divides([halves], (3,))
    (True, False)
    """
    for dim, factor in zip(pieces, factors, strict=True):
        if factor != 1 and any(spot.start % factor for _, _, spot in dim):
            return False
    return True
