"""OME-Zarr 0.4 and 0.5: bio-image metadata on top of zarr groups.

An image is a list of zarr arrays, finest first, with axes that have kinds and units, and for each
array the scale and translation that take positions to the world. What is said in metadata but does
not change how values are read (order of axes, names of units) is taken as it is found; what would
make a read wrong (missing arrays, ranks that differ, transformations that are not understood) is a
``FormatError``.

World position: ``global_scale * (scale * index + translation) + global_translation``, per axis,
with the optional transformations of the whole image applied last (NGFF 0.4 §3.4). The translation
is that of the centre of the first pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from lazytensor.errors import FormatError, OutOfBoundsError, SerializationError
from lazytensor.io.store import join_key
from lazytensor.io.store_open import resolve_store
from lazytensor.io.zarr.document import Fields
from lazytensor.io.zarr.metadata import ArrayMetadata, GroupMetadata
from lazytensor.io.zarr.node import Catalog
from lazytensor.io.zarr.source import Pyramid, ZarrSource
from lazytensor.plan.spec import Axis

__all__ = [
    "Channel",
    "ImageMetadata",
    "LevelMetadata",
    "OmeAttributes",
    "PlateMetadata",
    "from_json",
    "image_places",
    "label_paths",
    "open_levels",
    "parse_image",
    "parse_plate",
    "read_attributes",
    "well_fields",
]

_SUPPORTED = ("0.4", "0.5")
_COLLECTION = "bioformats2raw.layout"
_VERSIONED = ("plate", "well", "image-label")


@dataclass(frozen=True, slots=True)
class OmeAttributes:
    """The OME part of a group's attributes: ``path`` of the group, ``version`` of the format."""

    path: str
    version: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class Channel:
    """How one channel is shown (``omero`` metadata).

    ``color``: six hexadecimal digits, RGB; ``window``: ``min max start end`` of the display range.
    Both are None where the file does not say.
    """

    index: int
    name: str
    color: str | None
    window: Mapping[str, float] | None
    active: bool


@dataclass(frozen=True, slots=True)
class LevelMetadata:
    """One resolution: path of its array in the group, world scale and offset per axis."""

    path: str
    scale: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """One image: axes without scale, resolutions finest first, channels if described."""

    name: str
    where: str
    axes: tuple[Axis, ...]
    levels: tuple[LevelMetadata, ...]
    channels: tuple[Channel, ...]


@dataclass(frozen=True, slots=True)
class PlateMetadata:
    """A plate: names of rows and columns, paths of wells, descriptions of acquisitions."""

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    wells: tuple[str, ...]
    acquisitions: tuple[Mapping[str, Any], ...]


def read_attributes(catalog: Catalog, path: str = "") -> OmeAttributes | None:
    """The OME attributes of the group at a path, or None if there is no group or it has none.

    Raises ``FormatError`` for a version that is not 0.4 or 0.5.
    """
    node = catalog.find(path)
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
    if ".".join(text.split("-")[0].split(".")[:2]) not in _SUPPORTED:
        raise FormatError(
            f"{fields.where}: OME-Zarr version {text!r} is not supported; "
            f"{' and '.join(_SUPPORTED)} are"
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


def parse_image(attributes: OmeAttributes, index: int = 0) -> ImageMetadata:
    """Image ``index`` of the ``multiscales`` of a group; ``FormatError`` if it is malformed."""
    images = attributes.fields.objects("multiscales")
    if not images:
        raise attributes.fields.wrong("multiscales", "at least one image")
    if not 0 <= index < len(images):
        raise OutOfBoundsError(
            f"{attributes.fields.where}: there is no image {index}; it has {len(images)}"
        )
    image = images[index]
    axes = _parse_axes(image)
    scale, offset = _transformations(image, len(axes), optional=True)
    levels = []
    for dataset in image.objects("datasets"):
        own_scale, own_offset = _transformations(dataset, len(axes), optional=False)
        levels.append(
            LevelMetadata(
                dataset.text("path"),
                tuple(a * b for a, b in zip(scale, own_scale, strict=True)),
                tuple(a * b + c for a, b, c in zip(scale, own_offset, offset, strict=True)),
            )
        )
    if not levels:
        raise image.wrong("datasets", "at least one array")
    name = image.document.get("name")
    return ImageMetadata(
        name if isinstance(name, str) else "",
        image.where,
        axes,
        tuple(levels),
        _parse_channels(attributes.fields),
    )


def _parse_axes(image: Fields) -> tuple[Axis, ...]:
    axes = []
    for fields in image.objects("axes"):
        kind, unit = fields.document.get("type"), fields.document.get("unit")
        axes.append(
            Axis(
                fields.text("name"),
                kind if isinstance(kind, str) else None,
                unit if isinstance(unit, str) else None,
            )
        )
    names = [axis.name for axis in axes]
    if not 2 <= len(axes) <= 5 or len(set(names)) != len(names):
        raise image.wrong("axes", "two to five axes with different names")
    return tuple(axes)


def _transformations(
    fields: Fields, rank: int, *, optional: bool
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and translation of a list of exactly one scale and at most one translation."""
    key = "coordinateTransformations"
    steps = fields.objects(key, optional=optional)
    if optional and not steps:
        return (1.0,) * rank, (0.0,) * rank
    kinds = [step.text("type") for step in steps]
    if kinds not in (["scale"], ["scale", "translation"]):
        raise fields.wrong(key, f"one scale, then at most one translation (types are {kinds})")
    values = [_vector(step, kind, rank) for step, kind in zip(steps, kinds, strict=True)]
    return values[0], values[1] if len(values) > 1 else (0.0,) * rank


def _vector(fields: Fields, key: str, rank: int) -> tuple[float, ...]:
    values = fields.items(key)
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(values) != rank or len(numbers) != rank or not all(map(_is_finite, numbers)):
        raise fields.wrong(key, f"{rank} finite numbers, one per axis")
    return tuple(float(v) for v in numbers)


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # an integer beyond the range of a float
        return False


def _parse_channels(attributes: Fields) -> tuple[Channel, ...]:
    """Display metadata; it says nothing about values, so parts that make no sense are left out."""
    omero = attributes.document.get("omero")
    listed = omero.get("channels") if isinstance(omero, dict) else None
    found = []
    for index, entry in enumerate(listed if isinstance(listed, list) else []):
        channel = entry if isinstance(entry, dict) else {}
        name, color, window = (channel.get(key) for key in ("label", "color", "window"))
        found.append(
            Channel(
                index,
                name if isinstance(name, str) else "",
                color if isinstance(color, str) else None,
                dict(window) if isinstance(window, dict) else None,
                channel.get("active") is not False,
            )
        )
    return tuple(found)


def open_levels(
    catalog: Catalog, path: str, image: ImageMetadata, index: int = 0
) -> tuple[ZarrSource, ...]:
    """The arrays of an image as sources, finest first; each knows all of them as its levels.

    ``path``: of the image's group, from the catalog's root. Raises ``FormatError`` when an array is
    not there, or has another rank or other dimension names than the image has axes.
    """
    pyramid = Pyramid()
    rank, names = len(image.axes), tuple(axis.name for axis in image.axes)
    sources = []
    for level, entry in enumerate(image.levels):
        node = catalog.find(join_key(path, entry.path))
        if node is None or not isinstance(node.metadata, ArrayMetadata):
            raise FormatError(f"{image.where}: there is no array at level {level}, {entry.path!r}")
        meta = node.metadata
        if len(meta.shape) != rank:
            raise FormatError(
                f"{image.where}: level {level} ({entry.path!r}) has {len(meta.shape)} dimensions "
                f"{meta.shape}, expected {rank} as there are axes {names}"
            )
        stored = meta.dimension_names if meta.zarr_format == 3 else None
        if stored is not None and all(stored) and stored != names:
            raise FormatError(
                f"{image.where}: level {level} ({entry.path!r}) has the dimensions {stored}, "
                f"expected those of the axes {names}"
            )
        axes = [
            replace(
                axis,
                scale=scale,
                offset=offset,
                labels=_labels(axis, image.channels, extent),
            )
            for axis, scale, offset, extent in zip(
                image.axes, entry.scale, entry.offset, meta.shape, strict=True
            )
        ]
        reopen = {
            "format": "ome-zarr",
            "path": join_key(catalog.root, path),
            "image": index,
            "level": level,
        }
        sources.append(
            ZarrSource(catalog.store, node, dims=names, axes=axes, reopen=reopen, pyramid=pyramid)
        )
    pyramid.levels = tuple(sources)
    return pyramid.levels


def _labels(axis: Axis, channels: Sequence[Channel], extent: int) -> tuple[str, ...] | None:
    """Channel names, if every position along the axis has one of its own."""
    names = tuple(channel.name for channel in channels)
    usable = axis.kind == "channel" and len(names) == extent and all(names)
    return names if usable and len(set(names)) == extent else None


def image_places(catalog: Catalog, attributes: OmeAttributes) -> list[tuple[str, int]]:
    """Group path and number of each image of a root: its own images, or those of a collection.

    A collection (``bioformats2raw.layout``) lists its images in ``OME/series``, or has them at
    ``0``, ``1``, and so on.
    """
    if "multiscales" in attributes.fields.document:
        count = len(attributes.fields.objects("multiscales"))
        return [(attributes.path, i) for i in range(count)]
    if "well" in attributes.fields.document:
        return [(path, 0) for path in well_fields(attributes)]
    if _COLLECTION not in attributes.fields.document:
        return []
    listing = read_attributes(catalog, join_key(attributes.path, "OME"))
    if listing is not None and "series" in listing.fields.document:
        series = listing.fields.items("series")
        if not all(isinstance(path, str) for path in series):
            raise listing.fields.wrong("series", "paths")
        return [(join_key(attributes.path, path), 0) for path in series]
    found: list[tuple[str, int]] = []
    while catalog.find(path := join_key(attributes.path, str(len(found)))) is not None:
        found.append((path, 0))
    return found


def label_paths(catalog: Catalog, path: str) -> dict[str, str]:
    """Names of the label images of an image, and the paths of their groups."""
    group = join_key(path, "labels")
    attributes = read_attributes(catalog, group)
    if attributes is None:
        return {}
    names = attributes.fields.items("labels", optional=True)
    if not all(isinstance(name, str) for name in names):
        raise attributes.fields.wrong("labels", "paths")
    return {name: join_key(group, name) for name in names}


def parse_plate(attributes: OmeAttributes) -> PlateMetadata | None:
    """The plate of a group, or None if it is none; ``FormatError`` if it is malformed."""
    if "plate" not in attributes.fields.document:
        return None
    plate = attributes.fields.fields("plate")
    name = plate.document.get("name")
    return PlateMetadata(
        name if isinstance(name, str) else "",
        tuple(row.text("name") for row in plate.objects("rows")),
        tuple(column.text("name") for column in plate.objects("columns")),
        tuple(well.text("path") for well in plate.objects("wells")),
        tuple(a.document for a in plate.objects("acquisitions", optional=True)),
    )


def well_fields(attributes: OmeAttributes) -> list[str]:
    """Paths of the images of a well, from the catalog's root; ``FormatError`` if malformed."""
    well = attributes.fields.fields("well")
    return [join_key(attributes.path, image.text("path")) for image in well.objects("images")]


def from_json(
    document: Mapping[str, Any], *, storage_options: Mapping[str, Any] | None = None
) -> ZarrSource:
    """The source of one resolution, from what its ``to_json`` wrote."""
    uri, path = document.get("uri"), document.get("path", "")
    index, level = document.get("image", 0), document.get("level", 0)
    well_typed = isinstance(uri, str) and isinstance(path, str)
    if not (well_typed and type(index) is int and type(level) is int):
        raise SerializationError(f"expected an OME-Zarr source, found {dict(document)!r:.80}")
    catalog = Catalog(*resolve_store(uri, path, storage_options))
    attributes = read_attributes(catalog)
    if attributes is None:
        raise FormatError(f"{uri}/{path}: expected an OME-Zarr image, found no OME metadata")
    levels = open_levels(catalog, "", parse_image(attributes, index), index)
    if not 0 <= level < len(levels):
        raise SerializationError(f"{uri}/{path}: there is no level {level}; it has {len(levels)}")
    return levels[level]
