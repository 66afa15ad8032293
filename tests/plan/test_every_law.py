"""Every law of the optimizer, three ways and a half: printed, interned, computed, and counted.

The table is in ``law_cases*``. For each case: the law fires; what comes of it is the very node that
was written by hand; both print as the table says; both have the same values, with every engine;
and a collect reads the bytes of stored tensors that the table says, never more than without the
law. After the table, what holds for all laws on random plans.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.config import QueryOptFlags
from lazytensor.exec.holes import hole_plan
from lazytensor.exec.interpret import interpret
from lazytensor.plan.cost import reads
from lazytensor.plan.explain import explain
from lazytensor.plan.node import Node, walk
from lazytensor.plan.nodes import Scan
from lazytensor.plan.optimize import Firing, Trace, optimize
from lazytensor.plan.rules.passes import PASSES
from tests.engines import ENGINES, SETTINGS
from tests.plan import law_cases_constants, law_cases_like, law_cases_sums, law_cases_views
from tests.plan.law_cases import CASES, Case, node
from tests.plan.random_kinds import plans_of_all_kinds
from tests.plan.test_rules_lookup import by_force
from tests.sources import ChunkedArray

FAMILIES = (law_cases_views, law_cases_constants, law_cases_like, law_cases_sums)
FLAGS = {law.name: law.flag for law in PASSES}

TABLE = [case for family in FAMILIES for case in CASES if case.build.__module__ == family.__name__]

every_case = pytest.mark.parametrize("case", TABLE, ids=[case.name for case in TABLE])


def test_every_law_has_a_case_and_they_are_in_order() -> None:
    assert len(TABLE) == len(CASES)
    shown = list(dict.fromkeys(case.law for case in TABLE))
    missing = [law.name for law in PASSES if law.name not in shown]
    assert not missing, f"give {', '.join(missing)} a case in tests/plan/law_cases_*.py"
    assert shown == [law.name for law in PASSES]


def plans(case: Case) -> tuple[Node, Node]:
    before, after = case.build()
    return node(before), node(after)


@every_case
def test_it_becomes_the_plan_that_was_written_by_hand(case: Case) -> None:
    before, after = plans(case)
    assert before is not after
    trace = Trace()
    assert optimize(before, case.flags, trace) is after
    assert case.law in trace.counts()
    # The driver has short cuts where nobody wants to know what fired.
    assert optimize(before, case.flags) is after
    # The law alone makes it; without its flag it does not come to be.
    assert optimize(before, case.flags.update(**{FLAGS[case.law]: False})) is not after


@every_case
def test_with_all_laws_both_become_one_plan(case: Case) -> None:
    before, after = plans(case)
    assert optimize(before) is optimize(after)


@every_case
def test_it_reads_like_this(case: Case) -> None:
    before, after = plans(case)
    assert (explain(before), explain(after)) == case.printed


@every_case
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_values_are_the_same_to_the_bit(case: Case, engine: object) -> None:
    before, after = plans(case)
    assert (before.domain, before.dtype) == (after.domain, after.dtype)
    expected = interpret(before)
    for plan in (before, after):
        x = lt.LazyTensor._wrap(plan)
        for flags in (QueryOptFlags.none(), case.flags, QueryOptFlags()):
            found = x.collect(engine=engine, optimizations=flags)
            assert found.dtype == expected.dtype
            assert found.tobytes() == expected.tobytes()


@every_case
def test_it_reads_so_many_bytes(case: Case) -> None:
    before, after = plans(case)
    sources = stored([before, after])
    if case.reads is None:
        assert not sources
        return
    off = QueryOptFlags().update(**{FLAGS[case.law]: False})
    assert (collected(before, off, sources), collected(before, QueryOptFlags(), sources)) == (
        case.reads
    )
    assert case.reads[0] >= case.reads[1]
    # Nor does it make a plan worse that no other law looks at, or one that was good already.
    alone = collected(before, case.flags, sources)
    assert collected(before, QueryOptFlags.none(), sources) >= alone
    assert collected(after, QueryOptFlags(), sources) == case.reads[1]
    assert reads(before) >= reads(after) >= case.reads[1]


def stored(plans: Iterable[Node]) -> list[ChunkedArray]:
    """The counting sources of some plans, each once."""
    scans = [n for plan in plans for n in walk(plan) if isinstance(n, Scan)]
    found = [scan.source for scan in scans if isinstance(scan.source, ChunkedArray)]
    return list({id(source): source for source in found}.values())


def collected(plan: Node, flags: QueryOptFlags, sources: list[ChunkedArray]) -> int:
    """Bytes of the chunks that a collect touches, each as large as a file stores it: whole."""
    for source in sources:
        source.boxes.clear()
    lt.LazyTensor._wrap(plan).collect(engine=lt.LocalEngine(threads=1), optimizations=flags)
    return sum(len(source.cells_read()) * chunk_bytes(source) for source in sources)


def chunk_bytes(source: ChunkedArray) -> int:
    return source.values.itemsize * prod(cells.nominal for cells in source.spec.grid if cells)


# All laws, on random plans.


def check(firing: Firing, values: dict[Node, np.ndarray]) -> None:
    """One application of a law keeps the domain, the dtype, every bit and every hole.

    ``values``: what is known of nodes; added to.
    """
    law, before, after = firing
    # Names of dims are part of a domain.
    assert (before.domain, before.dtype) == (after.domain, after.dtype), law
    holes = np.asarray(interpret(hole_plan(before)))
    assert np.array_equal(holes, interpret(hole_plan(after))), law
    # What stands in a hole is nothing: whoever asks for it gets an error.
    expected, found = interpret(before, values)[~holes], interpret(after, values)[~holes]
    assert found.tobytes() == expected.tobytes(), (
        f"{law}\n{explain(before)}\n{expected}\n{explain(after)}\n{found}"
    )


@settings(max_examples=200)
@given(plans_of_all_kinds(), st.sampled_from([QueryOptFlags(), *SETTINGS]), st.integers(0, 4))
def test_every_firing_on_random_plans(plan: Node, flags: QueryOptFlags, chance: int) -> None:
    trace = Trace()
    values: dict[Node, np.ndarray] = {}
    with np.errstate(all="ignore"), pytest.MonkeyPatch.context() as patch:
        if chance == 0:
            by_force(patch)  # else plans of so few elements are not looked up in tables
        after = optimize(plan, flags, trace)
        for firing in trace.firings:
            check(firing, values)
        check(Firing(PASSES[0], plan, after), values)
    if not np.any(interpret(hole_plan(plan))):
        sources = stored([plan, after])
        off = QueryOptFlags.none()
        assert collected(after, off, sources) <= collected(plan, off, sources)
