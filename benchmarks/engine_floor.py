"""The floor of what is computed while reading: reading, decoding, and touching the result once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from engine_peers import Ready, crop_of
from floor import Floor

__all__ = ["EngineFloor"]

_HALF = ("mean", "max", "median", "mode")


class EngineFloor:
    """Answers with results of the right size and any content."""

    def __init__(self) -> None:
        self._floor = Floor()
        # It keeps the files open: once for each store.
        self._open = cache(self._floor.open)
        self._of_threads = cache(Floor)

    def use_threads(self, threads: int) -> None:
        """So many from now on; they are kept, with their memory."""
        self._floor = self._of_threads(threads)

    def _do(self, work: Any, dtype: Any, out: np.ndarray | None) -> Ready:
        if out is not None:
            return lambda: self._floor.into(work, out)

        def fresh() -> np.ndarray:
            made = np.empty(work.shape, dtype)
            self._floor.into(work, made)
            return made

        return fresh

    def read(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path), np.uint16, out)

    def crop(self, path: Path, out: np.ndarray | None) -> Ready:
        work = self._open(path)
        return self._do(self._floor.view(work, crop_of(work.shape[0])), np.uint16, out)

    def strided(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._floor.halve(self._open(path)), np.uint16, out)

    def cast(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path), np.float32, out)

    def chain(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(self._open(path), np.uint8, out)

    def projection(self, path: Path, out: np.ndarray | None) -> Ready:
        work = self._open(path)
        return self._do(replace(work, shape=work.shape[1:]), np.uint16, out)

    def spread(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(replace(self._open(path), shape=(2,)), np.float64, out)

    def counts(self, path: Path, out: np.ndarray | None) -> Ready:
        return self._do(replace(self._open(path), shape=(65536,)), np.int64, out)

    def __getattr__(self, kind: str) -> Callable[[Path, np.ndarray | None], Ready]:
        if kind in _HALF:
            return self.strided
        raise AttributeError(kind)
