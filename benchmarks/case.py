"""A chain of small steps, each timed by itself.

What "an operation costs" is then a median over operations, and not a mean that one slow step
spoils.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Case", "Step"]

Step = Callable[[Any, int], Any]
"""From the value of the step before and the number of the run, the next value."""


class Case:
    """Steps that start from ``first``; ``describe`` turns the last value into JSON to compare.

    ``repeated``: each run is given the same number, and the values of the first stay alive.
    """

    def __init__(
        self,
        first: Any,
        steps: Sequence[Step],
        describe: Callable[[Any], Any],
        *,
        repeated: bool = False,
    ) -> None:
        self.first = first
        self.steps = tuple(steps)
        self.describe = describe
        self.repeated = repeated
        self.runs = 0
        self.kept: list[Any] = []

    def answer(self) -> Any:
        """Run once, untimed, and describe the outcome."""
        self.kept = self._values(0)
        return self.describe(self.kept[-1])

    def _values(self, run: int) -> list[Any]:
        values = [self.first]
        for step in self.steps:
            values.append(step(values[-1], run))
        return values

    def times(self, number: int) -> list[float]:
        """Seconds of each step, medians over ``number`` runs."""
        taken: list[list[int]] = [[] for _ in self.steps]
        clock = time.perf_counter_ns
        for _ in range(number):
            self.runs += 1
            run = 0 if self.repeated else self.runs
            values = [self.first]
            for step, times in zip(self.steps, taken, strict=True):
                value = values[-1]
                start = clock()
                value = step(value, run)
                times.append(clock() - start)
                values.append(value)
        return [statistics.median(times) * 1e-9 for times in taken]
