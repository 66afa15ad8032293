"""Index arrays as values: owned, read-only, hashable by content.

NumPy arrays can neither be hashed nor compared to one boolean, and plans need both (equal views are
one node). `IndexArray` owns a C-contiguous int64 array that nobody can write to any more, and
compares by shape and a digest of the bytes that is made once, on demand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import DTypeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["IndexArray", "format_array"]

_MOST_SHOWN = 10


class IndexArray:
    """An owned, read-only int64 array that can be a dictionary key.

    >>> IndexArray([[1, 2]]) == IndexArray(np.array([[1, 2]], np.uint8))
    True
    """

    __slots__ = ("_digest", "values")

    values: NDArray[np.int64]

    def __init__(self, values: Any, *, copy: bool = True) -> None:
        """Take ``values`` (array-like of integers); ``copy=False`` adopts a fresh int64 array.

        Raises `DTypeError` for values that are no integers or do not fit 64 bits.
        """
        array = np.asarray(values)
        if array.size and (array.dtype.kind not in "iub" or not _fits(array)):
            raise DTypeError(f"index arrays hold 64-bit integers, got dtype {array.dtype}")
        kind: Any = "unsafe"
        owned: NDArray[np.int64] = np.array(
            array.astype(np.int64, casting=kind, copy=False), order="C", copy=copy or None
        )
        owned.flags.writeable = False
        self.values = owned
        self._digest: bytes | None = None

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for the values (not the shape)."""
        if self._digest is None:
            import hashlib  # with OpenSSL behind it the slowest import of all, and rarely needed

            little = self.values.astype("<i8", copy=False)
            self._digest = hashlib.blake2b(little.tobytes(), digest_size=16).digest()
        return self._digest

    @property
    def key(self) -> tuple[str, tuple[int, ...], bytes]:
        """Canonical ``(dtype, shape, digest)``."""
        return "int64", self.values.shape, self.digest

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IndexArray):
            return NotImplemented
        return self.values.shape == other.values.shape and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"IndexArray({format_array(self.values)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return IndexArray, (self.values,)


def format_array(array: NDArray[Any]) -> str:
    """Write an array in TensorStore's braces, long dimensions shortened.

    >>> format_array(np.array([[1, 2], [3, 4]])), format_array(np.arange(100))
    ('{{1, 2}, {3, 4}}', '{0, 1, 2, 3, 4, ..., 95, 96, 97, 98, 99}')
    """
    if array.ndim == 0:
        return str(array.item())
    half = _MOST_SHOWN // 2
    if len(array) <= _MOST_SHOWN:
        parts = [format_array(part) for part in array]
    else:
        ends = [*array[:half]], [*array[-half:]]
        shown = [[format_array(np.asarray(part)) for part in end] for end in ends]
        parts = [*shown[0], "...", *shown[1]]
    return f"{{{', '.join(parts)}}}"


def _fits(array: NDArray[Any]) -> bool:
    return array.dtype != np.uint64 or int(array.max()) <= np.iinfo(np.int64).max
