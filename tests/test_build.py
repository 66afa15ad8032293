"""From operands to nodes: conversion, weak scalars, axes, and messages that name the operands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lazytensor import build
from lazytensor.errors import DimensionError, DTypeError, ShapeError
from lazytensor.exec.interpret import interpret
from lazytensor.plan.memory import MemorySource
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant, Elementwise, Reduce, Scan


class Handle:
    """The least that an operand needs to be."""

    def __init__(self, node: Node, site: tuple[str, int] | None = None) -> None:
        self._node = node
        self._site = site


def named(shape: tuple[int, ...], *dims: str, site: tuple[str, int] | None = None) -> Handle:
    array = np.arange(np.prod(shape)).reshape(shape)
    return Handle(Scan(MemorySource(array, dims=dims)), site)


X = named((2, 3), "y", "x", site=("nb.py", 14))


def test_what_a_node_is_made_of() -> None:
    array = np.arange(3)
    node = build.as_node(array)
    assert isinstance(node, Scan) and node.source.array is array
    assert build.as_node(X) is X._node
    assert isinstance(build.as_node(np.float32(1.5)), Constant)
    assert build.as_node(np.float32(1.5)).dtype == np.float32
    assert build.as_node(3).dtype == np.int64
    assert build.as_node([[1, 2], [3, 4]]).shape == (2, 2)
    assert build.as_node("ab").dtype == np.dtypes.StringDType()
    assert build.as_node(bytearray(3)).shape == (3,)


def test_objects_with_array_protocols() -> None:
    class WithArray:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return np.arange(4)

    class WithDLPack:
        def __dlpack__(self, **options: Any) -> Any:
            return np.arange(5).__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    assert build.as_node(WithArray()).shape == (4,)
    assert build.as_node(WithDLPack()).shape == (5,)


@pytest.mark.parametrize("obj", [None, object(), {1: 2}, {3}], ids=str)
def test_what_is_no_operand(obj: Any) -> None:
    with pytest.raises(DTypeError, match="cannot make a tensor of"):
        build.as_node(obj)
    assert build.operator("add", X, obj) is None
    with pytest.raises(DTypeError, match="cannot make a tensor of"):
        build.elementwise("add", X, obj)


def test_arrays_that_are_refused() -> None:
    with pytest.raises(DTypeError, match="lose its mask"):
        build.as_node(np.ma.masked_array([1, 2], [True, False]))
    with pytest.raises(ShapeError, match="unequal lengths"):
        build.as_node([[1, 2], [3]])
    with pytest.raises(DTypeError):
        build.as_node(np.array([object()]))
    with pytest.raises(DTypeError, match="does not fit any integer"):
        build.as_node(10**30)


def test_equal_operations_are_one_node() -> None:
    assert build.elementwise("add", X, 1) is build.elementwise("add", X, 1)
    assert build.elementwise("add", X, 1) is not build.elementwise("add", X, 1.0)
    assert build.elementwise("add", X, 1) is build.elementwise("add", X, True)


def test_constants_tell_zeros_apart() -> None:
    positive = build.elementwise("copysign", X, 0.0)
    negative = build.elementwise("copysign", X, -0.0)
    assert positive is not negative
    assert build.elementwise("copysign", X, -0.0) is negative
    nan = build.elementwise("add", X, float("nan"))
    assert build.elementwise("add", X, float("nan")) is nan


def test_many_constants_are_not_kept_for_ever() -> None:
    kept = build._CONSTANTS_KEPT
    for value in range(kept + 10):
        build.elementwise("add", X, value + 0.5)
    assert len(build._constants) <= kept


@pytest.mark.parametrize(("left", "right"), [(1, 2), (True, 1.5), (2, 1j)])
def test_python_scalars_alone_have_numpys_defaults(left: Any, right: Any) -> None:
    node = build.elementwise("add", left, right)
    assert node.shape == () and node.dtype == np.add(left, right).dtype


def test_comparisons_with_integers_out_of_range() -> None:
    x = np.arange(3, dtype=np.uint8)
    assert interpret(build.elementwise("greater", x, -1)).all()
    assert interpret(build.elementwise("less", x, 2**80)).all()
    assert not interpret(build.elementwise("equal", x, 300)).any()


@pytest.mark.parametrize(("low", "high"), [(1, 3), (None, 3), (1, None), (None, None)])
def test_clip_with_and_without_bounds(low: int | None, high: int | None) -> None:
    x = np.arange(6, dtype=np.int16)
    node = build.clip(x, low, high)
    assert node.dtype == np.int16
    np.testing.assert_array_equal(interpret(node), x if low is high is None else x.clip(low, high))


@pytest.mark.parametrize("decimals", [-2, -1, 0, 1, 3])
@pytest.mark.parametrize("code", ["i4", "u2", "f4", "f8", "c16"])
def test_rounding_to_decimals_is_numpys(decimals: int, code: str) -> None:
    x = (np.arange(0, 3000, 7) / (1 if code[0] in "iu" else 64)).astype(code)
    result = interpret(build.round_to(x, decimals))
    expected = np.round(x, decimals)
    assert result.dtype == expected.dtype
    rtol = 1e-15 if code == "c16" else 0
    np.testing.assert_allclose(result, expected, rtol=rtol)


def test_axes_by_number_and_by_name() -> None:
    node = named((2, 3, 4), "z", "", "x")._node
    axes = build.normalize_axes
    assert axes(node, None) == (0, 1, 2)
    assert axes(node, -1) == (2,) and axes(node, np.int8(1)) == (1,)
    assert axes(node, "x") == (2,) and axes(node, ("x", 0)) == (0, 2)
    assert axes(node, ()) == ()


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (2, r"axis 2 is out of range for 2 dims \(y: 2, x: 3\)"),
        (-3, "axis -3 is out of range"),
        ("z", r"no dim 'z' in \(y: 2, x: 3\); dims: 'y', 'x'"),
        ("", "no dim ''"),
        ((0, "y"), "twice"),
        (1.5, "must be numbers or dim names, not float 1.5"),
    ],
)
def test_axes_that_do_not_exist(axis: Any, message: str) -> None:
    with pytest.raises(DimensionError, match=message):
        build.reduction("sum", X, axis)


def test_equal_reductions_are_one_node() -> None:
    total = build.reduction("sum", X, "y")
    assert isinstance(total, Reduce)
    assert build.reduction("sum", X, 0, dtype=np.int64) is total
    assert build.reduction("sum", X, -2, dtype="int8") is not total
    assert build.reduction("var", X, 0, correction=1) is build.reduction(
        "var", X, 0, correction=1.0
    )
    assert build.reduction("var", X, 0, correction=-0.0) is build.reduction("var", X, 0)


def test_reductions_that_cannot_be() -> None:
    with pytest.raises(ShapeError, match="max of"):
        build.reduction("max", np.ones((0, 2)), 0)
    assert build.reduction("max", np.ones((0, 2)), 1).shape == (0,)
    with pytest.raises(DTypeError, match="mean is not defined"):
        build.reduction("mean", np.array(["a"]))
    with pytest.raises(DimensionError, match="argmax takes one axis"):
        build.reduction("argmax", X, (0, 1))
    with pytest.raises(DTypeError, match="correction of std must be a real number"):
        build.reduction("std", X, correction="1")


def test_shapes_that_do_not_broadcast_are_named_with_their_origin() -> None:
    other = named((5, 3), "y", "x", site=("nb.py", 17))
    with pytest.raises(ShapeError) as caught:
        build.elementwise("add", X, other)
    first, left, right, hint = str(caught.value).splitlines()
    assert "(y: 2, x: 3)" in first and "(y: 5, x: 3)" in first and "'y'" in first
    assert left.startswith("  x1: array (y: 2, x: 3) int64") and left.endswith("nb.py:14")
    assert right.startswith("  x2: array (y: 5, x: 3) int64") and right.endswith("nb.py:17")
    assert hint.startswith("  hint: ")


def test_names_and_dtypes_in_conflict_are_named_too() -> None:
    with pytest.raises(DimensionError, match=r"(?s)'y'.*'z'.*x1: array .*nb.py:14"):
        build.elementwise("add", X, named((2, 3), "z", "x"))
    with pytest.raises(DTypeError, match=r"(?s)bitwise_and is not defined.*x2: Python float"):
        build.elementwise("bitwise_and", X, 1.5)
    with pytest.raises(DTypeError, match=r"(?s)does not fit uint8.*x2: Python int"):
        build.elementwise("add", np.zeros(2, np.uint8), 300)
    with pytest.raises(DTypeError, match=r"(?s)negative integer.*x1: array"):
        build.elementwise("pow", X, -1)


def test_domains_and_names_meet() -> None:
    node = build.elementwise("add", X, np.arange(3))
    assert isinstance(node, Elementwise)
    assert node.domain.labels == ("y", "x") and node.shape == (2, 3)


@pytest.mark.parametrize("imag", [0.0, -0.0])
def test_complex_scalars_keep_the_sign_of_a_zero_part(imag: float) -> None:
    """They are equal, so one must not be taken for the other."""
    values = np.array([complex(5, -0.0)])
    added = interpret(build.elementwise("add", values, complex(1, imag)))
    np.testing.assert_array_equal(np.signbit(added.imag), np.signbit([imag]))
