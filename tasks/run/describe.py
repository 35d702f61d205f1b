"""Contents of run.json: what a run is made of, with absolute paths and network digests."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rded_core import ALGORITHM_VERSION
from rded_core.config import DistillConfig
from rded_core.io.device.devices import resolve_device, resolve_precision
from rded_core.io.networks.observers import Observer
from rded_core.io.networks.specs import is_weights_file
from rded_core.io.remote.places import as_shown
from rded_core.io.sources.base import Source, describe_passed_over
from rded_core.io.sources.spec import absolute_spec
from rded_core.io.storage.urls import is_url
from tasks.run.versions import current_versions

PATH_FIELDS = ("source", "weights", "observer_classes", "teacher_weights", "teacher_classes")


def describe_run(config: DistillConfig, source: Source, observer: Observer, teacher: Observer) -> dict[str, Any]:
    """Returns the contents of run.json: the run's config, and the inputs, device and versions it uses."""
    return {
        "config": {**asdict(config), "out": as_shown(config.out)},
        "algorithm_version": ALGORITHM_VERSION,
        "source": _describe_source(source),
        "observer": describe_network(observer),
        "teacher": describe_network(teacher),
        "device": str(resolve_device(config.device)),
        "precision": str(resolve_precision(config.precision, resolve_device(config.device))).removeprefix("torch."),
        "versions": current_versions(),
    }


def _describe_source(source: Source) -> dict[str, Any]:
    described = {"digest": source.digest(), "num_images": source.num_items, "num_classes": len(source.classes)}
    left_out = describe_passed_over(source)
    return {**described, "left_out": left_out} if left_out else described


def absolute_paths(config: DistillConfig) -> dict[str, str]:
    """Returns the config's local paths, made absolute, so that a run can resume, and run.json is usable, anywhere."""
    named = {name: getattr(config, name) for name in PATH_FIELDS}
    specs = {role: spec for role in ("observer", "teacher") if is_weights_file(spec := getattr(config, role) or "")}
    own = {
        role: spec if is_url(spec) else str(Path(spec).absolute()) for role, spec in specs.items()
    }  # keeps its ending
    return {name: absolute_spec(path) for name, path in named.items() if path} | own


def describe_network(observer: Observer) -> dict[str, Any]:
    """Returns the description of a network in run.json and recipes."""
    return {
        "spec": observer.spec,
        "digest": observer.digest,
        "head": observer.head_note,
        "mean": list(observer.preprocessing.mean),
        "std": list(observer.preprocessing.std),
        "trained_top1": observer.facts.get("top1"),
    }
