"""What one row of the elementwise table is.

A row states an operation once: its name and arity, its dtype rule, how NumPy evaluates it on whole
arrays, the scalar expression that compiled kernels are made of, which NumPy functions, operators
and methods mean it, and the words of its documentation. Everything else (functions, operators,
methods, specs, engines, serialised names, tests) is derived from the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from lazytensor.errors import DTypeError
from lazytensor.plan.promote import (
    Loop,
    Resolver,
    Signature,
    describe,
    fits,
    scalar_array,
)

__all__ = ["Compute", "Op"]

Compute = Callable[[Loop, tuple[np.ndarray, ...], np.ndarray | None], np.ndarray]
"""Evaluation on whole arrays: the loop, the operands as they are, and ``out`` or None."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Op:
    """One elementwise operation.

    ``expr`` is Python source that Numba compiles, with ``{0}``, ``{1}``, ``{2}`` for operands that
    are already cast to the loop's dtypes and ``{bits}`` for the width of the first; its value is
    cast to the loop's result. It may use ``np`` and needs ``error_model="numpy"``. ``exprs`` has
    the exceptions by dtype kind, or kind and size; None where only ``evaluate`` gives the same
    bits, or is as fast. ``passes``: how often NumPy goes over the values. ``refuse`` raises for
    Python scalars that can be seen to be wrong before anything is computed.

    >>> from lazytensor.plan.ops import ELEMENTWISE
    >>> add = ELEMENTWISE["add"]
    >>> add.result_dtype((np.dtype("u1"), np.dtype("i1")))
    dtype('int16')
    >>> add.evaluate(np.arange(3), np.arange(3))
    array([0, 2, 4])
    """

    name: str
    parameters: tuple[str, ...]
    resolver: Resolver
    compute: Compute
    expr: str | None
    exprs: Mapping[str, str | None] = field(default_factory=lambda: MappingProxyType({}))
    ufunc: np.ufunc | None = None
    functions: tuple[str, ...] = ()
    dunder: str | None = None
    compares: bool = False
    passes: int = 1
    refuse: Callable[[int, complex, Loop], None] | None = None
    doc: str
    note: str = ""
    takes: str
    example: tuple[str, ...]
    since: str = "2021.12"
    section: str = "elementwise functions"
    loops: dict[Signature, Loop] = field(default_factory=dict, repr=False)

    @property
    def arity(self) -> int:
        """Number of operands."""
        return len(self.parameters)

    def loop(self, signature: Signature) -> Loop:
        """Compute and result dtypes for these operand dtypes (see ``promote.Signature``).

        Raises ``DTypeError`` naming the operation and the dtypes where the operation is not
        defined for them.
        """
        known = self.loops.get(signature)
        return self._resolve(signature) if known is None else known

    def _resolve(self, signature: Signature) -> Loop:
        try:
            loop = self.resolver(signature)
        except TypeError:
            raise DTypeError(
                f"{self.name} is not defined for {describe(signature)}: it takes {self.takes}"
            ) from None
        self.loops[signature] = loop
        return loop

    def result_dtype(self, dtypes: tuple[np.dtype, ...]) -> np.dtype:
        """Dtype of the result for operands of these dtypes."""
        return self.loop(dtypes).result

    def scalar(self, position: int, value: complex, loop: Loop) -> np.ndarray:
        """A Python scalar as the 0-d constant that stands for it as operand ``position``.

        Raises ``DTypeError`` for integers that the loop's dtype cannot hold, except in
        comparisons, whose answer NumPy 2 defines for every integer, and for values that the row
        refuses.
        """
        if self.refuse is not None:
            self.refuse(position, value, loop)
        dtype = loop.operands[position]
        try:
            return scalar_array(value, dtype)
        except DTypeError:
            if self.compares and isinstance(value, int) and dtype.kind in "biu":
                return fits(value)
            raise

    def evaluate(self, *arrays: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The result on whole arrays that broadcast, exactly in the result dtype.

        ``out``: where to put it; shape and dtype must be the result's. No floating-point warning
        escapes. Raises ``DTypeError`` for integers to negative integer powers.
        """
        loop = self.loop(tuple(array.dtype for array in arrays))
        with np.errstate(all="ignore"):
            result = self.compute(loop, arrays, out)
        if isinstance(result, np.ndarray):
            # Left to itself, NumPy answers in the machine's byte order.
            return result if result.dtype == loop.result else result.astype(loop.result)
        return np.asarray(result, dtype=loop.result)

    def expression(self, loop: Loop) -> str | None:
        """Source of one element in a compiled kernel, or None where there is no scalar twin.

        It is for bools, integers, and floats of the processor; half floats, complex numbers and
        comparisons of int64 with uint64 are NumPy's own.
        """
        first = loop.operands[-1]
        if first.kind not in "biuf" or first.char in "eg":
            return None
        if self.compares and loop.operands[0] != first:
            return None
        code = f"{first.kind}{first.itemsize}"
        source = self.exprs.get(code, self.exprs.get(first.kind, self.expr))
        if source is None:
            return None
        return source.replace("{bits}", str(8 * first.itemsize))
