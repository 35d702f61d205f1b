"""Codecs: decoding is exact, and no further from the teacher's logits than the codec states."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rded_core.config.choices import LABEL_CODECS
from rded_core.errors import InputError
from rded_core.labels.codecs import Codec, FeatureCodec, HalfCodec, IntegerCodec, TopCodec, find_codec
from rded_core.labels.quantisation import pack_halves, quantise_rows, restore_rows, unpack_halves
from rded_core.seeds import counter_generator

K = 11


def _head(width: int = 16) -> tuple[Tensor, Tensor]:
    generator = counter_generator(7)
    return torch.randn(K, width, generator=generator), torch.randn(K, generator=generator)


def _codec(name: str) -> Codec:
    return find_codec(name, num_classes=K, temperature=20.0, head=_head())


def _outputs(name: str, rows: int = 200) -> Tensor:
    values = torch.randn(rows, 16 if name == "features" else K, generator=counter_generator(3))
    return values * torch.logspace(-3, 2, rows)[:, None]


def _logits(name: str, outputs: Tensor) -> Tensor:
    return functional.linear(outputs, *_head()) if name == "features" else outputs


@pytest.mark.parametrize("name", LABEL_CODECS)
def test_logits_are_off_by_no_more_than_the_stated_error(name: str) -> None:
    codec, outputs = _codec(name), _outputs(name)
    encoded = codec.encode(outputs)
    assert outputs.shape[1] == codec.num_outputs
    error = (codec.decode(encoded).double() - _logits(name, outputs).double()).abs().amax(dim=1)
    assert (error <= codec.error(encoded).double()).all()
    assert codec.decode(encoded).dtype == torch.float32


@pytest.mark.parametrize(("name", "share"), [("float16", 1e-3), ("int8", 1 / 400), ("int4", 1 / 25)])
def test_stated_error_is_small(name: str, share: float) -> None:
    outputs = 10 * torch.randn(50, K, generator=counter_generator(5))
    span = outputs.amax(dim=1) - outputs.amin(dim=1)
    codec = _codec(name)
    assert (codec.error(codec.encode(outputs)) < share * span).all()


@pytest.mark.parametrize("name", LABEL_CODECS)
def test_rows_are_encoded_independently(name: str) -> None:
    codec, outputs = _codec(name), _outputs(name)
    whole, part = codec.encode(outputs), codec.encode(outputs[40:60])
    assert all(torch.equal(whole[column][40:60], part[column]) for column in whole)


@pytest.mark.parametrize("name", LABEL_CODECS)
def test_zero_rows_have_the_same_columns(name: str) -> None:
    codec = _codec(name)
    none, some = (codec.encode(_outputs(name)[:rows]) for rows in (0, 5))
    assert [(column, part.dtype, part.shape[1:]) for column, part in none.items()] == [
        (column, part.dtype, part.shape[1:]) for column, part in some.items()
    ]


@pytest.mark.parametrize("name", ["float16", "int8", "int4", "topk"])
@pytest.mark.parametrize("value", [1e9, -float("inf"), float("inf"), float("nan")])
def test_logits_out_of_range_are_an_error(name: str, value: float) -> None:
    logits = torch.zeros(2, K)
    logits[1, 0] = value
    with pytest.raises(ValueError, match="logits that float16 cannot represent"):
        _codec(name).encode(logits)


def test_every_float16_number_is_restored() -> None:
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(torch.float16)
    finite = every[every.isfinite()].view(1, -1)
    codec = HalfCodec(finite.shape[1])
    decoded = codec.decode({"logits": finite})
    assert torch.equal(decoded, finite.float())
    assert torch.equal(codec.encode(decoded)["logits"], finite)


@pytest.mark.parametrize("bits", [8, 4])
def test_integers_by_hand(bits: int) -> None:
    levels = 2**bits - 1
    encoded = IntegerCodec(bits, 3).encode(torch.tensor([[-1.0, levels - 1.0, 1.4], [2.0, 2.0, 2.0]]))
    codes = encoded["logit_codes"] if bits == 8 else unpack_halves(encoded["logit_codes"], 3)
    assert codes.tolist() == [[0, levels, 2], [0, 0, 0]]
    assert encoded["logit_offset"].tolist() == [-1.0, 2.0]
    assert encoded["logit_scale"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("count", range(6))
def test_unpacking_undoes_packing(count: int) -> None:
    codes = torch.randint(16, (9, count), generator=counter_generator(1), dtype=torch.uint8)
    packed = pack_halves(codes)
    assert packed.shape == (9, (count + 1) // 2)
    assert torch.equal(unpack_halves(packed, count), codes)


@pytest.mark.parametrize("bits", [8, 4])
def test_codes_reach_the_smallest_and_largest_value_of_a_row(bits: int) -> None:
    values = torch.randn(2000, 6, generator=counter_generator(2)) * torch.logspace(-9, 4, 2000)[:, None]
    codes, scale, offset = quantise_rows(values, bits)
    assert (offset.float() <= values.amin(dim=1)).all()
    assert (offset.float() + (2**bits - 1) * scale.double() * (1 + 1e-6) >= values.amax(dim=1)).all()
    half = scale.float() / 2 + 1e-6 * values.abs().amax(dim=1)
    assert ((restore_rows(codes, scale, offset) - values).abs().amax(dim=1) <= half).all()


def test_top_classes_by_hand() -> None:
    codec = TopCodec(2, 4, temperature=2.0)
    encoded = codec.encode(torch.tensor([[0.0, 3.0, 1.0, 5.0]]))
    assert (encoded["top_class"].tolist(), encoded["top_logit"].tolist()) == ([[3, 1]], [[5.0, 3.0]])
    assert encoded["tail_logsumexp"].item() == pytest.approx(math.log(1 + math.exp(0.5)))
    total = 1 + math.exp(3) + math.exp(1) + math.exp(5)
    assert encoded["tail_mass"].item() == pytest.approx((1 + math.exp(1)) / total)
    even = 2.0 * (math.log(1 + math.exp(0.5)) - math.log(2))
    assert codec.decode(encoded)[0].tolist() == pytest.approx([even, 3.0, even, 5.0])


def test_top_classes_keep_the_tails_share_at_the_temperature() -> None:
    codec, logits = TopCodec(3, K, temperature=20.0), _outputs("topk")
    encoded = codec.encode(logits)
    kept = encoded["top_class"].long()
    shares = [(part / 20.0).softmax(dim=1).gather(1, kept).sum(dim=1) for part in (logits, codec.decode(encoded))]
    assert torch.allclose(*shares, atol=1e-3)
    assert (codec.decode(encoded).argmax(dim=1) == logits.argmax(dim=1)).all()


def test_equal_logits_are_kept_in_class_order() -> None:
    assert TopCodec(2, 4, temperature=1.0).encode(torch.zeros(1, 4))["top_class"].tolist() == [[0, 1]]


def test_features_and_head_give_logits() -> None:
    weight, bias = _head()
    codec = FeatureCodec(weight, bias)
    features = codec.decode(codec.encode(torch.zeros(3, 16)))
    assert torch.equal(features, bias.expand(3, K))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("float32", r"unknown label codec 'float32'; choose from float16, int8, int4, features, topk"),
        ("topk:x", "unknown label codec"),
        ("topk:11", "topk:N must keep 1 to 10 of the 11 classes, got N = 11"),
        ("topk:0", "topk:N must keep 1 to 10 of the 11 classes, got N = 0"),
        ("features", "needs a teacher whose logits are one linear layer"),
    ],
)
def test_invalid_names_are_rejected(name: str, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        find_codec(name, num_classes=K, temperature=20.0)
