"""Runs whose results are written: reserve every place, compute, let everybody see what was written.

Sinks are begun before anything is read and finished when everything is written, by the caller's
thread. Whatever goes wrong in between, Ctrl-C included, all of them are aborted, and nothing is
left of any. Of several sinks the first may be there already when another one cannot be finished.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lazytensor.config import QueryOptFlags
from lazytensor.errors import SerializationError, SinkError
from lazytensor.exec.engine import collect_nodes
from lazytensor.exec.pool import CancelToken
from lazytensor.plan.node import Node, walk_all
from lazytensor.plan.nodes import Rechunk, Scan
from lazytensor.plan.sink import Sink, Target
from lazytensor.plan.source import Source

__all__ = ["Sinking", "collect_and_sink", "root_of"]

_SHOWN = 20


class Sinking(NamedTuple):
    """A sink, and the plan of each of its targets."""

    sink: Sink
    nodes: tuple[Node, ...]


def collect_and_sink(
    nodes: Sequence[Node],
    sinkings: Sequence[Sinking],
    *,
    outs: Sequence[np.ndarray | None] | None = None,
    engine: Any = "auto",
    optimizations: QueryOptFlags | None = None,
    progress: Any = None,
    cancel: CancelToken | None = None,
) -> list[np.ndarray]:
    """The values of ``nodes``, and every sink written; what they share is read once.

    Raises ``SinkError`` for sinks that would overwrite what one of the plans reads or another one
    writes, ``SinkExistsError`` for places that are taken, and else what computing and writing
    raise; then no sink has left anything.
    """
    check_places(nodes, sinkings)
    wanted = list(nodes)
    arrays: list[np.ndarray | None] = [None] * len(nodes) if outs is None else list(outs)
    targets: list[tuple[Node, Target]] = []
    for sink, plans in sinkings:
        for node, target in zip(plans, sink.targets, strict=True):
            if isinstance(target, np.ndarray):
                wanted.append(node)
                arrays.append(target)
            else:
                targets.append((root_of(node, target), target))
    begun: list[Sink] = []
    try:
        for sink, _ in sinkings:
            begun.append(sink)
            sink.begin()
        values = collect_nodes(
            wanted,
            outs=arrays,
            engine=engine,
            optimizations=optimizations,
            progress=progress,
            cancel=cancel,
            targets=targets,
        )
        for sink in begun:
            sink.finish()
    except BaseException as error:
        for sink in reversed(begun):
            _abort(sink, error)
        raise
    return values[: len(nodes)]


def _abort(sink: Sink, error: BaseException) -> None:
    """Abort a sink; what goes wrong then is said beside the error that led to it, as are the units
    that could not be written, if these are several."""
    failed = getattr(sink, "failed", ())
    if len(failed) > 1:
        error.add_note(f"{sink.label}: not written: {', '.join(sorted(failed)[:_SHOWN])}")
    try:
        sink.abort()
    except Exception as another:  # noqa: BLE001
        error.add_note(f"{sink.label}: {another}")


def root_of(node: Node, target: Target) -> Node:
    """The plan with the units of writing as its cells."""
    units = zip(node.shape, target.cells, strict=True)
    return Rechunk(node, tuple([max(1, n if unit is None else unit) for n, unit in units]))


def check_places(nodes: Sequence[Node], sinkings: Sequence[Sinking]) -> None:
    """``SinkError`` if one place is written twice, or read by one of the plans."""
    taken: dict[str, Sink] = {}
    for sink, _ in sinkings:
        for place in map(_plain, sink.places):
            for other, former in taken.items():
                if _overlap(place, other):
                    raise SinkError(f"{sink.label} and {former.label} are both written to {place}")
        taken.update(dict.fromkeys(map(_plain, sink.places), sink))
    if not taken:
        return
    plans = [*nodes, *[node for _, plans in sinkings for node in plans]]
    for source in _sources(plans):
        for read in map(_plain, _places_read(source)):
            for place, sink in taken.items():
                if _overlap(place, read):
                    raise SinkError(
                        f"{sink.label} would replace what is read: {source.label}; write to "
                        f"another place, or .persist() what is read first"
                    )


def _sources(plans: Iterable[Node]) -> Iterator[Source]:
    return (node.source for node in walk_all(list(plans)) if isinstance(node, Scan))


def _places_read(source: Source) -> list[str]:
    """Where a source lies, as far as it can be opened again or is a file that is mapped."""
    array: Any = source.array
    while array is not None and array is not getattr(array, "base", None):
        if isinstance(array, np.memmap) and array.filename is not None:
            return [os.fspath(array.filename)]
        array = getattr(array, "base", None)
    try:
        document = source.to_json()
    except SerializationError:
        return []
    uri = document.get("uri")
    if not isinstance(uri, str):
        return []
    # Of a folder, of a store and what is in it, or of a file in a folder.
    inner = document.get("path") or document.get("key")
    return [f"{uri}/{inner}" if isinstance(inner, str) and inner else uri]


def _plain(place: str) -> str:
    """A path without links and doubled slashes, a URL without its end."""
    if "://" in place:
        scheme, _, rest = place.partition("://")
        if scheme not in ("file", "local"):
            return place.rstrip("/")
        place = rest
    return os.path.realpath(place)


def _overlap(one: str, other: str) -> bool:
    """Whether one of two places lies in the other.

    >>> _overlap("/a/b", "/a"), _overlap("/a/b", "/a/bc")
    (True, False)
    """
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    return longer == shorter or longer.startswith(shorter.rstrip("/") + "/")
