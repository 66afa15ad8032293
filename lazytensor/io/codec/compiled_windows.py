"""Many windows filled by one compiled call, each chunk decoded once, or not at all if it is kept.

As ``compiled``, whose way of decoding this is; but a chunk has any number of places, and may have a
slot (``io.chunk_cache``), where it is decoded to, or was before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lazytensor.io.codec.compiled import Cells, Recipe, Units
from lazytensor.io.windows import WindowPieces
from lazytensor.native import Kernel
from lazytensor.native.addresses import address_of
from lazytensor.native.kernels import chunk_block
from lazytensor.native.kernels import windows_block as block

__all__ = ["WindowCells", "WindowUnits", "kept_recipe"]


def kept_recipe(
    shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...], nbytes: int
) -> Recipe:
    """The recipe of chunks that are decoded already: bytes between their elements are all."""
    recipe = Recipe.__new__(Recipe)
    recipe.shape, recipe.nbytes, recipe.item = shape, nbytes, dtype.itemsize
    recipe.kind, recipe.decoders = chunk_block.RAW, [0] * 4
    recipe.needs_context = False
    recipe.shuffled = recipe.swapped = recipe.as_bool = 0
    recipe.strides = strides
    return recipe


class WindowCells(Cells):
    """Chunks and the windows that look at them, worked off in any number of threads by ``decode``.

    ``axes``: axis ``i`` of the recipe is that axis of the windows. ``steps``: per axis of these.
    ``dtype``, ``strides``: of the windows.
    """

    __slots__ = ()

    def __init__(
        self,
        run: Kernel,
        recipe: Recipe,
        steps: Sequence[int],
        axes: Sequence[int],
        dtype: np.dtype,
        strides: tuple[int, ...],
        fill: np.ndarray,
    ) -> None:
        dims = [[(0, slice(0, 1, steps[axis]), slice(0, 1))] for axis in axes]
        # One element stands for the windows: units say where those are.
        one = np.ndarray((1,) * len(strides), dtype, np.zeros(1, dtype), 0, strides)
        super().__init__(run, recipe, dims, one.transpose(axes), fill)
        more = np.zeros(block.WINDOW_WORDS - len(self._words), np.int64)
        self._words = np.concatenate((self._words, more))


class WindowUnits(NamedTuple):
    """Some of the units of some pieces, and where their values are: int64 of their number.

    ``chosen``: which units. ``origin``, ``addresses``, ``sizes``: as in ``chunk_block``. ``slots``:
    where they are kept decoded, 0: nowhere. ``ready``: whether they are there already. ``longest``:
    room for encoded bytes. ``files``: descriptors, of units in open files. ``keep``: whatever the
    addresses are of.
    """

    chosen: np.ndarray
    origin: int
    addresses: np.ndarray
    sizes: np.ndarray
    slots: np.ndarray
    ready: np.ndarray
    longest: int = 0
    files: np.ndarray | None = None
    keep: object = None

    def placed(self, pieces: WindowPieces, axes: Sequence[int]) -> Units:
        """What a ``WindowCells`` decodes: these units, and what is wanted of them."""
        counts = pieces.counts
        if list(axes) != sorted(axes):
            counts = np.ascontiguousarray(counts[:, list(axes)])
        first, last = pieces.first[self.chosen], pieces.first[self.chosen + 1]
        bounds = np.arange(len(self.chosen) + 1)
        arrays = (first, last, pieces.inside, pieces.to, counts, self.slots, self.ready)
        words = (block.FIRST, block.LAST, block.FROM, block.TO, block.COUNTS, block.SLOTS,
                 block.READY)  # fmt: skip
        extra = list(zip(words, arrays, strict=True))
        if self.files is not None:
            ends = self.addresses + np.maximum(self.sizes, 0)
            extra += [
                (chunk_block.FILES, self.files),
                (chunk_block.LOS, self.addresses),
                (chunk_block.HIS, ends),
            ]
        units = Units(
            self.origin, self.chosen, self.addresses, self.sizes, bounds, self.longest,
            (self.keep, extra),
        )  # fmt: skip
        units.words += [(word, address_of(array)) for word, array in extra]
        return units
