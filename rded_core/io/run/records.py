"""Manifest records: what a stage made of which inputs, so that work that is still true is not done again."""

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
"""Why a unit without any record is made."""


@dataclass(frozen=True, slots=True)
class Record:
    """One finished unit of one stage.

    Attributes:
        stage: the stage's name.
        unit: the class or epochs it covers, as `paths` names them.
        settings: config values, networks and algorithm version that its outputs depend on, by name.
        upstream: digests of the data it was made from, by name.
        outputs: file name to SHA-256 of what it wrote, beside the record.
        facts: counts for people and later stages (kept, rejected by reason, ...).
    """

    stage: str
    unit: str
    settings: dict[str, Any]
    upstream: dict[str, str]
    outputs: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def outputs_digest(self) -> str:
        """Returns one digest over all outputs, for the upstream of the next stage."""
        return digest_of(self.outputs)


def unit_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns a unit's settings as its record holds them: as JSON reads them back, with the algorithm's version."""
    return json.loads(json.dumps({**settings, "algorithm_version": ALGORITHM_VERSION}))


def write_record(path: Path, record: Record) -> None:
    """Writes a record atomically; call it only after the outputs are in place."""
    write_text(path, seal(json.loads(json.dumps(asdict(record), sort_keys=True))))


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises:
        OSError: it cannot be read.
        DamagedRecord: a byte has changed, or it is of another form.
    """
    try:
        return Record(**read_sealed(path))
    except TypeError as error:
        raise DamagedRecord(f"{path} is no record of this version: {error}") from error


def find_record(path: Path) -> tuple[Record | None, str]:
    """Returns the record at `path` and nothing, or None and why there is none that counts."""
    try:
        return read_record(path), ""
    except FileNotFoundError:
        return None, NEW
    except (OSError, DamagedRecord):
        return None, "record damaged"


def damaged_outputs(path: Path, record: Record) -> dict[str, str]:
    """Returns what is wrong with the outputs beside a record: file name to ``missing`` or ``damaged``."""
    wrong: dict[str, str] = {}
    for name, digest in record.outputs.items():
        try:
            if file_digest(path.parent / name) != digest:
                wrong[name] = "damaged"
        except (FileNotFoundError, NotADirectoryError):
            wrong[name] = "missing"
        except OSError:
            wrong[name] = "damaged"
    return wrong


def what_changed(record: Record, settings: dict[str, Any], upstream: dict[str, str] | None) -> str:
    """Says in a few words what a record was made of that is otherwise now; nothing where all is the same.

    Args:
        record: as it was.
        settings: as `unit_settings` returns them.
        upstream: digests of its data now; None to let them be whatever they are.
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
    shown = [str(value) for value in (before, now)]
    if any(
        len(text) >= SHA256_CHARS or isinstance(value, list) for text, value in zip(shown, (before, now), strict=True)
    ):
        return f"{name} changed"
    return f"{name} {shown[0]} -> {shown[1]}"
