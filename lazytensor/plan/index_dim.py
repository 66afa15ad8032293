"""One dimension of an index space: `Dim`, an interval of coordinates with a label.

`Dim` is the face of a dimension for people (constructors, hull, printing); the algebra itself works
on the tuples of an `IndexDomain` and never builds one. Semantics, defaults and printed form are
those of ``tensorstore.Dim``, except that ours is immutable and therefore hashable.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, NoReturn, SupportsIndex, cast

from lazytensor.errors import DimensionError, ShapeError
from lazytensor.plan.index_interval import INF, UNBOUNDED, check_interval, format_interval

__all__ = ["Dim"]

_UNSET: Any = object()


class Dim:
    """A half-open interval of coordinates ``[inclusive_min, exclusive_max)`` with a label.

    Either bound may be infinite, and *implicit*: shown with ``*``, not enforced by indexing.

    Accepted forms: ``Dim()`` and ``Dim("x")`` (unbounded), ``Dim(size)``, ``Dim(size, "x")``,
    ``Dim(inclusive_min, exclusive_max)``, and keywords ``inclusive_min`` with one of ``size``,
    ``exclusive_max``, ``inclusive_max``. A bound that is not given is infinite and implicit.

    Raises
    ------
    ShapeError
        If the bounds do not form a valid interval.
    TypeError
        If arguments exclude each other or are no integers.

    Examples
    --------
    >>> Dim(5), Dim(3, 7, label="x")
    (Dim(inclusive_min=0, exclusive_max=5), Dim(inclusive_min=3, exclusive_max=7, label="x"))
    >>> print(Dim(5, implicit_upper=True), Dim("x"))
    [0, 5*) "x": (-inf*, +inf*)
    """

    __slots__ = ("exclusive_max", "implicit_lower", "implicit_upper", "inclusive_min", "label")

    inclusive_min: int
    exclusive_max: int
    implicit_lower: bool
    implicit_upper: bool
    label: str

    def __init__(
        self,
        *args: Any,
        label: str | None = None,
        size: SupportsIndex | None = _UNSET,
        inclusive_min: SupportsIndex | None = None,
        exclusive_max: SupportsIndex | None = None,
        inclusive_max: SupportsIndex | None = None,
        implicit_lower: bool | None = None,
        implicit_upper: bool | None = None,
    ) -> None:
        given = _named(args)
        keywords = {
            "label": label,
            "inclusive_min": inclusive_min,
            "exclusive_max": exclusive_max,
            "inclusive_max": inclusive_max,
        }
        if size is not _UNSET:
            keywords["size"] = size
        for name, value in keywords.items():
            if value is not None and given.setdefault(name, value) is not value:
                raise TypeError(f"Dim() got two values for {name!r}")
        sized = size is not _UNSET or "size" in given
        lo, hi, has_upper = _bounds(given, sized)
        has_lower = sized or given.get("inclusive_min") is not None
        text = given.get("label") or ""
        if not isinstance(text, str):
            raise TypeError(f"a dimension label must be a string, got {text!r}")
        lower = not has_lower if implicit_lower is None else bool(implicit_lower)
        upper = not has_upper if implicit_upper is None else bool(implicit_upper)
        self._fill(lo, hi, text, lower, upper)

    def _fill(self, lo: int, hi: int, label: str, lower: bool, upper: bool) -> None:
        values = (lo, hi, label, lower, upper)
        names = ("inclusive_min", "exclusive_max", "label", "implicit_lower", "implicit_upper")
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def _make(
        cls, lo: int, hi: int, label: str = "", lower: bool = False, upper: bool = False
    ) -> Dim:
        """Build from checked values, without the checks of the constructor."""
        self = object.__new__(cls)
        self._fill(lo, hi, label, lower, upper)
        return self

    @property
    def size(self) -> int:
        """Number of coordinates; ``2**63 - 1`` and the like where unbounded."""
        return self.exclusive_max - self.inclusive_min

    @property
    def inclusive_max(self) -> int:
        """Last coordinate, ``inf`` where unbounded."""
        return self.exclusive_max - 1

    @property
    def exclusive_min(self) -> int:
        """The coordinate before the first."""
        return self.inclusive_min - 1

    @property
    def empty(self) -> bool:
        """Whether there is no coordinate."""
        return self.exclusive_max == self.inclusive_min

    @property
    def finite(self) -> bool:
        """Whether both bounds are finite."""
        return self.inclusive_min != -INF and self.exclusive_max != UNBOUNDED

    def hull(self, other: Dim) -> Dim:
        """Smallest interval that holds both; the implicit flag of the bound that wins stays.

        Raises `DimensionError` if both have a label and they differ.

        >>> Dim(1, 5, label="x").hull(Dim(3))
        Dim(inclusive_min=0, exclusive_max=5, label="x")
        """
        label = self._merged_label(other)
        if self.empty or other.empty:
            kept = other if self.empty else self
            return Dim._make(
                kept.inclusive_min,
                kept.exclusive_max,
                label,
                kept.implicit_lower,
                kept.implicit_upper,
            )
        lo, lower = _choose(min, self._lower(), other._lower())
        hi, upper = _choose(max, self._upper(), other._upper())
        return Dim._make(lo, hi, label, lower, upper)

    def intersect(self, other: Dim) -> Dim:
        """Common part; empty at the larger lower bound if there is none.

        Raises `DimensionError` if both have a label and they differ.

        >>> Dim(3, 7, implicit_upper=True).intersect(Dim(0, 5)), Dim(3, 7).intersect(Dim(9, 10))
        (Dim(inclusive_min=3, exclusive_max=5), Dim(inclusive_min=9, exclusive_max=9))
        """
        label = self._merged_label(other)
        lo, lower = _choose(max, self._lower(), other._lower())
        hi, upper = _choose(min, self._upper(), other._upper())
        return Dim._make(lo, max(lo, hi), label, lower, upper)

    def _lower(self) -> tuple[int, bool]:
        return self.inclusive_min, self.implicit_lower

    def _upper(self) -> tuple[int, bool]:
        return self.exclusive_max, self.implicit_upper

    def _merged_label(self, other: Dim) -> str:
        if self.label and other.label and self.label != other.label:
            raise DimensionError(
                f"dimension labels {self.label!r} and {other.label!r} do not match"
            )
        return self.label or other.label

    def __contains__(self, other: object) -> bool:
        if isinstance(other, Dim):
            inside = other.inclusive_min >= self.inclusive_min
            return other.empty or (inside and other.exclusive_max <= self.exclusive_max)
        try:
            index = operator.index(cast(SupportsIndex, other))
        except TypeError:
            raise TypeError(f"an interval contains integers and intervals, got {other!r}") from None
        return -INF < index < INF and self.inclusive_min <= index < self.exclusive_max

    def __iter__(self) -> Iterator[int]:
        if not self.finite:
            raise ShapeError(f"cannot iterate over the infinite interval {self}")
        return iter(range(self.inclusive_min, self.exclusive_max))

    def __len__(self) -> int:
        return self.size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Dim):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[int, int, str, bool, bool]:
        return (
            self.inclusive_min,
            self.exclusive_max,
            self.label,
            self.implicit_lower,
            self.implicit_upper,
        )

    def __str__(self) -> str:
        shown = format_interval(
            self.inclusive_min, self.exclusive_max, self.implicit_lower, self.implicit_upper
        )
        return f'"{self.label}": {shown}' if self.label else shown

    def __repr__(self) -> str:
        parts = []
        if self.inclusive_min != -INF:
            parts.append(f"inclusive_min={self.inclusive_min}")
        if self.implicit_lower != (self.inclusive_min == -INF):
            parts.append(f"implicit_lower={self.implicit_lower}")
        if self.exclusive_max != UNBOUNDED:
            parts.append(f"exclusive_max={self.exclusive_max}")
        if self.implicit_upper != (self.exclusive_max == UNBOUNDED):
            parts.append(f"implicit_upper={self.implicit_upper}")
        if self.label:
            parts.append(f'label="{self.label}"')
        return f"Dim({', '.join(parts)})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Dim is immutable; make a new one to change {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Dim is immutable; {name!r} cannot be deleted")

    def __copy__(self) -> Dim:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Dim:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        lo, hi, label, lower, upper = self._values()
        return Dim._make, (lo, hi, label, lower, upper)


def _named(args: tuple[Any, ...]) -> dict[str, Any]:
    """Names of the positional arguments, which depend on how many there are and of what type."""
    match args:
        case () | (None,):
            return {}
        case (str(label),):
            return {"label": label}
        case (size,):
            return {"size": size}
        case (size, str() | None as label):
            return {"size": size, "label": label}
        case (inclusive_min, exclusive_max):
            return {"inclusive_min": inclusive_min, "exclusive_max": exclusive_max}
    raise TypeError(f"Dim() takes at most two positional arguments, got {len(args)}")


def _bounds(given: dict[str, Any], sized: bool) -> tuple[int, int, bool]:
    """Checked ``(lo, hi)``, and whether an upper bound was given."""
    uppers = [k for k in ("size", "exclusive_max", "inclusive_max") if given.get(k) is not None]
    if len(uppers) > 1 or (sized and uppers not in ([], ["size"])):
        raise TypeError("Dim() takes at most one of size, exclusive_max and inclusive_max")
    lower = given.get("inclusive_min")
    lo = (0 if sized else -INF) if lower is None else operator.index(lower)
    if not uppers:
        check_interval(lo, UNBOUNDED)
        return lo, UNBOUNDED, False
    number = operator.index(given[uppers[0]])
    hi = {"size": lo + number, "inclusive_max": number + 1}.get(uppers[0], number)
    check_interval(lo, hi, {"size": "sized", "inclusive_max": "closed"}.get(uppers[0], "half-open"))
    return lo, hi, True


def _choose(better: Any, a: tuple[int, bool], b: tuple[int, bool]) -> tuple[int, bool]:
    """The winning bound of two; where they are equal it is implicit only if both are."""
    if a[0] == b[0]:
        return a[0], a[1] and b[1]
    return a if better(a[0], b[0]) == a[0] else b
