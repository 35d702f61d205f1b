"""Observer and teacher as loaded networks: once per process, regardless of the number of tasks."""

from copy import deepcopy
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from rded_core.config import DistillConfig
from rded_core.errors import RunStopped
from rded_core.io.device.devices import num_available_cores, resolve_device, resolve_precision, same_kind
from rded_core.io.device.memory import input_error_if_full
from rded_core.io.device.scoring import DeviceScorer
from rded_core.io.networks.observers import Observer, open_observer
from rded_core.io.networks.specs import is_weights_file
from rded_core.io.sources.base import SourceClass
from rded_core.io.storage.cache import local_copy
from rded_core.io.storage.files import file_stamp
from rded_core.networks.canvas import CanvasNetwork
from rded_core.networks.preprocessing import Preprocessing
from tasks.runtime.import_guard import require_may_import

if TYPE_CHECKING:
    from tasks.run.plan import RunPlan

_MAKING = Lock()


def load_observer(config: DistillConfig, classes: tuple[SourceClass, ...]) -> Observer:
    """Returns the config's observer on the config's device."""
    require_may_import(config.observer)
    return _open(config, classes, config.observer, config.weights, config.observer_classes)


def load_teacher(config: DistillConfig, classes: tuple[SourceClass, ...]) -> Observer:
    """Returns the config's teacher on the config's device: the observer, unless another is named."""
    if config.teacher is None and config.teacher_weights is None and config.teacher_classes is None:
        return load_observer(config, classes)
    same = config.teacher in (None, config.observer)
    weights = config.teacher_weights or (config.weights if same else None)
    class_list = config.teacher_classes or (config.observer_classes if same else None)
    spec = config.teacher or config.observer
    require_may_import(spec)
    return _open(config, classes, spec, weights, class_list)


def _open(
    config: DistillConfig, classes: tuple[SourceClass, ...], spec: str, weights: str | None, class_list: str | None
) -> Observer:
    if is_weights_file(spec):
        own = local_copy(spec)
        spec, weights = own, own if weights in (None, spec) else weights
    weights, class_list = (path and local_copy(path) for path in (weights, class_list))
    return _load(spec, weights, class_list, classes, config.size, config.device, _stamps(weights, class_list))


def load_planned(plan: "RunPlan", role: Literal["observer", "teacher"]) -> Observer:
    """Returns the run's observer or teacher on the config's device.

    Raises:
        RunStopped: the network differs from the one that the run began with, and that its records name.
    """
    load, expected = (load_observer, plan.observer) if role == "observer" else (load_teacher, plan.teacher)
    network = load(plan.config, plan.classes)
    if network.digest != expected:
        raise RunStopped(f"the {role}'s weights were replaced during the run; run the same command again")
    return network


def load_scorer(plan: "RunPlan") -> CanvasNetwork:
    """Returns the run's observer as a network of patches on their canvas, on the config's device."""
    config, network = plan.config, load_planned(plan, "observer").network
    return fast_form(network, patch_px=config.size // config.factor, size=config.size)


def load_device_scorers(plan: "RunPlan") -> tuple[DeviceScorer, ...]:
    """Returns the run's observer as scorers of whole images, one for each device that is used."""
    config, observer = plan.config, load_planned(plan, "observer")
    device = resolve_device(config.device)
    dtype = resolve_precision(config.precision, device)
    shape = (config.size // config.factor, config.size, config.num_crops, config.candidates_per_class)
    with _MAKING:
        return _make_scorers(observer.network, observer.preprocessing, tuple(same_kind(device)), dtype, shape)


@lru_cache(maxsize=1)
@input_error_if_full("the network")
def _make_scorers(
    network: nn.Module,
    preprocessing: Preprocessing,
    devices: tuple[torch.device, ...],
    dtype: torch.dtype,
    shape: tuple[int, int, int, int],
) -> tuple[DeviceScorer, ...]:
    patch_px, size, num_crops, num_chosen = shape
    copies = [network, *(deepcopy(network).to(device) for device in devices[1:])]
    return tuple(
        DeviceScorer(
            each, preprocessing, patch_px=patch_px, size=size, num_crops=num_crops, num_chosen=num_chosen, dtype=dtype
        )
        for each in copies
    )


def fast_form(network: nn.Module, *, patch_px: int, size: int) -> CanvasNetwork:
    """Returns a network for patches on a canvas; patches as large as the canvas are whole images."""
    with _MAKING:
        return _make_fast(network, patch_px, size)


@lru_cache(maxsize=2)
@input_error_if_full("the network")
def _make_fast(network: nn.Module, patch_px: int, size: int) -> CanvasNetwork:
    return CanvasNetwork(network, patch_px=patch_px, size=size)


@lru_cache(maxsize=2)
@input_error_if_full("the network")
def _load(
    spec: str,
    weights: str | None,
    class_list: str | None,
    classes: tuple[SourceClass, ...],
    size: int,
    device: str,
    stamps: tuple[tuple[int, int], ...],
) -> Observer:
    del stamps  # they key the cache to the files' contents
    observer = open_observer(spec, weights, classes=classes, size=size, class_list=class_list)
    observer.classifier.to(resolve_device(device))  # the network is a part of it, or the same
    return observer


def _stamps(*paths: str | None) -> tuple[tuple[int, int], ...]:
    return tuple(file_stamp(path) for path in paths if path)


def device_of(observer: Observer) -> torch.device:
    """Returns the device of an observer's weights."""
    return next(observer.network.parameters()).device


def num_workers(config: DistillConfig) -> int:
    """Returns the number of threads a stage may use."""
    return config.workers or num_available_cores()
