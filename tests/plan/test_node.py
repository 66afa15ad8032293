"""Interned nodes: one object for one meaning, from any thread; deep plans; nodes that die."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import lazytensor as lt
from lazytensor.plan import node as node_module
from lazytensor.plan.memory import array_node
from lazytensor.plan.node import Node, rebuild, walk
from lazytensor.plan.nodes import Cast, Constant, Elementwise
from lazytensor.plan.optimize import optimize

DEEP = 10_000


def table_size() -> int:
    """Nodes that are alive, scalars apart: the common ones are kept for the next plan."""
    gc.collect()
    alive = [entry() for entry in list(node_module._table.values())]
    return sum(node is not None and not isinstance(node, Constant) for node in alive)


class TestIdentity:
    def test_equal_plans_are_the_same_object(self) -> None:
        values = np.arange(6)
        x, y = lt.asarray(values), lt.asarray(values)
        assert x._node is y._node
        assert ((x + 1)[2:] * 2)._node is ((y + 1)[2:] * 2)._node
        assert (x + 1)._node is not (x + 2)._node

    @pytest.mark.parametrize(
        ("a", "b"),
        [(0.0, -0.0), (1, 1.0), (1, True), (1.0, 1 + 0j), (np.int8(1), np.int16(1))],
    )
    def test_scalars_that_python_calls_equal_differ(self, a: object, b: object) -> None:
        first, second = (Constant.of(v, np.asarray(v).dtype) for v in (a, b))
        assert first is not second

    def test_equal_nan_bytes_agree(self) -> None:
        assert Constant.of(np.nan, np.dtype("f8")) is Constant.of(float("nan"), np.dtype("f8"))
        payload = np.array([0x7FF8000000000001], "u8").view("f8")[0]
        assert Constant.of(np.nan, np.dtype("f8")) is not Constant.of(payload, np.dtype("f8"))

    def test_copies_are_the_node_itself(self) -> None:
        x = (lt.arange(5) + 1)._node
        assert copy.copy(x) is x
        assert copy.deepcopy(x) is x

    def test_pickling_restores_the_diamond(self) -> None:
        x = lt.asarray(np.arange(4)) + 1
        again = pickle.loads(pickle.dumps((x * x)._node))
        assert again.inputs[0] is again.inputs[1]

    def test_nodes_are_immutable(self) -> None:
        x = lt.arange(3)._node
        for change in (lambda: setattr(x, "dtype", None), lambda: delattr(x, "dtype")):
            with pytest.raises(AttributeError, match="immutable"):
                change()

    def test_many_threads_building_the_same_plan_get_one(self) -> None:
        values = np.arange(6)
        for round_ in range(20):
            start = threading.Barrier(8)
            found: list[Node] = []

            def build(
                start: threading.Barrier = start, found: list[Node] = found, n: int = round_
            ) -> None:
                start.wait()
                x = lt.asarray(values)
                for i in range(20):
                    x = (x + n)[1:] if i % 5 == 4 else x * (i + n)
                found.append(x._node)

            threads = [threading.Thread(target=build) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(found) == 8
            assert len({id(x) for x in found}) == 1

    def test_an_entry_whose_node_died_is_replaced_once(self) -> None:
        base = lt.arange(3)._node
        key = Cast.intern_key(base, np.dtype("f4"))
        x = Cast(base, np.dtype("f4"))
        entry = node_module._table[key]
        del x
        assert entry() is None
        # As if the thread that dropped it had not come round to forget it yet.
        node_module._table[key] = entry
        fresh = Cast(base, np.dtype("f4"))
        assert Cast(base, np.dtype("f4")) is fresh
        assert node_module._table[key]() is fresh


class TestLife:
    def test_the_table_forgets_what_nobody_holds(self) -> None:
        before = table_size()
        x = lt.asarray(np.arange(100))
        plans = [(x + i)[i:] * 2 for i in range(50)]
        assert table_size() > before + 100
        del plans, x
        assert table_size() == before

    def test_a_node_keeps_its_array_and_lets_it_go(self) -> None:
        values = np.arange(1000)
        ref = weakref.ref(values)
        x = lt.asarray(values)[10:] + 1
        del values
        gc.collect()
        assert ref() is not None
        assert x.collect()[0] == 11
        del x
        gc.collect()
        assert ref() is None

    def test_collecting_keeps_nothing_alive(self) -> None:
        x = lt.asarray(np.arange(1 << 16).reshape(256, 256))
        before = table_size()
        (x - lt.mean(x, axis=0))[3:].collect(engine="local")
        lt.collect_all([x + 1, lt.sum(x + 1)])
        assert table_size() == before


class TestDepth:
    def deep(self, x: lt.LazyTensor) -> lt.LazyTensor:
        for i in range(DEEP // 2):
            x = (x + 1) if i % 2 else lt.maximum(x, -1.0)
            x = x * 1.0 if i % 3 else lt.abs(x)
        return x

    def test_ten_thousand_operations(self) -> None:
        before = table_size()
        x = self.deep(lt.asarray(np.arange(4.0)))
        node = x._node
        assert node.height == DEEP
        assert len(list(walk(node))) >= DEEP
        assert x.axes and x.chunks == (4,)
        assert repr(x)
        assert x.explain(optimized=False) and x.explain()
        again = pickle.loads(pickle.dumps(x))
        assert again.shape == x.shape and again._node.height == DEEP
        loaded = lt.LazyTensor.deserialize(x.serialize())
        assert loaded._node.height == DEEP
        for engine in ("auto", "local", "interpret"):
            assert x[1:3].collect(engine=engine).tolist() == [DEEP / 4 + 1, DEEP / 4 + 2]
        del x, node, again, loaded
        assert table_size() == before

    def test_ten_thousand_views_of_views(self) -> None:
        x = lt.asarray(np.arange(20_003))
        for _ in range(DEEP):
            x = x[1:]
        assert x[:2].collect().tolist() == [DEEP, DEEP + 1]
        assert len(list(walk(optimize(x._node)))) == 2


class TestWalking:
    def test_inputs_come_before_consumers_and_once(self) -> None:
        x = lt.asarray(np.arange(4))
        root = ((x + 1) * (x - 1) + x)._node
        order = list(walk(root))
        assert len(order) == len(set(order))
        assert order[-1] is root
        at = {node: i for i, node in enumerate(order)}
        assert all(at[child] < at[node] for node in order for child in node.inputs)

    def test_a_filter_cuts_off_what_is_below(self) -> None:
        x = lt.asarray(np.arange(4))
        inner = (x + 1)._node
        root = (lt.exp(x + 1) * 2.0)._node
        seen = list(walk(root, lambda n: n is not inner))
        assert inner not in seen and x._node not in seen
        assert list(walk(root, lambda n: n is not root)) == []

    def test_rebuilding_exchanges_a_node(self) -> None:
        x, y = lt.asarray(np.arange(4)), lt.asarray(np.arange(4) * 10)
        root = ((x + 1) * 2)._node
        assert rebuild(root, {x._node: y._node}) is ((y + 1) * 2)._node
        assert rebuild(root, {}) is root
        assert isinstance(root, Elementwise)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arrays_keep_their_byte_order(protocol: int) -> None:
    for dtype in (">f4", "<f4", ">i2"):
        values = np.arange(6, dtype=dtype).reshape(2, 3)
        restored = pickle.loads(pickle.dumps(array_node(values.T), protocol))
        assert restored.dtype == values.dtype
        assert restored.dtype.str == values.dtype.str
        assert restored.source.array.dtype.str == values.dtype.str
        np.testing.assert_array_equal(restored.source.array, values.T)
