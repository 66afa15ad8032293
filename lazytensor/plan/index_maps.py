"""Output index maps of a transform: checked, printed, and as JSON.

What the class `IndexTransform` does with its maps when it meets the outside (constructor arguments,
documents, people), kept apart from the algebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lazytensor.errors import OutOfBoundsError, ShapeError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index_array import IndexArray, format_array
from lazytensor.plan.index_interval import INF, MAX_RANK, format_interval
from lazytensor.plan.index_json import bounds_to_json
from lazytensor.plan.index_propagate import explicitly_empty
from lazytensor.plan.output_map import (
    ARRAY,
    CONSTANT,
    EVERYWHERE,
    SINGLE,
    OutputIndexMap,
    array_map,
    constant_map,
)

__all__ = ["check_array_dims", "check_maps", "format_map", "map_from_data", "map_to_json"]


def map_from_data(data: dict[str, Any]) -> OutputIndexMap:
    """The map that `index_json.maps_from_json` read.

    >>> map_from_data({"offset": 3})
    OutputIndexMap(offset=3)
    """
    if "index_array" not in data:
        return OutputIndexMap(**data)
    array = IndexArray(data["index_array"])
    return array_map(array, data["offset"], data["stride"], data["bounds"])


def map_to_json(m: OutputIndexMap) -> dict[str, Any]:
    """The JSON form of a map; bounds of an index array only where its values break them.

    >>> map_to_json(OutputIndexMap(input_dimension=1, stride=2))
    {'input_dimension': 1, 'stride': 2}
    """
    out: dict[str, Any] = {}
    if m.kind == ARRAY:
        array, (lo, hi) = m.lookup()
        values = array.values
        out["index_array"] = values.tolist()
        inside = not values.size or (
            max(lo, 1 - INF) <= values.min() and values.max() < min(hi, INF)
        )
        if not inside and m.bounds != EVERYWHERE:
            ends = bounds_to_json(((lo,), (hi,), ("",), (False,), (False,)))
            low, high = ends["inclusive_min"][0], ends["exclusive_max"][0]
            out["index_array_bounds"] = [low, high if isinstance(high, str) else high - 1]
    if m.kind == SINGLE:
        out["input_dimension"] = m.input_dimension
    if m.offset:
        out["offset"] = m.offset
    if m.kind != CONSTANT and m.stride != 1:
        out["stride"] = m.stride
    return out


def format_map(m: OutputIndexMap) -> str:
    """The right side of ``out[i] = ...`` as TensorStore prints it.

    >>> format_map(OutputIndexMap(input_dimension=1, stride=2))
    '0 + 2 * in[1]'
    """
    if m.kind == CONSTANT:
        return str(m.offset)
    if m.kind == SINGLE:
        return f"{m.offset} + {m.stride} * in[{m.input_dimension}]"
    array, bounds = m.lookup()
    bounded = f"bounded({format_interval(*bounds)}, array(in)), where array ="
    return f"{m.offset} + {m.stride} * {bounded}\n      {format_array(array.values)}"


def check_maps(domain: IndexDomain, maps: Sequence[OutputIndexMap]) -> tuple[OutputIndexMap, ...]:
    """Maps in canonical form: stride 0 is constant, and so is an array over an empty domain.

    Raises `ShapeError` for an index array that does not fit the domain, `OutOfBoundsError` for an
    input dimension that does not exist or that an array may not depend on.
    """
    if len(maps) > MAX_RANK:
        raise ShapeError(f"output rank {len(maps)} is outside [0, {MAX_RANK}]")
    out = []
    for i, m in enumerate(maps):
        if not isinstance(m, OutputIndexMap):
            raise TypeError(f"output {i} must be an OutputIndexMap, got {m!r}")
        if m.kind == SINGLE and not 0 <= m.input_dimension < domain.rank:
            raise OutOfBoundsError(
                f"output dimension {i} depends on input dimension {m.input_dimension}, which is "
                f"outside the valid range [0, {domain.rank})"
            )
        if m.array is not None:
            _check_array_shape(m.array.values.shape, domain, i)
        dead = m.kind == ARRAY and explicitly_empty(domain)
        flat = m.kind != CONSTANT and m.stride == 0
        out.append(constant_map(0) if dead else constant_map(m.offset) if flat else m)
    check_array_dims(domain, out)
    return tuple(out)


def _check_array_shape(shape: tuple[int, ...], domain: IndexDomain, i: int) -> None:
    if len(shape) != domain.rank:
        raise ShapeError(
            f"the index array of output dimension {i} has rank {len(shape)}, it must have the "
            f"input rank {domain.rank}"
        )
    for n, extent in zip(shape, domain.shape, strict=True):
        if n not in (1, extent) and not explicitly_empty(domain):
            raise ShapeError(
                f"the index array of output dimension {i} has shape {shape}, which does not match "
                f"the input shape {domain.shape}"
            )


def check_array_dims(domain: IndexDomain, maps: Sequence[OutputIndexMap]) -> None:
    """Raise `OutOfBoundsError` if an index array varies along a dimension with implicit bounds."""
    if domain.explicit:
        return
    for i, m in enumerate(maps):
        if m.array is None:
            continue
        for dim, n in enumerate(m.array.values.shape):
            loose = domain.implicit_lower_bounds[dim] or domain.implicit_upper_bounds[dim]
            if n != 1 and loose:
                raise OutOfBoundsError(
                    f"input dimension {dim} cannot have implicit bounds, because the index array "
                    f"of output dimension {i} depends on it"
                )
