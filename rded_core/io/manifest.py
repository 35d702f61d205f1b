"""Manifest records: what a stage made of which inputs, so that work that is still true is not done again."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rded_core import ALGORITHM_VERSION
from rded_core.io.files import file_digest, write_text


@dataclass(frozen=True, slots=True)
class Record:
    """One finished unit of one stage.

    Attributes:
        stage: the stage's name.
        unit: classes or epochs it covers.
        inputs: digest of everything its result depends on.
        outputs: file name to SHA-256 of what it wrote, beside the record.
        facts: counts for people and later stages (kept, rejected by reason, ...).
    """

    stage: str
    unit: str
    inputs: str
    outputs: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def outputs_digest(self) -> str:
        """Returns one digest over all outputs, for the inputs of the next stage."""
        return digest_of(self.outputs)


def digest_of(value: Any) -> str:
    """Returns the SHA-256 of a JSON value, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def inputs_digest(stage: str, settings: dict[str, Any], upstream: list[str]) -> str:
    """Returns the digest of a unit's inputs: stage, algorithm version, its slice of the config, upstream outputs."""
    return digest_of([stage, ALGORITHM_VERSION, settings, upstream])


def write_record(path: Path, record: Record) -> None:
    """Writes a record atomically; call it only after the outputs are in place."""
    write_text(path, json.dumps(asdict(record), indent=1, sort_keys=True) + "\n")


def read_current(path: Path, inputs: str) -> Record | None:
    """Returns the record at `path` if it was made of `inputs` and every output is there with its digest, else None."""
    try:
        record = Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if record.inputs != inputs:
        return None
    for name, digest in record.outputs.items():
        output = path.parent / name
        if not output.is_file() or file_digest(output) != digest:
            return None
    return record
