"""Views: what they are by themselves, and how they move towards the sources."""

from __future__ import annotations

import numpy as np

import lazytensor as lt
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node
from lazytensor.plan.nodes_axis import BlockTotals, Lookup
from lazytensor.plan.nodes_quantize import Spread
from lazytensor.plan.nodes_sketch import Histogram, Masked
from tests.plan.law_cases import Pair, Plan, case, image, node, records, same, view

# Views by themselves.


@case(reads=(192, 192))
def drop_identity_view() -> Pair:
    """
    scan test image  (y: 6, x: 8)  int32  192 B   at (0, 0)
    =
    scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return view(x, slice(0, 6)), x


@case(reads=(0, 0))
def empty_view_reads_nothing() -> Pair:
    """
    scan test image  (y: 0, x: 8)  int32  0 B   [y=2:2]
    =
    full 0  (y: 0, x: 8)  int32  0 B
    """
    x = image()
    return x[2:2], same(0, x[2:2])


@case(reads=(96, 96))
def compose_views() -> Pair:
    """
    view [y=1:6:2, x=0:4]  (y: 3, x: 4)  int32   48 B
    └─ scan test image     (y: 5, x: 8)  int32  160 B   [y=1:6]
    =
    scan test image  (y: 3, x: 4)  int32  48 B   [y=1:6:2, x=0:4]
    """
    x = image()
    return x[1:][::2, :4], x[1::2, :4]


@case(reads=(96, 96))
def compose_views__turned_and_flipped() -> Pair:
    """
    view [x=-7]            (y: 6)        int32   24 B
    └─ view [x=7:-1:-1]    (x: 8, y: 6)  int32  192 B
       └─ scan test image  (x: 8, y: 6)  int32  192 B   dims (x, y)
    =
    scan test image  (y: 6)  int32  24 B   [x=7]
    """
    x = image()
    return x.T[::-1][0], x[:, 7]


@case(reads=(128, 128))
def drop_rechunk_under_view() -> Pair:
    """
    view [y=1:3]           (y: 2, x: 8)  int32   64 B
    └─ rechunk (3, 3)      (y: 6, x: 8)  int32  192 B
       └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    scan test image  (y: 2, x: 8)  int32  64 B   [y=1:3]
    """
    x = image()
    return x.rechunk((3, 3))[1:3], x[1:3]


# Through what looks at one position at a time.


@case(reads=(32, 32))
def view_through_elementwise() -> Pair:
    """
    view [y=1, x=0:4]         (x: 4)        int32   16 B
    └─ add                    (y: 6, x: 8)  int32  192 B
       ├─ scan test image     (y: 6, x: 8)  int32  192 B
       └─ multiply  2         (y: 6, x: 8)  int32  192 B
          └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    add                    (x: 4)  int32  16 B
    ├─ scan test image     (x: 4)  int32  16 B   [y=1, x=0:4]
    └─ multiply  2         (x: 4)  int32  16 B
       └─ scan test image  (x: 4)  int32  16 B   [y=1, x=0:4]
    """
    x = image()
    return (x + x * 2)[1, :4], x[1, :4] + x[1, :4] * 2


# A row is not sliced along the dim that it is repeated along.
@case(reads=(160, 160))
def view_through_elementwise__broadcast() -> Pair:
    """
    view [y=1:3, x=7:-1:-1]  (y: 2, x: 8)  int32   64 B
    └─ add                   (y: 6, x: 8)  int32  192 B
       ├─ scan test image    (y: 6, x: 8)  int32  192 B
       └─ scan test row      (x: 8)        int32   32 B
    =
    add                 (y: 2, x: 8)  int32  64 B
    ├─ scan test image  (y: 2, x: 8)  int32  64 B   [y=1:3, x=7:-1:-1]
    └─ scan test row    (x: 8)        int32  32 B   [x=7:-1:-1]
    """
    x, row = image(), image(shape=(8,), chunks=(4,), name="row", start=50)
    return (x + row)[1:3, ::-1], x[1:3, ::-1] + row[::-1]


@case(reads=(32, 32))
def view_through_cast() -> Pair:
    """
    view [y=2, x=0:4]      (x: 4)        float32   16 B
    └─ cast float32        (y: 6, x: 8)  float32  192 B
       └─ scan test image  (y: 6, x: 8)  int32    192 B
    =
    cast float32        (x: 4)  float32  16 B
    └─ scan test image  (x: 4)  int32    16 B   [y=2, x=0:4]
    """
    x = image()
    return x.astype("f4")[2, :4], x[2, :4].astype("f4")


@case()
def view_through_field() -> Pair:
    """
    view [0=1:3]      (2)  int32                          8 B
    └─ field 'a'      (6)  int32                         24 B
       └─ scan array  (6)  [('a', '<i4'), ('b', '<f8')]  72 B
    =
    field 'a'      (2)  int32                          8 B
    └─ scan array  (2)  [('a', '<i4'), ('b', '<f8')]  24 B   [0=1:3]
    """
    x = records()
    return x.field("a")[1:3], x[1:3].field("a")


@case(reads=(16, 16))
def view_through_lookup() -> Pair:
    """
    view [y=2]                (x: 8)        int64   64 B
    └─ look up in 256 values  (y: 6, x: 8)  int64  384 B
       ├─ scan array          (256)         int64  2 KiB
       └─ scan test image     (y: 6, x: 8)  uint8   48 B
    =
    look up in 256 values  (x: 8)  int64   64 B
    ├─ scan array          (256)   int64  2 KiB
    └─ scan test image     (x: 8)  uint8    8 B   [y=2]
    """
    x, table = image("u1"), array_node(np.arange(256) * 2)
    return view(Lookup(table, node(x)), 2), Lookup(table, view(x, 2))


@case(reads=(64, 64))
def view_through_search() -> Pair:
    """
    view [y=2, x=0:7:2]               (x: 4)        int64   32 B
    └─ search sorted 3 values (left)  (y: 6, x: 8)  int64  384 B
       ├─ scan array                  (3)           int32   12 B
       └─ scan test image             (y: 6, x: 8)  int32  192 B
    =
    search sorted 3 values (left)  (x: 4)  int64  32 B
    ├─ scan array                  (3)     int32  12 B
    └─ scan test image             (x: 4)  int32  16 B   [y=2, x=0:7:2]
    """
    x, table = image(), lt.asarray(np.array([3, 5, 40], "i4"))
    return lt.searchsorted(table, x)[2, ::2], lt.searchsorted(table, x[2, ::2])


# Through what looks at more than one position.


@case(reads=(192, 96))
def view_through_reduce() -> Pair:
    """
    view [x=1:3]           (x: 2)        int32    8 B
    └─ max over y          (x: 8)        int32   32 B
       └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    max over y          (x: 2)        int32   8 B
    └─ scan test image  (y: 6, x: 2)  int32  48 B   [x=1:3]
    """
    x = image()
    return lt.max(x, axis=0)[1:3], lt.max(x[:, 1:3], axis=0)


@case(reads=(80, 80))
def view_through_masked() -> Pair:
    """
    view [y=1]             (x: 8)        [('value', '<i4'), ('keep', '?')]   40 B
    └─ masked              (y: 6, x: 8)  [('value', '<i4'), ('keep', '?')]  240 B
       ├─ scan test image  (y: 6, x: 8)  int32                              192 B
       └─ scan test mask   (y: 6, x: 8)  bool                                48 B
    =
    masked              (x: 8)  [('value', '<i4'), ('keep', '?')]  40 B
    ├─ scan test image  (x: 8)  int32                              32 B   [y=1]
    └─ scan test mask   (x: 8)  bool                                8 B   [y=1]
    """
    x = node(image())
    keep = node(image("?", name="mask"))
    return view(Masked(x, keep), 1), Masked(view(x, 1), view(keep, 1))


@case(reads=(240, 160))
def view_through_masked_reduce() -> Pair:
    """
    view [y=1:3]              (y: 2)        int64                               16 B
    └─ masked sum over x      (y: 6)        int64                               48 B
       └─ masked              (y: 6, x: 8)  [('value', '<i4'), ('keep', '?')]  240 B
          ├─ scan test image  (y: 6, x: 8)  int32                              192 B
          └─ scan test mask   (y: 6, x: 8)  bool                                48 B
    =
    masked sum over x      (y: 2)        int64                              16 B
    └─ masked              (y: 2, x: 8)  [('value', '<i4'), ('keep', '?')]  80 B
       ├─ scan test image  (y: 2, x: 8)  int32                              64 B   [y=1:3]
       └─ scan test mask   (y: 2, x: 8)  bool                               16 B   [y=1:3]
    """
    x, keep = image(), image("?", name="mask")
    total = lt.stats(x, by="y", mask=keep).sum
    return total[1:3], lt.stats(x[1:3], by="y", mask=keep[1:3]).sum


@case(reads=(64, 64))
def view_through_quantile() -> Pair:
    """
    view [y=2:4]                  (2, y: 2)     float64   32 B
    └─ quantile 0.25, 0.5 over x  (2, y: 6)     float64   96 B
       └─ scan test image         (y: 6, x: 8)  int32    192 B
    =
    quantile 0.25, 0.5 over x  (2, y: 2)     float64  32 B
    └─ scan test image         (y: 2, x: 8)  int32    64 B   [y=2:4]
    """
    x = image()
    return lt.quantile(x, [0.25, 0.5], axis=1)[:, 2:4], lt.quantile(x[2:4], [0.25, 0.5], axis=1)


@case(reads=(192, 64))
def view_through_histogram() -> Pair:
    """
    view [y=2:4]                   (y: 2, 3)     int64   48 B
    └─ histogram of 3 bins over x  (y: 6, 3)     int64  144 B
       ├─ scan test image          (y: 6, x: 8)  int32  192 B
       └─ scan array               (4)           int64   32 B
    =
    histogram of 3 bins over x  (y: 2, 3)     int64  48 B
    ├─ scan test image          (y: 2, x: 8)  int32  64 B   [y=2:4]
    └─ scan array               (4)           int64  32 B
    """
    x, edges = image(), array_node(np.array([0, 10, 20, 30]))
    before = view(Histogram(node(x), edges, (1,)), slice(2, 4))
    return before, Histogram(view(x, slice(2, 4)), edges, (1,))


@case(reads=(64, 64))
def view_through_downsample() -> Pair:
    """
    view [y=1:2]               (y: 1, x: 4)  int32   16 B
    └─ downsample (2, 2) mean  (y: 3, x: 4)  int32   48 B
       └─ scan test image      (y: 6, x: 8)  int32  192 B
    =
    downsample (2, 2) mean  (y: 1, x: 4)  int32  16 B
    └─ scan test image      (y: 2, x: 8)  int32  64 B   [y=2:4]
    """
    x = image()
    return x.downsample((2, 2))[1:2], x[2:4].downsample((2, 2))


@case(reads=(64, 64))
def view_through_reshape() -> Pair:
    """
    view [0=0:3]           (3, 4)        int32   48 B
    └─ reshape (12, 4)     (12, 4)       int32  192 B
       └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    view [0=0:3]           (3, 4)        int32  48 B
    └─ reshape (4, 4)      (4, 4)        int32  64 B
       └─ scan test image  (y: 2, x: 8)  int32  64 B   [y=0:2]
    """
    x = image()
    return x.reshape((12, 4))[:3], x[:2].reshape((4, 4))[:3]


@case(reads=(32, 32))
def view_through_call() -> Pair:
    """
    view [y=2:4, x=4:8]     (y: 2, x: 4)  int32   32 B
    └─ map_blocks negative  (y: 6, x: 8)  int32  192 B
       └─ scan test image   (y: 6, x: 8)  int32  192 B
    =
    map_blocks negative  (y: 2, x: 4)  int32  32 B
    └─ scan test image   (y: 2, x: 4)  int32  32 B   [y=2:4, x=4:8]
    """
    x = image()

    def of(x: lt.LazyTensor) -> lt.LazyTensor:
        return lt.map_blocks(np.negative, x, dtype="i4", slice_pushdown=True)

    return of(x)[2:4, 4:], of(x[2:4, 4:])


# Along one axis.


@case(reads=(64, 64))
def view_through_sort() -> Pair:
    """
    view [y=2]             (x: 8)        int32   32 B
    └─ sort along x        (y: 6, x: 8)  int32  192 B
       └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    sort along x        (x: 8)  int32  32 B
    └─ scan test image  (x: 8)  int32  32 B   [y=2]
    """
    x = image()
    return lt.sort(x, axis=1)[2], lt.sort(x[2], axis=0)


@case(reads=(32, 32))
def view_through_cumulate() -> Pair:
    """
    view [y=2:4, x=0:4]        (y: 2, x: 4)  int64   64 B
    └─ cumulative_sum along x  (y: 6, x: 8)  int64  384 B
       └─ scan test image      (y: 6, x: 8)  int32  192 B
    =
    cumulative_sum along x  (y: 2, x: 4)  int64  64 B
    └─ scan test image      (y: 2, x: 4)  int32  32 B   [y=2:4, x=0:4]
    """
    x = image()
    return lt.cumulative_sum(x, axis=1)[2:4, :4], lt.cumulative_sum(x[2:4, :4], axis=1)


@case(reads=(192, 96))
def view_through_block_totals() -> Pair:
    """
    view [x=0:1]                              (y: 6, x: 1)  int64   48 B
    └─ cumulative_sum of blocks of 2 along x  (y: 6, x: 3)  int64  144 B
       └─ scan test image                     (y: 6, x: 8)  int32  192 B
    =
    cumulative_sum of blocks of 2 along x  (y: 6, x: 1)  int64  48 B
    └─ scan test image                     (y: 6, x: 3)  int32  72 B   [x=0:3]
    """
    x = node(image())

    def totals(x: Node) -> BlockTotals:
        return BlockTotals("cumulative_sum", x, 1, None, 2)

    return view(totals(x), slice(None), slice(0, 1)), totals(view(x, slice(None), slice(0, 3)))


@case(reads=(64, 64))
def view_through_gather() -> Pair:
    """
    view [y=2:4]           (y: 2, x: 3)  int32   24 B
    └─ take along x        (y: 6, x: 3)  int32   72 B
       ├─ scan test image  (y: 6, x: 8)  int32  192 B
       └─ scan array       (y: 6, x: 3)  int64  144 B
    =
    take along x        (y: 2, x: 3)  int32  24 B
    ├─ scan test image  (y: 2, x: 8)  int32  64 B   [y=2:4]
    └─ scan array       (y: 2, x: 3)  int64  48 B   [y=2:4]
    """
    x = image()
    j = lt.asarray(np.array([[3, 1, 2]] * 6), dims=("y", "x"))
    return lt.take_along_axis(x, j, axis=1)[2:4], lt.take_along_axis(x[2:4], j[2:4], axis=1)


@case(reads=(192, 64))
def view_through_contract() -> Pair:
    """
    view [y=2:4, 1=0:3]    (y: 2, 3)     int32   24 B
    └─ contract x and 0    (y: 6, 6)     int32  144 B
       ├─ scan test image  (y: 6, x: 8)  int32  192 B
       └─ scan array       (8, 6)        int32  192 B
    =
    contract x and 0    (y: 2, 3)     int32  24 B
    ├─ scan test image  (y: 2, x: 8)  int32  64 B   [y=2:4]
    └─ scan array       (8, 3)        int32  96 B   [1=0:3]
    """
    x = image()
    y = lt.asarray(np.arange(48, dtype="i4").reshape(8, 6))
    return lt.matmul(x, y)[2:4, :3], lt.matmul(x[2:4], y[:, :3])


def spread(parameters: Plan, first: int = 0) -> Node:
    """A parameter for each 10 elements of 6 rows of 8, looked at from a row on."""
    domain = lt.IndexDomain(inclusive_min=[first, 0], exclusive_max=[6, 8])
    return Spread(node(parameters), domain, (), (8, 1), 0, 10)


@case()
def view_through_spread() -> Pair:
    """
    view [0=3:6]                 (3, 8)  float32   96 B
    └─ one for each group of 10  (6, 8)  float32  192 B
       └─ scan array             (5)     float32   20 B
    =
    one for each group of 10  (3, 8)  float32  96 B
    └─ scan array             (3)     float32  12 B   [0=2:5]
    """
    x = lt.asarray(np.arange(5, dtype="f4"))
    return view(spread(x), slice(3, 6)), spread(view(x, slice(2, 5)), 3)


# Through what assembles tensors.


@case(reads=(128, 128))
def view_through_join() -> Pair:
    """
    view [y=4:8]                (y: 4, x: 8)   int32  128 B
    └─ concat 2 layers along y  (y: 12, x: 8)  int32  384 B
       ├─ scan test image       (y: 6, x: 8)   int32  192 B
       └─ scan test other       (y: 6, x: 8)   int32  192 B
    =
    view at (4, 0)              (y: 4, x: 8)  int32  128 B
    └─ concat 2 layers along y  (y: 4, x: 8)  int32  128 B
       ├─ scan test image       (y: 2, x: 8)  int32   64 B   [y=4:6]
       └─ scan test other       (y: 2, x: 8)  int32   64 B   [y=0:2]
    """
    x, y = image(), image(name="other", start=48)
    return lt.concat([x, y])[4:8], lt.concat([x[4:], y[:2]]).translate_to[4, 0]


@case(reads=(64, 64))
def view_through_join__stack() -> Pair:
    """
    view [0=1, y=0:2]          (y: 2, x: 8)     int32   64 B
    └─ stack 2 layers along 0  (2, y: 6, x: 8)  int32  384 B
       ├─ scan test image      (y: 6, x: 8)     int32  192 B
       └─ scan test other      (y: 6, x: 8)     int32  192 B
    =
    scan test other  (y: 2, x: 8)  int32  64 B   [y=0:2]
    """
    x, y = image(), image(name="other", start=48)
    return lt.stack([x, y])[1, :2], y[:2]


@case(reads=(64, 64))
def view_through_overlay() -> Pair:
    """
    view [y=0:3, x=0:3]       (y: 3, x: 3)    int32   36 B
    └─ overlay 2 layers on 0  (y: 10, x: 14)  int32  560 B
       ├─ scan test image     (y: 6, x: 8)    int32  192 B
       └─ scan test other     (y: 6, x: 8)    int32  192 B
    =
    overlay 1 layer on 0  (y: 3, x: 3)  int32  36 B
    └─ scan test image    (y: 3, x: 3)  int32  36 B   [y=0:3, x=0:3]
    """
    x, y = image(), image(name="other", start=48, origin=(4, 6))
    return lt.overlay([x, y], fill_value=0)[:3, :3], lt.overlay([x[:3, :3]], fill_value=0)
