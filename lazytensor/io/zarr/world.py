"""What the dimensions of a zarr array mean in the world: zarr has names for them, and nothing else.

Units, scales, offsets and labels are kept among the attributes of the array, as
``{"lazytensor": {"axes": [{"name": "y", "kind": "space", "unit": "micrometer", "scale": 0.5, ...},
...]}}``, beside what levels of pyramids say there (``plan.levels``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lazytensor.errors import FormatError
from lazytensor.io.zarr.axis_json import axis_from_json, axis_to_json
from lazytensor.io.zarr.document import Fields
from lazytensor.plan.levels import ATTRIBUTE
from lazytensor.plan.spec import Axis

__all__ = ["with_axes", "world_axes"]

_AXES = "axes"


def world_axes(attributes: Mapping[str, Any], rank: int) -> tuple[Axis, ...] | None:
    """The axes among the attributes of an array; None if there are none.

    What breaks the rules is passed over with a warning: the array can be read without.
    """
    ours = attributes.get(ATTRIBUTE)
    if not isinstance(ours, Mapping) or _AXES not in ours:
        return None
    try:
        fields = Fields(ours, f"attributes: {ATTRIBUTE}")
        axes = fields.objects(_AXES)
        if len(axes) != rank:
            raise fields.wrong(_AXES, f"{rank} objects, one per dimension")
        return tuple(map(axis_from_json, axes))
    except FormatError as error:
        warnings.warn(f"{error}; the dimensions mean nothing", UserWarning, stacklevel=2)
        return None


def with_axes(attributes: Mapping[str, Any], axes: Sequence[Axis]) -> dict[str, Any]:
    """Attributes with the axes among them, if these say more than names do.

    >>> with_axes({"by": "me"}, [lt.Axis("y")])
    {'by': 'me'}
    """
    if all(replace(axis, name="") == Axis() for axis in axes):
        return dict(attributes)
    ours = attributes.get(ATTRIBUTE)
    others = dict(ours) if isinstance(ours, Mapping) else {}
    return {**attributes, ATTRIBUTE: {**others, _AXES: [axis_to_json(axis) for axis in axes]}}
