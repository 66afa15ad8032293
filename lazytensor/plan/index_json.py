"""The JSON form of domains and transforms, as plain data.

TensorStore's `IndexDomain` and `IndexTransform` schemas, read and written without the classes they
describe: readers return tuples, writers take them. That keeps the format in one place below the
classes, and lets a damaged document be reported (`SerializationError`) before an object exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lazytensor.errors import DimensionError, SerializationError, ShapeError
from lazytensor.plan.index_dims import check_labels
from lazytensor.plan.index_interval import INF, MAX_RANK, UNBOUNDED, check_interval

__all__ = ["BoundsData", "MapData", "bounds_from_json", "bounds_to_json", "maps_from_json"]

BoundsData = tuple[
    tuple[int, ...], tuple[int, ...], tuple[str, ...], tuple[bool, ...], tuple[bool, ...]
]
"""``(inclusive_min, exclusive_max, labels, implicit_lower, implicit_upper)``."""

MapData = dict[str, Any]
"""Keyword arguments of one output index map."""

_UPPER = ("exclusive_max", "inclusive_max", "shape")
_MAP_MEMBERS = {"offset", "stride", "input_dimension", "index_array", "index_array_bounds"}


def bounds_from_json(json: Any, prefix: str = "", what: str = "index domain") -> BoundsData:
    """Read the bounds and labels of a domain; ``prefix`` is ``"input_"`` inside a transform.

    Raises `SerializationError` naming the member that is wrong.

    >>> bounds_from_json({"shape": [2, [3]]})
    ((0, 0), (2, 3), ('', ''), (False, False), (False, True))
    """
    members = {name: prefix + name for name in ("rank", "inclusive_min", *_UPPER, "labels")}
    _check_members(json, set(members.values()) | ({"output"} if prefix else set()), what)
    rank = _json_rank(json, members, what)
    given = [name for name in _UPPER if members[name] in json]
    if len(given) > 1:
        raise SerializationError(f"{what}: at most one of {given} is allowed")
    lower_default = 0 if given == ["shape"] else None
    lows = [
        _json_bound(v, -1, members["inclusive_min"])
        for v in json.get(members["inclusive_min"])
        or [0 if lower_default == 0 else ["-inf"]] * rank
    ]
    highs = (
        [_json_bound(v, 1, members[given[0]]) for v in json[members[given[0]]]]
        if given
        else [(UNBOUNDED, True)] * rank
    )
    lo = tuple(bound for bound, _ in lows)
    hi = tuple(
        _exclusive(given[0] if given else "", low, high)
        for low, (high, _) in zip(lo, highs, strict=True)
    )
    try:
        for pair in zip(lo, hi, strict=True):
            check_interval(*pair)
        labels = check_labels(json.get(members["labels"]) or ("",) * rank)
    except (ShapeError, DimensionError, TypeError) as error:
        raise SerializationError(f"{what}: {error}") from error
    return lo, hi, labels, tuple(f for _, f in lows), tuple(f for _, f in highs)


def bounds_to_json(bounds: BoundsData, prefix: str = "") -> dict[str, Any]:
    """Write the bounds and labels of a domain; what is the default is left out.

    >>> bounds_to_json(((0,), (5,), ("x",), (False,), (True,)))
    {'exclusive_max': [[5]], 'inclusive_min': [0], 'labels': ['x']}
    """
    lo, hi, labels, lower, upper = bounds
    out: dict[str, Any] = {}
    if any(h != UNBOUNDED or not flag for h, flag in zip(hi, upper, strict=True)):
        out[prefix + "exclusive_max"] = _bounds_list(hi, upper)
    if any(low != -INF or not flag for low, flag in zip(lo, lower, strict=True)):
        out[prefix + "inclusive_min"] = _bounds_list(lo, lower)
    if any(labels):
        out[prefix + "labels"] = list(labels)
    if not out:
        out[prefix + "rank"] = len(lo)
    return out


def maps_from_json(json: Any) -> list[MapData] | None:
    """Read the ``"output"`` member of a transform; None if it is left out (identity).

    >>> maps_from_json({"output": [{"offset": 3}, {"input_dimension": 0, "stride": 2}]})
    [{'offset': 3}, {'offset': 0, 'stride': 2, 'input_dimension': 0}]
    """
    if "output" not in json:
        return None
    output = json["output"]
    if not isinstance(output, list):
        raise SerializationError(f"index transform: 'output' must be a list, got {output!r}")
    return [_map_from_json(m, f"output {i}") for i, m in enumerate(output)]


def _map_from_json(json: Any, what: str) -> MapData:
    _check_members(json, _MAP_MEMBERS, what)
    if "input_dimension" in json and "index_array" in json:
        raise SerializationError(f"{what}: 'input_dimension' and 'index_array' exclude each other")
    offset = _json_int(json.get("offset", 0), f"{what}: 'offset'")
    if "input_dimension" not in json and "index_array" not in json:
        if "stride" in json or "index_array_bounds" in json:
            raise SerializationError(f"{what}: a constant map has neither stride nor bounds")
        return {"offset": offset}
    data: MapData = {
        "offset": offset,
        "stride": _json_int(json.get("stride", 1), f"{what}: 'stride'"),
    }
    if "input_dimension" in json:
        if "index_array_bounds" in json:
            raise SerializationError(f"{what}: 'index_array_bounds' needs an 'index_array'")
        data["input_dimension"] = _json_int(json["input_dimension"], f"{what}: 'input_dimension'")
        return data
    data["index_array"] = _json_array(json["index_array"], what)
    bounds = json.get("index_array_bounds", ["-inf", "+inf"])
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise SerializationError(f"{what}: 'index_array_bounds' must be [min, max], got {bounds!r}")
    lo = -INF if bounds[0] == "-inf" else _json_int(bounds[0], f"{what}: bounds")
    last = INF if bounds[1] == "+inf" else _json_int(bounds[1], f"{what}: bounds")
    data["bounds"] = (lo, last + 1)
    return data


def _json_array(value: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise SerializationError(f"{what}: 'index_array' is not rectangular") from error
    if array.size and array.dtype.kind not in "iu":
        raise SerializationError(f"{what}: 'index_array' must hold 64-bit integers")
    try:
        return array.astype(np.int64, casting="same_kind" if array.size else "unsafe")
    except (TypeError, OverflowError) as error:
        raise SerializationError(f"{what}: 'index_array' must hold 64-bit integers") from error


def _check_members(json: Any, known: set[str], what: str) -> None:
    if not isinstance(json, dict):
        raise SerializationError(f"{what}: expected a JSON object, got {json!r}")
    extra = sorted(str(k) for k in set(json) - known)
    if extra:
        raise SerializationError(f"{what}: unknown members {extra}; known are {sorted(known)}")


def _json_rank(json: dict[str, Any], members: dict[str, str], what: str) -> int:
    ranks = {}
    for name, member in members.items():
        if member not in json:
            continue
        value = json[member]
        if name == "rank":
            ranks[member] = _json_int(value, f"{what}: {member!r}")
        elif isinstance(value, list):
            ranks[member] = len(value)
        else:
            raise SerializationError(f"{what}: {member!r} must be a list, got {value!r}")
    if not ranks:
        raise SerializationError(f"{what}: one of {sorted(members.values())} must be given")
    if len(set(ranks.values())) > 1:
        raise SerializationError(f"{what}: members disagree on the rank: {ranks}")
    rank = next(iter(ranks.values()))
    if not 0 <= rank <= MAX_RANK:
        raise SerializationError(f"{what}: rank {rank} is outside [0, {MAX_RANK}]")
    return rank


def _json_int(value: Any, what: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    raise SerializationError(f"{what} must be a 64-bit integer, got {value!r}")


def _json_bound(value: Any, sign: int, what: str) -> tuple[int, bool]:
    implicit = isinstance(value, list)
    if implicit and len(value) != 1:
        raise SerializationError(f"{what}: an implicit bound is written [n], got {value!r}")
    bound = value[0] if implicit else value
    if bound == ("-inf" if sign < 0 else "+inf"):
        return (-INF if sign < 0 else UNBOUNDED), implicit
    return _json_int(bound, what), implicit


def _exclusive(kind: str, low: int, high: int) -> int:
    if high == UNBOUNDED:
        return high
    return {"shape": low + high, "inclusive_max": high + 1}.get(kind, high)


def _bounds_list(values: Sequence[int], implicit: Sequence[bool]) -> list[Any]:
    names = {-INF: "-inf", UNBOUNDED: "+inf"}
    shown = [names.get(v, v) for v in values]
    return [[v] if flag else v for v, flag in zip(shown, implicit, strict=True)]
