"""The laws of the optimizer, in the order in which they are tried.

For one node, or for a view and the node below it, the first law that applies fires; what comes of
it is tried again. So the order matters only among laws of the same kinds, and where it does the
reason stands beside it. A kind without a law of its own is in ``BARRIERS``, with the reason.
"""

from __future__ import annotations

from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cache, Constant, Scan
from lazytensor.plan.nodes_block import Inspect
from lazytensor.plan.nodes_sketch import Edges
from lazytensor.plan.rules.axis import (
    sort_once,
    view_through_block_totals,
    view_through_cumulate,
    view_through_gather,
    view_through_lookup,
    view_through_search,
    view_through_sort,
)
from lazytensor.plan.rules.blocks import view_through_call, view_through_downsample
from lazytensor.plan.rules.casts import cast_after_downsample, drop_identity_cast, merge_casts
from lazytensor.plan.rules.constants import (
    choose_by_constant,
    constant_background,
    drop_neutral_operand,
    fold_cast,
    fold_downsample,
    fold_elementwise,
    fold_field,
    fold_join,
    fold_reduce,
    fold_reshape,
    ignore_operand,
    simple_power,
)
from lazytensor.plan.rules.contract import view_through_contract
from lazytensor.plan.rules.downsamples import (
    downsample_layers,
    drop_downsample_by_one,
    merge_downsamples,
)
from lazytensor.plan.rules.flatten import concat_of_neighbours, flatten_joins, flatten_overlays
from lazytensor.plan.rules.join import drop_join_of_one, view_through_join
from lazytensor.plan.rules.law import Law
from lazytensor.plan.rules.lookup import (
    look_up_cast,
    look_up_chain,
    look_up_lookup,
    look_up_search,
)
from lazytensor.plan.rules.overlay import (
    clip_layers_to_window,
    cull_unseen_layers,
    drop_overlay_of_one,
    view_through_overlay,
)
from lazytensor.plan.rules.pushdown import (
    view_through_cast,
    view_through_elementwise,
    view_through_field,
    view_through_reduce,
)
from lazytensor.plan.rules.pyramid import (
    like_level_for_downsample,
    stamped_level_for_downsample,
    stamped_level_for_stride,
)
from lazytensor.plan.rules.quantize import quantize_what_was_quantized, view_through_spread
from lazytensor.plan.rules.rechunks import (
    DROP_RECHUNK_BELOW,
    drop_rechunk_of_rechunk,
    drop_rechunk_under_view,
)
from lazytensor.plan.rules.reductions import (
    add_up_stack,
    constants_apart,
    parts_count_once,
    reduce_of_one_element,
)
from lazytensor.plan.rules.reshape_up import (
    cast_before_reshape,
    elementwise_before_reshape,
    reduce_before_reshape,
)
from lazytensor.plan.rules.reshapes import (
    drop_identity_reshape,
    merge_reshapes,
    view_of_units_instead_of_reshape,
    view_through_reshape,
)
from lazytensor.plan.rules.simplify import (
    compose_views,
    drop_cache_of_cache,
    drop_identity_view,
    empty_view_reads_nothing,
)
from lazytensor.plan.rules.sketch import (
    view_through_histogram,
    view_through_masked,
    view_through_masked_reduce,
    view_through_quantile,
)

__all__ = ["BARRIERS", "PASSES"]

PASSES: tuple[Law, ...] = (
    # Views by themselves. An empty view may also be an identity, and then it is dropped.
    drop_identity_view,
    empty_view_reads_nothing,
    # A view of a view becomes one view before it moves on, so that it moves once.
    compose_views,
    drop_rechunk_under_view,
    # Through operations that look at one position at a time.
    view_through_elementwise,
    view_through_cast,
    view_through_field,
    view_through_lookup,
    view_through_search,
    # Through operations that look at more than one position.
    view_through_reduce,
    view_through_masked,
    view_through_masked_reduce,
    view_through_quantile,
    view_through_histogram,
    view_through_downsample,
    view_through_reshape,
    view_through_call,
    # Along one axis, which they need whole or from its beginning.
    view_through_sort,
    view_through_cumulate,
    view_through_block_totals,
    view_through_gather,
    view_through_contract,
    view_through_spread,
    # Through what assembles tensors: here views decide what is read at all. The driver moves views
    # before it tries the laws below, so layers are culled in the window and not in the whole.
    view_through_join,
    view_through_overlay,
    # Constants: what is made of them is one. Before the laws on the same kinds, which need not look
    # at what is gone then; an operand that decides comes before one that only changes nothing.
    fold_elementwise,
    choose_by_constant,
    ignore_operand,
    drop_neutral_operand,
    simple_power,
    fold_cast,
    fold_field,
    fold_reduce,
    fold_downsample,
    fold_reshape,
    fold_join,
    # A background becomes the fill value before layers are looked at: it is seen between all.
    constant_background,
    # Neighbours hide nothing of each other, so an index of where they are need not be built.
    concat_of_neighbours,
    # Fewer layers first, so that what nobody sees is not flattened, nor looked into for holes; a
    # lone layer then takes the overlay's place. Layers are clipped last: a nested overlay would
    # vanish behind the view that clips it.
    cull_unseen_layers,
    drop_overlay_of_one,
    flatten_overlays,
    clip_layers_to_window,
    drop_join_of_one,
    flatten_joins,
    # A level of a pyramid in place of what would be computed from a finer one: proven, before what
    # the caller allows to differ. A view has moved below the downsample by then, so that what is
    # looked for is the part that is wanted.
    stamped_level_for_downsample,
    like_level_for_downsample,
    stamped_level_for_stride,
    # What does nothing.
    drop_identity_cast,
    drop_downsample_by_one,
    drop_identity_reshape,
    drop_cache_of_cache,
    sort_once,
    drop_rechunk_of_rechunk,
    # Rechunks first: the laws below look at the operand.
    *DROP_RECHUNK_BELOW,
    # Like follows like. Two casts become one before one of them waits for a downsample.
    merge_casts,
    merge_downsamples,
    quantize_what_was_quantized,
    cast_after_downsample,
    downsample_layers,
    # Reductions of what was put together. Parts are dropped before what is left is added up.
    reduce_of_one_element,
    parts_count_once,
    constants_apart,
    add_up_stack,
    # A chain of reshapes is one, and only then asked whether it is a view.
    merge_reshapes,
    view_of_units_instead_of_reshape,
    # A reshape that looks like a view is one by now; what is left goes to the top.
    cast_before_reshape,
    elementwise_before_reshape,
    reduce_before_reshape,
    # Last: what other laws would still take out of a chain shall not be in its table. Views have
    # moved below by the time they are tried, so a table is made only for what is wanted.
    look_up_chain,
    look_up_cast,
    look_up_search,
    look_up_lookup,
)
"""Every law, in order."""

BARRIERS: dict[type[Node], str] = {
    Scan: "a view of a source is what engines read",
    Edges: "edges of bins are few, and computed together",
    Constant: "a view of a scalar is how a broadcast scalar is written",
    Cache: "what is kept is the whole, for every consumer",
    Inspect: "the function shall see what it would see without the optimizer",
}
"""Kinds that no view moves through, and why."""
