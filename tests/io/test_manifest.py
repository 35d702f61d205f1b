"""Manifest records: current only where inputs are equal and outputs intact."""

from pathlib import Path

import pytest

from rded_core import ALGORITHM_VERSION
from rded_core.io import manifest
from rded_core.io.files import file_digest
from rded_core.io.manifest import Record, digest_of, inputs_digest, read_current, write_record

INPUTS = inputs_digest("score", {"num_crops": 5}, ["abc"])


@pytest.fixture
def record_path(tmp_path: Path) -> Path:
    """A record of two outputs, all of it in place."""
    (tmp_path / "a.tar").write_bytes(b"first output")
    (tmp_path / "b.parquet").write_bytes(b"second")
    outputs = {name: file_digest(tmp_path / name) for name in ("a.tar", "b.parquet")}
    record = Record("score", "c00000-00004", INPUTS, outputs, {"kept": 3, "rejected": {"truncated": 1}})
    write_record(tmp_path / "c00000-00004.json", record)
    return tmp_path / "c00000-00004.json"


def test_a_record_is_current_while_nothing_changes(record_path: Path) -> None:
    record = read_current(record_path, INPUTS)
    assert record is not None
    assert record.facts == {"kept": 3, "rejected": {"truncated": 1}}
    assert set(record.outputs) == {"a.tar", "b.parquet"}
    assert record.outputs_digest() == digest_of(record.outputs)


def test_other_inputs_are_not_current(record_path: Path) -> None:
    assert read_current(record_path, inputs_digest("score", {"num_crops": 6}, ["abc"])) is None


@pytest.mark.parametrize("name", ["a.tar", "b.parquet"])
def test_a_deleted_output_is_not_current(record_path: Path, name: str) -> None:
    (record_path.parent / name).unlink()
    assert read_current(record_path, INPUTS) is None


@pytest.mark.parametrize("name", ["a.tar", "b.parquet"])
def test_a_flipped_bit_is_not_current(record_path: Path, name: str) -> None:
    output = record_path.parent / name
    data = bytearray(output.read_bytes())
    data[-1] ^= 1
    output.write_bytes(bytes(data))
    assert read_current(record_path, INPUTS) is None


def test_an_output_that_became_a_folder_is_not_current(record_path: Path) -> None:
    (record_path.parent / "a.tar").unlink()
    (record_path.parent / "a.tar").mkdir()
    assert read_current(record_path, INPUTS) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"stage": "score"}', "null", "\ufffd" * 9])
def test_a_damaged_record_is_not_current(record_path: Path, text: str) -> None:
    record_path.write_text(text, encoding="utf-8")
    assert read_current(record_path, INPUTS) is None


def test_a_truncated_record_is_not_current(record_path: Path) -> None:
    record_path.write_bytes(record_path.read_bytes()[:-20])
    assert read_current(record_path, INPUTS) is None


def test_a_missing_record_is_not_current(tmp_path: Path) -> None:
    assert read_current(tmp_path / "absent.json", INPUTS) is None


def test_the_same_record_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, outputs in (("a", {"x": "1", "y": "2"}), ("b", {"y": "2", "x": "1"})):
        write_record(tmp_path / name, Record("tile", "c", INPUTS, outputs))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_input_digests_differ_by_stage_settings_upstream_and_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inputs_digest("score", {"a": 1, "b": 2}, ["x"]) == inputs_digest("score", {"b": 2, "a": 1}, ["x"])
    digests = {
        inputs_digest("score", {"a": 1}, ["x", "y"]),
        inputs_digest("tile", {"a": 1}, ["x", "y"]),
        inputs_digest("score", {"a": 2}, ["x", "y"]),
        inputs_digest("score", {"a": 1}, ["y", "x"]),
        inputs_digest("score", {"a": 1}, ["xy"]),
    }
    monkeypatch.setattr(manifest, "ALGORITHM_VERSION", ALGORITHM_VERSION + 1)
    digests.add(inputs_digest("score", {"a": 1}, ["x", "y"]))
    assert len(digests) == 6
