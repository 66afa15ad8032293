"""What will run, in words: stages, tasks and steps are those of the run."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazytensor as lt
from lazytensor.exec.describe import describe_work
from lazytensor.plan.explain_formats import Notes
from lazytensor.plan.explain_work import StageWork, StepWork, explain_work, work_graph
from tests.plans import Mirror, plans
from tests.sources import ChunkedArray

NOTHING = Notes(None, None, ())
FORMATS = ("plain", "tree", "dot", "json", "html")


def stored() -> lt.LazyTensor:
    return lt.scan_source(ChunkedArray(np.arange(4096.0).reshape(64, 64), (16, 16)))


def standardised() -> lt.LazyTensor:
    """A pass over the array, and one that needs its results; the array is another one each time."""
    return (stored() - lt.mean(stored())) / 2


def test_stages_and_steps_of_a_task() -> None:
    lines = standardised().explain(stage="physical").splitlines()
    assert lines[0].startswith("stage 1: mean over 0, 1 () float64, 1 task of ≤ ")
    assert lines[1:3] == [
        "  task for [0:64, 0:64]",
        "    %0 = read test chunked [0:64, 0:64] (64, 64) float64",
    ]
    assert lines[3].startswith("stage 2: divide  2.0 (64, 64) float64, 1 task of ≤ ")
    assert lines[-2].endswith(" divide (64, 64) float64")
    assert lines[-1].startswith("reads 32 of 32 chunks, ")


@pytest.mark.parametrize("engine", ["auto", lt.LocalEngine(threads=1, max_memory="1MiB")])
def test_tasks_are_those_that_run(engine: Any) -> None:
    y = standardised()
    stages = json.loads(y.explain(stage="physical", format="json", engine=engine))["stages"]
    lt.metrics(reset=True)
    y.collect(engine=engine)
    tasks = sum(stage["tasks"] for stage in stages)
    assert tasks == lt.metrics()["tasks"] == y.estimate(engine=engine).tasks


def test_a_window_is_one_task() -> None:
    (stage,) = describe_work(stored()[:9, 3]._node)
    assert stage.tasks == 1
    assert [step.op for step in stage.steps] in (["read"], ["read_placed"], ["read_strided"])


def test_as_written_or_optimised() -> None:
    y = stored().astype("f4").astype("f4")[3]
    assert "view" not in y.explain(stage="physical")
    written = y.explain(stage="physical", optimized=False)
    assert "%1 = cast" in written


def test_rules_stand_behind_the_tasks() -> None:
    text = (stored() + 1)[3].explain(stage="physical", rules=True)
    assert "view_through_elementwise (slice_pushdown)" in text
    assert text.splitlines()[-1].endswith("rules: slice_pushdown×1 (view_through_elementwise×1)")
    page = (stored() + 1)[3].explain(stage="physical", rules=True, format="html")
    assert "view_through_elementwise" in "".join(ET.fromstring(page).itertext())


def test_json_holds_everything() -> None:
    document = json.loads(standardised().explain(stage="physical", format="json", rules=True))
    assert document.keys() == {"stages", "estimate", "rules"}
    first, second = document["stages"]
    assert first.keys() == {"number", "results", "tasks", "task_nbytes", "box", "steps"}
    step = second["steps"][-1]
    assert step.keys() == {"slot", "op", "inputs", "details", "shape", "dtype"}
    assert (step["op"], step["details"], step["shape"]) == ("elementwise", "divide", [64, 64])
    slots = {step["slot"] for step in second["steps"]}
    assert all(slot in slots for step in second["steps"] for slot in step["inputs"])


def test_html_has_a_table_of_stages_and_their_steps() -> None:
    page = ET.fromstring(standardised().explain(stage="physical", format="html"))
    heads = [[cell.text for cell in row] for row in page.iter("tr")]
    assert heads[0] == ["stage", "results", "tasks", "a task holds"]
    assert [head[0] for head in heads[1:3]] == ["1", "2"]
    assert [summary.text for summary in page.iter("summary")] == [
        "stage 1: task for [0:64, 0:64]",
        "stage 2: task for [0:64, 0:64]",
    ]


def test_tree_and_dot() -> None:
    tree = (stored() * stored()[::-1]).explain(stage="physical", format="tree").splitlines()
    assert tree[0].startswith("stage 1: ") and tree[1].startswith("└─ task for ")
    assert tree[2].startswith("   └─ %") and "elementwise multiply" in tree[2]
    assert tree[3].startswith("      ├─ %") and tree[-1].startswith("reads ")
    dot = standardised().explain(stage="physical", format="dot")
    assert dot.count("subgraph cluster_s") == 2 and dot.endswith("}")
    stored_step = re.search(r'(s2_\d+) \[label="stored\\n\(\) float64"\];', dot)
    assert stored_step is not None and f"{stored_step[1]} -> s2_" in dot


@pytest.mark.parametrize("name", FORMATS)
def test_a_stage_without_tasks_and_one_with_many_steps(name: str) -> None:
    empty = StageWork(1, ("scan (0) uint8",), 0, 0, "", ())
    steps = [StepWork(0, "read", (), "<&>", (2,), "uint8")]
    steps += [StepWork(i, "cast", (i - 1,), "", (2,), "uint8") for i in range(1, 500)]
    full = StageWork(2, ("cast",), 1, 4, "[0:2]", tuple(steps))
    text = explain_work([empty, full], NOTHING, name)
    assert len(text.splitlines()) < 250 or name in ("dot", "json")
    graph = work_graph([empty, full])
    assert len(graph.boxes) < 250
    assert all(a < len(graph.boxes) and b < len(graph.boxes) for a, b in graph.edges)
    with pytest.raises(ValueError, match="formats are plain"):
        explain_work([full], NOTHING, "pdf")


def test_empty_results_are_described() -> None:
    for name in FORMATS:
        assert lt.zeros((0, 3)).explain(stage="physical", format=name)  # type: ignore[arg-type]
        assert lt.sum(stored()[:0]).explain(stage="physical", format=name)  # type: ignore[arg-type]
    assert stored()[:0].show_graph(stage="physical", show=False)


@settings(deadline=None)
@given(plans(), st.sampled_from(FORMATS))
def test_random_plans_are_described(pair: tuple[lt.LazyTensor, Mirror], name: Any) -> None:
    x = pair[0]
    assert x.explain(format=name, stage="physical", rules=True)
    for engine in ("local", "interpret"):
        tasks = sum(stage.tasks for stage in describe_work(x._node, engine))
        assert tasks == x.estimate(engine=engine).tasks
    ET.fromstring(x.show_graph(stage="physical", show=False) or "")


def test_little_data_in_memory_is_one_task_of_whole_arrays() -> None:
    text = (lt.asarray([1, 2, 3]) + 1)[1:].explain(stage="physical")
    assert text.splitlines()[:2] == [
        "stage 1: view [0=1:3] (2) int64, 1 task of ≤ 72 B",
        "  task for [1:3]",
    ]
    assert text.splitlines()[-2] == "    %3 = view [0=1:3] %2 (2,) int64"
    whole = (stored() + 1).explain(stage="physical", engine="interpret").splitlines()
    assert whole[2] == "    %0 = scan test chunked (64, 64) float64"


def test_user_functions_have_names() -> None:
    y = lt.map_blocks(np.negative, stored(), dtype=np.dtype("f8"))
    assert "call" in y.explain(stage="physical") and "negative" in y.explain(stage="physical")
