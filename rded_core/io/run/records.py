"""Manifest records: what a stage made from which inputs, so that work that is still valid is not repeated."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rded_core import ALGORITHM_VERSION
from rded_core.io.formats.sealed import DamagedRecord, digest_of, read_sealed, seal
from rded_core.io.storage.atomic import write_text
from rded_core.io.storage.files import file_digest
from rded_core.text.wording import setting_words

SHA256_CHARS = 64

NEW = "not made before"
"""Reason for making a unit without a record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One finished unit of one stage.

    Attributes:
        stage: the stage's name.
        unit: the class or epochs it covers, as `layout.units` names them.
        settings: config values, networks and algorithm version that its outputs depend on, by name.
        upstream: digests of the data it was made from, by name.
        outputs: file name to SHA-256 of each file it wrote next to the record.
        facts: counts for people and later stages (kept, rejected by reason, ...).
    """

    stage: str
    unit: str
    settings: dict[str, Any]
    upstream: dict[str, str]
    outputs: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def outputs_digest(self) -> str:
        """Returns one digest of all outputs, for the upstream of the next stage."""
        return digest_of(self.outputs)


def unit_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns a unit's settings as its record holds them: as JSON reads them back, plus the algorithm version."""
    return json.loads(json.dumps({**settings, "algorithm_version": ALGORITHM_VERSION}))


def write_record(path: Path, record: Record) -> None:
    """Writes a record atomically; call it only after the outputs are in place."""
    write_text(path, seal(json.loads(json.dumps(asdict(record), sort_keys=True))))


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises:
        OSError: the file cannot be read.
        DamagedRecord: a byte has changed, or it has a different form.
    """
    try:
        return Record(**read_sealed(path))
    except TypeError as error:
        raise DamagedRecord(f"{path} is not a record of this version: {error}") from error


def find_record(path: Path) -> tuple[Record | None, str]:
    """Returns (record, "") for a valid record at `path`, else (None, reason)."""
    try:
        return read_record(path), ""
    except FileNotFoundError:
        return None, NEW
    except (OSError, DamagedRecord):
        return None, "record damaged"


def damaged_outputs(path: Path, record: Record) -> dict[str, str]:
    """Returns the faults of the outputs next to a record: file name to ``missing`` or ``damaged``."""
    faults: dict[str, str] = {}
    for name, digest in record.outputs.items():
        try:
            if file_digest(path.parent / name) != digest:
                faults[name] = "damaged"
        except (FileNotFoundError, NotADirectoryError):
            faults[name] = "missing"
        except OSError:
            faults[name] = "damaged"
    return faults


def what_changed(record: Record, settings: dict[str, Any], upstream: dict[str, str] | None) -> str:
    """Returns in a few words which input of a record is different now; empty if all are the same.

    Args:
        record: the record of the finished unit.
        settings: as `unit_settings` returns them.
        upstream: digests of its data now; None to ignore them.
    """
    for name in (*settings, *(name for name in record.settings if name not in settings)):
        before, now = record.settings.get(name), settings.get(name)
        if before != now:
            return _describe_change(name, before, now)
    changed = [name for name, digest in (upstream or {}).items() if record.upstream.get(name) != digest]
    if changed or (upstream is not None and record.upstream.keys() - upstream.keys()):
        return f"{changed[0] if changed else 'inputs'} changed"
    return ""


def _describe_change(setting: str, before: Any, now: Any) -> str:
    name = setting_words(setting)
    texts = [str(value) for value in (before, now)]
    if any(
        len(text) >= SHA256_CHARS or isinstance(value, list) for text, value in zip(texts, (before, now), strict=True)
    ):
        return f"{name} changed"
    return f"{name} {texts[0]} -> {texts[1]}"
