"""Train an observer on a labelled source and write it as .safetensors."""

import math
import time
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rded_core import ALGORITHM_VERSION
from rded_core.config import TrainObserverConfig
from rded_core.errors import InputError
from rded_core.io.device.devices import num_available_cores, resolve_device
from rded_core.io.device.memory import ELSEWHERE, input_error_if_full
from rded_core.io.networks.weights import load_matching, save_network
from rded_core.io.sources.alignment import align_classes
from rded_core.io.sources.base import Source
from rded_core.io.sources.reading import Reader, read_together
from rded_core.io.sources.spec import open_source, sources_kept
from rded_core.io.storage.cache import local_copy
from rded_core.io.storage.files import file_digest, require_new, require_writable
from rded_core.io.training.checkpoints import drop_checkpoint, load_checkpoint, save_checkpoint
from rded_core.io.training.real_batches import EvaluationViews, labelled_items, training_batches
from rded_core.networks import build_network
from rded_core.networks.preprocessing import Preprocessing
from rded_core.seeds import counter_seed, seeded_init
from rded_core.text.wording import percent
from rded_core.training.loop import Accuracy, measure_accuracy, split_decay, train_epoch
from rded_core.training.schedules import warmup_cosine
from tasks.run.prepare import log_classes, log_left_out
from tasks.runtime.gpu_slot import gpu_slot
from tasks.runtime.logs import run_logger
from tasks.runtime.progress import track, track_parts
from tasks.runtime.stage_task import stage_task

NEUTRAL_FIELDS = {"source", "val", "out", "init", "workers", "device"}
"""Config fields that do not change the weights, or whose content is digested instead."""

WARMUP_SHARE = 0.15
MOMENTUM = 0.9


def check_ahead(config: TrainObserverConfig) -> None:
    """Raises the errors that `train_observer` begins with before a run exists; it takes over the sources opened here.

    Raises:
        InputError: a source or a network cannot be used.
    """
    with sources_kept():
        source, _ = _open_sources(config)
    _build(config, len(source.classes))


@stage_task("train-observer", "train {config.arch} · {config.short_name}", runs_network=True)
def train_observer(config: TrainObserverConfig) -> dict[str, Any]:
    """Trains by cross-entropy with SGD (Nesterov, warm-up then cosine) and writes weights, classes, preprocessing.

    An interrupted training resumes after its last whole epoch, and gives the same weights.

    Returns:
        A record: path, classes, images, top-1 and top-5 of the last epoch (None without a validation source), seconds.

    Raises:
        InputError: the file already exists, a source or a network cannot be used, or training diverges.
    """
    started = time.monotonic()
    require_new(Path(config.out))
    require_writable(Path(config.out).parent)
    source, val = _open_sources(config)
    if val and val.digest() == source.digest():
        run_logger().warning("--val %s holds the training images themselves: this is training accuracy", config.val)
    if val:
        log_left_out(val)
    device = resolve_device(config.device)
    network = _build(config, len(source.classes)).to(device).to(memory_format=torch.channels_last)
    if config.compile:
        network.compile()
    log_classes(source)
    run_logger().info("%s, %d epochs, on %s", config.arch, config.epochs, device)
    with read_together(chain.from_iterable(source.items), Path(config.out).parent) as read, gpu_slot(config.device):
        accuracy = _train(network, source, val, read=read, config=config, device=device)
    _save(network, source, config=config, accuracy=accuracy)
    drop_checkpoint(Path(config.out))
    return {
        "path": config.out,
        "source": config.source,
        "arch": config.arch,
        "size": config.size,
        "num_classes": len(source.classes),
        "num_images": source.num_items,
        "top1": accuracy.top1 if accuracy else None,
        "top5": accuracy.top5 if accuracy else None,
        "seconds": round(time.monotonic() - started, 1),
    }


@input_error_if_full("training", f"{ELSEWHERE}, or a smaller --batch-size")
def _train(
    network: nn.Module,
    source: Source,
    val: Source | None,
    *,
    read: Reader,
    config: TrainObserverConfig,
    device: torch.device,
) -> Accuracy | None:
    """Trains the epochs that no checkpoint holds, saves one after each; returns the last epoch's accuracy."""
    out, run, started = Path(config.out), _describe(config, source), time.monotonic()
    groups = split_decay(network, config.weight_decay)
    optimiser = torch.optim.SGD(groups, lr=config.lr, momentum=MOMENTUM, nesterov=True)
    first = load_checkpoint(out, network, optimiser, run=run)
    if first:
        run_logger().info("resuming after epoch %d of %d", first, config.epochs)
    accuracy: Accuracy | None = None
    workers = config.workers or num_available_cores()
    views = EvaluationViews(labelled_items(val), size=config.size, workers=workers) if val else None
    for epoch in track_parts(range(first, config.epochs), total=config.epochs):
        with seeded_init(counter_seed(config.seed, "dropout", epoch)):
            loss = _train_one_epoch(network, optimiser, source, read=read, config=config, epoch=epoch, device=device)
        if not math.isfinite(loss):
            drop_checkpoint(out)  # resuming from it would diverge again
            raise InputError(f"training diverged in epoch {epoch + 1} (loss {loss}); lower --lr")
        if epoch + 1 < config.epochs:
            save_checkpoint(out, network, optimiser, run=run, num_epochs=epoch + 1)
        accuracy = measure_accuracy(network, views.batches(Preprocessing(), device)) if views else None
        top1 = f", top-1 {percent(accuracy.top1, 2)}" if accuracy else ""
        run_logger().info(
            "epoch %d of %d: loss %.3f%s, %.0f s", epoch + 1, config.epochs, loss, top1, time.monotonic() - started
        )
    return accuracy


def _build(config: TrainObserverConfig, num_classes: int) -> nn.Module:
    """Returns the network to train: untrained, or with the weights that the config names."""
    with seeded_init(counter_seed(config.seed, "init")):
        network = build_network(config.arch, num_classes=num_classes, size=config.size)
    if config.init:
        fresh = load_matching(network, local_copy(config.init))
        run_logger().info(
            "started from %s%s", config.init, f"; trained from scratch: {', '.join(fresh)}" if fresh else ""
        )
    return network


def _describe(config: TrainObserverConfig, source: Source) -> dict[str, Any]:
    """Returns everything the weights depend on."""
    fields = {name: value for name, value in asdict(config).items() if name not in NEUTRAL_FIELDS}
    init = file_digest(Path(local_copy(config.init))) if config.init else None
    return {**fields, "init": init, "source": source.digest(), "algorithm_version": ALGORITHM_VERSION}


def _open_sources(config: TrainObserverConfig) -> tuple[Source, Source | None]:
    """Returns the training source, and the validation source with its classes in the same order, if one is named."""
    source = open_source(config.source, classes=config.classes)
    val = align_classes(open_source(config.val, split="val"), source.classes) if config.val else None
    return source, val


def _train_one_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    source: Source,
    *,
    read: Reader,
    config: TrainObserverConfig,
    epoch: int,
    device: torch.device,
) -> float:
    num_steps = max(source.num_items // config.batch_size, 1)
    batches = training_batches(
        source,
        epoch=epoch,
        seed=config.seed,
        size=config.size,
        batch_size=config.batch_size,
        preprocessing=Preprocessing(),
        crop_scale_min=config.crop_scale_min,
        flip=config.flip,
        workers=config.workers or num_available_cores(),
        read=read,
    )
    moved = ((images.to(device), targets.to(device)) for images, targets in batches)
    return train_epoch(
        network,
        optimiser,
        track(moved, total=num_steps, what=f"epoch {epoch + 1}/{config.epochs}", unit="step"),
        loss=nn.functional.cross_entropy,
        learning_rate=partial(_learning_rate, config, epoch * num_steps, config.epochs * num_steps),
    )


def _learning_rate(config: TrainObserverConfig, first_step: int, num_steps: int, step: int) -> float:
    return config.lr * warmup_cosine((first_step + step + 1) / num_steps, warmup=WARMUP_SHARE)


def _save(network: nn.Module, source: Source, *, config: TrainObserverConfig, accuracy: Accuracy | None) -> None:
    facts = {
        "arch": config.arch,
        "classes": [label.folder for label in source.classes],
        "size": config.size,
        "epochs": config.epochs,
        "seed": config.seed,
        "source_digest": source.digest(),
        "algorithm_version": ALGORITHM_VERSION,
        "top1": accuracy.top1 if accuracy else None,
    }
    save_network(network, Path(config.out), preprocessing=Preprocessing(size=config.size), facts=facts)
