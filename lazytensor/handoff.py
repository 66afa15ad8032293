"""Computed values handed to other array libraries.

An engine leaves its result as a NumPy array that is C-contiguous, writable, owned and aligned to 64
bytes, which is what lets every library below alias it without a copy. None of them is imported
before it is asked for by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["TARGETS", "check_host_device", "check_target", "dlpack_capsule", "hand_over"]


def check_host_device(device: Any) -> None:
    """``ValueError`` unless ``device`` means the memory that NumPy uses: None or ``"cpu"``."""
    if device is None or (isinstance(device, str) and device == "cpu"):
        return
    raise ValueError(f"device {device!r} is not available: NumPy and DLPack results are on 'cpu'")


def check_target(to: str) -> None:
    """``ValueError`` unless ``to`` is one of the libraries of ``TARGETS``."""
    if to not in TARGETS:
        raise ValueError(f"to={to!r} is not one of {', '.join(map(repr, TARGETS))}")


def hand_over(array: np.ndarray, to: str, device: Any) -> Any:
    """The values as an array of another library, on one of its devices (None: its default).

    Raises ``ImportError`` naming the extra to install when the library is missing.

    >>> hand_over(np.arange(3), "dlpack", None).__dlpack_device__()
    (1, 0)
    """
    check_target(to)
    return TARGETS[to](array, device)


def _to_numpy(array: np.ndarray, device: Any) -> np.ndarray:
    check_host_device(device)
    return array


def _to_torch(array: np.ndarray, device: Any) -> Any:
    torch = _library("torch", "torch")
    array = _native(array)
    if array.dtype.kind == "V":
        tensor = torch.from_numpy(array.view(f"u{array.dtype.itemsize}"))
        tensor = tensor.view(_extended(torch, array.dtype))
    else:
        tensor = torch.from_dlpack(array)
    return tensor if device is None else tensor.to(device)


def _extended(torch: ModuleType, dtype: np.dtype) -> Any:
    """Torch's dtype of the same name and bits as one of ml_dtypes."""
    found = getattr(torch, dtype.name, None)
    if found is None or not dtype.name.startswith(("bfloat", "float8")):
        raise TypeError(f"torch has no dtype for {dtype}; cast to one that it knows first")
    return found


def _to_jax(array: np.ndarray, device: Any) -> Any:
    jax = _library("jax", "jax")
    result = jax.numpy.asarray(_native(array))
    return result if device is None else jax.device_put(result, device)


def _to_cupy(array: np.ndarray, device: Any) -> Any:
    cupy = _library("cupy", "cupy")
    with cupy.cuda.Device(device):
        return cupy.asarray(_native(array))


def _to_dlpack(array: np.ndarray, device: Any) -> np.ndarray:
    check_host_device(device)
    return _native(array)


def _native(array: np.ndarray) -> np.ndarray:
    """In this machine's byte order, the only one that other libraries and DLPack have."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _library(name: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"to={name!r} needs {name}: pip install 'lazytensor-engine[{extra}]'"
        ) from error


def dlpack_capsule(
    array: np.ndarray, max_version: tuple[int, int] | None = None, copy: bool | None = None
) -> Any:
    """A DLPack capsule of a collected array.

    Raises ``BufferError`` for dtypes that DLPack has no code for. A big-endian array is converted.
    """
    return _native(array).__dlpack__(max_version=max_version, copy=copy)


TARGETS: dict[str, Callable[[np.ndarray, Any], Any]] = {
    "numpy": _to_numpy,
    "torch": _to_torch,
    "jax": _to_jax,
    "cupy": _to_cupy,
    "dlpack": _to_dlpack,
}
"""Every value of ``to=`` and how the result gets there."""
