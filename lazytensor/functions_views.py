"""Free functions that show one tensor differently: ``downsample``, ``cast``, ``pad``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from lazytensor import build_pad, build_views
from lazytensor.build import as_node
from lazytensor.callsite import about
from lazytensor.plan.downsampling import Method
from lazytensor.tensor import LazyTensor

__all__ = ["astype", "cast", "downsample", "pad"]

PadMode: TypeAlias = Literal["constant", "edge", "reflect", "symmetric", "wrap"]


def downsample(
    x: Any,
    factors: Any,
    /,
    method: Method = "mean",
    *,
    align: Literal["domain", "position"] = "domain",
    approx: bool = False,
) -> LazyTensor:
    """One value for each block of elements, in the dtype of ``x``.

    Parameters
    ----------
    factors
        Block size per dim: a sequence, or a mapping by dim name in which absent dims stay.
    method
        ``"mean"`` (integers exactly, halves to even), ``"median"`` (the lower of two middle
        values), ``"mode"`` (the smallest of the most frequent), ``"min"``, ``"max"`` (NaN is
        ignored), or ``"stride"`` (the element at the multiple of the factor).
    align
        ``"domain"``: blocks start at multiples of the factor in coordinates, so blocks at the
        edges may be partial, and results of crops fit together. ``"position"``: blocks start at
        the first element, and the result's origin is 0.
    approx
        Allow a stored level of the pyramid that ``x`` was scanned from to stand in, though its
        maker's method may have been another: that of these factors, or the coarsest whose own
        factors divide them, downsampled further. It is a permission: without such a level, or with
        blocks that are not the level's, the values are computed. Many makers leave the rest of an
        odd extent out of a level, so there it stands in for whole blocks: ``x[:274]`` of 275 rows.
        A level that is proven to hold the very values stands in with or without it; ``explain``
        shows which is read.

    Raises ``ShapeError`` for wrong factors or an unknown method, ``DTypeError`` where the method is
    not defined for the dtype. Rules: TensorStore's ``downsample`` driver.

    >>> lt.downsample(lt.asarray([1, 2, 3, 5, 9]), (2,)).collect()
    array([2, 4, 9])
    >>> lt.downsample(lt.asarray([1, 2, 3, 5, 9]), (2,), "max").collect()
    array([2, 5, 9])
    """
    node = as_node(x)
    with about(x):
        return LazyTensor._wrap(build_views.downsample(node, factors, method, align, None, approx))


def cast(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> LazyTensor:
    """Values converted to a dtype as ``numpy.ndarray.astype`` does.

    Floats are cut off towards 0 and integers wrap. ``copy`` has no meaning for something immutable.
    ``lt.cast`` and ``lt.astype`` are one function. Raises ``DTypeError`` for what is no dtype.
    Array API standard 2025.12, data type functions, ``astype``.

    >>> lt.cast(lt.asarray([1.7, -1.7]), lt.int8).collect()
    array([ 1, -1], dtype=int8)
    """
    tensor = LazyTensor._wrap(as_node(x))
    return tensor.astype(dtype, copy=copy, device=device)


astype = cast


def pad(
    x: Any,
    pad_width: int | tuple[Any, ...] | Mapping[Any, Any],
    mode: PadMode = "constant",
    constant_values: Any = 0,
) -> LazyTensor:
    """The tensor with borders, value for value as ``numpy.pad``.

    Parameters
    ----------
    pad_width
        Elements before and after: one number, one ``(before, after)``, one pair per dim, or a
        mapping by dim name.
    mode
        What the border holds: ``"constant"``, the outermost element (``"edge"``), mirror images
        without (``"reflect"``) or with it (``"symmetric"``), or copies (``"wrap"``).
    constant_values
        Values of a constant border, in the forms of ``pad_width``.

    Coordinates of the elements stay: the origin falls by what is put before. Raises ``ShapeError``
    for widths that do not fit or an empty dim in a mode other than constant.

    >>> lt.pad(lt.asarray([1, 2, 3]), (1, 2)).collect()
    array([0, 1, 2, 3, 0, 0])
    >>> lt.pad(lt.asarray([1, 2, 3]), 4, "reflect").collect()
    array([1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3])
    """
    node = as_node(x)
    with about(x):
        return LazyTensor._wrap(build_pad.pad(node, pad_width, mode, constant_values))
