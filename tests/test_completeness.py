"""Every node kind has everything: what is missing is named here."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest

from lazytensor import plan
from lazytensor.plan.explain_labels import LABELS
from lazytensor.plan.node import KINDS, Node
from lazytensor.plan.nodes import View
from lazytensor.plan.rules.passes import BARRIERS, PASSES
from lazytensor.plan.serde_kinds import FIELDS

MODULES = {
    f"{plan.__name__}.{found.name}": import_module(f"{plan.__name__}.{found.name}")
    for found in pkgutil.iter_modules(plan.__path__)
    if found.name.startswith("nodes")
}
OURS = {name: kind for name, kind in KINDS.items() if kind.__module__ in MODULES}


def test_the_kinds_of_the_library_are_known() -> None:
    public = {name for module in MODULES.values() for name in module.__all__}
    assert OURS.keys() <= public
    assert {"Scan", "View", "Elementwise", "Overlay", "Call"} <= OURS.keys()


@pytest.mark.parametrize("kind", OURS.values(), ids=OURS.keys())
def test_a_kind_has_a_label(kind: type[Node]) -> None:
    assert kind in LABELS, f"{kind.__name__}: add its phrase to plan/explain_labels.py"


@pytest.mark.parametrize("kind", OURS.values(), ids=OURS.keys())
def test_a_kind_is_serialised_with_all_its_fields(kind: type[Node]) -> None:
    fields = FIELDS.get(kind.__name__)
    assert fields is not None, f"{kind.__name__}: add its fields to plan/serde_kinds.py"
    assert tuple(fields) == kind.fields


@pytest.mark.parametrize("kind", OURS.values(), ids=OURS.keys())
def test_views_move_through_a_kind_or_a_reason_says_why_not(kind: type[Node]) -> None:
    passed = any(law.kinds == (View, kind) for law in PASSES)
    assert passed != (kind in BARRIERS), (
        f"{kind.__name__}: give it a law in plan/rules, or an entry in BARRIERS, not both"
    )


def test_nothing_is_listed_that_does_not_exist() -> None:
    kinds = set(OURS.values())
    assert LABELS.keys() == kinds
    assert FIELDS.keys() == OURS.keys()
    assert BARRIERS.keys() <= kinds
