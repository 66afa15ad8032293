"""From what a user passes to one plan node: the way in for functions, operators and methods.

Everything that can be wrong about operands is found here, on the line that builds the node: what is
no operand, dtypes that an operation does not take, shapes that do not broadcast, axes that do not
exist. A message names the operands and the lines where they were built.

Building is on the path of every operation, so it is written to be quick: the dtype rule is one
dictionary lookup, and the constants of Python scalars are kept.
"""

from __future__ import annotations

import operator as _operator
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, Protocol, TypeAlias, cast

import numpy as np

from lazytensor.build_views import as_dtype
from lazytensor.callsite import describe_operand, name_operands
from lazytensor.errors import DimensionError, DTypeError, LazyTensorError, ShapeError
from lazytensor.plan.align import describe_shape
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Reduce, Scan
from lazytensor.plan.ops import ELEMENTWISE, REDUCTIONS, Op, Reduction
from lazytensor.plan.promote import Loop, weak_type

__all__ = [
    "AxisLike",
    "DTypeLike",
    "HasNode",
    "Operand",
    "as_node",
    "clip",
    "elementwise",
    "is_chunked",
    "normalize_axes",
    "operator",
    "reduction",
    "round_to",
]


class HasNode(Protocol):
    """A handle on a plan node, such as a LazyTensor."""

    _node: Node


class _SupportsArray(Protocol):
    def __array__(self) -> np.ndarray: ...


class _SupportsDLPack(Protocol):
    def __dlpack__(self) -> Any: ...

    def __dlpack_device__(self) -> tuple[int, int]: ...


Operand: TypeAlias = (
    HasNode | complex | np.ndarray | np.generic | _SupportsArray | _SupportsDLPack | Sequence[Any]
)
"""What ``asarray`` takes: a LazyTensor, a Python or NumPy scalar, an array, nested lists."""

AxisLike: TypeAlias = "int | str | tuple[int | str, ...] | None"
"""One axis or several, by number or by name; None for all."""

DTypeLike: TypeAlias = Any
"""What ``np.dtype`` takes."""


class UnknownOperandError(DTypeError):
    """Nothing that a tensor could be made of; operators leave it to the other operand."""


_CONSTANTS_KEPT = 4096
_constants: dict[tuple[Any, ...], Constant] = {}


def as_node(obj: Operand) -> Node:
    """The plan node of anything that ``asarray`` takes, or a node itself; no value is read.

    Arrays are aliased, not copied. Raises ``DTypeError`` for what is no array, ``ShapeError`` for
    ragged nested lists.

    >>> as_node(np.arange(3)).shape
    (3,)
    """
    node = getattr(obj, "_node", obj)
    if isinstance(node, Node):
        return node
    if isinstance(obj, np.generic) and not obj.dtype.hasobject:
        return Constant(obj.dtype, obj.tobytes())
    if weak_type(type(obj)) is not None:
        return _constant_node(_default_array(cast(complex, obj)))
    if is_chunked(obj):
        from lazytensor.io.array_like import ArrayLikeSource

        return Scan(ArrayLikeSource(obj))
    return array_node(_array(obj))


def is_chunked(obj: object) -> bool:
    """Whether this is an array that is read in pieces, so that converting it would read it all.

    >>> is_chunked(np.arange(3))
    False
    """
    if isinstance(obj, (np.ndarray, np.generic)) or not hasattr(obj, "__getitem__"):
        return False
    return any(hasattr(obj, name) for name in ("chunks", "chunk_layout")) and hasattr(obj, "dtype")


def _constant_node(array: np.ndarray) -> Constant:
    return Constant(array.dtype, array.tobytes())


def _default_array(value: complex) -> np.ndarray:
    """A Python scalar that stands alone, in NumPy's default dtype for its kind."""
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise DTypeError(f"Python integer of {value!r} does not fit any integer dtype")
    return array


def _array(obj: object) -> np.ndarray:
    if isinstance(obj, np.ma.MaskedArray):
        raise DTypeError("a masked array would lose its mask here: use .filled(value) first")
    if isinstance(obj, np.ndarray):
        return np.asarray(obj)
    if isinstance(obj, str):
        return np.asarray(obj, np.dtypes.StringDType())
    if hasattr(obj, "__array__") or isinstance(obj, (list, tuple, int, float, complex)):
        return _converted(obj)
    if hasattr(obj, "__dlpack__"):
        return np.from_dlpack(cast(Any, obj))
    if isinstance(obj, (bytearray, memoryview)):
        return np.asarray(obj)
    raise UnknownOperandError(
        f"cannot make a tensor of {type(obj).__name__!r}: pass a LazyTensor, an array, a scalar or "
        "nested lists of numbers"
    )


def _converted(obj: object) -> np.ndarray:
    try:
        return np.asarray(obj)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ShapeError(f"nested sequences of unequal lengths are no array: {error}") from None


def elementwise(name: str, *operands: Operand) -> Node:
    """Node of the elementwise operation ``name`` on operands that broadcast.

    Python scalars are weak: they take the dtype of the others, as NEP 50 says. Raises
    ``ShapeError``, ``DimensionError`` or ``DTypeError``, naming the operands and where they were
    built.

    >>> elementwise("add", np.arange(3, dtype=np.uint8), 1).dtype
    dtype('uint8')
    """
    row = ELEMENTWISE[name]
    inputs: list[Any] = []
    signature: list[Any] = []
    scalars = 0
    for operand in operands:
        entry = weak_type(type(operand))
        if entry is None:
            node = as_node(operand)
            inputs.append(node)
            signature.append(node.dtype)
        else:
            scalars += 1
            inputs.append(None)
            signature.append(entry)
    if scalars == len(operands):
        inputs = [as_node(operand) for operand in operands]
        return Elementwise(name, tuple(inputs))
    try:
        if scalars:
            loop = row.loop(tuple(signature))
            for i, node in enumerate(inputs):
                if node is None:
                    inputs[i] = _constant(row, i, cast(complex, operands[i]), loop)
        return Elementwise(name, tuple(inputs))
    except (ShapeError, DimensionError, DTypeError) as error:
        raise _explained(error, row, operands) from None


def _constant(row: Op, position: int, value: complex, loop: Loop) -> Constant:
    """Constant node of a Python scalar.

    Zeros, NaN and complex numbers are not kept: -0.0 == 0.0 (in one part of two, too), NaN != NaN.
    """
    if not value or value != value or isinstance(value, complex):
        return _constant_node(row.scalar(position, value, loop))
    # Loops are kept by their row, so their identity says which one it is.
    key = (row, position, id(loop), type(value), value)
    known = _constants.get(key)
    if known is None:
        known = _constant_node(row.scalar(position, value, loop))
        if len(_constants) >= _CONSTANTS_KEPT:
            _constants.clear()
        _constants[key] = known
    return known


def _explained(error: LazyTensorError, row: Op, operands: Iterable[Operand]) -> LazyTensorError:
    """The error with a line for every operand: what it is, and where it was built."""
    lines = [str(error)]
    width = max(len(name) for name in row.parameters)
    for name, operand in zip(row.parameters, operands, strict=True):
        lines.append(f"  {name + ':':<{width + 1}} {_described(operand)}")
    if isinstance(error, ShapeError):
        lines.append("  hint: extents must agree or be 1; slice, pad or downsample one of them")
    return type(error)("\n".join(lines))


def _described(operand: Operand) -> str:
    if weak_type(type(operand)) is not None:
        return f"Python {type(operand).__name__}"
    return describe_operand(as_node(operand), getattr(operand, "_site", None))


def operator(name: str, left: Operand, right: Operand) -> Node | None:
    """As ``elementwise``, for a Python operator: None for an operand that is none of ours."""
    try:
        return elementwise(name, left, right)
    except UnknownOperandError:
        return None


def clip(x: Operand, low: Operand | None, high: Operand | None) -> Node:
    """Node of ``clip``; a bound that is None limits nothing."""
    if low is None and high is None:
        return as_node(x)
    if low is None:
        return elementwise("minimum", x, cast(Operand, high))
    if high is None:
        return elementwise("maximum", x, low)
    return elementwise("clip", x, low, high)


def round_to(x: Operand, decimals: int) -> Node:
    """Node of ``numpy.round``: to ``decimals`` decimal places, halves to the even digit.

    Complex numbers are scaled as such, which may differ from NumPy's in the last place.
    """
    decimals = _operator.index(decimals)
    node = as_node(x)
    whole = node.dtype.kind in "biu"
    if decimals == 0 or (whole and decimals > 0):
        return elementwise("round", x)
    power = 10.0 ** abs(decimals)
    enlarge, reduce = ("multiply", "divide") if decimals > 0 else ("divide", "multiply")
    scaled = elementwise(enlarge, x, power)
    rounded = elementwise(reduce, _Handle(on_nodes("round", scaled)), power)
    return Cast(rounded, node.dtype) if whole else rounded


def on_nodes(name: str, *nodes: Node) -> Node:
    """As ``elementwise``, of nodes in place of what users pass."""
    return elementwise(name, *map(_Handle, nodes))


class _Handle:
    """A node as an operand."""

    __slots__ = ("_node",)

    def __init__(self, node: Node) -> None:
        self._node = node


def normalize_axes(node: Node, axis: AxisLike) -> tuple[int, ...]:
    """Axes as ascending numbers; ``axis`` may be numbers, dim names, several of them, or None.

    Raises ``DimensionError`` for axes that do not exist (naming the dims) or are given twice.

    >>> normalize_axes(as_node(np.zeros((2, 3, 4))), (-1, 0))
    (0, 2)
    """
    if axis is None:
        return tuple(range(node.ndim))
    if type(axis) is int and 0 <= axis < node.ndim:
        return (axis,)
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = [_axis_number(node, one) for one in given]
    if len(set(axes)) != len(axes):
        raise DimensionError(f"axis {axis!r} names a dim of {describe_shape(node.domain)} twice")
    return tuple(sorted(axes))


def _axis_number(node: Node, axis: int | str) -> int:
    labels = node.domain.labels
    if isinstance(axis, str):
        if axis and axis in labels:
            return labels.index(axis)
        named = ", ".join(repr(name) for name in labels if name) or "none has a name"
        raise DimensionError(f"no dim {axis!r} in {describe_shape(node.domain)}; dims: {named}")
    try:
        number = _operator.index(axis)
    except TypeError:
        raise DimensionError(
            f"axis must be numbers or dim names, not {type(axis).__name__} {axis!r}"
        ) from None
    if not -node.ndim <= number < node.ndim:
        raise DimensionError(
            f"axis {number} is out of range for {node.ndim} dims {describe_shape(node.domain)}"
        )
    return int(number % node.ndim)


def reduction(
    name: str,
    x: Operand,
    axis: AxisLike = None,
    keepdims: bool = False,
    **params: Any,
) -> Node:
    """Node of the reduction ``name`` over some axes.

    ``params``: what the row names, ``dtype`` of sums or ``correction`` of variances. Raises
    ``DimensionError`` for a wrong axis, ``DTypeError`` for a dtype that the reduction does not
    take, ``ShapeError`` where there is no value to choose from.

    >>> reduction("sum", np.zeros((2, 3), np.uint8), axis=1)
    <Reduce (2) uint64>
    """
    node = as_node(x)
    try:
        return _reduce(REDUCTIONS[name], node, axis, bool(keepdims), params)
    except LazyTensorError as error:
        name_operands(error, x)
        raise


def _reduce(
    row: Reduction, node: Node, axis: AxisLike, keepdims: bool, params: dict[str, Any]
) -> Node:
    axes = normalize_axes(node, axis)
    if row.one_axis and axis is not None and len(axes) != 1:
        raise DimensionError(f"{row.name} takes one axis, or None for all, not {axis!r}")
    return Reduce(row.name, node, axes, keepdims, _params(row, node.dtype, params))


def _params(row: Reduction, dtype: np.dtype, given: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Parameters in one canonical form, so that equal reductions are one node."""
    out: list[tuple[str, Any]] = []
    for name, default in row.parameters:
        value = given.get(name, default)
        if name != "dtype":
            out.append((name, _real(row, name, value)))
        elif value is not None and (asked := as_dtype(value)) != row.result_dtype(dtype):
            out.append((name, asked))
    return tuple(out)


def _real(row: Reduction, name: str, value: Any) -> float:
    if not isinstance(value, Real):
        raise DTypeError(f"{name} of {row.name} must be a real number, not {value!r}")
    return float(value) + 0.0  # no -0.0
