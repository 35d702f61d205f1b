"""JSON records sealed with their own SHA-256, written in two copies."""

import hashlib
import json
from pathlib import Path
from typing import Any

from rded_core.io.storage.atomic import write_text


class DamagedRecord(ValueError):
    """A record, run.json or similar file whose bytes are not the ones that were written."""


def digest_of(value: Any) -> str:
    """Returns the SHA-256 of a JSON value, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def seal(content: dict[str, Any]) -> str:
    """Returns JSON text that holds the digest of its own content, so that any changed byte is detected."""
    return json.dumps({**content, "digest": digest_of(content)}, indent=1, ensure_ascii=False) + "\n"


def read_sealed(path: Path) -> dict[str, Any]:
    """Returns the content of a file that `seal` made, without its digest.

    Raises:
        OSError: the file cannot be read.
        DamagedRecord: a byte has changed.
    """
    data = path.read_bytes()
    try:
        content = json.loads(data.decode("utf-8"))
        content.pop("digest")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise DamagedRecord(f"{path} is not sealed JSON: {error}") from error
    if seal(content).encode() != data:
        raise DamagedRecord(f"{path} has changed since it was written")
    return content


def write_twins(first: Path, copy: Path, content: dict[str, Any]) -> None:
    """Writes sealed JSON and a copy of it, the copy first, so that each can be restored from the other."""
    for path in (copy, first):
        write_text(path, seal(content))
