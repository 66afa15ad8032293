"""Views: what they are by themselves, and how they move towards the sources."""

from __future__ import annotations

import numpy as np

import lazytensor as lt
from lazytensor.plan.memory import array_node
from lazytensor.plan.nodes import View
from lazytensor.plan.nodes_axis import BlockTotals, Lookup, Search
from lazytensor.plan.nodes_sketch import Histogram, Masked
from tests.plan.law_cases import Pair, case, image, node, same, view

# Views by themselves.


@case()
def drop_identity_view() -> Pair:
    x = image()
    return view(x, slice(0, 6)), x


@case()
def empty_view_reads_nothing() -> Pair:
    x = image()
    return x[2:2], same(0, x[2:2])


@case()
def compose_views() -> Pair:
    x = image()
    return x[1:][::2, :4], x[1::2, :4]


@case()
def compose_views__turned_and_flipped() -> Pair:
    x = image()
    return x.T[::-1][0], x[:, 7]


@case()
def drop_rechunk_under_view() -> Pair:
    x = image()
    return x.rechunk((3, 3))[1:3], x[1:3]


# Through what looks at one position at a time.


@case()
def view_through_elementwise() -> Pair:
    x = image()
    return (x + x * 2)[1, :4], x[1, :4] + x[1, :4] * 2


@case()
def view_through_elementwise__broadcast() -> Pair:
    """A row is not sliced along the dim that it is repeated along."""
    x, row = image(), image(shape=(8,), chunks=(4,), name="row", start=50)
    return (x + row)[1:3, ::-1], x[1:3, ::-1] + row[::-1]


@case()
def view_through_cast() -> Pair:
    x = image()
    return x.astype("f4")[2, :4], x[2, :4].astype("f4")


@case()
def view_through_field() -> Pair:
    x = records()
    return x.field("a")[1:3], x[1:3].field("a")


def records() -> lt.LazyTensor:
    values = np.zeros(6, [("a", "i4"), ("b", "f8")])
    values["a"] = np.arange(6)
    return lt.asarray(values)


@case()
def view_through_lookup() -> Pair:
    x, table = image("u1"), array_node(np.arange(256) * 2)
    return view(Lookup(table, node(x)), 2), Lookup(table, view(x, 2))


@case()
def view_through_search() -> Pair:
    x, table = image(), lt.asarray(np.array([3, 5, 40], "i4"))
    return lt.searchsorted(table, x)[2, ::2], lt.searchsorted(table, x[2, ::2])


# Through what looks at more than one position.


@case()
def view_through_reduce() -> Pair:
    x = image()
    return lt.max(x, axis=0)[1:3], lt.max(x[:, 1:3], axis=0)


@case()
def view_through_masked() -> Pair:
    x = node(image())
    keep = node(image("?", name="mask"))
    return view(Masked(x, keep), 1), Masked(view(x, 1), view(keep, 1))


@case()
def view_through_masked_reduce() -> Pair:
    x, keep = image(), image("?", name="mask")
    total = lt.stats(x, by="y", mask=keep).sum
    return total[1:3], lt.stats(x[1:3], by="y", mask=keep[1:3]).sum


@case()
def view_through_quantile() -> Pair:
    x = image()
    return lt.quantile(x, [0.25, 0.5], axis=1)[:, 2:4], lt.quantile(x[2:4], [0.25, 0.5], axis=1)


@case()
def view_through_histogram() -> Pair:
    x, edges = image(), array_node(np.array([0, 10, 20, 30]))
    return view(Histogram(node(x), edges, (1,)), slice(2, 4)), Histogram(
        view(x, slice(2, 4)), edges, (1,)
    )


@case()
def view_through_downsample() -> Pair:
    x = image()
    return x.downsample((2, 2))[1:2], x[2:4].downsample((2, 2))


@case()
def view_through_reshape() -> Pair:
    x = image()
    return x.reshape((12, 4))[:3], x[:2].reshape((4, 4))[:3]


@case()
def view_through_call() -> Pair:
    x = image()

    def of(x: lt.LazyTensor) -> lt.LazyTensor:
        return lt.map_blocks(np.negative, x, dtype="i4", slice_pushdown=True)

    return of(x)[2:4, 4:], of(x[2:4, 4:])


# Along one axis.


@case()
def view_through_sort() -> Pair:
    x = image()
    return lt.sort(x, axis=1)[2], lt.sort(x[2], axis=0)


@case()
def view_through_cumulate() -> Pair:
    x = image()
    return lt.cumulative_sum(x, axis=1)[2:4, :4], lt.cumulative_sum(x[2:4, :4], axis=1)


@case()
def view_through_block_totals() -> Pair:
    x = node(image())

    def totals(x: object) -> BlockTotals:
        return BlockTotals("cumulative_sum", node(x), 1, None, 2)

    return view(totals(x), slice(None), slice(0, 1)), totals(view(x, slice(None), slice(0, 3)))


@case()
def view_through_gather() -> Pair:
    x = image()
    j = lt.asarray(np.array([[3, 1, 2]] * 6), dims=("y", "x"))
    return lt.take_along_axis(x, j, axis=1)[2:4], lt.take_along_axis(x[2:4], j[2:4], axis=1)


@case()
def view_through_contract() -> Pair:
    x = image()
    y = lt.asarray(np.arange(48, dtype="i4").reshape(8, 6))
    return lt.matmul(x, y)[2:4, :3], lt.matmul(x[2:4], y[:, :3])


# Through what assembles tensors.


@case()
def view_through_join() -> Pair:
    x, y = image(), image(name="other", start=48)
    return lt.concat([x, y])[4:8], lt.concat([x[4:], y[:2]]).translate_to[4, 0]


@case()
def view_through_join__stack() -> Pair:
    x, y = image(), image(name="other", start=48)
    return lt.stack([x, y])[1, :2], y[:2]


@case()
def view_through_overlay() -> Pair:
    x, y = image(), image(name="other", start=48, origin=(4, 6))
    return lt.overlay([x, y], fill_value=0)[:3, :3], lt.overlay([x[:3, :3]], fill_value=0)
