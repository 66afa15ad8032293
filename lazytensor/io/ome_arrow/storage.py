"""How one image is stored, for ``x.storage``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from lazytensor.io.ome_arrow.catalogue import Catalogue

__all__ = ["OmeArrowStorage"]


@dataclass(frozen=True, slots=True)
class OmeArrowStorage:
    """Facts about one image.

    ``path``: which one of the file it is. ``chunks``: extents of the pieces, the largest where they
    differ; ``shards``: of what is read at once where that is several of them (all of an image that
    is one row), else None. ``codecs``: of the pieces, ``({"name": "zstd"},)`` or none: those of
    the file around them are not meant. ``metadata``: what the record says beside the pixels.
    """

    uri: str
    path: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    codecs: tuple[Any, ...]
    fill_value: Any
    metadata: Mapping[str, Any]
    key: Hashable
    itemsize: int = field(repr=False)
    cells: int = field(repr=False)
    catalogue: Catalogue = field(repr=False)
    format: str = "ome-arrow"
    order: str = "C"

    def statistics(self) -> dict[str, int]:
        """What is stored; no pixel is read.

        ``units_stored``: pieces that there are, of ``units_total`` places for them.
        ``bytes_stored``: of everything that has to be read for all of them; images in the same
        group of rows share that. ``bytes_total``: of the values.
        """
        catalogue = self.catalogue
        units = np.unique(catalogue.units).tolist()
        return {
            "units_stored": len(catalogue.grid),
            "units_total": max(self.cells, len(catalogue.grid)),
            "bytes_stored": sum(catalogue.told(unit, "stored_nbytes") for unit in units),
            "bytes_total": prod(self.shape) * self.itemsize,
        }
