"""Choosing an engine and running plans on it.

What every engine needs is done here once: optimise, check that sources are still what they were and
that no hole would be read, provide the output arrays. An engine only computes optimised plans into
arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lazytensor.config import QueryOptFlags, option
from lazytensor.exec.buffers import aligned_empty
from lazytensor.exec.holes import check_holes
from lazytensor.exec.interpret import InterpretEngine, interpret
from lazytensor.exec.local import LocalEngine
from lazytensor.exec.pool import CancelToken
from lazytensor.plan.guard import in_reader
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Scan, scan_below
from lazytensor.plan.nodes_block import Call, Inspect
from lazytensor.plan.nodes_join import Overlay
from lazytensor.plan.optimize import optimize

__all__ = ["Engine", "collect_nodes", "resolve_engine"]

_TINY = 64 << 10
_TINY_NODES = 64
_ALL = QueryOptFlags()


@runtime_checkable
class Engine(Protocol):
    """Something that computes optimised plans."""

    name: str

    def run(
        self,
        roots: Sequence[Node],
        outs: Sequence[np.ndarray],
        *,
        progress: object = None,
        cancel: CancelToken | None = None,
    ) -> None:
        """Compute plans into their outputs (C-contiguous or not, of the plan's shape and dtype)."""
        ...


# Engines hold settings and nothing else; those of these follow the options where they run.
_LOCAL = LocalEngine()
_SHORTHANDS: dict[str, Engine] = {
    "auto": _LOCAL,
    "local": _LOCAL,
    "interpret": InterpretEngine(),
}
_LATER = {"dask": "the Dask engine", "gpu": "the GPU engine"}


def resolve_engine(engine: Any) -> Engine:
    """The engine object of an argument: an object as it is, a name, ``"auto"`` by configuration."""
    if isinstance(engine, str) and engine == "auto":
        engine = option("engine")
    if not isinstance(engine, str):
        if isinstance(engine, Engine):
            return engine
        raise TypeError(f"{engine!r} is not an engine: it has no run(roots, outs)")
    if engine in _LATER:
        raise ValueError(f"{_LATER[engine]} is not available in this version; use engine='local'")
    if engine not in _SHORTHANDS:
        names = ", ".join(repr(name) for name in _SHORTHANDS)
        raise ValueError(f"unknown engine {engine!r}; engines are {names}, or an engine object")
    return _SHORTHANDS[engine]


def collect_nodes(
    nodes: Sequence[Node],
    *,
    outs: Sequence[np.ndarray | None] | None = None,
    engine: Any = "auto",
    optimizations: QueryOptFlags | None = None,
    progress: Any = None,
    cancel: CancelToken | None = None,
) -> list[np.ndarray]:
    """Values of plans, each C-contiguous, writable, owned and 64-byte aligned, or its ``out``."""
    if in_reader():
        raise RuntimeError(
            "collect inside a reader function would wait for the workers that run it; "
            "read what it needs without collecting, or build the plan outside"
        )
    given = [None] * len(nodes) if outs is None else list(outs)
    chosen = resolve_engine(engine)
    if isinstance(chosen, LocalEngine) and progress is None and all(map(_is_tiny, nodes)):
        return [_tiny(node, out) for node, out in zip(nodes, given, strict=True)]
    flags = _ALL if optimizations is None else optimizations
    plans = [optimize(node, flags) for node in nodes]
    _check(plans)
    arrays = [
        aligned_empty(node.shape, node.dtype) if out is None else out
        for node, out in zip(plans, given, strict=True)
    ]
    chosen.run(plans, arrays, progress=progress, cancel=cancel)
    return arrays


def _is_tiny(root: Node) -> bool:
    """True if all data is in memory and so little that planning would cost more than computing."""
    scan = scan_below(root)
    if scan is not None and scan.source.array is None:
        return False
    if root.nbytes > _TINY:
        return False
    for count, node in enumerate(walk(root)):
        if node.nbytes > _TINY or count > _TINY_NODES:
            return False
        if isinstance(node, Scan):
            if node.source.array is None:
                return False
        elif isinstance(node, (Call, Inspect)) or (isinstance(node, Overlay) and node.fill is None):
            return False
    return True


def _tiny(root: Node, out: np.ndarray | None) -> np.ndarray:
    values = interpret(root)
    target = aligned_empty(root.shape, root.dtype) if out is None else out
    np.copyto(target, values, casting="no")
    return target


def _evaluate(node: Node) -> np.ndarray:
    out = aligned_empty(node.shape, node.dtype)
    LocalEngine().run([optimize(node, _ALL)], [out])
    return out


def _check(roots: Sequence[Node]) -> None:
    """Every stored source once: its metadata must be what the plan was built from. Then holes."""
    scan = scan_below(roots[0]) if len(roots) == 1 else None
    if scan is not None:
        scan.source.check()
        return
    seen: set[Scan] = set()
    open_overlays = False
    for root in roots:
        for node in walk(root):
            if isinstance(node, Scan):
                if node not in seen:
                    seen.add(node)
                    node.source.check()
            elif isinstance(node, Overlay) and node.fill is None:
                open_overlays = True
    if open_overlays:
        for root in roots:
            check_holes(root, _evaluate)
