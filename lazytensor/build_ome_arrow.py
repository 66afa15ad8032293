"""Nodes of OME-Arrow images: the plan of one image of a table, or of several of one size.

As the other ``build`` modules this knows nodes and no tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Scan, View

if TYPE_CHECKING:
    from lazytensor.io.ome_arrow.scan import ImageTable

__all__ = ["image_node", "stack_node"]


def image_node(table: ImageTable, row: int, column: str, fill_value: Any) -> Node:
    """An image of a table, its first element at its origin."""
    from lazytensor.io.ome_arrow.source import OmeArrowSource

    source = OmeArrowSource(
        table.image(row, column), fill_value=fill_value, reopen=table.document(row, column)
    )
    return _at(Scan(source), table.origin(row))


def stack_node(table: ImageTable, rows: Sequence[int], column: str, fill_value: Any) -> Node:
    """Images of one size and dtype, one behind the other; errors as ``StackSource``."""
    from lazytensor.io.ome_arrow.scan import stack_of

    return Scan(stack_of(table, rows, column, fill_value))


def _at(node: Node, origin: Sequence[int]) -> Node:
    if not any(origin):
        return node
    return View(node, IndexTransform.identity(node.domain).translate_to[tuple(origin)])
