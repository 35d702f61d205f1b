"""run.json: what a run was asked to do, and with what."""

import json
from pathlib import Path
from typing import Any

from rded_core.errors import InputError
from rded_core.io.files import kind_of, require_writable
from rded_core.io.paths import RunFolder


def read_run(run: RunFolder) -> dict[str, Any]:
    """Reads run.json; raises InputError where it is damaged or incomplete."""
    try:
        described = json.loads(run.run_json.read_text(encoding="utf-8"))
        for name in ("source", "observer", "teacher"):
            described[name]["digest"]
        dict(described["config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{run.run_json} is damaged ({error}); choose another --out") from error
    return described


def require_free(run: RunFolder) -> None:
    """Raises InputError where OUT cannot be written, or holds something that is not ours; creates nothing."""
    if kind_of(run.root) == "folder" and not run.run_json.is_file() and any(run.root.iterdir()):
        raise InputError(f"--out {run.root} is not empty and holds no run of rded; choose a new or empty folder")
    require_writable(run.root)


def require_apart(out: Path, source: str) -> None:
    """Raises InputError where a run would be written into its own source, which its files would then be part of."""
    if out.resolve().is_relative_to(Path(source).resolve()):
        raise InputError(f"--out {out} lies inside the source {source}; choose a folder outside it")
