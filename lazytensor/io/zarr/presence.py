"""Which chunks of an array exist, from a listing.

Asking for a chunk that is not there costs some microseconds, and of an array that is mostly empty
there may be billions to ask for. A listing names those that are there, however few. It is taken
when somebody collects, and given up where it would be long: a chunk is only called missing if all
names were seen.
"""

from __future__ import annotations

import numpy as np

from lazytensor.io.store import Store, join_key
from lazytensor.io.zarr.metadata import ArrayMetadata

__all__ = ["stored_objects"]


def stored_objects(store: Store, path: str, meta: ArrayMetadata, limit: int) -> np.ndarray | None:
    """Indices of the stored objects of the array at ``path``, one row each, ascending.

    None where the store cannot list, where ``limit`` names are not all, and for arrays whose
    objects are not told apart by the read grid: scalars, and shards of several shapes.
    """
    rank = len(meta.shape)
    if not rank or (meta.grid is not None and meta.layout.is_sharded):
        return None
    # "c/" is a folder, "c." is the beginning of a name.
    nested = meta.keys.separator == "/"
    folder = join_key(path, meta.keys.prefix if nested else "")
    names = store.listed(folder, rank if nested else 1, limit)
    if names is None:
        return None
    skip = len(join_key(path)) + 1 if path else 0
    counts = meta.counts
    found = [meta.keys.indices(name[skip:], counts) for name in names]
    rows = sorted({index for index in found if index is not None})
    return np.array(rows, np.int64).reshape(len(rows), rank)
