"""Levels of pyramids, what does nothing, what follows its like, reductions, reshapes and tables."""

from __future__ import annotations

import numpy as np

import lazytensor as lt
from lazytensor.plan.levels import Stamp
from lazytensor.plan.memory import array_node
from lazytensor.plan.nodes import Cast, Elementwise, Reshape
from lazytensor.plan.nodes_axis import Lookup, Search
from lazytensor.plan.nodes_block import Downsample
from lazytensor.plan.rules.lookup import _every_value
from tests.plan.law_cases import F4, F8, I8, Pair, case, image, node, view
from tests.plan.test_rules_pyramid import pyramid

# A stored level in the place of what would be computed.


def levels(method: str, *, stamped: bool = True) -> list[lt.LazyTensor]:
    """A finer and a coarser level."""
    values = np.arange(96, dtype="u2").reshape(8, 12)
    made = pyramid(values, [(2, 2)], method, stamped=stamped, scale=None if stamped else 1.0)
    return [lt.scan_source(level) for level in made]


@case()
def stamped_level_for_downsample() -> Pair:
    fine, coarse = levels("mean")
    return fine.downsample((2, 2)), coarse


@case()
def like_level_for_downsample() -> Pair:
    fine, coarse = levels("mean", stamped=False)
    return fine.downsample((2, 2), approx=True), coarse


@case()
def stamped_level_for_stride() -> Pair:
    fine, coarse = levels("stride")
    return fine[::4, ::2], coarse[::2]


# What does nothing.


@case()
def drop_identity_cast() -> Pair:
    x = image()
    return Cast(node(x), x.dtype), x


@case()
def drop_downsample_by_one() -> Pair:
    x = image()
    return Downsample(node(x), (1, 1), "mean"), x


@case()
def drop_identity_reshape() -> Pair:
    x = lt.asarray(np.arange(6).reshape(2, 3))
    return Reshape(node(x), (2, 3)), x


@case()
def drop_cache_of_cache() -> Pair:
    x = image()
    return x.cache().cache(), x.cache()


@case()
def sort_once() -> Pair:
    x = image()
    return lt.sort(lt.sort(x), descending=True), lt.sort(x, descending=True)


# Grids that nobody looks at.


@case()
def drop_rechunk_of_rechunk() -> Pair:
    x = image()
    return x.rechunk((3, 3)).rechunk((2, 8)), x.rechunk((2, 8))


@case()
def drop_rechunk_below_elementwise() -> Pair:
    x = image()
    return x.rechunk((3, 3)) + x, x + x


@case()
def drop_rechunk_below_cast() -> Pair:
    x = image()
    return x.rechunk((3, 3)).astype("f4"), x.astype("f4")


@case()
def drop_rechunk_below_field() -> Pair:
    x = lt.asarray(np.zeros(6, [("a", "i4"), ("b", "f8")]))
    return x.rechunk((4,)).field("a"), x.field("a")


@case()
def drop_rechunk_below_reduce() -> Pair:
    x = image()
    return lt.max(x.rechunk((3, 3)), axis=0), lt.max(x, axis=0)


@case()
def drop_rechunk_below_downsample() -> Pair:
    x = image()
    return x.rechunk((3, 3)).downsample((2, 2)), x.downsample((2, 2))


@case()
def drop_rechunk_below_join() -> Pair:
    x = image()
    return lt.concat([x.rechunk((3, 3)), x]), lt.concat([x, x])


@case()
def drop_rechunk_below_overlay() -> Pair:
    x, y = image(), image(name="other", origin=(3, 3))
    return lt.overlay([x.rechunk((3, 3)), y], fill_value=0), lt.overlay([x, y], fill_value=0)


@case()
def drop_rechunk_below_reshape() -> Pair:
    x = image()
    return x.rechunk((3, 3)).reshape((4, 12)), x.reshape((4, 12))


# Like follows like.


@case()
def merge_casts() -> Pair:
    x = image("u1")
    return x.astype("i4").astype("f8").astype("f4"), x.astype("f4")


@case()
def merge_downsamples() -> Pair:
    x = image()
    return x.downsample((3, 1), method="max").downsample((1, 4), method="max"), x.downsample(
        (3, 4), method="max"
    )


@case()
def cast_after_downsample() -> Pair:
    x = image("u1")
    return x.astype("f4").downsample((2, 2), method="median"), x.downsample(
        (2, 2), method="median"
    ).astype("f4")


@case()
def downsample_layers() -> Pair:
    x, gap = image(), lt.full((6, 4), 7, dtype="i4", dims=("y", "x"))
    return lt.concat([x, gap], axis=1).downsample((2, 2)), lt.concat(
        [x.downsample((2, 2)), gap.translate_to[0, 8].downsample((2, 2))], axis=1
    )


# Reductions of one element, and of what was put together.


@case()
def reduce_of_one_element() -> Pair:
    x = image()
    return lt.sum(x[2:3], axis=0), x[2:3].astype("i8")[0]


@case()
def parts_count_once() -> Pair:
    x, y = image(), image(name="other", start=48)
    return lt.max(lt.concat([x, y, x]), axis=0), lt.max(lt.concat([x, y]), axis=0)


@case()
def constants_apart() -> Pair:
    x, gap = image(), lt.full((4, 8), 7, dtype="i4", dims=("y", "x"))
    return lt.sum(lt.concat([x, gap]), axis=0), lt.sum(lt.concat([x]), axis=0) + np.int64(28)


@case()
def add_up_stack() -> Pair:
    x, y = image(), image(name="other", start=48)
    return lt.sum(lt.stack([x, y]), axis=0), x.astype("i8") + y.astype("i8")


# Reshapes become one, a view if they only add dims of extent 1, and go to the top.


@case()
def merge_reshapes() -> Pair:
    x = image()
    return x.reshape((2, 3, 8)).reshape((4, 12)), x.reshape((4, 12))


@case()
def view_of_units_instead_of_reshape() -> Pair:
    x = lt.asarray(np.arange(6).reshape(2, 3))
    return x.reshape((2, 1, 3)), x[:, None]


@case()
def cast_before_reshape() -> Pair:
    x = image()
    return x.reshape((4, 12)).astype("f4"), x.astype("f4").reshape((4, 12))


@case()
def elementwise_before_reshape() -> Pair:
    x = image()
    flat = x.reshape((48,))
    return flat * flat + 1, (x * x + 1).reshape((48,))


@case()
def reduce_before_reshape() -> Pair:
    x = image(shape=(2, 6, 8), chunks=(1, 2, 4))
    return lt.sum(x.reshape((12, 8)), axis=0), lt.sum(x, axis=(0, 1)).reshape((8,))


# A chain over few values is a table.


def bytes_() -> lt.LazyTensor:
    return image("u1", (256, 256), (64, 256))


@case()
def look_up_chain() -> Pair:
    x = bytes_()
    return lt.sin(x.astype("f8")), Lookup(sine(), node(x))


def sine() -> Elementwise:
    """Of every byte."""
    return Elementwise("sin", (Cast(_every_value(np.dtype("u1")), F8),))


@case()
def look_up_cast() -> Pair:
    x = bytes_()
    return lt.sin(x.astype("f8")).astype("f4"), Lookup(Cast(sine(), F4), node(x))


@case()
def look_up_search() -> Pair:
    x = bytes_()
    wanted = array_node(np.array([3, 5, 40], "u1"))
    return Search("member", wanted, node(x)), Lookup(
        Search("member", wanted, _every_value(np.dtype("u1"))), node(x)
    )


@case()
def look_up_lookup() -> Pair:
    x = bytes_()
    return Lookup(array_node(np.arange(256) * 2), Cast(sine(), np.dtype("u1"))), x
