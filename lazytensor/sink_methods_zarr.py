"""Methods that write a tensor as zarr, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["ZarrSinkMethods"]


class ZarrSinkMethods:
    """Base of ``LazyTensor``: ``sink_zarr``."""

    __slots__ = ()

    def sink_zarr(
        self,
        store: Any,
        path: str = "",
        *,
        zarr_format: int = 3,
        chunks: Any = "auto",
        shards: Any = None,
        compressor: Any = "zstd",
        filters: Any = (),
        fill_value: Any = 0,
        attributes: Mapping[str, Any] | None = None,
        key_encoding: Any = None,
        mode: Literal["create", "overwrite", "append", "resume"] = "create",
        axis: int | str = 0,
        region: Any = None,
        align: Literal["error", "rmw"] = "error",
        write_empty: bool = False,
        consolidated: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        lazy: bool = False,
        engine: Any = "auto",
        progress: Any = None,
    ) -> Any:
        """Write the values as a zarr array, v3 or v2, with or without shards.

        Every stored object (a shard, where there are any, else a chunk) is computed by one task,
        whole, encoded and put once; none is read back. Nobody sees a part of the array: in a folder
        it is written under a hidden name and put into its place at the end, in an object store the
        document without which nobody looks for it comes last. Whatever goes wrong before, Ctrl-C
        and a killed process included, what was there is intact. Groups around it that are not there
        are made first. What a killed process has left in a folder is removed, or gone on with
        (``mode="resume"``), when somebody writes to the same place.

        Dim names become dimension names (in v2 as xarray writes them); what axes mean beside (unit,
        scale, offset, kind, labels) stands among the attributes, where ``scan_zarr`` finds it.
        Positions count from zero: an origin is not kept.

        Parameters
        ----------
        store, path
            Where the array lies: a path of a folder, any fsspec URL, ``(fs, path)``, a dict (filled
            at the end), a path that ends in ``.zip`` (a new file; ``mode="create"`` only), or an
            open zarr group or store that is local, in memory or of fsspec; and a path in that.
        zarr_format
            3 or 2.
        chunks
            Shape of what is encoded at once: a number for all dims, one for each dim, or a mapping
            by dim name in which absent dims are whole. ``"auto"``: the cells of what is read, made
            of 1 to 16 MiB.
        shards
            Shape of what is stored in one object, a multiple of ``chunks``; v3 only. None: chunks
            are objects.
        compressor
            None, a name (``"zstd"``, ``"blosc"``, ``"lz4"``, ``"gzip"``, ``"zlib"``, ``"bz2"``,
            ``"lzma"``, ``"pcodec"``) or ``"name:level"``, a mapping as in the metadata, a codec of
            numcodecs or zarr-python, or several of these.
        filters
            The same for what comes before: ``"delta"``, ``"shuffle"``, ``"fixedscaleoffset"``, ...
        fill_value
            Value of what is not stored; 0 is also an empty string.
        attributes
            JSON; NumPy's scalars and arrays become numbers and lists. None: those of the array that
            is read.
        key_encoding
            How objects are named: None (as each version does by itself), ``"default"``, ``"v2"``,
            or the separator ``"/"`` or ``"."``.
        mode
            ``"create"`` refuses what is there. ``"overwrite"`` replaces an array, in the end: at
            once in a folder; in an object store there is no array for the time of copying it within
            the store. ``"resume"`` creates, and goes on with what a killed process has begun:
            chunks that are there and can be decoded are not computed again, wherever all that one
            task makes are there. It is refused if the documents would be others, or, as far as can
            be told, the values. (Of large arrays in memory a sample is looked at; nothing is known
            of what only lives in the process that was killed.) A run that fails leaves what it
            wrote to the next one. An array that is there already, with the same documents, is left
            as it is. ``"append"`` makes an array longer, whose chunks, codecs and attributes stay
            what they are, or creates one: see ``region``.
        axis
            The dim, by number or name, along which ``"append"`` grows.
        region
            Write into an array that is there: slices, one for each dim or by dim name in a mapping,
            or an ``IndexDomain``, in positions of the array; of its dtype, and of what is said
            above about arrays nothing. The rest of it is not touched. Stored objects are replaced
            one by one, in a folder when all are computed, in an object store as they come; those
            that become empty are removed. The document is written again in the end, and with the
            new shape if the array grows. Several writers at once lose nothing as long as no object
            belongs to two of them; growing, and ``align="rmw"``, has a lock in a folder, and
            whoever finds that the array has changed since says so.
        align
            What to do with a region, or an end, that cuts stored objects: ``"error"`` refuses,
            ``"rmw"`` reads what else they hold and writes it again.
        write_empty
            Store objects also where all is the fill value. Else they are left out, and a tensor
            that is known to be that everywhere, such as ``lt.zeros``, is metadata and nothing else.
        consolidated
            Write consolidated metadata of the whole store when the array is there.
        storage_options
            Options of the fsspec file system.
        lazy
            Return a ``LazySink`` that writes when it is collected.
        engine, progress
            As in ``collect``; memory is bounded by ``max_memory``, which has to hold one object
            encoded and decoded.

        Returns
        -------
        A tensor over what was written: ``lt.scan_zarr(store, path)``. With ``lazy`` a ``LazySink``.

        Raises ``SinkExistsError`` for a place that is taken, ``SinkError`` where writing fails (it
        names the object, and has the ``errno`` of the system), or where it would replace what is
        read; ``ShapeError`` for chunks and shards that do not fit, ``DTypeError`` for dtypes that
        this version of zarr does not hold, ``FormatError`` for codecs, fill values and attributes
        that cannot be written, ``MemoryLimitError`` before the first byte where an object does not
        fit, ``TypeError`` for stores that cannot be written to, and as ``collect``. Rules:
        zarr-specs and zarr-extensions of zarr-developers.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     x = lt.asarray(np.arange(6).reshape(2, 3), dims=("y", "x"))
        ...     y = (x * 2).sink_zarr(folder, "double", chunks=(1, 3), compressor="blosc")
        ...     print(y, y[1].collect())
        LazyTensor(y: 2, x: 3)  int64  48 B  chunks (1, 3) [ 6  8 10]
        """
        from lazytensor.sinking_zarr import How, sink_zarr

        how = How(
            zarr_format, chunks, shards, compressor, filters, fill_value, attributes, key_encoding
        )
        return sink_zarr(
            self, store, path, how, mode=mode, axis=axis, region=region, align=align,
            write_empty=write_empty, consolidated=consolidated, storage_options=storage_options,
            lazy=lazy, engine=engine, progress=progress,
        )  # fmt: skip
