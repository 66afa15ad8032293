"""Laws of overlays: which layers are seen through a window, and which of them are hidden.

An overlay looks at coordinates, so a view that treats every dimension by itself moves into the
layers unchanged: each layer sees the part of the view that falls into it. Layers are found through
the overlay's interval index, so a window on ten thousand tiles costs what it touches.

Holes stay holes: dropping layers that are outside the window or hidden by later ones uncovers no
position, and the view asks for exactly the positions it asked for.
"""

from __future__ import annotations

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.index_interval import affine_domain
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Constant, View
from lazytensor.plan.nodes_join import Overlay
from lazytensor.plan.output_map import SINGLE
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import (
    box_of,
    box_transform,
    core,
    hull,
    is_box,
    narrowed,
    same_elements,
)

__all__ = [
    "clip_layers_to_window",
    "cull_unseen_layers",
    "drop_overlay_of_one",
    "view_through_overlay",
]


@law(View, Overlay, flag="slice_pushdown", gated=True)
def view_through_overlay(view: View, overlay: Overlay) -> Node | None:
    """overlay(x, y)[i] = overlay(x[i], y[i]), of the layers that i meets"""
    if not view.size:
        return None
    if not is_box(view.transform):
        return narrowed(view, lambda box: view_through_overlay(box, overlay))
    transform, above = core(view.transform)
    if above is not None and same_elements(transform, overlay.domain):
        return None
    moved = _seen_through(transform, overlay)
    return moved if above is None or moved is None else View(moved, above)


def _seen_through(transform: IndexTransform, overlay: Overlay) -> Node | None:
    layers = []
    for k in overlay.index.query(hull(transform)):
        x = overlay.inputs[k]
        part = _part_within(transform, x.domain)
        if part is not None:
            layers.append(x if same_elements(part, x.domain) else View(x, part))
    if layers:
        return Overlay(tuple(layers), transform.domain, overlay.fill)
    return _only_fill(overlay, transform.domain)


def _part_within(transform: IndexTransform, domain: IndexDomain) -> IndexTransform | None:
    """The transform where its image lies in ``domain``; None if it nowhere does."""
    lo, hi = list(transform.domain.inclusive_min), list(transform.domain.exclusive_max)
    for d, m in enumerate(transform.maps):
        if m.kind != SINGLE or not m.stride:
            continue
        dim = m.input_dimension
        a, b = affine_domain(domain.inclusive_min[d], domain.exclusive_max[d], m.offset, m.stride)
        lo[dim], hi[dim] = max(lo[dim], a), min(hi[dim], b)
        if lo[dim] >= hi[dim]:
            return None
    part = IndexDomain._make(tuple(lo), tuple(hi), transform.domain.labels)
    return IndexTransform._make(part, transform.maps)


def _only_fill(overlay: Overlay, domain: IndexDomain) -> Node | None:
    """The fill value everywhere; None (the overlay stays, to say what is missing) without one."""
    if overlay.fill is None:
        return None
    return View(Constant(overlay.dtype, overlay.fill), IndexTransform._make(domain, ()))


@law(Overlay, flag="overlay_culling")
def cull_unseen_layers(overlay: Overlay) -> Node | None:
    """overlay(x, y) = overlay(y), where y hides x or x is outside the window"""
    if not overlay.size:
        return None
    seen = overlay.index.visible(box_of(overlay.window)).layers
    if len(seen) == len(overlay.inputs):
        return None
    if not seen:
        return _only_fill(overlay, overlay.window)
    return Overlay(tuple([overlay.inputs[k] for k, _ in seen]), overlay.window, overlay.fill)


@law(Overlay, flag="slice_pushdown")
def clip_layers_to_window(overlay: Overlay) -> Node | None:
    """overlay(x, y) = overlay(x[window], y[window])"""
    window = overlay.window
    clipped = []
    for x in overlay.inputs:
        lo = tuple(map(max, x.domain.inclusive_min, window.inclusive_min))
        hi = tuple(map(min, x.domain.exclusive_max, window.exclusive_max))
        if lo == x.domain.inclusive_min and hi == x.domain.exclusive_max:
            clipped.append(x)
        elif all(a < b for a, b in zip(lo, hi, strict=True)):
            box = tuple(zip(lo, hi, strict=True))
            clipped.append(View(x, box_transform(box, x.domain.labels)))
    if not clipped:
        return None
    moved = Overlay(tuple(clipped), window, overlay.fill)
    return None if moved is overlay else moved


@law(Overlay, flag="simplify_expression")
def drop_overlay_of_one(overlay: Overlay) -> Node | None:
    """overlay(x) = x[window], where x covers the window"""
    if len(overlay.inputs) > 1:
        return None
    x, window = overlay.inputs[0], overlay.window
    covered = all(
        a <= lo and hi <= b
        for (a, b), (lo, hi) in zip(box_of(x.domain), box_of(window), strict=True)
    )
    return View(x, IndexTransform.identity(window)) if covered else None
