"""Codecs of soft labels: a teacher's outputs for views, encoded as columns of a table and decoded.

A closed set behind one interface. Logits are stored, not probabilities, so that the trainer remains free to choose the
temperature. Decoding returns exactly what is stored; encoding loses no more than `Codec.error` states. Axes in addition
to the package's: d  width of the teacher's penultimate features, t  classes whose logits are stored separately.
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
    NOT_FLOAT16,
    pack_halves,
    quantise_rows,
    restore_rows,
    round_to_half,
    unpack_halves,
)

Encoded = Mapping[str, Tensor]
"""Columns by name, one row per view: 1-d numbers, 2-d float or integer lists, or 2-d uint8 bytes."""

HALF_RELATIVE, HALF_ABSOLUTE = 2.0**-11, 2.0**-25
"""Largest loss from rounding to float16: relative, and absolute below 2^-14."""

DEFAULT_TOP = 20


@runtime_checkable
class Codec(Protocol):
    """A way to store labels."""

    @property
    def name(self) -> str:
        """Name as written in tables, recipe.json and ``--label-codec``."""
        ...

    @property
    def num_classes(self) -> int:
        """Number of logits in a row."""
        ...

    @property
    def num_outputs(self) -> int:
        """Number of values in a row that `encode` takes."""
        ...

    def encode(self, outputs: Float[Tensor, "b o"]) -> Encoded:
        """Returns the columns to store for the teacher's outputs: its logits, or its features for the codec `features`.

        Raises:
            ValueError: an output is not finite, or too large for float16.
        """
        ...

    def decode(self, encoded: Encoded) -> Float[Tensor, "b k"]:
        """Returns float32 logits that depend on the stored numbers alone: equal numbers give equal logits."""
        ...

    def error(self, encoded: Encoded) -> Float[Tensor, "b"]:
        """Returns for each row how far a decoded logit may be from the teacher's; infinite if nothing bounds it."""
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
    """Whole numbers of 8 or 4 bits, evenly spaced between a row's smallest and largest logit.

    logit = ``logit_offset`` + ``logit_scale`` · code, both float16. 4-bit codes are packed two per byte, the first in
    the low half.

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
    """The teacher's penultimate features in 8 bits, and its last layer once; one matrix product gives the logits.

    feature = ``feature_offset`` + ``feature_scale`` · code, both float16; logits = features · weightᵀ + bias.

    Attributes:
        weight: weight of the teacher's last layer, the rows of the source's classes.
        bias: its bias, likewise.
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
        """See `Codec`: every feature off by half a step in the worst direction, plus float32's error in sums."""
        step = _step_error(encoded["feature_scale"], encoded["feature_offset"], 255)
        size = (restore_rows(encoded["feature_codes"], encoded["feature_scale"], encoded["feature_offset"])).abs()
        summed = functional.linear(size, self.weight.abs(), self.bias.abs()).amax(dim=1)
        return step * self.weight.abs().sum(dim=1).max() + summed * self.weight.shape[1] * 2.0**-23


@dataclass(frozen=True, slots=True)
class TopCodec:
    """The largest logits as float16 with their classes, and the sum of all others, spread evenly over the others.

    ``tail_logsumexp`` is the others' log-sum-exp of logit / temperature, so that their share of the softmax at that
    temperature is exact; ``tail_mass`` is their probability at temperature 1, for human readers.

    Attributes:
        top: number of classes stored separately; fewer than `num_classes`.
        num_classes: number of classes in the teacher's outputs.
        temperature: softmax temperature of the students' loss.
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
            raise ValueError(NOT_FLOAT16)
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
        """See `Codec`: infinite, since only the sum of the classes not stored separately is known."""
        return torch.full_like(encoded["tail_logsumexp"], torch.inf)


def find_codec(name: str, *, num_classes: int, temperature: float, head: tuple[Tensor, Tensor] | None = None) -> Codec:
    """Returns the codec called `name`, one of `LABEL_CODECS`; ``topk:50`` stores 50 classes separately.

    Args:
        name: name as written by the user or in a table.
        num_classes: number of classes in the labels.
        temperature: softmax temperature of the students' loss.
        head: weight and bias of the teacher's last layer, which `features` needs.

    Raises:
        InputError: unknown codec, or one that does not suit these labels.
    """
    kind, _, number = name.partition(":")
    if kind == "topk" and (number.isdecimal() or name == "topk"):
        top = int(number) if number else min(DEFAULT_TOP, num_classes - 1)
        if not 1 <= top < num_classes:
            raise InputError(
                f"label codec topk:N must keep 1 to {num_classes - 1} of the {num_classes} classes, got N = {top}"
            )
        return TopCodec(top, num_classes, temperature)
    if name == "features":
        if head is None:
            raise InputError(
                "label codec features needs a teacher whose logits are one linear layer of its features; "
                "choose another --label-codec, such as int8"
            )
        return FeatureCodec(*head)
    if name in ("int8", "int4"):
        return IntegerCodec(int(name.removeprefix("int")), num_classes)
    if name == "float16":
        return HalfCodec(num_classes)
    raise InputError(f"unknown label codec {name!r}; choose from {', '.join(LABEL_CODECS)} (topk:N keeps N classes)")


def row_bytes(codec: Codec) -> int:
    """Returns the size of one row's labels in bytes, before compression."""
    empty = codec.encode(torch.zeros(0, codec.num_outputs))
    return sum(part.element_size() * math.prod(part.shape[1:]) for part in empty.values())


def _half_error(stored: Tensor) -> Tensor:
    size = stored.float().abs().amax(dim=1) if stored.shape[1] else torch.zeros(len(stored))
    return size * HALF_RELATIVE * (1 + 2.0**-10) + HALF_ABSOLUTE


def _step_error(scale: Tensor, offset: Tensor, levels: int) -> Tensor:
    """Returns half a step plus float32's error in offset + scale · code."""
    reach = offset.float().abs() + scale.float() * levels
    return scale.float() / 2 + reach * 2.0**-21
