"""The rooms and who may import whom."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("rded_core", "tasks", "flows", "deployments")
KERNELS = sorted((ROOT / "rded_core").glob("*.py"))
IMPURE = {
    *("rded_core.io", "tasks", "flows", "deployments", "tests"),
    *("prefect", "pyarrow", "PIL", "webdataset", "fsspec", "safetensors"),
    *("os", "sys", "io", "pathlib", "logging", "time", "datetime", "random", "subprocess", "tempfile", "shutil"),
}


def _files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _calls(path: Path) -> set[str]:
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    return {node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "") for node in calls}


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_every_kernel_is_under_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (pure,) = (contract for contract in contracts if "rded_core.config.distill" in contract.get("source_modules", ()))
    kernels = {f"rded_core.{path.stem}" for path in KERNELS if path.stem != "__init__"}
    assert set(pure["source_modules"]) == kernels
    assert {"rded_core.io", "prefect", "pyarrow", "PIL"} <= set(pure["forbidden_modules"])


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_kernels_touch_nothing_outside(path: Path) -> None:
    named = {name for imported in _imports(path) for name in _prefixes(imported)}
    assert not named & IMPURE
    assert not _calls(path) & {"open", "print", "getLogger", "read_text", "write_text", "manual_seed_all"}


def _prefixes(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


@pytest.mark.parametrize("room", ROOMS)
def test_files_stay_short(room: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _files(room)}
    assert lengths
    assert not {str(path): length for path, length in lengths.items() if length > 300}


@pytest.mark.parametrize("path", _files("flows"), ids=lambda path: path.stem)
def test_flows_open_no_file_and_know_no_tensors(path: Path) -> None:
    assert "open" not in _calls(path)
    assert "torch" not in {name.partition(".")[0] for name in _imports(path)}
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    assert not [node for node in tree if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitOr)]


@pytest.mark.parametrize("room", ROOMS)
def test_no_folder_of_leftovers(room: str) -> None:
    assert not {path.stem for path in _files(room)} & {"utils", "helpers", "common"}


def test_no_flow_bears_the_name_of_a_stdlib_module_or_a_room() -> None:
    names = {path.stem for path in _files("flows")} - {"__init__"}
    assert not names & (set(sys.stdlib_module_names) | set(ROOMS))
