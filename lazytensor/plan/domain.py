"""Index domains: boxes of integer coordinates with labels.

An `IndexDomain` is what a tensor's indices mean: per dimension an interval of coordinates and a
label. Everything above (transforms, plan nodes, sources) carries one, and each indexing step makes
a new one, so it is a slotted object of plain tuples; `Dim` objects are made only for people who ask
for them. Semantics are those of ``tensorstore.IndexDomain``; ours is hashable, has up to 64
dimensions, and its ``size`` is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import sub
from typing import Any, NoReturn, SupportsIndex

from lazytensor.errors import DimensionError, ShapeError
from lazytensor.plan.index_bounds import (
    bounds_from_components,
    mark_implicit,
    move_by,
    move_to,
    relabel,
    slice_by,
)
from lazytensor.plan.index_dim import Dim
from lazytensor.plan.index_dims import (
    Subscript,
    check_labels,
    find_dim,
    flatten_selection,
    numbers_per_dim,
    resolve_dims,
)
from lazytensor.plan.index_interval import INF, MAX_RANK, UNBOUNDED, format_interval
from lazytensor.plan.index_json import BoundsData, bounds_from_json, bounds_to_json

__all__ = ["Dim", "IndexDomain", "inf", "newaxis"]

inf = INF
"""The magnitude of an infinite bound, ``2**62 - 1``."""

newaxis = None
"""Alias of None in index expressions: a new dimension with implicit bounds ``[0*, 1*)``."""

_NO_FLAGS = tuple((False,) * rank for rank in range(MAX_RANK + 1))
_NO_LABELS = tuple(("",) * rank for rank in range(MAX_RANK + 1))
_new = object.__new__


class _Fields:
    """The fields of an `IndexDomain` while they are filled in.

    Writing six slots through a ``__setattr__`` that refuses would cost more than a whole indexing
    step, so they are written here and the finished object changes its class.
    """

    __slots__ = (
        "exclusive_max",
        "explicit",
        "implicit_lower_bounds",
        "implicit_upper_bounds",
        "inclusive_min",
        "labels",
        "rank",
        "shape",
    )
    inclusive_min: tuple[int, ...]
    exclusive_max: tuple[int, ...]
    labels: tuple[str, ...]
    implicit_lower_bounds: tuple[bool, ...]
    implicit_upper_bounds: tuple[bool, ...]
    explicit: bool
    rank: int
    shape: tuple[int, ...]


class IndexDomain(_Fields):
    """Bounds and labels of an index space; immutable, hashable.

    Accepted forms: ``IndexDomain(rank)``; keywords ``inclusive_min``, one of ``exclusive_max``,
    ``inclusive_max`` and ``shape``, ``implicit_lower_bounds``, ``implicit_upper_bounds``,
    ``labels`` (one entry per dimension each); a sequence of `Dim`; ``json=``.

    Attributes
    ----------
    inclusive_min, exclusive_max, shape : tuple of int
        First coordinate, end, and extent per dimension. Unbounded ends are ``-inf``, ``inf + 1``.
    labels : tuple of str
        Unique names, ``""`` where unnamed.
    implicit_lower_bounds, implicit_upper_bounds : tuple of bool
        Bounds that indexing does not enforce.
    rank : int
        Number of dimensions, at most 64.
    explicit : bool
        Whether no bound is implicit.

    Raises
    ------
    ShapeError
        If vectors disagree on the rank or bounds form no interval.
    DimensionError
        If a label is used twice.

    Examples
    --------
    >>> IndexDomain(shape=[2, 3], labels=["y", "x"])
    { "y": [0, 2), "x": [0, 3) }
    >>> IndexDomain([Dim(5), Dim(3, 7, label="x")])["x"]
    Dim(inclusive_min=3, exclusive_max=7, label="x")
    """

    __slots__ = ()

    def __new__(
        cls,
        rank: SupportsIndex | Iterable[Dim] | None = None,
        *,
        dimensions: Iterable[Dim] | None = None,
        inclusive_min: Iterable[SupportsIndex] | None = None,
        implicit_lower_bounds: Iterable[bool] | None = None,
        exclusive_max: Iterable[SupportsIndex] | None = None,
        inclusive_max: Iterable[SupportsIndex] | None = None,
        shape: Iterable[SupportsIndex] | None = None,
        implicit_upper_bounds: Iterable[bool] | None = None,
        labels: Iterable[str | None] | None = None,
        json: Any = None,
    ) -> IndexDomain:
        vectors = (
            inclusive_min,
            implicit_lower_bounds,
            exclusive_max,
            inclusive_max,
            shape,
            implicit_upper_bounds,
            labels,
        )
        if rank is not None and not isinstance(rank, SupportsIndex):
            if dimensions is not None:
                raise TypeError("IndexDomain() got the dimensions twice")
            rank, dimensions = None, rank
        others = [v for v in (rank, *vectors) if v is not None]
        if dimensions is not None:
            _check_alone("dimensions", [*others, *([] if json is None else [json])])
            return _from_dims(dimensions)
        if json is not None:
            _check_alone("json", others)
            return _make(*bounds_from_json(json))
        return _make(*bounds_from_components(rank, *vectors))

    @staticmethod
    def _make(
        lo: tuple[int, ...],
        hi: tuple[int, ...],
        labels: tuple[str, ...] | None = None,
        implicit_lower: tuple[bool, ...] | None = None,
        implicit_upper: tuple[bool, ...] | None = None,
    ) -> IndexDomain:
        """Build from valid tuples of plain ints, without a check; None means all "" or False."""
        self = _new(_Fields)
        rank = len(lo)
        self.inclusive_min = lo
        self.exclusive_max = hi
        self.rank = rank
        self.shape = tuple(map(sub, hi, lo))
        self.labels = _NO_LABELS[rank] if labels is None else labels
        if implicit_lower is None and implicit_upper is None:
            self.implicit_lower_bounds = self.implicit_upper_bounds = _NO_FLAGS[rank]
            self.explicit = True
        else:
            lower = _NO_FLAGS[rank] if implicit_lower is None else implicit_lower
            upper = _NO_FLAGS[rank] if implicit_upper is None else implicit_upper
            self.implicit_lower_bounds = lower
            self.implicit_upper_bounds = upper
            self.explicit = True not in lower and True not in upper
        self.__class__ = IndexDomain
        return self  # type: ignore[return-value]

    @property
    def origin(self) -> tuple[int, ...]:
        """First coordinate per dimension, the same as ``inclusive_min``."""
        return self.inclusive_min

    @property
    def ndim(self) -> int:
        """Number of dimensions, the same as ``rank``."""
        return self.rank

    @property
    def inclusive_max(self) -> tuple[int, ...]:
        """Last coordinate per dimension, ``inf`` where unbounded."""
        return tuple(hi - 1 for hi in self.exclusive_max)

    @property
    def size(self) -> int:
        """Number of elements, exact; ``2**63 - 1`` if unbounded and not empty.

        >>> IndexDomain(shape=[2**40, 2**40]).size == 2**80
        True
        """
        if 0 not in self.shape and not self.finite:
            return 2**63 - 1
        total = 1
        for extent in self.shape:
            total *= extent
        return total

    @property
    def finite(self) -> bool:
        """Whether no bound is infinite."""
        return -INF not in self.inclusive_min and UNBOUNDED not in self.exclusive_max

    @property
    def index_exp(self) -> tuple[slice, ...]:
        """Slices that select this box from a NumPy array whose first element is coordinate 0.

        Raises `ShapeError` if a finite bound is negative: NumPy would count from the end.

        >>> IndexDomain(inclusive_min=[1, 2], shape=[3, 4]).index_exp
        (slice(1, 4, None), slice(2, 6, None))
        """
        out = []
        for lo, hi in zip(self.inclusive_min, self.exclusive_max, strict=True):
            if -INF < lo < 0 or hi < 0:
                raise ShapeError(
                    f"domain {self!r} with negative bounds has no NumPy index expression; "
                    f"translate it to a non-negative origin first"
                )
            out.append(slice(None if lo == -INF else lo, None if hi == UNBOUNDED else hi))
        return tuple(out)

    def hull(self, other: IndexDomain) -> IndexDomain:
        """Smallest domain that holds both; ``""`` yields to a label.

        Raises `ShapeError` if ranks differ, `DimensionError` if labels conflict.

        >>> IndexDomain(inclusive_min=[1], exclusive_max=[4]).hull(IndexDomain(shape=[2]))
        { [0, 4) }
        """
        return self._combined(other, "hull", Dim.hull)

    def intersect(self, other: IndexDomain) -> IndexDomain:
        """Common part of both; ``""`` yields to a label.

        Raises `ShapeError` if ranks differ, `DimensionError` if labels conflict.

        >>> IndexDomain([Dim(1, 4, label="x")]).intersect(IndexDomain(shape=[2]))
        { "x": [1, 2) }
        """
        return self._combined(other, "intersect", Dim.intersect)

    def _combined(self, other: IndexDomain, verb: str, combine: Any) -> IndexDomain:
        if self.rank != other.rank:
            raise ShapeError(
                f"cannot {verb} {self!r} with {other!r}: ranks {self.rank} and {other.rank} differ"
            )
        try:
            return _from_dims(combine(a, b) for a, b in zip(self, other, strict=True))
        except DimensionError as error:
            raise DimensionError(f"cannot {verb} {self!r} with {other!r}: {error}") from error

    @property
    def T(self) -> IndexDomain:
        """The domain with its dimensions in reverse order."""
        return self._permuted(tuple(range(self.rank - 1, -1, -1)))

    def transpose(self, axes: Any = None) -> IndexDomain:
        """The domain with dimension ``i`` taken from ``axes[i]`` (numbers or labels).

        Raises `DimensionError` if ``axes`` is no permutation.

        >>> IndexDomain(shape=[2, 3], labels=["y", "x"]).transpose(["x", 0])
        { "x": [0, 3), "y": [0, 2) }
        """
        return self._permuted(self._permutation(axes))

    def _permutation(self, axes: Any) -> tuple[int, ...]:
        if axes is None:
            return tuple(range(self.rank - 1, -1, -1))
        perm = resolve_dims(flatten_selection(axes), self.labels)
        if len(perm) != self.rank:
            raise DimensionError(
                f"{list(perm)} is no permutation of the {self.rank} dimensions of {self!r}"
            )
        return perm

    def _permuted(self, perm: Sequence[int]) -> IndexDomain:
        """The dimensions ``perm`` (a subset or a permutation), in that order."""
        lo, hi, labels = self.inclusive_min, self.exclusive_max, self.labels
        parts = tuple(lo[d] for d in perm), tuple(hi[d] for d in perm)
        names = tuple(labels[d] for d in perm)
        if self.explicit:
            return _make(*parts, names)
        lower, upper = self.implicit_lower_bounds, self.implicit_upper_bounds
        return _make(*parts, names, tuple(lower[d] for d in perm), tuple(upper[d] for d in perm))

    @property
    def translate_to(self) -> Subscript[IndexDomain]:
        """``domain.translate_to[origin]``: move every dimension to a new first coordinate.

        One integer for all dimensions or one per dimension, None leaves a dimension alone. Raises
        `OutOfBoundsError` where a dimension has no finite lower bound.

        >>> IndexDomain(shape=[2, 3]).translate_to[5, None]
        { [5, 7), [0, 3) }
        """
        return self._subscript("translate_to", move_to, "origins")

    @property
    def translate_by(self) -> Subscript[IndexDomain]:
        """``domain.translate_by[offset]``: add an offset to the coordinates of each dimension.

        >>> IndexDomain(shape=[2, 3]).translate_by[5]
        { [5, 7), [5, 8) }
        """
        return self._subscript("translate_by", move_by, "offsets", 1)

    @property
    def translate_backward_by(self) -> Subscript[IndexDomain]:
        """``domain.translate_backward_by[offset]``: subtract an offset from the coordinates.

        >>> IndexDomain(shape=[2, 3]).translate_backward_by[5, 1]
        { [-5, -3), [-1, 2) }
        """
        return self._subscript("translate_backward_by", move_by, "offsets", -1)

    @property
    def label(self) -> Subscript[IndexDomain]:
        """``domain.label["y", "x"]``: give the dimensions new labels.

        >>> IndexDomain(shape=[2, 3]).label["y", "x"]
        { "y": [0, 2), "x": [0, 3) }
        """
        return self._subscript("label", relabel)

    @property
    def mark_bounds_implicit(self) -> Subscript[IndexDomain]:
        """``domain.mark_bounds_implicit[lower:upper]``: make bounds implicit or explicit.

        >>> IndexDomain(shape=[2]).mark_bounds_implicit[:True]
        { [0, 2*) }
        """
        return self._subscript("mark_bounds_implicit", mark_implicit)

    def _subscript(
        self, name: str, change: Callable[..., BoundsData], numbers: str = "", *extra: int
    ) -> Subscript[IndexDomain]:
        """``self.name[value]``: ``change`` applied to all dimensions; ``numbers`` says of what."""

        def call(value: Any) -> IndexDomain:
            given = numbers_per_dim(value, self.rank, numbers) if numbers else value
            return _make(*change(self._values(), range(self.rank), given, *extra))

        return Subscript(call, f"{self!r}.{name}")

    def _sliced_by(self, window: IndexDomain) -> IndexDomain:
        """This domain narrowed to another one, dimensions matched by label."""
        return _make(*slice_by(self._values(), window._values()))

    def __getitem__(self, key: Any) -> Any:
        """Look up dimensions, slice by a domain, or transform the domain.

        An integer or label gives a `Dim`; a dimension selection (slice, sequence, ``d[...]``) the
        domain of these dimensions; an `IndexDomain` slices; a `DimExpression` or `IndexTransform`
        gives the domain after that operation.

        Raises `DimensionError` for an unknown or repeated dimension, `OutOfBoundsError` where the
        operation leaves the bounds.

        >>> domain = IndexDomain(shape=[2, 3, 4], labels=["z", "y", "x"])
        >>> domain["y"], domain[::-2], domain[IndexDomain([Dim(1, 2, label="x")])]
        (Dim(inclusive_min=0, exclusive_max=3, label="y"), { "x": [0, 4), "z": [0, 2) },
        { "z": [0, 2), "y": [0, 3), "x": [1, 2) })
        """
        if isinstance(key, (int, str)):
            return self._dim(find_dim(key, self.labels))
        if isinstance(key, IndexDomain):
            return self._sliced_by(key)
        transformed = getattr(key, "_transform_domain", None)
        if transformed is not None:
            return transformed(self)
        if hasattr(key, "__index__") and not isinstance(key, (list, tuple)):
            return self._dim(find_dim(key.__index__(), self.labels))
        return self._permuted(resolve_dims(flatten_selection(key), self.labels))

    def _dim(self, d: int) -> Dim:
        return Dim._make(
            self.inclusive_min[d],
            self.exclusive_max[d],
            self.labels[d],
            self.implicit_lower_bounds[d],
            self.implicit_upper_bounds[d],
        )

    def __len__(self) -> int:
        return self.rank

    def __iter__(self) -> Iterator[Dim]:
        return (self._dim(d) for d in range(self.rank))

    def __contains__(self, dim: object) -> bool:
        return isinstance(dim, Dim) and any(dim == own for own in self)

    def to_json(self) -> dict[str, Any]:
        """The JSON form (TensorStore's ``IndexDomain`` schema); ``IndexDomain(json=...)`` reads it.

        >>> IndexDomain(shape=[2], labels=["x"]).to_json()
        {'exclusive_max': [2], 'inclusive_min': [0], 'labels': ['x']}
        """
        return bounds_to_json(self._values())

    def _values(self) -> BoundsData:
        return (
            self.inclusive_min,
            self.exclusive_max,
            self.labels,
            self.implicit_lower_bounds,
            self.implicit_upper_bounds,
        )

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, IndexDomain):
            return NotImplemented
        # The optimizer compares domains by the dozen: most differ in their bounds, if at all.
        return (
            self.exclusive_max == other.exclusive_max
            and self.inclusive_min == other.inclusive_min
            and self.labels == other.labels
            and self.implicit_lower_bounds == other.implicit_lower_bounds
            and self.implicit_upper_bounds == other.implicit_upper_bounds
        )

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"{{ {', '.join(str(dim) for dim in self)} }}"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"IndexDomain is immutable; make a new one to change {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"IndexDomain is immutable; {name!r} cannot be deleted")

    def __copy__(self) -> IndexDomain:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> IndexDomain:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return IndexDomain._make, self._values()


_make = IndexDomain._make


def format_bounds(domain: IndexDomain, d: int) -> str:
    """One dimension's interval, for messages.

    >>> format_bounds(IndexDomain(shape=[2]), 0)
    '[0, 2)'
    """
    return format_interval(
        domain.inclusive_min[d],
        domain.exclusive_max[d],
        domain.implicit_lower_bounds[d],
        domain.implicit_upper_bounds[d],
    )


def _check_alone(name: str, others: list[Any]) -> None:
    if others:
        raise TypeError(f"IndexDomain({name}=...) takes no other argument")


def _from_dims(dims: Iterable[Dim]) -> IndexDomain:
    given = tuple(dims)
    for dim in given:
        if not isinstance(dim, Dim):
            raise TypeError(f"IndexDomain takes a rank or a sequence of Dim, got {dim!r}")
    if len(given) > MAX_RANK:
        raise ShapeError(f"rank {len(given)} is outside [0, {MAX_RANK}]")
    return _make(
        tuple(dim.inclusive_min for dim in given),
        tuple(dim.exclusive_max for dim in given),
        check_labels([dim.label for dim in given]),
        tuple(dim.implicit_lower for dim in given),
        tuple(dim.implicit_upper for dim in given),
    )
