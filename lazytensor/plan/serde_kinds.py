"""How the fields of each node kind are written and read: one table.

A field is written by a pair of functions. Writers are given the value and a ``Writer`` (which knows
the numbers of nodes, and where bytes go); readers the JSON value and a ``Reader``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from lazytensor.errors import SerializationError
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import MemorySource
from lazytensor.plan.node import Node
from lazytensor.plan.nodes_axis import SEARCHES
from lazytensor.plan.ops import OPERATIONS, SUMMARIES
from lazytensor.plan.ops_scan import CUMULATIONS
from lazytensor.plan.ops_sketch import MASKED
from lazytensor.plan.registry import open_source
from lazytensor.plan.serde_memory import FORMATS as MEMORY_FORMATS
from lazytensor.plan.serde_memory import memory_from_json, memory_to_json
from lazytensor.plan.serde_values import (
    dtype_from_json,
    dtype_to_json,
    expect,
    fail,
    function_from_json,
    function_to_json,
    ints_from_json,
    number_from_json,
    number_to_json,
)
from lazytensor.plan.source import Source

__all__ = ["FIELDS", "Reader", "Writer"]


class Writer(Protocol):
    """What writing a field may ask for."""

    def node(self, node: Node) -> int:
        """Number of a node that is written already."""
        ...

    def data(self, data: bytes, what: str) -> Any:
        """What stands for bytes in the document."""
        ...


class Reader(Protocol):
    """What reading a field may ask for."""

    functions: Mapping[str, Callable[..., Any]]
    storage_options: Mapping[str, Any] | None

    def node(self, value: Any, what: str) -> Node:
        """The node of a number, which must be one read already."""
        ...

    def data(self, value: Any, what: str) -> bytes | memoryview:
        """Inverse of ``Writer.data``."""
        ...


class _Field(NamedTuple):
    write: Callable[[Any, Writer], Any]
    read: Callable[[Any, Reader, str], Any]


def _same(value: Any, writer: Writer) -> Any:
    return value


def _plain(*kinds: type) -> _Field:
    return _Field(_same, lambda value, reader, what: expect(value, kinds, what))


def _optional(field: _Field) -> _Field:
    return _Field(
        lambda value, writer: None if value is None else field.write(value, writer),
        lambda value, reader, what: None if value is None else field.read(value, reader, what),
    )


def _one_of(table: Mapping[str, object], noun: str) -> _Field:
    def read(value: Any, reader: Reader, what: str) -> str:
        name = expect(value, str, what)
        if name not in table:
            raise SerializationError(f"the plan uses {noun} {name!r}, which this version has not")
        return str(name)

    return _Field(_same, read)


def _read_nodes(value: Any, reader: Reader, what: str) -> tuple[Node, ...]:
    nodes = tuple(reader.node(n, what) for n in expect(value, list, what))
    return nodes or fail(what, "at least one node", value)


def _read_domain(value: Any, reader: Reader, what: str) -> IndexDomain:
    return IndexDomain(json=expect(value, dict, what))


def _read_transform(value: Any, reader: Reader, what: str) -> IndexTransform:
    return IndexTransform(json=expect(value, dict, what))


def _write_params(params: tuple[tuple[str, Any], ...], writer: Writer) -> Any:
    return {name: number_to_json(value) for name, value in params}


def _read_params(value: Any, reader: Reader, what: str) -> tuple[tuple[str, Any], ...]:
    pairs = sorted(expect(value, dict, what).items())
    return tuple((name, number_from_json(v, what)) for name, v in pairs)


def _write_source(source: Source, writer: Writer) -> Any:
    if isinstance(source, MemorySource):
        return memory_to_json(source, writer.data)
    return source.to_json()


def _read_source(value: Any, reader: Reader, what: str) -> Source:
    document = expect(value, dict, what)
    if document.get("format") in MEMORY_FORMATS:
        return memory_from_json(document, reader.data, what)
    return open_source(document, reader.storage_options)


_NODE = _Field(
    lambda node, writer: writer.node(node), lambda value, reader, what: reader.node(value, what)
)
_NODES = _Field(lambda nodes, writer: [writer.node(node) for node in nodes], _read_nodes)
_DTYPE = _Field(
    lambda dtype, writer: dtype_to_json(dtype),
    lambda value, reader, what: dtype_from_json(value, what),
)
_INTS = _Field(
    lambda values, writer: list(values), lambda value, reader, what: ints_from_json(value, what)
)
_DOMAIN = _Field(lambda domain, writer: domain.to_json(), _read_domain)
_TRANSFORM = _Field(lambda transform, writer: transform.to_json(), _read_transform)
_BYTES = _Field(
    lambda data, writer: writer.data(data, "a scalar"),
    lambda value, reader, what: bytes(reader.data(value, what)),
)
_FUNCTION = _Field(
    lambda function, writer: function_to_json(function),
    lambda value, reader, what: function_from_json(value, reader.functions, what),
)
_BOOL, _INT, _STR = _plain(bool), _plain(int), _plain(str)

FIELDS: dict[str, dict[str, _Field]] = {
    "BlockTotals": {
        "op": _one_of(CUMULATIONS, "cumulative operation"),
        "x": _NODE,
        "axis": _INT,
        "to": _optional(_DTYPE),
        "block": _INT,
    },
    "Cache": {"x": _NODE},
    "Call": {
        "function": _FUNCTION,
        "inputs": _NODES,
        "to": _DTYPE,
        "halo": _INTS,
        "boundary": _optional(_STR),
        "slice_pushdown": _BOOL,
        "validate": _BOOL,
        "wants_domain": _BOOL,
    },
    "Cast": {"x": _NODE, "to": _DTYPE},
    "Contract": {
        "x1": _NODE,
        "x2": _NODE,
        "batch1": _INTS,
        "batch2": _INTS,
        "summed1": _INTS,
        "summed2": _INTS,
    },
    "Constant": {"scalar_dtype": _DTYPE, "data": _BYTES},
    "Cumulate": {
        "op": _one_of(CUMULATIONS, "cumulative operation"),
        "x": _NODE,
        "axis": _INT,
        "to": _optional(_DTYPE),
        "block": _INT,
        "carries": _optional(_NODE),
    },
    "Downsample": {"x": _NODE, "factors": _INTS, "method": _STR, "approx": _BOOL},
    "Edges": {"low": _NODE, "high": _NODE, "bins": _INT, "of": _DTYPE, "weak": _BOOL},
    "Elementwise": {"op": _one_of(OPERATIONS, "operation"), "inputs": _NODES},
    "Field": {"x": _NODE, "name": _STR},
    "Gather": {"x": _NODE, "indices": _NODE, "axis": _INT},
    "Histogram": {"x": _NODE, "edges": _NODE, "axes_": _INTS},
    "Inspect": {"x": _NODE, "function": _FUNCTION},
    "Join": {"inputs": _NODES, "axis": _INT, "new": _BOOL, "label": _STR},
    "Lookup": {"table": _NODE, "x": _NODE},
    "Masked": {"x": _NODE, "mask": _NODE},
    "MaskedReduce": {
        "op": _one_of(MASKED, "masked reduction"),
        "x": _NODE,
        "axes_": _INTS,
        "keepdims": _BOOL,
        "params": _Field(_write_params, _read_params),
    },
    "Overlay": {"inputs": _NODES, "window": _DOMAIN, "fill": _optional(_BYTES)},
    "Quantile": {
        "x": _NODE,
        "axes_": _INTS,
        "q": _BYTES,
        "q_dtype": _DTYPE,
        "q_shape": _INTS,
        "weak": _BOOL,
        "approx": _BOOL,
    },
    "Rechunk": {"x": _NODE, "sizes": _INTS},
    "Reduce": {
        "op": _one_of(SUMMARIES, "reduction"),
        "x": _NODE,
        "axes_": _INTS,
        "keepdims": _BOOL,
        "params": _Field(_write_params, _read_params),
    },
    "Reshape": {"x": _NODE, "to_shape": _INTS},
    "Scan": {"source": _Field(_write_source, _read_source)},
    "Search": {"op": _one_of(SEARCHES, "search"), "table": _NODE, "x": _NODE},
    "Sort": {
        "x": _NODE,
        "axis": _INT,
        "descending": _BOOL,
        "indices": _BOOL,
    },
    "Spread": {
        "x": _NODE,
        "window": _DOMAIN,
        "leads": _INTS,
        "strides": _INTS,
        "offset": _INT,
        "group": _INT,
    },
    "View": {"x": _NODE, "transform": _TRANSFORM},
}
"""By kind, its fields in order."""
