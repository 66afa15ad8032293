"""The goals that rows are held to; a row that misses one is marked in its table and listed below.

A goal is a ratio between medians of the same rounds, so that no machine is faster than another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data import SCALES
from report import Outcome
from workloads import OURS, Row

__all__ = ["GOALS", "Goal", "best_peer", "missed", "summary"]

_NO_PEERS = (OURS, "floor")
_COMPUTING = "halve"
"""Its rows are for comparison; the goals here are those of reading."""
_LARGE_UNIT = 64 << 10
_SMALL_UNIT = 8 << 10


@dataclass(frozen=True)
class Goal:
    """A limit for a ratio: what it is of, which rows it is for, and its side."""

    label: str
    limit: float
    holds_for: Callable[[Row], bool]
    ratio: Callable[[Outcome], float | None]
    at_most: bool = False

    def met(self, row: Row, outcome: Outcome) -> bool | None:
        """Whether the row meets the goal; ``None`` where the goal is not for it, or no number."""
        value = self.ratio(outcome) if self.holds_for(row) else None
        if value is None:
            return None
        return value <= self.limit if self.at_most else value >= self.limit


def best_peer(outcome: Outcome) -> tuple[float, str] | None:
    """Ratio to ours, and the name, of the peer that is fastest on this row."""
    ours = outcome.middle(OURS)
    peers = [
        (taken, name)
        for name in outcome.seconds
        if name not in _NO_PEERS and (taken := outcome.middle(name)) is not None
    ]
    if ours is None or not peers:
        return None
    taken, name = min(peers)
    return taken / ours, name


def _to_best(outcome: Outcome) -> float | None:
    found = best_peer(outcome)
    return found[0] if found else None


def _over(upper: str, lower: str) -> Callable[[Outcome], float | None]:
    def ratio(outcome: Outcome) -> float | None:
        above, below = outcome.middle(upper), outcome.middle(lower)
        return above / below if above and below else None

    return ratio


def _decoded_bytes(row: Row) -> int:
    return row.store.decoded_bytes(SCALES[row.scale].n)


def _reads(row: Row) -> bool:
    return row.action != _COMPUTING


def _is_ours_to_win(row: Row) -> bool:
    """Whether something else than decoding takes the time."""
    return _reads(row) and (row.store.codec in ("raw", "lz4") or _decoded_bytes(row) <= _SMALL_UNIT)


GOALS = (
    Goal("best peer / ours >= 0.9", 0.9, _reads, _to_best),
    Goal(
        "tensorstore / ours >= 1.5 (raw, lz4, chunks of 8 KiB)",
        1.5,
        _is_ours_to_win,
        _over("tensorstore", OURS),
    ),
    Goal(
        "ours / floor <= 1.25 (chunks of 64 KiB and more, output given)",
        1.25,
        lambda row: row.given and _reads(row) and _decoded_bytes(row) >= _LARGE_UNIT,
        _over(OURS, "floor"),
        at_most=True,
    ),
)


def missed(goal: Goal, row: Row, outcome: Outcome) -> bool:
    """Whether the goal is for this row and the row is on the wrong side of it."""
    return goal.met(row, outcome) is False


def summary(pairs: Sequence[tuple[Row, Outcome]]) -> list[str]:
    """One line a goal: how many rows meet it, and which do not."""
    lines = []
    for goal in GOALS:
        verdicts = [(row, goal.met(row, outcome), goal.ratio(outcome)) for row, outcome in pairs]
        held = [(row, met, value) for row, met, value in verdicts if met is not None]
        if not held:
            continue
        worst = [f"{row.key} {value:.2f}" for row, met, value in held if not met]
        tail = f"; missed: {', '.join(worst)}" if worst else ""
        lines.append(f"{goal.label}: {len(held) - len(worst)} of {len(held)} rows{tail}")
    return lines
