import pytest

from rded_core.training.schedules import look_epochs, stretched_cosine, warmup_cosine


@pytest.mark.parametrize(
    ("progress", "stretch", "factor"),
    [(0.0, 2.0, 1.0), (1.0, 2.0, 0.5), (0.5, 1.0, 0.5), (1.0, 1.0, 0.0), (0.5, 2.0, 0.8535534)],
)
def test_stretched_cosine_by_hand(progress: float, stretch: float, factor: float) -> None:
    assert stretched_cosine(progress, stretch=stretch) == pytest.approx(factor, abs=1e-7)


@pytest.mark.parametrize(
    ("progress", "warmup", "factor"),
    [(0.0, 0.1, 0.0), (0.05, 0.1, 0.5), (0.1, 0.1, 1.0), (0.55, 0.1, 0.5), (1.0, 0.1, 0.0), (0.0, 0.0, 1.0)],
)
def test_warmup_cosine_by_hand(progress: float, warmup: float, factor: float) -> None:
    assert warmup_cosine(progress, warmup=warmup) == pytest.approx(factor, abs=1e-7)


def test_warmup_cosine_rises_then_falls() -> None:
    factors = [warmup_cosine(step / 100, warmup=0.3) for step in range(101)]
    assert factors[:31] == sorted(factors[:31])
    assert factors[30:] == sorted(factors[30:], reverse=True)


def test_look_epochs_by_hand() -> None:
    assert look_epochs(300, 6) == [240, 252, 264, 276, 288, 300]
    assert look_epochs(300, 2) == [240, 300]
    assert look_epochs(300, 1) == [300]


@pytest.mark.parametrize("num_looks", [1, 2, 6])
@pytest.mark.parametrize("num_epochs", [*range(1, 12), 29, 30, 31, 299, 1001])
def test_looks_lie_in_the_last_fifth_and_include_the_last_epoch(num_epochs: int, num_looks: int) -> None:
    looks = look_epochs(num_epochs, num_looks)
    assert looks == sorted(set(looks))
    assert looks[-1] == num_epochs
    assert looks[0] >= max(1, 0.8 * num_epochs)
    assert len(looks) == min(num_looks, num_epochs // 5 + 1)
