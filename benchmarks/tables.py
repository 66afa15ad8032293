"""The table of a scale: a row a workload, every number beside what it is to be compared with."""

from __future__ import annotations

from collections.abc import Sequence

from goals import GOALS, Goal, best_peer, missed
from report import Outcome, beside, missing, rounded, titles
from workloads import OURS, Row

__all__ = ["row_table"]

_MISSED = " ✗"
_BEST, _TENSORSTORE, _FLOOR = GOALS


def row_table(pairs: Sequence[tuple[Row, Outcome]], names: Sequence[str]) -> list[list[str]]:
    """Milliseconds, medians; a ratio on the wrong side of a goal is marked."""
    peers = [
        name
        for name in names
        if name not in (OURS, "floor") and any(name in o.seconds for _, o in pairs)
    ]
    heads = ["workload", "output", f"{OURS} ms", "floor ms", "ours/floor", "best peer/ours"]
    return [heads + titles(peers, "ms"), *(_line(row, outcome, peers) for row, outcome in pairs)]


def _line(row: Row, outcome: Outcome, peers: Sequence[str]) -> list[str]:
    def mark(goal: Goal) -> str:
        return _MISSED if missed(goal, row, outcome) else ""

    ours, floor, best = outcome.middle(OURS), outcome.middle("floor"), best_peer(outcome)
    marks = {"tensorstore": mark(_TENSORSTORE)}
    return [
        row.label,
        row.output,
        rounded(ours * 1e3) if ours else missing(outcome, OURS),
        rounded(floor * 1e3) if floor else missing(outcome, "floor"),
        f"{ours / floor:.2f}{mark(_FLOOR)}" if ours and floor else "–",
        f"{best[0]:.2f} {best[1]}{mark(_BEST)}" if best else "–",
        *(beside(outcome, name, ours, 1e3) + marks.get(name, "") for name in peers),
    ]
