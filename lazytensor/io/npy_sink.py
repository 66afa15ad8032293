"""Writing ``.npy`` files block by block: where each value goes follows from the shape.

Everything is written at once at all offsets of a hidden file, in C order, and put into its place
when it is complete (``staging``); a remote one is sent from a temporary file here.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from lazytensor.errors import DTypeError
from lazytensor.io.staging import Mode, StagedFile
from lazytensor.io.staging_remote import Place, staged_file
from lazytensor.io.tenso.bodies import PlainBody
from lazytensor.plan.sink import Target

__all__ = ["NpySink"]

_MAGIC_3 = b"\x93NUMPY\x03\x00"


class NpySink:
    """A ``.npy`` file of one array. ``DTypeError`` for dtypes that NumPy alone does not know."""

    def __init__(
        self, place: Place, shape: tuple[int, ...], dtype: np.dtype, mode: Mode = "create"
    ) -> None:
        self.label = f"npy {place.name}"
        self.places: tuple[str, ...] = (place.uri,)
        self._header = _header(shape, dtype, self.label)
        self._body = PlainBody(self.label, shape, dtype, integrity=False)
        self.targets: tuple[Target | np.ndarray, ...] = (self._body,)
        self._file: StagedFile = staged_file(place, mode, self.label)

    def begin(self) -> None:
        """Make the file that is written; raises ``SinkError``."""
        self._file.begin()
        self._file.allocate(len(self._header) + self._body.nbytes)
        folder = os.path.dirname(self._file.own)
        self._body.begin(self._file.descriptor, len(self._header), folder)

    def finish(self) -> None:
        """Write the header, and put the file into its place."""
        self._file.put(0, self._header)
        self._body.close()
        self._file.publish()

    def abort(self) -> None:
        """Remove the file."""
        self._body.close()
        self._file.abort()


def _header(shape: tuple[int, ...], dtype: np.dtype, label: str) -> bytes:
    """As NumPy writes it; numbers are little endian."""
    try:
        stored = dtype.newbyteorder("<")
        known = npy_format.descr_to_dtype(npy_format.dtype_to_descr(stored)) == stored
    except (TypeError, ValueError):
        known = False
    if not known or dtype.hasobject:
        raise DTypeError(f"{label}: .npy files hold no {dtype}: cast it, or write zarr")
    fields = {
        "shape": shape,
        "fortran_order": False,
        "descr": npy_format.dtype_to_descr(stored),
    }
    for write in (npy_format.write_array_header_1_0, npy_format.write_array_header_2_0, _version_3):
        header = io.BytesIO()
        try:
            write(header, fields)
        except ValueError:  # too long, or names that this version cannot spell
            continue
        return header.getvalue()
    raise DTypeError(f"{label}: the header of {dtype} would be too long for a .npy file")


def _version_3(file: io.BytesIO, fields: Mapping[str, Any]) -> None:
    """As the other two, with names of fields in any script."""
    text = f"{dict(sorted(fields.items()))}".encode()
    size = len(_MAGIC_3) + 4 + len(text) + 1
    text += b" " * (-size % npy_format.ARRAY_ALIGN) + b"\n"
    file.write(_MAGIC_3 + len(text).to_bytes(4, "little") + text)
