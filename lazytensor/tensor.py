"""``LazyTensor``: a handle on one plan node.

A tensor holds a node and the line it was built on, nothing else. Its properties are read from the
node and cost nothing; its methods build another node and wrap it. What the methods share with the
free functions (``lt.downsample`` and the like) is in the ``build_*`` modules, which know nodes but
no tensors: so neither side has to import the other. Conversions that other libraries call by
themselves are in ``protocols``, computing and explaining in ``running``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, Self, TypeVar

import numpy as np

from lazytensor import build_views, indexing, world
from lazytensor.arranging_methods import ArrangingMethods
from lazytensor.axis_methods import AxisMethods
from lazytensor.callsite import Site, about, call_site, name_operands
from lazytensor.display import describe, describe_html
from lazytensor.errors import LazyTensorError, ShapeError
from lazytensor.indexers import BlockIndexer, CoordIndexer
from lazytensor.per_dim import dim_number
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.index_dims import Subscript
from lazytensor.plan.node import Node
from lazytensor.plan.nodes import Cache, Field, Rechunk, Scan, View
from lazytensor.plan.nodes_block import Inspect
from lazytensor.plan.source import Source, Storage
from lazytensor.plan.spec import Axis, Schema
from lazytensor.running import Running
from lazytensor.sink_methods import SinkMethods

__all__ = ["LazyTensor"]

_T = TypeVar("_T")


class LazyTensor(ArrangingMethods, AxisMethods, SinkMethods, Running):
    """An array that is a plan: everything about it is known, nothing has been read.

    Made by ``lt.asarray``, ``lt.scan`` and their kin, never by calling the class. Immutable and
    thread-safe. Indexing, operators and functions give further tensors; ``collect()`` gives values.

    >>> x = lt.asarray(np.arange(12).reshape(3, 4), dims=("y", "x"))
    >>> x
    LazyTensor(y: 3, x: 4)  int64  96 B  chunks (3, 4)
    >>> (x[1:] + 1).collect()
    array([[ 5,  6,  7,  8],
           [ 9, 10, 11, 12]])
    """

    __slots__ = ("__weakref__", "_node", "_site")

    _node: Node
    _site: Site | None

    def __init__(self) -> None:
        raise TypeError("tensors are made by functions: lt.asarray, lt.scan, lt.zeros, ...")

    @classmethod
    def _wrap(cls, node: Node) -> Self:
        """The handle on a node, which remembers who asked for it."""
        self = object.__new__(cls)
        _write_node(self, node)
        _write_site(self, call_site())
        return self

    @classmethod
    def _from_source(cls, source: Source) -> Self:
        return cls._wrap(Scan(source))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"tensors are immutable; {name!r} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"tensors are immutable; {name!r} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyTensor._wrap, (self._node,)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return describe(self._node)

    def _repr_html_(self) -> str:
        return describe_html(self._node)

    # What is known before anything is read.

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent per dim."""
        return self._node.shape

    @property
    def ndim(self) -> int:
        """Number of dims, at most 64."""
        return len(self._node.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._node.size

    @property
    def dtype(self) -> np.dtype:
        """Data type, a NumPy dtype object."""
        return self._node.dtype

    @property
    def nbytes(self) -> int:
        """Size of the values in memory, in bytes."""
        return self._node.nbytes

    @property
    def dims(self) -> tuple[str, ...]:
        """Dim names, ``""`` where unnamed."""
        return self._node.domain.labels

    @property
    def domain(self) -> IndexDomain:
        """Coordinates per dim: ``[inclusive_min, exclusive_max)``, and the dim names."""
        return self._node.domain

    @property
    def origin(self) -> tuple[int, ...]:
        """Coordinate of the first element per dim."""
        return self._node.domain.inclusive_min

    @property
    def axes(self) -> tuple[Axis, ...]:
        """World meaning per dim: name, kind, unit, scale, offset of position 0, labels."""
        return self._node.axes

    @property
    def chunks(self) -> tuple[int | None, ...]:
        """Nominal extent of a read cell per dim, None where an operation destroyed the grid."""
        return tuple(None if cells is None else cells.nominal for cells in self._node.grid)

    @property
    def device(self) -> str:
        """``"cpu"``."""
        return "cpu"

    @property
    def schema(self) -> Schema:
        """Shape, dtype, dims, domain, axes and chunks in one record."""
        node = self._node
        return Schema(node.shape, node.dtype, self.dims, node.domain, node.axes, self.chunks)

    @property
    def storage(self) -> Storage | None:
        """How the one stored array below a chain of views is stored, else None."""
        source = self._stored()
        return None if source is None else source.storage

    @property
    def attrs(self) -> Mapping[str, Any]:
        """User attributes of the one stored array below a chain of views, else ``{}``."""
        source = self._stored()
        return {} if source is None else source.attrs

    @property
    def levels(self) -> tuple[Self, ...]:
        """The pyramid a scanned tensor belongs to, finest first, else ``()``."""
        return tuple(self._wrap(level) for level in build_views.levels_of(self._node))

    def _stored(self) -> Source | None:
        node = self._node
        while isinstance(node, (View, Rechunk, Cache)):
            node = node.x
        return node.source if isinstance(node, Scan) else None

    def chunk_edges(self, dim: int | str) -> tuple[int, ...]:
        """Positions at which read cells of a dim start, and its extent at the end; exact.

        ``dim``: number or name. A dim without a grid is one cell. Raises ``DimensionError`` for a
        dim that does not exist.

        >>> lt.asarray(np.arange(10), chunks=(4,))[1:].chunk_edges(0)
        (0, 3, 7, 9)
        """
        with about(self):
            d = dim_number(self._node.domain, dim)
        cells, extent = self._node.grid[d], self._node.shape[d]
        return (0, extent) if cells is None else tuple(cells.edges_between(0, extent))

    def to_device(self, device: str, /, *, stream: Any = None) -> Self:
        """The tensor itself for ``"cpu"``, ``ValueError`` for other devices.

        Array API standard 2025.12, array object. Results are put on other devices by ``collect``.
        """
        if device != "cpu" or stream is not None:
            raise ValueError(
                f"a tensor is on 'cpu', not {device!r}; say collect(to=..., device=...) instead"
            )
        return self

    # Indexing. Positions by NumPy's rules, coordinates by TensorStore's.

    def __getitem__(self, key: Any) -> Self:
        try:
            return self._wrap(indexing.getitem(self._node, key))
        except LazyTensorError as error:
            name_operands(error, self)
            raise

    def _at_positions(self, key: Any, mode: str = "") -> Self:
        with about(self):
            return self._wrap(indexing.at_positions(self._node, key, mode))

    def _at_coordinates(self, key: Any, mode: str = "") -> Self:
        with about(self):
            return self._wrap(indexing.at_coordinates(self._node, key, mode))

    @property
    def oindex(self) -> Subscript[Self]:
        """Outer indexing by positions: every array selects along its own dim.

        >>> lt.asarray(np.arange(6).reshape(2, 3)).oindex[[0, 1], [0, 2]].collect()
        array([[0, 2],
               [3, 5]])
        """
        return Subscript(lambda key: self._at_positions(key, "oindex"), "x.oindex")

    @property
    def vindex(self) -> Subscript[Self]:
        """Pointwise indexing by positions: arrays and masks broadcast, their dims come first.

        >>> lt.asarray(np.arange(6).reshape(2, 3)).vindex[[0, 1], [0, 2]].collect()
        array([0, 5])
        """
        return Subscript(lambda key: self._at_positions(key, "vindex"), "x.vindex")

    @property
    def coord(self) -> CoordIndexer[Self]:
        """Indexing by coordinates: ``x.coord[...]``, ``x.coord.oindex``, ``x.coord.vindex``.

        >>> lt.asarray(np.arange(10))[2:8].coord[4:6].collect()
        array([4, 5])
        """
        return CoordIndexer(self._at_coordinates)

    @property
    def blocks(self) -> BlockIndexer[Self]:
        """Indexing in read cells: ``x.blocks[i, j]`` is cell ``(i, j)`` of ``x.chunks``."""
        return BlockIndexer(self._node.grid, self._node.shape, self._at_positions, about(self))

    def isel(self, keys: Mapping[Any, Any] | None = None, /, **by_dim: Any) -> Self:
        """Outer selection by position, by dim name; dims not named stay whole.

        Values are ints (the dim is dropped), slices, integer arrays or boolean masks. Raises
        ``DimensionError`` for unknown dims, ``OutOfBoundsError`` for positions outside.

        >>> x = lt.asarray(np.arange(6).reshape(2, 3), dims=("y", "x"))
        >>> x.isel(y=1, x=[0, 2]).collect()
        array([3, 5])
        """
        with about(self):
            return self._wrap(indexing.isel_node(self._node, {**(keys or {}), **by_dim}))

    def sel(self, keys: Mapping[Any, Any] | None = None, /, **by_dim: Any) -> Self:
        """Outer selection by world position or label, by dim name.

        The world position of position p is ``offset + scale * p``, in the unit of the axis. A
        number picks the nearest position (the lower of two) and drops the dim; ``slice(a, b)``
        keeps ``a <= world < b``; a string picks the position of that label; a list picks several.
        Raises ``OutOfBoundsError`` more than half a step outside, ``DimensionError`` for labels
        that do not exist and for axes without scale or labels.

        >>> axis = lt.Axis(scale=0.5, offset=10.0)
        >>> axis.world(3)
        11.5
        """
        with about(self):
            return self._wrap(world.select_world(self._node, {**(keys or {}), **by_dim}))

    def at_scale(self, tolerance: float = 0.01, **size_by_dim: float) -> Self:
        """The level of the pyramid with the voxel size nearest to the one asked for.

        ``size_by_dim``: wanted scale per dim, in the units of the axes. ``tolerance``: greatest
        relative difference. Raises ``DimensionError`` listing the levels where none is near.
        """
        with about(self):
            levels = build_views.levels_of(self._node)
            return self._wrap(levels[world.nearest_level(levels, size_by_dim, tolerance)])

    def _transformed(self, method: str) -> Subscript[Self]:
        return Subscript(lambda argument: self._transform(method, argument), f"x.{method}")

    def _transform(self, method: str, argument: Any) -> Self:
        with about(self):
            transform = IndexTransform.identity(self._node.domain)
            return self._wrap(
                indexing.finite_view(self._node, getattr(transform, method)[argument])
            )

    @property
    def translate_to(self) -> Subscript[Self]:
        """``x.translate_to[a, b]``: the same positions, the first element at ``(a, b)``.

        >>> lt.zeros(3).translate_to[5].domain
        { [5, 8) }
        """
        return self._transformed("translate_to")

    @property
    def translate_by(self) -> Subscript[Self]:
        """``x.translate_by[a, b]``: the same positions, coordinates shifted by ``(a, b)``.

        >>> lt.zeros(3).translate_by[5].translate_by[-1].domain
        { [4, 7) }
        """
        return self._transformed("translate_by")

    @property
    def translate_backward_by(self) -> Subscript[Self]:
        """``x.translate_backward_by[a, b]``: coordinates shifted by ``(-a, -b)``.

        >>> lt.zeros(3).translate_backward_by[5].domain
        { [-5, -2) }
        """
        return self._transformed("translate_backward_by")

    @property
    def label(self) -> Subscript[Self]:
        """``x.label["y", "x"]``: the same tensor with named dims; ``DimensionError`` for doubles.

        >>> lt.zeros((2, 3)).label["y", "x"].dims
        ('y', 'x')
        """
        return self._transformed("label")

    # The same values, or some of them, otherwise.

    @property
    def T(self) -> Self:
        """The dims of a matrix exchanged; ``ShapeError`` unless there are two.

        Array API standard 2025.12, array object.
        """
        with about(self):
            if self.ndim != 2:
                raise ShapeError(f".T is for matrices, not for {self.ndim} dims; use permute_dims")
            return self.mT

    @property
    def mT(self) -> Self:
        """The last two dims exchanged; ``ShapeError`` where there are fewer.

        Array API standard 2025.12, array object.
        """
        with about(self):
            return self._wrap(build_views.matrix_transpose(self._node))

    def astype(self, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Self:
        """Values converted to a dtype as ``numpy.ndarray.astype`` does; also ``cast``.

        ``copy`` has no meaning for something immutable. Raises ``DTypeError`` for what is no dtype.

        >>> lt.asarray([1.7, -1.7]).astype("int8").collect()
        array([ 1, -1], dtype=int8)
        """
        if device is not None:
            self.to_device(device)
        try:
            return self._wrap(build_views.cast(self._node, dtype))
        except LazyTensorError as error:
            name_operands(error, self)
            raise

    def cast(self, dtype: Any, /) -> Self:
        """As ``astype``.

        >>> lt.asarray([1, 2]).cast(lt.float32).dtype
        dtype('float32')
        """
        return self.astype(dtype)

    def field(self, name: str, /) -> Self:
        """One field of a structured dtype; ``DTypeError`` listing the fields there are.

        >>> lt.asarray(np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")])).field("b").collect()
        array([2.5])
        """
        with about(self):
            return self._wrap(Field(self._node, name))

    def reshape(self, *shape: Any) -> Self:
        """The elements in C order under another shape; one extent may be -1.

        Raises ``ShapeError`` when the number of elements differs. Names and coordinates are lost.

        >>> lt.asarray([1, 2, 3, 4]).reshape(2, -1).collect()
        array([[1, 2],
               [3, 4]])
        """
        with about(self):
            wanted = shape[0] if len(shape) == 1 else shape
            return self._wrap(build_views.reshape(self._node, wanted))

    def downsample(
        self,
        factors: Any = None,
        /,
        *,
        method: str = "mean",
        align: str = "domain",
        approx: bool = False,
        **by_dim: int,
    ) -> Self:
        """One value for each block of elements; see ``lt.downsample``.

        Factors may also be keywords by dim name.

        >>> lt.asarray(np.arange(6), dims=("x",)).downsample(x=2).collect()
        array([0, 2, 4])
        """
        try:
            return self._wrap(
                build_views.downsample(self._node, factors, method, align, by_dim, approx)
            )
        except LazyTensorError as error:
            name_operands(error, self)
            raise

    def rechunk(self, chunks: Any = None, /, **by_dim: int) -> Self:
        """The same values in other cells, for ``map_blocks`` and whatever else works in cells.

        ``chunks``: per dim a size, -1 for the whole dim, None to keep it; one number for all dims;
        or sizes by dim name. Raises ``ShapeError`` for sizes that are not positive.

        >>> lt.zeros((10, 10)).label["y", "x"].rechunk(y=5).chunks
        (5, 10)
        """
        with about(self):
            return self._wrap(build_views.rechunk(self._node, chunks, by_dim))

    def cache(self) -> Self:
        """A hint that several parts of a plan use this: it is computed once in a collect.

        >>> lt.asarray([1, 2]).cache().collect()
        array([1, 2])
        """
        return self._wrap(Cache(self._node))

    def inspect(self, function: Callable[[IndexDomain, np.ndarray], Any], /) -> Self:
        """Calls ``function(domain, values)`` for every block when it is computed.

        It is called from several threads and must not change the values, which pass through.

        >>> x = lt.asarray([1, 2]).inspect(lambda domain, values: print(domain, values.sum()))
        >>> _ = x.collect()
        { [0, 2) } 3
        """
        return self._wrap(Inspect(self._node, function))

    def pipe(self, function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> _T:
        """``function(self, *args, **kwargs)``, for chains.

        >>> lt.asarray([1, 2]).pipe(lt.multiply, 3).collect()
        array([3, 6])
        """
        return function(self, *args, **kwargs)


# Slots can be written to whatever __setattr__ says, and faster than through object's.
_write_node = LazyTensor.__dict__["_node"].__set__
_write_site = LazyTensor.__dict__["_site"].__set__
