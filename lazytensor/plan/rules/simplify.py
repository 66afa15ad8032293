"""Laws that make plans smaller where they stand: identities and like nodes that follow each other.

None of them moves work, so none asks who else consumes a node. What is like this of one kind alone
stands with the other laws of that kind (``casts``, ``reshapes``, ``rechunks``, ``downsamples``).
"""

from __future__ import annotations

from lazytensor.plan.compose import substitute
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cache, Constant, View
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import same_elements

__all__ = [
    "compose_views",
    "drop_cache_of_cache",
    "drop_identity_view",
    "empty_view_reads_nothing",
]


@law(View, View, flag="simplify_expression")
def compose_views(view: View, below: View) -> Node:
    """x[i][j] = x[i∘j]

    Bounds of ``x[i][j]`` are settled, so its implicit ones are not asked about again.
    """
    outer = below.transform
    maps = substitute(outer.maps, outer.domain, view.transform.maps, view.domain)
    return View(below.x, IndexTransform._make(view.domain, maps))


@law(View, flag="simplify_expression")
def drop_identity_view(view: View) -> Node | None:
    """x[:] = x"""
    x = view.x
    return x if view.domain == x.domain and same_elements(view.transform, x.domain) else None


@law(View, flag="simplify_expression")
def empty_view_reads_nothing(view: View) -> Node | None:
    """x[0:0] = an empty array

    A constant stands below the empty view instead of ``x``: there is no value to ask for.
    """
    if view.size or isinstance(view.x, Constant) or view.dtype.kind == "T":
        return None
    nothing = Constant(view.dtype, bytes(view.dtype.itemsize))
    return View(nothing, IndexTransform._make(view.domain, ()))


@law(Cache, flag="simplify_expression")
def drop_cache_of_cache(cache: Cache) -> Node | None:
    """cache(cache(x)) = cache(x)"""
    return cache.x if isinstance(cache.x, Cache) else None
