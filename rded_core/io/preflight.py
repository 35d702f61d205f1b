"""Quick checks of paths and class names before anything slow starts; torch is not even imported.

The stages check everything else.
"""

from dataclasses import asdict
from pathlib import Path

from rded_core.config import DistillConfig, EvaluateConfig, Rerun, TrainObserverConfig
from rded_core.errors import InputError
from rded_core.io.dataset.files import find_sums
from rded_core.io.layout.run import find_dataset
from rded_core.io.networks.known import read_facts, require_network, require_observer
from rded_core.io.run.run_json import require_out, require_run_for_controls
from rded_core.io.sources.class_folders import require_classes
from rded_core.io.storage.files import is_utf8, require_file, require_new, require_writable, shown_name
from rded_core.io.storage.urls import is_url, path_kind, require_folder, require_folder_at


def check_inputs(config: DistillConfig | EvaluateConfig | TrainObserverConfig, rerun: Rerun | None = None) -> None:
    """Raises InputError if a source, class, weights file or output path cannot work; changes nothing."""
    _require_utf8(config)
    match config:
        case DistillConfig():
            _require_sources(config.source)
            require_classes(config.source, config.classes or (), "--classes")
            require_classes(config.source, (rerun and rerun.only_classes) or (), "--only-classes")
            _require_files("weights file", config.weights, config.teacher_weights)
            _require_files("class list", config.observer_classes, config.teacher_classes)
            require_observer(config.observer, config.weights, size=config.size)
            if config.teacher or config.teacher_weights:
                same = config.weights if config.teacher in (None, config.observer) else None
                require_observer(config.teacher or config.observer, config.teacher_weights or same, size=config.size)
            require_out(config.out, config.source)
            if is_url(config.out):
                require_folder_at(config.out)
        case EvaluateConfig():
            if is_url(config.dataset):
                find_sums(config.dataset)
            else:
                require_run_for_controls(config.dataset, find_dataset(config.dataset)[1], config.controls)
            require_network(config.student)
            _require_sources(config.val)
        case TrainObserverConfig():
            _require_sources(config.source, config.val)
            require_classes(config.source, config.classes or (), "--classes")
            _require_files("weights file", config.init)
            require_network(config.arch, config.size)
            if config.init and config.init.endswith(".safetensors") and not is_url(config.init):
                read_facts(Path(config.init))
            require_new(Path(config.out))
            require_writable(Path(config.out).parent)


def _require_utf8(config: DistillConfig | EvaluateConfig | TrainObserverConfig) -> None:
    """Raises InputError if a path or name is not UTF-8: no table or record could hold it."""
    for field, value in asdict(config).items():
        for text in value if isinstance(value, tuple | list) else (value,):
            if isinstance(text, str) and not is_utf8(text):
                raise InputError(f"{field} {shown_name(text)}: the name is not UTF-8; rename it")


def _require_sources(*specs: str | None) -> None:
    for spec in filter(None, specs):
        if not (is_url(spec) or spec.startswith("torchvision:") or spec.endswith(".tar")):
            require_folder(Path(spec))


def _require_files(what: str, *paths: str | None) -> None:
    for path in filter(None, paths):
        if not is_url(path):
            require_file(path, what)
        elif path_kind(path) != "file":
            raise InputError(f"no such {what}: {path}")
