"""Sparse matrices: indices checked before anybody follows them, and to scipy's classes and back.

scipy trusts what it is given: an index beyond the matrix makes its loops write beyond an array.
So nothing is made of a packet before each index was compared with the shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lazytensor.errors import FormatError

__all__ = ["PARTS", "check_indices", "is_sparse", "make_matrix"]

PARTS = {
    "coo": ("data", "row", "col"),
    "csr": ("data", "indices", "indptr"),
    "csc": ("data", "indices", "indptr"),
}
"""What a packet of each kind holds, in this order; also the names of scipy's attributes."""

_NOT_OF_SCIPY = ("float16", "bfloat16")


def is_sparse(obj: object) -> bool:
    """Whether this is a sparse matrix or array of scipy, of any kind. Does not import scipy."""
    return hasattr(obj, "tocoo") and isinstance(getattr(obj, "format", None), str)


def check_indices(
    kind: str, shape: tuple[int, ...], parts: Mapping[str, np.ndarray], where: str
) -> None:
    """Raise ``FormatError`` naming ``where`` unless every element lies in a matrix of that shape.

    Of rows (or columns) that are cut out of the elements, the cuts have to rise from 0 to the
    number of elements. Elements in no order, or several in one place, are fine.

    >>> parts = {"data": np.ones(2), "row": np.array([0, 5]), "col": np.array([1, 0])}
    >>> check_indices("coo", (3, 2), parts, "packet")
    Traceback (most recent call last):
    lazytensor.errors.FormatError: packet: row 5 at element 1 lies outside of 3
    """
    rows, columns = shape
    count = len(parts["data"])
    if kind == "coo":
        bounds = {"row": rows, "col": columns}
    else:
        bounds = {"indices": columns if kind == "csr" else rows}
        _check_cuts(parts["indptr"], rows if kind == "csr" else columns, count, where)
    for name, bound in bounds.items():
        _check_within(name, parts[name], bound, count, where)


def _check_integers(name: str, indices: np.ndarray, where: str) -> None:
    if indices.dtype.kind not in "iu":
        raise FormatError(f"{where}: expected integers as {name}, found {indices.dtype}")


def _check_within(name: str, indices: np.ndarray, bound: int, count: int, where: str) -> None:
    _check_integers(name, indices, where)
    if len(indices) != count:
        raise FormatError(f"{where}: {len(indices)} in {name}, but {count} elements")
    if not count or (int(indices.min()) >= 0 and int(indices.max()) < bound):
        return
    wrong = int(np.argmax((indices < 0) | (indices >= bound)))
    raise FormatError(
        f"{where}: {name} {indices[wrong]} at element {wrong} lies outside of {bound}"
    )


def _check_cuts(indptr: np.ndarray, lines: int, count: int, where: str) -> None:
    _check_integers("indptr", indptr, where)
    if len(indptr) != lines + 1:
        raise FormatError(f"{where}: expected {lines + 1} in indptr, found {len(indptr)}")
    ends = int(indptr[0]), int(indptr[-1])
    if ends != (0, count) or bool((indptr[1:] < indptr[:-1]).any()):
        raise FormatError(f"{where}: indptr does not rise from 0 to {count}, the elements")


def make_matrix(
    kind: str, shape: tuple[int, ...], parts: Mapping[str, np.ndarray], where: str
) -> Any:
    """scipy's matrix of the parts, which have been checked.

    Raises ``ImportError`` naming the extra if scipy is not there, and ``FormatError`` for elements
    of a dtype that it has no matrices of.
    """
    try:
        from scipy import sparse
    except ImportError:
        raise ImportError(
            f"{where}: a sparse matrix is made by scipy: pip install 'lazytensor-engine[sparse]'"
        ) from None
    data, first, second = (parts[name] for name in PARTS[kind])
    if data.dtype.name in _NOT_OF_SCIPY:
        raise FormatError(
            f"{where}: scipy makes no matrix of {data.dtype.name}; lt.scan_tenso reads parts of it "
            f"as dense arrays"
        )
    if kind == "coo":
        return sparse.coo_matrix((data, (first, second)), shape=shape)
    made = sparse.csr_matrix if kind == "csr" else sparse.csc_matrix
    return made((data, first, second), shape=shape)
