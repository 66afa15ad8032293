"""Ending laziness, and looking at a plan without ending it.

The methods by which a tensor is computed, explained, estimated and written down. They hold no logic
of plans or engines: each checks its arguments and hands one node over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from os import PathLike
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self

import numpy as np

from lazytensor.callsite import about, name_operands
from lazytensor.collecting import (
    EVERY_PASS,
    check_flags,
    check_out,
    run,
    run_in_background,
    run_into,
)
from lazytensor.config import QueryOptFlags
from lazytensor.errors import LazyTensorError, SourceNotFoundError
from lazytensor.handoff import check_host_device, check_target, hand_over
from lazytensor.looking import Look, displayed
from lazytensor.plan.memory import MemorySource
from lazytensor.plan.nodes import Scan
from lazytensor.plan.spec import TensorSpec
from lazytensor.protocols import Protocols

if TYPE_CHECKING:
    import polars as pl

    from lazytensor.plan.cost import Estimate

__all__ = ["Running"]


class Running(Protocols):
    """Base of ``LazyTensor``: ``collect``, ``explain``, ``estimate``, ``serialize`` and kin."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def attrs(self) -> Mapping[str, Any]: ...

    def collect(
        self,
        *,
        to: Literal["numpy", "torch", "jax", "cupy", "dlpack"] = "numpy",
        device: Any = None,
        out: np.ndarray | None = None,
        engine: Any = "auto",
        optimizations: QueryOptFlags = EVERY_PASS,
        progress: Any = None,
        background: bool = False,
    ) -> Any:
        """Compute the values.

        Parameters
        ----------
        to, device
            Where the result is put: an array of which library, on which of its devices.
        out
            NumPy array of exactly the tensor's shape and dtype, filled and returned.
        engine
            Where it is computed: ``"auto"``, ``"local"``, ``"interpret"`` or an engine object.
        optimizations
            Which optimizer passes run.
        progress
            A progress bar: True, False, or None for what ``Config`` says.
        background
            Return at once a handle with ``result(timeout)``, ``done()``, ``cancel()``,
            ``exception(timeout)`` and ``add_done_callback(f)``.

        Returns
        -------
        A C-contiguous, writable array that owns its memory, aligned to 64 bytes, or ``out``.

        Raises ``ShapeError`` or ``DTypeError`` for an ``out`` that does not fit, ``HoleError`` and
        ``MemoryLimitError`` before the first byte is read, ``SourceError`` while reading, and
        ``ImportError`` naming the extra that ``to`` needs.

        >>> (lt.asarray([1, 2, 3]) * 2).collect()
        array([2, 4, 6])
        """
        if to == "numpy" and device is None and out is None and not background:
            try:
                return run(
                    (self._node,), engine=engine, optimizations=optimizations, progress=progress
                )[0]
            except LazyTensorError as error:
                name_operands(error, self)
                raise
        node = self._node
        check_target(to)
        if to in ("numpy", "dlpack"):
            check_host_device(device)
        if out is not None:
            if to != "numpy":
                raise ValueError(f"out= is a NumPy array, and the result is asked for to={to!r}")
            with about(self):
                check_out(node, out)
        keywords = {"engine": engine, "optimizations": optimizations, "progress": progress}

        def compute(cancel: Any = None) -> Any:
            with about(self):
                if out is not None:
                    return run_into(node, out, cancel=cancel, **keywords)
                return hand_over(run((node,), cancel=cancel, **keywords)[0], to, device)

        return run_in_background(compute) if background else compute()

    async def collect_async(self, **keywords: Any) -> Any:
        """As ``collect``, awaited: the event loop runs on while the plan does.

        Cancelling the awaiting task stops the run.

        >>> import asyncio
        >>> asyncio.run(lt.asarray([1, 2]).collect_async())
        array([1, 2])
        """
        import asyncio

        if keywords.pop("background", False):
            raise TypeError("collect_async runs in the background already; await it")
        loop = asyncio.get_running_loop()
        ended: asyncio.Event = asyncio.Event()
        handle = self.collect(background=True, **keywords)

        def wake(_: Any) -> None:
            # A loop that is closed by then has nobody waiting in it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

        handle.add_done_callback(wake)
        try:
            await ended.wait()
        except asyncio.CancelledError:
            handle.cancel()
            raise
        return handle.result()

    def to_numpy(self) -> np.ndarray:
        """The values as a NumPy array: ``collect()``.

        >>> lt.asarray([1, 2]).to_numpy()
        array([1, 2])
        """
        result: np.ndarray = self.collect()
        return result

    def to_torch(self, device: Any = None) -> Any:
        """The values as a torch tensor, on ``device``."""
        return self.collect(to="torch", device=device)

    def to_jax(self, device: Any = None) -> Any:
        """The values as a jax array, on ``device``."""
        return self.collect(to="jax", device=device)

    def to_cupy(self, device: Any = None) -> Any:
        """The values as a cupy array, on ``device`` (a number)."""
        return self.collect(to="cupy", device=device)

    def to_dlpack(self, device: Any = None) -> Any:
        """The values as an object with ``__dlpack__``, on the CPU.

        >>> np.from_dlpack(lt.asarray([1, 2]).to_dlpack())
        array([1, 2])
        """
        return self.collect(to="dlpack", device=device)

    def persist(
        self,
        *,
        engine: Any = "auto",
        optimizations: QueryOptFlags = EVERY_PASS,
        progress: Any = None,
    ) -> Self:
        """Compute the values now, and give a tensor that has them in memory.

        It is like this one in all else that is known without values: shape, dtype, names,
        coordinates, axes, cells and attributes. Plans built on it read nothing of what this one
        reads. The tensor itself stays what it is. (``cache`` is for what several parts of one plan
        share; nothing is computed before that plan is.)

        Parameters
        ----------
        engine, optimizations, progress
            As in ``collect``.

        Returns
        -------
        A tensor whose values are a snapshot; the memory is given back with the last plan on it.

        Raises as ``collect``.

        >>> x = lt.asarray(np.arange(12), dims=("x",))[2:8]
        >>> y = (x * 10).persist()
        >>> y.domain, y[4:].collect()
        ({ "x": [2, 8) }, array([60, 70]))
        """
        values = self.collect(engine=engine, optimizations=optimizations, progress=progress)
        node = self._node
        spec = TensorSpec(node.domain, node.dtype, node.axes, node.grid)
        return self._wrap(Scan(MemorySource.standing_in(values, spec, self.attrs)))

    def explain(
        self,
        *,
        format: Literal["plain", "tree", "dot", "json", "html"] = "plain",
        optimized: bool = True,
        stage: Literal["logical", "physical"] = "logical",
        rules: bool = False,
        engine: Any = "auto",
        optimizations: QueryOptFlags = EVERY_PASS,
    ) -> str:
        """The plan in words, and what it will read; no data is read.

        Parameters
        ----------
        format
            ``"plain"``: a line for each operation. ``"tree"``: domains and chunks as well.
            ``"dot"``: Graphviz. ``"json"``: an object for programs, with the keys that
            ``plan.explain_formats.plan_json`` and ``plan.explain_work.explain_work`` list.
            ``"html"``: an element for a page.
        optimized
            False shows the plan as it was written, and what running that would read.
        stage
            ``"logical"``: the operations. ``"physical"``: the stages, tasks and steps that will
            run. (Little data in memory, and all of it with the interpreter, is one task whose steps
            are the operations.)
        rules
            Adds the laws that fired: what each turned into what, and the bytes that saves.
        engine, optimizations
            As in ``collect``.

        Raises ``ValueError`` for other formats and stages.

        >>> print((lt.asarray([1, 2, 3])[1:] * 2).explain())
        multiply ...
        """
        return Look(
            self._node,
            stage,
            engine=engine,
            optimizations=optimizations,
            optimized=optimized,
            rules=rules,
        ).text(format)

    def show_graph(
        self,
        *,
        optimized: bool = True,
        stage: Literal["logical", "physical"] = "logical",
        show: bool = True,
        output_path: str | PathLike[str] | None = None,
        raw_output: bool = False,
        engine: Any = "auto",
        optimizations: QueryOptFlags = EVERY_PASS,
    ) -> str | None:
        """The plan as a picture; no data is read and no other program is needed.

        Parameters
        ----------
        optimized, stage, engine, optimizations
            As in ``explain``.
        show
            Displays the picture where IPython runs; returned is None then. Elsewhere nothing is
            opened and the SVG text is returned.
        output_path
            File to write: ``.svg``, ``.html`` (with the plan to unfold below the picture) or
            ``.dot`` (Graphviz).
        raw_output
            Return the text of a Graphviz graph of all operations instead.

        Returns
        -------
        The SVG text; DOT text with ``raw_output``; None if the picture was displayed.

        Raises ``ValueError`` for another suffix or stage.

        >>> (lt.asarray([1, 2, 3]) * 2).show_graph(show=False)[:4]
        '<svg'
        """
        look = Look(
            self._node, stage, engine=engine, optimizations=optimizations, optimized=optimized
        )
        if output_path is not None:
            look.write(output_path)
        if raw_output:
            return look.text("dot")
        picture = look.picture()
        return None if show and displayed(picture) else picture

    def profile(
        self,
        *,
        engine: Any = "auto",
        optimizations: QueryOptFlags = EVERY_PASS,
        progress: Any = None,
    ) -> tuple[np.ndarray, pl.DataFrame]:
        """Compute the values, and where the time went: ``(result, frame)``.

        The frame has a row for each physical operation of each stage: ``stage``, ``operation``,
        ``tasks`` (in how many it ran), ``read_s``, ``decode_s``, ``kernel_s`` and ``wait_s``
        (seconds, added up over threads), ``bytes_read``, ``bytes_decoded`` and ``cache_hits``.
        ``exec.profile`` says how each is measured.

        Raises ``ImportError`` where Polars is not installed; otherwise as ``collect``.

        >>> result, frame = (lt.asarray([1, 2, 3]) * 2).profile()
        >>> result, frame.columns[:3]
        (array([2, 4, 6]), ['stage', 'operation', 'tasks'])
        """
        from lazytensor.exec.profile import COLUMNS, profiling, rows_of

        frames = _polars()
        with profiling() as recorder:
            values = self.collect(engine=engine, optimizations=optimizations, progress=progress)
        return values, frames.DataFrame(rows_of(recorder), schema=COLUMNS, orient="row")

    def estimate(
        self,
        *,
        exact: bool = False,
        engine: Any = "auto",
        optimizations: QueryOptFlags = EVERY_PASS,
    ) -> Estimate:
        """Tasks, chunks, bytes and memory of a collect; no data is read.

        Tasks, chunks and decoded bytes are exact, memory is an upper bound. Stored bytes are
        extrapolated from at most 64 units unless ``exact``: then the tasks are gone through and
        sizes and shard indices looked up, which may take long. ``lt.Estimate`` says what each
        number means.

        >>> lt.asarray([1, 2, 3]).estimate().bytes_read
        0
        """
        from lazytensor.exec.estimate import estimate

        flags = check_flags(optimizations)
        return estimate(self._node, engine=engine, optimizations=flags, exact=exact)

    def serialize(
        self,
        file: str | PathLike[str] | BinaryIO | None = None,
        *,
        format: Literal["json", "binary"] = "json",
    ) -> str | bytes | None:
        """The plan as a document: JSON text, or bytes that may hold arrays of any size.

        ``file``: a path or a binary file to write to instead of returning the document. No code, no
        pickle and no storage options are written. Raises ``SerializationError`` for arrays in
        memory above 64 KiB (JSON), functions without a name to import them by, and sources that
        cannot be opened again.

        >>> text = (lt.asarray([1, 2]) + 1).serialize()
        >>> lt.LazyTensor.deserialize(text).collect()
        array([2, 3])
        """
        from lazytensor.plan.serde import dumps

        data = dumps(self._node, format=format)
        if file is None:
            return data.decode() if format == "json" else data
        if isinstance(file, (str, PathLike)):
            with open(file, "wb") as opened:
                opened.write(data)
        else:
            file.write(data)
        return None

    @classmethod
    def deserialize(
        cls,
        source: str | bytes | PathLike[str] | BinaryIO,
        *,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """The tensor of a document that ``serialize`` wrote.

        ``source``: the document, a path or a binary file. ``functions`` maps ``"module:qualname"``
        to the functions that the plan may call; ``storage_options`` are handed to its sources.
        Raises ``SerializationError`` for what is no such document, or names other functions.
        """
        from lazytensor.plan.serde import loads

        data = _document(source)
        return cls._wrap(loads(data, functions=functions, storage_options=storage_options))


def _polars() -> Any:
    try:
        import polars as pl
    except ImportError as error:
        raise ImportError("a profile is a Polars frame: pip install polars") from error
    return pl


def _document(source: str | bytes | PathLike[str] | BinaryIO) -> str | bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, str) and source.lstrip().startswith("{"):
        return source
    if isinstance(source, (str, PathLike)):
        try:
            with open(source, "rb") as opened:
                return opened.read()
        except FileNotFoundError:
            raise SourceNotFoundError(f"there is no document at {source!r}") from None
    return source.read()
