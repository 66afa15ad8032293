"""Constants, and what assembles tensors: fewer layers, flatter, side by side."""

from __future__ import annotations

import numpy as np

import lazytensor as lt
from lazytensor.plan.nodes import Constant, Field
from tests.plan.law_cases import Pair, case, image, same

# What is made of constants alone is one.


@case()
def fold_elementwise() -> Pair:
    return lt.full((3,), 5) * 2 + 1, lt.full((3,), 11)


@case()
def choose_by_constant() -> Pair:
    x, y = image(), image(name="other", start=48)
    return lt.where(True, x, y), x


@case()
def ignore_operand() -> Pair:
    x = image()
    return lt.bitwise_and(x, 0), same(0, x)


@case()
def ignore_operand__saturated() -> Pair:
    x = image("u1")
    return lt.maximum(x, 255), same(255, x)


@case()
def drop_neutral_operand() -> Pair:
    x = image()
    return x * 1, x


@case()
def drop_neutral_operand__of_bools() -> Pair:
    x = image("?")
    return True & x, x


@case()
def fold_cast() -> Pair:
    return lt.full((3,), 5).astype("f4"), lt.full((3,), 5, dtype="f4")


@case()
def fold_field() -> Pair:
    record = np.array((7, 2.5), [("a", "i4"), ("b", "f8")])
    return Field(Constant(record.dtype, record.tobytes()), "b"), Constant.of(2.5, np.dtype("f8"))


@case()
def fold_reduce() -> Pair:
    return lt.sum(lt.full((3, 4), 5), axis=1), lt.full((3,), 20)


@case()
def fold_downsample() -> Pair:
    return lt.full((4, 6), 5).downsample((2, 3)), lt.full((2, 2), 5)


@case()
def fold_reshape() -> Pair:
    return lt.full((4, 6), 5).reshape((24,)), lt.full((24,), 5)


@case()
def fold_join() -> Pair:
    return lt.concat([lt.full((4, 6), 5), lt.full((1, 6), 5)]), lt.full((5, 6), 5)


@case()
def constant_background() -> Pair:
    x = image(origin=(1, 1))
    ground = lt.full((8, 10), 7, dtype="i4", dims=("y", "x"))
    return lt.overlay([ground, x]), lt.overlay([x], domain=ground.domain, fill_value=7)


# Overlays and joins.


@case()
def concat_of_neighbours() -> Pair:
    x, y = image(), image(name="other", start=48, origin=(6, 0))
    return lt.overlay([y, x]), lt.concat([x, y])


@case()
def cull_unseen_layers() -> Pair:
    """What lies outside the window, and what a later layer hides."""
    x, y, far = image(), image(name="hidden", start=48), image(name="far", origin=(90, 0))
    window = lt.IndexDomain(inclusive_min=[0, 0], shape=[6, 10], labels=["y", "x"])
    return (
        lt.overlay([y, far, x], domain=window, fill_value=0),
        lt.overlay([x], domain=window, fill_value=0),
    )


@case()
def drop_overlay_of_one() -> Pair:
    x = image()
    part = x.domain[1:3, 2:4]
    return lt.overlay([x], domain=part), x[part]


@case()
def flatten_overlays() -> Pair:
    x, y, z = image(), image(name="second", start=48), image(name="third", start=96)
    y, z = y.translate_to[4, 4], z.translate_to[4, 12]
    return lt.overlay([x, lt.overlay([y, z])], fill_value=0), lt.overlay([x, y, z], fill_value=0)


@case()
def clip_layers_to_window() -> Pair:
    x, y = image(), image(name="other", start=48, origin=(3, 4))
    window = lt.IndexDomain(inclusive_min=[2, 2], shape=[3, 4], labels=["y", "x"])
    after = [x.coord[2:5, 2:6], y.coord[3:5, 4:6]]
    return lt.overlay([x, y], domain=window), lt.overlay(after, domain=window)


@case()
def drop_join_of_one() -> Pair:
    x = image()
    return lt.concat([x[2:]]), x[2:].translate_to[0, 0]


@case()
def drop_join_of_one__stack() -> Pair:
    x = image()
    return lt.stack([x]), x[None]


@case()
def flatten_joins() -> Pair:
    x, y, z = (image(name=name, start=48 * i) for i, name in enumerate("abc"))
    return lt.concat([lt.concat([x, y]), z]), lt.concat([x, y, z])


@case()
def flatten_joins__of_stacks() -> Pair:
    x, y, z = (image(name=name, start=48 * i) for i, name in enumerate("abc"))
    return lt.concat([lt.stack([x, y]), lt.stack([z])]), lt.stack([x, y, z])
