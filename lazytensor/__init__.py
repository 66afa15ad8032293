"""Lazy tensors over bio-imaging arrays: queries are plans, and plans read only what they need.

The module is itself a namespace of the Array API standard. Tensors come from ``scan`` and its kin,
``asarray`` and the creation functions; indexing, operators and functions build plans; ``collect``
runs them.

>>> image = lt.asarray(np.arange(48).reshape(6, 8), dims=("y", "x"))
>>> lt.downsample(image, (2, 2))[:, -1].collect()
array([10, 26, 42])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lazytensor import io, ome, testing
    from lazytensor._operations import (
        abs,
        acos,
        acosh,
        add,
        all,
        any,
        argmax,
        argmin,
        asin,
        asinh,
        atan,
        atan2,
        atanh,
        bitwise_and,
        bitwise_invert,
        bitwise_left_shift,
        bitwise_or,
        bitwise_right_shift,
        bitwise_xor,
        ceil,
        clip,
        conj,
        copysign,
        cos,
        cosh,
        count_nonzero,
        divide,
        equal,
        exp,
        expm1,
        floor,
        floor_divide,
        greater,
        greater_equal,
        hypot,
        imag,
        isfinite,
        isinf,
        isnan,
        less,
        less_equal,
        log,
        log1p,
        log2,
        log10,
        logaddexp,
        logical_and,
        logical_not,
        logical_or,
        logical_xor,
        max,
        maximum,
        mean,
        min,
        minimum,
        multiply,
        negative,
        nextafter,
        not_equal,
        positive,
        pow,
        prod,
        real,
        reciprocal,
        remainder,
        round,
        sign,
        signbit,
        sin,
        sinh,
        sqrt,
        square,
        std,
        subtract,
        sum,
        tan,
        tanh,
        trunc,
        var,
        where,
    )
    from lazytensor.config import (
        Config,
        QueryOptFlags,
        get_config,
        set_config,
    )
    from lazytensor.containers import (
        ZarrGroup,
    )
    from lazytensor.containers_ome import (
        OmeImage,
        OmePlate,
        OmeWell,
        OmeZarr,
    )
    from lazytensor.creation import (
        arange,
        empty,
        empty_like,
        eye,
        full,
        full_like,
        linspace,
        meshgrid,
        ones,
        ones_like,
        tril,
        triu,
        zeros,
        zeros_like,
    )
    from lazytensor.errors import (
        ChecksumError,
        ChunkDecodeError,
        DataDependentShapeError,
        DimensionError,
        DTypeError,
        FormatError,
        HoleError,
        LazyTensorError,
        MemoryLimitError,
        OutOfBoundsError,
        SerializationError,
        ShapeError,
        SinkError,
        SinkExistsError,
        SourceChangedError,
        SourceError,
        SourceNotFoundError,
    )
    from lazytensor.exec.events import ProgressBar
    from lazytensor.exec.interpret import InterpretEngine
    from lazytensor.exec.local import LocalEngine
    from lazytensor.functions import (
        collect_all,
        map_blocks,
        metrics,
    )
    from lazytensor.functions_axis import (
        argsort,
        cumulative_prod,
        cumulative_sum,
        diff,
        isin,
        searchsorted,
        sort,
        take_along_axis,
    )
    from lazytensor.functions_contract import (
        matmul,
        tensordot,
        vecdot,
    )
    from lazytensor.functions_join import (
        concat,
        overlay,
        stack,
    )
    from lazytensor.functions_manipulate import (
        broadcast_arrays,
        broadcast_shapes,
        broadcast_to,
        expand_dims,
        flip,
        matrix_transpose,
        moveaxis,
        nonzero,
        permute_dims,
        repeat,
        reshape,
        roll,
        squeeze,
        take,
        tile,
        unique_all,
        unique_counts,
        unique_inverse,
        unique_values,
        unstack,
    )
    from lazytensor.functions_quantize import dequantize, quantize
    from lazytensor.functions_sink import dump_tenso
    from lazytensor.functions_sink_zarr import dump_zarr
    from lazytensor.functions_stats import histogram, minmax, normalize, quantile, stats
    from lazytensor.functions_views import (
        astype,
        cast,
        downsample,
        pad,
    )
    from lazytensor.namespace import (
        __array_namespace_info__,
        bool,
        can_cast,
        complex64,
        complex128,
        e,
        finfo,
        float16,
        float32,
        float64,
        iinfo,
        int8,
        int16,
        int32,
        int64,
        isdtype,
        nan,
        newaxis,
        pi,
        result_type,
        uint8,
        uint16,
        uint32,
        uint64,
    )
    from lazytensor.plan.cost import (
        Estimate,
    )
    from lazytensor.plan.dimexpr import (
        DimExpression,
        d,
    )
    from lazytensor.plan.domain import (
        Dim,
        IndexDomain,
    )
    from lazytensor.plan.index import (
        IndexTransform,
        OutputIndexMap,
        OutputIndexMaps,
        OutputIndexMethod,
    )
    from lazytensor.plan.infinity import (
        inf,
    )
    from lazytensor.plan.quantization import QuantizedArray
    from lazytensor.plan.source import (
        Source,
        Storage,
    )
    from lazytensor.plan.spec import (
        Axis,
        Schema,
    )
    from lazytensor.quantized import QuantizedTensor
    from lazytensor.scanning import (
        open_ome_zarr,
        open_zarr,
        scan,
        scan_npy,
        scan_ome_zarr,
        scan_zarr,
    )
    from lazytensor.scanning_ome_arrow import OmeArrowTable, open_ome_arrow, scan_ome_arrow
    from lazytensor.scanning_tenso import open_tenso, scan_tenso
    from lazytensor.sinking import LazySink
    from lazytensor.sources import (
        asarray,
        from_array,
        from_dlpack,
        scan_source,
        virtual_chunked,
    )
    from lazytensor.summaries import Stats
    from lazytensor.tensor import (
        LazyTensor,
    )

__version__ = "0.1.0"
__array_api_version__ = "2025.12"

_HOMES = {
    "_operations": (
        "abs acos acosh add all any argmax argmin asin asinh atan atan2 atanh bitwise_and "
        "bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor ceil clip "
        "conj copysign cos cosh count_nonzero divide equal exp expm1 floor floor_divide greater "
        "greater_equal hypot imag isfinite isinf isnan less less_equal log log10 log1p log2 "
        "logaddexp logical_and logical_not logical_or logical_xor max maximum mean min minimum "
        "multiply negative nextafter not_equal positive pow prod real reciprocal remainder "
        "round sign signbit sin sinh sqrt square std subtract sum tan tanh trunc var where"
    ),
    "config": "Config QueryOptFlags get_config set_config",
    "containers": "ZarrGroup",
    "containers_ome": "OmeImage OmePlate OmeWell OmeZarr",
    "creation": (
        "arange empty empty_like eye full full_like linspace meshgrid ones ones_like tril triu "
        "zeros zeros_like"
    ),
    "errors": (
        "ChecksumError ChunkDecodeError DTypeError DataDependentShapeError DimensionError "
        "FormatError HoleError LazyTensorError MemoryLimitError OutOfBoundsError "
        "SerializationError ShapeError SinkError SinkExistsError SourceChangedError SourceError "
        "SourceNotFoundError"
    ),
    "exec.events": "ProgressBar",
    "exec.interpret": "InterpretEngine",
    "exec.local": "LocalEngine",
    "functions": "collect_all map_blocks metrics",
    "functions_axis": (
        "argsort cumulative_prod cumulative_sum diff isin searchsorted sort take_along_axis"
    ),
    "functions_contract": "matmul tensordot vecdot",
    "functions_join": "concat overlay stack",
    "functions_manipulate": (
        "broadcast_arrays broadcast_shapes broadcast_to expand_dims flip matrix_transpose "
        "moveaxis nonzero permute_dims repeat reshape roll squeeze take tile unique_all "
        "unique_counts unique_inverse unique_values unstack"
    ),
    "functions_quantize": "dequantize quantize",
    "functions_sink": "dump_tenso",
    "functions_sink_zarr": "dump_zarr",
    "functions_stats": "histogram minmax normalize quantile stats",
    "functions_views": "astype cast downsample pad",
    "namespace": (
        "__array_namespace_info__ bfloat16 bool can_cast complex128 complex64 e finfo float16 "
        "float32 float64 float8_e3m4 float8_e4m3 float8_e4m3b11fnuz float8_e4m3fn "
        "float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu iinfo int16 int32 int4 "
        "int64 int8 isdtype nan newaxis pi result_type uint16 uint32 uint4 uint64 uint8"
    ),
    "plan.cost": "Estimate",
    "plan.dimexpr": "DimExpression d",
    "plan.domain": "Dim IndexDomain",
    "plan.index": "IndexTransform OutputIndexMap OutputIndexMaps OutputIndexMethod",
    "plan.infinity": "inf",
    "plan.quantization": "QuantizedArray",
    "plan.source": "Source Storage",
    "plan.spec": "Axis Schema",
    "quantized": "QuantizedTensor",
    "scanning": "open_ome_zarr open_zarr scan scan_npy scan_ome_zarr scan_zarr",
    "scanning_ome_arrow": "OmeArrowTable open_ome_arrow scan_ome_arrow",
    "scanning_tenso": "open_tenso scan_tenso",
    "sinking": "LazySink",
    "sources": "asarray from_array from_dlpack scan_source virtual_chunked",
    "summaries": "Stats",
    "tensor": "LazyTensor",
}
"""The module each public name lives in. A name is imported when it is first asked for: a program
that only mentions the library pays next to nothing, and engines and drivers wait for their use.
What type checkers see stands above; a test holds the two against each other."""

_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "Axis", "ChecksumError", "ChunkDecodeError", "Config", "DTypeError", "DataDependentShapeError",
    "Dim", "DimExpression", "DimensionError", "Estimate", "FormatError", "HoleError", "IndexDomain",
    "IndexTransform", "InterpretEngine", "LazySink", "LazyTensor", "LazyTensorError", "LocalEngine",
    "MemoryLimitError", "OmeArrowTable", "OmeImage", "OmePlate", "OmeWell", "OmeZarr",
    "OutOfBoundsError", "OutputIndexMap", "OutputIndexMaps", "OutputIndexMethod", "ProgressBar",
    "QuantizedArray", "QuantizedTensor", "QueryOptFlags", "Schema", "SerializationError",
    "ShapeError", "SinkError", "SinkExistsError", "Source", "SourceChangedError", "SourceError",
    "SourceNotFoundError", "Stats", "Storage", "ZarrGroup", "__array_api_version__",
    "__array_namespace_info__", "__version__", "abs", "acos", "acosh", "add", "all", "any",
    "arange", "argmax", "argmin", "argsort", "asarray", "asin", "asinh", "astype", "atan", "atan2",
    "atanh", "bfloat16", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "bool", "broadcast_arrays", "broadcast_shapes",
    "broadcast_to", "can_cast", "cast", "ceil", "clip", "collect_all", "complex128", "complex64",
    "concat", "conj", "copysign", "cos", "cosh", "count_nonzero", "cumulative_prod",
    "cumulative_sum", "d", "dequantize", "diff", "divide", "downsample", "dump_tenso", "dump_zarr",
    "e", "empty", "empty_like", "equal", "exp", "expand_dims", "expm1", "eye", "finfo", "flip",
    "float16", "float32", "float64", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz",
    "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "floor",
    "floor_divide", "from_array", "from_dlpack", "full", "full_like", "get_config", "greater",
    "greater_equal", "histogram", "hypot", "iinfo", "imag", "inf", "int16", "int32", "int4",
    "int64", "int8", "io", "isdtype", "isfinite", "isin", "isinf", "isnan", "less", "less_equal",
    "linspace", "log", "log10", "log1p", "log2", "logaddexp", "logical_and", "logical_not",
    "logical_or", "logical_xor", "map_blocks", "matmul", "matrix_transpose", "max", "maximum",
    "mean", "meshgrid", "metrics", "min", "minimum", "minmax", "moveaxis", "multiply", "nan",
    "negative", "newaxis", "nextafter", "nonzero", "normalize", "not_equal", "ome", "ones",
    "ones_like", "open_ome_arrow", "open_ome_zarr", "open_tenso", "open_zarr", "overlay", "pad",
    "permute_dims", "pi", "positive", "pow", "prod", "quantile", "quantize", "real", "reciprocal",
    "remainder", "repeat", "reshape", "result_type", "roll", "round", "scan", "scan_npy",
    "scan_ome_arrow", "scan_ome_zarr", "scan_source", "scan_tenso", "scan_zarr", "searchsorted",
    "set_config", "sign", "signbit", "sin", "sinh", "sort", "sqrt", "square", "squeeze", "stack",
    "stats", "std", "subtract", "sum", "take", "take_along_axis", "tan", "tanh", "tensordot",
    "testing", "tile", "tril", "triu", "trunc", "uint16", "uint32", "uint4", "uint64", "uint8",
    "unique_all", "unique_counts", "unique_inverse", "unique_values", "unstack", "var", "vecdot",
    "virtual_chunked", "where", "zeros", "zeros_like",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("io", "ome", "testing"):
        return import_module(f"lazytensor.{name}")
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'lazytensor' has no attribute {name!r}")
    import lazytensor.plan.garbage

    with lazytensor.plan.garbage.importing():
        value = getattr(import_module(f"lazytensor.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
