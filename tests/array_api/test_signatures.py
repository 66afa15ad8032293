"""Every function of the standard is here, with the standard's own signature."""

from __future__ import annotations

import inspect
from typing import Any

import array_api_strict
import numpy as np
import pytest

import lazytensor as lt

# What the strict namespace has and the standard's main namespace has not.
_ITS_OWN = {
    "ArrayAPIStrictFlags",
    "Device",
    "get_array_api_strict_flags",
    "reset_array_api_strict_flags",
    "set_array_api_strict_flags",
}
_EXTENSIONS = {"fft", "linalg"}
NAMES = sorted(set(array_api_strict.__all__) - _ITS_OWN - _EXTENSIONS)
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(array_api_strict, name))]

Kind = inspect._ParameterKind


def test_the_peer_is_of_our_version() -> None:
    assert array_api_strict.__array_api_version__ == lt.__array_api_version__ == "2025.12"


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert hasattr(lt, name)
    assert name.startswith("__") or name in lt.__all__


@pytest.mark.parametrize("name", sorted(_EXTENSIONS))
def test_extensions_are_not_there(name: str) -> None:
    assert not hasattr(lt, name)


def parameters(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_are_those_of_the_standard(name: str) -> None:
    """Kind by kind and in order; whatever we add is a keyword."""
    theirs, ours = parameters(getattr(array_api_strict, name)), parameters(getattr(lt, name))
    named = [p for p in ours if p.kind == Kind.KEYWORD_ONLY]
    rest = [p for p in ours if p.kind != Kind.KEYWORD_ONLY]
    wanted = [p for p in theirs if p.kind != Kind.KEYWORD_ONLY]
    assert [p.kind for p in rest] == [p.kind for p in wanted]
    for mine, his in zip(rest, wanted, strict=True):
        assert mine.name == his.name or mine.kind in (Kind.POSITIONAL_ONLY, Kind.VAR_POSITIONAL)
    assert {p.name for p in theirs if p.kind == Kind.KEYWORD_ONLY} <= {p.name for p in named}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_defaults_are_those_of_the_standard(name: str) -> None:
    ours = inspect.signature(getattr(lt, name)).parameters
    for i, his in enumerate(parameters(getattr(array_api_strict, name))):
        mine = list(ours.values())[i] if his.kind == Kind.POSITIONAL_ONLY else ours[his.name]
        if his.default is his.empty:
            # The default axis of expand_dims is of the standard, and not in the peer.
            assert mine.default is mine.empty or name == "expand_dims"
        elif type(his.default).__name__ == "Undef":
            assert mine.default is None
        else:
            assert mine.default == his.default


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_docstring_says_which_function_of_the_standard_it_is(name: str) -> None:
    text = " ".join((inspect.getdoc(getattr(lt, name)) or "").split())
    assert "Array API standard" in text


def members() -> list[str]:
    array = type(array_api_strict.asarray(1))
    return sorted(
        name
        for name, value in vars(array).items()
        if (callable(value) or isinstance(value, property))
        and (not name.startswith("_") or (name.startswith("__") and name not in vars(object)))
        and name not in ("__new__", "__buffer__", "__module__", "__dict__", "__weakref__")
    )


@pytest.mark.parametrize("name", members())
def test_the_array_object_is_complete(name: str) -> None:
    """In-place operators fall back to the others: a tensor is immutable, the name is bound anew."""
    if name.startswith("__i") and hasattr(int, f"__{name[3:]}") and name != "__invert__":
        return
    if name == "__imatmul__":
        return
    assert hasattr(lt.LazyTensor, name)


@pytest.mark.parametrize(
    "op", ["+", "-", "*", "/", "//", "%", "**", "&", "|", "^", "<<", ">>", "@"]
)
def test_in_place_operators_bind_another_tensor(op: str) -> None:
    dtype = "f8" if op == "/" else "i8"
    values = {"x": lt.asarray(np.arange(4).reshape(2, 2) + 1, dtype=dtype, copy=True), "y": 2}
    expected: dict[str, Any] = {"x": np.arange(4).reshape(2, 2).astype(dtype) + 1, "y": 2}
    if op == "@":
        values["y"] = expected["y"] = np.eye(2, dtype="i8")
    before = values["x"]
    exec(f"x {op}= y", {}, values)
    exec(f"x = x {op} y", {}, expected)
    np.testing.assert_array_equal(values["x"].collect(), expected["x"])
    assert values["x"] is not before


def test_the_namespace_of_a_tensor() -> None:
    x = lt.zeros(2)
    for version in (None, "2021.12", "2022.12", "2023.12", "2024.12", "2025.12"):
        assert x.__array_namespace__(api_version=version) is lt
    with pytest.raises(ValueError, match=r"2031\.12"):
        x.__array_namespace__(api_version="2031.12")


def test_inspection_is_complete() -> None:
    info = lt.__array_namespace_info__()
    theirs = array_api_strict.__array_namespace_info__()
    public = [name for name in dir(theirs) if not name.startswith("_")]
    assert public == [name for name in dir(info) if not name.startswith("_")]
    assert info.capabilities().keys() == theirs.capabilities().keys()
    assert info.default_dtypes().keys() == theirs.default_dtypes().keys()
    for kind in (None, "bool", "integral", "numeric", ("bool", "real floating"), ()):
        assert info.dtypes(kind=kind).keys() == theirs.dtypes(kind=kind).keys()
    assert info.devices() == ("cpu",)
    assert all(info.dtypes(device=device) for device in info.devices())
