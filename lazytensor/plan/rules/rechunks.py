"""Laws of ``rechunk``: cells matter only to what looks at them.

A grid changes no value. It is there for functions on blocks, which are given its cells, for
``inspect``, which is shown blocks, and for who asks the result for its chunks: a rechunk right
below a function, or on top of all, stays. Anywhere else it hides a node from the laws of what is
above it, and makes tasks that cut stored chunks.
"""

from __future__ import annotations

from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cast, Elementwise, Field, Rechunk, Reduce, Reshape, View
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.rules.law import Law, law

__all__ = ["DROP_RECHUNK_BELOW", "drop_rechunk_of_rechunk", "drop_rechunk_under_view"]


@law(View, Rechunk, flag="rechunk_elim")
def drop_rechunk_under_view(view: View, rechunk: Rechunk) -> Node:
    """rechunk(x)[i] = x[i]

    Where cells do matter, below a user's function on blocks, the driver keeps the blocks.
    """
    return View(rechunk.x, view.transform)


@law(Rechunk, flag="rechunk_elim")
def drop_rechunk_of_rechunk(rechunk: Rechunk) -> Node | None:
    """rechunk(rechunk(x, a), b) = rechunk(x, b)"""
    below = rechunk.x
    return Rechunk(below.x, rechunk.sizes) if type(below) is Rechunk else None


def _without_rechunks(node: Node) -> Node | None:
    """f(rechunk(x)) = f(x)"""
    for x in node.inputs:
        if type(x) is Rechunk:
            break
    else:
        return None
    return node.with_inputs(tuple([x.x if type(x) is Rechunk else x for x in node.inputs]))


def _law_of(kind: type[Node]) -> Law:
    """The law of one kind of consumer; a law looks at nodes of one kind."""

    def apply(node: Node) -> Node | None:
        return _without_rechunks(node)

    apply.__name__ = f"drop_rechunk_below_{kind.__name__.lower()}"
    apply.__doc__ = f"{kind.__name__.lower()}(rechunk(x)) = {kind.__name__.lower()}(x)"
    return law(kind, flag="rechunk_elim")(apply)


DROP_RECHUNK_BELOW: tuple[Law, ...] = tuple(
    map(_law_of, (Elementwise, Cast, Field, Reduce, Downsample, Join, Overlay, Reshape))
)
"""One law for each kind that looks at values and not at cells."""
