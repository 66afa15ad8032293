"""The arrays of an image as sources that know how they were made.

A level is a zarr array with two things more: the key of its contents, and the stamp that says which
level it was computed from (``plan.levels``). Both come from documents that were read to open the
image, so that asking for them costs no request.
"""

from __future__ import annotations

from typing import Any

from lazytensor.io.store import Store
from lazytensor.io.zarr.node import Node
from lazytensor.io.zarr.source import ZarrSource
from lazytensor.plan.levels import Stamp, content_key, read_stamp

__all__ = ["OmeLevel"]


class OmeLevel(ZarrSource):
    """One resolution of an image; arguments as for ``ZarrSource``.

    ``content``: the key of what the array holds, None where its writer gave it none. ``stamp``: how
    it was made, None where that is not known.
    """

    def __init__(self, store: Store, node: Node, **settings: Any) -> None:
        super().__init__(store, node, **settings)
        document, attributes = self._meta.document, self._meta.attributes
        self.content: str | None = content_key(document, attributes)
        self.stamp: Stamp | None = read_stamp(document, attributes)
