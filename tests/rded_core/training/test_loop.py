import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rded_core.errors import InputError
from rded_core.seeds import counter_generator, seeded_init
from rded_core.training.loop import Accuracy, measure_accuracy, set_learning_rate, split_decay, train_epoch, train_step


class Scale(nn.Module):
    """Returns the image's single pixel times a weight of 1 as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.modes: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        return self.weight * images.flatten(1)


def pixels(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rows).view(-1, 3, 1, 1)


def sum_error(logits: Tensor, target: Tensor) -> Tensor:
    return (logits.sum(dim=1) - target).mean()


def test_only_matrices_and_kernels_decay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model[3].requires_grad_(False)
    wide, flat = split_decay(model, 0.01)
    assert (wide["weight_decay"], flat["weight_decay"]) == (0.01, 0.0)
    assert isinstance(wide["params"], list)
    assert isinstance(flat["params"], list)
    assert [id(p) for p in wide["params"]] == [id(model[0].weight)]
    assert {id(p) for p in flat["params"]} == {id(p) for p in (model[0].bias, *model[1].parameters())}


def test_learning_rate_reaches_every_group() -> None:
    optimiser = torch.optim.SGD(split_decay(nn.Linear(2, 2), 0.1), lr=1.0)
    set_learning_rate(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25, 0.25]


def test_step_returns_the_loss_before_the_update_and_clears_old_gradients() -> None:
    model = Scale()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    images, target = pixels((1.0, 2.0, 3.0)), torch.tensor([2.0])
    # The loss is 6 w - 2, its gradient 6: w goes 1 -> 0.4 -> -0.2.
    losses = [train_step(model, optimiser, images, target, loss=sum_error) for _ in range(2)]
    assert losses == pytest.approx([4.0, 0.4], abs=1e-6)
    assert model.weight.item() == pytest.approx(-0.2, abs=1e-6)


def test_epoch_sets_the_rate_of_each_step_and_averages_the_losses() -> None:
    model = Scale().eval()
    optimiser = torch.optim.SGD(model.parameters(), lr=99.0)
    batches = [(pixels((1.0, 0.0, 0.0)), torch.tensor([0.0]))] * 3
    # The loss is w, its gradient 1: w goes 1 -> 0.5 -> 0.25 -> 0.125.
    mean = train_epoch(model, optimiser, batches, loss=sum_error, learning_rate=lambda step: 0.5 ** (step + 1))
    assert mean == pytest.approx((1.0 + 0.5 + 0.25) / 3)
    assert model.weight.item() == pytest.approx(0.125)
    assert model.modes == [True, True, True]


def test_empty_epoch_is_an_error() -> None:
    optimiser = torch.optim.SGD(Scale().parameters(), lr=1.0)
    with pytest.raises(InputError, match="nothing to train on"):
        train_epoch(Scale(), optimiser, [], loss=sum_error, learning_rate=lambda _: 1.0)


def test_training_learns_and_is_identical_for_equal_seeds() -> None:
    images = torch.rand(8, 3, 2, 2, generator=counter_generator(0))
    batches = [(images, torch.arange(8) % 2)] * 20
    results = []
    for _ in range(2):
        with seeded_init(0):
            model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        optimiser = torch.optim.AdamW(split_decay(model, 0.01), lr=0.1)
        loss = train_epoch(model, optimiser, batches, loss=functional.cross_entropy, learning_rate=lambda _: 0.1)
        results.append((loss, model[1].weight.detach()))
    assert results[0][0] == results[1][0] < math.log(2.0)
    assert torch.equal(results[0][1], results[1][1])


def test_accuracy_is_averaged_over_images_not_batches() -> None:
    right, wrong = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
    batches = [(pixels(right, right, wrong), torch.tensor([1, 1, 1])), (pixels(wrong), torch.tensor([1]))]
    assert measure_accuracy(Scale(), iter(batches)) == Accuracy(top1=0.5, top5=1.0, num_images=4)


def test_top5_counts_the_fifth_but_not_the_sixth() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 7, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(-torch.arange(7.0)[:, None].expand(7, 3))
    accuracy = measure_accuracy(model, [(pixels((1.0, 1.0, 1.0)).expand(3, 3, 1, 1), torch.tensor([0, 4, 5]))])
    assert (accuracy.top1, accuracy.top5) == pytest.approx((1 / 3, 2 / 3))


@pytest.mark.parametrize("training", [True, False])
def test_accuracy_is_measured_in_eval_mode_and_the_mode_is_restored(training: bool) -> None:
    model = Scale().train(training)
    measure_accuracy(model, [(pixels((0.0, 1.0, 0.0)), torch.tensor([1]))])
    assert model.modes == [False]
    assert model.training == training


def test_accuracy_without_images_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing to measure on"):
        measure_accuracy(Scale(), [])
