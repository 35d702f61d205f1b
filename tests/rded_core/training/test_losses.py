import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rded_core.seeds import counter_generator
from rded_core.training.losses import gift_loss, kl_at_temperature, soft_cross_entropy

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.fixture
def logits() -> tuple[Tensor, Tensor]:
    student, teacher = 5.0 * torch.randn(2, 6, 4, generator=counter_generator(0, "logits"))
    return student, teacher


def test_kl_by_hand() -> None:
    # At T = 2 the teacher gives (3/4, 1/4), the student (1/2, 1/2).
    teacher, student = torch.tensor([[2.0 * math.log(3.0), 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert kl_at_temperature(student, teacher, temperature=2.0).item() == pytest.approx(expected, rel=1e-6)


def test_kl_is_zero_for_equal_softmaxes_and_positive_otherwise(logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits
    assert kl_at_temperature(teacher + 3.0, teacher, temperature=20.0).item() == pytest.approx(0.0, abs=1e-7)
    assert kl_at_temperature(student, teacher, temperature=20.0).item() > 1e-3


def test_kl_is_not_scaled_by_the_temperature(logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits
    hot = kl_at_temperature(20.0 * student, 20.0 * teacher, temperature=20.0)
    torch.testing.assert_close(hot, kl_at_temperature(student, teacher, temperature=1.0))


def test_gift_is_zero_for_the_refined_label_and_two_for_its_opposite() -> None:
    teacher, hard = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 1.0]])
    # teacher / 5 + 0.1 * smoothed / |smoothed|, smoothed = (0.05, 0.95)
    length = math.hypot(0.05, 0.95)
    refined = torch.tensor([[0.6 + 0.1 * 0.05 / length, 0.8 + 0.1 * 0.95 / length]])
    assert gift_loss(7.0 * refined, teacher, hard).item() == pytest.approx(0.0, abs=1e-6)
    assert gift_loss(-refined, teacher, hard).item() == pytest.approx(2.0, abs=1e-6)
    assert gift_loss(teacher, teacher, hard).item() > 1e-4


def test_gift_ignores_the_length_of_logits(logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits
    hard = functional.one_hot(torch.arange(6) % 4, 4).float()
    value = gift_loss(student, teacher, hard)
    torch.testing.assert_close(gift_loss(9.0 * student, 0.1 * teacher, hard), value)
    assert 0.0 <= value.item() <= 2.0


def test_soft_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    hard = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert soft_cross_entropy(logits, hard).item() == pytest.approx((math.log(4.0) + math.log(2.0)) / 2, rel=1e-6)
    mixed = soft_cross_entropy(logits[:1], torch.tensor([[0.5, 0.5]])).item()
    assert mixed == pytest.approx((math.log(4 / 3) + math.log(4.0)) / 2, rel=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        lambda student, teacher, probs: kl_at_temperature(student, teacher, temperature=20.0),  # noqa: ARG005
        gift_loss,
        lambda student, teacher, probs: soft_cross_entropy(student, probs),  # noqa: ARG005
    ],
    ids=["kl", "gift", "soft cross-entropy"],
)
def test_losses_average_over_the_batch_and_teach(loss: Loss, logits: tuple[Tensor, Tensor]) -> None:
    student, teacher = logits
    student = student.clone().requires_grad_()
    probs = teacher.softmax(dim=1)
    value = loss(student, teacher, probs)
    rows = torch.stack([loss(student[i : i + 1], teacher[i : i + 1], probs[i : i + 1]) for i in range(6)])
    torch.testing.assert_close(value, rows.mean())
    value.backward()
    assert student.grad is not None
    with torch.no_grad():
        assert loss(student - 0.1 * student.grad, teacher, probs) < value
