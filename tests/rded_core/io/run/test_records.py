"""Manifest records: any changed byte is detected, and changed inputs are named in words."""

import json
from pathlib import Path
from typing import Any

import pytest

from rded_core import ALGORITHM_VERSION
from rded_core.io.formats.sealed import DamagedRecord, digest_of, read_sealed, seal
from rded_core.io.run import records as manifest
from rded_core.io.run.records import (
    NEW,
    Record,
    damaged_outputs,
    find_record,
    read_record,
    unit_settings,
    what_changed,
    write_record,
)
from rded_core.io.storage.files import file_digest

SETTINGS = {"num_crops": 5, "observer": "a" * 64, "outputs": [0, 1], "flip": True, "label": None}
UPSTREAM = {"candidates": "b" * 64}


@pytest.fixture
def record_path(tmp_path: Path) -> Path:
    """Path of a record with its two outputs in place."""
    (tmp_path / "a.tar").write_bytes(b"first output")
    (tmp_path / "b.parquet").write_bytes(b"second")
    outputs = {name: file_digest(tmp_path / name) for name in ("a.tar", "b.parquet")}
    facts = {"kept": 3, "rejected": [["truncated", "1/ä.jpg"]]}
    write_record(tmp_path / "c.json", Record("score", "c", unit_settings(SETTINGS), UPSTREAM, outputs, facts))
    return tmp_path / "c.json"


def test_a_record_round_trips(record_path: Path) -> None:
    record = read_record(record_path)
    assert record.facts == {"kept": 3, "rejected": [["truncated", "1/ä.jpg"]]}
    assert record.settings == {**SETTINGS, "algorithm_version": ALGORITHM_VERSION}
    assert record.outputs_digest() == digest_of(record.outputs)
    assert find_record(record_path) == (record, "")
    assert damaged_outputs(record_path, record) == {}
    assert what_changed(record, unit_settings(SETTINGS), UPSTREAM) == ""


def test_every_flipped_bit_of_a_record_is_detected(record_path: Path) -> None:
    data = record_path.read_bytes()
    for place in range(len(data)):
        for bit in (0, 5):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            record_path.write_bytes(bytes(flipped))
            assert find_record(record_path) == (None, "record damaged"), (place, bit)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"stage": "score"}', "null", "3", "\ufffd" * 9])
def test_a_file_that_is_not_a_record_is_damaged(record_path: Path, text: str) -> None:
    record_path.write_text(text, encoding="utf-8")
    assert find_record(record_path) == (None, "record damaged")
    with pytest.raises(DamagedRecord):
        read_record(record_path)


def test_sealed_text_of_a_different_form_is_damaged(record_path: Path) -> None:
    record_path.write_text(seal({"stage": "score", "inputs": "of version 4"}))
    assert read_sealed(record_path)["inputs"] == "of version 4"
    assert find_record(record_path) == (None, "record damaged")


def test_a_missing_record_is_not_a_damaged_one(tmp_path: Path) -> None:
    assert find_record(tmp_path / "absent.json") == (None, NEW)


@pytest.mark.parametrize("name", ["a.tar", "b.parquet"])
def test_outputs_are_missing_or_damaged(record_path: Path, name: str) -> None:
    record, output = read_record(record_path), record_path.parent / name
    output.write_bytes(output.read_bytes()[:-1] + b"?")
    assert damaged_outputs(record_path, record) == {name: "damaged"}
    output.unlink()
    assert damaged_outputs(record_path, record) == {name: "missing"}
    output.mkdir()
    assert damaged_outputs(record_path, record) == {name: "damaged"}


@pytest.mark.parametrize(
    ("settings", "upstream", "expected"),
    [
        ({"num_crops": 6}, {}, "num-crops 5 -> 6"),
        ({"flip": False}, {}, "flip True -> False"),
        ({"label": "x"}, {}, "label None -> x"),
        ({"observer": "c" * 64}, {}, "observer changed"),
        ({"outputs": [1, 0]}, {}, "the classes' places in the network's head changed"),
        ({"new_setting": 1}, {}, "new-setting None -> 1"),
        ({}, {"candidates": "d" * 64}, "candidates changed"),
        ({"num_crops": 6}, {"candidates": "d" * 64}, "num-crops 5 -> 6"),
        ({}, {"more": "e" * 64}, "more changed"),
    ],
)
def test_what_changed_is_named(
    record_path: Path, settings: dict[str, Any], upstream: dict[str, str], expected: str
) -> None:
    now = unit_settings({**SETTINGS, **settings})
    assert what_changed(read_record(record_path), now, {**UPSTREAM, **upstream}) == expected


def test_upstream_data_can_be_ignored(record_path: Path) -> None:
    record = read_record(record_path)
    assert what_changed(record, unit_settings(SETTINGS), None) == ""
    assert what_changed(record, unit_settings({**SETTINGS, "num_crops": 1}), None) == "num-crops 5 -> 1"


def test_a_removed_setting_or_input_is_a_change(record_path: Path) -> None:
    fewer = {name: value for name, value in SETTINGS.items() if name != "flip"}
    assert what_changed(read_record(record_path), unit_settings(fewer), UPSTREAM) == "flip True -> None"
    assert what_changed(read_record(record_path), unit_settings(SETTINGS), {}) == "inputs changed"


def test_a_new_algorithm_version_is_a_change(record_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "ALGORITHM_VERSION", ALGORITHM_VERSION + 1)
    expected = f"algorithm version {ALGORITHM_VERSION} -> {ALGORITHM_VERSION + 1}"
    assert what_changed(read_record(record_path), unit_settings(SETTINGS), UPSTREAM) == expected


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, outputs in (("a", {"x": "1", "y": "2"}), ("b", {"y": "2", "x": "1"})):
        write_record(tmp_path / name, Record("tile", "c", {}, {}, outputs))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_sealed_text_is_readable_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(seal({"b": 1, "a": "ü"}), encoding="utf-8")
    assert list(json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))) == ["b", "a", "digest"]
    assert read_sealed(tmp_path / "x.json") == {"b": 1, "a": "ü"}
