"""Methods that write a tensor and end laziness without ever having all values in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lazytensor.sink_methods_zarr import ZarrSinkMethods

__all__ = ["SinkMethods"]


class SinkMethods(ZarrSinkMethods):
    """Base of ``LazyTensor``: ``sink_npy``, ``sink_tenso``, ``sink_ome_arrow``, and, from
    ``sink_methods_zarr``, ``sink_zarr``."""

    __slots__ = ()

    def sink_npy(
        self,
        path: Any,
        *,
        mode: Literal["create", "overwrite"] = "create",
        storage_options: Mapping[str, Any] | None = None,
        lazy: bool = False,
        engine: Any = "auto",
        progress: Any = None,
    ) -> Any:
        """Write the values as a ``.npy`` file, in C order, block by block.

        Keywords and errors as ``sink_tenso``; ``DTypeError`` for dtypes that NumPy alone does not
        know. Numbers are little endian. Dim names and axes have no place in the format.

        Returns ``lt.scan_npy(path)``; with ``lazy`` a ``LazySink``.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     lt.arange(4).sink_npy(folder + "/x.npy").collect(), np.load(folder + "/x.npy")
        (array([0, 1, 2, 3]), array([0, 1, 2, 3]))
        """
        from lazytensor.sinking_npy import sink_npy

        return sink_npy(
            self, path, mode=mode, storage_options=storage_options, lazy=lazy, engine=engine,
            progress=progress,
        )  # fmt: skip

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

    def sink_ome_arrow(
        self,
        path: Any,
        *,
        image_id: str | Sequence[str] | None = None,
        encoding: Literal["chunks", "bytes", "list"] = "chunks",
        channels: Any = None,
        chunks: Any = None,
        compression: str | None = "zstd",
        chunk_compression: str | None = None,
        name: str | Sequence[str] | None = None,
        image_type: str | None = None,
        column: str = "ome_arrow",
        mode: Literal["create", "overwrite", "append"] = "create",
        storage_options: Mapping[str, Any] | None = None,
        lazy: bool = False,
        engine: Any = "auto",
        progress: Any = None,
    ) -> Any:
        """Write the values as an OME-Arrow image, or as several, block by block.

        Dims are known by their names, t, c, z, y, x, in any order; those that are not there are of
        size 1 in the file. Without any name, two are yx, three zyx and five tczyx. A dim "row" (of
        ``OmeArrowTable.stack()``, or of ``lt.stack(crops, axis="row")``) counts images: each is
        written as one of its own, a thousand crops in one call.

        Nobody sees a half of it: see ``sink_tenso``. (Object stores have no folders to be put into
        their place at once; there the files of a dataset are sent one after the other, and while
        one is replaced there is none for a moment.)

        Parameters
        ----------
        path
            A path, any fsspec URL, or ``(fs, path)``.
        image_id
            A text, for several images one for each. By default that with which a single image was
            read, else ``"image-00000"`` and so on.
        encoding
            ``"chunks"``: a folder, the typed chunk dataset of ome-arrow 0.1.0. Regions of images
            are read alone, all is kept (axes with units, scales and offsets, origin, channels,
            attributes), and memory holds a few chunks while it is written.

            ``"bytes"``: a Parquet file with a column of structs, an image in a row, its pixels as
            bytes. It keeps channels, the sizes of pixels in z, y and x (in single precision) and
            ``acquisition_datetime`` of the attributes, and has no place for more. Large images are
            written chunk by chunk and memory holds a few, but who reads any of it has to read all:
            a row cannot be split.

            ``"list"``: the same with pixels as lists of uint16, which every tool can read, and
            which take three to ten times as long to be read. For bool, uint8 and uint16.
        channels
            For each channel a name, a mapping with ``name``, ``color`` and other fields of the
            format (``id``, ``emission_um``, ``excitation_um``, ``illumination``), or an object with
            these, such as ``OmeImage.channels``. By default the labels of the axis.
        chunks
            Extents of chunks: a number for all dims, one for each dim, or a mapping by dim name in
            which absent dims are whole. ``"auto"``, the default: the cells of what is read, or
            planes, made of 1 to 4 MiB: halved along z, y, x, doubled along x, y, z. For regions of
            single planes give ``{"z": 1, ...}``; chunks of less than 1 MiB share row groups.
        compression
            Of Parquet: ``"zstd"``, ``"lz4"``, ``"snappy"``, ``"gzip"``, ``"brotli"`` or None.
        chunk_compression
            Of the bytes of each chunk, in place of that, for ``encoding="bytes"``: readers that
            know of it decode single chunks of a row.
        name, image_type
            As in the file; a name for each image, their ids by default; ``"image"`` or ``"label"``.
        column
            Name of the column of images in a Parquet file.
        mode
            ``"create"`` refuses what is there; ``"overwrite"`` replaces, in the end, a file, or a
            folder that was written by this. ``"append"`` adds images, if there is something: to a
            dataset, also of ome-arrow itself (other files in its folder stay), or rows to a Parquet
            file, other columns of which are null in them. What is there is copied, not decoded, as
            long as it takes to copy a file.
        storage_options
            Options of the fsspec file system. Files are sent there as a whole, from temporary files
            here.
        lazy
            Return a ``LazySink`` that writes when it is collected.
        engine, progress
            As in ``collect``; memory is bounded by ``max_memory``.

        Returns
        -------
        The table of images: ``lt.open_ome_arrow(path)``. With ``lazy`` a ``LazySink``.

        Raises ``DimensionError`` for dims that images do not have, ``DTypeError`` for dtypes that
        the format, or lists, do not hold, ``ShapeError`` for sizes that files cannot say;
        ``SinkExistsError`` for a place or an ``image_id`` that is taken, ``SinkError`` where
        writing fails or where it would replace what is read, ``MemoryLimitError`` before the first
        byte where a chunk, or a plane of a list, does not fit, and as ``collect``.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     x = lt.asarray(np.arange(12).reshape(2, 2, 3), dims=("c", "y", "x"))
        ...     table = x.sink_ome_arrow(folder + "/a", channels=["DNA", "ER"])
        ...     print(len(table), table[0].sel(c="ER").collect()[0, 0])
        1 [[ 6  7  8]
         [ 9 10 11]]
        """
        from lazytensor.sinking_ome_arrow import sink_ome_arrow

        return sink_ome_arrow(
            self, path, image_id=image_id, encoding=encoding, channels=channels, chunks=chunks,
            compression=compression, chunk_compression=chunk_compression, name=name,
            image_type=image_type, column=column, mode=mode, storage_options=storage_options,
            lazy=lazy, engine=engine, progress=progress,
        )  # fmt: skip
