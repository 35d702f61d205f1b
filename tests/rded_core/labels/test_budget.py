"""Choice of how to store labels: divergences by hand, laws, and choices."""

import math

import pytest
import torch

from rded_core.errors import InputError
from rded_core.labels.budget import (
    CodecMeasure,
    best_choice,
    divergence,
    list_choices,
    reuse_loss,
    signal,
    spread_over_views,
)
from rded_core.seeds import counter_generator


def test_divergence_by_hand() -> None:
    labels, stored = torch.tensor([[0.0, 20 * math.log(3)]]), torch.zeros(1, 2)
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    assert divergence(labels, stored, temperature=20.0).item() == pytest.approx(expected)
    assert signal(labels, temperature=20.0).item() == pytest.approx(expected)


def test_divergence_is_zero_for_equal_softmaxes_and_positive_otherwise() -> None:
    labels = 5 * torch.randn(50, 7, generator=counter_generator(1))
    assert divergence(labels, labels + 3.0, temperature=4.0).max() < 1e-12
    assert (divergence(labels, labels.roll(1, dims=1), temperature=4.0) > 0).all()


def test_spread_by_hand() -> None:
    low, high = torch.tensor([0.0, 0.0]), torch.tensor([0.0, math.log(3)])
    labels, image = torch.stack([low, high, low]), torch.tensor([4, 4, 9])
    mean = torch.tensor([0.375, 0.625])
    divergences = [(p * (p / mean).log()).sum().item() for p in (torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))]
    assert spread_over_views(labels, image, temperature=1.0).item() == pytest.approx(2 * sum(divergences) / 2, rel=1e-6)


def test_spread_does_not_depend_on_the_number_of_views() -> None:
    labels = torch.randn(4000, 10, generator=counter_generator(2))
    few, many = (spread_over_views(labels, torch.arange(4000) // n, temperature=1.0).item() for n in (4, 100))
    assert few == pytest.approx(many, rel=0.1)


def test_single_views_have_no_spread() -> None:
    assert spread_over_views(torch.randn(3, 5), torch.arange(3), temperature=1.0).item() == 0.0


def test_reuse_costs_nothing_if_all_epochs_are_stored() -> None:
    assert reuse_loss(0.5, epochs=300, wanted=300) == 0.0
    assert reuse_loss(0.5, epochs=30, wanted=300) == pytest.approx(0.5 * (1 / 30 - 1 / 300))


MEASURES = [CodecMeasure("float16", 0, 2000.0, 1e-9), CodecMeasure("int8", 100, 1000.0, 1e-5)]


def test_choices_include_the_most_epochs_that_fit() -> None:
    choices = list_choices(MEASURES, spread=0.1, wanted=300, budget=100_000)
    assert ("float16", 50, 100_000) in {(c.codec, c.epochs, c.num_bytes) for c in choices}
    assert ("int8", 99, 99_100) in {(c.codec, c.epochs, c.num_bytes) for c in choices}
    assert [c.epochs for c in choices if c.codec == "int8"] == [300, 150, 99, 75, 37, 18, 9]


def test_best_choice_that_fits_is_returned() -> None:
    choices = list_choices(MEASURES, spread=0.1, wanted=300, budget=100_000)
    assert best_choice(choices, 100_000).codec == "int8"
    assert best_choice(choices, 600_000) == choices[0]
    flat = list_choices(MEASURES, spread=0.0, wanted=300, budget=100_000)
    assert (best_choice(flat, 100_000).codec, best_choice(flat, 100_000).epochs) == ("float16", 9)


def test_budget_below_one_epoch_is_an_error() -> None:
    choices = list_choices(MEASURES, spread=0.1, wanted=300, budget=500)
    with pytest.raises(InputError, match="a label budget of 500 bytes is too small: one epoch takes at least 1100"):
        best_choice(choices, 500)


def test_spread_of_saturated_softmaxes_is_finite() -> None:
    labels = torch.tensor([[900.0, 0.0], [0.0, 900.0]])
    spread = spread_over_views(labels, torch.zeros(2, dtype=torch.int64), temperature=1.0)
    assert spread.item() == pytest.approx(2 * math.log(2))
