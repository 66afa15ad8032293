"""How one output coordinate depends on the input: constant, affine in one dimension, or looked up.

A transform is a tuple of these maps, and composing transforms is arithmetic on them, so a map is a
named tuple: made in one C call, compared and hashed in C, immutable. Which fields mean something is
decided by ``kind`` (0, 1, 2, the integer form of `OutputIndexMethod`); the others hold None.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex, overload

from lazytensor.errors import OutOfBoundsError
from lazytensor.plan.index_array import IndexArray, format_array
from lazytensor.plan.index_dim import Dim
from lazytensor.plan.index_interval import (
    INF,
    MAX_RANK,
    UNBOUNDED,
    check_int64,
    format_interval,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "ARRAY",
    "CONSTANT",
    "EVERYWHERE",
    "IDENTITY",
    "SINGLE",
    "OutputIndexMap",
    "OutputIndexMaps",
    "OutputIndexMethod",
    "array_map",
    "constant_map",
    "single_map",
]

CONSTANT, SINGLE, ARRAY = 0, 1, 2
EVERYWHERE = (-INF, UNBOUNDED)
"""The index range of an array whose values are not bounded."""

_tuple_new = tuple.__new__


class OutputIndexMethod(enum.IntEnum):
    """The three kinds of output index map.

    >>> OutputIndexMethod.array, int(OutputIndexMethod.constant)
    (<OutputIndexMethod.array: 2>, 0)
    """

    constant = CONSTANT
    single_input_dimension = SINGLE
    array = ARRAY

    def __str__(self) -> str:
        return f"OutputIndexMethod.{self.name}"


_METHODS = tuple(OutputIndexMethod)


class _MapFields(NamedTuple):
    kind: int
    offset: int
    # None in a constant map; annotated without, for `kind` says which fields there are.
    stride: int
    input_dimension: int
    array: IndexArray | None
    bounds: tuple[int, int] | None


class OutputIndexMap(_MapFields):
    """One output coordinate of an `IndexTransform`; immutable, hashable.

    ``OutputIndexMap(offset)`` is constant; ``OutputIndexMap(input_dimension, offset=0, stride=1)``
    is ``offset + stride * input[input_dimension]``; ``OutputIndexMap(index_array, offset=0,
    stride=1, index_range=Dim())`` is ``offset + stride * index_array[input]``, where the array has
    one dimension per input dimension, of size 1 where it does not vary, and ``index_range`` states
    which values it may hold (checked when the transform is used). All may be keywords.

    Attributes
    ----------
    method : OutputIndexMethod
    offset : int
    stride : int, None if constant
    input_dimension : int, None unless affine
    index_array : read-only int64 array, None unless looked up
    index_range : Dim, None unless looked up

    Examples
    --------
    >>> OutputIndexMap(5), OutputIndexMap(input_dimension=1, stride=2)
    (OutputIndexMap(offset=5), OutputIndexMap(offset=0, stride=2, input_dimension=1))
    >>> OutputIndexMap([7, 8], index_range=Dim(10))
    OutputIndexMap(offset=0, stride=1, index_array={7, 8}, index_range=[0, 10))
    """

    __slots__ = ()

    def __new__(
        cls,
        *args: Any,
        offset: SupportsIndex | None = None,
        stride: SupportsIndex | None = None,
        input_dimension: SupportsIndex | None = None,
        index_array: Any = None,
        index_range: Dim | None = None,
    ) -> OutputIndexMap:
        values = [offset, stride, index_range]
        if args:
            first, *rest = args
            if len(rest) > len(values):
                raise TypeError(f"OutputIndexMap() takes at most 4 positional arguments: {args}")
            for i, value in enumerate(rest):
                if values[i] is not None:
                    raise TypeError(f"OutputIndexMap() got two values for argument {i + 1}")
                values[i] = value
            lone = not rest and offset is None and stride is None
            if not isinstance(first, SupportsIndex) or getattr(first, "ndim", False):
                index_array = first
            elif lone and input_dimension is None and index_array is None:
                values[0] = first
            elif input_dimension is None:
                input_dimension = first
            else:
                raise TypeError("OutputIndexMap() got two values for 'input_dimension'")
        shift = check_int64(operator.index(values[0] or 0), "an offset")  # type: ignore[arg-type]
        step = 1 if values[1] is None else operator.index(values[1])  # type: ignore[arg-type]
        check_int64(step, "a stride")
        if index_array is not None:
            return _checked_array(index_array, input_dimension, shift, step, values[2])
        if values[2] is not None:
            raise TypeError("OutputIndexMap() takes an index_range only with an index_array")
        if input_dimension is not None:
            return single_map(operator.index(input_dimension), shift, step)
        if values[1] is not None:
            raise TypeError("OutputIndexMap() takes no stride for a constant map")
        return constant_map(shift)

    @property
    def method(self) -> OutputIndexMethod:
        """Which kind of map this is."""
        return _METHODS[self.kind]

    @property
    def index_array(self) -> NDArray[np.int64]:
        """The read-only index array (int64); None unless ``method`` is ``array``."""
        return None if self.array is None else self.array.values  # type: ignore[return-value]

    @property
    def index_range(self) -> Dim:
        """Values the index array may hold; None unless ``method`` is ``array``."""
        return None if self.bounds is None else Dim._make(*self.bounds)  # type: ignore[return-value]

    def lookup(self) -> tuple[IndexArray, tuple[int, int]]:
        """Array and range of an array map (and only of that)."""
        assert self.array is not None
        assert self.bounds is not None
        return self.array, self.bounds

    @property
    def key(self) -> tuple[Any, ...]:
        """Canonical plain data: equal maps have equal keys, arrays stand as their digest."""
        if self.array is None:
            return tuple(self)
        return (ARRAY, self.offset, self.stride, None, self.array.key, self.bounds)

    def __repr__(self) -> str:
        text = f"offset={self.offset}"
        if self.kind != CONSTANT:
            text += f", stride={self.stride}"
        if self.kind == SINGLE:
            text += f", input_dimension={self.input_dimension}"
        if self.kind == ARRAY:
            array, bounds = self.lookup()
            text += f", index_array={format_array(array.values)}"
            text += f", index_range={format_interval(*bounds)}"
        return f"OutputIndexMap({text})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_map, tuple(self)


def _checked_array(
    index_array: Any, input_dimension: Any, offset: int, stride: int, index_range: Any
) -> OutputIndexMap:
    if input_dimension is not None:
        raise TypeError("OutputIndexMap() takes either an input_dimension or an index_array")
    if index_range is None:
        bounds = EVERYWHERE
    elif isinstance(index_range, Dim):
        bounds = (index_range.inclusive_min, index_range.exclusive_max)
    else:
        raise TypeError(f"index_range must be a Dim, got {index_range!r}")
    return array_map(IndexArray(index_array), offset, stride, bounds)


def _restore_map(
    kind: int, offset: int, stride: int, dim: int, array: Any, bounds: Any
) -> OutputIndexMap:
    return _tuple_new(OutputIndexMap, (kind, offset, stride, dim, array, bounds))


def constant_map(offset: int) -> OutputIndexMap:
    """The map to one coordinate, unchecked."""
    return _tuple_new(OutputIndexMap, (CONSTANT, offset, None, None, None, None))


def single_map(dim: int, offset: int, stride: int) -> OutputIndexMap:
    """``offset + stride * input[dim]``, unchecked."""
    return _tuple_new(OutputIndexMap, (SINGLE, offset, stride, dim, None, None))


def array_map(
    array: IndexArray, offset: int, stride: int, bounds: tuple[int, int]
) -> OutputIndexMap:
    """``offset + stride * array[input]`` with values in ``bounds``, unchecked."""
    return _tuple_new(OutputIndexMap, (ARRAY, offset, stride, None, array, bounds))


IDENTITY = tuple(single_map(dim, 0, 1) for dim in range(MAX_RANK))
"""``input[dim]`` for every dimension there can be; shared, as most maps are one of these."""


class OutputIndexMaps(tuple[OutputIndexMap, ...]):
    """The output index maps of a transform: a sequence, one `OutputIndexMap` per output dimension.

    >>> maps = OutputIndexMaps([OutputIndexMap(3)])
    >>> maps.rank, maps[0], maps == [OutputIndexMap(3)]
    (1, OutputIndexMap(offset=3), True)
    """

    __slots__ = ()

    @property
    def rank(self) -> int:
        """Number of output dimensions."""
        return len(self)

    @overload
    def __getitem__(self, key: SupportsIndex) -> OutputIndexMap: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[OutputIndexMap, ...]: ...
    def __getitem__(self, key: Any) -> Any:
        try:
            return tuple.__getitem__(self, key)
        except IndexError:
            raise OutOfBoundsError(
                f"output dimension {key} is outside the valid range [{-len(self)}, {len(self)})"
            ) from None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, tuple):
            return tuple.__eq__(self, other)
        if isinstance(other, Iterable):
            return tuple.__eq__(self, tuple(other))
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        return tuple.__hash__(self)

    def __repr__(self) -> str:
        return repr(list(self))
