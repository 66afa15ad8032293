"""Axes as JSON: what positions mean in the world, for formats that keep it in a document."""

from __future__ import annotations

from typing import Any

from lazytensor.errors import FormatError
from lazytensor.io.zarr.document import Fields
from lazytensor.plan.spec import Axis

__all__ = ["axis_from_json", "axis_to_json"]

_KEYS = ("name", "kind", "unit", "scale", "offset", "labels")


def axis_to_json(axis: Axis) -> dict[str, Any]:
    """All that an axis says.

    >>> axis_to_json(lt.Axis("y", "space", "micrometer", 0.5))
    {'name': 'y', 'kind': 'space', 'unit': 'micrometer', 'scale': 0.5, 'offset': 0.0}
    """
    found: dict[str, Any] = {
        "name": axis.name,
        "kind": axis.kind,
        "unit": axis.unit,
        "scale": axis.scale,
        "offset": axis.offset,
    }
    if axis.labels is not None:
        found["labels"] = list(axis.labels)
    return found


def axis_from_json(fields: Fields) -> Axis:
    """Inverse of ``axis_to_json``; ``FormatError`` naming the key that is wrong."""
    unknown = sorted(set(fields.document) - set(_KEYS))
    if unknown:
        raise FormatError(f"{fields.where}: expected no key {unknown[0]!r}")
    texts: dict[str, str | None] = {}
    for key in ("name", "kind", "unit"):
        value = fields.document.get(key)
        texts[key] = None if value is None else fields.text(key)
    labels = fields.document.get("labels")
    if labels is not None:
        labels = fields.items("labels")
        if not all(isinstance(label, str) for label in labels):
            raise fields.wrong("labels", "a list of strings")
    return Axis(
        texts["name"] or "",
        texts["kind"],
        texts["unit"],
        None if fields.document.get("scale") is None else fields.number("scale"),
        fields.number("offset") if "offset" in fields.document else 0.0,
        None if labels is None else tuple(labels),
    )
