"""Chains are optimised by a shorter way, which must lead to where the driver's leads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import lazytensor as lt
from lazytensor.config import QueryOptFlags
from lazytensor.exec.interpret import interpret
from lazytensor.plan import optimize as driver
from lazytensor.plan.node import Node
from lazytensor.plan.optimize import Trace, optimize
from tests.plan.random_plans import leaf, plans

BASE = lt.LazyTensor._wrap(leaf((12, 10, 8), "u2"))


@settings(max_examples=300)
@given(plans())
def test_both_ways_lead_to_one_plan(plan: Node) -> None:
    for flags in (QueryOptFlags(), QueryOptFlags(simplify_expression=False)):
        assert optimize(plan, flags) is optimize(plan, flags, Trace())


CHAINS = {
    "slices and scalars": lambda x: ((x[2:9] * 2)[1:, 3:8] + 1)[:4],
    "casts": lambda x: (x.astype("f4")[3:7].astype("f8") / 3)[..., ::2],
    "single positions": lambda x: (x[5] + 1)[:, 3].astype("i4"),
    "flips": lambda x: (x[::-1] + 1)[2:5, ::-1],
    "whole flips": lambda x: (x[::-1] + 1)[::-1],
    "transposed": lambda x: lt.permute_dims(x[:5] * 2, (2, 0, 1))[1:],
    "there and back": lambda x: lt.permute_dims(lt.permute_dims(x, (1, 2, 0)) + 1, (2, 0, 1)),
    "named": lambda x: (x[1:4] + 1).label["a", "b", "c"][:2] * 2,
    "moved": lambda x: (x[2:5] + 1).translate_to[0, 0, 0].astype("f4")[1:],
    "new dims": lambda x: (x[:, None] + 1)[2:4],
    "index arrays": lambda x: (x[[3, 1, 1]] + 1)[:2],
    "nothing left": lambda x: (x + 1)[4:4] * 2,
    "below an operation": lambda x: (x[:6].downsample((2, 1, 1))[1:] * 2)[:2].astype("i4"),
    "scalar last": lambda x: (1 - x[3:5])[:1] ** 2,
    "nothing to do": lambda x: (x + 1).astype("f4"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_of_every_kind(name: str) -> None:
    chain = CHAINS[name](BASE)
    found = optimize(chain._node)
    assert found is optimize(chain._node, None, Trace())
    np.testing.assert_array_equal(interpret(found), interpret(chain._node))
    assert optimize(found) is found


def test_the_driver_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    x = lt.LazyTensor._wrap(leaf((64, 64)))

    def refuse(*args: object) -> None:
        raise AssertionError("the driver was asked")

    monkeypatch.setattr(driver, "_fixpoint", refuse)
    y = ((x[8:60, 8:60][4:, 4:] * 2 + 1)[:30, :30] - 3).astype("f4")[2:9] / 2
    by_hand = ((x[14:21, 12:42] * 2 + 1) - 3).astype("f4") / 2
    assert optimize(y._node) is by_hand._node


def test_what_is_below_a_chain_is_optimised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = lt.LazyTensor._wrap(leaf((64, 64)))
    low = x.downsample((2, 2))
    optimize(low._node)
    calls: list[Node] = []
    through = driver._fixpoint

    def counted(root: Node, *rest: object) -> Node:
        calls.append(root)
        return through(root, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(driver, "_fixpoint", counted)
    optimize((low * 2 + 1)._node)
    assert calls == []
    optimize((low * 2 + 1)[3:9]._node)
    assert calls == [low[3:9]._node]
