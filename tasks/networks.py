"""Observer and teacher as loaded networks: once per process, whatever the number of tasks."""

from functools import lru_cache

import torch

from rded_core.config import DistillConfig
from rded_core.io.device import num_available_cores, resolve_device
from rded_core.io.observers import Observer, open_observer
from rded_core.io.sources import SourceClass


def load_observer(config: DistillConfig, classes: tuple[SourceClass, ...]) -> Observer:
    """Returns the config's observer on the config's device."""
    return _load(config.observer, config.weights, config.observer_classes, classes, config.size, config.device)


def load_teacher(config: DistillConfig, classes: tuple[SourceClass, ...]) -> Observer:
    """Returns the config's teacher on the config's device: the observer, unless another is named."""
    if config.teacher is None and config.teacher_weights is None:
        return load_observer(config, classes)
    same = config.teacher in (None, config.observer)
    weights = config.teacher_weights or (config.weights if same else None)
    class_list = config.observer_classes if same else None
    return _load(config.teacher or config.observer, weights, class_list, classes, config.size, config.device)


@lru_cache(maxsize=2)
def _load(
    spec: str, weights: str | None, class_list: str | None, classes: tuple[SourceClass, ...], size: int, device: str
) -> Observer:
    observer = open_observer(spec, weights, classes=classes, size=size, class_list=class_list)
    observer.network.to(resolve_device(device))
    return observer


def device_of(observer: Observer) -> torch.device:
    """Returns where an observer's weights lie."""
    return next(observer.network.parameters()).device


def num_workers(config: DistillConfig) -> int:
    """Returns the number of threads a stage may use."""
    return config.workers or num_available_cores()
