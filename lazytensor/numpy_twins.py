"""Which NumPy functions stay lazy when a tensor is among their arguments.

Ufuncs and the functions of the operation table are known to that table; what is left (stacking,
padding, moving dims, ...) is written down here, each with NumPy's own signature. NumPy asks a
tensor's class, which cannot know the functions built upon it: so they are entered into this table
when ``lazytensor.functions`` is imported. A NumPy function that is not here works on values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["TWINS", "replace_tensors"]

TWINS: dict[Callable[..., Any], Callable[..., Any]] = {}
"""NumPy function to the function that does the same lazily, called with NumPy's arguments."""


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
