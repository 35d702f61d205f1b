"""The Python reader that a dataset's card prints; it needs neither this project nor a teacher."""

import re
import textwrap
from importlib import resources

STORED = {
    "float16": "the teacher's float16 logits",
    "int8": "the teacher's logits in 8 bits: `logit_offset` + `logit_scale` · code",
    "int4": "the teacher's logits in 4 bits, two in a byte: `logit_offset` + `logit_scale` · code",
    "features": "the teacher's features in 8 bits, from which `teacher_head.parquet` makes logits",
    "topk": "the teacher's largest logits with their classes, and the log-sum-exp of all others",
}
"""Text for the card: what a row stores of the teacher's label, by kind of codec."""

_BRANCH = re.compile(r'^(?:(?:el)?if recipe\["label_codec"\]\.startswith\("(\w+)"\):|else:\n.*)\n', re.MULTILINE)
"""Head of one branch of reader.py; the last branch, for unknown codecs, is matched with its body."""


def kind_of_codec(codec: str) -> str:
    """Returns a codec's name without its number of classes: ``topk`` for ``topk:20``."""
    return codec.partition(":")[0]


def read_template(name: str) -> str:
    """Returns the text of a file in ``templates/``."""
    return resources.files("rded_core.io.report").joinpath("templates", name).read_text(encoding="utf-8")


def reader_of(codec: str) -> str:
    """Returns ``templates/reader.py`` with the branch of one codec in place of the choice between all."""
    start, *branches, _, end = _BRANCH.split(read_template("reader.py"))
    bodies = dict(zip(branches[::2], branches[1::2], strict=True))
    body = textwrap.dedent(bodies[kind_of_codec(codec)]).strip()
    return start + body.replace("\n\ndef ", "\n\n\ndef ") + "\n" + end
