"""Which function reopens a source: format name -> ``"module:function"``, resolved at use.

A serialised plan names the format of each source it reads (``{"format": "zarr", ...}``). The plan
layer must not import drivers, so it holds their *names* and looks a function up through
``importlib`` when a document is loaded. That is the only door from plans to drivers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

import numpy as np

from lazytensor.errors import SerializationError
from lazytensor.plan.source import Source

__all__ = ["Opener", "formats", "open_source", "register", "resolve", "scalar_type"]

# All of ours, since a plan may come to a process that has made none of these sources itself.
_openers: dict[str, str] = {
    "npy": "lazytensor.io.npy:from_json",
    "ome-arrow": "lazytensor.io.ome_arrow.scan:from_json",
    "ome-zarr": "lazytensor.io.ome_zarr:from_json",
    "progression": "lazytensor.io.progression:from_json",
    "tenso": "lazytensor.io.tenso.scan:from_json",
    "tenso-chunks": "lazytensor.io.tenso.chunked:from_json",
    "zarr": "lazytensor.io.zarr:from_json",
}


class Opener(Protocol):
    """What a driver registers: the inverse of its sources' ``to_json``."""

    def __call__(
        self, document: Mapping[str, Any], *, storage_options: Mapping[str, Any] | None
    ) -> Source:
        """Open the source; raise a ``SourceError`` or ``SerializationError`` if it cannot be."""
        ...


def register(format_name: str, target: str) -> None:
    """Let documents name sources of a format; ``target`` is ``"module:function"``.

    The function is an ``Opener``. Registering a name again replaces its target. A target that is
    not of that form is a ``ValueError``.

    >>> register("my-format", "my_package.my_module:from_json")
    >>> "my-format" in formats()
    True
    """
    _split(target)
    _openers[format_name] = target


def formats() -> tuple[str, ...]:
    """Names of the formats that can be reopened, sorted.

    >>> "zarr" in formats()
    True
    """
    return tuple(sorted(_openers))


def open_source(
    document: Mapping[str, Any], storage_options: Mapping[str, Any] | None = None
) -> Source:
    """The source that wrote ``document`` with ``to_json``.

    ``storage_options`` are never part of a document: they hold credentials. Raises
    ``SerializationError`` for a format that nobody registered, and what the driver raises.
    """
    name = document.get("format")
    target = _openers.get(name) if isinstance(name, str) else None
    if target is None:
        raise SerializationError(
            f"no driver for sources of format {name!r}; known: {', '.join(formats())}; others are "
            f"added with lazytensor.plan.registry.register"
        )
    opener = cast(Opener, resolve(target))
    return opener(document, storage_options=storage_options)


def resolve(target: str) -> Callable[..., Any]:
    """The object that ``"module:name"`` means; imports the module.

    >>> resolve("math:hypot")(3, 4)
    5.0
    """
    module, name = _split(target)
    return cast("Callable[..., Any]", getattr(importlib.import_module(module), name))


def scalar_type(name: str) -> np.dtype:
    """Dtype of an extension scalar type (``bfloat16``, ``float8_e4m3fn``, ``int4``...) by name.

    Imports the package that defines them. Unknown names: ``SerializationError``.
    """
    try:
        dtype: np.dtype = np.dtype(cast(Any, resolve(f"ml_dtypes:{name}")))
    except (ImportError, AttributeError, TypeError) as error:
        raise SerializationError(f"unknown dtype {name!r}") from error
    return dtype


def _split(target: str) -> tuple[str, str]:
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ValueError(f"{target!r} is not of the form 'module:function'")
    return module, name
