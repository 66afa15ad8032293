"""The main job in one page: a chained lazy query on an OME-Zarr image, and a picture of it.

``lazytensor demo`` and ``make demo`` run this. The query projects, scales, downsamples, crops and
overlays; nothing is read before the one ``collect_all`` at its end. It takes every image of two to
five axes, and where no image is given it makes a small one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lazytensor.picture import PALETTE, composite, write_png

if TYPE_CHECKING:
    from lazytensor.tensor import LazyTensor

__all__ = ["Projection", "project", "run", "side_by_side"]

_LARGEST_LEVEL = 2048
"""Of a pyramid, the finest level is shown whose plane is not larger than this, in pixels."""

_PANEL = 512
_GAP = 4


class Projection(NamedTuple):
    """Planes ``(c, y, x)`` of an image, and their colours (``RRGGBB``)."""

    planes: LazyTensor
    colors: tuple[str, ...]


def run(data: str | None, out_dir: str | Path = "demo_out") -> Path:
    """Run the query on the OME-Zarr at ``data``, print what happens, return the picture's path.

    Parameters
    ----------
    data
        Path or URL of an OME-Zarr image or plate. None makes a sample in ``out_dir``.
    out_dir
        Folder for the picture (and the sample); it is created.

    Raises
    ------
    SourceNotFoundError, FormatError
        There is nothing at ``data``, or it is not an OME-Zarr.
    """
    import lazytensor as lt

    if data is None:
        from lazytensor.sample import write_sample

        data = str(write_sample(Path(out_dir) / "sample.zarr"))
    image = _first_image(lt.open_ome_zarr(data))
    source = _level(image)
    print(f"image    {data}\n         {source!r}")

    planes, colors = project(source, _colors(image))
    picture = side_by_side(planes)
    print("\nplan\n" + _indented(picture.explain()))

    lt.metrics(reset=True)
    start = time.perf_counter()
    shown, low, mean, high = lt.collect_all(
        [picture, lt.min(planes), lt.mean(planes), lt.max(planes)]
    )
    seconds = time.perf_counter() - start
    read = lt.metrics()["bytes_read"]

    path = write_png(Path(out_dir) / "picture.png", composite(shown, colors))
    print(f"\nprojection  {planes.shape} {planes.dtype}")
    print(f"            min {low.item():g}, mean {float(mean):.6g}, max {high.item():g}")
    print(f"read        {read:,} bytes of the stored image in {1e3 * seconds:.0f} ms")
    print(f"picture     {path.resolve()}  {shown.shape[2]} x {shown.shape[1]} pixels")
    return path


def project(source: LazyTensor, colors: tuple[str, ...] = ()) -> Projection:
    """Planes ``(c, y, x)``: the middle time point, and the maximum over all other dims.

    Channels and time are told by the kind of the axis, else by the names ``c`` and ``t``; the plane
    is ``y`` and ``x``, else the last two dims. Bool becomes 0 and 1.
    """
    import lazytensor as lt

    names = tuple(name or f"dim {position}" for position, name in enumerate(source.dims))
    plane = ("y", "x") if {"y", "x"} <= set(names) else names[-2:]
    kinds = {name: axis.kind for name, axis in zip(names, source.axes, strict=True)}
    others = [name for name in names if name not in plane]
    times = [name for name in others if kinds[name] == "time" or name == "t"]
    channels = [name for name in others if kinds[name] == "channel" or name == "c"][:1]
    depths = tuple(name for name in others if name not in (*times, *channels))

    x = source.label[names]
    x = x.isel(**{name: x.shape[names.index(name)] // 2 for name in times})
    if depths:
        x = lt.max(x, axis=depths)
    x = lt.permute_dims(x, [x.dims.index(name) for name in (*channels, *plane)])
    planes = x if channels else x[None]
    planes = lt.cast(planes, lt.uint8) if planes.dtype == np.bool_ else planes
    return Projection(planes, colors if len(colors) == planes.shape[0] else PALETTE)


def side_by_side(planes: LazyTensor) -> LazyTensor:
    """Brightness 0 to 1: the whole plane, shrunk, on the left; its middle, pixel by pixel, right.

    Every channel is scaled to its own range and brightened by a square root. The two panels are
    layers of one overlay; the gap between them is a hole, which reads 0.
    """
    import lazytensor as lt

    values = lt.cast(planes, lt.float32)
    low = lt.min(values, axis=(1, 2), keepdims=True)
    high = lt.max(values, axis=(1, 2), keepdims=True)
    tiny = float(np.finfo(np.float32).tiny)
    bright = lt.sqrt((values - low) / lt.maximum(high - low, tiny))

    _, height, width = planes.shape
    factor = max(2, -(-max(height, width) // _PANEL))
    factors = (1, min(factor, height), min(factor, width))
    whole = lt.downsample(bright, factors, "mean", align="position")
    rows, columns = whole.shape[1:]
    top, left = (height - rows) // 2, (width - columns) // 2
    middle = bright[:, top : top + rows, left : left + columns]
    layers = [whole.translate_to[0, 0, 0], middle.translate_to[0, 0, columns + _GAP]]
    return lt.overlay(layers, fill_value=0)


def _first_image(container: Any) -> Any:
    """The first image of a container, or of the first well of a plate."""
    if len(container) or container.plate is None:
        return container[0]
    plate = container.plate
    return plate[plate.wells[0]][0]


def _level(image: Any) -> LazyTensor:
    """The finest level that is quick to read whole, else the coarsest."""
    levels: list[LazyTensor] = list(image.levels)
    fitting = (x for x in levels if max(x.shape[-2:]) <= _LARGEST_LEVEL)
    return next(fitting, levels[-1])


def _colors(image: Any) -> tuple[str, ...]:
    """Colours of the channels as the file gives them, or none."""
    colors = [channel.color or "" for channel in image.channels]
    valid = all(len(color) == 6 for color in colors)
    return tuple(colors) if valid else ()


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
