"""Flags made from config fields."""

import dataclasses
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deployments.cli.options import coerce_fields, with_options
from rded_core.config import DistillConfig, EvaluateConfig, TrainObserverConfig
from rded_core.config.fields import field_help


@pytest.mark.parametrize("config_class", [DistillConfig, EvaluateConfig, TrainObserverConfig])
def test_every_field_has_help_and_every_help_a_field(config_class: type) -> None:
    helps = field_help(config_class)
    assert set(helps) == {field.name for field in dataclasses.fields(config_class)}
    assert all(len(text) > 10 and not text.endswith((",", " or", " and")) for text in helps.values()), helps


def test_help_of_several_lines_is_joined() -> None:
    class Config:
        """A config.

        Attributes:
            short: one line
            long: two
                lines: with a colon
            last: the end
        """

    assert field_help(Config) == {"short": "one line", "long": "two lines: with a colon", "last": "the end"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("random,mosaic", ("random", "mosaic")),
        (" random , mosaic ", ("random", "mosaic")),
        ("none", ()),
        ("", ()),
        (["random"], ("random",)),
        (("mosaic",), ("mosaic",)),
    ],
)
def test_lists_are_split_at_commas(given: object, expected: tuple[str, ...]) -> None:
    assert coerce_fields(EvaluateConfig, {"controls": given}, origin="config") == {"controls": expected}


def test_none_may_be_a_class_name() -> None:
    for text, expected in (("none,dog", ("none", "dog")), ("none", ("none",))):
        assert coerce_fields(DistillConfig, {"classes": text}, origin="config") == {"classes": expected}


def test_text_fields_keep_their_commas() -> None:
    assert coerce_fields(DistillConfig, {"source": "a,b", "ipc": 1}, origin="config") == {"source": "a,b", "ipc": 1}
    assert coerce_fields(DistillConfig, {"classes": None}, origin="config") == {"classes": None}


@pytest.mark.parametrize(
    ("flags", "fields"),
    [
        (["--classes", "a,b"], {"classes": ("a", "b")}),
        (["--classes", "Pepper,_bell", "--classes", "b"], {"classes": ("Pepper,_bell", "b")}),
        (["--classes", ""], {"classes": ()}),
        ([], {}),
    ],
)
def test_a_list_is_one_comma_separated_value_or_a_repeated_flag(flags: list[str], fields: dict[str, Any]) -> None:
    app, given = typer.Typer(), dict[str, Any]()
    app.command()(with_options(TrainObserverConfig, positional="source", run=given.update))
    result = CliRunner().invoke(app, ["photos", *flags])
    assert result.exit_code == 0, result.output
    assert coerce_fields(TrainObserverConfig, given, origin="flags") == {"source": "photos", **fields}


def test_a_repeated_flag_of_fixed_words_is_joined() -> None:
    assert coerce_fields(EvaluateConfig, {"controls": ["random,mosaic", "none"]}, origin="flags")["controls"] == (
        "random", "mosaic", "none",
    )  # fmt: skip
