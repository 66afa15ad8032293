"""The laws of the optimizer, in the order in which they are tried.

For one node, or for a view and the node below it, the first law that applies fires; what comes of
it is tried again. So the order matters only among laws of the same kinds, and where it does the
reason stands beside it. A kind without a law of its own is in ``BARRIERS``, with the reason.
"""

from __future__ import annotations

from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cache, Constant, Reshape, Scan
from lazytensor.plan.nodes_block import Inspect
from lazytensor.plan.rules.blocks import view_through_call, view_through_downsample
from lazytensor.plan.rules.join import drop_join_of_one, view_through_join
from lazytensor.plan.rules.law import Law, law
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
from lazytensor.plan.rules.simplify import (
    compose_views,
    drop_cache_of_cache,
    drop_downsample_by_one,
    drop_identity_cast,
    drop_identity_reshape,
    drop_identity_view,
    drop_rechunk_of_rechunk,
    drop_rechunk_under_view,
    empty_view_reads_nothing,
    merge_reshapes,
)

__all__ = ["BARRIERS", "PASSES", "Law", "law"]

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
    # Through operations that look at more than one position.
    view_through_reduce,
    view_through_downsample,
    view_through_call,
    # Through what assembles tensors: here views decide what is read at all. The driver moves views
    # before it tries the laws below, so layers are culled in the window and not in the whole.
    view_through_join,
    view_through_overlay,
    # Fewer layers first; a lone one then takes the overlay's place.
    cull_unseen_layers,
    drop_overlay_of_one,
    clip_layers_to_window,
    drop_join_of_one,
    # What does nothing.
    drop_identity_cast,
    drop_downsample_by_one,
    merge_reshapes,
    drop_identity_reshape,
    drop_rechunk_of_rechunk,
    drop_cache_of_cache,
)
"""Every law, in order."""

BARRIERS: dict[type[Node], str] = {
    Scan: "a view of a source is what engines read",
    Constant: "a view of a scalar is how a broadcast scalar is written",
    Reshape: "a box of the result is no box of the input",
    Cache: "what is kept is the whole, for every consumer",
    Inspect: "the function shall see what it would see without the optimizer",
}
"""Kinds that no view moves through, and why."""
