"""Results that are written, and sinks that wait to be collected.

Laziness ends with a sink as it does with ``collect``, except that values go to a file in blocks and
never are in memory as a whole. What is known without computing (dtypes, sizes, options) is checked
on the line that names it, also of a sink that is to be collected later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lazytensor.build import as_node
from lazytensor.callsite import about
from lazytensor.collecting import EVERY_PASS, check_flags, run_sinks
from lazytensor.config import QueryOptFlags
from lazytensor.errors import ShapeError
from lazytensor.per_dim import dim_number, per_dim
from lazytensor.plan.node import Node
from lazytensor.plan.sink import Sink

if TYPE_CHECKING:
    from lazytensor.plan.cost import Estimate

__all__ = ["LazySink", "Made", "auto_chunks", "check_mode", "collect_sinks", "done", "sink_tenso"]

Mode = Literal["create", "overwrite"]
Options = Mapping[str, Any] | None
_LEAST_CHUNK, _MOST_CHUNK = 1 << 20, 16 << 20


class Made(NamedTuple):
    """A sink that nothing was written to, and the plans of its targets."""

    sink: Sink
    nodes: tuple[Node, ...]


class LazySink:
    """Something that will be written when it is collected; made by ``lazy=True``.

    ``collect_all`` takes sinks among tensors: what they have in common is read and computed once.
    Each collect writes anew, so that the second one finds the place taken unless
    ``mode="overwrite"``.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     x = lt.asarray(np.arange(4))
    ...     sink = (x * 2).sink_tenso(folder + "/x.tenso", lazy=True)
    ...     print(lt.collect_all([x.sum(), sink])[1].collect())
    [0 2 4 6]
    """

    __slots__ = ("_handles", "_make", "_opened")

    def __init__(
        self, handles: Sequence[Any], make: Callable[[], Made], opened: Callable[[], Any]
    ) -> None:
        self._handles = tuple(handles)
        self._make = make
        self._opened = opened
        # What is wrong with it is said now.
        make()

    def __repr__(self) -> str:
        return f"LazySink({self._make().sink.label!r})"

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The plans of what is written."""
        return self._make().nodes

    def collect(
        self,
        *,
        engine: Any = "auto",
        optimizations: QueryOptFlags = EVERY_PASS,
        progress: Any = None,
    ) -> Any:
        """Write it, and give what the sink gives that is not lazy.

        Keywords as ``LazyTensor.collect``. Raises ``SinkExistsError`` for a place that is taken,
        ``SinkError`` where writing fails, and what ``collect`` raises; then nothing was written.
        """
        return collect_sinks([self], engine=engine, optimizations=optimizations, progress=progress)[
            0
        ]

    def explain(self, **keywords: Any) -> str:
        """What is written where, and the plans of what is written; keywords as
        ``LazyTensor.explain``."""
        sink, nodes = self._make()
        wrap = type(self._handles[0])._wrap if self._handles else None
        plans = [wrap(node).explain(**keywords) for node in reversed(nodes)] if wrap else []
        return "\n\n".join(["\n".join([f"sink {sink.label}", *plans[:1]]), *plans[1:]])

    def estimate(
        self,
        *,
        exact: bool = False,
        engine: Any = "auto",
        optimizations: QueryOptFlags = EVERY_PASS,
    ) -> Estimate:
        """Tasks, chunks, bytes and memory of writing it, as ``LazyTensor.estimate``.

        Of a sink of several tensors the sum of what each takes alone, and the most memory of any.
        """
        from lazytensor.exec.estimate import estimate
        from lazytensor.plan.cost import Estimate

        flags = check_flags(optimizations)
        sink, nodes = self._make()
        found = [
            estimate(node, engine=engine, optimizations=flags, exact=exact, target=target)
            for node, target in zip(nodes, sink.targets, strict=True)
        ]
        if len(found) == 1:
            return found[0]
        return Estimate(
            tasks=sum(one.tasks for one in found),
            chunks_read=sum(one.chunks_read for one in found),
            chunks_total=sum(one.chunks_total for one in found),
            bytes_read=sum(one.bytes_read for one in found),
            bytes_decoded=sum(one.bytes_decoded for one in found),
            peak_memory=max((one.peak_memory for one in found), default=0),
        )


def collect_sinks(
    given: Sequence[Any],
    *,
    outs: Sequence[Any] | None = None,
    engine: Any = "auto",
    optimizations: QueryOptFlags = EVERY_PASS,
    progress: Any = None,
    cancel: Any = None,
) -> list[Any]:
    """Values of tensors, and what sinks give, in the order in which they are given."""
    sinks = [one for one in given if isinstance(one, LazySink)]
    tensors = [one for one in given if not isinstance(one, LazySink)]
    arrays = None
    if outs is not None:
        pairs = zip(given, outs, strict=True)
        arrays = [out for one, out in pairs if not isinstance(one, LazySink)]
    with about(tensors, *[sink._handles for sink in sinks]):
        values = iter(
            run_sinks(
                [as_node(x) for x in tensors],
                [sink._make() for sink in sinks],
                outs=arrays,
                engine=engine,
                optimizations=optimizations,
                progress=progress,
                cancel=cancel,
            )
        )
    return [one._opened() if isinstance(one, LazySink) else next(values) for one in given]


def done(sink: LazySink, lazy: bool, engine: Any, progress: Any) -> Any:
    """The sink itself, or what it gives once it is written."""
    return sink if lazy else sink.collect(engine=engine, progress=progress)


def check_mode(mode: str) -> None:
    """``ValueError`` unless ``mode`` says what becomes of what is there."""
    from lazytensor.io.staging import check_mode as check

    check(mode)


def sink_tenso(
    x: Any,
    path: Any,
    *,
    chunks: Any = None,
    compress: bool = False,
    integrity: bool = True,
    quantize: str | Mapping[str, Any] | None = None,
    mode: Mode = "create",
    storage_options: Options = None,
    lazy: bool = False,
    engine: Any = "auto",
    progress: Any = None,
) -> Any:
    """What ``LazyTensor.sink_tenso`` does, of a tensor or a ``QuantizedTensor``.

    Of the latter packets hold the parameters that it has; with ``chunks`` each holds the part that
    it needs. Groups run over the whole tensor, and chunks would cut them: ``ValueError``.
    """
    tensor = x.data if hasattr(x, "zero_points") else x
    with about(tensor):
        check_mode(mode)
        wanted = _Wanted(path, storage_options, compress, integrity, mode)
        if tensor is not x:
            if quantize is not None:
                raise ValueError("quantize= is for tensors of numbers; this one is quantized")
            nodes = x.scales._node, x.zero_points._node, tensor._node
            make = partial(_made_of_quantized, wanted, x, nodes, tensor, chunks)
        elif chunks is not None:
            make = partial(_made_of_chunks, wanted, x, chunks, quantize)
        elif quantize is not None:
            from lazytensor.build_quantize import quantize as quantized

            made = quantized(x, **{"scheme": "per_tensor", **_quantize_options(quantize)})
            how = _Scheme(made.qtype.name, *made.layout[:3])
            nodes = made.scales, made.zero_points, made.data
            make = partial(_made_of_quantized, wanted, how, nodes, x, None)
        else:
            make = partial(_made_of_one, wanted, x)
        wrap = type(tensor)._wrap
        sink = LazySink((tensor,), make, lambda: wrap(_scan_node(path, storage_options)))
    return done(sink, lazy, engine, progress)


class _Scheme(NamedTuple):
    """How something is quantized."""

    dtype: str
    scheme: str
    axis: int
    group_size: int


class _Wanted(NamedTuple):
    """Where to write, and how."""

    path: Any
    storage_options: Options
    compress: bool
    integrity: bool
    mode: Mode

    @property
    def place(self) -> Any:
        """Where to write."""
        from lazytensor.io.staging_remote import place_of

        return place_of(self.path, self.storage_options)

    @property
    def how(self) -> dict[str, Any]:
        """How, as arguments of sinks."""
        return {"compress": self.compress, "integrity": self.integrity, "mode": self.mode}


def _scan_node(path: Any, storage_options: Options) -> Node:
    from lazytensor.build_tenso import scan_node

    return scan_node(path, storage_options=storage_options)


def _made_of_one(wanted: _Wanted, x: Any) -> Made:
    """A file with a packet."""
    from lazytensor.io.tenso.sink import PacketSink, Part

    node: Node = x._node
    part = Part(node.shape, node.dtype)
    return Made(PacketSink(wanted.place, part, **wanted.how), (node,))


def _made_of_chunks(wanted: _Wanted, x: Any, chunks: Any, quantize: Any) -> Made:
    """A folder of chunks, each quantized by itself if at all."""
    from lazytensor.io.tenso.quantizing import Quantizing
    from lazytensor.io.tenso.sink import ChunksSink

    node: Node = x._node
    how = None
    if quantize is not None:
        options = _quantize_options(quantize)
        if isinstance(options.get("axis"), str):
            options["axis"] = dim_number(node.domain, options["axis"])
        how = Quantizing(**options).checked(node.shape, node.dtype)
    sizes = _chunk_sizes(node, chunks)
    sink = ChunksSink(
        wanted.place, node.shape, node.dtype, sizes, _meaning(x), quantized=how, **wanted.how
    )
    return Made(sink, (node,))


def _made_of_quantized(
    wanted: _Wanted, how: Any, nodes: tuple[Node, Node, Node], like: Any, chunks: Any
) -> Made:
    """What is quantized already, or as a whole: scales, zero points and integers."""
    from lazytensor.io.tenso.sink import ChunksSink, Given, PacketSink, Part

    data = nodes[-1]
    given = Given.of(how, data.shape)
    if chunks is None:
        part = Part(data.shape, data.dtype, given)
        return Made(PacketSink(wanted.place, part, **wanted.how), nodes)
    sizes = _chunk_sizes(data, chunks)
    sink = ChunksSink(
        wanted.place, data.shape, data.dtype, sizes, _meaning(like), quantized=given, **wanted.how
    )
    return Made(sink, nodes)


def _meaning(tensor: Any) -> Any:
    from lazytensor.io.tenso.sink import Meaning

    node: Node = tensor._node
    return Meaning(node.axes, node.domain.inclusive_min, dict(tensor.attrs))


def _quantize_options(quantize: Any) -> dict[str, Any]:
    if isinstance(quantize, str):
        return {"dtype": quantize}
    if not isinstance(quantize, Mapping):
        raise TypeError(
            f"quantize is the name of a quantized dtype or a dict of arguments of lt.quantize, not "
            f"{type(quantize).__name__}"
        )
    known = ("dtype", "scheme", "axis", "group_size", "mode", "nan")
    unknown = sorted(set(quantize) - set(known))
    if unknown:
        raise ValueError(f"quantize: unknown key {unknown[0]!r}; keys are {', '.join(known)}")
    return {"dtype": "qint8", **quantize}


def _chunk_sizes(node: Node, chunks: Any) -> tuple[int, ...]:
    """Extents of chunks from ``chunks=``."""
    if isinstance(chunks, str):
        if chunks != "auto":
            raise ValueError(f"chunks={chunks!r}: expected 'auto', None or an extent for each dim")
        return auto_chunks(node)
    if isinstance(chunks, (int, np.integer)):
        chunks = (chunks,) * node.ndim
    whole = [max(1, n) for n in node.shape]
    sizes = per_dim(node.domain, chunks, whole, "chunks")
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ShapeError(f"chunks {tuple(sizes)} must be positive integers")
    return tuple([min(int(size), n) for size, n in zip(sizes, whole, strict=True)])


def auto_chunks(node: Node) -> tuple[int, ...]:
    """The cells of what is read, made of 1 to 16 MiB."""
    cells = zip(node.grid, node.shape, strict=True)
    sizes = [max(1, n if c is None else min(n, c.nominal)) for c, n in cells]
    item = node.dtype.itemsize

    def nbytes() -> int:
        total = item
        for size in sizes:
            total *= size
        return total

    while nbytes() > _MOST_CHUNK and max(sizes) > 1:
        d = sizes.index(max(sizes))
        sizes[d] = -(-sizes[d] // 2)
    for d in reversed(range(len(sizes))):
        while sizes[d] < node.shape[d] and nbytes() * 2 <= _LEAST_CHUNK:
            sizes[d] = min(node.shape[d], 2 * sizes[d])
    return tuple(sizes)
