"""The columns of every Parquet table, by stage; their names are part of the product's interface."""

import pyarrow as pa

SCHEMA_VERSION = 1

_PLACE = [
    ("key", pa.string()),
    ("path", pa.string()),
    ("offset", pa.int64()),
    ("num_bytes", pa.int64()),
    ("in_tar", pa.bool_()),
]
"""Where a source image lies; an empty path means the candidate tar of the same class."""

INDEX = pa.schema([*_PLACE, ("stamp", pa.int64())])
"""Every image of a class in the order it would be drawn."""

_SOURCE = [("source_uri", pa.string()), ("source_sha256", pa.string())]

CANDIDATES = pa.schema([("position", pa.int32()), *_PLACE, *_SOURCE])
"""The candidates of a class; `position` is the place in draw order, and names a candidate in later tables."""

SCORES = pa.schema([("position", pa.int32()), ("boxes", pa.list_(pa.int32())), ("scores_nats", pa.list_(pa.float32()))])
"""Candidates that decode, with all their crop boxes (four numbers each) and scores (empty for controls)."""

_PATCH = [
    ("quadrant", pa.int8()),
    ("rank", pa.int32()),
    *_SOURCE,
    ("box_top", pa.int32()),
    ("box_left", pa.int32()),
    ("box_height", pa.int32()),
    ("box_width", pa.int32()),
    ("score_nats", pa.float32()),
]

SELECTED = pa.schema([("number", pa.int32()), ("position", pa.int32()), *_PATCH])
"""Patches of a class's images in order; `number` is the image's place in its class, `position` names the candidate."""

_quadrant, _rank, *_others = _PATCH

LINEAGE = pa.schema([("key", pa.string()), _quadrant, ("class_index", pa.int32()), _rank, *_others])
"""One row per patch of a distilled image; `score_nats` is null for controls, which are not scored."""


def codec_schema(codec: str, *, num_classes: int, num_features: int = 0) -> pa.Schema:
    """Returns the columns in which a codec stores labels; only ``features`` needs `num_features`."""
    kind, _, number = codec.partition(":")
    half = ("scale", "offset")
    if kind in ("int8", "int4"):
        width = num_classes if kind == "int8" else (num_classes + 1) // 2
        fields = [("logit_codes", pa.binary(width)), *((f"logit_{name}", pa.float16()) for name in half)]
    elif kind == "features":
        fields = [("feature_codes", pa.binary(num_features)), *((f"feature_{name}", pa.float16()) for name in half)]
    elif kind == "topk":
        narrow = pa.int16() if num_classes <= 2**15 else pa.int32()
        lists = [("top_class", _list_of(narrow, int(number))), ("top_logit", _list_of(pa.float16(), int(number)))]
        fields = [*lists, ("tail_mass", pa.float32()), ("tail_logsumexp", pa.float32())]
    else:
        fields = [("logits", _list_of(pa.float16(), num_classes))]
    return pa.schema(fields)


def _list_of(kind: pa.DataType, length: int) -> pa.DataType:
    return pa.list_(pa.field("element", kind, nullable=False), length)


def soft_label_schema(codec: pa.Schema) -> pa.Schema:
    """Returns the schema of soft labels, one row per view: its parameters, then the columns of `codec_schema`."""
    whole = ("epoch", "batch", "position")
    boxes = ("crop_top", "crop_left", "crop_height", "crop_width")
    mixes = ("mix_position", "mix_top", "mix_left", "mix_height", "mix_width")
    return pa.schema(
        [
            *((name, pa.int32()) for name in whole),
            ("key", pa.string()),
            ("class_index", pa.int32()),
            ("column_order", pa.list_(pa.uint8())),
            ("row_order", pa.list_(pa.uint8())),
            *((name, pa.int32()) for name in boxes),
            ("flip", pa.bool_()),
            *((name, pa.int32()) for name in mixes),
            ("mix_weight", pa.float32()),
            *codec,
        ]
    )
