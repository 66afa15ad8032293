"""What holds the pixels of images: one field of a column, in each group of rows of a container.

What is decoded is kept for whoever comes next (``unit_cache``): files by all of the process, what
is in memory as long as somebody has the container.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property, partial
from typing import Any

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.container import Container, LazyUnits, Path
from lazytensor.io.ome_arrow.elements import elements_of
from lazytensor.io.ome_arrow.model import Unit, Units
from lazytensor.io.ome_arrow.parquet_units import PageUnit, Paging

__all__ = ["TableUnits", "units_of"]


class TableUnits:
    """The pixels in one field; unit ``i`` is group ``i``. See ``model.Units``.

    ``itemsize``: bytes of a number (of bytes: 1) where units take next to nothing, and elements are
    read from the file whenever they are asked for; None where units are read as a whole.
    """

    def __init__(self, container: Container, pixels: Path, encoded: bool) -> None:
        self._container = container
        self._pixels = pixels
        self.encoded = encoded
        self.label = f"{container.label}[{'.'.join(pixels)!r}]"
        self.identity: Hashable = (container.identity, pixels, encoded)
        self.zero_copy = container.zero_copy
        self.remote = container.remote

    def __reduce__(self) -> tuple[Any, ...]:
        return TableUnits, (self._container, self._pixels, self.encoded)

    @cached_property
    def itemsize(self) -> int | None:
        """See the class."""
        container = self._container
        if not container.by_element or not isinstance(container, LazyUnits):
            return None
        return container.itemsize(self._pixels, self.encoded)

    def __len__(self) -> int:
        return len(self._container.starts) - 1

    def _key(self, number: int) -> Hashable:
        return self.identity, number

    def unit(self, number: int) -> Unit:
        """The pixels of a group, read now unless they are kept; see ``Units``."""
        if not 0 <= number < len(self):
            raise FormatError(f"{self.label}: there is no group {number} of {len(self)}")
        cache = self._container.cache
        found = cache.get(self._key(number), lambda: self._read(number))
        if isinstance(found, Paging):
            return PageUnit(found, cache, partial(self._read_all, number))
        return found

    def _read(self, number: int) -> Unit:
        where = f"{self.label} in group {number}"
        if isinstance(self._container, LazyUnits):
            unit: Unit | None = self._container.lazy_unit(number, self._pixels, self.encoded, where)
            if unit is not None:
                return unit
        paged = getattr(self._container, "paged_unit", None)
        if paged is not None and self.encoded:
            unit = paged(number, self._pixels, where, self._key(number))
            if unit is not None:
                return unit
        return self._read_all(number)

    def _read_all(self, number: int) -> Unit:
        where = f"{self.label} in group {number}"
        parts = self._container.read_parts(number, [self._pixels])
        top, *below = self._pixels
        columns = [part.column(top) for part in parts]
        return elements_of(columns, tuple(below), self.encoded, where, owned=not self.zero_copy)

    def kept(self, number: int) -> bool:
        """Whether ``unit`` would read nothing, nor would asking it for pixels."""
        if self.zero_copy:
            return True
        cache = self._container.cache
        found = cache.peek(self._key(number))
        return found.kept_in(cache) if isinstance(found, Paging) else found is not None

    def stored_nbytes(self, number: int) -> int:
        """See ``Units``."""
        return self._container.stored_nbytes(number, [self._pixels])

    def decoded_nbytes(self, number: int) -> int:
        """See ``Units``."""
        return self._container.decoded_nbytes(number, [self._pixels])

    def check(self) -> None:
        """See ``Units``."""
        self._container.check()


def units_of(container: Container, column_path: Path, pixels_path: Path, *, encoded: bool) -> Units:
    """The units of a field: ``("image", "planes", "pixels")`` of the column ``("image",)``.

    Elements are counted over all rows of a group: items of lists, where there are lists above the
    pixels (those that are null have none), else rows. ``encoded``: whether they are bytes.
    """
    if pixels_path[: len(column_path)] != column_path:
        raise ValueError(f"{pixels_path} is not in the column {column_path}")
    return TableUnits(container, pixels_path, encoded)
