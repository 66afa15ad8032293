"""Free functions on whole plans and blocks: ``map_blocks``, ``collect_all``, ``metrics``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from lazytensor import build_views
from lazytensor.build import as_node
from lazytensor.callsite import about
from lazytensor.collecting import EVERY_PASS, check_out, reads_from, run, run_in_background
from lazytensor.config import QueryOptFlags
from lazytensor.errors import DTypeError, ShapeError
from lazytensor.handoff import check_host_device, check_target, hand_over
from lazytensor.per_dim import per_dim
from lazytensor.plan.node import Node
from lazytensor.plan.nodes_block import BOUNDARIES, Call
from lazytensor.sinking import LazySink, collect_sinks
from lazytensor.tensor import LazyTensor

__all__ = ["collect_all", "map_blocks", "metrics"]


def map_blocks(
    f: Callable[..., Any],
    x: Any,
    *others: Any,
    dtype: Any = None,
    halo: Any = 0,
    boundary: Literal["reflect", "nearest", "constant"] | None = "reflect",
    slice_pushdown: bool = False,
    validate: bool = True,
) -> LazyTensor:
    """A function applied to every cell of ``x.chunks``.

    Parameters
    ----------
    f
        ``f(block, *other_blocks)`` gives an array of the shape of the cell, without any halo. If it
        has a parameter ``domain``, it is given the coordinates of the cell. It must be pure; it is
        called from several threads.
    others
        Further tensors, which broadcast against ``x``.
    dtype
        Of the result. None: found out by calling ``f`` on a block of ones, one element a dim.
    halo
        Elements around the cell that ``f`` gets to see: one number, one per dim, or a mapping.
    boundary
        What stands in the halo outside the tensor, in SciPy's words: mirror images that begin with
        the outermost element, that element again and again, or zeros; with None blocks at the
        edges are smaller.
    slice_pushdown
        Promise that ``f`` gives each element the same value in a smaller block, so that slices of
        the result need not compute whole cells.
    validate
        Check shape and dtype of everything that ``f`` returns.

    Raises ``ShapeError`` for a wrong halo or tensors that do not broadcast to ``x``, ``DTypeError``
    when the dtype cannot be found out.

    >>> x = lt.asarray(np.arange(6), chunks=(3,))
    >>> lt.map_blocks(lambda block: block - block.min(), x).collect()
    array([0, 1, 2, 0, 1, 2])
    """
    if not callable(f):
        raise TypeError(f"map_blocks takes a function first, not {type(f).__name__}")
    with about(x, *others):
        nodes = (as_node(x), *map(as_node, others))
        if boundary not in BOUNDARIES:
            raise ValueError(f"map_blocks: boundary {boundary!r} is not one of {BOUNDARIES}")
        around = _halo(nodes[0], halo)
        wants_domain = _wants_domain(f)
        to = _result_dtype(f, nodes, around, wants_domain) if dtype is None else dtype
        fields = (build_views.as_dtype(to), around, boundary, slice_pushdown, validate)
        return LazyTensor._wrap(Call(f, nodes, *fields, wants_domain))


def _halo(node: Node, halo: Any) -> tuple[int, ...]:
    if isinstance(halo, (int, np.integer)):
        halo = (halo,) * node.ndim
    widths = tuple(int(n) for n in per_dim(node.domain, halo, (0,) * node.ndim, "halo widths"))
    if any(n < 0 for n in widths):
        raise ShapeError(f"map_blocks: halo {widths} must not be negative")
    return widths


def _wants_domain(f: Callable[..., Any]) -> bool:
    try:
        return "domain" in inspect.signature(f).parameters
    except (TypeError, ValueError):
        return False  # a builtin that does not tell has no such parameter


def _result_dtype(
    f: Callable[..., Any], nodes: Sequence[Node], halo: tuple[int, ...], wants_domain: bool
) -> np.dtype:
    first = nodes[0]
    shape = tuple(1 + 2 * n for n in halo)
    blocks = [np.ones(shape[len(shape) - x.ndim :], x.dtype) for x in nodes]
    more = {"domain": build_views.unit_domain(first)} if wants_domain else {}
    try:
        with np.errstate(all="ignore"):
            return np.asarray(f(*blocks, **more)).dtype
    except Exception as error:
        raise DTypeError(
            f"map_blocks: the dtype could not be found out by calling the function on blocks of "
            f"ones ({type(error).__name__}: {error}); pass dtype="
        ) from error


def collect_all(
    tensors: Iterable[Any],
    *,
    to: Literal["numpy", "torch", "jax", "cupy", "dlpack"] = "numpy",
    device: Any = None,
    out: Sequence[np.ndarray | None] | None = None,
    engine: Any = "auto",
    optimizations: QueryOptFlags = EVERY_PASS,
    progress: Any = None,
    background: bool = False,
) -> Any:
    """Values of several tensors; what they share is read and computed once.

    Keywords as ``LazyTensor.collect``; ``out`` has an array or None for each tensor. Returns a
    list, or a handle with ``background=True``. Sinks (``lt.LazySink``) may be among the tensors:
    they are written, and what they give is in their places.

    >>> x = lt.asarray([1, 2, 3])
    >>> lt.collect_all([x.sum(), x.max()])
    [array(6), array(3)]
    """
    if isinstance(tensors, (str, Mapping)):
        raise TypeError(
            f"collect_all takes tensors one after another, not {type(tensors).__name__}"
        )
    given = list(tensors)
    sinks = [x for x in given if isinstance(x, LazySink)]
    nodes = [None if isinstance(x, LazySink) else as_node(x) for x in given]
    check_target(to)
    if to in ("numpy", "dlpack"):
        check_host_device(device)
    outs = [None] * len(nodes) if out is None else list(out)
    if len(outs) != len(nodes):
        raise ShapeError(f"collect_all: {len(outs)} arrays in out for {len(nodes)} tensors")
    for x, node, array in zip(given, nodes, outs, strict=True):
        if array is not None:
            if node is None:
                raise ValueError(f"collect_all: {x!r} is written, and takes no array in out")
            with about(x):
                check_out(node, array)
    plans = [node for node in nodes if node is not None]
    plans += [node for sink in sinks for node in sink.nodes]
    # An array that some plan reads from is filled when all plans have run.
    direct = [
        None if array is None or any(reads_from(node, array) for node in plans) else array
        for array in outs
    ]

    def compute(cancel: Any = None) -> list[Any]:
        with about(given):
            collect = partial(collect_sinks, given) if sinks else partial(run, plans)
            values = collect(
                outs=direct,
                engine=engine,
                optimizations=optimizations,
                progress=progress,
                cancel=cancel,
            )
        return [
            value
            if node is None
            else hand_over(value if array is None else _filled(array, value), to, device)
            for value, node, array in zip(values, nodes, outs, strict=True)
        ]

    return run_in_background(compute) if background else compute()


def _filled(array: np.ndarray, values: np.ndarray) -> np.ndarray:
    if array is not values:
        array[...] = values
    return array


def metrics(reset: bool = False) -> dict[str, int]:
    """Counters of this process since its start, or since the last ``metrics(reset=True)``.

    Among them ``tasks`` run, ``units_read`` and ``bytes_read`` from storage, ``bytes_decoded``.

    >>> lt.metrics()["bytes_read"] >= 0
    True
    """
    from lazytensor.exec.metrics import metrics as counters

    return counters(reset)
