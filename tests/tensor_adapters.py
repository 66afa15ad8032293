"""The notation of the vectors, as operations on tensors: ours, and the peer's.

Adapters for `tests.vector_eval.evaluate`; the same methods serve tests that draw chains of
operations of their own and apply each to both.
"""

from __future__ import annotations

from typing import Any

import lazytensor as lt
from tests.sources import ChunkedArray
from tests.vector_eval import decode_array

__all__ = ["Peer", "Tensors"]


class Tensors:
    """The operations of the notation, on tensors."""

    def array(
        self,
        dtype: str,
        data: Any,
        shape: list[int] | None = None,
        origin: list[int] | None = None,
        labels: list[str] | None = None,
        chunks: list[int] | None = None,
    ) -> lt.LazyTensor:
        """A source: stored in chunks where the vector says so, else in memory."""
        values = decode_array(dtype, data, shape)
        if chunks is not None:
            source = ChunkedArray(values, chunks, dims=labels, origin=origin)
            return lt.scan_source(source)
        x = lt.asarray(values, dims=labels)
        return x if origin is None else x.translate_to[tuple(origin)]

    def index(self, base: lt.LazyTensor, mode: str, key: tuple[Any, ...]) -> lt.LazyTensor:
        """Index by a key in coordinates."""
        return _indexed(base.coord, mode, key)

    def dindex(
        self, base: lt.LazyTensor, mode: str, dims: list[Any], key: tuple[Any, ...]
    ) -> lt.LazyTensor:
        """Index some dims."""
        return base[_indexed(lt.d[dims], mode, key)]

    def translate_to(self, base: lt.LazyTensor, dims: list[Any], value: Any) -> lt.LazyTensor:
        """Move to an origin."""
        return base[lt.d[dims].translate_to[value]]

    def translate_by(self, base: lt.LazyTensor, dims: list[Any], value: Any) -> lt.LazyTensor:
        """Move by an offset."""
        return base[lt.d[dims].translate_by[value]]

    def translate_backward_by(
        self, base: lt.LazyTensor, dims: list[Any], value: Any
    ) -> lt.LazyTensor:
        """Move back by an offset."""
        return base[lt.d[dims].translate_backward_by[value]]

    def stride(self, base: lt.LazyTensor, dims: list[Any], value: Any) -> lt.LazyTensor:
        """Keep multiples."""
        return base[lt.d[dims].stride[value]]

    def transpose(self, base: lt.LazyTensor, perm: list[int]) -> lt.LazyTensor:
        """Permute dims."""
        return lt.permute_dims(base, tuple(perm))

    def diagonal(self, base: lt.LazyTensor, dims: list[Any]) -> lt.LazyTensor:
        """Merge dims."""
        return base[lt.d[dims].diagonal]

    def label(self, base: lt.LazyTensor, labels: list[str]) -> lt.LazyTensor:
        """Name dims."""
        return base.label[tuple(labels)]

    def downsample(self, base: lt.LazyTensor, factors: list[int], method: Any) -> lt.LazyTensor:
        """One value a block."""
        return lt.downsample(base, factors, method)

    def cast(self, base: lt.LazyTensor, dtype: str) -> lt.LazyTensor:
        """Convert the values."""
        return lt.cast(base, dtype)

    def stack(self, layers: list[lt.LazyTensor], axis: int) -> lt.LazyTensor:
        """Side by side along a new dim."""
        return lt.stack(layers, axis=axis, align="domain")

    def concat(self, layers: list[lt.LazyTensor], axis: int) -> lt.LazyTensor:
        """One after the other."""
        return lt.concat(layers, axis=axis, align="domain")

    def overlay(self, layers: list[lt.LazyTensor]) -> lt.LazyTensor:
        """One over the other."""
        return lt.overlay(layers)


class Peer:
    """The operations of the notation, on the peer's tensors (the module ``tensorstore``)."""

    def __init__(self, module: Any) -> None:
        self._ts = module

    def array(
        self,
        dtype: str,
        data: Any,
        shape: list[int] | None = None,
        origin: list[int] | None = None,
        labels: list[str] | None = None,
        chunks: list[int] | None = None,
    ) -> Any:
        """A source in memory."""
        x = self._ts.array(decode_array(dtype, data, shape))
        if not x.rank:
            return x
        every = self._ts.d[tuple(range(x.rank))]
        x = x if origin is None else x[every.translate_to[tuple(origin)]]
        return x if labels is None else x[every.label[tuple(labels)]]

    def index(self, base: Any, mode: str, key: tuple[Any, ...]) -> Any:
        """Index by a key in coordinates."""
        return _indexed(base, mode, key)

    def dindex(self, base: Any, mode: str, dims: list[Any], key: tuple[Any, ...]) -> Any:
        """Index some dims."""
        return base[_indexed(self._ts.d[dims], mode, key)]

    def translate_to(self, base: Any, dims: list[Any], value: Any) -> Any:
        """Move to an origin."""
        return base[self._ts.d[dims].translate_to[value]]

    def translate_by(self, base: Any, dims: list[Any], value: Any) -> Any:
        """Move by an offset."""
        return base[self._ts.d[dims].translate_by[value]]

    def translate_backward_by(self, base: Any, dims: list[Any], value: Any) -> Any:
        """Move back by an offset."""
        return base[self._ts.d[dims].translate_backward_by[value]]

    def stride(self, base: Any, dims: list[Any], value: Any) -> Any:
        """Keep multiples."""
        return base[self._ts.d[dims].stride[value]]

    def transpose(self, base: Any, perm: list[int]) -> Any:
        """Permute dims."""
        return base.transpose(perm)

    def diagonal(self, base: Any, dims: list[Any]) -> Any:
        """Merge dims."""
        return base[self._ts.d[dims].diagonal]

    def label(self, base: Any, labels: list[str]) -> Any:
        """Name dims."""
        return base.label[tuple(labels)]

    def downsample(self, base: Any, factors: list[int], method: str) -> Any:
        """One value a block."""
        return self._ts.downsample(base, factors, method)

    def cast(self, base: Any, dtype: str) -> Any:
        """Convert the values."""
        return self._ts.cast(base, self._ts.dtype(dtype))

    def stack(self, layers: list[Any], axis: int) -> Any:
        """Side by side along a new dim."""
        return self._ts.stack(layers, axis)

    def concat(self, layers: list[Any], axis: int) -> Any:
        """One after the other."""
        return self._ts.concat(layers, axis)

    def overlay(self, layers: list[Any]) -> Any:
        """One over the other."""
        return self._ts.overlay(layers)


def _indexed(base: Any, mode: str, key: tuple[Any, ...]) -> Any:
    return base[key] if mode == "default" else getattr(base, mode)[key]
