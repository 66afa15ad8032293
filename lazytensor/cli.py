"""The command line: look at an array, look at a plan, see the demo.

A thin face over the public functions. The operations of ``explain`` are flags that apply in the
order in which they stand; each is one row of ``_OPERATIONS``. Wrong usage and wrong input end with
exit code 2 and one line on standard error; a traceback is a bug.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from lazytensor import __version__
from lazytensor.cli_several import add_choices, chosen, listing
from lazytensor.errors import FormatError, LazyTensorError

if TYPE_CHECKING:
    from lazytensor.tensor import LazyTensor

__all__ = ["main"]

_BAD_INPUT = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` (without the program's name) and return its exit code.

    ``SystemExit`` is raised for ``--help`` (0) and wrong usage (2), as ``argparse`` does.

    >>> main(["info", "no/such/array.zarr"])
    2
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Plans are drawn with "└─" and "≤", which not every terminal or redirected file can hold.
        sys.stdout.reconfigure(errors="replace")
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing may be written when Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (LazyTensorError, OSError, ImportError) as error:
        # ImportError: the optional package that a URL needs. Where operands were built helps in a
        # program, not on a command line.
        lines = [line for line in str(error).splitlines() if "  built at " not in line]
        message = " ".join(" ".join(lines).split()) or type(error).__name__
        print(f"lazytensor {arguments.command}: error: {message}", file=sys.stderr)
        return _BAD_INPUT
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line, where argparse would print the usage as well."""
        self.exit(_BAD_INPUT, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lazytensor", description="Lazy tensors over stored arrays.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    info = commands.add_parser("info", help="shape, axes, chunks, codecs and pyramid of an array")
    info.add_argument("uri", metavar="URI", help="path or URL of an array or image")
    info.add_argument("--json", action="store_true", help="print JSON")
    add_choices(info)
    info.set_defaults(run=_info)

    explain = commands.add_parser("explain", help="the plan of a query, and what it would read")
    explain.add_argument("uri", metavar="URI", help="path or URL of an array or image")
    add_choices(explain)
    for flag, operation in _OPERATIONS.items():
        explain.add_argument(
            flag,
            dest="operations",
            metavar=operation.metavar,
            type=_step(operation),
            action="append",
            help=operation.help,
        )
    forms = explain.add_mutually_exclusive_group()
    forms.add_argument(
        "--format",
        choices=("plain", "tree", "dot", "json", "html"),
        default="plain",
        help="form of the plan (default: plain)",
    )
    forms.add_argument(
        "--json",
        action="store_const",
        const="json",
        default="plain",
        dest="format",
        help="short for --format json",
    )
    explain.add_argument(
        "--stage",
        choices=("logical", "physical"),
        default="logical",
        help="the operations, or the tasks that will run (default: logical)",
    )
    explain.add_argument("--rules", action="store_true", help="add the laws that fired")
    explain.set_defaults(run=_explain)

    demo = commands.add_parser("demo", help="a lazy query on an OME-Zarr, and a picture of it")
    demo.add_argument("uri", metavar="URI", nargs="?", help="an OME-Zarr; default: a small sample")
    demo.add_argument("--out", metavar="DIR", default="demo_out", help="folder for the picture")
    demo.set_defaults(run=_demo)
    return parser


def _info(arguments: argparse.Namespace) -> None:
    try:
        facts = _facts(arguments.uri, chosen(arguments))
    except FormatError:
        found = listing(arguments)
        if found is None:
            raise
        facts = found
    if arguments.json:
        print(json.dumps(facts, indent=2, default=_json_value))
        return
    more = facts.pop("more", 0)
    width = max(map(len, facts))
    for name, value in facts.items():
        lines = [_line(item) for item in value] if _is_table(value) else [_line(value)]
        print(f"{name:{width}}  {lines[0]}")
        for line in lines[1:]:
            print(f"{'':{width}}  {line}")
    if more:
        print(f"{'':{width}}  ... and {more:,} more")


def _explain(arguments: argparse.Namespace) -> None:
    x = chosen(arguments)
    for step in arguments.operations or ():
        x = step(x)
    print(x.explain(format=arguments.format, stage=arguments.stage, rules=arguments.rules))


def _demo(arguments: argparse.Namespace) -> None:
    from lazytensor.demo import run

    run(arguments.uri, arguments.out)


def _facts(uri: str, x: LazyTensor) -> dict[str, Any]:
    """What ``info`` prints, in its order; facts that an array lacks are absent."""
    facts: dict[str, Any] = {
        "uri": uri,
        "shape": list(x.shape),
        "dtype": str(x.dtype),
        "bytes": x.nbytes,
        "dims": list(x.dims),
        "origin": list(x.origin),
        "axes": [_axis(axis) for axis in x.axes],
        "chunks": list(x.chunks),
    }
    stored = x.storage
    if stored is not None:
        facts |= {
            "format": stored.format,
            "path": stored.path,
            "shards": None if stored.shards is None else list(stored.shards),
            "codecs": list(stored.codecs),
            "fill_value": stored.fill_value,
            "order": stored.order,
            **stored.statistics(),
        }
    facts["pyramid"] = [
        {"shape": list(level.shape), "scale": [axis.scale for axis in level.axes]}
        for level in x.levels
    ]
    return {name: value for name, value in facts.items() if not _is_missing(value)}


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str | list) and not value)


def _json_value(value: Any) -> Any:
    """Scalars of NumPy as Python has them; what JSON cannot say (complex, bytes) as text."""
    plain = value.item() if isinstance(value, np.generic) else value
    return plain if isinstance(plain, int | float | str) else str(plain)


def _axis(axis: Any) -> dict[str, Any]:
    facts = {
        "name": axis.name,
        "kind": axis.kind,
        "unit": axis.unit,
        "scale": axis.scale,
        "offset": axis.offset if axis.scale is not None else None,
        "labels": None if axis.labels is None else list(axis.labels),
    }
    return {name: value for name, value in facts.items() if not _is_missing(value)}


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and not isinstance(value[0], int | str)


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_line(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "(" + ", ".join(map(_line, value)) + ")"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


class _Operation(NamedTuple):
    """One flag of ``explain``: how its text is read, and what it does to the tensor."""

    metavar: str
    help: str
    parse: Callable[[str], Any]
    apply: Callable[[LazyTensor, Any], LazyTensor]


def _step(operation: _Operation) -> Callable[[str], Callable[[LazyTensor], LazyTensor]]:
    def parse(text: str) -> Callable[[LazyTensor], LazyTensor]:
        value = operation.parse(text)
        return lambda x: operation.apply(x, value)

    return parse


def _parse_index(text: str) -> tuple[Any, ...]:
    """NumPy's notation of ints, slices and ``...``, such as ``0,:,::2``."""
    return tuple(_parse_term(term.strip()) for term in text.split(","))


def _parse_term(term: str) -> Any:
    if term == "...":
        return Ellipsis
    parts = term.split(":")
    try:
        bounds = [int(part) if part.strip() else None for part in parts]
    except ValueError:
        bounds = []
    if len(bounds) == 1 and bounds[0] is not None:
        return bounds[0]
    if len(bounds) in (2, 3):
        return slice(*bounds)
    raise argparse.ArgumentTypeError(f"{term!r} is no int, slice or ... (as in 0,:,::2)")


def _parse_downsample(text: str) -> tuple[Any, str]:
    """``y=2,x=2:mean`` by name or ``1,2,2:max`` by position; the method may be left out."""
    factors, _, method = text.partition(":")
    pairs = [part.partition("=") for part in factors.split(",")]
    try:
        if all(separator for _, separator, _ in pairs):
            return {name.strip(): int(factor) for name, _, factor in pairs}, method or "mean"
        return [int(name) for name, _, _ in pairs], method or "mean"
    except ValueError:
        message = f"{text!r} is no list of factors (as in y=2,x=2:mean)"
        raise argparse.ArgumentTypeError(message) from None


def _parse_dtype(text: str) -> np.dtype:
    import lazytensor as lt

    try:
        return np.dtype(getattr(lt, text, text))
    except TypeError:
        raise argparse.ArgumentTypeError(f"{text!r} is no dtype (as in f4 or uint16)") from None


def _parse_quantized(text: str) -> str:
    from lazytensor.plan.quantization import QTYPES

    if text not in QTYPES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no quantized dtype (there are {', '.join(QTYPES)})"
        )
    return text


def _apply_quantize(x: LazyTensor, dtype: str) -> LazyTensor:
    import lazytensor as lt

    return lt.quantize(x, dtype).data


def _apply_downsample(x: LazyTensor, value: tuple[Any, str]) -> LazyTensor:
    factors, method = value
    return x.downsample(factors, method=method)


_OPERATIONS: dict[str, _Operation] = {
    "--index": _Operation("KEY", "index positions, as in 0,:,::2", _parse_index, lambda x, k: x[k]),
    "--downsample": _Operation(
        "FACTORS", "downsample, as in y=2,x=2:mean", _parse_downsample, _apply_downsample
    ),
    "--cast": _Operation(
        "DTYPE", "convert values, as in f4", _parse_dtype, lambda x, dtype: x.astype(dtype)
    ),
    "--quantize": _Operation(
        "DTYPE",
        "the integers that values are quantized to, as in quint8",
        _parse_quantized,
        _apply_quantize,
    ),
}
