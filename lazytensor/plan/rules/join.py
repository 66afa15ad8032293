"""Laws of ``stack`` and ``concat``: which layers a view meets, and what it asks of each.

A join pairs positions: along every dimension it has in common with a layer, the layer's own
coordinates follow at a constant distance, and along the joined dimension layers follow each other.
"""

from __future__ import annotations

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.index_interval import affine_domain
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.nodes_join import Join
from lazytensor.plan.output_map import ARRAY, CONSTANT, SINGLE, OutputIndexMap, single_map
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import (
    input_dims,
    narrowed,
    reference_counts,
    renumbered,
    settled,
    view_of,
)

__all__ = ["drop_join_of_one", "view_through_join"]


@law(Join, flag="simplify_expression")
def drop_join_of_one(join: Join) -> Node | None:
    """concat([x]) = x and stack([x]) = x[newaxis], counted from 0 along the joined dimension"""
    if len(join.inputs) > 1:
        return None
    maps = [single_map(d, 0, 1) for d in range(join.ndim)]
    return View(join.inputs[0], _layer_transform(join, 0, join.domain, maps))


@law(View, Join, flag="slice_pushdown", gated=True)
def view_through_join(view: View, join: Join) -> Node | None:
    """join(x, y)[i] = join(x[i], y[i]), of the layers that i meets"""
    if not view.size:
        return None
    transform = view.transform
    m = transform.maps[join.axis]
    if m.kind == CONSTANT:
        layer = join.layer_at(m.offset)
        below = _layer_transform(join, layer, view.domain, list(transform.maps))
        return View(join.inputs[layer], below)
    dims = input_dims(m)
    alone = len(dims) == 1 and reference_counts(transform)[dims[0]] == 1
    moved = None
    if alone and join.new:
        moved = _pick(transform, join, dims[0])
    elif alone and m.kind == SINGLE and m.stride:
        moved = _slice(transform, join, dims[0])
    if moved is None:
        return narrowed(view, lambda box: view_through_join(box, join))
    return None if moved is join else settled(moved, view.domain)


def _layer_transform(
    join: Join, layer: int, domain: IndexDomain, maps: list[OutputIndexMap]
) -> IndexTransform:
    """Maps to the join's coordinates become maps to one layer's."""
    own = join.inputs[layer].domain.inclusive_min
    base = list(join.domain.inclusive_min)
    if join.new:
        del base[join.axis]
        maps = maps[: join.axis] + maps[join.axis + 1 :]
    else:
        base[join.axis] = join.starts[layer]
    shifted = [
        m if a == b else m._replace(offset=m.offset + a - b)
        for m, a, b in zip(maps, own, base, strict=True)
    ]
    return IndexTransform._make(domain, tuple(shifted))


def _pick(transform: IndexTransform, join: Join, dim: int) -> Node | None:
    """Layers of a stack, each seen without ``dim``, stacked again there."""
    m = transform.maps[join.axis]
    domain = transform.domain
    if m.kind == ARRAY:
        assert m.array is not None
        positions = [m.offset + m.stride * int(n) for n in m.array.values.ravel()]
    else:
        bounds = domain.inclusive_min[dim], domain.exclusive_max[dim]
        positions = [m.offset + m.stride * n for n in range(*bounds)]
    if len(positions) > len(join.inputs):
        return None
    rest = _without(domain, dim)
    places = [d - (d > dim) for d in range(domain.rank)]
    maps = [
        single_map(0, 0, 1) if d == join.axis else renumbered(other, places, rest.rank)
        for d, other in enumerate(transform.maps)
    ]
    # Layers mostly have one origin, and then one transform serves them all.
    transforms: dict[tuple[int, ...], IndexTransform] = {}
    layers = []
    for p in positions:
        x = join.inputs[p]
        own = x.domain.inclusive_min
        if own not in transforms:
            transforms[own] = _layer_transform(join, p, rest, maps)
        layers.append(view_of(x, transforms[own]))
    return Join(tuple(layers), dim, True, domain.labels[dim])


def _slice(transform: IndexTransform, join: Join, dim: int) -> Node:
    """Pieces of the layers of a concat that a slice along the joined dimension meets."""
    m = transform.maps[join.axis]
    domain = transform.domain
    lo, hi = domain.inclusive_min[dim], domain.exclusive_max[dim]
    ends = sorted(join.layer_at(m.offset + m.stride * n) for n in (lo, hi - 1))
    layers = []
    for k in range(ends[0], ends[1] + 1):
        a, b = affine_domain(join.starts[k], join.starts[k + 1], m.offset, m.stride)
        a, b = max(a, lo), min(b, hi)
        if a < b:
            layers.append((k, a, b))
    if len(layers) == 1:
        k = layers[0][0]
        below = _layer_transform(join, k, domain, list(transform.maps))
        return view_of(join.inputs[k], below)
    pieces = [_piece(transform, join, dim, *found) for found in layers]
    if m.stride < 0:
        pieces.reverse()
    return Join(tuple(pieces), dim, False, join.label)


def _piece(transform: IndexTransform, join: Join, dim: int, layer: int, a: int, b: int) -> Node:
    """One layer at positions ``[a, b)`` of ``dim``, counted in the layer's own coordinates.

    What the view above calls the positions must not matter here, or a piece would look new
    whenever the view moves on.
    """
    below = _layer_transform(join, layer, transform.domain, list(transform.maps))
    m = below.maps[join.axis]
    shift = m.offset // m.stride
    maps = list(below.maps)
    maps[join.axis] = single_map(dim, m.offset - shift * m.stride, m.stride)
    domain = transform.domain
    lo = (*domain.inclusive_min[:dim], a + shift, *domain.inclusive_min[dim + 1 :])
    hi = (*domain.exclusive_max[:dim], b + shift, *domain.exclusive_max[dim + 1 :])
    piece = IndexTransform._make(IndexDomain._make(lo, hi, domain.labels), tuple(maps))
    return view_of(join.inputs[layer], piece)


def _without(domain: IndexDomain, dim: int) -> IndexDomain:
    return IndexDomain._make(
        domain.inclusive_min[:dim] + domain.inclusive_min[dim + 1 :],
        domain.exclusive_max[:dim] + domain.exclusive_max[dim + 1 :],
        domain.labels[:dim] + domain.labels[dim + 1 :],
    )
