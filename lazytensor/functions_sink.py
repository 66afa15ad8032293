"""Free functions that write several tensors: ``dump_tenso``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

from lazytensor.build import as_node
from lazytensor.callsite import about
from lazytensor.errors import DTypeError
from lazytensor.scanning_tenso import open_tenso
from lazytensor.sinking import LazySink, Made, check_mode, done
from lazytensor.tensor import LazyTensor

__all__ = ["dump_tenso"]


def dump_tenso(
    tensors: Mapping[str, Any],
    path: Any,
    *,
    integrity: bool = True,
    mode: Literal["create", "overwrite"] = "create",
    storage_options: Mapping[str, Any] | None = None,
    lazy: bool = False,
    engine: Any = "auto",
    progress: Any = None,
) -> Any:
    """Write tensors by name into one file, a tenso bundle; what they share is computed once.

    Parameters
    ----------
    tensors
        A dict of tensors (and of what ``asarray`` takes, and ``QuantizedTensor``), and of further
        dicts: up to 255 entries each, each of less than 4 GiB.
    path, mode, storage_options, lazy, engine, progress
        As ``LazyTensor.sink_tenso``.
    integrity
        Whether each packet has a checksum.

    Returns what ``lt.open_tenso(path)`` gives, with keys like ``"g/b"`` for what lies deeper; a
    ``LazySink`` of it with ``lazy=True``.

    Raises ``ValueError`` for names that would mean two tensors, such as ``"g/b"`` beside a ``"b"``
    in ``"g"``, ``ShapeError`` for what is too large, ``DTypeError`` for dtypes that packets do not
    hold, and as ``LazyTensor.sink_tenso``.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     x = lt.asarray(np.arange(4))
    ...     opened = lt.dump_tenso({"a": x, "more": {"b": x + 1}}, folder + "/both.tenso")
    ...     print(list(opened), opened["more/b"].collect())
    ['a', 'more/b'] [1 2 3 4]
    """
    if not isinstance(tensors, Mapping):
        raise TypeError(f"dump_tenso takes a dict of tensors, not {type(tensors).__name__}")
    check_mode(mode)
    leaves: list[tuple[Any, ...]] = []
    tree = _tree(tensors, leaves)
    _check_names(tree)
    nodes = tuple([handle._node for some in leaves for handle in some])
    handles = [some[-1] for some in leaves]

    def make() -> Made:
        from lazytensor.io.staging_remote import place_of
        from lazytensor.io.tenso.sink import PacketSink

        place = place_of(path, storage_options)
        sink = PacketSink(place, _parts(tree), integrity=integrity, mode=mode)
        return Made(sink, nodes)

    with about(handles):
        sink = LazySink(handles, make, partial(open_tenso, path, storage_options=storage_options))
    return done(sink, lazy, engine, progress)


def _tree(tensors: Mapping[str, Any], leaves: list[tuple[Any, ...]]) -> dict[str, Any]:
    """The same with a node or something quantized at each name; the handles of all, in order."""
    found: dict[str, Any] = {}
    for key, value in tensors.items():
        if isinstance(value, Mapping):
            found[key] = _tree(value, leaves)
        elif hasattr(value, "zero_points"):
            leaves.append((value.scales, value.zero_points, value.data))
            found[key] = value
        elif value is None:
            raise DTypeError(f"dump_tenso: {key!r} is None")
        else:
            handle = value if isinstance(value, LazyTensor) else LazyTensor._wrap(as_node(value))
            leaves.append((handle,))
            found[key] = handle
    return found


def _check_names(tree: Mapping[str, Any]) -> None:
    """``ValueError`` where ``open_tenso`` would have two tensors of one name."""
    seen: set[str] = set()
    for name in _names(tree):
        if name in seen:
            raise ValueError(f"dump_tenso: two tensors would be called {name!r}; rename one")
        seen.add(name)


def _names(tree: Mapping[str, Any]) -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from (f"{key}/{name}" for name in _names(value))
        else:
            yield str(key)


def _parts(tree: Any) -> Any:
    """What a file holds, with room for the parameters of what is quantized."""
    from lazytensor.io.tenso.sink import Given, Part

    if isinstance(tree, Mapping):
        return {key: _parts(value) for key, value in tree.items()}
    if isinstance(tree, LazyTensor):
        return Part(tree.shape, tree.dtype)
    return Part(tree.data.shape, tree.data.dtype, Given.of(tree, tree.data.shape))
