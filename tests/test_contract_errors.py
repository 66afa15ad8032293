"""Errors on the line that builds the node: the type, and the line where each operand was made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lazytensor as lt

X = lt.asarray(np.arange(24).reshape(2, 3, 4), dims=("c", "y", "x"), chunks=(1, 3, 2))
WORDS = lt.asarray(["a"])

WRONG: dict[str, tuple[type[lt.LazyTensorError], Callable[[], Any]]] = {
    "sum axis": (lt.DimensionError, lambda: lt.sum(X, axis=9)),
    "method axis": (lt.DimensionError, lambda: X.sum(axis="q")),
    "axis twice": (lt.DimensionError, lambda: X.sum(axis=(0, 0))),
    "two axes": (lt.DimensionError, lambda: lt.argmax(X, axis=(0, 1))),
    "np.sum axis": (lt.DimensionError, lambda: np.sum(X, axis=9)),
    "sum of text": (lt.DTypeError, lambda: WORDS.sum()),
    "sum to nothing": (lt.DTypeError, lambda: X.sum(dtype="no dtype")),
    "correction": (lt.DTypeError, lambda: lt.std(X, correction="a")),  # type: ignore[arg-type]
    "max of none": (lt.ShapeError, lambda: lt.max(X[:0])),
    "sine of text": (lt.DTypeError, lambda: lt.sin(WORDS)),
    "shapes": (lt.ShapeError, lambda: X + lt.zeros(5)),
    "names": (lt.DimensionError, lambda: X + X.label["a", "y", "x"]),
    "bits of floats": (lt.DTypeError, lambda: X.astype("f4") & 1),
    "where": (lt.ShapeError, lambda: lt.where(X > 1, X, np.zeros(7))),
    "T": (lt.ShapeError, lambda: X.T),
    "mT": (lt.ShapeError, lambda: X[0, 0].mT),
    "chunk_edges": (lt.DimensionError, lambda: X.chunk_edges("q")),
    "blocks": (lt.OutOfBoundsError, lambda: X.blocks[9]),
    "index": (lt.OutOfBoundsError, lambda: X[5]),
    "too many": (lt.OutOfBoundsError, lambda: X[0, 0, 0, 0]),
    "step": (lt.ShapeError, lambda: X[::0]),
    "mask": (lt.DataDependentShapeError, lambda: X[X > 3]),
    "coordinate": (lt.OutOfBoundsError, lambda: X.coord[-1]),
    "isel": (lt.DimensionError, lambda: X.isel(q=1)),
    "sel": (lt.DimensionError, lambda: X.sel(y=1)),
    "at_scale": (lt.DimensionError, lambda: X.at_scale(y=1)),
    "label": (lt.DimensionError, lambda: X.label["a", "a", "b"]),
    "translate": (lt.ShapeError, lambda: X.translate_to[1, 2]),
    "factors": (lt.ShapeError, lambda: X.downsample((2, 2))),
    "zero factor": (lt.ShapeError, lambda: X.downsample(y=0)),
    "method": (lt.ShapeError, lambda: X.downsample((1, 2, 2), method="no method")),
    "cast": (lt.DTypeError, lambda: X.astype("no dtype")),
    "objects": (lt.DTypeError, lambda: X.astype(object)),
    "field": (lt.DTypeError, lambda: X.field("q")),
    "reshape": (lt.ShapeError, lambda: X.reshape(5, 5)),
    "rechunk": (lt.ShapeError, lambda: X.rechunk(0)),
    "stack": (lt.ShapeError, lambda: lt.stack([X, X[1:]])),
    "concat": (lt.ShapeError, lambda: lt.concat([X, X[:, 1:]])),
    "overlay": (lt.DTypeError, lambda: lt.overlay([X, X.astype("f4")])),
    "fill": (lt.DTypeError, lambda: lt.overlay([X], fill_value="a")),
    "fill range": (lt.DTypeError, lambda: lt.overlay([X.astype("u1")], fill_value=-1)),
    "pad": (lt.ShapeError, lambda: lt.pad(X, -1)),
    "squeeze": (lt.ShapeError, lambda: lt.squeeze(X, 0)),
    "permute": (lt.DimensionError, lambda: lt.permute_dims(X, (0, 0, 1))),
    "broadcast": (lt.ShapeError, lambda: lt.broadcast_to(X, (5, 3, 4))),
    "halo": (lt.ShapeError, lambda: lt.map_blocks(np.negative, X, halo=-1)),
}


@pytest.mark.parametrize(("kind", "build"), WRONG.values(), ids=WRONG.keys())
def test_an_error_names_the_lines_of_its_operands(
    kind: type[lt.LazyTensorError], build: Callable[[], Any]
) -> None:
    with lt.testing.raise_if_collects(), pytest.raises(kind) as caught:
        build()
    assert f"built at {__file__}:" in str(caught.value)


PLAIN: dict[str, tuple[type[Exception], Callable[[], Any], str]] = {
    "no function": (TypeError, lambda: lt.map_blocks(3, X), "function"),  # type: ignore[arg-type]
    "no operand": (lt.DTypeError, lambda: lt.asarray(object()), "cannot make a tensor"),
    "dims alike": (lt.DimensionError, lambda: lt.asarray(np.eye(2), dims=("a", "a")), "alike"),
    "scan None": (TypeError, lambda: lt.scan(None), "None"),
    "scan_zarr None": (TypeError, lambda: lt.scan_zarr(None), "not a store"),
    "no document": (
        lt.SourceNotFoundError, lambda: lt.LazyTensor.deserialize("no/such.json"), "no/such"
    ),
    "text in a store": (TypeError, lambda: lt.scan_zarr({"zarr.json": "{}"}), "keys to bytes"),
    "mapping of tensors": (TypeError, lambda: lt.collect_all({"a": X}), "not dict"),
    "decimals": (TypeError, lambda: X.round("a"), "integer"),  # type: ignore[arg-type]
    "engine": (ValueError, lambda: X.collect(engine="gpu"), "not available in this version"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "call", "text"), PLAIN.values(), ids=PLAIN.keys())
def test_other_wrong_arguments(kind: type[Exception], call: Callable[[], Any], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


def test_every_error_is_a_builtin_too() -> None:
    builtin = {
        "ShapeError": ValueError, "DTypeError": TypeError, "OutOfBoundsError": IndexError,
        "DimensionError": ValueError, "DataDependentShapeError": NotImplementedError,
        "HoleError": ValueError, "MemoryLimitError": MemoryError, "SourceError": OSError,
        "SourceNotFoundError": FileNotFoundError, "SourceChangedError": lt.SourceError,
        "FormatError": ValueError, "ChunkDecodeError": lt.FormatError,
        "ChecksumError": lt.FormatError, "SerializationError": ValueError,
    }  # fmt: skip
    for name, base in builtin.items():
        assert issubclass(getattr(lt, name), (base,)), name
        assert issubclass(getattr(lt, name), lt.LazyTensorError), name
    assert issubclass(lt.FormatError, lt.SourceError)


RUNS: dict[str, tuple[type[lt.LazyTensorError], Callable[[], Any]]] = {
    "hole": (lt.HoleError, lambda: lt.overlay([X[:, :1], X[:, 2:]]).collect()),
    "of several": (lt.HoleError, lambda: lt.collect_all([lt.overlay([X[:, :1], X[:, 2:]]), X])),
    "in background": (
        lt.HoleError,
        lambda: lt.overlay([X[:, :1], X[:, 2:]]).collect(background=True).result(30),
    ),
    "out shape": (lt.ShapeError, lambda: X.collect(out=np.empty(3))),
    "out dtype": (lt.DTypeError, lambda: lt.collect_all([X], out=[np.empty(X.shape, "f4")])),
    "memory": (
        lt.MemoryLimitError,
        lambda: lt.flip(lt.sort(X)).collect(engine=lt.LocalEngine(max_memory=1), progress=False),
    ),
    "reader": (lt.SourceError, lambda: lt.virtual_chunked(fail, shape=(4,), dtype="u1").collect()),
}  # fmt: skip


def fail(domain: lt.IndexDomain, out: np.ndarray) -> None:
    raise KeyError("no such plate")


@pytest.mark.parametrize(("kind", "run"), RUNS.values(), ids=RUNS.keys())
def test_errors_while_running_name_the_tensor_too(
    kind: type[lt.LazyTensorError], run: Callable[[], Any]
) -> None:
    with pytest.raises(kind) as caught:
        run()
    assert str(caught.value).count(f"built at {__file__}:") >= 1
