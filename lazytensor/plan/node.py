"""Interned plan nodes.

A plan is a graph of immutable nodes. Building a node that already exists returns the one that
exists, so equal plans are the same object: common sub-plans cost nothing to find, memo tables are
plain dictionaries keyed by node, and a diamond is stored once.

Equality of fields is equality of *meaning*, so fields must be canonical: a scalar is its dtype and
bytes (never a Python number: 0.0 equals -0.0 and 1 equals True there), a transform is its key, an
in-memory array is keyed by identity and kept alive by the node.

Shape, dtype and domain are worked out when a node is built, so that a mistake surfaces on the line
that makes it. Axes and read grid cannot fail and are worked out when asked for. Nothing recurses:
plans may be tens of thousands of operations deep.
"""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from lazytensor.plan.spec import Axis, TensorSpec

if TYPE_CHECKING:
    import numpy as np

    from lazytensor.plan.domain import IndexDomain
    from lazytensor.plan.grid import DimGrid

__all__ = ["KINDS", "Node", "rebuild", "walk", "walk_all"]


class _Entry(weakref.ref["Node"]):
    """Weak reference that knows the key it is stored under."""

    __slots__ = ("key",)
    key: tuple[Hashable, ...]


_table: dict[tuple[Hashable, ...], _Entry] = {}
# Re-entrant: dropping a node inside the guarded block runs ``_forget`` on the same thread.
_lock = threading.RLock()


def _renew_lock() -> None:
    """A forked child must not inherit a lock that another thread of the parent held."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _forget(entry: _Entry) -> None:
    with _lock:
        if _table.get(entry.key) is entry:
            del _table[entry.key]


_N = TypeVar("_N", bound="Node")


class _Interned(type):
    """Makes ``Kind(*fields)`` return the existing node of those fields, if there is one."""

    def __call__(cls: type[_N], *fields: Any) -> _N:  # type: ignore[misc]
        key = cls.intern_key(*fields)
        entry = _table.get(key)
        node = entry() if entry is not None else None
        if node is not None:
            return cast(_N, node)
        node = cls._construct(fields)
        fresh = _Entry(node, cast(Any, _forget))
        fresh.key = key
        # One atomic step, so no lock; the lock is for taking away an entry whose node died.
        while True:
            found = _table.setdefault(key, fresh)
            if found is fresh:
                return node
            existing = found()
            if existing is not None:
                return cast(_N, existing)
            _forget(found)


KINDS: dict[str, type[Node]] = {}
"""Every node kind by class name; serialisation and the completeness test read it."""


class Node(metaclass=_Interned):
    """One operation of a plan on its inputs.

    A kind declares its fields in ``fields`` and works out ``domain`` and ``dtype`` in
    ``_prepare``. Subclasses list the same names in ``__slots__``.
    """

    __slots__ = ("__weakref__", "_axes", "_grid", "domain", "dtype", "height", "inputs", "shape")

    fields: ClassVar[tuple[str, ...]] = ()

    domain: IndexDomain
    dtype: np.dtype
    shape: tuple[int, ...]
    inputs: tuple[Node, ...]
    height: int
    """Operations on the longest way down to a leaf: inputs are lower than their consumers."""
    _axes: tuple[Axis, ...] | None
    _grid: tuple[DimGrid | None, ...] | None

    if TYPE_CHECKING:
        # ``_Interned.__call__`` takes the fields; type checkers look for them here.
        def __init__(self, *fields: Any) -> None: ...

    _writers: ClassVar[tuple[Callable[[Node, Any], None], ...]] = ()

    def __init_subclass__(cls) -> None:
        KINDS[cls.__name__] = cls
        # The slots themselves can be written to, whatever __setattr__ says; and twice as fast.
        cls._writers = tuple(getattr(cls, name).__set__ for name in cls.fields)

    @classmethod
    def intern_key(cls, *fields: Any) -> tuple[Hashable, ...]:
        """What two nodes must share to be one; fields must be hashable by meaning."""
        return (cls, *fields)

    @classmethod
    def _construct(cls: type[_N], fields: tuple[Any, ...]) -> _N:
        node = object.__new__(cls)
        if len(fields) != len(cls._writers):
            raise TypeError(f"{cls.__name__} takes {cls.fields}, not {len(fields)} fields")
        for write, value in zip(cls._writers, fields):  # noqa: B905 - strict costs a tenth
            write(node, value)
        _write_axes(node, None)
        _write_grid(node, None)
        node._prepare()
        return node

    def _set(self, inputs: tuple[Node, ...], domain: IndexDomain, dtype: np.dtype) -> None:
        """Store what ``_prepare`` worked out."""
        _write_inputs(self, inputs)
        height = 0
        for child in inputs:
            if child.height >= height:
                height = child.height + 1
        _write_height(self, height)
        _write_domain(self, domain)
        _write_dtype(self, dtype)
        _write_shape(self, domain.shape)

    def _prepare(self) -> None:
        """Check the fields and call ``_set``; raises the typed error of a wrong operation."""
        raise TypeError(f"{type(self).__name__} is not a node kind")

    def _derive_axes(self) -> tuple[Axis, ...]:
        """Axes from the inputs' axes, which are known by then."""
        raise TypeError(f"{type(self).__name__} has no axes")

    def _derive_grid(self) -> tuple[DimGrid | None, ...]:
        """Read grid from the inputs' grids, which are known by then."""
        raise TypeError(f"{type(self).__name__} has no grid")

    def with_inputs(self, inputs: tuple[Node, ...]) -> Node:
        """The same operation on other inputs."""
        raise TypeError(f"{type(self).__name__} has no inputs")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __copy__(self: _N) -> _N:
        return self

    def __deepcopy__(self: _N, memo: object) -> _N:
        return self

    def __repr__(self) -> str:
        dims = ", ".join(
            f"{name}: {n}" if name else str(n)
            for name, n in zip(self.domain.labels, self.shape, strict=True)
        )
        return f"<{type(self).__name__} ({dims}) {self.dtype}>"

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of the values in memory, in bytes."""
        return self.size * self.dtype.itemsize

    @property
    def models(self) -> tuple[Node, ...]:
        """The inputs that axes and grid follow from: all of them, unless a kind says otherwise."""
        return self.inputs

    @property
    def axes(self) -> tuple[Axis, ...]:
        """World meaning of every dimension."""
        if self._axes is None:
            for node in walk(self, lambda n: n._axes is None, _models):
                _write_axes(node, node._derive_axes())
        return cast("tuple[Axis, ...]", self._axes)

    @property
    def grid(self) -> tuple[DimGrid | None, ...]:
        """Read cells of every dimension, None where there is no grid."""
        if self._grid is None:
            for node in walk(self, lambda n: n._grid is None, _models):
                _write_grid(node, node._derive_grid())
        return cast("tuple[DimGrid | None, ...]", self._grid)

    @property
    def spec(self) -> TensorSpec:
        """Everything known of the result before a value is read."""
        return TensorSpec(self.domain, self.dtype, self.axes, self.grid)

    def __reduce__(self) -> tuple[Any, ...]:
        order = list(walk(self))
        index = {node: i for i, node in enumerate(order)}
        flat = [
            (type(node), tuple(_flatten(getattr(node, name), index) for name in node.fields))
            for node in order
        ]
        return _from_flat, (flat,)


_write_axes = Node.__dict__["_axes"].__set__
_write_grid = Node.__dict__["_grid"].__set__
_write_inputs = Node.__dict__["inputs"].__set__
_write_height = Node.__dict__["height"].__set__
_write_domain = Node.__dict__["domain"].__set__
_write_dtype = Node.__dict__["dtype"].__set__
_write_shape = Node.__dict__["shape"].__set__


class _Input(int):
    """Place of an input node in a flat list."""


def _flatten(value: Any, index: dict[Node, int]) -> Any:
    if isinstance(value, Node):
        return _Input(index[value])
    if isinstance(value, tuple) and value and all(isinstance(v, Node) for v in value):
        return tuple(_Input(index[v]) for v in value)
    return value


def _from_flat(flat: list[tuple[type[Node], tuple[Any, ...]]]) -> Node:
    """Rebuild a pickled plan through the interning constructor, inputs first."""
    built: list[Node] = []
    for kind, fields in flat:
        built.append(kind(*(_unflatten(value, built) for value in fields)))
    return built[-1]


def _unflatten(value: Any, built: list[Node]) -> Any:
    if isinstance(value, _Input):
        return built[value]
    if isinstance(value, tuple) and value and all(isinstance(v, _Input) for v in value):
        return tuple(built[v] for v in value)
    return value


def _inputs(node: Node) -> tuple[Node, ...]:
    return node.inputs


def _models(node: Node) -> tuple[Node, ...]:
    return node.models


def walk(
    root: Node,
    wanted: Callable[[Node], bool] | None = None,
    below: Callable[[Node], tuple[Node, ...]] = _inputs,
) -> Iterator[Node]:
    """Every node below and including ``root`` once, inputs before consumers, without recursion.

    With ``wanted``, nodes for which it is false are neither yielded nor looked below. ``below``
    says which nodes are looked at from a node.
    """
    seen: set[Node] = set()
    # None: all below the last node of ``open_`` has been seen.
    open_: list[Node] = []
    stack: list[Node | None] = [root]
    while stack:
        node = stack.pop()
        if node is None:
            yield open_.pop()
            continue
        if node in seen or (wanted is not None and not wanted(node)):
            continue
        seen.add(node)
        children = node.inputs if below is _inputs else below(node)
        if children:
            open_.append(node)
            stack += (None, *children[::-1])
        else:
            yield node


def walk_all(roots: Sequence[Node]) -> Iterator[Node]:
    """Every node of some plans once, inputs before consumers."""
    if len(roots) == 1:
        return walk(roots[0])
    return _walk_all(roots)


def _walk_all(roots: Sequence[Node]) -> Iterator[Node]:
    seen: set[Node] = set()
    for root in roots:
        for node in walk(root, lambda node: node not in seen):
            seen.add(node)
            yield node


def rebuild(root: Node, replaced: dict[Node, Node]) -> Node:
    """``root`` with the nodes in ``replaced`` exchanged, everything above them built anew."""
    out: dict[Node, Node] = dict(replaced)
    for node in walk(root, lambda n: n not in replaced):
        inputs = tuple(out.get(child, child) for child in node.inputs)
        out[node] = node if _same(inputs, node.inputs) else node.with_inputs(inputs)
    return out[root]


def _same(a: Iterable[Node], b: Iterable[Node]) -> bool:
    return all(x is y for x, y in zip(a, b, strict=True))
