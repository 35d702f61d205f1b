"""compose.yaml, its settings and its Dockerfile: checks that need no Docker."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from prefect.cli._app import _app as prefect_cli
from prefect.settings import Settings
from prefect.settings.legacy import _get_valid_setting_names

from deployments.cli.main import app
from deployments.environment import PROJECT_ROOT, prepare_environment

FOLDER = PROJECT_ROOT / "deployments"
TEXT = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
CONTENT: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = CONTENT["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "rded"]
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [line.split() for line in DOCKERFILE.splitlines() if line[:1].isalpha()]
EXAMPLE = (FOLDER / "compose.env.example").read_text(encoding="utf-8")
NEEDED = ("RDED_AUTH", "RDED_DATABASE_PASSWORD", "RDED_S3_KEY", "RDED_S3_SECRET")
SECRET = re.compile("PASSWORD|AUTH|SECRET|KEY")


def _variables(text: str) -> set[str]:
    return set(re.findall(r"\$\{(\w+)", text))


def test_services_and_profiles() -> None:
    assert set(SERVICES) == {"database", "server", "setup", "store", "bucket", "worker-cpu", "worker-gpu"}
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"worker-cpu": ["cpu"], "worker-gpu": ["gpu"]}
    assert SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    for name in OURS:
        assert (FOLDER / CONTENT["x-rded"]["build"]["context"]).resolve() == PROJECT_ROOT
        assert SERVICES[name]["build"]["dockerfile"] == "deployments/Dockerfile"


@pytest.mark.parametrize("name", OURS)
def test_commands_exist_in_the_image(name: str) -> None:
    program, *arguments = SERVICES[name]["command"]
    match program:
        case "prefect":
            prefect_cli.parse_args(arguments, exit_on_error=False, print_error=False)
        case "rded":
            command = typer.main.get_command(app).commands[arguments[0]]  # pyright: ignore[reportAttributeAccessIssue]
            command.make_context(arguments[0], arguments[1:])
        case _:
            assert (program, arguments[0]) == ("python", "-c")
            compile(arguments[1], name, "exec")


def test_other_images_are_pinned_and_ours_is_built() -> None:
    images = {service["image"] for name, service in SERVICES.items() if name not in OURS}
    assert all(re.search(r":v?\d", image) for image in images), images
    assert all("build" in SERVICES[name] for name in OURS)


def test_files_contain_no_password() -> None:
    values = [
        pair for service in SERVICES.values() for pair in service["environment"].items() if SECRET.search(pair[0])
    ]
    assert len(values) > len(NEEDED)
    for name, value in values:
        assert re.fullmatch(r"\$\{RDED_\w+:\?[\w :.']+\}", value), name
    for line in EXAMPLE.splitlines():
        setting = line.lstrip("#").partition("=")
        assert not (setting[0] in NEEDED and setting[2]), line


def test_only_this_machine_reaches_the_containers() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports == ["127.0.0.1:${RDED_PORT:-4200}:4200"]
    assert not any("network_mode" in service or service.get("privileged") for service in SERVICES.values())
    assert "PREFECT_SERVER_API_AUTH_STRING" in SERVICES["server"]["environment"], "it listens on every address"


def test_every_setting_is_described() -> None:
    used = _variables(TEXT)
    assert set(re.findall(r"^#?(RDED_\w+)=", EXAMPLE, re.MULTILINE)) == used
    guide = (PROJECT_ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    assert {name for name in used if name not in guide} == set()
    assert {name for name in used if re.search(rf"\${{{name}:\?", TEXT)} == set(NEEDED)


def test_settings_are_known_to_prefect_and_match_rdeds(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {k: v for name in OURS for k, v in SERVICES[name]["environment"].items() if k.startswith("PREFECT_")}
    of_image = re.findall(r"\b(PREFECT_\w+)=", DOCKERFILE)
    assert of_image == ["PREFECT_HOME", "PREFECT_UI_STATIC_DIRECTORY"]
    assert {*settings, *of_image} - _get_valid_setting_names(Settings) == set()

    monkeypatch.setattr(os, "environ", {"PREFECT_HOME": "unused"})
    prepare_environment()
    of_rded = {name: value for name, value in os.environ.items() if name in settings and "LEVEL" not in name}
    assert of_rded == {name: settings[name] for name in of_rded}
    assert len(of_rded) == 5, of_rded


def test_services_that_others_wait_for_have_a_healthcheck() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], (name, other)
            else:
                assert "restart" not in SERVICES[other], f"{other} must end"


def test_volumes_are_named_and_used() -> None:
    used = {mount.split(":/")[0] for service in SERVICES.values() for mount in service.get("volumes", ())}
    assert used == {"database", "store", "${RDED_DATA:-data}"}
    assert set(CONTENT["volumes"]) == {"database", "store", "data"}


def test_dockerfile_copies_existing_files_that_are_not_ignored() -> None:
    sources = {source for name, *arguments in INSTRUCTIONS if name == "COPY" for source in arguments[:-1]}
    ignored = (PROJECT_ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {"pyproject.toml", "prefect.yaml", "rded_core", "tasks", "flows", "deployments"} <= sources
    for source in sources:
        assert (PROJECT_ROOT / source).exists(), source
        assert f"!{Path(source).parts[0]}" in ignored, source
    assert "*" in ignored
    assert ignored.index("deployments/.env") > ignored.index("!deployments")


def test_image_runs_without_root_and_names_no_package_index() -> None:
    users = [arguments[0] for name, *arguments in INSTRUCTIONS if name == "USER"]
    assert users == ["10001:10001"]
    assert SERVICES["worker-cpu"]["user"] == "${RDED_USER:-10001:10001}"
    assert "-c constraints.txt -e" in DOCKERFILE
    assert not re.search(r"https?://|index-url|INDEX_URL", DOCKERFILE)


def test_git_ignores_the_settings_of_an_installation() -> None:
    assert "deployments/.env" in (PROJECT_ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
