"""Index transforms: a whole chain of indexing, flips, transposes and broadcasts as one value.

An `IndexTransform` says for every point of its domain which coordinates of another space it stands
for: one `OutputIndexMap` per dimension of that space. It is closed under composition, so any chain
of views is one transform, and what a chunk of the result needs of a source is arithmetic on it.

The class is a thin face: bounds are worked out in `index_propagate`, keys in `index_key`,
dimension expressions in `dimexpr`, and `compose.substitute` turns the maps of any of these steps
into the maps of the result. The surface is that of ``tensorstore.IndexTransform``. Differences:
ours is hashable, has up to 64 dimensions, prints without a final line break, refuses indices that
TensorStore silently drops (an index array for a dimension that no map depends on), and reads
``stride[None]`` as documented (unchanged).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, SupportsIndex

from lazytensor.errors import OutOfBoundsError, SerializationError, ShapeError
from lazytensor.plan.compose import compose, cut_maps, substitute
from lazytensor.plan.dimexpr import DimExpression, d
from lazytensor.plan.domain import Dim, IndexDomain
from lazytensor.plan.index_bounds import bounds_from_components
from lazytensor.plan.index_build import Step
from lazytensor.plan.index_dims import Subscript
from lazytensor.plan.index_gather import check_bounded
from lazytensor.plan.index_interval import INF
from lazytensor.plan.index_json import bounds_from_json, bounds_to_json, maps_from_json
from lazytensor.plan.index_key import apply_key
from lazytensor.plan.index_maps import (
    check_array_dims,
    check_maps,
    format_map,
    map_from_data,
    map_to_json,
)
from lazytensor.plan.index_propagate import propagate
from lazytensor.plan.output_map import (
    ARRAY,
    EVERYWHERE,
    IDENTITY,
    OutputIndexMap,
    OutputIndexMaps,
    OutputIndexMethod,
    array_map,
    constant_map,
)

__all__ = ["IndexTransform", "OutputIndexMap", "OutputIndexMaps", "OutputIndexMethod"]

_new = object.__new__


class _Fields:
    """The fields of an `IndexTransform` while they are filled in (see `domain._Fields`)."""

    __slots__ = ("_key", "domain", "has_arrays", "maps")
    domain: IndexDomain
    maps: tuple[OutputIndexMap, ...]
    has_arrays: bool
    _key: tuple[Any, ...] | None


class IndexTransform(_Fields):
    """A map from the points of a domain to coordinates of another index space; immutable.

    Accepted forms: ``IndexTransform(input_rank)``; keywords ``input_inclusive_min``, one of
    ``input_exclusive_max``, ``input_inclusive_max``, ``input_shape``, ``implicit_lower_bounds``,
    ``implicit_upper_bounds``, ``input_labels``; ``IndexTransform(domain)`` with an `IndexDomain` or
    a sequence of `Dim`; each with ``output=``, a sequence of `OutputIndexMap` (the identity if left
    out); ``json=``.

    Indexing (``transform[...]``, ``.oindex[...]``, ``.vindex[...]``) composes: by NumPy-style keys
    in coordinates, by an `IndexDomain`, a `DimExpression` or another transform.

    Attributes
    ----------
    domain : IndexDomain
        The input space.
    maps : tuple of OutputIndexMap
        One per output dimension (``output`` is the same as a sequence with a public type).
    has_arrays : bool
        Whether a map is an index array.

    Raises
    ------
    ShapeError
        If the ranks of vectors or index arrays do not fit.
    OutOfBoundsError
        If a map names an input dimension that does not exist.

    Examples
    --------
    >>> t = IndexTransform(input_shape=[10], input_labels=["x"])[1::3]
    >>> t
    Rank 1 -> 1 index space transform:
      Input domain:
        0: [0, 3) "x"
      Output index maps:
        out[0] = 1 + 3 * in[0]
    >>> t([2]), t.to_json()["output"]
    ((7,), [{'input_dimension': 0, 'offset': 1, 'stride': 3}])
    """

    __slots__ = ()

    def __new__(
        cls,
        input_rank: SupportsIndex | IndexDomain | Iterable[Dim] | None = None,
        output: Iterable[OutputIndexMap] | None = None,
        *,
        domain: IndexDomain | Iterable[Dim] | None = None,
        input_inclusive_min: Iterable[SupportsIndex] | None = None,
        implicit_lower_bounds: Iterable[bool] | None = None,
        input_exclusive_max: Iterable[SupportsIndex] | None = None,
        input_inclusive_max: Iterable[SupportsIndex] | None = None,
        input_shape: Iterable[SupportsIndex] | None = None,
        implicit_upper_bounds: Iterable[bool] | None = None,
        input_labels: Iterable[str | None] | None = None,
        json: Any = None,
    ) -> IndexTransform:
        vectors = (
            input_inclusive_min,
            implicit_lower_bounds,
            input_exclusive_max,
            input_inclusive_max,
            input_shape,
            implicit_upper_bounds,
            input_labels,
        )
        if input_rank is not None and not isinstance(input_rank, SupportsIndex):
            if domain is not None:
                raise TypeError("IndexTransform() got the domain twice")
            input_rank, domain = None, input_rank
        alone = input_rank is None and all(v is None for v in vectors)
        if json is not None:
            if not alone or domain is not None or output is not None:
                raise TypeError("IndexTransform(json=...) takes no other argument")
            return _from_json(json)
        if domain is None:
            space = IndexDomain._make(*bounds_from_components(input_rank, *vectors, "input_"))
        elif alone:
            space = domain if isinstance(domain, IndexDomain) else IndexDomain(domain)
        else:
            raise TypeError("IndexTransform(domain=...) takes no other description of the domain")
        if output is None:
            return IndexTransform.identity(space)
        return _make(space, check_maps(space, tuple(output)))

    @staticmethod
    def _make(domain: IndexDomain, maps: tuple[OutputIndexMap, ...]) -> IndexTransform:
        """Build from a domain and maps that are known to fit it, without a check."""
        self = _new(_Fields)
        self.domain = domain
        self.maps = maps
        self._key = None
        self.has_arrays = False
        for m in maps:
            if m.kind == ARRAY:
                self.has_arrays = True
                break
        self.__class__ = IndexTransform
        return self  # type: ignore[return-value]

    @staticmethod
    def identity(domain: IndexDomain) -> IndexTransform:
        """The transform that maps every point of ``domain`` to itself.

        >>> IndexTransform.identity(IndexDomain(shape=[2]))([1])
        (1,)
        """
        return _make(domain, IDENTITY[: domain.rank])

    @property
    def output(self) -> OutputIndexMaps:
        """The output index maps, one per output dimension."""
        return OutputIndexMaps(self.maps)

    @property
    def input_rank(self) -> int:
        """Number of input dimensions."""
        return self.domain.rank

    @property
    def output_rank(self) -> int:
        """Number of output dimensions."""
        return len(self.maps)

    @property
    def ndim(self) -> int:
        """Number of input dimensions, the same as ``input_rank``."""
        return self.domain.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per input dimension, the same as ``domain.shape``."""
        return self.domain.shape

    @property
    def origin(self) -> tuple[int, ...]:
        """First coordinate per input dimension, the same as ``domain.origin``."""
        return self.domain.inclusive_min

    @property
    def size(self) -> int:
        """Number of points of the domain, the same as ``domain.size``."""
        return self.domain.size

    @property
    def input_origin(self) -> tuple[int, ...]:
        """First coordinate per input dimension, the same as ``domain.origin``."""
        return self.domain.inclusive_min

    @property
    def input_inclusive_min(self) -> tuple[int, ...]:
        """First coordinate per input dimension, the same as ``domain.inclusive_min``."""
        return self.domain.inclusive_min

    @property
    def input_inclusive_max(self) -> tuple[int, ...]:
        """Last coordinate per input dimension, the same as ``domain.inclusive_max``."""
        return self.domain.inclusive_max

    @property
    def input_exclusive_max(self) -> tuple[int, ...]:
        """End per input dimension, the same as ``domain.exclusive_max``."""
        return self.domain.exclusive_max

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Extent per input dimension, the same as ``domain.shape``."""
        return self.domain.shape

    @property
    def input_labels(self) -> tuple[str, ...]:
        """Label per input dimension, the same as ``domain.labels``."""
        return self.domain.labels

    @property
    def implicit_lower_bounds(self) -> tuple[bool, ...]:
        """Which lower bounds are implicit, the same as ``domain.implicit_lower_bounds``."""
        return self.domain.implicit_lower_bounds

    @property
    def implicit_upper_bounds(self) -> tuple[bool, ...]:
        """Which upper bounds are implicit, the same as ``domain.implicit_upper_bounds``."""
        return self.domain.implicit_upper_bounds

    @property
    def key(self) -> tuple[Any, ...]:
        """Canonical plain value: equal transforms have equal keys, arrays stand as a digest."""
        found = self._key
        if found is None:
            space = self.domain
            maps = self.maps
            plain = tuple([m.key for m in maps]) if self.has_arrays else maps
            found = (space.inclusive_min, space.exclusive_max, space.labels, plain)
            if not space.explicit:
                found += (space.implicit_lower_bounds, space.implicit_upper_bounds)
            _write_key(self, found)
        return found

    def validate(self) -> IndexTransform:
        """Check the values of all index arrays against their index ranges.

        Composition only narrows the range that an index array may hold; this is the check to do
        once before such a transform reads anything. Returns the same transform without the ranges,
        which say nothing any more: that is its canonical form, equal whatever way it came about.
        Raises `OutOfBoundsError`.

        >>> IndexTransform(input_shape=[5])[[0, 7]].validate()
        Traceback (most recent call last):
        lazytensor.errors.OutOfBoundsError: index 7 of the index array for output dimension 0 ...
        """
        if not self.has_arrays:
            return self
        maps = list(self.maps)
        for i, m in enumerate(maps):
            if m.array is not None and m.bounds != EVERYWHERE:
                check_bounded(m, EVERYWHERE, f"output dimension {i}")
                maps[i] = array_map(m.array, m.offset, m.stride, EVERYWHERE)
        return _make(self.domain, tuple(maps))

    def __call__(self, indices: Iterable[SupportsIndex]) -> tuple[int, ...]:
        """The output coordinates of one point, given as a sequence of ``input_rank`` integers.

        Raises `ShapeError` for a wrong length, `OutOfBoundsError` outside explicit bounds.

        >>> IndexTransform(2)[d[:].translate_by[1, 2]]([1, 2])
        (0, 0)
        """
        point = tuple(constant_map(i.__index__()) for i in indices)
        if len(point) != self.domain.rank:
            raise ShapeError(
                f"{len(point)} indices given for a transform of input rank {self.domain.rank}"
            )
        for m in point:
            if not -INF < m.offset < INF:
                raise OutOfBoundsError(f"{m.offset} is no finite index")
        scalar = propagate(self.domain, IndexDomain._make((), ()), point)
        return tuple(m.offset for m in substitute(self.maps, self.domain, point, scalar))

    def __getitem__(self, key: Any) -> IndexTransform:
        """Index by a key, a domain, a dimension expression or another transform; composes.

        Raises `OutOfBoundsError` where the key leaves explicit bounds or has too many terms,
        `ShapeError` where ranks do not fit, `DimensionError` for unknown or repeated dimensions.

        >>> IndexTransform(input_shape=[4, 5])[1, [0, 4]].output[1].index_array
        array([0, 4])
        """
        if isinstance(key, IndexTransform):
            return compose(self, key)
        if isinstance(key, IndexDomain):
            return self._sliced_by(key)
        if isinstance(key, DimExpression):
            return self._expressed(key)
        return self._stepped(apply_key(self.domain, key))

    def _stepped(self, step: Step) -> IndexTransform:
        domain, maps, _ = step
        return _make(domain, substitute(self.maps, self.domain, maps, domain))

    def _sliced_by(self, window: IndexDomain) -> IndexTransform:
        narrowed = self.domain._sliced_by(window)
        return _make(narrowed, cut_maps(self.maps, self.domain, narrowed))

    def _expressed(self, expression: DimExpression) -> IndexTransform:
        domain, maps = self.domain, self.maps
        for step in expression.steps(domain):
            maps = substitute(maps, domain, step.maps, step.domain)
            domain = step.domain
            check_array_dims(domain, maps)
        return _make(domain, maps)

    def _transform_domain(self, domain: IndexDomain) -> IndexDomain:
        """``domain[self]``: this domain, as composing it with an identity would leave it."""
        return compose(IndexTransform.identity(domain), self).domain

    @property
    def oindex(self) -> Subscript[IndexTransform]:
        """``transform.oindex[key]``: index with every index array on a dimension of its own.

        >>> IndexTransform(3).oindex[2, [1, 2, 3], [6, 7]].shape
        (3, 2)
        """
        return Subscript(
            lambda key: self._stepped(apply_key(self.domain, key, "oindex")), "transform.oindex"
        )

    @property
    def vindex(self) -> Subscript[IndexTransform]:
        """``transform.vindex[key]``: index with the joint dimensions of the arrays always first.

        >>> IndexTransform(input_shape=[3, 4]).vindex[:, [1, 2]].shape
        (2, 3)
        """
        return Subscript(
            lambda key: self._stepped(apply_key(self.domain, key, "vindex")), "transform.vindex"
        )

    @property
    def T(self) -> IndexTransform:
        """The transform with its input dimensions in reverse order."""
        return self.transpose()

    def transpose(self, axes: Any = None) -> IndexTransform:
        """The transform with input dimension ``i`` taken from ``axes[i]`` (numbers or labels).

        Raises `DimensionError` if ``axes`` is no permutation.

        >>> IndexTransform(input_shape=[2, 3]).transpose([1, 0]).shape
        (3, 2)
        """
        perm = self.domain._permutation(axes)
        maps: list[OutputIndexMap] = [IDENTITY[0]] * len(perm)
        for new, old in enumerate(perm):
            maps[old] = IDENTITY[new]
        return self._stepped(Step(self.domain._permuted(perm), tuple(maps)))

    @property
    def translate_to(self) -> Subscript[IndexTransform]:
        """``transform.translate_to[origin]``: move the domain, values stay with their points."""
        return self._all_dims("translate_to")

    @property
    def translate_by(self) -> Subscript[IndexTransform]:
        """``transform.translate_by[offset]``: add an offset to the input coordinates."""
        return self._all_dims("translate_by")

    @property
    def translate_backward_by(self) -> Subscript[IndexTransform]:
        """``transform.translate_backward_by[offset]``: subtract an offset from the coordinates."""
        return self._all_dims("translate_backward_by")

    @property
    def label(self) -> Subscript[IndexTransform]:
        """``transform.label["y", "x"]``: give the input dimensions new labels."""
        return self._all_dims("label")

    @property
    def mark_bounds_implicit(self) -> Subscript[IndexTransform]:
        """``transform.mark_bounds_implicit[lower:upper]``: make input bounds implicit or not."""
        return self._all_dims("mark_bounds_implicit")

    def _all_dims(self, operation: str) -> Subscript[IndexTransform]:
        every = getattr(d[:], operation)
        return Subscript(lambda value: self[every[value]], f"transform.{operation}")

    def to_json(self) -> dict[str, Any]:
        """The JSON form (TensorStore's ``IndexTransform`` schema), read by the ``json=`` keyword.

        >>> IndexTransform(input_shape=[2], output=[OutputIndexMap(3)]).to_json()
        {'input_exclusive_max': [2], 'input_inclusive_min': [0], 'output': [{'offset': 3}]}
        """
        out = bounds_to_json(self.domain._values(), "input_")
        if self.maps != IDENTITY[: self.domain.rank]:
            out["output"] = [map_to_json(m) for m in self.maps]
        return out

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IndexTransform):
            return NotImplemented
        return self.domain == other.domain and self.maps == other.maps

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        lines = [f"Rank {self.input_rank} -> {self.output_rank} index space transform:"]
        lines.append("  Input domain:")
        for i, dim in enumerate(self.domain):
            bounds = str(Dim._make(*dim._values()[:2], "", *dim._values()[3:]))
            lines.append(f"    {i}: {bounds}" + (f' "{dim.label}"' if dim.label else ""))
        lines.append("  Output index maps:")
        lines.extend(f"    out[{i}] = {format_map(m)}" for i, m in enumerate(self.maps))
        return "\n".join(lines)

    def __iter__(self) -> NoReturn:
        raise TypeError("an IndexTransform is not iterable; see .output and .domain")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"IndexTransform is immutable; make a new one to change {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"IndexTransform is immutable; {name!r} cannot be deleted")

    def __copy__(self) -> IndexTransform:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> IndexTransform:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return IndexTransform._make, (self.domain, self.maps)


_make = IndexTransform._make
_write_key = _Fields.__dict__["_key"].__set__


def _from_json(json: Any) -> IndexTransform:
    domain = IndexDomain._make(*bounds_from_json(json, "input_", "index transform"))
    data = maps_from_json(json)
    if data is None:
        return IndexTransform.identity(domain)
    try:
        return _make(domain, check_maps(domain, tuple(map(map_from_data, data))))
    except (ShapeError, OutOfBoundsError) as error:
        raise SerializationError(f"index transform: {error}") from error
