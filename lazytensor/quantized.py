"""``QuantizedTensor``: a tensor of few bits an element, and the parameters that give it meaning.

Three lazy tensors that belong together. Each is an ordinary one; what makes them one thing is the
scheme, which says which scale and zero point an element has.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn, Self

import numpy as np

from lazytensor import build_quantize, build_views
from lazytensor.build_quantize import Quantized
from lazytensor.callsite import about
from lazytensor.collecting import EVERY_PASS, run
from lazytensor.config import QueryOptFlags
from lazytensor.errors import ShapeError
from lazytensor.plan.cost import format_bytes
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import View
from lazytensor.plan.output_map import CONSTANT, SINGLE, OutputIndexMap, single_map
from lazytensor.plan.quantization import Layout, QuantizedArray, describe_scheme, qtype_of
from lazytensor.plan.rules.moves import input_dims, renumbered
from lazytensor.plan.selection import positional
from lazytensor.tensor import LazyTensor

__all__ = ["QuantizedTensor"]


class QuantizedTensor:
    """A lazy quantized tensor: ``(data - zero_points) * scales`` is what it stands for.

    Made by ``lt.quantize``. ``data``: int8 or uint8, one value an element; ``scales`` and
    ``zero_points``: float32, one dim: one of each for the tensor, for each position of ``axis``, or
    for each group of ``group_size`` elements in C order. ``dtype``: ``"qint8"``, ``"quint8"``,
    ``"qint4"`` or ``"quint4"``. Immutable; nothing is computed before ``collect``.

    >>> q = lt.quantize(np.float32([[0, 51], [102, 255]]), "quint8")
    >>> q
    QuantizedTensor(2, 2)  quint8  4 B  per_tensor
    >>> q.collect().data
    array([[  0,  51],
           [102, 255]], dtype=uint8)
    >>> q[1].dequantize().collect()
    array([102., 255.], dtype=float32)
    """

    __slots__ = ("_made", "data", "scales", "zero_points")

    data: LazyTensor
    scales: LazyTensor
    zero_points: LazyTensor
    _made: Quantized

    def __init__(self) -> None:
        raise TypeError("quantized tensors are made by lt.quantize")

    @classmethod
    def _wrap(cls, made: Quantized) -> Self:
        self = object.__new__(cls)
        put = object.__setattr__
        put(self, "_made", made)
        for name in ("data", "scales", "zero_points"):
            put(self, name, LazyTensor._wrap(getattr(made, name)))
        return self

    @classmethod
    def _rebuilt(
        cls, nodes: tuple[Node, Node, Node], dtype: str, scheme: str, axis: int, group_size: int
    ) -> Self:
        data, scales, zero_points = nodes
        layout = Layout(scheme, axis, group_size, scales.size)
        return cls._wrap(Quantized(data, scales, zero_points, qtype_of(dtype), layout))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"quantized tensors are immutable; {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"quantized tensors are immutable; {name!r} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        layout = self._made.layout
        return QuantizedTensor._rebuilt, (self._nodes, self.dtype, *layout[:3])

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        data = self.data
        shape = ", ".join(
            f"{name}: {n}" if name else str(n)
            for name, n in zip(data.domain.labels, data.shape, strict=True)
        )
        size = format_bytes(self.nbytes)
        return f"QuantizedTensor({shape})  {self.dtype}  {size}  {describe_scheme(self)}"

    @property
    def _nodes(self) -> tuple[Node, Node, Node]:
        made = self._made
        return made.data, made.scales, made.zero_points

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per dim."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return self.data.ndim

    @property
    def dtype(self) -> str:
        """Name of the quantized dtype."""
        return self._made.qtype.name

    @property
    def bits(self) -> int:
        """Bits of an element: 8 or 4."""
        return self._made.qtype.bits

    @property
    def signed(self) -> bool:
        """Whether there are values below 0."""
        return self._made.qtype.signed

    @property
    def scheme(self) -> str:
        """``"per_tensor"``, ``"per_channel"`` or ``"per_group"``."""
        return self._made.layout.scheme

    @property
    def axis(self) -> int:
        """The axis of channels, not negative; 0 for other schemes."""
        return self._made.layout.axis

    @property
    def group_size(self) -> int:
        """Elements of a group; 0 for other schemes."""
        return self._made.layout.group_size

    @property
    def nbytes(self) -> int:
        """Bytes of the values as they are stored: two of 4 bits in each, parameters not counted."""
        return -(-math.prod(self.shape) * self.bits // 8)

    def dequantize(self, dtype: Any = np.float32) -> LazyTensor:
        """The values that are stood for, in float32 and then cast to ``dtype``; lazy.

        >>> lt.quantize(np.float32([0, 3, 6]), "quint4").dequantize().collect()
        array([0. , 3.2, 6. ], dtype=float32)
        """
        layout = self._made.layout
        node = build_quantize.dequantize(
            self.data,
            self.scales,
            self.zero_points,
            scheme=layout.scheme,
            axis=layout.axis,
            group_size=layout.group_size,
            dtype=dtype,
        )
        return LazyTensor._wrap(node)

    def __getitem__(self, key: Any) -> Self:
        """Elements by position, as of a ``LazyTensor``, with the parameters they had.

        Of channels, those that are picked; where an integer picks one, the rest is ``per_tensor``.
        Raises ``ShapeError`` for groups, which are runs of the whole tensor (slice ``data``, or
        what ``dequantize`` gives), and where an index array spreads channels over several dims;
        ``OutOfBoundsError`` as indexing does.

        >>> q = lt.quantize(np.float32([[0, 15], [0, 30]]), "quint4", "per_channel")
        >>> q[1].scheme, q[1].scales.collect(), q[:, :1].scales.collect()
        ('per_tensor', array([2.], dtype=float32), array([1., 2.], dtype=float32))
        """
        made, layout = self._made, self._made.layout
        if layout.scheme == "per_group":
            raise ShapeError(
                "groups are runs of the whole tensor in C order, a part has none of its own: slice "
                "q.dequantize(), or q.data"
            )
        with about(self.data):
            transform = positional(made.data.domain, key)
        data = build_views.view(made.data, transform)
        if layout.scheme == "per_tensor":
            return self._wrap(made._replace(data=data))
        m, base = transform.maps[layout.axis], made.data.domain.inclusive_min[layout.axis]
        dims = () if m.kind == CONSTANT else input_dims(m)
        if len(dims) > 1:
            raise ShapeError(
                f"the index spreads channels over dims {dims} of the result; index them one by one"
            )
        kept = dims[0] if dims else None
        n = 1 if kept is None else data.shape[kept]
        scales, zero_points = (_channels(x, transform, m, base, kept) for x in made[1:3])
        one = Layout("per_tensor", 0, 0, 1)
        picked = one if kept is None else Layout("per_channel", kept, 0, n)
        return self._wrap(Quantized(data, scales, zero_points, made.qtype, picked))

    def collect(
        self,
        *,
        engine: Any = "auto",
        optimizations: QueryOptFlags = EVERY_PASS,
        progress: Any = None,
    ) -> QuantizedArray:
        """Values and parameters in memory, computed together; keywords as of a ``LazyTensor``.

        >>> lt.quantize(np.float32([1, 1, 1])).collect()
        QuantizedArray(3)  qint8  3 B  per_tensor
        """
        with about(self.data):
            found = run(self._nodes, engine=engine, optimizations=optimizations, progress=progress)
        data, scales, zero_points = found
        return QuantizedArray(data, scales, zero_points, self.dtype, *self._made.layout[:3])

    def sink_tenso(self, path: Any, **options: Any) -> Any:
        """Write it as a quantized tenso packet; see ``lt.sink_tenso``."""
        from lazytensor.sinking import sink_tenso

        return sink_tenso(self, path, **options)


def _channels(
    flat: Node, transform: IndexTransform, m: OutputIndexMap, base: int, kept: int | None
) -> Node:
    """The parameters of the channels that a map picks, from 0."""
    if kept is None:
        position = m.offset
        if m.kind not in (CONSTANT, SINGLE) and m.array is not None:
            position += m.stride * int(m.array.values.ravel()[0])
        return build_views.sliced(flat, 0, position - base, position - base + 1)
    lo, hi = transform.domain.inclusive_min[kept], transform.domain.exclusive_max[kept]
    domain = IndexDomain._make((0,), (hi - lo,))
    if m.kind == SINGLE:
        return View(
            flat,
            IndexTransform._make(
                domain, (single_map(0, m.offset + m.stride * lo - base, m.stride),)
            ),
        )
    places = [-1] * transform.domain.rank
    places[kept] = 0
    moved = renumbered(m, places, 1)
    return View(flat, IndexTransform._make(domain, (moved._replace(offset=m.offset - base),)))
