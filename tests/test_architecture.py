"""The rules of the house: who may import whom, how long a file is, what is documented.

All but the import budget is read from the source text, so a broken module is still judged.
Run this file as a script to rewrite ``public_names.txt`` after a deliberate change.
"""

from __future__ import annotations

import ast
import os
import re
import statistics
import subprocess
import sys
import types
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "lazytensor"
NAMES = Path(__file__).with_name("public_names.txt")
MAX_LINES = 500
IMPORT_BUDGET_MS = 40
GENERATED = {"lazytensor._operations", "lazytensor._operators"}
HEAVY = {
    "cupy", "dask", "distributed", "fsspec", "jax", "ml_dtypes", "numba", "numcodecs", "polars",
    "pyarrow", "torch", "tqdm", "zarr",
}  # fmt: skip

# Room -> rooms that it may import; the face may enter exec and io only inside functions.
DOORS = {
    "base": set(),
    "plan": {"base", "plan"},
    "native": {"base", "native"},
    "io": {"base", "plan", "io", "native"},
    "exec": {"base", "plan", "exec", "native"},
    "face": {"base", "plan", "face"},
}
DEFERRED_DOORS = DOORS | {"face": {"base", "plan", "face", "io", "exec"}}


class Import(NamedTuple):
    """One imported module: where, whether at module level, and whether it runs."""

    target: str
    line: int
    deferred: bool
    runs: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(module: str) -> str:
    parts = module.split(".")
    if len(parts) == 2 and parts[1] in ("errors", "config"):
        return "base"
    return parts[1] if len(parts) > 1 and parts[1] in DOORS else "face"


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> tuple[Import, ...]:
    return tuple(_imports(tree(module), deferred=False, runs=True))


def _imports(node: ast.AST, *, deferred: bool, runs: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for name in child.names:
                yield Import(name.name, child.lineno, deferred, runs)
        elif isinstance(child, ast.ImportFrom):
            for name in child.names:
                dotted = f"{child.module}.{name.name}"
                target = dotted if dotted in MODULES else str(child.module)
                yield Import(target, child.lineno, deferred, runs)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from _imports(child, deferred=deferred, runs=False)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, deferred=deferred or inside, runs=runs)


def ours(name: str) -> bool:
    return name.split(".")[0] == "lazytensor"


@pytest.mark.parametrize("module", MODULES)
def test_imports_keep_to_the_doors(module: str) -> None:
    wrong = [
        f"line {found.line}: {found.target} (room {room(found.target)})"
        for found in imports(module)
        if ours(found.target)
        and room(found.target)
        not in (DEFERRED_DOORS if found.deferred or not found.runs else DOORS)[room(module)]
    ]
    assert not wrong, f"{module} is in room {room(module)} and may not import {wrong}"


INTRINSICS = "lazytensor.native.intrinsics"


def is_kernel_source(module: str) -> bool:
    """Whether a module is code for numba, which the compiling process alone imports."""
    at_top = {found.target for found in imports(module) if not found.deferred and found.runs}
    return room(module) == "native" and (module == INTRINSICS or INTRINSICS in at_top)


@pytest.mark.parametrize("module", [m for m in MODULES if not is_kernel_source(m)])
def test_kernel_sources_are_imported_by_each_other_only(module: str) -> None:
    wrong = [
        f"line {found.line}: {found.target}"
        for found in imports(module)
        if found.target in MODULES
        and is_kernel_source(found.target)
        and (module, found.deferred) != ("lazytensor.native.compiler", True)
    ]
    assert not wrong, f"{module} would import numba by importing {wrong}"


@pytest.mark.parametrize("module", [m for m in MODULES if not is_kernel_source(m)])
def test_only_numpy_is_imported_by_a_module(module: str) -> None:
    """All other packages are imported by the function that needs them, and never by a plan."""
    wrong = [
        f"line {found.line}: {found.target}"
        for found in imports(module)
        if not ours(found.target)
        and found.target.split(".")[0] not in {"numpy", *sys.stdlib_module_names}
        and found.runs
        and (not found.deferred or room(module) in ("plan", "base"))
    ]
    assert not wrong, f"{module} imports {wrong}"


def test_no_import_cycles() -> None:
    """Imports inside functions count: they only hide a cycle."""
    graph = {
        module: {
            found.target
            for found in imports(module)
            if found.runs and found.target in MODULES and found.target != module
        }
        for module in MODULES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(error.args[1]))


@pytest.mark.parametrize("module", MODULES.keys() - GENERATED)
def test_files_are_short(module: str) -> None:
    lines = MODULES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{module} has {lines} lines: split it by idea"


Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(nodes: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    for node in nodes:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node


@cache
def documented_contracts() -> dict[str, set[str]]:
    """Class name -> its documented methods, for implementations that inherit the words."""
    classes = [
        node for m in MODULES for node in ast.walk(tree(m)) if isinstance(node, ast.ClassDef)
    ]
    return {
        node.name: {
            child.name for child in node.body if isinstance(child, Function) and _has_words(child)
        }
        for node in classes
    }


def _has_words(node: Function | ast.ClassDef | ast.Module) -> bool:
    return ast.get_docstring(node) is not None


def _decorators(node: Function) -> set[str]:
    return {ast.unparse(decorator).split("(")[0] for decorator in node.decorator_list}


def undocumented(module: str) -> Iterator[str]:
    if not _has_words(tree(module)):
        yield "the module"
    for node in public(tree(module).body):
        if not _has_words(node):
            yield node.name
        if isinstance(node, ast.ClassDef):
            bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
            yield from (
                f"{node.name}.{child.name}"
                for child in public(node.body)
                if not _has_words(child) and not _inherits_words(child, bases)
            )


def _inherits_words(node: ast.AST, bases: set[str]) -> bool:
    """Overloads, setters, and implementations of a documented contract."""
    if not isinstance(node, Function):
        return False
    if any(name == "overload" or name.endswith(".setter") for name in _decorators(node)):
        return True
    contracts = documented_contracts()
    # The protocols are implemented without being inherited from.
    return any(node.name in contracts.get(base, ()) for base in bases | PROTOCOLS)


PROTOCOLS = {"Source", "Storage", "Store", "Engine"}


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_documented(module: str) -> None:
    missing = list(undocumented(module))
    assert not missing, f"{module}: no docstring for {', '.join(missing)}"


def unannotated(node: Function) -> Iterator[str]:
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    starred = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    for argument in [*named, *starred]:
        if argument.annotation is None and argument.arg not in ("self", "cls"):
            yield f"{node.name}({argument.arg})"
    if node.returns is None:
        yield f"{node.name}() -> ?"


@pytest.mark.parametrize("module", MODULES)
def test_functions_are_annotated(module: str) -> None:
    missing = [
        name
        for node in ast.walk(tree(module))
        if isinstance(node, Function)
        for name in unannotated(node)
    ]
    assert not missing, f"{module}: no annotation for {', '.join(missing)}"


def test_all_is_sorted() -> None:
    """Of the package, as ``sorted`` does it; of the modules, as the linter does it."""
    import lazytensor

    assert lazytensor.__all__ == sorted(set(lazytensor.__all__))
    assert all(hasattr(lazytensor, name) for name in lazytensor.__all__)


def test_star_import_binds_no_modules() -> None:
    import lazytensor

    bound = {name: getattr(lazytensor, name) for name in lazytensor.__all__}
    modules = {name for name, value in bound.items() if isinstance(value, types.ModuleType)}
    assert not modules - {"io", "ome", "testing"}, "only the documented namespaces are modules"


def test_public_names_are_those_written_down() -> None:
    """A name is added or dropped on purpose: run this file as a script to write the new list."""
    import lazytensor

    written = NAMES.read_text(encoding="utf-8").split()
    assert sorted(lazytensor.__all__) == written


def fresh(code: str, **environment: str) -> str:
    """Output of ``code`` in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_building_a_plan_loads_no_heavy_module() -> None:
    """Neither importing nor building and printing a plan does; running one may."""
    code = (
        "import sys, lazytensor as lt; x = lt.asarray([[1, 2]]) + 1; repr(x.downsample((1, 2))[0]);"
        "lt.overlay([x, x]); x.dims; x.chunks; print(*sys.modules)"
    )
    assert not set(fresh(code).split()) & HEAVY


def test_names_come_from_where_type_checkers_see_them() -> None:
    import lazytensor
    from lazytensor.namespace import EXTENDED

    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lazytensor.")
        for alias in node.names
    }
    later = {"__array_api_version__", "__version__", "io", "ome", "testing", *EXTENDED}
    homes = {name: f"lazytensor.{home}" for name, home in lazytensor._HOME.items()}
    assert set(seen) == set(lazytensor.__all__) - later
    assert {name: homes[name] for name in seen} == seen


def test_import_budget(tmp_path: Path) -> None:
    """What ``import lazytensor`` adds to ``import numpy``: the one timed test there is.

    The processor time of the importing thread is its wall time on an idle machine and stays what it
    is on a busy one; that of the process would count NumPy's idle threads, which spin.
    """
    code = (
        "import time, numpy; start = time.thread_time(); import lazytensor;"
        "print(1e3 * (time.thread_time() - start))"
    )
    # An installed package is compiled; a checkout may be told to write no bytecode.
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}
    fresh(code, **compiled)
    cost = statistics.median(float(fresh(code, **compiled)) for _ in range(10))
    assert cost <= IMPORT_BUDGET_MS, f"import lazytensor costs {cost:.1f} ms more than numpy"


PRIVATE_PATHS = re.compile(r"(?<![\w./:-])/(?:root|work|tmp)\b")
TEST_DATA = "../shared"


def texts() -> Iterator[Path]:
    for pattern in ("*.md", "*.toml", "*.py", "Makefile", ".ci/run"):
        yield from REPOSITORY.glob(pattern)
    for folder in ("lazytensor", "tests", "tools", "benchmarks"):
        for suffix in ("py", "sh", "md", "txt", "json"):
            yield from (REPOSITORY / folder).rglob(f"*.{suffix}")


def test_no_text_names_a_path_of_one_machine() -> None:
    found = []
    for path in texts():
        text = path.read_text(encoding="utf-8")
        where = path.relative_to(REPOSITORY)
        found += [f"{where}: {match.group()}" for match in PRIVATE_PATHS.finditer(text)]
        if TEST_DATA in text and where.parts[0] != "tests":
            found.append(f"{where}: {TEST_DATA}")
    assert not found


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    import lazytensor

    NAMES.write_text("\n".join(sorted(lazytensor.__all__)) + "\n", encoding="utf-8")
