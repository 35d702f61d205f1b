"""Descriptions of config fields, and the check of values."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Interval

from rded_core.config import DistillConfig, EvaluateConfig, Rerun, TrainObserverConfig
from rded_core.config.fields import Field, check_fields, describe_fields
from rded_core.errors import InputError


@dataclass
class Example:
    """An example.

    Attributes:
        share: how much
        mode: which
        count: how many,
            at most
    """

    share: Annotated[float, Interval(gt=0, le=1)] | None = None
    mode: Literal["a", "b"] | None = None
    count: Annotated[int, Ge(2)] = 2
    names: tuple[Literal["x"], ...] = ()


def test_fields_are_described() -> None:
    assert describe_fields(Example) == {
        "share": Field("how much", Interval(gt=0, le=1), ()),
        "mode": Field("which", None, ("a", "b")),
        "count": Field("how many, at most", Interval(ge=2), ()),
        "names": Field("", None, ()),
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (Example(share=0.0), r"^share must be in \(0, 1\], got 0\.0$"),
        (Example(share=float("nan")), "share must be in"),
        (Example(share=1.5), "share must be in"),
        (Example(count=1), "^count must be >= 2, got 1$"),
        (Example(mode="c"), "^mode must be one of a, b; got 'c'$"),  # type: ignore[arg-type]
    ],
)
def test_values_are_checked_against_bounds_and_choices(config: Example, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_fields(config)


def test_none_passes_every_check() -> None:
    check_fields(Example())
    check_fields(Example(share=1.0, mode="b", count=7))


@pytest.mark.parametrize("config_class", [DistillConfig, EvaluateConfig, TrainObserverConfig, Rerun])
def test_every_field_has_a_help_line(config_class: type) -> None:
    assert [name for name, field in describe_fields(config_class).items() if not field.text] == []
