"""The law that moves a view below a contraction: rows and columns decide what is read.

A dim of the view that only maps of one input refer to is a free dim of that input; one that maps of
both refer to, as in the diagonal of a product, is a batch dim, and then fewer products are added up
than before. So every view moves, save those that would have an input larger than it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.nodes_contract import Contract
from lazytensor.plan.output_map import (
    CONSTANT,
    SINGLE,
    OutputIndexMap,
    array_map,
    constant_map,
    single_map,
)
from lazytensor.plan.rules.law import law
from lazytensor.plan.rules.moves import (
    core,
    input_dims,
    narrowed,
    renumbered,
    same_elements,
    settled,
)

__all__ = ["view_through_contract"]


@law(View, Contract, flag="slice_pushdown", gated=True)
def view_through_contract(view: View, contract: Contract) -> Node | None:
    """contract(x, y)[i, j] = contract(x[i], y[j])"""
    transform, above = core(view.transform, units=True)
    one, other = _sides(contract, transform)
    if one.size > contract.x1.size or other.size > contract.x2.size:
        return narrowed(view, lambda box: view_through_contract(box, contract))
    both = [d for d in one.places if d in other.places]
    moved = Contract(
        one.node(transform.domain),
        other.node(transform.domain),
        tuple([one.places[d] for d in both]),
        tuple([other.places[d] for d in both]),
        one.summed,
        other.summed,
    )
    if moved is contract:
        return None
    order = [*both, *one.alone(both), *other.alone(both)]
    below = _reordered(moved, order, transform.domain)
    return below if above is None else View(below, above)


class _Side:
    """One input seen through the view: where its dims go, and how large it is then.

    ``places``: dim of the view -> dim of the new input. ``summed``: its summed dims there.
    """

    def __init__(
        self,
        x: Node,
        summed: tuple[int, ...],
        maps: dict[int, OutputIndexMap],
        names: dict[int, str],
        domain: IndexDomain,
    ) -> None:
        self.x = x
        self._maps = maps
        self._names = names
        self._layout: list[tuple[bool, int]] = []
        for d in range(x.ndim):
            if d in summed:
                self._layout.append((False, d))
                continue
            found = [(True, dim) for dim in input_dims(maps[d])]
            self._layout.extend(entry for entry in found if entry not in self._layout)
        new = {entry: i for i, entry in enumerate(self._layout)}
        self.places = {dim: i for (own, dim), i in new.items() if own}
        self.summed = tuple([new[False, d] for d in summed])
        self.size = 1
        for own, d in self._layout:
            self.size *= domain.shape[d] if own else x.shape[d]

    def alone(self, both: Sequence[int]) -> list[int]:
        """Dims of the view that are free here, in the order in which they lie."""
        return [dim for own, dim in self._layout if own and dim not in both]

    def node(self, domain: IndexDomain) -> Node:
        """The input as the view has it."""
        places = [self.places.get(d, -1) for d in range(domain.rank)]
        names = self._labels(domain)
        lo, hi, labels = [], [], []
        maps: list[OutputIndexMap | None] = [None] * self.x.ndim
        for new, (own, d) in enumerate(self._layout):
            base = domain if own else self.x.domain
            lo.append(base.inclusive_min[d])
            hi.append(base.exclusive_max[d])
            label = names[d] if own else base.labels[d]
            labels.append("" if not own and label in names.values() else label)
            if not own:
                maps[d] = single_map(new, 0, 1)
        for d, m in self._maps.items():
            maps[d] = renumbered(m, places, len(self._layout))
        below = IndexDomain._make(tuple(lo), tuple(hi), tuple(labels))
        transform = IndexTransform._make(below, tuple([m for m in maps if m is not None]))
        return self.x if same_elements(transform, self.x.domain) else View(self.x, transform)

    def _labels(self, domain: IndexDomain) -> dict[int, str]:
        """Names of dims of the view: those that the input has, where the view left them alone."""
        out = {d: domain.labels[d] for own, d in self._layout if own}
        for d, m in self._maps.items():
            if m.kind == SINGLE and out[m.input_dimension] == self._names[d]:
                out[m.input_dimension] = self.x.domain.labels[d]
        return out


def _sides(contract: Contract, transform: IndexTransform) -> tuple[_Side, _Side]:
    batch, ends = len(contract.batch1), len(contract.batch1) + len(contract.free1)
    maps, starts, labels = transform.maps, contract.domain.inclusive_min, contract.domain.labels
    sides = (
        (contract.x1, contract.batch1, contract.free1, slice(batch, ends), contract.summed1),
        (contract.x2, contract.batch2, contract.free2, slice(ends, None), contract.summed2),
    )
    out = []
    for x, pairs, free, part, summed in sides:
        found = dict(zip(free, maps[part], strict=True))
        names = dict(zip(free, labels[part], strict=True))
        for i, d in enumerate(pairs):
            # Batch dims pair up by position, so their coordinates may be others here.
            found[d] = _shifted(maps[i], x.domain.inclusive_min[d] - starts[i])
            names[d] = labels[i]
        out.append(_Side(x, summed, found, names, transform.domain))
    return out[0], out[1]


def _shifted(m: OutputIndexMap, by: int) -> OutputIndexMap:
    """The map plus a number."""
    if not by:
        return m
    if m.kind == CONSTANT:
        return constant_map(m.offset + by)
    if m.kind == SINGLE:
        return single_map(m.input_dimension, m.offset + by, m.stride)
    array, bounds = m.lookup()
    return array_map(array, m.offset + by, m.stride, bounds)


def _reordered(moved: Node, order: list[int], domain: IndexDomain) -> Node:
    """``moved``, whose dims are those of the view in this order, on the view's domain."""
    if order == list(range(domain.rank)):
        return settled(moved, domain)
    origins = moved.domain.inclusive_min
    maps = [single_map(d, lo - domain.inclusive_min[d], 1)
            for d, lo in zip(order, origins, strict=True)]  # fmt: skip
    return View(moved, IndexTransform._make(domain, tuple(maps)))
