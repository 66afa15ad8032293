"""What a case of a law is: a plan as somebody writes it, and the plan that the law makes of it.

The cases are in ``law_cases_<family>.py`` in the order of ``plan.rules.passes``; read one after
the other (views, constants, like, sums), they are a tour of the optimizer. A case is a function
named like its law, with ``__`` and a word behind it if there are several. It returns the plan
before and the one after, both written by hand; its docstring is how ``explain`` prints the two.
``test_every_law`` says what is checked.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import lazytensor as lt
from lazytensor.config import QueryOptFlags
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.rules.passes import PASSES
from tests.sources import ChunkedArray

__all__ = ["CASES", "Case", "Pair", "Plan", "case", "image", "node", "records", "same", "view"]

Plan = lt.LazyTensor | Node
Pair = tuple[Plan, Plan]


class Case(NamedTuple):
    """One application of a law.

    Attributes
    ----------
    law
        Its name.
    name
        Name of the case.
    build
        Makes the plans before and after.
    printed
        What ``explain`` says of them.
    reads
        Bytes of the chunks that a collect touches of stored tensors: with the law's flag switched
        off, and with all flags. Where they are equal the law saves work, or clears the way for
        another: engines by themselves ask only for what they need, as far as they can see through
        an operation. None if the plan has no stored tensor.
    flags
        All that is switched on for the firing: the law's own flag, and what the case needs besides.
    """

    law: str
    name: str
    build: Callable[[], Pair]
    printed: tuple[str, str]
    reads: tuple[int, int] | None
    flags: QueryOptFlags


CASES: list[Case] = []

_FLAG = {law.name: law.flag for law in PASSES}


def case(
    reads: tuple[int, int] | None = None, *, needs: Sequence[str] = ()
) -> Callable[[Callable[[], Pair]], Callable[[], Pair]]:
    """Put a case into the table; ``needs``: flags besides the one of the law."""

    def add(build: Callable[[], Pair]) -> Callable[[], Pair]:
        law = build.__name__.partition("__")[0]
        before, _, after = (inspect.getdoc(build) or "").partition("\n=\n")
        flags = QueryOptFlags.none().update(**dict.fromkeys((_FLAG[law], *needs), True))
        CASES.append(Case(law, build.__name__, build, (before, after), reads, flags))
        return build

    return add


def image(
    dtype: Any = "i4",
    shape: tuple[int, ...] = (6, 8),
    chunks: tuple[int, ...] = (2, 4),
    *,
    origin: tuple[int, ...] | None = None,
    name: str = "image",
    start: int = 0,
) -> lt.LazyTensor:
    """A stored tensor with dims z, y, x as far as it has them; all values differ."""
    values = np.arange(start, start + int(np.prod(shape))).reshape(shape).astype(dtype)
    dims = ("z", "y", "x")[3 - len(shape) :]
    return lt.scan_source(ChunkedArray(values, chunks, origin=origin, dims=dims, name=name))


def records() -> lt.LazyTensor:
    """Six records in memory, of an integer and a float."""
    values = np.zeros(6, [("a", "i4"), ("b", "f8")])
    values["a"], values["b"] = np.arange(6), np.arange(6) / 4
    return lt.asarray(values)


def node(plan: Plan) -> Node:
    """The node of a tensor."""
    return plan if isinstance(plan, Node) else plan._node


def view(plan: Plan, *key: object) -> View:
    """A slice in coordinates, as a node."""
    x = node(plan)
    return View(x, IndexTransform.identity(x.domain)[key])


def same(value: object, plan: Plan) -> Node:
    """One value on the domain and with the dtype of a plan, as laws write it."""
    x = node(plan)
    constant = lt.full((), value, dtype=x.dtype)._node
    return View(constant, IndexTransform._make(x.domain, ()))
