"""Names of chunks: where the chunk with given indices is stored, and which chunk a name means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["KeyEncoding"]


class KeyEncoding(NamedTuple):
    """A chunk key encoding: ``"default"`` (``c/0/1``) or ``"v2"`` (``0.1``) of zarr, or ``"n5"``.

    N5 names the number along the last dimension first.

    >>> [KeyEncoding(*kind).key((0, 12)) for kind in (("default", "/"), ("v2", "."), ("n5", "/"))]
    ['c/0/12', '0.12', '12/0']
    >>> KeyEncoding("default", ".").key(()), KeyEncoding("v2", ".").key(())
    ('c', '0')
    """

    kind: str
    separator: str

    @property
    def prefix(self) -> str:
        """What stands before the indices of an array with at least one dimension."""
        return f"c{self.separator}" if self.kind == "default" else ""

    @property
    def scalar(self) -> str:
        """The name of the only chunk of an array without dimensions."""
        return "c" if self.kind == "default" else "0"

    def key(self, indices: Sequence[int]) -> str:
        """The name of the chunk with these indices."""
        if not indices:
            return self.scalar
        ordered = reversed(indices) if self.kind == "n5" else indices
        return self.prefix + self.separator.join(map(str, ordered))

    def indices(self, key: str, counts: Sequence[int]) -> tuple[int, ...] | None:
        """The chunk that a name means in a grid of ``counts`` chunks, or None.

        >>> KeyEncoding("default", "/").indices("c/0/12", (1, 20))
        (0, 12)
        >>> print(KeyEncoding("default", "/").indices("zarr.json", (1, 20)))
        None
        """
        if not counts:
            return () if key == self.scalar else None
        if not key.startswith(self.prefix):
            return None
        parts = key[len(self.prefix) :].split(self.separator)
        if len(parts) != len(counts):
            return None
        if self.kind == "n5":
            parts.reverse()
        found = []
        for part, count in zip(parts, counts, strict=True):
            # Only the spelling that key() writes: no sign, no leading zero, no other digits.
            if not (part.isascii() and part.isdigit()) or len(part) > 19 or str(int(part)) != part:
                return None
            if int(part) >= count:
                return None
            found.append(int(part))
        return tuple(found)
