"""Tensors of what is stored: files, folders and URLs.

Metadata is read once, here; data is read when a plan that needs it is collected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lazytensor.containers import ZarrGroup, open_group
from lazytensor.containers_ome import OmeZarr, open_ome, scan_ome
from lazytensor.errors import FormatError, SourceNotFoundError
from lazytensor.per_dim import check_names
from lazytensor.plan.garbage import importing
from lazytensor.tensor import LazyTensor

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["open_ome_zarr", "open_zarr", "scan", "scan_npy", "scan_ome_zarr", "scan_zarr"]

Options = Mapping[str, Any] | None


def scan(uri: Any, **options: Any) -> LazyTensor:
    """The one array at a place, whatever its format; ``options`` go to the scanner of the format.

    Recognises ``.npy`` files (``scan_npy``), tenso packets and folders of them (``scan_tenso``),
    zarr and N5 arrays, groups that hold one array (``scan_zarr``), OME-Zarr with one image
    (``scan_ome_zarr``), and OME-Arrow tables and datasets with one (``scan_ome_arrow``). ``path=``
    names an array in a zarr group; ``image=`` or ``well=`` choose in an OME-Zarr, ``row=``,
    ``column=`` or ``image_id=`` in an OME-Arrow table.

    Raises ``FormatError`` listing what is there when that is several arrays, or when the format is
    not known, and ``SourceNotFoundError`` when there is nothing.

    >>> from tempfile import TemporaryDirectory
    >>> from lazytensor.sample import write_sample
    >>> with TemporaryDirectory() as folder:
    ...     lt.scan(write_sample(folder), level=2).shape
    (2, 8, 64, 80)
    """
    with importing():
        from lazytensor.io import npy, zarr
        from lazytensor.io.ome_arrow.sniff import holds_dataset, is_ome_arrow
        from lazytensor.io.tenso.sniff import is_tenso

    if uri is None or isinstance(uri, (int, float, np.ndarray, LazyTensor)):
        raise TypeError(
            f"scan takes a path, a URL, bytes or an open store, not {type(uri).__name__}; "
            f"asarray takes arrays"
        )
    if npy.is_npy(uri):
        return scan_npy(uri, **options)
    if is_tenso(uri):
        from lazytensor.scanning_tenso import scan_tenso

        return scan_tenso(uri, **options)
    if is_ome_arrow(uri):
        return _only_row(uri, options)
    if options.get("path"):  # of an array: what holds it need not be looked at
        return scan_zarr(uri, **options)
    sniffed = {k: options[k] for k in ("missing_status", "storage_options") if k in options}
    try:
        found = zarr.sniff(uri, **sniffed)
    except SourceNotFoundError:
        if not holds_dataset(uri, *_place_options(options)):
            raise
        return _only_row(uri, options)
    match found:
        case "zarr-array":
            return scan_zarr(uri, **options)
        case "ome-zarr":
            return _only_image(uri, options)
        case "zarr-group":
            return _only_array(uri, options)
    if holds_dataset(uri, *_place_options(options)):
        return _only_row(uri, options)
    raise FormatError(
        f"{uri!r} is neither a .npy file, a tenso packet, a zarr array, OME-Zarr nor OME-Arrow; "
        f"lt.from_array takes arrays that another library has opened"
    )


def _only_row(uri: Any, options: dict[str, Any]) -> LazyTensor:
    from lazytensor.scanning_ome_arrow import scan_only

    return scan_only(uri, **options)


def _place_options(options: Mapping[str, Any]) -> tuple[Options, Sequence[int]]:
    """What is known of how to ask for a place."""
    return options.get("storage_options"), options.get("missing_status", (404,))


def _only_image(uri: Any, options: dict[str, Any]) -> LazyTensor:
    opened = open_ome_zarr(uri, storage_options=options.get("storage_options"))
    chosen = {"image", "well", "label"} & options.keys()
    if not chosen and (opened.plate is not None or len(opened) != 1):
        names = ", ".join(repr(image.path) for image in opened.images[:20])
        held = f"images {names}" if opened.plate is None else f"a plate, {opened.plate!r}"
        raise FormatError(f"{uri!r} holds {held}: use lt.open_ome_zarr, or name image= or well=")
    return scan_ome_zarr(uri, **options)


def _only_array(uri: Any, options: dict[str, Any]) -> LazyTensor:
    group = open_zarr(uri, storage_options=options.get("storage_options"))
    arrays = list(group.arrays())
    if len(arrays) == 1 and not group.groups():
        return scan_zarr(uri, arrays[0], **options)
    raise FormatError(
        f"{uri!r} is a zarr group with arrays {arrays or 'none'} and groups "
        f"{list(group.groups()) or 'none'}: use lt.open_zarr, or lt.scan_zarr(store, path)"
    )


def scan_zarr(
    store: Any,
    path: str = "",
    *,
    dims: Sequence[str | None] | None = None,
    missing: Literal["fill", "raise"] = "fill",
    missing_status: Sequence[int] = (404,),
    storage_options: Options = None,
) -> LazyTensor:
    """The array at a path of a store: zarr v2, v3 (specification 3.1 included) or N5.

    Only metadata is read. Read cells (``chunks``) are those that can be read alone: the inner
    chunks of shards. Dims of an N5 array are slowest first, the reverse of how N5 lists them.

    Parameters
    ----------
    store
        A path or ``os.PathLike`` of a folder or a zip file; any fsspec URL (``"s3://..."``,
        ``"https://..."``, ``"zip://inner/path::s3://..."``), ``(fs, path)`` or ``UPath``; a
        ``dict[str, bytes]``; an open zarr array, group or store of any kind.
    path
        Of the array in the store, ``"a/b"``.
    dims
        Dim names instead of those in the metadata (in v2 those that xarray writes).
    missing
        Chunks that are not there read as the fill value, or raise ``SourceNotFoundError``. Chunks
        that the index of a shard declares empty are the fill value either way.
    missing_status
        HTTP statuses that mean "not there". A bucket that may not be listed says 403 for it:
        ``(403, 404)``.
    storage_options
        Options of the fsspec file system.

    Remote stores are asked with as many requests at once as the option ``io_concurrency`` says
    (128), again after failures that may pass, and so that all parts of an object are of one
    content.

    Raises ``SourceNotFoundError`` when there is nothing, ``FormatError`` when it is a group or its
    metadata breaks the rules, ``DTypeError`` for dtypes that are not supported (Python objects,
    byte strings of variable length), ``SourceError`` when the store fails, ``ImportError`` naming
    what to install when the file system of a URL is missing. Reading raises ``ChunkDecodeError`` or
    ``ChecksumError`` for damaged chunks, ``SourceChangedError`` when the metadata has changed.
    Rules: zarr-specs and zarr-extensions of zarr-developers; the README of saalfeldlab/n5.

    >>> store = {
    ...     ".zarray": b'''{"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<u2",
    ...                     "compressor": null, "filters": null, "fill_value": 7, "order": "C"}''',
    ...     "0": bytes([1, 0, 2, 0]),
    ... }
    >>> lt.scan_zarr(store, dims=["x"])
    LazyTensor(x: 4)  uint16  8 B  chunks (2,)
    >>> lt.scan_zarr(store).collect()
    array([1, 2, 7, 7], dtype=uint16)
    """
    with importing():
        from lazytensor.io import zarr

    check_names(dims)
    source = zarr.scan(
        store,
        path,
        dims=dims,
        missing=missing,
        missing_status=missing_status,
        storage_options=storage_options,
    )
    return LazyTensor._from_source(source)


def open_zarr(
    store: Any,
    path: str = "",
    *,
    consolidated: bool | None = None,
    storage_options: Options = None,
) -> ZarrGroup:
    """The zarr (v2, v3) or N5 group at a path of a store: a mapping to tensors and groups.

    ``group["a/b"]`` is a tensor or a group. ``consolidated``: None uses consolidated metadata where
    there is some (it is then believed in everything, also where nothing else was written), False
    never, True raises ``FormatError`` without it. A folder without metadata that holds nodes is a
    group too. ``store``, ``storage_options`` and errors as ``scan_zarr``; ``FormatError`` when
    there is an array.

    >>> store = {
    ...     "zarr.json": b'{"zarr_format": 3, "node_type": "group", "attributes": {"by": "me"}}',
    ...     "raw/.zarray": b'''{"zarr_format": 2, "shape": [4], "chunks": [2], "dtype": "<u2",
    ...         "compressor": null, "filters": null, "fill_value": 7, "order": "C"}''',
    ... }
    >>> group = lt.open_zarr(store)
    >>> list(group), dict(group.attrs), group["raw"]
    (['raw'], {'by': 'me'}, LazyTensor(4)  uint16  8 B  chunks (2,))
    """
    return open_group(
        store,
        path,
        wrap=LazyTensor._from_source,
        consolidated=consolidated,
        storage_options=storage_options,
    )


def open_ome_zarr(store: Any, *, storage_options: Options = None) -> OmeZarr:
    """The images, labels and plates of an OME-Zarr store, versions 0.1 to 0.5.

    The root may be an image, a collection of images (``bioformats2raw.layout``), a group of labels,
    a plate, or a well. Axes have the scale and translation of each level in world units; before 0.4
    metadata has none, and ``sel`` by world positions is refused. ``store`` and
    ``storage_options`` as ``scan_zarr``; nothing is listed, so a plain HTTP server will do.

    Raises ``SourceNotFoundError`` when there is no group, ``FormatError`` when there is no OME-Zarr
    metadata, it breaks the rules, or is of another version (0.6). Rules: ngff.openmicroscopy.org.

    >>> from tempfile import TemporaryDirectory
    >>> from lazytensor.sample import write_sample
    >>> with TemporaryDirectory() as folder:
    ...     image = lt.open_ome_zarr(write_sample(folder))[0]
    ...     print(image[1].shape, [channel.name for channel in image.channels])
    (2, 8, 128, 160) ['nuclei', 'spots']
    """
    return open_ome(store, wrap=LazyTensor._from_source, storage_options=storage_options)


def scan_ome_zarr(
    store: Any,
    image: int | str = 0,
    *,
    level: int = 0,
    label: str | None = None,
    well: str | None = None,
    field: int = 0,
    storage_options: Options = None,
) -> LazyTensor:
    """One resolution of one image of an OME-Zarr store, with its axes and its pyramid.

    Parameters
    ----------
    store, storage_options
        As ``scan_zarr``.
    image, level
        Which image (its number, or the path of its group), and which of its levels, finest first.
    label
        Name of a label image of that image, to be scanned in its place.
    well, field
        Which well of a plate (``"B/7"``), and which field of it.

    Raises as ``open_ome_zarr``; ``OutOfBoundsError`` for an image, level or field that does not
    exist, ``SourceNotFoundError`` for a label or well that does not.

    >>> from tempfile import TemporaryDirectory
    >>> from lazytensor.sample import write_sample
    >>> with TemporaryDirectory() as folder:
    ...     x = lt.scan_ome_zarr(write_sample(folder), level=1)
    ...     x.sel(c="nuclei", y=slice(10.0, 20.0)).shape
    (8, 20, 160)
    """
    tensor: LazyTensor = scan_ome(
        store,
        image,
        level=level,
        label=label,
        well=well,
        field=field,
        wrap=LazyTensor._from_source,
        storage_options=storage_options,
    )
    return tensor


def scan_npy(
    source: str | PathLike[str] | bytes | Any,
    *,
    mmap: bool = False,
    storage_options: Options = None,
) -> LazyTensor:
    """The array in a ``.npy`` file.

    ``source``: a path, any fsspec URL, ``(fs, path)``, or the bytes of a file. ``mmap=True`` maps a
    local file without reading it; the file must not be truncated while a result lives. Raises
    ``SourceNotFoundError``, ``FormatError`` for a file that is no ``.npy`` or is truncated,
    ``DTypeError`` for Python objects.

    >>> import io
    >>> file = io.BytesIO(); np.save(file, np.arange(6).reshape(2, 3))
    >>> lt.scan_npy(file.getvalue())[:, 1].collect()
    array([1, 4])
    """
    from lazytensor.io import npy

    return LazyTensor._from_source(npy.scan(source, mmap=mmap, storage_options=storage_options))
