"""Laws that make one join of joins, and one overlay of overlays.

Programs build mosaics piece by piece: a concat in a loop is a chain of joins of two, a mosaic of
mosaics an overlay of overlays. One node over all layers knows where each lies, so that a window
asks for the layers it meets instead of going through every level, and values are put in place once.

A node is flattened through all of its levels at once: level by level, a chain of ten thousand would
be copied ten thousand times. Layers are only referred to, so nothing is computed twice where a
level has other consumers. An overlay within another keeps what it stands for: its window cuts its
layers, and what shows through its own holes is its fill value (or an error) and not the layers
below, so holes decide whether it may dissolve.

An overlay whose layers lie side by side along one dim is a concat: no layer hides another, so none
need be asked what is left of it, and cells of every layer are known to the grid. That is half of
the work of planning a mosaic in a row.
"""

from __future__ import annotations

from math import prod

from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import box_of, box_transform, settled
from lazytensor.plan.source import Box

__all__ = ["concat_of_neighbours", "flatten_joins", "flatten_overlays"]


@law(Join, flag="join_flattening")
def flatten_joins(join: Join) -> Node | None:
    """concat([concat([x, y]), z]) = concat([x, y, z]), and concat of stacks is one stack

    Not where a level had moved the origin: layers that disagree on it count from 0.
    """
    if join.new:
        return None
    inner = [x for x in join.inputs if type(x) is Join and x.axis == join.axis]
    if not inner:
        return None
    if len(inner) == len(join.inputs) and all(x.new for x in inner):
        layers = [layer for x in inner for layer in x.inputs]
        flat = Join(tuple(layers), join.axis, True, join.domain.labels[join.axis])
    elif any(not x.new for x in inner):
        flat = Join(_concatenated(join), join.axis, False, "")
    else:
        return None
    return flat if flat.domain == join.domain else None


def _concatenated(join: Join) -> tuple[Node, ...]:
    """Layers of a concat, those of concats within it instead of these, in order."""
    out: list[Node] = []
    rest = list(reversed(join.inputs))
    while rest:
        x = rest.pop()
        if type(x) is Join and x.axis == join.axis and not x.new:
            rest.extend(reversed(x.inputs))
        else:
            out.append(x)
    return tuple(out)


@law(Overlay, flag="join_flattening")
def flatten_overlays(overlay: Overlay) -> Node | None:
    """overlay(x, overlay(y, z)) = overlay(x, y[w], z[w]), w the inner window, which shows no hole

    Or where the holes show the same: at the very bottom, or above nothing, of one fill value.
    """
    for x in overlay.inputs:
        if type(x) is Overlay:
            break
    else:
        return None
    if not overlay.size:
        return None
    layers, fill = _dissolved(overlay)
    if not layers:
        return None
    flat = Overlay(tuple(layers), overlay.window, fill)
    return None if flat is overlay else flat


def _dissolved(overlay: Overlay) -> tuple[list[Node], bytes | None]:
    """Layers in order, with those of every overlay that may dissolve in its place; fill value."""
    fill = overlay.fill
    out: list[Node] = []
    # Layer, the box that the overlays it was found in leave of it, and its number if it is one of
    # the given overlay itself.
    window = box_of(overlay.window)
    rest = [(x, window, k) for k, x in reversed(list(enumerate(overlay.inputs)))]
    hull: Box | None = None
    while rest:
        x, box, k = rest.pop()
        inner = _common(box, box_of(x.domain))
        if not _volume(inner):
            continue
        if type(x) is Overlay:
            if hull is None and inner == window:
                # The lowest layer, and it is everywhere: nothing shows but its own fill value.
                fill = x.fill
            apart = x.fill == fill and (hull is None or not _volume(_common(hull, inner)))
            if (
                apart
                or _is_whole(x, inner)
                or (k >= 0 and x.fill == fill and _shows_nothing(x, inner, overlay, k))
            ):
                rest.extend([(layer, inner, -1) for layer in reversed(x.inputs)])
                continue
        out.append(
            x if inner == box_of(x.domain) else View(x, box_transform(inner, x.domain.labels))
        )
        hull = inner if hull is None else _hull(hull, inner)
    return out, fill


def _shows_nothing(x: Overlay, box: Box, overlay: Overlay, k: int) -> bool:
    """True if no layer below number ``k`` lies behind a hole of ``x``, which is that layer.

    Only asked of overlays of plain layers: in a chain of overlays, each would be asked again once
    the next one has dissolved in it.
    """
    if any(type(layer) is Overlay for layer in x.inputs):
        return False
    for hole in x.index.visible(box).holes:
        below = overlay.index.query(hole)
        if len(below) and below[0] < k:
            return False
    return True


def _is_whole(x: Overlay, box: Box) -> bool:
    """True if layers cover every position of ``box``; quick for one and two layers."""
    if len(x.inputs) > 2:
        return x.index.covers(box)
    parts = [_common(box, box_of(layer.domain)) for layer in x.inputs]
    covered = sum(map(_volume, parts))
    if len(parts) == 2:
        covered -= _volume(_common(*parts))
    return covered == _volume(box)


@law(Overlay, flag="join_flattening")
def concat_of_neighbours(overlay: Overlay) -> Node | None:
    """overlay(x, y) = concat([x, y]), where they fill the window side by side along one dim"""
    layers = overlay.inputs
    if len(layers) < 2:
        return None
    lo, hi = overlay.window.inclusive_min, overlay.window.exclusive_max
    first = layers[0].domain
    pairs = zip(first.inclusive_min, first.exclusive_max, lo, hi, strict=True)
    apart = [d for d, (a, b, p, q) in enumerate(pairs) if a != p or b != q]
    if len(apart) != 1:
        return None
    axis = apart[0]
    ordered = sorted(layers, key=lambda x: x.domain.inclusive_min[axis])
    at = lo[axis]
    for x in ordered:
        a, b = x.domain.inclusive_min, x.domain.exclusive_max
        begins, at = a[axis] == at, b[axis]
        alike = a[:axis] == lo[:axis] and a[axis + 1 :] == lo[axis + 1 :]
        if not (begins and alike and b[:axis] == hi[:axis] and b[axis + 1 :] == hi[axis + 1 :]):
            return None
    # Overlays among them dissolve first: they would not do so in a concat.
    if at != hi[axis] or any(type(x) is Overlay or not x.size for x in ordered):
        return None
    return settled(Join(tuple(ordered), axis, False, ""), overlay.domain)


def _common(a: Box, b: Box) -> Box:
    return tuple([(max(p, r), min(q, s)) for (p, q), (r, s) in zip(a, b, strict=True)])


def _hull(a: Box, b: Box) -> Box:
    return tuple([(min(p, r), max(q, s)) for (p, q), (r, s) in zip(a, b, strict=True)])


def _volume(box: Box) -> int:
    return prod([max(0, hi - lo) for lo, hi in box])
