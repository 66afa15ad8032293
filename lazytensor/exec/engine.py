"""Choosing an engine and running plans on it.

What every engine needs is done here once: optimise, check that sources are still what they were and
that no hole would be read, provide the output arrays. An engine only computes optimised plans into
arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from lazytensor.config import QueryOptFlags, option
from lazytensor.exec.buffers import aligned_empty
from lazytensor.exec.local import LocalEngine
from lazytensor.exec.optimizing import optimize_together
from lazytensor.exec.outputs import output
from lazytensor.exec.pool import CancelToken
from lazytensor.plan.caching import caching, disk_caching, new_disk_run
from lazytensor.plan.counters import count
from lazytensor.plan.families import Families
from lazytensor.plan.guard import in_reader
from lazytensor.plan.keeping import keeping
from lazytensor.plan.levels import derived_from
from lazytensor.plan.node import Node, walk, walk_all
from lazytensor.plan.nodes import Reshape, Scan, scan_below
from lazytensor.plan.nodes_block import Call, Inspect
from lazytensor.plan.nodes_join import Overlay

if TYPE_CHECKING:
    from lazytensor.plan.sink import Target

__all__ = ["Engine", "collect_nodes", "is_tiny", "resolve_engine"]

_TINY = 64 << 10
_TINY_NODES = 64
_ALL = QueryOptFlags()
_KEEPING_NOTHING = nullcontext()
"""What is said of the cache by a run that keeps nothing, or keeps what the run around it does."""


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
        """Compute plans into their outputs (C-contiguous or not, of the plan's shape and dtype).

        An engine may take ``optimizations`` as well: it is given the flags where the caller
        switched ``comm_subplan_elim`` or ``fusion`` off.
        """
        ...


# Engines hold settings and nothing else; those of these follow the options where they run.
_LOCAL = LocalEngine()
_SHORTHANDS: Families[str, Engine] = Families(
    {"auto": _LOCAL, "local": _LOCAL}, {"interpret": "lazytensor.exec.interpret:ENGINES"}
)
_NAMES = ("auto", "local", "interpret")
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
    if engine not in _NAMES:
        names = ", ".join(map(repr, _NAMES))
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
    targets: Sequence[tuple[Node, Target]] = (),
) -> list[np.ndarray]:
    """Values of plans, each C-contiguous, writable, owned and 64-byte aligned, or its ``out``.

    ``targets``: further plans whose values are written, and not returned. Engines other than the
    local one compute those as whole arrays first.
    """
    if in_reader():
        raise RuntimeError(
            "collect inside a reader function would wait for the workers that run it; "
            "read what it needs without collecting, or build the plan outside"
        )
    given = [None] * len(nodes) if outs is None else list(outs)
    chosen = resolve_engine(engine)
    is_local = isinstance(chosen, LocalEngine)
    if is_local and progress is None and not targets and all(map(is_tiny, nodes)):
        count("tasks", len(nodes))
        return [_tiny(node, out) for node, out in zip(nodes, given, strict=True)]
    flags = _ALL if optimizations is None else optimizations
    if is_local and not targets and all(map(_is_pasted, nodes)):
        plans = list(nodes)
    else:
        asked = [*nodes, *[node for node, _ in targets]]
        plans = optimize_together(asked, flags)
        _check(plans, asked)
    arrays = [
        output(node.shape, node.dtype) if out is None else out
        for node, out in zip(plans, given, strict=False)
    ]
    settings = {} if flags.comm_subplan_elim and flags.fusion else _run_settings(chosen, flags)
    filled: list[Any] = list(arrays)
    for number, node in enumerate(plans[: len(arrays)]):
        if type(node) is Reshape:
            plans[number], filled[number] = _reshaped(node, arrays[number], chosen)
    for node, (_, target) in zip(plans[len(arrays) :], targets, strict=True):
        filled.append(target if is_local else output(node.shape, node.dtype))
    nbytes = option("cache_bytes")
    disk = new_disk_run()
    with (
        keeping(),
        caching(nbytes) if nbytes else _KEEPING_NOTHING,
        disk_caching(disk) if disk else _KEEPING_NOTHING,
    ):
        chosen.run(plans, filled, progress=progress, cancel=cancel, **settings)
    if targets and not is_local:
        from lazytensor.exec.delivering import deliver_all

        for values, (_, target) in zip(filled[len(arrays) :], targets, strict=True):
            deliver_all(target, values)
    return arrays


def _reshaped(node: Reshape, out: np.ndarray, engine: Engine) -> tuple[Node, np.ndarray]:
    """What to compute, into what: a result of any shape may be filled in its own memory."""
    from lazytensor.exec.demand_reshape import reshaped_target
    from lazytensor.exec.interpret import InterpretEngine

    # The oracle computes what is written.
    return (node, out) if isinstance(engine, InterpretEngine) else reshaped_target(node, out)


def _run_settings(engine: Engine, flags: QueryOptFlags) -> dict[str, Any]:
    """The flags, for an engine whose ``run`` takes ``optimizations``; others share as they do."""
    from inspect import signature

    parameters = signature(engine.run).parameters.values()
    takes = any(p.name == "optimizations" or p.kind is p.VAR_KEYWORD for p in parameters)
    return {"optimizations": flags} if takes else {}


def is_tiny(root: Node) -> bool:
    """True if all data is in memory and so little that planning would cost more than computing.

    Such a plan is one task, unless somebody wants to see progress.
    """
    scan = scan_below(root)
    if scan is not None and scan.source.array is None:
        return False
    if root.nbytes > _TINY or _is_wide(root):
        return False
    for seen, node in enumerate(walk(root)):
        if node.nbytes > _TINY or seen > _TINY_NODES:
            return False
        if isinstance(node, Scan):
            if node.source.array is None:
                return False
        elif isinstance(node, (Call, Inspect)) or (isinstance(node, Overlay) and node.fill is None):
            return False
    return True


def _is_wide(root: Node) -> bool:
    """Whether a plan, or what it is a view of, has too many layers even to be looked through."""
    inputs = root.inputs
    return len(inputs) > _TINY_NODES or bool(inputs and len(inputs[0].inputs) > _TINY_NODES)


def _is_pasted(root: Node) -> bool:
    """Whether a plan is one paste; what pastes is not imported for those that read."""
    if scan_below(root) is not None:
        return False
    from lazytensor.exec.pasted import is_pasted

    return is_pasted(root)


def _tiny(root: Node, out: np.ndarray | None) -> np.ndarray:
    from lazytensor.exec.interpret import interpret

    values = interpret(root)
    target = aligned_empty(root.shape, root.dtype) if out is None else out
    np.copyto(target, values, casting="no")
    return target


def _evaluate(node: Node) -> np.ndarray:
    from lazytensor.plan.optimize import optimize

    out = aligned_empty(node.shape, node.dtype)
    LocalEngine().run([optimize(node, _ALL)], [out])
    return out


def _check(roots: Sequence[Node], asked: Sequence[Node]) -> None:
    """Every stored source once: its metadata must be what the plan was built from. Then holes.

    ``asked``: the plans as they were before laws put other sources in the place of theirs.
    """
    scan = scan_below(roots[0]) if len(roots) == 1 else None
    if scan is not None:
        scan.source.check()
        _check_proofs([scan], asked)
        return
    from lazytensor.exec.compositing import computed_nodes

    scans: list[Scan] = []
    open_overlays = False
    for node in computed_nodes(roots):
        if isinstance(node, Scan):
            scans.append(node)
            node.source.check()
        elif isinstance(node, Overlay) and node.fill is None:
            open_overlays = True
    _check_proofs(scans, asked)
    if open_overlays:
        from lazytensor.exec.holes import check_holes

        for root in roots:
            check_holes(root, _evaluate)


def _check_proofs(scans: Sequence[Scan], asked: Sequence[Node]) -> None:
    """The sources that levels stand in for: what proves that they may is in their metadata, too."""
    leveled = [scan for scan in scans if getattr(scan.source, "stamp", None) is not None]
    if not leveled:
        return
    known = set(walk_all(asked))
    checked: set[Node] = set()
    for scan in leveled:
        # Made of one that was made of another: up to the one that was asked for.
        while scan not in known and (base := derived_from(scan.source)) is not None:
            scan = Scan(base)
            if scan in checked:
                break
            checked.add(scan)
            base.check()
