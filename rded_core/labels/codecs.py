"""Codecs of soft labels: what a teacher gives for a view, as columns of a table and back.

A closed set behind one interface. Logits are stored, not probabilities, so that the temperature stays the trainer's
choice. Decoding gives exactly what is stored; encoding loses no more than `Codec.error` says. Axis legend besides the
package's: d  width of the teacher's penultimate features, t  classes whose logits are stored apart.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from rded_core.config.choices import LABEL_CODECS
from rded_core.errors import InputError
from rded_core.labels.quantisation import (
    NOT_HELD,
    pack_halves,
    quantise_rows,
    restore_rows,
    round_to_half,
    unpack_halves,
)

Encoded = Mapping[str, Tensor]
"""Columns by name, one row a view: 1-d numbers, 2-d float or integer lists, or 2-d uint8 bytes."""

HALF_RELATIVE, HALF_ABSOLUTE = 2.0**-11, 2.0**-25
"""What rounding to float16 loses at most: relative, and absolute below 2^-14."""

DEFAULT_TOP = 20


@runtime_checkable
class Codec(Protocol):
    """How labels are stored."""

    @property
    def name(self) -> str:
        """As tables, recipe.json and ``--label-codec`` spell it."""
        ...

    @property
    def num_classes(self) -> int:
        """Logits in a row."""
        ...

    @property
    def num_outputs(self) -> int:
        """Numbers in a row that `encode` takes."""
        ...

    def encode(self, outputs: Float[Tensor, "b o"]) -> Encoded:
        """Returns what is stored of the teacher's outputs: its logits, or its features where `features` stores these.

        Raises:
            ValueError: an output is not finite, or too large for float16.
        """
        ...

    def decode(self, encoded: Encoded) -> Float[Tensor, "b k"]:
        """Returns float32 logits, by the stored numbers alone: the same ones give the same logits."""
        ...

    def error(self, encoded: Encoded) -> Float[Tensor, "b"]:
        """Returns for each row how far a decoded logit may be from the teacher's; infinite where nothing bounds it."""
        ...


@dataclass(frozen=True, slots=True)
class HalfCodec:
    """Float16 logits, the plain codec: readable by anything that reads Parquet.

    Attributes:
        num_classes: logits in a row.
    """

    num_classes: int
    name: str = "float16"

    @property
    def num_outputs(self) -> int:
        """See `Codec`."""
        return self.num_classes

    def encode(self, outputs: Float[Tensor, "b o"]) -> Encoded:
        """See `Codec`."""
        return {"logits": round_to_half(outputs)}

    def decode(self, encoded: Encoded) -> Float[Tensor, "b k"]:
        """See `Codec`."""
        return encoded["logits"].float()

    def error(self, encoded: Encoded) -> Float[Tensor, "b"]:
        """See `Codec`."""
        return _half_error(encoded["logits"])


@dataclass(frozen=True, slots=True)
class IntegerCodec:
    """Whole numbers of 8 or 4 bits, evenly spaced between a row's least and greatest logit.

    logit = ``logit_offset`` + ``logit_scale`` · code, both float16. Codes of 4 bits lie two in a byte, the first in the
    low half.

    Attributes:
        bits: 8 or 4.
        num_classes: codes in a row.
    """

    bits: int
    num_classes: int

    @property
    def name(self) -> str:
        """See `Codec`."""
        return f"int{self.bits}"

    @property
    def num_outputs(self) -> int:
        """See `Codec`."""
        return self.num_classes

    def encode(self, outputs: Float[Tensor, "b o"]) -> Encoded:
        """See `Codec`."""
        codes, scale, offset = quantise_rows(outputs, self.bits)
        packed = codes if self.bits == 8 else pack_halves(codes)
        return {"logit_codes": packed, "logit_scale": scale, "logit_offset": offset}

    def decode(self, encoded: Encoded) -> Float[Tensor, "b k"]:
        """See `Codec`."""
        packed = encoded["logit_codes"]
        codes = packed if self.bits == 8 else unpack_halves(packed, self.num_classes)
        return restore_rows(codes, encoded["logit_scale"], encoded["logit_offset"])

    def error(self, encoded: Encoded) -> Float[Tensor, "b"]:
        """See `Codec`."""
        return _step_error(encoded["logit_scale"], encoded["logit_offset"], 2**self.bits - 1)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureCodec:
    """The teacher's penultimate features in 8 bits, and its last layer once: logits are one matrix product away.

    feature = ``feature_offset`` + ``feature_scale`` · code, both float16; logits = features · weightᵀ + bias.

    Attributes:
        weight: of the teacher's last layer, the rows of the source's classes.
        bias: likewise.
    """

    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, "k"]
    name: str = "features"

    @property
    def num_classes(self) -> int:
        """See `Codec`."""
        return self.weight.shape[0]

    @property
    def num_outputs(self) -> int:
        """See `Codec`."""
        return self.weight.shape[1]

    def encode(self, outputs: Float[Tensor, "b o"]) -> Encoded:
        """See `Codec`; outputs are features."""
        codes, scale, offset = quantise_rows(outputs, 8)
        return {"feature_codes": codes, "feature_scale": scale, "feature_offset": offset}

    def decode(self, encoded: Encoded) -> Float[Tensor, "b k"]:
        """See `Codec`."""
        features = restore_rows(encoded["feature_codes"], encoded["feature_scale"], encoded["feature_offset"])
        return functional.linear(features, self.weight, self.bias)

    def error(self, encoded: Encoded) -> Float[Tensor, "b"]:
        """See `Codec`: as if every feature were off by half a step in the worst direction, and sums by float32's."""
        step = _step_error(encoded["feature_scale"], encoded["feature_offset"], 255)
        size = (restore_rows(encoded["feature_codes"], encoded["feature_scale"], encoded["feature_offset"])).abs()
        summed = functional.linear(size, self.weight.abs(), self.bias.abs()).amax(dim=1)
        return step * self.weight.abs().sum(dim=1).max() + summed * self.weight.shape[1] * 2.0**-23


@dataclass(frozen=True, slots=True)
class TopCodec:
    """The greatest logits as float16 with their classes, and the sum of all others, spread evenly over those.

    ``tail_logsumexp`` is the others' log-sum-exp of logit / temperature, so that their share of the softmax at that
    temperature is exact; ``tail_mass`` is their probability at temperature 1, for people.

    Attributes:
        top: classes stored apart; fewer than `num_classes`.
        num_classes: of the teacher's outputs.
        temperature: at which students compare.
    """

    top: int
    num_classes: int
    temperature: float

    @property
    def name(self) -> str:
        """See `Codec`."""
        return f"topk:{self.top}"

    @property
    def num_outputs(self) -> int:
        """See `Codec`."""
        return self.num_classes

    def encode(self, outputs: Float[Tensor, "b o"]) -> Encoded:
        """See `Codec`."""
        if not torch.isfinite(outputs).all():
            raise ValueError(NOT_HELD)
        values, classes = outputs.float().sort(dim=1, descending=True, stable=True)
        logits = round_to_half(values[:, : self.top])
        narrow = torch.int16 if self.num_classes <= 2**15 else torch.int32
        return {
            "top_class": classes[:, : self.top].to(narrow),
            "top_logit": logits,
            "tail_mass": values.softmax(dim=1)[:, self.top :].sum(dim=1),
            "tail_logsumexp": (values[:, self.top :] / self.temperature).logsumexp(dim=1),
        }

    def decode(self, encoded: Encoded) -> Float[Tensor, "b k"]:
        """See `Codec`."""
        even = self.temperature * (encoded["tail_logsumexp"] - math.log(self.num_classes - self.top))
        logits = even[:, None].repeat(1, self.num_classes)
        return logits.scatter(1, encoded["top_class"].long(), encoded["top_logit"].float())

    def error(self, encoded: Encoded) -> Float[Tensor, "b"]:
        """See `Codec`: of the classes stored apart; of the others, only the sum is known."""
        return torch.full_like(encoded["tail_logsumexp"], torch.inf)


def find_codec(name: str, *, num_classes: int, temperature: float, head: tuple[Tensor, Tensor] | None = None) -> Codec:
    """Returns the codec called `name`, one of `LABEL_CODECS`; ``topk:50`` stores 50 classes apart.

    Args:
        name: as the user, or a table, spells it.
        num_classes: of the labels.
        temperature: at which students compare.
        head: weight and bias of the teacher's last layer, which `features` needs.

    Raises:
        InputError: there is no such codec, or it does not suit these labels.
    """
    kind, _, number = name.partition(":")
    if kind == "topk" and (number.isdecimal() or name == "topk"):
        top = int(number) if number else min(DEFAULT_TOP, num_classes - 1)
        if not 1 <= top < num_classes:
            raise InputError(f"label codec topk:{top} needs 1 to {num_classes - 1} of {num_classes} classes")
        return TopCodec(top, num_classes, temperature)
    if name == "features":
        if head is None:
            raise InputError(
                "label codec features needs a teacher whose logits are one linear layer of its features; "
                "give another --label-codec, such as int8"
            )
        return FeatureCodec(*head)
    if name in ("int8", "int4"):
        return IntegerCodec(int(name.removeprefix("int")), num_classes)
    if name == "float16":
        return HalfCodec(num_classes)
    raise InputError(f"unknown label codec {name!r}; known: {', '.join(LABEL_CODECS)} (topk:N keeps N classes)")


def row_bytes(codec: Codec) -> int:
    """Returns the bytes of a row's labels, before any compression."""
    none = codec.encode(torch.zeros(0, codec.num_outputs))
    return sum(part.element_size() * math.prod(part.shape[1:]) for part in none.values())


def _half_error(stored: Tensor) -> Tensor:
    size = stored.float().abs().amax(dim=1) if stored.shape[1] else torch.zeros(len(stored))
    return size * HALF_RELATIVE * (1 + 2.0**-10) + HALF_ABSOLUTE


def _step_error(scale: Tensor, offset: Tensor, levels: int) -> Tensor:
    """Returns half a step, and what float32 loses in offset + scale · code."""
    reach = offset.float().abs() + scale.float() * levels
    return scale.float() / 2 + reach * 2.0**-21
