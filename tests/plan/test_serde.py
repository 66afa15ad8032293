"""Plans as documents: the same plan comes back, damaged documents are refused, keys are stable."""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.errors import SerializationError
from lazytensor.exec.interpret import interpret
from lazytensor.plan import registry
from lazytensor.plan.domain import IndexDomain
from lazytensor.plan.index import IndexTransform
from lazytensor.plan.memory import MemorySource, array_node
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Cast, Constant, Elementwise, Reduce, Scan, View
from lazytensor.plan.nodes_block import Call, Downsample, Inspect
from lazytensor.plan.nodes_join import Join, Overlay
from lazytensor.plan.serde import (
    VERSION,
    content_key,
    dumps,
    from_document,
    loads,
    to_document,
)
from lazytensor.plan.serde_values import dtype_from_json, dtype_to_json
from lazytensor.plan.source import Source
from tests.plan.random_plans import leaf, plans, translated

X = leaf((3, 4))


class FileSource:
    """A source that can be reopened by the number it holds."""

    def __init__(self, number: int, options: Any = None) -> None:
        self.spec = leaf((number, 2)).source.spec
        self.key = ("file", number, "tag")
        self.label = f"file {number}"
        self.number = number
        self.options = options
        self.array = None

    def to_json(self) -> dict[str, Any]:
        return {"format": "test-file", "number": self.number}


def open_file(document: dict[str, Any], *, storage_options: Any) -> Source:
    return FileSource(document["number"], storage_options)  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def _format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_openers", dict(registry._openers))
    registry.register("test-file", f"{__name__}:open_file")
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this())


def _this() -> Any:
    module = type(sys)(__name__)
    module.__dict__.update(globals())
    return module


def double(block: np.ndarray) -> np.ndarray:
    return block * 2


def ignore(domain: IndexDomain, values: np.ndarray) -> None:
    """What ``inspect`` may be given."""


def example() -> Node:
    """A plan with most kinds of field."""
    x = Elementwise("add", (translated(X, (2, -3)), Constant.of(-0.0, np.dtype("f8"))))
    low = Downsample(Cast(x, np.dtype("f4")), (1, 2), "mean")
    both = Join((low, low), 0, True, "t")
    window = IndexDomain._make((0, 1, -3), (2, 4, 2), ("t", "y", ""))
    top = Overlay((both,), window, np.float32(math.nan).tobytes())
    picked = View(top, IndexTransform.identity(top.domain).oindex[:, [3, 1], :])
    return Reduce("var", picked, (0,), True, (("correction", 0.5), ("dtype", np.dtype("f8"))))


@settings(max_examples=40)
@given(plans(), st.sampled_from(["json", "binary"]))
def test_any_plan_comes_back(plan: Node, format: str) -> None:
    again = loads(dumps(plan, format=format))
    assert (again.domain, again.dtype) == (plan.domain, plan.dtype)
    np.testing.assert_array_equal(interpret(again), interpret(plan))
    assert content_key(again) == content_key(plan)
    assert to_document(again) == to_document(plan)


def test_every_field_comes_back() -> None:
    plan = example()
    document = json.loads(json.dumps(to_document(plan)))
    again = from_document(document)
    assert to_document(again) == document
    assert (document["lazytensor"], document["nodes"][0]["kind"]) == (VERSION, "Scan")
    assert isinstance(again, Reduce) and again.params == plan.params
    assert loads(dumps(plan).decode()).domain == plan.domain


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype("u2"),
        np.dtype(">u2"),
        np.dtype("?"),
        np.dtype("c16"),
        np.dtype("M8[ns]"),
        np.dtype("U3"),
        np.dtype("S5"),
        np.dtype("V6"),
        np.dtype(ml_dtypes.bfloat16),
        np.dtype(ml_dtypes.int4),
        np.dtypes.StringDType(),
        np.dtype({"names": ["a", "b"], "formats": [">i2", "f4"], "offsets": [0, 4]}),
        np.dtype([("a", "f4", (2, 3))]),
    ],
)
def test_dtypes(dtype: np.dtype) -> None:
    assert dtype_from_json(json.loads(json.dumps(dtype_to_json(dtype)))) == dtype
    if dtype.kind == "V" and dtype.type is np.void:
        values = np.frombuffer(bytes(range(dtype.itemsize * 2)), dtype).copy()
    else:
        values = np.arange(6).reshape(2, 3).astype(dtype)
    for format in ("json", "binary"):
        again = loads(dumps(array_node(values), format=format))
        assert again.dtype == dtype
        np.testing.assert_equal(interpret(again).tolist(), values.tolist())


@pytest.mark.parametrize("bits", ["7ff8000000000001", "fff8000000000000", "8000000000000000"])
def test_scalars_come_back_bit_for_bit(bits: str) -> None:
    scalar = Constant(np.dtype("f8"), bytes.fromhex(bits)[::-1])
    assert loads(dumps(scalar)) is scalar


def test_sources_are_reopened_with_the_options_of_the_reader() -> None:
    plan = Cast(Scan(FileSource(3)), np.dtype("f4"))
    text = dumps(plan)
    unknown = to_document(plan)
    del plan  # an equal node that is alive would be taken
    gc.collect()
    again = loads(text, storage_options={"secret": "s3cr3t"})
    (scan,) = (node for node in walk(again) if isinstance(node, Scan))
    assert scan.source.options == {"secret": "s3cr3t"}
    assert b"s3cr3t" not in dumps(again)
    unknown["nodes"][0]["source"]["format"] = "tiff-42"
    with pytest.raises(SerializationError, match="no driver for sources of format 'tiff-42'"):
        from_document(unknown)


def test_functions_are_named_and_must_be_passed() -> None:
    plan = Inspect(Call(np.sort, (X,), X.dtype, (0, 0), None, False, True, False), np.sort)
    name = to_document(plan)["nodes"][1]["function"]
    assert name == f"{np.sort.__module__}:sort"
    with pytest.raises(SerializationError, match="pass it as functions="):
        loads(dumps(plan))
    again = loads(dumps(plan), functions={name: np.sort})
    assert isinstance(again, Inspect) and again.function is np.sort


def test_functions_without_a_name_are_refused() -> None:
    def local(block: np.ndarray) -> np.ndarray:
        return block

    for function in (local, lambda block: block, ml_dtypes.finfo(ml_dtypes.bfloat16).__repr__):
        with pytest.raises(SerializationError, match="top of a module"):
            dumps(Call(function, (X,), X.dtype, (0, 0), None, False, True, False))


def test_large_arrays_need_the_binary_format() -> None:
    large = array_node(np.arange(10_000).reshape(100, 100))
    with pytest.raises(SerializationError, match="100×100 int64 array in memory has 78 KiB"):
        dumps(large)
    data = dumps(Cast(large, np.dtype("f4")), format="binary")
    np.testing.assert_array_equal(interpret(loads(data)), np.arange(1e4).reshape(100, 100))
    start = data.index(np.arange(10_000).tobytes())
    assert start % 64 == 0


def test_sources_that_cannot_be_reopened_are_named() -> None:
    class Closed(FileSource):
        def to_json(self) -> dict[str, Any]:
            raise SerializationError("a dict store has no location")

    with pytest.raises(SerializationError, match="a dict store has no location"):
        dumps(Scan(Closed(2)))
    assert content_key(Scan(Closed(2))) == content_key(Scan(Closed(2)))


def test_ten_thousand_nodes() -> None:
    x: Node = X
    for i in range(10_000):
        x = Elementwise("add", (x, Constant.of(i % 3, x.dtype)))
    again = loads(dumps(x))
    assert again.height == x.height
    assert content_key(again) == content_key(x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda doc: doc.update(lazytensor=VERSION + 1), "install a newer lazytensor-engine"),
        (lambda doc: doc.pop("lazytensor"), "not a lazytensor plan"),
        (lambda doc: doc.update(byteorder="middle"), "as on this machine"),
        (lambda doc: doc.update(nodes=[]), "must be a list of nodes"),
        (lambda doc: doc["nodes"][0].update(kind="Eval"), "the kind of node 0"),
        (lambda doc: doc["nodes"][-1].update(x=len(doc["nodes"]) - 1), "an earlier node"),
        (lambda doc: doc["nodes"][-1].update(x=-1), "an earlier node"),
        (lambda doc: doc["nodes"][-1].update(x=True), "must be int"),
        (lambda doc: doc["nodes"][-1].update(op="evil"), "reduction 'evil'"),
        (lambda doc: doc["nodes"][-1].update(axes_=[7]), "cannot be built"),
        (lambda doc: doc["nodes"][1]["transform"]["output"][0].update(offset=1), "leads to"),
        (lambda doc: doc["nodes"][1]["transform"].update(input_inclusive_min=[-3, 0]), "leads to"),
        (lambda doc: doc["nodes"][-1].pop("op"), "one with fields"),
        (lambda doc: doc["nodes"][-1].update(more=1), "one with fields"),
        (lambda doc: doc["nodes"][0]["source"].update(shape=[2**40]), "must be .* elements"),
        (lambda doc: doc["nodes"][0]["source"].update(dtype="O"), "the name of a dtype"),
        (lambda doc: doc["nodes"][0]["source"].update(dtype="os.system"), "unknown dtype"),
        (lambda doc: doc["nodes"][0]["source"].update(data="****"), "base64"),
    ],
)
def test_damage_is_named(change: Callable[[Any], object], message: str) -> None:
    document = to_document(example())
    change(document)
    with pytest.raises(SerializationError, match=message):
        from_document(document)


_JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=3),
    st.lists(st.integers(-2, 9), max_size=3),
    st.dictionaries(st.sampled_from(["a", "kind", "rank"]), st.integers(), max_size=2),
)
_TEXT = dumps(example())
_BINARY = dumps(example(), format="binary")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a document."""
    out: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, (dict, list)):
            items = part.items() if isinstance(part, dict) else enumerate(part)
            for key, child in items:
                out.append((part, key))
                stack.append(child)
    return out


@settings(max_examples=300)
@given(st.data())
def test_any_damage_to_a_document_is_a_serialization_error_or_harmless(data: st.DataObject) -> None:
    document = json.loads(_TEXT)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(_places(document)))
        container[key] = data.draw(_JUNK)
    _accept_or_refuse(lambda: from_document(document))


@settings(max_examples=150)
@given(st.data(), st.sampled_from([_TEXT, _BINARY]))
def test_any_damage_to_bytes_is_a_serialization_error_or_harmless(
    data: st.DataObject, whole: bytes
) -> None:
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, len(damaged))) :]
    _accept_or_refuse(lambda: loads(damaged))


def _accept_or_refuse(load: Callable[[], Node]) -> None:
    try:
        node = load()
    except SerializationError:
        return
    assert node.size >= 0


def test_deeply_nested_text_is_refused() -> None:
    for text in ("[" * 100_000, '{"lazytensor": 1, "nodes": ' + "[" * 100_000, "", "null", "[1]"):
        with pytest.raises(SerializationError):
            loads(text)


def test_content_keys_tell_plans_apart() -> None:
    plans: list[Node] = [
        X,
        leaf((3, 4), start=1),
        leaf((3, 4), "i8"),
        leaf((3, 4), firm=False),
        Cast(X, np.dtype("f4")),
        translated(X, (0, 1)),
        translated(X, (1, 0)),
        Elementwise("add", (X, Constant.of(0.0, np.dtype("f8")))),
        Elementwise("add", (X, Constant.of(-0.0, np.dtype("f8")))),
        Scan(FileSource(2)),
        Scan(FileSource(3)),
        Scan(MemorySource(np.arange(12).reshape(3, 4).astype("i4"), dims=("a", "b"))),
        Inspect(X, np.sort),
        Inspect(X, np.argsort),
        Inspect(X, lambda domain, values: None),
    ]
    assert len({content_key(plan) for plan in plans}) == len(plans)
    copy = Scan(MemorySource(np.arange(12).reshape(3, 4).astype("i4"), dims=("y", "x")))
    assert copy is not X and content_key(copy) == content_key(X)


def test_content_keys_are_the_same_in_every_process() -> None:
    program = textwrap.dedent(
        """
        import numpy as np
        from lazytensor.plan.memory import array_node
        from lazytensor.plan.nodes import Cast
        from lazytensor.plan.serde import content_key
        print(content_key(Cast(array_node(np.arange(12)), np.dtype("f4"))))
        """
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == content_key(Cast(array_node(np.arange(12)), np.dtype("f4")))


def test_a_fresh_process_reopens_every_source_of_ours(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(6))
    documents = [lt.scan_npy(tmp_path / "x.npy").serialize(), lt.arange(10**6).serialize()]
    program = (
        "import json, sys; import lazytensor as lt; "
        "plans = map(lt.LazyTensor.deserialize, json.loads(sys.stdin.read())); "
        "print([int(x[5].collect()) for x in plans])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).resolve().parents[2],
        input=json.dumps(documents), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[5, 5]"


def test_a_driver_is_named_by_module_and_function() -> None:
    assert {"zarr", "ome-zarr", "test-file"} <= set(registry.formats())
    with pytest.raises(ValueError, match="module:function"):
        registry.register("x", "no_colon")
    with pytest.raises(ValueError, match="expected 'json' or 'binary'"):
        dumps(X, format="pickle")
