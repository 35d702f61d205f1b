"""How a dataset's own README reads its labels, codec by codec: code that needs neither this project nor a teacher."""

_HALF = """
def logits_of(row):
    return torch.tensor(row["logits"], dtype=torch.float32)
"""

_INT8 = """
def logits_of(row):
    codes = torch.frombuffer(bytearray(row["logit_codes"]), dtype=torch.uint8)
    return float(row["logit_offset"]) + float(row["logit_scale"]) * codes
"""

_INT4 = """
def logits_of(row):
    packed = torch.frombuffer(bytearray(row["logit_codes"]), dtype=torch.uint8)
    codes = torch.stack([packed & 15, packed >> 4], dim=1).flatten()[: recipe["num_classes"]]
    return float(row["logit_offset"]) + float(row["logit_scale"]) * codes
"""

_FEATURES = """
head = pq.read_table(ROOT / "teacher_head.parquet")
weight, bias = (torch.tensor(head[name].to_pylist()) for name in ("weight", "bias"))


def logits_of(row):
    codes = torch.frombuffer(bytearray(row["feature_codes"]), dtype=torch.uint8)
    return weight @ (float(row["feature_offset"]) + float(row["feature_scale"]) * codes) + bias
"""

_TOP = """
def logits_of(row):
    num_classes, stored = recipe["num_classes"], len(row["top_class"])
    even = recipe["temperature"] * (row["tail_logsumexp"] - math.log(num_classes - stored))
    logits = torch.full((num_classes,), even)
    logits[row["top_class"]] = torch.tensor(row["top_logit"], dtype=torch.float32)
    return logits
"""

READERS = {"float16": _HALF, "int8": _INT8, "int4": _INT4, "features": _FEATURES, "topk": _TOP}
"""Python that defines ``logits_of(row)``, where ``recipe``, ``ROOT`` and the imports are there already."""

STORED = {
    "float16": "the teacher's float16 logits",
    "int8": "the teacher's logits in 8 bits: `logit_offset` + `logit_scale` · code",
    "int4": "the teacher's logits in 4 bits, two in a byte: `logit_offset` + `logit_scale` · code",
    "features": "the teacher's features in 8 bits, from which `teacher_head.parquet` makes logits",
    "topk": "the teacher's greatest logits with their classes, and the sum of all others",
}
"""What a row holds of the teacher's label, for people."""


def kind_of_codec(codec: str) -> str:
    """Returns a codec's name without the number of classes that it stores apart."""
    return codec.partition(":")[0]
