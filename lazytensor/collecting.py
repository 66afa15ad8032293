"""The one door from a plan to values.

Every way of getting values (``collect``, NumPy asking for an array, ``int(x)``, an index that is a
tensor) passes through here, so that there is one place that checks ``out``, one that knows the
policy for *implicit* collects, and one that ``testing.raise_if_collects`` can close. Engines are
imported when the first value is asked for.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.callsite import call_site
from lazytensor.config import QueryOptFlags, option
from lazytensor.errors import DTypeError, ShapeError
from lazytensor.plan.align import describe_shape
from lazytensor.plan.garbage import importing
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Scan

if TYPE_CHECKING:
    from lazytensor.plan.sink import Sink

__all__ = [
    "EVERY_PASS", "check_flags", "check_out", "collect_implicitly", "collecting_forbidden",
    "reads_from", "run", "run_in_background", "run_into", "run_sinks", "scalar",
]  # fmt: skip

EVERY_PASS = QueryOptFlags()
"""The optimizer with all passes on."""

collecting_forbidden: ContextVar[bool] = ContextVar(
    "lazytensor_collecting_forbidden", default=False
)
"""Set by ``testing.raise_if_collects``."""


def run(
    nodes: Sequence[Node],
    *,
    outs: Sequence[np.ndarray | None] | None = None,
    engine: Any = "auto",
    optimizations: QueryOptFlags = EVERY_PASS,
    progress: Any = None,
    cancel: Any = None,
) -> list[np.ndarray]:
    """Values of several nodes, sub-plans that they share computed once.

    Raises ``RuntimeError`` inside ``testing.raise_if_collects()``.
    """
    _check_allowed("collect")
    check_flags(optimizations)
    if option("verbose"):
        _tell_plans(nodes, engine, optimizations)
    return _collector()(
        nodes,
        outs=outs,
        engine=engine,
        optimizations=optimizations,
        progress=progress,
        cancel=cancel,
    )


def run_sinks(
    nodes: Sequence[Node],
    sinks: Sequence[tuple[Sink, tuple[Node, ...]]],
    *,
    optimizations: QueryOptFlags = EVERY_PASS,
    **keywords: Any,
) -> list[np.ndarray]:
    """Values of several nodes, and sinks written, each with the plans of its targets.

    Keywords and errors as ``run``.
    """
    _check_allowed("sink")
    check_flags(optimizations)
    from lazytensor.exec.sinking import Sinking, collect_and_sink

    if option("verbose"):
        plans = [*nodes, *[node for _, some in sinks for node in some]]
        _tell_plans(plans, keywords.get("engine", "auto"), optimizations)
    chosen = [Sinking(sink, plans) for sink, plans in sinks]
    return collect_and_sink(nodes, chosen, optimizations=optimizations, **keywords)


@cache
def _collector() -> Callable[..., list[np.ndarray]]:
    """What runs plans, imported with the first plan to run."""
    with importing():
        from lazytensor.exec.engine import collect_nodes

    return collect_nodes


def check_flags(optimizations: Any) -> QueryOptFlags:
    """The flags themselves; ``TypeError`` for what are none, such as ``False``."""
    if not isinstance(optimizations, QueryOptFlags):
        raise TypeError(f"optimizations are lt.QueryOptFlags(...), not {optimizations!r}")
    return optimizations


def _tell_plans(nodes: Sequence[Node], engine: Any, optimizations: QueryOptFlags) -> None:
    """What will run and what it will read, on standard error (option ``verbose``)."""
    from lazytensor.exec.estimate import estimate
    from lazytensor.plan.explain import explain
    from lazytensor.plan.optimize import optimize

    for node in nodes:
        cost = estimate(node, engine=engine, optimizations=optimizations)
        plan = explain(optimize(node, optimizations), estimate=cost)
        sys.stderr.write(f"lazytensor collects\n{plan}\n")


def run_in_background(call: Callable[[Any], Any]) -> Any:
    """Start ``call(cancel_token)`` on a thread of its own; returns its handle."""
    _check_allowed("collect")
    from lazytensor.exec.background import submit

    return submit(call)


def _check_allowed(what: str) -> None:
    if collecting_forbidden.get():
        raise RuntimeError(f"{what} inside raise_if_collects(): a plan was to be built, not run")


def collect_implicitly(node: Node, why: str) -> np.ndarray:
    """Values that something other than ``collect`` asks for, as ``implicit_collect`` allows it.

    ``why`` names what asked, such as ``"np.asarray"``. Raises ``RuntimeError`` when the policy is
    ``"raise"``; warns with ``UserWarning`` when it is ``"warn"``.
    """
    _check_allowed(f"implicit collect by {why}")
    policy = option("implicit_collect")
    if policy == "raise":
        raise RuntimeError(
            f"{why} would collect {describe_shape(node.domain)} {node.dtype} implicitly, which "
            f"Config(implicit_collect='raise') forbids; call .collect() where values are wanted"
        )
    if policy == "warn":
        where = call_site() or ("<unknown>", 0)
        warnings.warn_explicit(
            f"{why} collects {describe_shape(node.domain)} {node.dtype} implicitly",
            UserWarning,
            *where,
        )
    return run((node,))[0]


def scalar(node: Node, why: str) -> Any:
    """The one value of a 0-d node as a NumPy scalar; ``TypeError`` for other ranks.

    The rank is checked before anything is computed.
    """
    if node.shape:
        raise TypeError(
            f"{why} takes a 0-d tensor, not one of shape {describe_shape(node.domain)}; reduce it "
            f"first, or index a single element"
        )
    return collect_implicitly(node, why)[()]


def check_out(node: Node, out: Any) -> np.ndarray:
    """``out`` itself if it can take the values of ``node``.

    Raises ``TypeError`` when it is no NumPy array, ``ShapeError`` and ``DTypeError`` unless shape
    and dtype are exactly the tensor's, ``ValueError`` when it is read-only.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, not {type(out).__name__}")
    if out.shape != node.shape:
        raise ShapeError(f"out has shape {out.shape}, the tensor {describe_shape(node.domain)}")
    if out.dtype != node.dtype:
        raise DTypeError(
            f"out has dtype {out.dtype}, the tensor {node.dtype}; cast the tensor, or give an "
            f"array of its dtype"
        )
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    return out


def reads_from(node: Node, out: np.ndarray) -> bool:
    """Whether the plan reads an in-memory array that may share memory with ``out``."""
    from lazytensor.exec.compositing import composite_of, inputs_to_compute

    def shares(leaf: Node) -> bool:
        composite = composite_of(leaf)
        if composite is not None:
            return composite.may_share_memory(out)
        array = leaf.source.array if isinstance(leaf, Scan) else None
        return array is not None and np.may_share_memory(array, out)

    return any(map(shares, walk(node, below=inputs_to_compute)))


def run_into(node: Node, out: np.ndarray, **keywords: Any) -> np.ndarray:
    """Values of ``node`` in ``out``, also where the plan reads from the memory of ``out``."""
    if reads_from(node, out):
        out[...] = run((node,), **keywords)[0]
    else:
        run((node,), outs=(out,), **keywords)
    return out
