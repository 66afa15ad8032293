"""OME-Zarr: finding images, labels, plates and their arrays in a store, versions 0.1 to 0.5.

What is said in metadata (see ``ome_metadata``) but does not change how values are read is taken as
it is found; what would make a read wrong (missing arrays, ranks that differ, transformations that
are not understood) is a ``FormatError``. Everything is found by the paths that metadata names and
nothing by listing a folder, so a plain HTTP server will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lazytensor.errors import FormatError, SerializationError
from lazytensor.io.ome_levels import OmeLevel
from lazytensor.io.ome_metadata import (
    SUPPORTED,
    Channel,
    ImageMetadata,
    LevelMetadata,
    OmeAttributes,
    parse_image,
    parse_well,
    paths_in,
    release_of,
)
from lazytensor.io.store import join_key
from lazytensor.io.store_open import resolve_store
from lazytensor.io.zarr.document import Fields
from lazytensor.io.zarr.metadata import ArrayMetadata, GroupMetadata
from lazytensor.io.zarr.node import Catalog, Node, open_catalog
from lazytensor.io.zarr.source import Pyramid, ZarrSource
from lazytensor.plan.spec import Axis

__all__ = [
    "attributes_of",
    "from_json",
    "image_places",
    "label_paths",
    "open_levels",
    "read_attributes",
]

_COLLECTION = "bioformats2raw.layout"
_VERSIONED = ("plate", "well", "image-label")


def read_attributes(catalog: Catalog, path: str = "") -> OmeAttributes | None:
    """The OME attributes of the group at a path, or None if there is no group or it has none.

    Raises ``FormatError`` for a version that is not 0.1 to 0.5.
    """
    return attributes_of(catalog, path, catalog.find(path))


def attributes_of(catalog: Catalog, path: str, node: Node | None) -> OmeAttributes | None:
    """The same of a node that was found already."""
    if node is None or not isinstance(node.metadata, GroupMetadata):
        return None
    is_v2 = node.metadata.zarr_format == 2
    where = f"{catalog.store.name}/{join_key(node.path, '.zattrs' if is_v2 else 'zarr.json')}"
    attributes = Fields(node.metadata.attributes, where if is_v2 else f"{where}: attributes")
    if "ome" in attributes.document:
        fields = attributes.fields("ome")
        version = fields.document.get("version")
    else:
        fields = attributes
        version = _version_v4(attributes)
    text = str(version if version is not None else _default_version(node.metadata))
    if release_of(text) not in SUPPORTED:
        raise FormatError(
            f"{fields.where}: version: OME-Zarr {text:.40} is not supported, {SUPPORTED[0]} to "
            f"{SUPPORTED[-1]} are; open_zarr opens the arrays without their OME metadata"
        )
    return OmeAttributes(path, text, fields)


def _default_version(metadata: GroupMetadata) -> str:
    return "0.4" if metadata.zarr_format == 2 else "0.5"


def _version_v4(attributes: Fields) -> Any:
    """In 0.4 the version stands in each part, or nowhere."""
    found = [
        attributes.document[part].get("version")
        for part in _VERSIONED
        if isinstance(attributes.document.get(part), dict)
    ]
    images = attributes.document.get("multiscales")
    if isinstance(images, list):
        found += [image.get("version") for image in images if isinstance(image, dict)]
    return next((version for version in found if version is not None), None)


def open_levels(
    catalog: Catalog, path: str, image: ImageMetadata, index: int = 0
) -> tuple[ZarrSource, ...]:
    """The arrays of an image as sources, finest first; each knows all of them as its levels.

    ``path``: of the image's group, from the catalog's root. Raises ``FormatError`` when an array is
    not there, has another rank or other dimension names than the image has axes, or is a label
    image whose values are not integers.
    """
    pyramid = Pyramid()
    names = tuple(axis.name for axis in image.axes)
    sources = []
    nodes = catalog.find_many([join_key(path, entry.path) for entry in image.levels])
    for level, (entry, node) in enumerate(zip(image.levels, nodes, strict=True)):
        place = f"{image.where}: level {level} ({entry.path!r})"
        meta = _checked_array(node, place, image, names)
        assert node is not None
        reopen = {
            "format": "ome-zarr",
            "path": join_key(catalog.root, path),
            "image": index,
            "level": level,
        }
        axes = _level_axes(image, entry, meta.shape)
        sources.append(
            OmeLevel(catalog.store, node, dims=names, axes=axes, reopen=reopen, pyramid=pyramid)
        )
    pyramid.levels = tuple(sources)
    return pyramid.levels


def _checked_array(
    node: Node | None, place: str, image: ImageMetadata, names: tuple[str, ...]
) -> ArrayMetadata:
    """The array of a level, if it is one that fits the image."""
    if node is None or not isinstance(node.metadata, ArrayMetadata):
        raise FormatError(f"{place}: there is no array")
    meta = node.metadata
    if len(meta.shape) != len(names):
        raise FormatError(
            f"{place} has {len(meta.shape)} dimensions {meta.shape}, expected {len(names)} as "
            f"there are axes {names}"
        )
    stored = meta.dimension_names if meta.zarr_format == 3 else None
    if any(a and b and a != b for a, b in zip(stored or names, names, strict=True)):
        raise FormatError(
            f"{place} has the dimensions {stored}, expected those of the axes {names}"
        )
    if image.is_label and meta.dtype.kind not in "biu":
        raise FormatError(
            f"{place} is a label image of {meta.dtype}, expected integers; scan_zarr reads it"
        )
    return meta


def _level_axes(image: ImageMetadata, level: LevelMetadata, shape: tuple[int, ...]) -> list[Axis]:
    return [
        replace(axis, scale=scale, offset=offset, labels=_labels(axis, image.channels, extent))
        for axis, scale, offset, extent in zip(
            image.axes, level.scale, level.offset, shape, strict=True
        )
    ]


def _labels(axis: Axis, channels: Sequence[Channel], extent: int) -> tuple[str, ...] | None:
    """Channel names, if there are as many as positions; a name twice is for ``sel`` to refuse."""
    names = tuple(channel.name for channel in channels)
    return names if axis.kind == "channel" and len(names) == extent and any(names) else None


def image_places(catalog: Catalog, attributes: OmeAttributes) -> list[tuple[str, int]]:
    """Group path and number of each image of a root: its own images, or those of a collection.

    A collection (``bioformats2raw.layout``) lists its images in ``OME/series``, or has them at
    ``0``, ``1``, and so on. A group of labels holds those it names.
    """
    if "multiscales" in attributes.fields.document:
        count = len(attributes.fields.objects("multiscales"))
        return [(attributes.path, i) for i in range(count)]
    if "well" in attributes.fields.document:
        return [(path, 0) for path in parse_well(attributes).fields]
    if "labels" in attributes.fields.document:
        return [(path, 0) for path in _named(attributes, "labels").values()]
    if _COLLECTION not in attributes.fields.document:
        return []
    listing = read_attributes(catalog, join_key(attributes.path, "OME"))
    if listing is not None and "series" in listing.fields.document:
        return [(join_key(attributes.path, path), 0) for path in paths_in(listing.fields, "series")]
    found: list[tuple[str, int]] = []
    while catalog.find(path := join_key(attributes.path, str(len(found)))) is not None:
        found.append((path, 0))
    return found


def label_paths(catalog: Catalog, path: str) -> dict[str, str]:
    """Names of the label images of an image, and the paths of their groups."""
    attributes = read_attributes(catalog, join_key(path, "labels"))
    if attributes is None or "labels" not in attributes.fields.document:
        return {}
    return _named(attributes, "labels")


def _named(attributes: OmeAttributes, key: str) -> dict[str, str]:
    """The paths in a list, and where they lead from the catalog's root."""
    return {name: join_key(attributes.path, name) for name in paths_in(attributes.fields, key)}


def from_json(
    document: Mapping[str, Any], *, storage_options: Mapping[str, Any] | None = None
) -> ZarrSource:
    """The source of one resolution, from what its ``to_json`` wrote."""
    uri, path = document.get("uri"), document.get("path", "")
    index, level = document.get("image", 0), document.get("level", 0)
    well_typed = isinstance(uri, str) and isinstance(path, str)
    if not (well_typed and type(index) is int and type(level) is int):
        raise SerializationError(f"expected an OME-Zarr source, found {dict(document)!r:.80}")
    catalog, below, node = open_catalog(
        *resolve_store(uri, path, storage_options), consolidated=None
    )
    attributes = attributes_of(catalog, below, node)
    if attributes is None:
        raise FormatError(f"{uri}/{path}: expected an OME-Zarr image, found no OME metadata")
    levels = open_levels(catalog, below, parse_image(attributes, index), index)
    if not 0 <= level < len(levels):
        raise SerializationError(f"{uri}/{path}: there is no level {level}; it has {len(levels)}")
    return levels[level]
