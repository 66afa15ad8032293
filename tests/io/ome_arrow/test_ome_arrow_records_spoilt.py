"""Spoilt records and columns of any type: format errors, or images that are what they say."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from lazytensor.errors import FormatError
from lazytensor.io.ome_arrow.fields import choose, image_columns
from lazytensor.io.ome_arrow.memory import MemoryContainer
from lazytensor.io.ome_arrow.model import NoImageError
from lazytensor.io.ome_arrow.records import Records
from tests.io.ome_arrow.ome_arrow_files import BYTES, LISTS, Record, image, record, table


def records_of(made: pa.Table) -> Records:
    container = MemoryContainer(made)
    return Records(container, choose(container.schema, None, container.label))


def wide(kind: pa.DataType) -> pa.DataType:
    """With integers that hold anything."""
    if pa.types.is_struct(kind):
        return pa.struct({f.name: wide(f.type) for f in kind})
    if pa.types.is_list(kind):
        return pa.list_(wide(kind.value_type))
    return pa.int64() if pa.types.is_integer(kind) else kind


JUNK: list[Any] = [None, 0, -1, 1, 7, 255, 1 << 31, (1 << 63) - 1, -(1 << 63)]
WORDS = [None, "", "ome.arrow", "uint16", "float", "O", ">u8", "zstd", "\0", "µ" * 50, "nan", "ZYX"]


def spots(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a record."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        yield node, key
        if isinstance(value, (dict, list)):
            yield from spots(value)


def spoil(rng: random.Random, made: Record) -> None:
    node, key = rng.choice(list(spots(made)))
    value = node[key]
    if isinstance(value, bool) or value is None or rng.random() < 0.15:
        node[key] = None
    elif isinstance(value, int):
        node[key] = rng.choice(JUNK)
    elif isinstance(value, float):
        node[key] = rng.choice([0.0, -1.0, float("nan"), float("inf"), 1e308, None])
    elif isinstance(value, str):
        node[key] = rng.choice(WORDS)
    elif isinstance(value, list) and value:
        rng.choice([value.clear, value.pop, value.reverse, lambda: value.append(value[0])])()


@pytest.mark.parametrize("encoded", [False, True])
def test_spoilt_records_are_format_errors_or_images(encoded: bool) -> None:
    rng = random.Random(encoded)
    good = record(
        image((1, 2, 2, 3, 4)), chunk=(1, 2, 4), planes=True, encoded=encoded, codec="zstd"
    )
    kind = wide(BYTES if encoded else LISTS)
    seen = {"errors": 0, "images": 0}
    for _ in range(400):
        made = copy.deepcopy(good)
        for _ in range(rng.randint(1, 3)):
            spoil(rng, made)
        found = records_of(table([made, good], kind))
        try:
            pieces = found.image(0).pieces
            # What they say is true of what is there.
            assert len(pieces) in (len(made["chunks"] or ()), len(made["planes"] or ()))
            assert (pieces.origins >= 0).all()
            assert (pieces.origins + pieces.extents <= found.image(0).meta.shape).all()
            seen["images"] += 1
        except (FormatError, NoImageError):
            seen["errors"] += 1
        assert found.image(1).meta.shape == (1, 2, 2, 3, 4)
    assert min(seen.values()) > 20, seen


KINDS = [
    pa.int8(), pa.uint64(), pa.float16(), pa.float64(), pa.string(), pa.large_string(), pa.null(),
    pa.bool_(), pa.binary(), pa.date32(), pa.timestamp("ns"), pa.list_(pa.int8()), pa.struct([]),
    pa.struct({"a": pa.int8()}), pa.list_(pa.struct({"t": pa.int8()})), pa.decimal128(5),
    pa.duration("s"), pa.map_(pa.string(), pa.int8()), pa.list_(pa.null()),
    pa.dictionary(pa.int8(), pa.string()), pa.run_end_encoded(pa.int16(), pa.int32()),
]  # fmt: skip


def retyped(rng: random.Random, kind: pa.DataType, odds: float) -> pa.DataType:
    if rng.random() < odds:
        return rng.choice(KINDS)
    if pa.types.is_struct(kind):
        kept = [f for f in kind if rng.random() > odds]
        return pa.struct([f.with_type(retyped(rng, f.type, odds)) for f in kept])
    if pa.types.is_list(kind):
        return pa.list_(retyped(rng, kind.value_type, odds))
    return kind


def test_columns_of_any_type_are_no_accident() -> None:
    rng = random.Random(7)
    seen = {"images": 0, "problems": 0, "none": 0}
    for _ in range(1500):
        kind = retyped(rng, rng.choice([LISTS, BYTES]), 0.02)
        found = image_columns(pa.schema({"x": kind}))
        if "x" not in found:
            seen["none"] += 1
            continue
        column = found["x"]
        seen["problems" if column.problem else "images"] += 1
        if column.problem:
            continue
        rows = pa.concat_arrays([pa.nulls(1, kind), *_filled(kind)])
        container = MemoryContainer(pa.table({"x": rows}))
        records = Records(container, column)
        for row in range(records.rows):
            try:
                records.image(row)
            except (FormatError, NoImageError):
                continue
    assert min(seen.values()) > 20, seen


def _filled(kind: pa.DataType) -> list[pa.Array]:
    """One row of zeros, with an item in each list, where Arrow can make one."""
    made = record(image((1, 1, 1, 1, 1)), chunk=(1, 1, 1), planes=True)
    try:
        return [pa.array([_fitting(made, kind)], kind)]
    except (pa.ArrowException, TypeError, ValueError, AttributeError):
        return []


def _fitting(value: Any, kind: pa.DataType) -> Any:
    if pa.types.is_struct(kind):
        inner = value if isinstance(value, dict) else {}
        return {f.name: _fitting(inner.get(f.name), f.type) for f in kind}
    if pa.types.is_list(kind):
        inner = value if isinstance(value, list) else []
        return [_fitting(item, kind.value_type) for item in inner]
    plain_kinds = {int: pa.types.is_integer, str: pa.types.is_string, float: pa.types.is_floating}
    test = plain_kinds.get(type(value))
    return value if test is not None and test(kind) else None
