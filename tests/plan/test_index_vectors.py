"""The peer's published results for index transforms, and the table of its index rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lazytensor.errors import LazyTensorError, OutOfBoundsError
from lazytensor.plan.dimexpr import d
from lazytensor.plan.domain import Dim, IndexDomain
from lazytensor.plan.index import IndexTransform
from tests.vector_eval import TransformAdapter, evaluate, expected_result, load_vectors

VECTORS = load_vectors("t/", "transform")


@pytest.mark.parametrize("vector", VECTORS, ids=[v["id"] for v in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    expected = expected_result(vector)
    if "error" in expected:
        with pytest.raises(LazyTensorError):
            evaluate(vector["expr"], TransformAdapter())
        return
    result = evaluate(vector["expr"], TransformAdapter())
    assert result.to_json() == expected["transform"]
    again = IndexTransform(json=expected["transform"])
    if "index_array_bounds" in str(expected):
        assert again == result
    else:
        assert again.validate() == result.validate()
        assert again.validate().key == result.validate().key


def test_there_are_vectors() -> None:
    assert len(VECTORS) == 36


I = IndexTransform(input_shape=[10])  # noqa: E741 - the name it has in the table
J = IndexTransform(input_inclusive_min=[-5], input_exclusive_max=[6])
T = IndexTransform(input_shape=[3, 4, 5], input_labels=["x", "y", "z"])

TABLE: list[tuple[str, str, list[Any]]] = [
    ("I[3]", "{  }", [3]),
    ("I[1:5][2:3]", "{ [2, 3) }", ["in0"]),
    ("I[3:8:2]", "{ [1, 4) }", ["1+2*in0"]),
    ("I[1::3]", "{ [0, 3) }", ["1+3*in0"]),
    ("I[7:3:-2]", "{ [-3, -1) }", ["1+-2*in0"]),
    ("I[::-1]", "{ [-9, 1) }", ["-1*in0"]),
    ("I[::-2]", "{ [-4, 1) }", ["1+-2*in0"]),
    ("J[::2]", "{ [-2, 4) }", ["-1+2*in0"]),
    ("J[-4::2]", "{ [-2, 3) }", ["2*in0"]),
    ("J[::-2]", "{ [-2, 4) }", ["1+-2*in0"]),
    ("J[5:-5:-3]", "{ [-1, 3) }", ["2+-3*in0"]),
    ("J[d[0].stride[2]]", "{ [-2, 3) }", ["2*in0"]),
    ("J[d[0].stride[-2]]", "{ [-2, 3) }", ["-2*in0"]),
    ("I[1:][d[0].stride[2]]", "{ [1, 5) }", ["2*in0"]),
    ("I[[0,3,3]]", "{ [0, 3) }", [[0, 3, 3]]),
    ("I[None]", "{ [0*, 1*), [0, 10) }", ["in1"]),
    ("I[None][3:7]", "{ [3, 7), [0, 10) }", ["in1"]),
    ("I[None][5]", "{ [0, 10) }", ["in0"]),
    ("I[None][3::-1]", "{ [0*, 1), [0, 10) }", ["in1"]),
    ("T[:,[1,0],[1,1]]", '{ "x": [0, 3), [0, 2) }', ["in0", [[1, 0]], [[1, 1]]]),
    ("T[[1,0],:,[1,1]]", '{ [0, 2), "y": [0, 4) }', [[[1], [0]], "in1", [[1], [1]]]),
    ("T.vindex[[1,0],:,[1,1]]", '{ [0, 2), "y": [0, 4) }', [[[1], [0]], "in1", [[1], [1]]]),
    ("T[[1,0],2,[1,1]]", "{ [0, 2) }", [[1, 0], 2, [1, 1]]),
    ("T[0,:,[1,2]]", '{ "y": [0, 4), [0, 2) }', [0, "in0", [[1, 2]]]),
    (
        "T.oindex[[1,0],:,[1,1,2]]",
        '{ [0, 2), "y": [0, 4), [0, 3) }',
        [[[[1]], [[0]]], "in1", [[[1, 1, 2]]]],
    ),
    (
        "T[d['z','x'].oindex[[0,1,2],[0,1]]]",
        '{ [0, 2), "y": [0, 4), [0, 3) }',
        [[[[0]], [[1]]], "in1", [[[0, 1, 2]]]],
    ),
    ("T[d['z','x'][[0,1],[1,2]]]", '{ "y": [0, 4), [0, 2) }', [[[1, 2]], "in0", [[0, 1]]]),
    ("T[d['x','y'].diagonal]", '{ [0, 3), "z": [0, 5) }', ["in0", "in0", "in1"]),
    ("T[d['z'].transpose[0]]", '{ "z": [0, 5), "x": [0, 3), "y": [0, 4) }', ["in1", "in2", "in0"]),
    (
        "T[d['x','z'].translate_to[10,20]]",
        '{ "x": [10, 13), "y": [0, 4), "z": [20, 25) }',
        ["-10+in0", "in1", "-20+in2"],
    ),
    (
        "T[d['x'].translate_by[-3]]",
        '{ "x": [-3, 0), "y": [0, 4), "z": [0, 5) }',
        ["3+in0", "in1", "in2"],
    ),
    (
        "T[d['x'].translate_backward_by[5]]",
        '{ "x": [-5, -2), "y": [0, 4), "z": [0, 5) }',
        ["5+in0", "in1", "in2"],
    ),
    (
        "T[d['x'].mark_bounds_implicit[True:]]",
        '{ "x": [0*, 3), "y": [0, 4), "z": [0, 5) }',
        ["in0", "in1", "in2"],
    ),
    (
        "T[d['x'].mark_bounds_implicit[:True]]",
        '{ "x": [0, 3*), "y": [0, 4), "z": [0, 5) }',
        ["in0", "in1", "in2"],
    ),
    (
        "T[d[0,-1][None]]",
        '{ [0*, 1*), "x": [0, 3), "y": [0, 4), "z": [0, 5), [0*, 1*) }',
        ["in1", "in2", "in3"],
    ),
    (
        "T[d['x','z'][(0,1):(2,3)]]",
        '{ "x": [0, 2), "y": [0, 4), "z": [1, 3) }',
        ["in0", "in1", "in2"],
    ),
    (
        "T[IndexDomain([Dim(1, 3, label='y')])]",
        '{ "x": [0, 3), "y": [1, 3), "z": [0, 5) }',
        ["in0", "in1", "in2"],
    ),
    ("I[[9,7,5,3]][[3,0,3]]", "{ [0, 3) }", [[3, 9, 3]]),
    ("I[[9,7,5,3]][::-2]", "{ [-1, 1) }", [[3, 7]]),
    ("I[1::2][[4,0]]", "{ [0, 2) }", [[4, 0]]),
]


@pytest.mark.parametrize(("expression", "domain", "maps"), TABLE, ids=[row[0] for row in TABLE])
def test_table(expression: str, domain: str, maps: list[Any]) -> None:
    names = {"I": I, "J": J, "T": T, "d": d, "Dim": Dim, "IndexDomain": IndexDomain}
    result = eval(expression, names)
    assert repr(result.domain) == domain
    for m, expected in zip(result.output, maps, strict=True):
        if isinstance(expected, list):
            np.testing.assert_array_equal(m.index_array, expected)
        elif isinstance(expected, int):
            assert (m.offset, m.index_array) == (expected, None)
        else:
            shift = f"{m.offset}+" if m.offset else ""
            scale = f"{m.stride}*" if m.stride != 1 else ""
            assert f"{shift}{scale}in{m.input_dimension}" == expected


@pytest.mark.parametrize("expression", ["I[-1]", "I[3:12]", "I[-3:]", "I[5:3]", "I[10]", "I[0,0]"])
def test_coordinates_neither_wrap_nor_clip(expression: str) -> None:
    with pytest.raises(OutOfBoundsError):
        eval(expression, {"I": I})


def test_values_of_index_arrays_are_checked_on_use() -> None:
    transform = I[[0, 10]]
    assert transform.output[0].index_range == Dim(10, implicit_lower=False)
    with pytest.raises(OutOfBoundsError, match="index 10"):
        transform.validate()
    with pytest.raises(OutOfBoundsError, match="index 10"):
        transform([1])
    assert transform([0]) == (0,)
