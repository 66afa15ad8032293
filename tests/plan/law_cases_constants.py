"""Constants, and what assembles tensors: fewer layers, flatter, side by side."""

from __future__ import annotations

import numpy as np

import lazytensor as lt
from lazytensor.plan.nodes import Constant, Field
from tests.plan.law_cases import Pair, case, image, same

# What is made of constants alone is one.


@case()
def fold_elementwise() -> Pair:
    """
    add  1          (3)  int64  24 B
    └─ multiply  2  (3)  int64  24 B
       └─ full 5    (3)  int64  24 B
    =
    full 11  (3)  int64  24 B
    """
    return lt.full((3,), 5) * 2 + 1, lt.full((3,), 11)


@case(reads=(384, 192))
def choose_by_constant() -> Pair:
    """
    where  True, ·, ·   (y: 6, x: 8)  int32  192 B
    ├─ scan test image  (y: 6, x: 8)  int32  192 B
    └─ scan test other  (y: 6, x: 8)  int32  192 B
    =
    scan test image  (y: 6, x: 8)  int32  192 B
    """
    x, y = image(), image(name="other", start=48)
    return lt.where(True, x, y), x


@case(reads=(192, 0))
def ignore_operand() -> Pair:
    """
    bitwise_and  0      (y: 6, x: 8)  int32  192 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    full 0  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return lt.bitwise_and(x, 0), same(0, x)


@case(reads=(48, 0))
def ignore_operand__saturated() -> Pair:
    """
    maximum  255        (y: 6, x: 8)  uint8  48 B
    └─ scan test image  (y: 6, x: 8)  uint8  48 B
    =
    full 255  (y: 6, x: 8)  uint8  48 B
    """
    x = image("u1")
    return lt.maximum(x, 255), same(255, x)


@case(reads=(192, 192))
def drop_neutral_operand() -> Pair:
    """
    multiply  1         (y: 6, x: 8)  int32  192 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return x * 1, x


@case(reads=(48, 48))
def drop_neutral_operand__of_bools() -> Pair:
    """
    bitwise_and  True, ·  (y: 6, x: 8)  bool  48 B
    └─ scan test image    (y: 6, x: 8)  bool  48 B
    =
    scan test image  (y: 6, x: 8)  bool  48 B
    """
    x = image("?")
    return True & x, x


@case(reads=(192, 192))
def simple_power() -> Pair:
    """
    pow  2.0            (y: 6, x: 8)  float32  192 B
    └─ scan test image  (y: 6, x: 8)  float32  192 B
    =
    square              (y: 6, x: 8)  float32  192 B
    └─ scan test image  (y: 6, x: 8)  float32  192 B
    """
    x = image("f4")
    return x**2, lt.square(x)


@case(reads=(192, 192))
def simple_power__of_integers() -> Pair:
    """
    pow  2              (y: 6, x: 8)  int32  192 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    square              (y: 6, x: 8)  int32  192 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    """
    x = image()
    return x**2, lt.square(x)


@case(reads=(192, 192))
def simple_power__that_is_a_quotient() -> Pair:
    """
    pow  -1.0           (y: 6, x: 8)  float64  384 B
    └─ scan test image  (y: 6, x: 8)  int32    192 B
    =
    reciprocal             (y: 6, x: 8)  float64  384 B
    └─ cast float64        (y: 6, x: 8)  float64  384 B
       └─ scan test image  (y: 6, x: 8)  int32    192 B
    """
    x = image()
    return x**-1.0, lt.reciprocal(x.astype("f8"))


@case()
def fold_cast() -> Pair:
    """
    cast float32  (3)  float32  12 B
    └─ full 5     (3)  int64    24 B
    =
    full 5.0  (3)  float32  12 B
    """
    return lt.full((3,), 5).astype("f4"), lt.full((3,), 5, dtype="f4")


@case()
def fold_field() -> Pair:
    """
    field 'b'             ()  float64                        8 B
    └─ constant (7, 2.5)  ()  [('a', '<i4'), ('b', '<f8')]  12 B
    =
    constant 2.5  ()  float64  8 B
    """
    record = np.array((7, 2.5), [("a", "i4"), ("b", "f8")])
    return Field(Constant(record.dtype, record.tobytes()), "b"), Constant.of(2.5, np.dtype("f8"))


@case()
def fold_reduce() -> Pair:
    """
    sum over 1  (3)     int64  24 B
    └─ full 5   (3, 4)  int64  96 B
    =
    full 20  (3)  int64  24 B
    """
    return lt.sum(lt.full((3, 4), 5), axis=1), lt.full((3,), 20)


@case()
def fold_downsample() -> Pair:
    """
    downsample (2, 3) mean  (2, 2)  int64   32 B
    └─ full 5               (4, 6)  int64  192 B
    =
    full 5  (2, 2)  int64  32 B
    """
    return lt.full((4, 6), 5).downsample((2, 3)), lt.full((2, 2), 5)


@case()
def fold_reshape() -> Pair:
    """
    reshape (24,)  (24)    int64  192 B
    └─ full 5      (4, 6)  int64  192 B
    =
    full 5  (24)  int64  192 B
    """
    return lt.full((4, 6), 5).reshape((24,)), lt.full((24,), 5)


@case()
def fold_join() -> Pair:
    """
    concat 2 layers along 0  (5, 6)  int64  240 B
    ├─ full 5                (4, 6)  int64  192 B
    └─ full 5                (1, 6)  int64   48 B
    =
    full 5  (5, 6)  int64  240 B
    """
    return lt.concat([lt.full((4, 6), 5), lt.full((1, 6), 5)]), lt.full((5, 6), 5)


@case(reads=(192, 192), needs=("simplify_expression",))
def constant_background() -> Pair:
    """
    overlay 2 layers    (y: 8, x: 10)  int32  320 B
    ├─ view at (0, 0)   (y: 8, x: 10)  int32  320 B
    │  └─ full 7        (8, 10)        int32  320 B
    └─ scan test image  (y: 6, x: 8)   int32  192 B
    =
    overlay 1 layer on 7  (y: 8, x: 10)  int32  320 B
    └─ scan test image    (y: 6, x: 8)   int32  192 B
    """
    x = image(origin=(1, 1))
    ground = lt.full((8, 10), 7, dtype="i4").label["y", "x"]
    return lt.overlay([ground, x]), lt.overlay([x], domain=ground.domain, fill_value=7)


# Overlays and joins.


@case(reads=(384, 384))
def concat_of_neighbours() -> Pair:
    """
    overlay 2 layers    (y: 12, x: 8)  int32  384 B
    ├─ scan test other  (y: 6, x: 8)   int32  192 B
    └─ scan test image  (y: 6, x: 8)   int32  192 B
    =
    concat 2 layers along y  (y: 12, x: 8)  int32  384 B
    ├─ scan test image       (y: 6, x: 8)   int32  192 B
    └─ scan test other       (y: 6, x: 8)   int32  192 B
    """
    x, y = image(), image(name="other", start=48, origin=(6, 0))
    return lt.overlay([y, x]), lt.concat([x, y])


# What lies outside the window, and what a later layer hides.
@case(reads=(192, 192))
def cull_unseen_layers() -> Pair:
    """
    overlay 3 layers on 0  (y: 6, x: 10)  int32  240 B
    ├─ scan test hidden    (y: 6, x: 8)   int32  192 B
    ├─ scan test far       (y: 6, x: 8)   int32  192 B
    └─ scan test image     (y: 6, x: 8)   int32  192 B
    =
    overlay 1 layer on 0  (y: 6, x: 10)  int32  240 B
    └─ scan test image    (y: 6, x: 8)   int32  192 B
    """
    x, y, far = image(), image(name="hidden", start=48), image(name="far", origin=(90, 0))
    window = lt.IndexDomain(inclusive_min=[0, 0], shape=[6, 10], labels=["y", "x"])

    def seen(*layers: lt.LazyTensor) -> lt.LazyTensor:
        return lt.overlay(layers, domain=window, fill_value=0)

    return seen(y, far, x), seen(x)


@case(reads=(64, 64))
def drop_overlay_of_one() -> Pair:
    """
    overlay 1 layer     (y: 2, x: 2)  int32   16 B
    └─ scan test image  (y: 6, x: 8)  int32  192 B
    =
    scan test image  (y: 2, x: 2)  int32  16 B   [y=1:3, x=2:4]
    """
    x = image()
    window = lt.IndexDomain(inclusive_min=[1, 2], shape=[2, 2], labels=["y", "x"])
    return lt.overlay([x], domain=window), x[window]


@case(reads=(544, 544))
def flatten_overlays() -> Pair:
    """
    overlay 2 layers on 0   (y: 10, x: 20)  int32  800 B
    ├─ scan test image      (y: 6, x: 8)    int32  192 B
    └─ overlay 2 layers     (y: 6, x: 16)   int32  384 B
       ├─ scan test second  (y: 6, x: 8)    int32  192 B   at (4, 4)
       └─ scan test third   (y: 6, x: 8)    int32  192 B   at (4, 12)
    =
    overlay 3 layers on 0  (y: 10, x: 20)  int32  800 B
    ├─ scan test image     (y: 6, x: 8)    int32  192 B
    ├─ scan test second    (y: 6, x: 8)    int32  192 B   at (4, 4)
    └─ scan test third     (y: 6, x: 8)    int32  192 B   at (4, 12)
    """
    x, y, z = image(), image(name="second", start=48), image(name="third", start=96)
    y, z = y.translate_to[4, 4], z.translate_to[4, 12]
    return lt.overlay([x, lt.overlay([y, z])], fill_value=0), lt.overlay([x, y, z], fill_value=0)


@case(reads=(128, 128))
def clip_layers_to_window() -> Pair:
    """
    overlay 2 layers    (y: 3, x: 4)  int32   48 B
    ├─ scan test image  (y: 6, x: 8)  int32  192 B
    └─ scan test other  (y: 6, x: 8)  int32  192 B
    =
    overlay 2 layers    (y: 3, x: 4)  int32  48 B
    ├─ scan test image  (y: 3, x: 4)  int32  48 B   [y=2:5, x=2:6]
    └─ scan test other  (y: 2, x: 2)  int32  16 B   [y=3:5, x=4:6]
    """
    x, y = image(), image(name="other", start=48, origin=(3, 4))
    window = lt.IndexDomain(inclusive_min=[2, 2], shape=[3, 4], labels=["y", "x"])
    after = [x.coord[2:5, 2:6], y.coord[3:5, 4:6]]
    return lt.overlay([x, y], domain=window), lt.overlay(after, domain=window)


@case(reads=(192, 192))
def drop_join_of_one() -> Pair:
    """
    concat 1 layer along y  (y: 6, x: 8)  int32  192 B
    └─ scan test image      (y: 6, x: 8)  int32  192 B
    =
    scan test image  (y: 6, x: 8)  int32  192 B   at (0, 0)
    """
    x = image(origin=(2, 0))
    return lt.concat([x]), x.translate_to[0, 0]


@case(reads=(192, 192))
def drop_join_of_one__stack() -> Pair:
    """
    stack 1 layer along 0  (1, y: 6, x: 8)  int32  192 B
    └─ scan test image     (y: 6, x: 8)     int32  192 B
    =
    scan test image  (1, y: 6, x: 8)  int32  192 B   new dim at 0 of 1
    """
    x = image()
    return lt.stack([x]), x[None]


@case(reads=(576, 576))
def flatten_joins() -> Pair:
    """
    concat 2 layers along y     (y: 18, x: 8)  int32  576 B
    ├─ concat 2 layers along y  (y: 12, x: 8)  int32  384 B
    │  ├─ scan test a           (y: 6, x: 8)   int32  192 B
    │  └─ scan test b           (y: 6, x: 8)   int32  192 B
    └─ scan test c              (y: 6, x: 8)   int32  192 B
    =
    concat 3 layers along y  (y: 18, x: 8)  int32  576 B
    ├─ scan test a           (y: 6, x: 8)   int32  192 B
    ├─ scan test b           (y: 6, x: 8)   int32  192 B
    └─ scan test c           (y: 6, x: 8)   int32  192 B
    """
    x, y, z = (image(name=name, start=48 * i) for i, name in enumerate("abc"))
    return lt.concat([lt.concat([x, y]), z]), lt.concat([x, y, z])


@case(reads=(576, 576))
def flatten_joins__of_stacks() -> Pair:
    """
    concat 2 layers along 0    (3, y: 6, x: 8)  int32  576 B
    ├─ stack 2 layers along 0  (2, y: 6, x: 8)  int32  384 B
    │  ├─ scan test a          (y: 6, x: 8)     int32  192 B
    │  └─ scan test b          (y: 6, x: 8)     int32  192 B
    └─ stack 1 layer along 0   (1, y: 6, x: 8)  int32  192 B
       └─ scan test c          (y: 6, x: 8)     int32  192 B
    =
    stack 3 layers along 0  (3, y: 6, x: 8)  int32  576 B
    ├─ scan test a          (y: 6, x: 8)     int32  192 B
    ├─ scan test b          (y: 6, x: 8)     int32  192 B
    └─ scan test c          (y: 6, x: 8)     int32  192 B
    """
    x, y, z = (image(name=name, start=48 * i) for i, name in enumerate("abc"))
    return lt.concat([lt.stack([x, y]), lt.stack([z])]), lt.stack([x, y, z])
