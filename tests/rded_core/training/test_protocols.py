import pytest

from rded_core.errors import InputError
from rded_core.training.protocols import PROTOCOLS, find_protocol, peak_learning_rate


@pytest.mark.parametrize(
    ("ipc", "num_classes", "batch"),
    [
        (1, 10, 10),
        (9, 10, 10),
        (10, 10, 50),
        (49, 99, 50),
        (50, 10, 100),
        (1, 100, 20),
        (10, 1000, 100),
        (50, 1000, 200),
    ],
)
def test_paper_batches_by_ipc_and_classes(ipc: int, num_classes: int, batch: int) -> None:
    protocol = find_protocol("paper")
    assert protocol.batch_size(ipc=ipc, num_classes=num_classes, num_images=ipc * num_classes) == batch


@pytest.mark.parametrize("name", PROTOCOLS)
def test_batch_never_exceeds_the_set(name: str) -> None:
    assert find_protocol(name).batch_size(ipc=3, num_classes=3, num_images=9) == 9


@pytest.mark.parametrize("name", ["standard", "hard"])
def test_fixed_protocols_do_not_follow_ipc_or_factor(name: str) -> None:
    protocol = find_protocol(name)
    assert protocol.batch_size(ipc=50, num_classes=1000, num_images=50_000) == 128
    assert [protocol.crop_scale_min(factor) for factor in (1, 2)] == [0.08, 0.08]
    assert protocol.lr_stretch == 1.0


def test_paper_crops_and_schedule() -> None:
    protocol = find_protocol("paper")
    assert [protocol.crop_scale_min(factor) for factor in (1, 2, 4)] == [1.0, 0.5, 0.25]
    assert protocol.lr_stretch == 2.0


def test_only_hard_labels_are_one_hot() -> None:
    assert [name for name in PROTOCOLS if find_protocol(name).one_hot] == ["hard"]
    assert all(find_protocol(name).name == name for name in PROTOCOLS)


def test_unknown_protocol_error_lists_the_choices() -> None:
    with pytest.raises(InputError, match="unknown protocol 'fast'; choose from paper, standard, hard"):
        find_protocol("fast")


@pytest.mark.parametrize(
    ("student", "rate"),
    [
        ("resnet18", 1e-3),
        ("convnet3", 1e-3),
        ("efficientnet_b0", 2e-3),
        ("mobilenet_v2", 2.5e-3),
        ("vgg11", 5e-4),
        ("alexnet", 1e-4),
        ("vit_b_16", 1e-4),
        ("swin_v2_t", 1e-4),
    ],
)
def test_peak_learning_rates_of_the_paper(student: str, rate: float) -> None:
    assert peak_learning_rate(student) == rate
