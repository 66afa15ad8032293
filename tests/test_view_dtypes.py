"""Views keep values of every dtype a tensor can have, on every engine.

What moves elements without computing must not care what they are: times, text of fixed and of
variable width, structures with padding, foreign byte orders, the small formats of ml_dtypes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import lazytensor as lt
from tests.engines import ENGINES, SETTINGS

PADDED = np.dtype([("a", "u1"), ("b", "<f8")], align=True)


def _structured() -> np.ndarray:
    values = np.zeros(12, PADDED)
    values["a"], values["b"] = np.arange(12), np.arange(12) / 4
    return values


ARRAYS = {
    "times": np.arange(12).astype("M8[s]"),
    "spans": np.arange(12).astype("m8[ms]"),
    "text": np.array([f"s{i}" for i in range(12)]),
    "bytes": np.array([f"s{i}".encode() for i in range(12)]),
    "strings": np.array([f"s{i}" * i for i in range(12)], dtype=np.dtypes.StringDType()),
    "structures": _structured(),
    "big-endian": np.arange(12).astype(">i4"),
    "complex": np.arange(12) * (1 - 2j),
    "bfloat16": np.arange(12).astype(ml_dtypes.bfloat16),
    "int4": np.arange(-6, 6).astype(ml_dtypes.int4),
    "longdouble": np.arange(12).astype(np.longdouble),
}


def _painted(a: np.ndarray) -> np.ndarray:
    canvas = np.empty((4, 5), a.dtype)
    canvas[:3, :4] = a
    canvas[1:, 1:] = a
    return canvas[1:4, 1:4]


EVEN = np.arange(12).reshape(3, 4) % 2 == 0
VIEWS: dict[str, tuple[Callable[[Any], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "slice": (lambda x: x[1:, ::-1], lambda a: a[1:, ::-1]),
    "index array": (lambda x: x[[2, 0, 2]], lambda a: a[[2, 0, 2]]),
    "joint": (lambda x: x[[0, 1], [2, 3]], lambda a: a[[0, 1], [2, 3]]),
    "transpose": (lambda x: x.T, lambda a: a.T),
    "stack": (lambda x: lt.stack([x, x[::-1]]), lambda a: np.stack([a, a[::-1]])),
    "concat": (lambda x: lt.concat([x, x[:1]]), lambda a: np.concatenate([a, a[:1]])),
    "overlay": (lambda x: lt.overlay([x, x.translate_by[1, 1]])[1:4, 1:4], _painted),
    "pad": (lambda x: lt.pad(x, 2, "symmetric"), lambda a: np.pad(a, 2, "symmetric")),
    "reshape": (
        lambda x: lt.reshape(x, (2, 3, 2))[:, 1:],
        lambda a: a.reshape(2, 3, 2)[:, 1:],
    ),
    "stride": (lambda x: lt.downsample(x, (2, 3), "stride"), lambda a: a[::2, ::3]),
    "blocks": (lambda x: lt.map_blocks(lambda b: b, x, dtype=x.dtype), lambda a: a),
    "where": (
        lambda x: lt.where(lt.asarray(EVEN), x, x[::-1]),
        lambda a: np.where(EVEN, a, a[::-1]),
    ),
    "cache": (lambda x: x.cache().rechunk((2, 2)), lambda a: a),
}


@pytest.mark.parametrize("view", sorted(VIEWS))
@pytest.mark.parametrize("name", sorted(ARRAYS))
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_values_survive(engine: str, name: str, view: str) -> None:
    values = ARRAYS[name].reshape(3, 4)
    lazy, numpy = VIEWS[view]
    x = lazy(lt.asarray(values))
    for flags in (SETTINGS[0], SETTINGS[-1]):
        found = x.collect(engine=ENGINES[engine], optimizations=flags)
        assert found.dtype == x.dtype
        assert np.can_cast(values.dtype, x.dtype, "equiv")
        np.testing.assert_array_equal(found, numpy(values))


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("to", ["bool", "int8", "float32", "complex64", "bfloat16"])
def test_a_cast_of_complex_numbers_takes_the_real_part_without_a_warning(
    to: str, engine: str
) -> None:
    values = np.array([1 + 2j, 3j, 0, -2.5 + 1j])
    found = lt.asarray(values).astype(to).collect(engine=ENGINES[engine])
    kept = values if to in ("bool", "complex64") else values.real
    np.testing.assert_array_equal(found, kept.astype(found.dtype))


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_no_real_tensor_holds_a_complex_fill_value(dtype: str) -> None:
    with pytest.raises(lt.DTypeError, match="fill_value 1j is no"):
        lt.overlay([lt.zeros(2, dtype=dtype)], fill_value=1j)


@pytest.mark.parametrize(
    ("values", "fill"),
    [
        (np.array(["a", "bb"]), "x"),
        (np.array(["a", "bb"]), ("xyz", "")),
        (np.array([b"a", b"bb"]), (b"x", b"yz")),
        (np.array(["a", "bb"]), 0),
    ],
)
def test_pad_of_fixed_width_strings(values: np.ndarray, fill: Any) -> None:
    """Their scalars forget the width of the dtype, and with it bytes."""
    got = lt.pad(lt.asarray(values), (1, 2), constant_values=fill).collect()
    np.testing.assert_array_equal(got, np.pad(values, (1, 2), constant_values=fill))


def test_text_without_a_width_has_no_fill_value() -> None:
    """Its scalars are references to text elsewhere, which no constant can keep."""
    text = lt.asarray(np.array(["a", "b" * 40], np.dtypes.StringDType()))
    with pytest.raises(lt.DTypeError, match="no constant border"):
        lt.pad(text, 1)
    with pytest.raises(lt.DTypeError, match="no fill value"):
        lt.overlay([text], fill_value="c")
    edged = lt.pad(text, 1, "edge").collect()
    assert edged.tolist() == ["a", "a", "b" * 40, "b" * 40]
