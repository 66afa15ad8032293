"""The engines and optimizer flags that a law has to hold for."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import lazytensor as lt
from lazytensor.exec import workgrid

FLAGS = tuple(field.name for field in dataclasses.fields(lt.QueryOptFlags))

SETTINGS = [
    lt.QueryOptFlags(**dict(zip(FLAGS, choice, strict=True)))
    for choice in itertools.product((True, False), repeat=len(FLAGS))
]
"""Every combination of flags."""


class Blocks:
    """The local engine with blocks so small that even tiny plans are cut into many."""

    name = "blocks"

    def __init__(self, target: int, threads: int) -> None:
        self._target = target
        self._engine = lt.LocalEngine(threads=threads)

    def run(self, roots: Any, outs: Any, **options: Any) -> None:
        before = workgrid.TARGET, workgrid._SMALLEST
        workgrid.TARGET = workgrid._SMALLEST = self._target
        try:
            self._engine.run(roots, outs, **options)
        finally:
            workgrid.TARGET, workgrid._SMALLEST = before


ENGINES: dict[str, Any] = {
    "interpret": lt.InterpretEngine(),
    "blocks-1": Blocks(16, 1),
    "blocks-64": Blocks(256, 2),
    "local": lt.LocalEngine(threads=2),
}
