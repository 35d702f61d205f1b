import pytest
import torch
from torch import nn

from rded_core.seeds import counter_generator
from rded_core.training.losses import kl_at_temperature, soft_cross_entropy


@pytest.mark.parametrize("temperature", [1.0, 20.0])
@pytest.mark.parametrize("num_classes", [2, 1000])
def test_kl_equals_the_published_loss(temperature: float, num_classes: int) -> None:
    student, teacher = 8.0 * torch.randn(2, 16, num_classes, generator=counter_generator(0))
    published = nn.KLDivLoss(reduction="batchmean")(
        torch.log_softmax(student / temperature, dim=1), torch.softmax(teacher / temperature, dim=1)
    )
    torch.testing.assert_close(kl_at_temperature(student, teacher, temperature=temperature), published)


def test_one_hot_targets_equal_class_indices() -> None:
    logits, targets = torch.randn(16, 10, generator=counter_generator(0)), torch.arange(16) % 10
    one_hot = nn.functional.one_hot(targets, 10).float()
    torch.testing.assert_close(soft_cross_entropy(logits, one_hot), nn.CrossEntropyLoss()(logits, targets))
