"""Write the functions, operators and methods that follow from the operation table.

``python tools/generate.py`` writes ``lazytensor/_operations.py`` and ``lazytensor/_operators.py``;
``--check`` writes nothing and exits with 1 when they are not what the table says. The text is
checked in, so that editors, mypy and documentation see real signatures; results shown in examples
are computed from the table.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lazytensor.plan.ops import ELEMENTWISE, REDUCTIONS, Op, Reduction  # noqa: E402

STANDARD = "Array API standard 2025.12"
WIDTH = 96

# Operators whose dunder takes no other operand.
UNARY = {"abs", "invert", "neg", "pos"}

# How the annotations of parameters beyond axis and keepdims read.
TYPES = {"dtype": "DTypeLike", "correction": "float"}

OPERATIONS_HEAD = '''"""The elementwise functions and reductions of the namespace.

Written by tools/generate.py from the operation table in lazytensor/plan: change the table, not
this file.
"""

from __future__ import annotations

from lazytensor import build
from lazytensor.build import AxisLike, DTypeLike, Operand
from lazytensor.tensor import LazyTensor

__all__ = [
{names}
]
'''

OPERATORS_HEAD = '''"""The operators of a lazy tensor, and the methods that NumPy arrays have too.

Written by tools/generate.py from the operation table in lazytensor/plan: change the table, not
this file. An operand that no tensor can be made of is left to its own reflected operator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from lazytensor import build
from lazytensor.build import AxisLike, DTypeLike, Operand

if TYPE_CHECKING:
    from lazytensor.plan.node import Node

__all__ = ["Operators"]


class Operators:
    """Base of ``LazyTensor``: everything here follows from the operation table.

    >>> x = lt.asarray([1, 2, 3])
    >>> ((x + 1) * 2 > 5).collect()
    array([False,  True,  True])
    """

    __slots__ = ()

    if TYPE_CHECKING:
        _node: Node

        @classmethod
        def _wrap(cls, node: Node) -> Self: ...
'''


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or check them; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="only say whether they are stale")
    check = parser.parse_args(arguments).check
    status = 0
    for path, text in generated().items():
        current = path.read_text(encoding="utf-8") if path.exists() else None
        if current == text:
            continue
        if check:
            print(f"{path.relative_to(ROOT)} is stale: run python tools/generate.py")
            status = 1
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return status


def generated() -> dict[Path, str]:
    """The files and what they should hold."""
    package = ROOT / "lazytensor"
    return {
        package / "_operations.py": operations_source(),
        package / "_operators.py": operators_source(),
    }


def operations_source() -> str:
    """Source of the free functions."""
    rows: list[Op | Reduction] = [*ELEMENTWISE.values(), *REDUCTIONS.values()]
    rows.sort(key=lambda row: _natural(row.name))
    names = "\n".join(f'    "{row.name}",' for row in rows)
    parts = [OPERATIONS_HEAD.replace("{names}", names)]
    parts += [_function(row) if isinstance(row, Op) else _reducer(row) for row in rows]
    return "\n\n".join(parts)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that counts numbers in a name, as the linter wants ``__all__`` sorted."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def operators_source() -> str:
    """Source of the class of operators and methods."""
    elementwise = sorted(ELEMENTWISE.values(), key=lambda row: row.name)
    parts: list[str] = []
    for row in elementwise:
        if row.dunder is not None:
            parts.extend(_dunders(row))
    parts += [_reduction_method(row) for row in REDUCTIONS.values()]
    parts += [METHODS[name] for name in sorted(METHODS)]
    body = "\n".join(textwrap.indent(part, "    ") for part in parts)
    return f"{OPERATORS_HEAD}\n{body}"


# Functions.


def _function(row: Op) -> str:
    names = row.parameters
    if row.name == "clip":
        signature = "x: Operand, /, min: Operand | None = None, max: Operand | None = None"
        call = "build.clip(x, min, max)"
    else:
        signature = f"{', '.join(f'{name}: Operand' for name in names)}, /"
        call = f'build.elementwise("{row.name}", {", ".join(names)})'
    shapes = "The shape is that of ``x``." if row.arity == 1 else "Shapes broadcast."
    clash = "" if row.arity == 1 else "``ShapeError`` where shapes do not broadcast, "
    paragraphs = [
        f"{shapes} {row.note}",
        f"Raises {clash}``DTypeError`` for other than {row.takes}.",
        f"{STANDARD}, {row.section}, ``{row.name}`` (since {row.since}).",
    ]
    return _definition(
        row.name,
        signature,
        "LazyTensor",
        [row.doc, *paragraphs],
        _elementwise_example(row),
        f"return LazyTensor._wrap({call})",
    )


def _reducer(row: Reduction) -> str:
    keywords = [f"axis: {_axis_type(row)} = None", *_further(row), "keepdims: bool = False"]
    paragraphs = [
        row.doc,
        f"``axis``: {_axis_words(row)}; ``keepdims`` keeps reduced dims as size 1. {row.note}",
        f"Raises {_reduction_errors(row)}.",
        f"{STANDARD}, {row.section}, ``{row.name}`` (since {row.since}).",
    ]
    return _definition(
        row.name,
        f"x: Operand, /, *, {', '.join(keywords)}",
        "LazyTensor",
        paragraphs,
        _reduction_example(row, f"lt.{row.name}(lt.asarray({row.example}), axis=0)"),
        f"return LazyTensor._wrap({_reduction_call(row, 'x')})",
    )


def _axis_type(row: Reduction) -> str:
    return "int | str | None" if row.one_axis else "AxisLike"


def _axis_words(row: Reduction) -> str:
    return (
        "a number or a dim name, None for the flattened tensor"
        if row.one_axis
        else "numbers or dim names, one or a tuple, None for all"
    )


def _further(row: Reduction) -> list[str]:
    return [f"{name}: {TYPES[name]} = {default!r}" for name, default in row.parameters]


def _reduction_call(row: Reduction, operand: str) -> str:
    further = "".join(f", {name}={name}" for name, _ in row.parameters)
    return f'build.reduction("{row.name}", {operand}, axis, keepdims{further})'


def _reduction_errors(row: Reduction) -> str:
    empty = (
        ", ``ShapeError`` where there are no elements to choose from" if row.needs_values else ""
    )
    return (
        "``DimensionError`` for an axis that is not there, "
        f"``DTypeError`` for other than {row.takes}{empty}"
    )


# Operators and methods.


def _dunders(row: Op) -> Iterator[str]:
    if row.dunder in UNARY:
        yield _definition(
            f"__{row.dunder}__",
            "self",
            "Self",
            [f"As ``lt.{row.name}(self)``."],
            [],
            f'return self._wrap(build.elementwise("{row.name}", self))',
        )
        return
    yield _binary_dunder(row, f"__{row.dunder}__", "self, other")
    if not row.compares:
        yield _binary_dunder(row, f"__r{row.dunder}__", "other, self")


def _binary_dunder(row: Op, dunder: str, order: str) -> str:
    override = "  # type: ignore[override]" if dunder in ("__eq__", "__ne__") else ""
    return _definition(
        dunder,
        "self, other: Operand, /",
        "Self",
        [f"As ``lt.{row.name}({order})``."],
        [],
        f'node = build.operator("{row.name}", {order})\n'
        "return NotImplemented if node is None else self._wrap(node)",
        override,
    )


def _reduction_method(row: Reduction) -> str:
    keywords = [*_further(row), "keepdims: bool = False"]
    return _definition(
        row.name,
        f"self, axis: {_axis_type(row)} = None, *, {', '.join(keywords)}",
        "Self",
        [row.doc, f"``axis``: {_axis_words(row)}. As the function ``lt.{row.name}``."],
        _reduction_example(row, f"lt.asarray({row.example}).{row.name}(0)"),
        f"return self._wrap({_reduction_call(row, 'self')})",
    )


METHODS = {
    "clip": '''def clip(self, min: Operand | None = None, max: Operand | None = None) -> Self:
    """The values limited to ``[min, max]``, as the function ``lt.clip``.

    >>> lt.asarray([1, 5, 9]).clip(2, 8).collect()
    array([2, 5, 8])
    """
    return self._wrap(build.clip(self, min, max))
''',
    "conj": '''def conj(self) -> Self:
    """Complex conjugate, as the function ``lt.conj``.

    >>> lt.asarray([1 + 2j]).conj().collect()
    array([1.-2.j])
    """
    return self._wrap(build.elementwise("conj", self))
''',
    "imag": '''@property
def imag(self) -> Self:
    """Imaginary part; 0 for real numbers.

    >>> lt.asarray([1 + 2j]).imag.collect()
    array([2.])
    """
    return self._wrap(build.elementwise("imag", self))
''',
    "real": '''@property
def real(self) -> Self:
    """Real part.

    >>> lt.asarray([1 + 2j]).real.collect()
    array([1.])
    """
    return self._wrap(build.elementwise("real", self))
''',
    "round": '''def round(self, decimals: int = 0) -> Self:
    """Rounded to ``decimals`` decimal places, halves to the even digit, as ``numpy.round``.

    >>> lt.asarray([0.25, 1.5]).round(1).collect()
    array([0.2, 1.5])
    """
    return self._wrap(build.round_to(self, decimals))
''',
}


# Text.


def _definition(
    name: str,
    signature: str,
    result: str,
    paragraphs: list[str],
    example: list[str],
    body: str,
    comment: str = "",
) -> str:
    head = f"def {name}({signature}) -> {result}:{comment}"
    if len(head) > WIDTH and not comment:
        arguments = "".join(f"    {part},\n" for part in signature.split(", "))
        head = f"def {name}(\n{arguments}) -> {result}:"
    return f"{head}\n{textwrap.indent(_docstring(paragraphs, example) + body, '    ')}\n"


def _docstring(paragraphs: Iterable[str], example: list[str]) -> str:
    first, *rest = paragraphs
    if not rest and not example:
        return f'"""{first}"""\n'
    # Lines of one paragraph; the standard's section stands on a line of its own.
    text = [f'"""{first}', ""]
    for paragraph in rest:
        text += textwrap.wrap(paragraph, WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    text += ["", *example] if example else []
    return "\n".join([*text, '"""']) + "\n"


def _shown(values: np.ndarray) -> list[str]:
    return repr(values).split("\n")


def _elementwise_example(row: Op) -> list[str]:
    first, *rest = row.example
    call = ", ".join([f"lt.asarray({first})", *rest])
    values = [np.asarray(_value(text)) for text in row.example]
    # Python scalars are weak: give them the dtype that they take beside the others.
    strong = [v for v, text in zip(values, row.example, strict=True) if text.startswith("[")]
    dtype = np.result_type(*strong)
    operands = [v if v.ndim else v.astype(dtype) for v in values]
    return [f">>> lt.{row.name}({call}).collect()", *_shown(row.evaluate(*operands))]


def _reduction_example(row: Reduction, call: str) -> list[str]:
    return [f">>> {call}.collect()", *_shown(row.whole(np.asarray(_value(row.example)), (0,)))]


def _value(text: str) -> object:
    """A literal of the table, which may also name NumPy's constants."""
    value: object = eval(text, {"__builtins__": {}, "float": float})
    return value


if __name__ == "__main__":
    sys.exit(main())
