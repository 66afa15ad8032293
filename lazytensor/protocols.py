"""What Python, NumPy and DLPack call on a tensor by themselves.

Everything here turns a plan into values, or refuses to, without anyone having written ``collect``:
so it is kept apart from what the user calls, and goes through the policy for implicit collects.
NumPy functions with a lazy twin stay lazy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from inspect import signature
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

import numpy as np

from lazytensor import build
from lazytensor._operators import Operators
from lazytensor.callsite import about
from lazytensor.collecting import collect_implicitly, scalar
from lazytensor.handoff import dlpack_capsule
from lazytensor.numpy_twins import replace_tensors, twin_of
from lazytensor.plan.ops import ELEMENTWISE, FUNCTIONS, REDUCTIONS, UFUNCS, Reduction

__all__ = ["Protocols"]

_REDUCED = {
    "add": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
    "logical_and": "all",
    "logical_or": "any",
}


class Protocols(Operators):
    """Base of ``LazyTensor``: conversions and protocols, all of them implicit."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __getitem__(self, key: Any) -> Self: ...

    __hash__ = None  # type: ignore[assignment]  # == is elementwise
    __array_priority__ = 1000

    def __bool__(self) -> bool:
        """Truth of a 0-d tensor, collected; ``TypeError`` for other ranks."""
        return bool(scalar(self._node, "bool()"))

    def __int__(self) -> int:
        """Value of a 0-d tensor, collected; ``TypeError`` for other ranks."""
        return int(scalar(self._node, "int()"))

    def __float__(self) -> float:
        """Value of a 0-d tensor, collected; ``TypeError`` for other ranks."""
        return float(scalar(self._node, "float()"))

    def __complex__(self) -> complex:
        """Value of a 0-d tensor, collected; ``TypeError`` for other ranks."""
        return complex(scalar(self._node, "complex()"))

    def __index__(self) -> int:
        """Value of a 0-d integer tensor, collected; ``TypeError`` for all else."""
        if self._node.dtype.kind not in "iu":
            raise TypeError(f"only integer tensors can be used as an index, not {self._node.dtype}")
        return int(scalar(self._node, "index()"))

    def __len__(self) -> int:
        """Extent of the first dim."""
        if not self._node.shape:
            raise TypeError("a 0-d tensor has no length")
        return self._node.shape[0]

    def __iter__(self) -> Iterator[Self]:
        """The tensors ``self[0]``, ``self[1]``, ... (lazy)."""
        if not self._node.shape:
            raise TypeError("a 0-d tensor cannot be iterated over")
        return (self[i] for i in range(len(self)))

    def __format__(self, spec: str) -> str:
        """The value of a 0-d tensor, collected, as its format says; ``repr`` without a format.

        >>> f"{lt.mean(lt.asarray([1, 2])):.2f}"
        '1.50'
        """
        return format(scalar(self._node, "a format"), spec) if spec else str(self)

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TypeError(
            "tensors are immutable: build another one, for example with lt.where(mask, value, x) "
            "or lt.overlay([x, patch])"
        )

    def __matmul__(self, other: Any, /) -> Self:
        """As ``lt.matmul(self, other)``."""
        return self._product(self, other)

    def __rmatmul__(self, other: Any, /) -> Self:
        """As ``lt.matmul(other, self)``."""
        return self._product(other, self)

    def _product(self, left: Any, right: Any) -> Self:
        from lazytensor import build_contract

        try:
            with about(left, right):
                return self._wrap(build_contract.matmul(left, right))
        except build.UnknownOperandError:
            return cast("Self", NotImplemented)

    def __contains__(self, value: Any) -> NoReturn:
        raise TypeError("'in' would have to compute the tensor; use (x == value).any()")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The values as a fresh NumPy array; ``ValueError`` for ``copy=False``, as NumPy has it."""
        if copy is False:
            raise ValueError("copy=False, but the values of a tensor have to be computed")
        values = collect_implicitly(self._node, "np.asarray")
        return values if dtype is None else values.astype(dtype, copy=False)

    def __dlpack_device__(self) -> tuple[int, int]:
        """``(1, 0)``, the CPU; nothing is computed."""
        return (1, 0)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A DLPack capsule of the values, collected once.

        Raises ``BufferError`` for devices other than the CPU, streams, and dtypes that DLPack
        does not have.
        """
        if stream not in (None, -1):
            raise BufferError(f"the CPU has no streams, so stream={stream!r} is not possible")
        if dl_device is not None and tuple(dl_device) != (1, 0):
            raise BufferError(f"values are on the CPU (1, 0), not on DLPack device {dl_device}")
        values = collect_implicitly(self._node, "__dlpack__")
        return dlpack_capsule(values, max_version, copy)

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        """The module ``lazytensor``; ``ValueError`` for a version of the standard it has not."""
        module = sys.modules["lazytensor"]
        known = ("2021.12", "2022.12", "2023.12", "2024.12", module.__array_api_version__)
        if api_version is not None and api_version not in known:
            raise ValueError(f"Array API version {api_version!r} is not one of {', '.join(known)}")
        return module

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """NumPy ufuncs on tensors: lazy where the operation is one of ours, else on values."""
        name = UFUNCS.get(ufunc)
        twin = None if name is not None else twin_of(ufunc)
        if twin is not None and method == "__call__" and _takes(twin, inputs, kwargs):
            return twin(*inputs, **kwargs)
        if name is not None and method == "__call__" and not kwargs:
            return self._wrap(build.elementwise(name, *inputs))
        if name in _REDUCED and method == "reduce" and set(kwargs) <= {"axis", "keepdims"}:
            axis = kwargs.get("axis", 0)
            keepdims = bool(kwargs.get("keepdims", False))
            return self._wrap(build.reduction(_REDUCED[name], inputs[0], axis, keepdims))
        _refuse_out(kwargs.get("out", ()))
        what = f"np.{ufunc.__name__}"
        if method == "at":
            raise TypeError(f"{what}.at writes into its operand, and tensors are immutable")
        values, options = self._values(what, inputs, kwargs)
        return getattr(ufunc, method)(*values, **options)

    def __array_function__(
        self, func: Callable[..., Any], types: Any, args: Any, kwargs: Any
    ) -> Any:
        """NumPy functions on tensors: lazy where a twin takes the arguments, else on values."""
        twin = twin_of(func)
        kwargs = _said(func, kwargs)
        if twin is not None and _takes(twin, args, kwargs):
            return twin(*args, **kwargs)
        name = FUNCTIONS.get(func)
        if name in ELEMENTWISE and not kwargs and len(args) == ELEMENTWISE[name].arity:
            return self._wrap(build.elementwise(name, *args))
        if name in REDUCTIONS:
            options = _reduction_options(REDUCTIONS[name], args[1:], kwargs)
            if options is not None:
                return self._wrap(build.reduction(name, args[0], **options))
        _refuse_out((kwargs.get("out"),))
        values, rest = self._values(f"np.{func.__name__}", args, kwargs)
        return func(*values, **rest)

    def _values(self, what: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments with tensors replaced by their values."""

        def values_of(x: Any) -> np.ndarray:
            return collect_implicitly(x._node, what)

        return replace_tensors(tuple(args), values_of), replace_tensors(dict(kwargs), values_of)


def _said(function: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keywords without those that say what NumPy does anyway, such as ``out=None``."""
    if not kwargs:
        return kwargs
    defaults = _defaults_of(function)
    return {
        name: value
        for name, value in kwargs.items()
        if name not in defaults or not _is_same(value, defaults[name])
    }


def _is_same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) is str and value == default)


@cache
def _defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """By keyword; empty for compiled functions, of which nobody can tell."""
    try:
        parameters = signature(function).parameters.values()
    except ValueError:
        return {}
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def _takes(twin: Callable[..., Any], args: Any, kwargs: Any) -> bool:
    """Whether a twin has all the arguments; those it has not have no lazy meaning (``out=``)."""
    most, names = _parameters_of(twin)
    return len(args) <= most and (not kwargs or kwargs.keys() <= names)


@cache
def _parameters_of(twin: Callable[..., Any]) -> tuple[float, frozenset[str]]:
    """How many arguments go by position, and the names of those that go by name."""
    parameters = signature(twin).parameters.values()
    many = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    placed = [one for one in parameters if one.kind is not one.KEYWORD_ONLY]
    named = [one.name for one in parameters if one.kind is not one.POSITIONAL_ONLY]
    return float("inf") if many else len(placed), frozenset(named)


def _reduction_options(row: Reduction, positional: Any, named: Any) -> dict[str, Any] | None:
    """Our keywords for the arguments of a NumPy reduction, None where it was given others."""
    if len(positional) > 1:
        return None
    given = {**dict(zip(("axis",), positional, strict=False)), **named}
    if "ddof" in given:
        given["correction"] = given.pop("ddof")
    known = {"axis", "keepdims", *(name for name, _ in row.parameters)}
    return given if known >= given.keys() else None


def _refuse_out(outs: Any) -> None:
    if any(hasattr(out, "_node") for out in outs if out is not None):
        raise TypeError("out= cannot be a tensor: tensors are immutable")
