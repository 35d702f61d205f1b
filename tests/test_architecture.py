"""Rules for the folders: what each may import and how large it may be; and the public names."""

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import rded_core

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("rded_core", "tasks", "flows", "deployments")
KERNELS = sorted(path for path in (ROOT / "rded_core").rglob("*.py") if "io" not in path.parts)
IMPURE = {
    *("rded_core.io", "tasks", "flows", "deployments", "tests"),
    *("prefect", "pyarrow", "PIL", "webdataset", "fsspec", "safetensors"),
    *("os", "sys", "io", "pathlib", "logging", "time", "datetime", "random", "subprocess", "tempfile", "shutil"),
}
PUBLIC = {"ALGORITHM_VERSION", "DistilledDataset", "__version__", "build_network", "kl_at_temperature"}
MAX_FILES, MAX_LINES = 14, 300
FACES = {"rded_core", "rded_core.config", "rded_core.networks", "rded_core.io.sources"}
"""Packages whose ``__init__`` may import, because they export public names."""


def _files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


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


def _prefixes(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:count]) for count in range(1, len(parts) + 1)}


def _circle(arrows: Mapping[str, set[str]]) -> list[str]:
    """Returns the modules on circles or leading into them: removes, again and again, those that point to no other."""
    graph = {name: set(others) for name, others in arrows.items()}
    while ends := [name for name, others in graph.items() if not others & graph.keys()]:
        for name in ends:
            del graph[name]
    return sorted(graph)


def test_circles_are_detected() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": set()}) == ["a", "b", "c", "d"]
    assert not _circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def _arrows() -> dict[str, set[str]]:
    modules = {_module(path): path for room in ROOMS for path in _files(room)}
    return {
        name: {other for other in _imports(path) if other in modules and other != name}
        for name, path in modules.items()
        if name not in ("rded_core", "rded_core.io.sources")  # their names are imported on first use
    }


def test_modules_have_no_import_cycles() -> None:
    assert not _circle(_arrows())


@pytest.mark.parametrize("room", ["rded_core", "rded_core.io", "tasks", "deployments"])
def test_packages_have_no_import_cycles(room: str) -> None:
    depth = room.count(".") + 2
    between: defaultdict[str, set[str]] = defaultdict(set)
    for name, others in _arrows().items():
        here = ".".join(name.split(".")[:depth])
        if not name.startswith(f"{room}."):
            continue
        for other in others:
            there = ".".join(other.split(".")[:depth])
            if other.startswith(f"{room}.") and there != here:
                between[here].add(there)
    assert between
    assert not _circle(between)


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_every_package_is_covered_by_a_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    by_number = {contract["name"].split(".")[0]: contract for contract in contracts}
    assert {str(number) for number in range(1, 10)} <= by_number.keys()
    parts = {path.stem for path in (ROOT / "rded_core").iterdir() if path.suffix == ".py" or path.is_dir()}
    kernels = parts - {"__init__", "io", "__pycache__"}
    assert {f"rded_core.{part}" for part in kernels} == set(by_number["2"]["source_modules"])
    rooms = {path.name for path in (ROOT / "tasks").iterdir() if (path / "__init__.py").is_file()}
    assert {f"tasks.{room}" for room in rooms - {"runtime"}} < set(by_number["7"]["source_modules"])


def test_extras_do_not_repeat_a_requirement_of_the_core() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {re.split(r"[^\w.-]", each)[0] for each in project["dependencies"]}
    extras = project["optional-dependencies"].items()
    repeated = {f"{extra}: {each}" for extra, listed in extras for each in listed if each.split(">")[0] in core}
    assert not repeated


def test_every_constant_is_used() -> None:
    rooms = ("rded_core", "tasks", "flows", "deployments", "tests", "benchmarks")
    texts = [path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py")]
    words = Counter(word for text in texts for word in re.findall(r"\b[A-Z][A-Z0-9_]+\b", text))
    constants = {name for text in texts for name in re.findall(r"^([A-Z][A-Z0-9_]+)(?::[^=]+)? = ", text, re.MULTILINE)}
    assert sorted(name for name in constants if words[name] == 1) == []


@pytest.mark.parametrize("path", KERNELS, ids=_module)
def test_kernels_have_no_side_effects(path: Path) -> None:
    named = {name for imported in _imports(path) for name in _prefixes(imported)}
    assert not named & (IMPURE - ({"rded_core.io"} if _module(path) == "rded_core" else set()))
    assert not _calls(path) & {"open", "print", "getLogger", "read_text", "write_text", "manual_seed_all"}


@pytest.mark.parametrize("room", [*ROOMS, "tests", "benchmarks"])
def test_files_and_folders_stay_small(room: str) -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in _files(room)}
    assert lengths
    assert not {str(path): length for path, length in lengths.items() if length > MAX_LINES}
    if room in ROOMS:
        sizes = Counter(str(path.parent) for path in lengths if path.name != "__init__.py")
        assert not {folder: count for folder, count in sizes.items() if count > MAX_FILES}


@pytest.mark.parametrize(
    "path", [path for room in ROOMS for path in _files(room) if path.stem == "__init__"], ids=_module
)
def test_packages_contain_only_a_docstring(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert ast.get_docstring(ast.Module(body, []))
    assert len(body) == 1 or _module(path) in FACES


@pytest.mark.parametrize("path", _files("flows"), ids=lambda path: path.stem)
def test_flows_open_no_files_and_import_no_torch(path: Path) -> None:
    assert "open" not in _calls(path)
    assert "torch" not in {name.partition(".")[0] for name in _imports(path)}
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    assert not [node for node in tree if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitOr)]


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_has_a_catch_all_name(room: str) -> None:
    assert not {path.stem for path in _files(room)} & {"utils", "helpers", "common"}


def test_flows_do_not_shadow_stdlib_modules_or_top_level_folders() -> None:
    names = {path.stem for path in _files("flows")} - {"__init__"}
    assert not names & (set(sys.stdlib_module_names) | set(ROOMS))


def test_public_names() -> None:
    assert set(rded_core.__all__) == PUBLIC
    assert {name for name in dir(rded_core) if name in rded_core.__all__} == PUBLIC
    for name in PUBLIC:
        assert getattr(rded_core, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = rded_core.nothing  # type: ignore[attr-defined]


def test_public_names_are_identical_to_those_in_their_modules() -> None:
    from rded_core.io.dataset import distilled
    from rded_core.io.distilled import DistilledDataset
    from rded_core.networks import build_network
    from rded_core.training.losses import kl_at_temperature

    assert rded_core.DistilledDataset is distilled.DistilledDataset is DistilledDataset
    assert rded_core.build_network is build_network
    assert rded_core.kl_at_temperature is kl_at_temperature


def test_importing_the_package_does_not_load_torch() -> None:
    code = "import sys, rded_core, rded_core.config; assert not {'torch', 'pyarrow', 'PIL'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("room", ROOMS)
def test_torchvision_is_imported_in_functions(room: str) -> None:
    """torch.compile comes with it: at the top of a module it adds a third to the start of every process."""
    for path in _files(room):
        top = ast.parse(path.read_text(encoding="utf-8")).body
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in top if isinstance(node, ast.ImportFrom)}
        assert not {"torchvision", "timm"} & {name.partition(".")[0] for name in names}, path


def test_former_paths_of_public_functions_work() -> None:
    from rded_core.io import sources
    from rded_core.io.networks.observers import open_observer
    from rded_core.io.observers import open_observer as former
    from rded_core.io.sources.reading import read_item
    from rded_core.io.sources.spec import open_source

    assert former is open_observer
    assert sources.open_source is open_source
    assert sources.read_item is read_item
