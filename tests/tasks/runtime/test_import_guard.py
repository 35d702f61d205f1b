"""Runs of a deployment do not import code that a parameter names."""

import pytest
from prefect.runtime import deployment

from rded_core.errors import InputError
from tasks.runtime.import_guard import require_may_import

SPECS = ("torchvision:resnet18", "timm:resnet18", "rded:convnet3")


@pytest.fixture
def in_deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", "some-id")


@pytest.mark.usefixtures("in_deployment")
def test_modules_are_refused_in_deployments(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"observer 'os:getcwd' names a Python module, .* set RDED_ALLOW_MODULES=1 in"):
        require_may_import("os:getcwd")
    monkeypatch.setenv("RDED_ALLOW_MODULES", "0")
    with pytest.raises(InputError, match="names a Python module"):
        require_may_import("os:getcwd")
    monkeypatch.setenv("RDED_ALLOW_MODULES", "1")
    require_may_import("os:getcwd")


@pytest.mark.usefixtures("in_deployment")
@pytest.mark.parametrize("spec", SPECS)
def test_networks_of_libraries_are_not_refused(spec: str) -> None:
    require_may_import(spec)


@pytest.mark.parametrize("spec", [*SPECS, "os:getcwd"])
def test_nothing_is_refused_on_a_command_line(spec: str) -> None:
    require_may_import(spec)


@pytest.mark.usefixtures("in_deployment")
@pytest.mark.parametrize("role", ["observer", "teacher"])
def test_observer_and_teacher_are_checked(make_config, tmp_path, role: str) -> None:  # type: ignore[no-untyped-def]
    from rded_core.io.sources.spec import open_source
    from tasks.run.networks import load_observer, load_teacher

    config = make_config(tmp_path / "run", **{role: "nowhere:make"})
    classes = open_source(config.source).classes
    with pytest.raises(InputError, match="'nowhere:make' names a Python module"):
        (load_observer if role == "observer" else load_teacher)(config, classes)


def test_server_is_asked_once_per_run(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[str] = []

    def read_deployment() -> None:
        requests.append("server")

    monkeypatch.setitem(deployment.FIELDS, "id", read_deployment)
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "a-run-of-this-test")
    for _ in range(3):
        require_may_import("os:getcwd")
    assert requests == ["server"]
