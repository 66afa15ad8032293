"""What is generated from the operation table is checked in, complete and not stale."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import lazytensor as lt
from lazytensor import _operations
from lazytensor._operators import Operators
from lazytensor.plan.ops import ELEMENTWISE, REDUCTIONS, Op, Reduction

ROOT = Path(__file__).resolve().parent.parent
ROWS = [*ELEMENTWISE.values(), *REDUCTIONS.values()]
BINARY = [row for row in ELEMENTWISE.values() if row.dunder is not None and row.arity == 2]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_files_are_not_stale(
    generator: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().out


def test_a_stale_file_is_noticed_and_written(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lazytensor").mkdir()
    monkeypatch.setattr(generator, "ROOT", tmp_path)
    assert generator.main(["--check"]) == 1
    assert not list((tmp_path / "lazytensor").iterdir())
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_is_a_function_with_the_standards_signature(row: Op | Reduction) -> None:
    function = getattr(_operations, row.name)
    assert getattr(lt, row.name) is function
    parameters = inspect.signature(function).parameters
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_ONLY]
    keywords = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    if isinstance(row, Reduction):
        assert positional == ["x"]
        assert keywords == ["axis", *(name for name, _ in row.parameters), "keepdims"]
    elif row.name == "clip":
        assert list(parameters) == ["x", "min", "max"] and positional == ["x"]
    else:
        assert tuple(positional) == row.parameters and not keywords


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_function_says_what_it_does(row: Op | Reduction) -> None:
    text = inspect.getdoc(getattr(_operations, row.name)) or ""
    assert text.startswith(row.doc)
    for part in ("Array API standard 2025.12", f"``{row.name}``", "DTypeError", ">>> lt."):
        assert part in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("row", BINARY, ids=lambda row: row.name)
def test_operators_and_their_reflections_agree_with_numpy(row: Op) -> None:
    x = np.array([[12, 7, 3]])
    y = np.array([[2], [1]])
    a, b = lt.asarray(x), lt.asarray(y)
    dunder = f"__{row.dunder}__"
    expected = getattr(x, dunder)(y)
    for result in (getattr(a, dunder)(b), getattr(a, dunder)(y), getattr(lt, row.name)(x, y)):
        np.testing.assert_array_equal(result.collect(), expected)
    if not row.compares:
        reflected = getattr(b, f"__r{row.dunder}__")
        np.testing.assert_array_equal(reflected(x).collect(), expected)
        assert reflected(object()) is NotImplemented
    assert getattr(a, dunder)(object()) is NotImplemented
    assert getattr(a, dunder)(None) is NotImplemented


@pytest.mark.parametrize("row", REDUCTIONS.values(), ids=lambda row: row.name)
def test_methods_are_the_functions(row: Reduction) -> None:
    x = lt.asarray(np.arange(6.0).reshape(2, 3))
    function, method = getattr(lt, row.name), getattr(x, row.name)
    assert function(x, axis=1, keepdims=True)._node is method(1, keepdims=True)._node
    assert function(x)._node is method()._node


def test_operators_with_arrays_and_scalars_on_the_left_stay_lazy() -> None:
    x = lt.asarray(np.arange(3))
    for result in (np.array([10]) - x, 10 - x, np.int64(10) - x):
        assert isinstance(result, lt.LazyTensor)
        np.testing.assert_array_equal(result.collect(), [10, 9, 8])


def test_in_place_operators_rebind() -> None:
    x = before = lt.asarray(np.arange(3))
    x += 1
    assert x is not before
    np.testing.assert_array_equal(x.collect(), [1, 2, 3])
    np.testing.assert_array_equal(before.collect(), [0, 1, 2])


def test_equality_with_anything_else_is_left_to_python() -> None:
    x = lt.asarray([1])
    assert (x == None) is False  # noqa: E711
    assert (x != object()) is True
    with pytest.raises(TypeError):
        x + None  # type: ignore[operator]
    with pytest.raises(TypeError):
        hash(x)


def test_methods_of_numpy_arrays() -> None:
    values = np.array([0.25, 1.75, -2.5], np.float32)
    x = lt.asarray(values)
    np.testing.assert_array_equal(x.round().collect(), values.round())
    np.testing.assert_array_equal(x.round(1).collect(), values.round(1))
    np.testing.assert_array_equal(x.clip(0, 1).collect(), values.clip(0, 1))
    z = lt.asarray(values + 1j)
    np.testing.assert_array_equal(z.real.collect(), values)
    np.testing.assert_array_equal(z.imag.collect(), np.ones(3, np.float32))
    np.testing.assert_array_equal(z.conj().collect(), values - 1j)


def test_all_public_names_come_from_the_table() -> None:
    assert sorted(_operations.__all__) == sorted(row.name for row in ROWS)
    own = {name for name in vars(Operators) if name.startswith("__")}
    for row in ELEMENTWISE.values():
        if row.dunder is not None:
            assert f"__{row.dunder}__" in own
    assert not {"__iadd__", "__setitem__"} & own
