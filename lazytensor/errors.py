"""Every exception of the library.

Each one is also the builtin that a NumPy or Python programmer would catch (``ShapeError`` is a
``ValueError``, ``SourceNotFoundError`` a ``FileNotFoundError``), so that code written for NumPy
keeps working. A message says what was wrong, which operands took part, where they were built and
the way out.
"""

from __future__ import annotations

__all__ = [
    "ChecksumError",
    "ChunkDecodeError",
    "DTypeError",
    "DataDependentShapeError",
    "DimensionError",
    "FormatError",
    "HoleError",
    "LazyTensorError",
    "MemoryLimitError",
    "OutOfBoundsError",
    "SerializationError",
    "ShapeError",
    "SinkError",
    "SinkExistsError",
    "SourceChangedError",
    "SourceError",
    "SourceNotFoundError",
]


class LazyTensorError(Exception):
    """Root of all errors raised by this library.

    >>> issubclass(ShapeError, LazyTensorError)
    True
    """


class ShapeError(LazyTensorError, ValueError):
    """Shapes, ranks or extents do not fit together."""


class DTypeError(LazyTensorError, TypeError):
    """An operation is not defined for a dtype, or dtypes must agree and do not."""


class OutOfBoundsError(LazyTensorError, IndexError):
    """An index, coordinate or label lies outside its dimension."""


class DimensionError(LazyTensorError, ValueError):
    """A dimension name, axis number or label is unknown, repeated or in conflict."""


class DataDependentShapeError(LazyTensorError, NotImplementedError):
    """The shape of the result would depend on values that have not been computed."""


class HoleError(LazyTensorError, ValueError):
    """A position that no layer of an overlay covers would be read, and there is no fill value."""


class MemoryLimitError(LazyTensorError, MemoryError):
    """A single task needs more memory than the limit allows; nothing has been read yet."""


class SourceError(LazyTensorError, OSError):
    """Reading from a source failed."""


class SourceNotFoundError(SourceError, FileNotFoundError):
    """There is nothing at the given location."""


class SourceChangedError(SourceError):
    """The metadata of a source is no longer what it was when the plan was built."""


class SinkError(LazyTensorError, OSError):
    """Writing a result failed; nothing of it can be seen, and what was there before is intact."""


class SinkExistsError(SinkError, FileExistsError):
    """There is something already where a result is to be written."""


class FormatError(SourceError, ValueError):
    """A file breaks the rules of its format; names file, key, expected and found."""


class ChunkDecodeError(FormatError):
    """A stored chunk could not be decoded to exactly the bytes its metadata promises."""


class ChecksumError(FormatError):
    """Stored and computed checksum differ."""


class SerializationError(LazyTensorError, ValueError):
    """A plan cannot be written, or a document cannot be read back as a plan."""
