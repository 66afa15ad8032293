"""Methods that write a tensor and end laziness without ever having all values in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["SinkMethods"]


class SinkMethods:
    """Base of ``LazyTensor``: ``sink_tenso``."""

    __slots__ = ()

    def sink_tenso(
        self,
        path: Any,
        *,
        chunks: Any = None,
        compress: bool = False,
        integrity: bool = True,
        quantize: str | Mapping[str, Any] | None = None,
        mode: Literal["create", "overwrite"] = "create",
        storage_options: Mapping[str, Any] | None = None,
        lazy: bool = False,
        engine: Any = "auto",
        progress: Any = None,
    ) -> Any:
        """Write the values as a tenso packet, or as a folder of them, block by block.

        Nobody sees a half of it: everything is written under a hidden name and put into its place
        at the end. Whatever goes wrong before, Ctrl-C and a killed process included, what was there
        is intact. (A machine that loses its power may have lost it.) What a killed process has left
        is removed when somebody writes to the same place; in object stores and on Windows, which
        have no locks for it, it stays, and is in nobody's way.

        Parameters
        ----------
        path
            A path, any fsspec URL, or ``(fs, path)``.
        chunks
            None: one file, one packet, of at most 10^9 elements. ``"auto"``, a number for all dims,
            one for each dim, or a mapping by dim name in which absent dims are whole: a folder with
            ``tenso.json`` and a packet for each chunk. It keeps dims, axes, origin and attributes,
            for which a single packet has no place. Chunks of nothing but zeros are left out.
        compress
            LZ4, in blocks of 256 KiB that are found and read alone.
        integrity
            A checksum in each packet.
        quantize
            ``"qint8"``, ``"quint8"``, ``"qint4"``, ``"quint4"``, or a dict with ``dtype`` and other
            arguments of ``lt.quantize`` (``scheme``, ``axis``, ``group_size``, ``mode``, ``nan``).
            A single packet has the parameters of the whole tensor, which are found in a pass over
            the values before; each packet of a folder has its own.
        mode
            ``"create"`` refuses what is there; ``"overwrite"`` replaces, in the end, a file or a
            folder that was written by this.
        storage_options
            Options of the fsspec file system. A single packet is sent there as a whole, from a
            temporary file here.
        lazy
            Return a ``LazySink`` that writes when it is collected.
        engine, progress
            As in ``collect``; memory is bounded by ``max_memory``.

        Returns
        -------
        A tensor over what was written: ``lt.scan_tenso(path)``. With ``lazy`` a ``LazySink``.

        Raises ``SinkExistsError`` for a place that is taken, ``SinkError`` where writing fails (it
        names the chunk, and has the ``errno`` of the system) or where it would replace what is
        read, ``ShapeError`` for what is too large for a packet, ``DTypeError`` for dtypes that
        packets do not hold, ``ValueError`` for NaN with ``nan="raise"``, ``MemoryLimitError``
        before the first byte where a chunk does not fit, and as ``collect``. Format: tenso 0.24.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     x = lt.asarray(np.arange(6).reshape(2, 3), dims=("y", "x"))
        ...     y = (x * 2).sink_tenso(folder + "/y.tenso", chunks=(1, 3))
        ...     print(y, y[1].collect())
        LazyTensor(y: 2, x: 3)  int64  48 B  chunks (1, 3) [ 6  8 10]
        """
        from lazytensor.sinking import sink_tenso

        return sink_tenso(
            self, path, chunks=chunks, compress=compress, integrity=integrity, quantize=quantize,
            mode=mode, storage_options=storage_options, lazy=lazy, engine=engine,
            progress=progress,
        )  # fmt: skip
