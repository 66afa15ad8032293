"""What a law of the optimizer is.

A law is a function named by what it does, whose docstring starts with the equation it stands for.
It looks at the node kinds that its decorator names, and answers with the node that replaces the
first of them, or None where it does not apply. It must keep shape, dtype and domain, every value
bit for bit (float reductions may be regrouped), and every error. The driver (``plan.optimize``)
decides where and in which order laws are tried.

It is its own module so that the families of laws can be written without the list that orders them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from lazytensor.plan.node import Node

__all__ = ["Law", "law"]


class Law(NamedTuple):
    """A rewrite of one node, or of a node and the one below it.

    Attributes
    ----------
    name
        Name of the function; ``explain(rules=True)`` prints its flag and counts it.
    statement
        The equation: first line of the docstring.
    flag
        The ``QueryOptFlags`` switch it belongs to.
    kinds
        Node kinds it looks at: ``(kind,)``, or ``(above, below)``.
    gated
        True if it does away with ``below``, which is computed again if somebody else needs it too.
        The driver then asks that all its consumers are views that move; that of others there is
        only one (laws of such pairs are always asked so).
    apply
        The function; takes one node per kind, returns the replacement of the first or None.
    """

    name: str
    statement: str
    flag: str
    kinds: tuple[type[Node], ...]
    gated: bool
    apply: Callable[..., Node | None]

    def __call__(self, *nodes: Node) -> Node | None:
        """What replaces the first of ``nodes``, None if the law does not apply to them."""
        return self.apply(*nodes)

    def __repr__(self) -> str:
        return f"<law {self.name}: {self.statement}>"


def law(
    *kinds: type[Node], flag: str, gated: bool = False
) -> Callable[[Callable[..., Node | None]], Law]:
    """Make a law of a function; see ``Law`` for the arguments.

    >>> from lazytensor.plan.rules.passes import PASSES
    >>> print(*(law for law in PASSES if law.name == "view_through_cast"))
    <law view_through_cast: cast(x)[i] = cast(x[i])>
    """

    def decorate(function: Callable[..., Any]) -> Law:
        statement = (function.__doc__ or "").strip().partition("\n")[0]
        return Law(function.__name__, statement, flag, kinds, gated, function)

    return decorate
