"""Things that hold several tensors: OME-Zarr images with their resolutions, labels, and plates.

Like groups (see ``containers``) these know metadata and hand out what ``wrap`` makes of a source.
An image opens its arrays' metadata when a resolution is asked for; a plate opens a well, and a well
a field, when it is asked for, so that a plate of thousands of fields opens at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lazytensor.containers import NodeNotFoundError
from lazytensor.errors import FormatError, OutOfBoundsError, SourceError, SourceNotFoundError

if TYPE_CHECKING:
    from lazytensor.io.ome_metadata import Channel, ImageMetadata, OmeAttributes, PlateMetadata
    from lazytensor.io.zarr import Catalog, ZarrSource
    from lazytensor.plan.source import Source
    from lazytensor.plan.spec import Axis

__all__ = ["OmeImage", "OmePlate", "OmeWell", "OmeZarr", "open_ome", "scan_ome"]

_T = TypeVar("_T")


def open_ome(
    store: Any,
    *,
    wrap: Callable[[Source], Any],
    storage_options: Mapping[str, Any] | None = None,
) -> OmeZarr:
    """The OME-Zarr (image, collection of images, plate or well) at the root of a store.

    Raises ``SourceNotFoundError`` when there is nothing, ``FormatError`` when the metadata is
    missing, malformed, or of a version other than 0.1 to 0.5.
    """
    from lazytensor.io.ome_metadata import parse_image
    from lazytensor.io.ome_zarr import attributes_of, image_places
    from lazytensor.io.store_open import resolve_store
    from lazytensor.io.zarr import Catalog

    catalog = Catalog(*resolve_store(store, "", storage_options))
    attributes = attributes_of(catalog, "", catalog.consolidate())
    if attributes is None:
        raise _no_group(catalog)
    known = ("multiscales", "plate", "well", "bioformats2raw.layout", "labels", "series")
    if not any(key in attributes.fields.document for key in known):
        raise FormatError(
            f"{attributes.fields.where}: expected OME-Zarr metadata (one of {', '.join(known)}), "
            "found none; open_zarr opens any zarr group"
        )
    if "multiscales" in attributes.fields.document:
        parse_image(attributes)
    return OmeZarr(catalog, attributes, image_places(catalog, attributes), wrap)


def scan_ome(
    store: Any,
    image: int | str = 0,
    *,
    level: int = 0,
    label: str | None = None,
    well: str | None = None,
    field: int = 0,
    wrap: Callable[[Source], Any],
    storage_options: Mapping[str, Any] | None = None,
) -> Any:
    """One resolution of one image, or of one of its labels, or of one field of a well.

    Raises as ``open_ome``; ``OutOfBoundsError`` for an image, level or field that does not exist,
    ``SourceNotFoundError`` (also a ``KeyError``) for a label or well that does not.
    """
    opened = open_ome(store, wrap=wrap, storage_options=storage_options)
    if well is not None:
        if opened.plate is None:
            raise FormatError(f"{opened!r} is not a plate; it has no well {well!r}")
        found = opened.plate[well][field]
    else:
        found = opened[image]
    return (found if label is None else found.labels[label])[level]


def _name_a_well(opened: OmeZarr, plate: OmePlate) -> str:
    """What to do with a plate in place of asking it for an image."""
    wells = ", ".join(plate.wells[:10]) or "none"
    return (
        f"{opened!r} is a plate: name a well= (there is {wells}) in scan_ome_zarr, or take "
        "open_ome_zarr(...).plate[well][field]"
    )


def _no_group(catalog: Catalog) -> SourceError:
    """The error for a place without a zarr group."""
    place = f"{catalog.store.name}/{catalog.root}".rstrip("/")
    if catalog.find("") is not None:
        return FormatError(f"{place} is a zarr array, not an OME-Zarr group: use scan_zarr")
    # Only to help: a server may refuse to list, and then says so in place of "not found".
    names = [] if catalog.store.remote else catalog.names("")
    below = f"; below it there is {', '.join(names[:10])}" if names else ""
    return SourceNotFoundError(f"no zarr group at {place} (no zarr.json or .zgroup){below}")


class OmeZarr:
    """What is at the root of an OME-Zarr: images by number or path, and the plate, if it is one.

    Made by ``lt.open_ome_zarr``.

    >>> from tempfile import TemporaryDirectory
    >>> from lazytensor.sample import write_sample
    >>> with TemporaryDirectory() as folder:
    ...     oz = lt.open_ome_zarr(write_sample(folder))
    ...     print(oz.version, len(oz), oz[0], oz.plate)
    0.5 1 OmeImage('', axes czyx, 3 levels) None
    """

    def __init__(
        self,
        catalog: Catalog,
        attributes: OmeAttributes,
        places: list[tuple[str, int]],
        wrap: Callable[[Source], Any],
    ) -> None:
        self._catalog = catalog
        self._attributes = attributes
        self._places = places
        self._wrap = wrap

    @property
    def version(self) -> str:
        """Version of the metadata, such as ``"0.5"``."""
        return self._attributes.version

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The OME attributes of the root, read only."""
        return MappingProxyType(dict(self._attributes.fields.document))

    def __repr__(self) -> str:
        place = f"{self._catalog.store.name}/{self._catalog.root}".rstrip("/")
        return f"OmeZarr({place!r}, version {self.version}, {len(self)} images)"

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, image: int | str) -> OmeImage:
        if isinstance(image, str):
            path, index = image.strip("/"), 0
        elif not self._places and self.plate is not None:
            raise FormatError(_name_a_well(self, self.plate))
        else:
            path, index = self._places[_position(image, len(self), f"{self!r}: image")]
        if path != self._attributes.path:
            return _open_image(self._catalog, path, self._wrap)
        return OmeImage(self._catalog, self._attributes, index, self._wrap)

    def __iter__(self) -> Iterator[OmeImage]:
        return (self[i] for i in range(len(self)))

    @cached_property
    def images(self) -> tuple[OmeImage, ...]:
        """All images of an image or collection, or of a well; empty for a plate."""
        return tuple(self)

    @cached_property
    def plate(self) -> OmePlate | None:
        """The plate, or None."""
        from lazytensor.io.ome_metadata import parse_plate

        found = parse_plate(self._attributes)
        return (
            None if found is None else OmePlate(self._catalog, self._attributes, found, self._wrap)
        )


class OmeImage:
    """One image: ``image[level]`` is a tensor, level 0 the finest.

    Raises ``FormatError`` when made from metadata that is malformed, and when a level is asked for
    while the array of any level is missing or does not fit.

    >>> from tempfile import TemporaryDirectory
    >>> from lazytensor.sample import write_sample
    >>> with TemporaryDirectory() as folder:
    ...     image = lt.open_ome_zarr(write_sample(folder))[0]
    ...     print([x.shape for x in image.levels], image.channels[0].name)
    ...     print(image[1].axes[2])
    [(2, 8, 256, 320), (2, 8, 128, 160), (2, 8, 64, 80)] nuclei
    Axis(name='y', kind='space', unit='micrometer', scale=0.5, offset=0.125, labels=None)
    """

    def __init__(
        self,
        catalog: Catalog,
        attributes: OmeAttributes,
        index: int,
        wrap: Callable[[Source], Any],
    ) -> None:
        from lazytensor.io.ome_metadata import parse_image

        self._catalog = catalog
        self._inner = attributes.path
        self._index = index
        self._wrap = wrap
        self._attributes = attributes
        self._metadata: ImageMetadata = parse_image(attributes, index)

    @property
    def name(self) -> str:
        """Name in the metadata, ``""`` if it has none."""
        return self._metadata.name

    @property
    def path(self) -> str:
        """Path of the image's group in the store."""
        return "/".join(part for part in (self._catalog.root, self._inner) if part)

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The OME attributes of the image's group, read only."""
        return MappingProxyType(dict(self._attributes.fields.document))

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Index, name, color, window and active of each channel; empty if not described."""
        return self._metadata.channels

    @cached_property
    def sources(self) -> tuple[ZarrSource, ...]:
        """The sources of all resolutions, finest first."""
        from lazytensor.io.ome_zarr import open_levels

        return open_levels(self._catalog, self._inner, self._metadata, self._index)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the finest level: name, kind, unit, scale, offset, channel labels."""
        return self.sources[0].spec.axes

    @cached_property
    def levels(self) -> tuple[Any, ...]:
        """The tensors of all resolutions, finest first."""
        return tuple(self._wrap(source) for source in self.sources)

    def __len__(self) -> int:
        return len(self._metadata.levels)

    def __getitem__(self, level: int) -> Any:
        return self.levels[_position(level, len(self), f"{self!r}: level")]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.levels)

    def __repr__(self) -> str:
        axes = "".join(axis.name for axis in self._metadata.axes)
        return f"OmeImage({self.path!r}, axes {axes}, {len(self)} levels)"

    @cached_property
    def labels(self) -> Mapping[str, OmeImage]:
        """The label images by name, opened when asked for."""
        from lazytensor.io.ome_zarr import label_paths

        paths = label_paths(self._catalog, self._inner)
        return _Opened(
            paths,
            lambda path: _open_image(self._catalog, path, self._wrap),
            f"{self!r}: label",
        )


def _open_image(catalog: Catalog, path: str, wrap: Callable[[Source], Any]) -> OmeImage:
    """The first image of the group at a path."""
    from lazytensor.io.ome_zarr import read_attributes

    attributes = read_attributes(catalog, path)
    if attributes is None:
        raise NodeNotFoundError(f"{catalog.store.name}: there is no image group at {path!r}")
    held = attributes.fields.document
    if "multiscales" not in held and "well" in held:
        raise FormatError(f"{catalog.store.name}: {path!r} is a well, use plate[{path!r}][field]")
    return OmeImage(catalog, attributes, 0, wrap)


class OmePlate:
    """A plate: ``plate["B/7"]`` is a well."""

    def __init__(
        self,
        catalog: Catalog,
        attributes: OmeAttributes,
        metadata: PlateMetadata,
        wrap: Callable[[Source], Any],
    ) -> None:
        self._metadata = metadata
        self._wells = _Opened(
            {path: f"{attributes.path}/{path}".strip("/") for path in metadata.wells},
            lambda path: OmeWell(catalog, path, wrap),
            f"plate {metadata.name!r}: well",
        )

    @property
    def name(self) -> str:
        """Name in the metadata, ``""`` if it has none."""
        return self._metadata.name

    @property
    def rows(self) -> tuple[str, ...]:
        """Names of the rows."""
        return self._metadata.rows

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self._metadata.columns

    @property
    def wells(self) -> tuple[str, ...]:
        """Paths of the wells that were imaged, such as ``"B/7"``."""
        return self._metadata.wells

    @property
    def acquisitions(self) -> tuple[Mapping[str, Any], ...]:
        """Descriptions of the acquisitions, as in the metadata."""
        return self._metadata.acquisitions

    def __getitem__(self, well: str) -> OmeWell:
        return self._wells[well]

    def __iter__(self) -> Iterator[str]:
        return iter(self.wells)

    def __len__(self) -> int:
        return len(self.wells)

    def __repr__(self) -> str:
        rows, columns = len(self.rows), len(self.columns)
        return f"OmePlate({self.name!r}, {rows} x {columns}, {len(self)} wells)"


class OmeWell:
    """A well: ``well[field]`` is an image."""

    def __init__(self, catalog: Catalog, path: str, wrap: Callable[[Source], Any]) -> None:
        from lazytensor.io.ome_metadata import parse_well
        from lazytensor.io.ome_zarr import read_attributes

        attributes = read_attributes(catalog, path)
        if attributes is None:
            raise SourceNotFoundError(f"{catalog.store.name}: there is no well group at {path!r}")
        self.path = path
        self._catalog = catalog
        self._metadata = parse_well(attributes)
        self._wrap = wrap

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields."""
        return tuple(path.rsplit("/", 1)[-1] for path in self._metadata.fields)

    @property
    def acquisitions(self) -> tuple[int | None, ...]:
        """For each field the id of its acquisition in the plate, None where it has none."""
        return self._metadata.acquisitions

    def __getitem__(self, field: int) -> OmeImage:
        path = self._metadata.fields[_position(field, len(self), f"{self!r}: field")]
        return _open_image(self._catalog, path, self._wrap)

    def __iter__(self) -> Iterator[OmeImage]:
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        return len(self._metadata.fields)

    def __repr__(self) -> str:
        return f"OmeWell({self.path!r}, {len(self)} fields)"


class _Opened(Mapping[str, _T], Generic[_T]):
    """Names to things that are opened when asked for, from the path each one has."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __init__(self, paths: dict[str, str], opener: Callable[[str], _T], what: str) -> None:
        self._paths = paths
        self._opener = opener
        self._what = what

    def __getitem__(self, name: str) -> _T:
        if name not in self._paths:
            known = ", ".join(list(self._paths)[:10]) or "nothing"
            raise NodeNotFoundError(f"{self._what} {name!r} does not exist; there is {known}")
        return self._opener(self._paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __repr__(self) -> str:
        return f"<{len(self)}: {', '.join(list(self._paths)[:10])}>"


def _position(index: int, count: int, what: str) -> int:
    """``index``, from the end if negative; ``OutOfBoundsError`` if there is no such thing."""
    if not hasattr(index, "__index__"):
        raise TypeError(f"{what} is chosen by its number, not by {type(index).__name__}")
    index = index.__index__()
    if not -count <= index < count:
        raise OutOfBoundsError(f"{what} {index} does not exist; there are {count}")
    return index % count
