"""The laws that fired, in words: what each turned into what, and what that saves.

A law may fire ten thousand times in one plan. Firings are grouped by law, in the order in which
laws first fired, and the first of each group stand for it. What a firing saves is what the plan
before would read less what the plan after would, by ``plan.cost.reads``: decoded bytes of the
stored cells that the operations ask for, each of them computed whole. (An engine that works block
by block leaves part of that out by itself, and stored bytes are fewer where chunks are compressed.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from lazytensor.plan.cost import format_bytes, format_count, reads
from lazytensor.plan.node import Node
from lazytensor.plan.optimize import Firing, Trace
from lazytensor.plan.outline import inputs_drawn, words
from lazytensor.plan.rules.law import Law

__all__ = [
    "Fired",
    "fired",
    "phrase",
    "rules_as_data",
    "rules_text",
    "saving_text",
    "summary",
]

_SHOWN = 3
_LONGEST = 60


class Fired(NamedTuple):
    """The firings of one law, and what the first ``len(saved)`` of them save, in bytes."""

    law: Law
    firings: list[Firing]
    saved: list[int]


def fired(trace: Trace) -> list[Fired]:
    """The laws that fired, in order of first firing."""
    by_law: dict[Law, list[Firing]] = {}
    for firing in trace.firings:
        by_law.setdefault(firing.law, []).append(firing)
    return [
        Fired(law, firings, [reads(x.before) - reads(x.after) for x in firings[:_SHOWN]])
        for law, firings in by_law.items()
    ]


def phrase(node: Node) -> str:
    """A node and what it takes, in one short line.

    >>> from lazytensor.plan.memory import array_node
    >>> from lazytensor.plan.nodes import Cast
    >>> import numpy as np
    >>> phrase(Cast(array_node(np.zeros(3, "u1")), np.dtype("f4")))
    'cast float32 of scan array'
    """
    head, inputs = _short(node), inputs_drawn(node)
    if not inputs:
        return head
    more = ", …" if len(inputs) > 2 else ""
    return f"{head} of {', '.join(map(_short, inputs[:2]))}{more}"


def _short(node: Node) -> str:
    said = words(node)
    text = f"{said.label} {said.note}".strip()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def rules_text(groups: Iterable[Fired]) -> list[str]:
    """Lines: for each law its flag, its equation and its firings with the bytes they save."""
    lines: list[str] = []
    for group in groups:
        law, count = group.law, len(group.firings)
        times = f"  ×{format_count(count)}" if count > 1 else ""
        lines.append(f"{law.name} ({law.flag}): {law.statement}{times}")
        for firing, saved in zip(group.firings[: len(group.saved)], group.saved, strict=True):
            change = f"   {phrase(firing.before)}  →  {phrase(firing.after)}"
            lines.append(f"{change}   {saving_text(saved)}")
        if count > len(group.saved):
            lines.append(f"   … {format_count(count - len(group.saved))} more")
    return lines


def saving_text(nbytes: int) -> str:
    """What a firing saves, in words; a law may also have more read, to compute less.

    >>> saving_text(2048), saving_text(0), saving_text(-300)
    ('saves ~2 KiB', '-', 'costs ~300 B')
    """
    if not nbytes:
        return "-"
    return f"saves ~{format_bytes(nbytes)}" if nbytes > 0 else f"costs ~{format_bytes(-nbytes)}"


def rules_as_data(groups: Iterable[Fired]) -> list[dict[str, Any]]:
    """The same for programs: every firing, and ``saved`` (bytes) of the first ones, else None."""
    return [
        {
            "law": group.law.name,
            "flag": group.law.flag,
            "statement": group.law.statement,
            "count": len(group.firings),
            "firings": [
                {
                    "before": phrase(firing.before),
                    "after": phrase(firing.after),
                    "saved": group.saved[i] if i < len(group.saved) else None,
                }
                for i, firing in enumerate(group.firings)
            ],
        }
        for group in groups
    ]


def summary(trace: Trace) -> str:
    """``slice_pushdown×2 (view_through_cast×2)``: by flag, then by law; ``none``."""
    by_flag: dict[str, Counter[str]] = {}
    for firing in trace.firings:
        by_flag.setdefault(firing.law.flag, Counter())[firing.law.name] += 1
    counted = [
        f"{flag}×{laws.total()} ({' '.join(f'{name}×{n}' for name, n in laws.items())})"
        for flag, laws in by_flag.items()
    ]
    return " ".join(counted) or "none"
