"""Levels of pyramids, what does nothing, grids, and what follows its like."""

from __future__ import annotations

import numpy as np

import lazytensor as lt
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Reshape
from lazytensor.plan.nodes_block import Downsample
from tests.plan.law_cases import Pair, case, image, node, records
from tests.plan.test_rules_pyramid import pyramid

# A stored level in the place of what would be computed.


def levels(method: str, *, stamped: bool = True) -> list[lt.LazyTensor]:
    """A finer and a coarser level."""
    values = np.arange(128, dtype="u2").reshape(8, 16)
    made = pyramid(values, [(2, 2)], method, stamped=stamped, scale=None if stamped else 1.0)
    return [lt.scan_source(level) for level in made]


@case(reads=(256, 64))
def stamped_level_for_downsample() -> Pair:
    """
    downsample (2, 2) mean  (4, 8)   uint16   64 B
    └─ scan test 0          (8, 16)  uint16  256 B
    =
    scan test 1  (4, 8)  uint16  64 B   level 1 ← downsample (2, 2) mean · stamped
    """
    fine, coarse = levels("mean")
    return fine.downsample((2, 2)), coarse


@case(reads=(256, 64))
def like_level_for_downsample() -> Pair:
    """
    downsample (2, 2) mean · approx  (4, 8)   uint16   64 B
    └─ scan test 0                   (8, 16)  uint16  256 B
    =
    scan test 1  (4, 8)  uint16  64 B   level 1
    """
    fine, coarse = levels("mean", stamped=False)
    return fine.downsample((2, 2), approx=True), coarse


@case(reads=(256, 64))
def stamped_level_for_stride() -> Pair:
    """
    scan test 0  (2, 8)  uint16  32 B   [0=0:5:4, 1=0:15:2]
    =
    scan test 1  (2, 8)  uint16  32 B   [0=0:3:2]   level 1 ← downsample (2, 2) stride · stamped
    """
    fine, coarse = levels("stride")
    return fine[::4, ::2], coarse[::2]


# What does nothing.


@case(reads=(192, 192))
def drop_identity_cast() -> Pair:
    """
    cast int32          (y: 6, x: 8)  int32  192 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return Cast(node(x), x.dtype), x


@case(reads=(192, 192))
def drop_downsample_by_one() -> Pair:
    """
    downsample (1, 1) mean  (y: 6, x: 8)  int32  192 B
    └─ scan test image      (y: 6, x: 8)  int32  192 B
    =
    scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return Downsample(node(x), (1, 1), "mean"), x


@case()
def drop_identity_reshape() -> Pair:
    """
    reshape (2, 3)  (2, 3)  int64  48 B
    └─ scan array   (2, 3)  int64  48 B
    =
    scan array  (2, 3)  int64  48 B
    """
    x = lt.asarray(np.arange(6).reshape(2, 3))
    return Reshape(node(x), (2, 3)), x


@case(reads=(192, 192))
def drop_cache_of_cache() -> Pair:
    """
    cache                  (y: 6, x: 8)  int32  192 B
    └─ cache               (y: 6, x: 8)  int32  192 B
       └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    cache               (y: 6, x: 8)  int32  192 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return x.cache().cache(), x.cache()


@case(reads=(192, 192))
def sort_once() -> Pair:
    """
    sort along x descending  (y: 6, x: 8)  int32  192 B
    └─ sort along x          (y: 6, x: 8)  int32  192 B
       └─ scan test image    (y: 6, x: 8)  int32  192 B
    =
    sort along x descending  (y: 6, x: 8)  int32  192 B
    └─ scan test image       (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return lt.sort(lt.sort(x), descending=True), lt.sort(x, descending=True)


# Grids that nobody looks at.


@case(reads=(192, 192))
def drop_rechunk_of_rechunk() -> Pair:
    """
    rechunk (2, 8)         (y: 6, x: 8)  int32  192 B
    └─ rechunk (3, 3)      (y: 6, x: 8)  int32  192 B
       └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    rechunk (2, 8)      (y: 6, x: 8)  int32  192 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return x.rechunk((3, 3)).rechunk((2, 8)), x.rechunk((2, 8))


@case(reads=(192, 192))
def drop_rechunk_below_elementwise() -> Pair:
    """
    add                    (y: 6, x: 8)  int32  192 B
    ├─ rechunk (3, 3)      (y: 6, x: 8)  int32  192 B
    │  └─ scan test image  (y: 6, x: 8)  int32  192 B
    └─ scan test image     (y: 6, x: 8)  int32  192 B
    =
    add                 (y: 6, x: 8)  int32  192 B
    ├─ scan test image  (y: 6, x: 8)  int32  192 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return x.rechunk((3, 3)) + x, x + x


@case(reads=(192, 192))
def drop_rechunk_below_cast() -> Pair:
    """
    cast float32           (y: 6, x: 8)  float32  192 B
    └─ rechunk (3, 3)      (y: 6, x: 8)  int32    192 B
       └─ scan test image  (y: 6, x: 8)  int32    192 B
    =
    cast float32        (y: 6, x: 8)  float32  192 B
    └─ scan test image  (y: 6, x: 8)  int32    192 B
    """
    x = image()
    return x.rechunk((3, 3)).astype("f4"), x.astype("f4")


@case()
def drop_rechunk_below_field() -> Pair:
    """
    field 'a'         (6)  int32                         24 B
    └─ rechunk (4,)   (6)  [('a', '<i4'), ('b', '<f8')]  72 B
       └─ scan array  (6)  [('a', '<i4'), ('b', '<f8')]  72 B
    =
    field 'a'      (6)  int32                         24 B
    └─ scan array  (6)  [('a', '<i4'), ('b', '<f8')]  72 B
    """
    x = records()
    return x.rechunk((4,)).field("a"), x.field("a")


@case(reads=(192, 192))
def drop_rechunk_below_reduce() -> Pair:
    """
    max over y             (x: 8)        int32   32 B
    └─ rechunk (3, 3)      (y: 6, x: 8)  int32  192 B
       └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    max over y          (x: 8)        int32   32 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return lt.max(x.rechunk((3, 3)), axis=0), lt.max(x, axis=0)


@case(reads=(192, 192))
def drop_rechunk_below_downsample() -> Pair:
    """
    downsample (2, 2) mean  (y: 3, x: 4)  int32   48 B
    └─ rechunk (3, 3)       (y: 6, x: 8)  int32  192 B
       └─ scan test image   (y: 6, x: 8)  int32  192 B
    =
    downsample (2, 2) mean  (y: 3, x: 4)  int32   48 B
    └─ scan test image      (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return x.rechunk((3, 3)).downsample((2, 2)), x.downsample((2, 2))


@case(reads=(192, 192))
def drop_rechunk_below_join() -> Pair:
    """
    concat 2 layers along y  (y: 12, x: 8)  int32  384 B
    ├─ rechunk (3, 3)        (y: 6, x: 8)   int32  192 B
    │  └─ scan test image    (y: 6, x: 8)   int32  192 B
    └─ scan test image       (y: 6, x: 8)   int32  192 B
    =
    concat 2 layers along y  (y: 12, x: 8)  int32  384 B
    ├─ scan test image       (y: 6, x: 8)   int32  192 B
    └─ scan test image       (y: 6, x: 8)   int32  192 B
    """
    x = image()
    return lt.concat([x.rechunk((3, 3)), x]), lt.concat([x, x])


@case(reads=(352, 352))
def drop_rechunk_below_overlay() -> Pair:
    """
    overlay 2 layers on 0  (y: 9, x: 11)  int32  396 B
    ├─ rechunk (3, 3)      (y: 6, x: 8)   int32  192 B
    │  └─ scan test image  (y: 6, x: 8)   int32  192 B
    └─ scan test other     (y: 6, x: 8)   int32  192 B
    =
    overlay 2 layers on 0  (y: 9, x: 11)  int32  396 B
    ├─ scan test image     (y: 6, x: 8)   int32  192 B
    └─ scan test other     (y: 6, x: 8)   int32  192 B
    """
    x, y = image(), image(name="other", origin=(3, 3))
    return lt.overlay([x.rechunk((3, 3)), y], fill_value=0), lt.overlay([x, y], fill_value=0)


@case(reads=(192, 192))
def drop_rechunk_below_reshape() -> Pair:
    """
    reshape (4, 12)        (4, 12)       int32  192 B
    └─ rechunk (3, 3)      (y: 6, x: 8)  int32  192 B
       └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    reshape (4, 12)     (4, 12)       int32  192 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return x.rechunk((3, 3)).reshape((4, 12)), x.reshape((4, 12))


# Like follows like.


@case(reads=(48, 48))
def merge_casts() -> Pair:
    """
    cast float32              (y: 6, x: 8)  float32  192 B
    └─ cast float64           (y: 6, x: 8)  float64  384 B
       └─ cast int32          (y: 6, x: 8)  int32    192 B
          └─ scan test image  (y: 6, x: 8)  uint8     48 B
    =
    cast float32        (y: 6, x: 8)  float32  192 B
    └─ scan test image  (y: 6, x: 8)  uint8     48 B
    """
    x = image("u1")
    return x.astype("i4").astype("f8").astype("f4"), x.astype("f4")


@case(reads=(192, 192))
def merge_downsamples() -> Pair:
    """
    downsample (1, 4) max     (y: 2, x: 2)  int32   16 B
    └─ downsample (3, 1) max  (y: 2, x: 8)  int32   64 B
       └─ scan test image     (y: 6, x: 8)  int32  192 B
    =
    downsample (3, 4) max  (y: 2, x: 2)  int32   16 B
    └─ scan test image     (y: 6, x: 8)  int32  192 B
    """
    x = image()
    before = x.downsample((3, 1), method="max").downsample((1, 4), method="max")
    return before, x.downsample((3, 4), method="max")


@case(reads=(48, 48))
def quantize_what_was_quantized() -> Pair:
    """
    quantize_qint8  0.5, -3.0  (y: 6, x: 8)  int8      48 B
    └─ dequantize  0.5, -3.0   (y: 6, x: 8)  float32  192 B
       └─ scan test image      (y: 6, x: 8)  int8      48 B
    =
    scan test image  (y: 6, x: 8)  int8  48 B
    """
    x = image("i1")
    parameters = Constant.of(0.5, np.dtype("f4")), Constant.of(-3, np.dtype("f4"))
    below = Elementwise("dequantize", (node(x), *parameters))
    return Elementwise("quantize_qint8", (below, *parameters)), x


@case(reads=(48, 48))
def cast_after_downsample() -> Pair:
    """
    downsample (2, 2) median  (y: 3, x: 4)  float32   48 B
    └─ cast float32           (y: 6, x: 8)  float32  192 B
       └─ scan test image     (y: 6, x: 8)  uint8     48 B
    =
    cast float32                 (y: 3, x: 4)  float32  48 B
    └─ downsample (2, 2) median  (y: 3, x: 4)  uint8    12 B
       └─ scan test image        (y: 6, x: 8)  uint8    48 B
    """
    x = image("u1")
    before = x.astype("f4").downsample((2, 2), method="median")
    return before, x.downsample((2, 2), method="median").astype("f4")


@case(reads=(192, 192))
def downsample_layers() -> Pair:
    """
    downsample (2, 2) mean      (y: 3, x: 6)   int32   72 B
    └─ concat 2 layers along x  (y: 6, x: 12)  int32  288 B
       ├─ scan test image       (y: 6, x: 8)   int32  192 B
       └─ full 7                (6, 4)         int32   96 B
    =
    concat 2 layers along x    (y: 3, x: 6)  int32   72 B
    ├─ downsample (2, 2) mean  (y: 3, x: 4)  int32   48 B
    │  └─ scan test image      (y: 6, x: 8)  int32  192 B
    └─ downsample (2, 2) mean  (y: 3, x: 2)  int32   24 B
       └─ view at (0, 8)       (y: 6, x: 4)  int32   96 B
          └─ full 7            (6, 4)        int32   96 B
    """
    x, gap = image(), lt.full((6, 4), 7, dtype="i4")
    before = lt.concat([x, gap], axis=1).downsample((2, 2))
    placed = gap[lt.d[:].label["y", "x"].translate_to[0, 8]]
    return before, lt.concat([x.downsample((2, 2)), placed.downsample((2, 2))], axis=1)
