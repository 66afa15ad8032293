"""Where a tensor was built, and errors that say so.

A plan is built on one line and runs on another, so a message that only names shapes sends people
searching. Handles therefore remember the file and line of the code that made them (one walk over a
few frames, well under a microsecond), and an error that leaves the library while a plan is being
built is given one line for each operand. Nodes know no lines: two lines may build one node.
"""

from __future__ import annotations

import functools
import os
import sys
from types import TracebackType
from typing import Any, TypeAlias

from lazytensor.errors import LazyTensorError
from lazytensor.plan.align import describe_shape
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan

__all__ = ["Site", "about", "call_site", "describe_operand", "name_operands"]

Site: TypeAlias = tuple[str, int]
"""File name and line number."""

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_FUNCTOOLS = functools.__file__
"""``cached_property`` stands between a caller and the containers of images."""
_NAMED = 4


def call_site() -> Site | None:
    """File and line of the innermost caller outside this package, None if there is none.

    >>> site = call_site()
    >>> site[1]
    1
    """
    frame = sys._getframe(1)
    while (name := frame.f_code.co_filename).startswith(_PACKAGE) or name == _FUNCTOOLS:
        outer = frame.f_back
        if outer is None:
            return None
        frame = outer
    return name, frame.f_lineno


def describe_operand(node: Node, site: Site | None) -> str:
    """One line on an operand: what makes it, shape, dtype, and where it was built.

    >>> describe_operand(lt.zeros((2, 3))._node, ("a.py", 7))
    'view (2, 3) float64  built at a.py:7'
    """
    what = node.source.label if isinstance(node, Scan) else type(node).__name__.lower()
    built = f"  built at {site[0]}:{site[1]}" if site else ""
    return f"{what} {describe_shape(node.domain)} {node.dtype}{built}"


def name_operands(error: LazyTensorError, *operands: Any) -> None:
    """Give the error a line for each operand that is a tensor, once.

    Sequences among the operands are looked into. At most four operands are named.
    """
    message = str(error)
    if "  built at " in message:
        return
    handles = list(_handles(operands))
    lines = [f"  {describe_operand(x._node, x._site)}" for x in handles[:_NAMED]]
    if len(handles) > _NAMED:
        lines.append(f"  … and {len(handles) - _NAMED} more")
    error.args = ("\n".join([message, *lines]),)


def _handles(operands: Any) -> Any:
    for operand in operands:
        if isinstance(getattr(operand, "_node", None), Node):
            yield operand
        elif isinstance(operand, (list, tuple)):
            yield from (x for x in operand if isinstance(getattr(x, "_node", None), Node))


class about:
    """``with about(x, y):`` names ``x`` and ``y`` in any of our errors raised in the block.

    >>> with about(lt.zeros((2, 3), dtype="u1")):
    ...     raise lt.ShapeError("cannot do that")
    Traceback (most recent call last):
    ...
    lazytensor.errors.ShapeError: cannot do that
      view (2, 3) uint8  built at ...
    """

    __slots__ = ("_operands",)

    def __init__(self, *operands: Any) -> None:
        self._operands = operands

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, LazyTensorError):
            name_operands(error, *self._operands)
