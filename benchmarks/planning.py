"""What planning costs before anything is read: ``python benchmarks/planning.py [--readme]``.

Times are of the process, not of the clock on the wall, so that neighbours matter less; each is the
median of many, every plan a new one (slices and scalars depend on the round).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import plan_building
from report import publish, table

import lazytensor as lt
from lazytensor.plan.optimize import optimize

__all__ = ["main"]

_HERE = Path(__file__).parent
_MANY = 10_000
_ROUNDS, _FEW = 500, 3

_LEAF = lt.asarray(np.arange(10_000.0).reshape(100, 100))
_DAG, _STEPS = plan_building.CHAINS["lazytensor"]()


class Row(NamedTuple):
    """``prepare(round)`` gives what ``measured`` is timed on; ``goal`` in microseconds."""

    name: str
    prepare: Callable[[int], Any]
    measured: Callable[[Any], Any]
    goal: float | None
    rounds: int = _ROUNDS


def _chain(number: int) -> lt.LazyTensor:
    """Ten operations with scalars, casts and slices."""
    x = ((_LEAF[8:90, 8:90][4:, 4:] * 2 + number)[:64, :64] - 3).astype("f4")
    return (x / 2 + 1)[2:30, 5:]


def _graph(number: int) -> lt.LazyTensor:
    """The ten operations of ``plan_building``, two of them with tensors, and a window."""
    x = _DAG
    for step in _STEPS:
        x = step(x, number)
    return x[:3, 5:9]


def _optimized_graph(number: int) -> lt.LazyTensor:
    x = _graph(number)
    optimize(x._node)
    return x


def _tiles(number: int) -> list[lt.LazyTensor]:
    grid = ((64 * (k % 100), 64 * (k // 100)) for k in range(_MANY))
    return [lt.full((64, 64), number + k).translate_to[at] for k, at in enumerate(grid)]


def _parts(number: int) -> list[lt.LazyTensor]:
    return [lt.full((64, 64), number + k) for k in range(_MANY)]


def _long(number: int) -> lt.LazyTensor:
    x = _LEAF
    for k in range(_MANY):
        x = x + (number + k)
    return x[5:15, :10]


def _optimize(x: lt.LazyTensor) -> object:
    return optimize(x._node)


def _collect(x: lt.LazyTensor) -> object:
    return x.collect()


_SECOND = 1e6

ROWS = (
    Row("optimise a chain of ten operations", _chain, _optimize, 200),
    Row("optimise ten operations in 4-d, two of tensors, and a window", _graph, _optimize, None),
    Row("the same plan again", _optimized_graph, _optimize, 20),
    Row("two operations more on a plan", lambda k: _optimized_graph(k) * 2 + k, _optimize, 20),
    Row("collect `x + 1` of one number", lambda k: lt.asarray(float(k)) + 1, _collect, 100),
    Row("overlay of 10 000 layers: build", _tiles, lt.overlay, _SECOND, _FEW),
    Row(
        "overlay of 10 000 layers: collect a window",
        lambda k: lt.overlay(_tiles(k)),
        lambda x: x[100:300, 100:300].collect(),
        _SECOND,
        _FEW,
    ),
    Row("concat of 10 000 layers: build", _parts, lt.concat, _SECOND, _FEW),
    Row(
        "concat of 10 000 layers: collect a window",
        lambda k: lt.concat(_parts(k)),
        lambda x: x[100:300].collect(),
        _SECOND,
        _FEW,
    ),
    Row("10 000 operations one upon the other: optimise", _long, _optimize, _SECOND, _FEW),
    Row("10 000 operations one upon the other: collect", _long, _collect, _SECOND, _FEW),
)


def _microseconds(row: Row) -> Iterator[float]:
    for number in range(row.rounds):
        x = row.prepare(number)
        start = time.process_time_ns()
        row.measured(x)
        yield (time.process_time_ns() - start) / 1e3


def _shown(microseconds: float | None) -> str:
    if microseconds is None:
        return "–"
    if microseconds < 1e3:
        return f"{microseconds:.3g} µs"
    return f"{microseconds / 1e3:.3g} ms"


def main() -> int:
    """Print the table; with ``--readme`` also into README.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    lines = [["planning", "goal", "processor time"]]
    for row in ROWS:
        found = statistics.median(_microseconds(row))
        missed = " ✗" if row.goal is not None and found > row.goal else ""
        lines.append([row.name, _shown(row.goal), _shown(found) + missed])
    print(table(lines, markdown=arguments.markdown))
    if arguments.readme:
        publish({"planning": table(lines, markdown=True)}, _HERE / "README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
