"""Files as Arrow sees them, and what Arrow says of them in our words.

Arrow reads through an object of Python, which costs a few microseconds for each run of bytes. In
return everything is read from the handle that was compared with what was scanned, over any store,
and counted; and what a damaged file claims to hold is never more than the file has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from lazytensor.errors import FormatError, LazyTensorError
from lazytensor.io.store import Buffer, StoredObject
from lazytensor.io.stored import Stored
from lazytensor.plan.counters import count

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ArrowFile", "arrow_errors", "as_buffer", "document_of", "may_be_shared"]

_SHOWN = 300
_LARGE = 4 << 20


@contextmanager
def arrow_errors(what: str) -> Iterator[None]:
    """A block in which whatever Arrow cannot do with a file is a ``FormatError`` about ``what``.

    Of what is no error of Arrow itself, ``TypeError``, ``KeyError`` and ``MemoryError`` count only
    if Arrow raises them: others are no fault of the file.

    >>> import pyarrow as pa
    >>> with arrow_errors("a.parquet"):
    ...     raise pa.ArrowInvalid("magic bytes not found")
    Traceback (most recent call last):
    lazytensor.errors.FormatError: a.parquet cannot be decoded: magic bytes not found
    """
    import pyarrow as pa

    try:
        yield
    except FormatError as error:
        # Whoever reads a part of a file does not know what it is called.
        if type(error) is not FormatError or what in str(error):
            raise
        raise FormatError(f"{what}: {error}") from error
    except LazyTensorError:
        raise
    # Arrow raises builtin errors too: OSError for damaged pages, UnicodeDecodeError (a ValueError)
    # for damaged names.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise _undecodable(what, error) from error
    except (TypeError, KeyError, MemoryError) as error:
        if not _is_of_arrow(error):
            raise  # a mistake of this package, or no memory left: the file is not to blame
        raise _undecodable(what, error) from error


def _undecodable(what: str, error: BaseException) -> FormatError:
    text = " ".join(str(error).split())[:_SHOWN] or type(error).__name__
    return FormatError(f"{what} cannot be decoded: {text}")


def _is_of_arrow(error: BaseException) -> bool:
    """Whether an error was raised in Arrow, rather than by who calls it or is called by it."""
    trace, name = error.__traceback__, ""
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return name.partition(".")[0] == "pyarrow"


def as_buffer(data: Any) -> pa.Buffer:
    """Arrow's view of bytes in memory."""
    import pyarrow as pa

    return pa.py_buffer(data)


def document_of(stored: Stored) -> Mapping[str, Any] | None:
    """What reopens a file; None if nothing can."""
    uri = stored.store.uri
    if uri is None:
        return None
    return {"format": "ome-arrow", "uri": uri, "key": stored.key, "mmap": stored.mapped}


def may_be_shared(stored: Stored) -> bool:
    """Whether what is decoded of a file may be kept for others who open it.

    Not what is in memory, or mapped: it would be kept alive when nobody has it any more.
    """
    return stored.token is not None and stored.store.uri is not None and not stored.mapped


class ArrowFile:
    """What ``pyarrow.PythonFile`` asks of a file, over a handle that somebody else closes.

    Reads end where the file does, after ``nbytes`` bytes. ``counted``: whether bytes are taken from
    a file, rather than looked at in memory.
    """

    def __init__(self, whole: StoredObject | None, nbytes: int, *, counted: bool) -> None:
        self._whole = whole
        self._nbytes = nbytes
        self._counted = counted
        self._at = 0
        self.closed = False

    def turn_to(self, whole: StoredObject | None) -> None:
        """Read another handle on the same file from now on; None: none."""
        self._whole = whole

    def readable(self) -> bool:
        """True."""
        return True

    def writable(self) -> bool:
        """False."""
        return False

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Begin the next read elsewhere."""
        self._at = (0, self._at, self._nbytes)[whence] + offset
        return self._at

    def size(self) -> int:
        """Bytes of the file."""
        return self._nbytes

    def read_buffer(self, nbytes: int = -1) -> pa.Buffer:
        """Up to ``nbytes`` bytes, not copied where they are in memory."""
        if self._at < 0:
            raise ValueError(f"there is no byte {self._at}")
        if self._whole is None:
            raise ValueError("nobody reads the file now")
        left = max(self._nbytes - self._at, 0)
        nbytes = left if nbytes < 0 else min(nbytes, left)
        data = self._taken(self._whole, nbytes) if nbytes else b""
        if self._counted:
            count("bytes_read", nbytes)
        self._at += nbytes
        return as_buffer(data)

    def _taken(self, whole: StoredObject, nbytes: int) -> Buffer:
        direct = type(whole).read_into is not StoredObject.read_into
        if nbytes < _LARGE or not self._counted or not direct:
            return whole.read(self._at, nbytes)
        # NumPy asks for large pages, which are not zeroed one by one: 50 MB take a third.
        out = np.empty(nbytes, np.uint8)
        whole.read_into(self._at, out.data)
        return out.data

    def read(self, nbytes: int = -1) -> bytes:
        """Up to ``nbytes`` bytes."""
        return bytes(self.read_buffer(nbytes))

    def flush(self) -> None:
        """Nothing was written."""

    def close(self) -> None:
        """The handle is the caller's."""
        self.closed = True
