"""Reductions of what was put together, reshapes, and tables of every value."""

from __future__ import annotations

import numpy as np

import lazytensor as lt
from lazytensor.plan.memory import array_node
from lazytensor.plan.nodes import Cast, Elementwise
from lazytensor.plan.nodes_axis import Lookup, Search
from lazytensor.plan.rules.lookup import _every_value
from tests.plan.law_cases import Pair, case, image, node

# Reductions of one element, and of what was put together.


@case(reads=(64, 64))
def reduce_of_one_element() -> Pair:
    """
    sum over y          (x: 8)        int64  64 B
    └─ scan test image  (y: 1, x: 8)  int32  32 B   [y=2:3]
    =
    view [y=2]             (x: 8)        int64  64 B
    └─ cast int64          (y: 1, x: 8)  int64  64 B
       └─ scan test image  (y: 1, x: 8)  int32  32 B   [y=2:3]
    """
    x = image()
    return lt.sum(x[2:3], axis=0), x[2:3].astype("i8")[0]


@case(reads=(384, 384))
def parts_count_once() -> Pair:
    """
    max over y                  (x: 8)         int32   32 B
    └─ concat 3 layers along y  (y: 18, x: 8)  int32  576 B
       ├─ scan test image       (y: 6, x: 8)   int32  192 B
       ├─ scan test other       (y: 6, x: 8)   int32  192 B
       └─ scan test image       (y: 6, x: 8)   int32  192 B
    =
    max over y                  (x: 8)         int32   32 B
    └─ concat 2 layers along y  (y: 12, x: 8)  int32  384 B
       ├─ scan test image       (y: 6, x: 8)   int32  192 B
       └─ scan test other       (y: 6, x: 8)   int32  192 B
    """
    x, y = image(), image(name="other", start=48)
    return lt.max(lt.concat([x, y, x]), axis=0), lt.max(lt.concat([x, y]), axis=0)


@case(reads=(384, 384))
def constants_apart() -> Pair:
    """
    sum over y                  (x: 8)         int64   64 B
    └─ concat 3 layers along y  (y: 16, x: 8)  int32  512 B
       ├─ scan test image       (y: 6, x: 8)   int32  192 B
       ├─ full 7                (4, 8)         int32  128 B
       └─ scan test other       (y: 6, x: 8)   int32  192 B
    =
    add  28                        (x: 8)         int64   64 B
    └─ sum over y                  (x: 8)         int64   64 B
       └─ concat 2 layers along y  (y: 12, x: 8)  int32  384 B
          ├─ scan test image       (y: 6, x: 8)   int32  192 B
          └─ scan test other       (y: 6, x: 8)   int32  192 B
    """
    x, y, gap = image(), image(name="other", start=48), lt.full((4, 8), 7, dtype="i4")
    return lt.sum(lt.concat([x, gap, y]), axis=0), lt.sum(lt.concat([x, y]), axis=0) + 28


@case(reads=(384, 384))
def add_up_stack() -> Pair:
    """
    sum over 0                 (y: 6, x: 8)     int64  384 B
    └─ stack 2 layers along 0  (2, y: 6, x: 8)  int32  384 B
       ├─ scan test image      (y: 6, x: 8)     int32  192 B
       └─ scan test other      (y: 6, x: 8)     int32  192 B
    =
    add                    (y: 6, x: 8)  int64  384 B
    ├─ cast int64          (y: 6, x: 8)  int64  384 B
    │  └─ scan test image  (y: 6, x: 8)  int32  192 B
    └─ cast int64          (y: 6, x: 8)  int64  384 B
       └─ scan test other  (y: 6, x: 8)  int32  192 B
    """
    x, y = image(), image(name="other", start=48)
    return lt.sum(lt.stack([x, y]), axis=0), x.astype("i8") + y.astype("i8")


# Reshapes become one, a view if they only add dims of extent 1, and go to the top.


@case(reads=(192, 192))
def merge_reshapes() -> Pair:
    """
    reshape (4, 12)        (4, 12)       int32  192 B
    └─ reshape (2, 3, 8)   (2, 3, 8)     int32  192 B
       └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    reshape (4, 12)     (4, 12)       int32  192 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return x.reshape((2, 3, 8)).reshape((4, 12)), x.reshape((4, 12))


@case()
def view_of_units_instead_of_reshape() -> Pair:
    """
    reshape (2, 1, 3)  (2, 1, 3)  int64  48 B
    └─ scan array      (2, 3)     int64  48 B
    =
    scan array  (2, 1, 3)  int64  48 B   new dim at 1 of 1
    """
    x = lt.asarray(np.arange(6).reshape(2, 3))
    return x.reshape((2, 1, 3)), x[:, None]


@case(reads=(192, 192))
def cast_before_reshape() -> Pair:
    """
    cast float32           (4, 12)       float32  192 B
    └─ reshape (4, 12)     (4, 12)       int32    192 B
       └─ scan test image  (y: 6, x: 8)  int32    192 B
    =
    reshape (4, 12)        (4, 12)       float32  192 B
    └─ cast float32        (y: 6, x: 8)  float32  192 B
       └─ scan test image  (y: 6, x: 8)  int32    192 B
    """
    x = image()
    return x.reshape((4, 12)).astype("f4"), x.astype("f4").reshape((4, 12))


@case(reads=(192, 192))
def elementwise_before_reshape() -> Pair:
    """
    add  1                    (48)          int32  192 B
    └─ multiply               (48)          int32  192 B
       ├─ reshape (48,)       (48)          int32  192 B   #1
       │  └─ scan test image  (y: 6, x: 8)  int32  192 B
       └─ ↑ #1 reshape (48,)
    =
    reshape (48,)             (48)          int32  192 B
    └─ add  1                 (y: 6, x: 8)  int32  192 B
       └─ multiply            (y: 6, x: 8)  int32  192 B
          ├─ scan test image  (y: 6, x: 8)  int32  192 B
          └─ scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    flat = x.reshape((48,))
    return flat * flat + 1, (x * x + 1).reshape((48,))


@case(reads=(384, 384))
def reduce_before_reshape() -> Pair:
    """
    max over 2             (3, 4)              int32   48 B
    └─ reshape (3, 4, 8)   (3, 4, 8)           int32  384 B
       └─ scan test image  (z: 2, y: 6, x: 8)  int32  384 B
    =
    reshape (3, 4)         (3, 4)              int32   48 B
    └─ max over x          (z: 2, y: 6)        int32   48 B
       └─ scan test image  (z: 2, y: 6, x: 8)  int32  384 B
    """
    x = image(shape=(2, 6, 8), chunks=(1, 2, 4))
    return lt.max(x.reshape((3, 4, 8)), axis=2), lt.max(x, axis=2).reshape((3, 4))


# A chain over few values is a table.


def many_bytes() -> lt.LazyTensor:
    return image("u1", (256, 256), (64, 256))


@case(reads=(65536, 65536))
def look_up_chain() -> Pair:
    """
    sin                    (y: 256, x: 256)  float64  512 KiB
    └─ cast float64        (y: 256, x: 256)  float64  512 KiB
       └─ scan test image  (y: 256, x: 256)  uint8     64 KiB
    =
    look up in 256 values  (y: 256, x: 256)  float64  512 KiB
    ├─ sin                 (256)             float64    2 KiB
    │  └─ cast float64     (256)             float64    2 KiB
    │     └─ scan array    (256)             uint8      256 B
    └─ scan test image     (y: 256, x: 256)  uint8     64 KiB
    """
    x = many_bytes()
    return lt.sin(x.astype("f8")), Lookup(sine(), node(x))


def sine() -> Elementwise:
    """Of every byte."""
    return Elementwise("sin", (Cast(_every_value(np.dtype("u1")), np.dtype("f8")),))


@case(reads=(65536, 65536))
def look_up_cast() -> Pair:
    """
    cast float32              (y: 256, x: 256)  float32  256 KiB
    └─ sin                    (y: 256, x: 256)  float64  512 KiB
       └─ cast float64        (y: 256, x: 256)  float64  512 KiB
          └─ scan test image  (y: 256, x: 256)  uint8     64 KiB
    =
    look up in 256 values   (y: 256, x: 256)  float32  256 KiB
    ├─ cast float32         (256)             float32    1 KiB
    │  └─ sin               (256)             float64    2 KiB
    │     └─ cast float64   (256)             float64    2 KiB
    │        └─ scan array  (256)             uint8      256 B
    └─ scan test image      (y: 256, x: 256)  uint8     64 KiB
    """
    x = many_bytes()
    return lt.sin(x.astype("f8")).astype("f4"), Lookup(Cast(sine(), np.dtype("f4")), node(x))


@case(reads=(65536, 65536))
def look_up_search() -> Pair:
    """
    search sorted 3 values (member)  (y: 256, x: 256)  bool   64 KiB
    ├─ scan array                    (3)               uint8     3 B
    └─ scan test image               (y: 256, x: 256)  uint8  64 KiB
    =
    look up in 256 values               (y: 256, x: 256)  bool   64 KiB
    ├─ search sorted 3 values (member)  (256)             bool    256 B
    │  ├─ scan array                    (3)               uint8     3 B
    │  └─ scan array                    (256)             uint8   256 B
    └─ scan test image                  (y: 256, x: 256)  uint8  64 KiB
    """
    x = many_bytes()
    wanted = array_node(np.array([3, 5, 40], "u1"))
    table = Search("member", wanted, _every_value(np.dtype("u1")))
    return Search("member", wanted, node(x)), Lookup(table, node(x))


@case(reads=(65536, 65536))
def look_up_lookup() -> Pair:
    """
    look up in 256 values        (y: 256, x: 256)  int64    512 KiB
    ├─ scan array                (256)             int64      2 KiB
    └─ cast uint8                (y: 256, x: 256)  uint8     64 KiB
       └─ sin                    (y: 256, x: 256)  float64  512 KiB
          └─ cast float64        (y: 256, x: 256)  float64  512 KiB
             └─ scan test image  (y: 256, x: 256)  uint8     64 KiB
    =
    look up in 256 values      (y: 256, x: 256)  int64    512 KiB
    ├─ look up in 256 values   (256)             int64      2 KiB
    │  ├─ scan array           (256)             int64      2 KiB
    │  └─ cast uint8           (256)             uint8      256 B
    │     └─ sin               (256)             float64    2 KiB
    │        └─ cast float64   (256)             float64    2 KiB
    │           └─ scan array  (256)             uint8      256 B
    └─ scan test image         (y: 256, x: 256)  uint8     64 KiB
    """
    x, table = many_bytes(), array_node(np.arange(256) * 2)
    wave = lt.sin(x.astype("f8")).astype("u1")
    through = Lookup(table, Cast(sine(), np.dtype("u1")))
    return Lookup(table, node(wave)), Lookup(through, node(x))
