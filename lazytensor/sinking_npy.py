"""Tensors that are written as ``.npy`` files."""

from __future__ import annotations

from typing import Any, Literal

from lazytensor.callsite import about
from lazytensor.plan.node import Node
from lazytensor.sinking import LazySink, Made, Options, check_mode, done

__all__ = ["sink_npy"]


def sink_npy(
    x: Any,
    path: Any,
    *,
    mode: Literal["create", "overwrite"],
    storage_options: Options,
    lazy: bool,
    engine: Any,
    progress: Any,
) -> Any:
    """What ``LazyTensor.sink_npy`` does."""
    node: Node = x._node

    def make() -> Made:
        from lazytensor.io.npy_sink import NpySink
        from lazytensor.io.staging_remote import place_of

        place = place_of(path, storage_options)
        return Made(NpySink(place, node.shape, node.dtype, mode), (node,))

    def opened() -> Any:
        from lazytensor.io.npy import scan

        return type(x)._from_source(scan(path, storage_options=storage_options))

    with about(x):
        check_mode(mode)
        sink = LazySink((x,), make, opened)
    return done(sink, lazy, engine, progress)
