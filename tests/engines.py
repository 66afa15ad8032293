"""The engines and optimizer flags that a law has to hold for."""

from __future__ import annotations

import dataclasses
from typing import Any

import lazytensor as lt
from lazytensor.exec import fusion, workgrid

FLAGS = tuple(field.name for field in dataclasses.fields(lt.QueryOptFlags))

SETTINGS = [
    lt.QueryOptFlags(),
    lt.QueryOptFlags.none(),
    *(lt.QueryOptFlags().update(**{name: False}) for name in FLAGS),
    *(lt.QueryOptFlags.none().update(**{name: True}) for name in FLAGS),
]
"""All passes, none, all but one, and one alone."""


class Blocks:
    """The local engine with blocks so small that even tiny plans are cut into many."""

    name = "blocks"

    def __init__(self, target: int, threads: int) -> None:
        self._target = target
        self._engine = lt.LocalEngine(threads=threads)

    def run(self, roots: Any, outs: Any, **options: Any) -> None:
        before = workgrid.TARGET, workgrid._SMALLEST, fusion._FEWEST
        workgrid.TARGET = workgrid._SMALLEST = self._target
        fusion._FEWEST = 0
        try:
            self._engine.run(roots, outs, **options)
        finally:
            workgrid.TARGET, workgrid._SMALLEST, fusion._FEWEST = before


ENGINES: dict[str, Any] = {
    "interpret": lt.InterpretEngine(),
    "blocks-1": Blocks(16, 1),
    "blocks-64": Blocks(256, 2),
    "local": lt.LocalEngine(threads=2),
}
