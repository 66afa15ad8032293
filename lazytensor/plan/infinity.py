"""``lt.inf``: one infinity for two languages.

The Array API standard wants a namespace's ``inf`` to be the floating-point infinity; TensorStore's
index algebra calls an unbounded end of a domain ``inf`` and means an integer. A number that is the
first and converts to the second (``__index__``) serves both, so that neither needs another name.
"""

from __future__ import annotations

from lazytensor.plan.index_interval import INF

__all__ = ["Infinity", "inf"]


class Infinity(float):
    """Floating-point infinity which as an index is the unbounded coordinate, ``2**62 - 1``.

    Equal to both (though hashed as the float). The sign is that of the argument.

    >>> inf == float("inf"), inf == 2**62 - 1, -inf == -(2**62 - 1), inf > 10**30
    (True, True, True, True)
    >>> lt.Dim(-lt.inf, 5).inclusive_min == -lt.inf
    True
    """

    __slots__ = ()

    def __new__(cls, sign: float = 1.0) -> Infinity:
        return super().__new__(cls, "inf" if sign > 0 else "-inf")

    def __index__(self) -> int:
        return INF if self > 0 else -INF

    def __neg__(self) -> Infinity:
        return Infinity(-1.0 if self > 0 else 1.0)

    def __eq__(self, other: object) -> bool:
        return float.__eq__(self, other) is True or (
            type(other) is int and other == self.__index__()
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = float.__hash__

    def __reduce__(self) -> tuple[type[Infinity], tuple[float]]:
        return Infinity, (1.0 if self > 0 else -1.0,)


inf = Infinity()
