"""Which NumPy functions stay lazy when a tensor is among their arguments.

Ufuncs and the functions of the operation table are known to that table; what is left (stacking,
padding, moving dims, ...) is written down here, each with NumPy's own signature. NumPy asks a
tensor's class, which cannot know the functions built upon it: so they are entered into this table
by ``lazytensor.numpy_functions``, which is resolved by name when NumPy first asks, as drivers are
when a source is first opened. A NumPy function that is not here, or is
called with an argument its entry has not, works on values.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["TWINS", "replace_tensors", "twin_of"]

_TABLE = "lazytensor.numpy_functions"

TWINS: dict[Callable[..., Any], Callable[..., Any]] = {}
"""NumPy function to the function that does the same lazily, called with NumPy's arguments."""


def twin_of(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """The lazy function that NumPy's stands for, if there is one.

    >>> twin_of(np.stack) is not None, twin_of(np.linalg.inv)
    (True, None)
    """
    if not TWINS:
        import_module(_TABLE)
    return TWINS.get(function)


def replace_tensors(value: Any, values_of: Callable[[Any], Any]) -> Any:
    """``value`` with every tensor in it, also inside lists, tuples and dicts, made an array.

    >>> replace_tensors([1, (lt.zeros(2),)], lambda x: x.shape)
    [1, ((2,),)]
    """
    if hasattr(value, "_node"):
        return values_of(value)
    if type(value) in (list, tuple):
        return type(value)(replace_tensors(one, values_of) for one in value)
    if type(value) is dict:
        return {key: replace_tensors(one, values_of) for key, one in value.items()}
    return value
