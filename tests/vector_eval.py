"""Evaluate the expressions of ``vectors/index-algebra/vectors.json`` with any implementation.

An expression is JSON: ``{"op": name, "base": expression, ...}``. `evaluate` walks it and calls one
method of an *adapter* for each op, so that the same vectors check index transforms (the
`TransformAdapter` here), tensors, or a peer. The notation:

- ``array``: ``dtype``, nested ``data`` (``"NaN"``, ``"Infinity"``, ``"-Infinity"`` as strings,
  complex numbers as ``[re, im]``), optional ``shape`` (if an extent is 0), ``origin``, ``labels``,
  ``chunks``.
- ``transform``: ``json``; ``compose``: index ``base`` by the transform ``json``.
- ``index``: ``key`` is a list of terms, ``mode`` is default, oindex or vindex; a term is
  ``{"int": i}``, ``{"slice": [start, stop, step]}``, ``{"newaxis": true}``,
  ``{"ellipsis": true}``, ``{"iarray": ...}`` or ``{"barray": ...}``.
- ``dindex``: the same on the dimensions ``dims``.
- ``translate_to``, ``translate_by``, ``translate_backward_by``, ``stride``: ``dims`` and ``value``.
- ``transpose`` (``perm``), ``diagonal`` (``dims``), ``label`` (``labels``),
  ``mark_bounds_implicit`` (``dims``, ``lower``, ``upper``).
- ``downsample`` (``factors``, ``method``), ``cast`` (``dtype``), ``stack`` and ``concat``
  (``layers``, ``axis``), ``overlay`` (``layers``).

Results are ``{"transform": json}``, ``{"dtype", "shape", "origin", "labels", "data"}`` or
``{"error": class}``. Errors agree on presence only. Where the peer that the values come from is
known to be wrong, a vector has ``peer_bug`` and ``correct`` holds the right result.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lazytensor.plan.dimexpr import d
from lazytensor.plan.index import IndexTransform

__all__ = ["TransformAdapter", "decode_array", "evaluate", "expected_result", "load_vectors"]

_FILE = Path(__file__).parent / "vectors" / "index-algebra" / "vectors.json"


def load_vectors(prefix: str = "", kind: str | None = None) -> list[dict[str, Any]]:
    """The vectors whose id starts with ``prefix``, of one kind (``"transform"``, ``"read"``)."""
    vectors = json.loads(_FILE.read_text())["vectors"]
    return [v for v in vectors if v["id"].startswith(prefix) and kind in (None, v["kind"])]


def expected_result(vector: dict[str, Any]) -> dict[str, Any]:
    """What to return: the peer's result, or the correct one where the peer is wrong."""
    found: dict[str, Any] = vector.get("correct", vector["expect"])
    return found


def evaluate(expression: dict[str, Any], adapter: Any) -> Any:
    """The value of an expression, made by the methods of the adapter."""
    arguments = dict(expression)
    method = getattr(adapter, arguments.pop("op"))
    for name in ("base", "layers"):
        if name in arguments:
            inner = arguments[name]
            arguments[name] = (
                [evaluate(layer, adapter) for layer in inner]
                if isinstance(inner, list)
                else evaluate(inner, adapter)
            )
    if "key" in arguments:
        arguments["key"] = tuple(_term(term) for term in arguments["key"])
    return method(**arguments)


def decode_array(
    dtype: str, data: Any, shape: list[int] | None = None
) -> np.ndarray[Any, np.dtype[Any]]:
    """The NumPy array of an ``array`` expression or a result."""
    if dtype.startswith("complex"):
        pairs = np.array(_numbers(data), np.float64)
        flat = pairs.reshape(-1, 2)
        made = (flat[:, 0] + 1j * flat[:, 1]).astype(dtype)
        return made.reshape(pairs.shape[:-1] if shape is None else shape)
    array = np.array(_numbers(data), dtype)
    return array if shape is None else array.reshape(shape)


def _numbers(data: Any) -> Any:
    if isinstance(data, list):
        return [_numbers(part) for part in data]
    return float(data.replace("Infinity", "inf")) if isinstance(data, str) else data


def _term(term: dict[str, Any]) -> Any:
    ((kind, value),) = term.items()
    match kind:
        case "slice":
            return slice(*value)
        case "newaxis":
            return None
        case "ellipsis":
            return ...
        case "iarray":
            return np.array(value, np.int64)
        case "barray":
            return np.array(value, bool)
    return value


class TransformAdapter:
    """Vectors of kind ``transform``: everything is an `IndexTransform`."""

    def transform(self, json: Any) -> IndexTransform:
        """From its JSON form."""
        return IndexTransform(json=json)

    def compose(self, base: IndexTransform, json: Any) -> IndexTransform:
        """Index by another transform."""
        return base[IndexTransform(json=json)]

    def index(self, base: IndexTransform, mode: str, key: tuple[Any, ...]) -> IndexTransform:
        """Index by a key in coordinates."""
        return _indexed(base, mode, key)

    def dindex(
        self, base: IndexTransform, mode: str, dims: list[Any], key: tuple[Any, ...]
    ) -> IndexTransform:
        """Index some dimensions."""
        return base[_indexed(d[dims], mode, key)]

    def translate_to(self, base: IndexTransform, dims: list[Any], value: Any) -> IndexTransform:
        """Move to an origin."""
        return base[d[dims].translate_to[value]]

    def translate_by(self, base: IndexTransform, dims: list[Any], value: Any) -> IndexTransform:
        """Move by an offset."""
        return base[d[dims].translate_by[value]]

    def translate_backward_by(
        self, base: IndexTransform, dims: list[Any], value: Any
    ) -> IndexTransform:
        """Move back by an offset."""
        return base[d[dims].translate_backward_by[value]]

    def stride(self, base: IndexTransform, dims: list[Any], value: Any) -> IndexTransform:
        """Keep multiples."""
        return base[d[dims].stride[value]]

    def transpose(self, base: IndexTransform, perm: list[int]) -> IndexTransform:
        """Permute dimensions."""
        return base.transpose(perm)

    def diagonal(self, base: IndexTransform, dims: list[Any]) -> IndexTransform:
        """Merge dimensions."""
        return base[d[dims].diagonal]

    def label(self, base: IndexTransform, labels: list[str]) -> IndexTransform:
        """Name dimensions."""
        return base.label[labels]

    def mark_bounds_implicit(
        self, base: IndexTransform, dims: list[Any], lower: Any, upper: Any
    ) -> IndexTransform:
        """Change implicit flags."""
        return base[d[dims].mark_bounds_implicit[lower:upper]]


def _indexed(base: Any, mode: str, key: tuple[Any, ...]) -> Any:
    return base[key] if mode == "default" else getattr(base, mode)[key]
