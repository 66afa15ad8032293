"""Laws that make plans smaller where they stand: identities and like nodes that follow each other.

None of them moves work, so none asks who else consumes a node.
"""

from __future__ import annotations

import numpy as np

from lazytensor.plan.compose import substitute
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cache, Cast, Constant, Rechunk, Reshape, View
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import same_elements

__all__ = [
    "compose_views",
    "drop_cache_of_cache",
    "drop_downsample_by_one",
    "drop_identity_cast",
    "drop_identity_reshape",
    "drop_identity_view",
    "drop_rechunk_of_rechunk",
    "drop_rechunk_under_view",
    "empty_view_reads_nothing",
    "merge_reshapes",
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


@law(Cast, flag="simplify_expression")
def drop_identity_cast(cast: Cast) -> Node | None:
    """cast(x, dtype(x)) = x"""
    return cast.x if cast.to == cast.x.dtype else None


@law(View, Rechunk, flag="simplify_expression")
def drop_rechunk_under_view(view: View, rechunk: Rechunk) -> Node:
    """rechunk(x)[i] = x[i]

    A grid changes no value. Where it does matter, below a user's function on blocks, the driver
    keeps the blocks.
    """
    return View(rechunk.x, view.transform)


@law(Rechunk, flag="simplify_expression")
def drop_rechunk_of_rechunk(rechunk: Rechunk) -> Node | None:
    """rechunk(rechunk(x, a), b) = rechunk(x, b)"""
    below = rechunk.x
    return Rechunk(below.x, rechunk.sizes) if isinstance(below, Rechunk) else None


@law(Cache, flag="simplify_expression")
def drop_cache_of_cache(cache: Cache) -> Node | None:
    """cache(cache(x)) = cache(x)"""
    return cache.x if isinstance(cache.x, Cache) else None


@law(Reshape, flag="simplify_expression")
def merge_reshapes(reshape: Reshape) -> Node | None:
    """reshape(reshape(x, a), b) = reshape(x, b)"""
    below = reshape.x
    return Reshape(below.x, reshape.to_shape) if isinstance(below, Reshape) else None


@law(Reshape, flag="simplify_expression")
def drop_identity_reshape(reshape: Reshape) -> Node | None:
    """reshape(x, shape(x)) = x, where x counts from 0 and names nothing"""
    return reshape.x if reshape.domain == reshape.x.domain else None


_EXACT_KINDS = "biu"
_ELEMENT_METHODS = ("median", "mode")


@law(Downsample, flag="simplify_expression")
def drop_downsample_by_one(node: Downsample) -> Node | None:
    """downsample(x, (1, 1)) = x, where one element stands for itself

    The mean of a lone -0.0 may be 0.0, and the minimum of a lone NaN is +inf: floats keep their
    mean, min and max.
    """
    if any(f != 1 for f in node.factors) or node.domain != node.x.domain:
        return None
    itself = node.method in _ELEMENT_METHODS or np.dtype(node.dtype).kind in _EXACT_KINDS
    return node.x if itself else None
