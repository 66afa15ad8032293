"""What of a transform belongs together: the parts that a gather is the product of.

Input dims that feed the same dim of what is read, or dims of that fed by the same input dim, belong
together (a joint gather, a diagonal); those that do not are looked up independently of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lazytensor.exec.kernels.gather_cells import Along
from lazytensor.plan.grid import DimGrid
from lazytensor.plan.index import IndexTransform, OutputIndexMethod

__all__ = ["Part", "Space", "innermost_last", "parts_of", "places_of"]


class Space(NamedTuple):
    """What is read: per dim its extent, its first coordinate, and how it is cut (None: not)."""

    shape: Sequence[int]
    lows: Sequence[int]
    grid: Sequence[DimGrid | None]


class Part(NamedTuple):
    """Input dims that belong together, and the positions wanted along each dim they feed."""

    dims: tuple[int, ...]
    along: dict[int, Along]


def parts_of(space: Space, transform: IndexTransform) -> tuple[list[Part], dict[int, int]]:
    """The parts of a transform, and the dims of the space held at one coordinate."""
    fed: dict[int, frozenset[int]] = {}
    fixed: dict[int, int] = {}
    for d, m in enumerate(transform.output):
        if m.method == OutputIndexMethod.constant:
            fixed[d] = m.offset
        elif m.method == OutputIndexMethod.single_input_dimension:
            fed[d] = frozenset([m.input_dimension])
        else:
            varying = [i for i, n in enumerate(m.index_array.shape) if n > 1]
            if varying:
                fed[d] = frozenset(varying)
            else:
                fixed[d] = m.offset + m.stride * int(m.index_array.reshape(-1)[0])
    components: list[tuple[set[int], list[int]]] = []
    for d, inputs in fed.items():
        joined: tuple[set[int], list[int]] = (set(inputs), [d])
        rest = []
        for component in components:
            if component[0] & inputs:
                joined = (joined[0] | component[0], component[1] + joined[1])
            else:
                rest.append(component)
        components = [*rest, joined]
    return [_part(space, transform, tuple(sorted(i)), sorted(ds)) for i, ds in components], fixed


def _part(
    space: Space, transform: IndexTransform, dims: tuple[int, ...], fed: Sequence[int]
) -> Part:
    shape = tuple(transform.domain.shape[i] for i in dims)
    along = {}
    for d in fed:
        m = transform.output[d]
        shift = m.offset - space.lows[d]
        if m.method == OutputIndexMethod.single_input_dimension:
            i = m.input_dimension
            values = np.arange(transform.domain.shape[i], dtype=np.int64)
            values = values.reshape([-1 if j == i else 1 for j in dims])
            shift += m.stride * transform.domain.inclusive_min[i]
        else:
            squeezed = tuple(j for j in range(m.index_array.ndim) if j not in dims)
            values = m.index_array.squeeze(squeezed)
        flat = np.ascontiguousarray(np.broadcast_to(values, shape).reshape(-1), np.int64)
        along[d] = Along(flat, m.stride, shift, space.grid[d], space.shape[d])
    return Part(dims, along)


def places_of(part: Part, out: np.ndarray) -> np.ndarray | int:
    """Byte offsets of a part's elements in the result, or from one to the next."""
    shape = [out.shape[d] for d in part.dims]
    strides = [out.strides[d] for d in part.dims]
    if all(s == n * t for s, n, t in zip(strides[:-1], shape[1:], strides[1:], strict=True)):
        return strides[-1]
    places = np.zeros(shape, np.int64)
    for along in np.ix_(*[np.arange(n) * step for n, step in zip(shape, strides, strict=True)]):
        places += along
    return places.reshape(-1)


def innermost_last(parts: Sequence[Part], out: np.ndarray) -> list[Part]:
    """Parts in the order in which they are walked along: last where elements lie closest."""
    return sorted(parts, key=lambda part: -min(abs(out.strides[d]) for d in part.dims))
