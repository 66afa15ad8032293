"""Dtypes, constants and inspection against NumPy and the strict namespace of the standard."""

from __future__ import annotations

import math
import subprocess
import sys

import array_api_strict
import ml_dtypes
import numpy as np
import pytest

from lazytensor import namespace
from lazytensor.errors import DTypeError

NAMES = [
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64", "complex64", "complex128"),
]
KINDS = [
    *("bool", "signed integer", "unsigned integer", "integral", "real floating"),
    *("complex floating", "numeric"),
]


@pytest.mark.parametrize("name", [*NAMES, "float16"])
def test_dtypes_are_numpys(name: str) -> None:
    assert getattr(namespace, name) == np.dtype(name)
    assert isinstance(getattr(namespace, name), np.dtype)


@pytest.mark.parametrize("name", namespace.EXTENDED)
def test_small_formats_come_from_ml_dtypes(name: str) -> None:
    assert getattr(namespace, name) == np.dtype(getattr(ml_dtypes, name))


def test_ml_dtypes_is_imported_only_when_asked_for() -> None:
    code = (
        "import sys, lazytensor.namespace as n; before = 'ml_dtypes' in sys.modules;"
        "n.bfloat16; assert not before and 'ml_dtypes' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="float9"):
        namespace.float9  # type: ignore[attr-defined]


def test_constants() -> None:
    assert (namespace.e, namespace.pi, namespace.inf) == (math.e, math.pi, math.inf)
    assert math.isnan(namespace.nan) and namespace.newaxis is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_isdtype_is_the_standards(name: str, kind: str) -> None:
    strict = array_api_strict.isdtype(getattr(array_api_strict, name), kind)
    assert namespace.isdtype(np.dtype(name), kind) == strict


def test_isdtype_takes_dtypes_tuples_and_small_formats() -> None:
    assert namespace.isdtype(namespace.uint8, namespace.uint8)
    assert namespace.isdtype(namespace.uint8, ("bool", namespace.uint8))
    assert not namespace.isdtype(namespace.uint8, ())
    assert namespace.isdtype(namespace.bfloat16, "real floating")
    assert namespace.isdtype(namespace.uint4, "unsigned integer")
    assert namespace.isdtype(namespace.int4, "signed integer")
    with pytest.raises(DTypeError, match="unknown kind of dtype 'float'; kinds: bool"):
        namespace.isdtype(namespace.uint8, "float")
    with pytest.raises(DTypeError, match="neither an array nor a dtype"):
        namespace.isdtype(object(), "bool")


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("second", NAMES)
def test_result_type_and_can_cast(first: str, second: str) -> None:
    a, b = np.dtype(first), np.dtype(second)
    assert namespace.result_type(a, b) == np.result_type(a, b)
    assert namespace.can_cast(a, b) == np.can_cast(a, b)


def test_result_type_with_scalars_and_arrays() -> None:
    assert namespace.result_type(np.ones(2, "f4"), 1.5, 2) == np.float32
    assert namespace.result_type(np.uint8(3), 7) == np.uint8
    assert namespace.result_type(namespace.int8, 1j) == np.complex128
    assert namespace.result_type(namespace.bfloat16, 1.5) == namespace.bfloat16
    with pytest.raises(DTypeError, match="at least one"):
        namespace.result_type()
    with pytest.raises(DTypeError, match="no common dtype"):
        namespace.result_type(np.dtype("M8[s]"), np.dtype("f8"))


@pytest.mark.parametrize("name", ["float16", "float32", "float64", "complex64", "complex128"])
def test_finfo(name: str) -> None:
    ours, numpys = namespace.finfo(np.dtype(name)), np.finfo(np.dtype(name))
    for field in ("bits", "eps", "max", "min", "smallest_normal", "dtype"):
        assert getattr(ours, field) == getattr(numpys, field)
    assert type(ours.eps) is float and type(ours.bits) is int


@pytest.mark.parametrize("name", NAMES[1:9])
def test_iinfo(name: str) -> None:
    ours, numpys = namespace.iinfo(np.zeros(1, name)), np.iinfo(np.dtype(name))
    assert (ours.bits, ours.max, ours.min) == (numpys.bits, numpys.max, numpys.min)
    assert ours.dtype == np.dtype(name)


def test_limits_of_small_formats_and_of_others() -> None:
    assert namespace.finfo(namespace.bfloat16).eps == 2**-7
    assert (namespace.iinfo(namespace.int4).min, namespace.iinfo(namespace.uint4).max) == (-8, 15)
    with pytest.raises(DTypeError, match="iinfo is about integers"):
        namespace.finfo(namespace.int8)
    with pytest.raises(DTypeError, match="finfo is about floats"):
        namespace.iinfo(namespace.bool)


def test_inspection() -> None:
    info = namespace.__array_namespace_info__()
    strict = array_api_strict.__array_namespace_info__()
    assert info.capabilities() == {
        "boolean indexing": False,
        "data-dependent shapes": False,
        "max dimensions": 64,
    }
    assert info.default_device() == "cpu" and info.devices() == ("cpu",)
    assert set(info.default_dtypes()) == set(strict.default_dtypes())
    assert info.default_dtypes(device="cpu")["integral"] == np.int64
    for kind in (None, *KINDS, ("bool", "integral")):
        assert list(info.dtypes(kind=kind)) and set(info.dtypes(kind=kind)) == set(
            strict.dtypes(kind=kind)
        )
    assert info.dtypes()["float32"] == np.float32
    with pytest.raises(DTypeError, match="unknown kind"):
        info.dtypes(kind="float")
    with pytest.raises(ValueError, match="unknown device 'gpu'"):
        info.dtypes(device="gpu")
