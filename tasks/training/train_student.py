"""Train one student on one distilled dataset, from its folder alone, and measure it on real images."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from rded_core.config import EvaluateConfig
from rded_core.io.dataset.distilled import DistilledDataset
from rded_core.io.device.devices import num_available_cores, resolve_device
from rded_core.io.device.memory import input_error_if_full
from rded_core.io.remote.working_copy import send_now
from rded_core.io.run.records import Record, unit_settings
from rded_core.io.sources.base import Source
from rded_core.io.training.real_batches import EvaluationViews, labelled_items
from rded_core.io.training.student_batches import StudentBatch, student_epochs
from rded_core.networks import build_network
from rded_core.networks.preprocessing import Preprocessing
from rded_core.seeds import counter_seed, seeded_init
from rded_core.training.loop import Accuracy, measure_accuracy, split_decay, train_epoch
from rded_core.training.losses import gift_loss, kl_at_temperature, soft_cross_entropy
from rded_core.training.protocols import peak_learning_rate
from rded_core.training.schedules import look_epochs, stretched_cosine
from tasks.run.worklist import Unit, run_unit
from tasks.runtime.gpu_slot import gpu_slot
from tasks.runtime.logs import run_logger
from tasks.runtime.progress import track
from tasks.runtime.stage_task import stage_task
from tasks.training.results import (
    STAGE,
    EvaluationPlan,
    TrainingSet,
    evaluation_name,
    require_same,
    student_settings,
    sums_of,
    write_result,
)

Targets = tuple[Tensor, Tensor]
"""Teacher logits and hard labels of a batch."""


@stage_task(STAGE, "train {config.student} on {chosen.name}, seed {seed} · {config.short_name}", runs_network=True)
def train_student(config: EvaluateConfig, plan: EvaluationPlan, chosen: TrainingSet, seed: int) -> Record:
    """Trains a student under the protocol and writes its accuracy at six looks over the last fifth of training.

    Raises:
        InputError: the dataset is damaged, or changed while the student was trained.
    """
    sums = sums_of(chosen.folder)
    dataset = DistilledDataset(chosen.folder)
    settings = student_settings(config, plan.protocol.name, plan.epochs)
    unit = f"{chosen.name}-{evaluation_name(config, settings, plan.val)}-s{seed}"
    result = plan.run.student(unit)

    @input_error_if_full("training a student with the protocol's batch size")
    def produce() -> dict[str, Any]:
        what = f"{config.student} on {chosen.name}, seed {seed}"
        try:
            with gpu_slot(config.device):
                training = _Training(config, plan, dataset, seed)
                facts = training.run(what, after_epoch=lambda: require_same(chosen.folder, sums))
        except Exception:  # labels of a different dataset may fail in any way
            require_same(chosen.folder, sums)  # the better explanation, if both apply
            raise
        write_result(result, facts, unit_settings(unit_of_work.settings), unit_of_work.upstream)
        send_now(plan.run.root)
        return facts

    unit_of_work = Unit(
        plan.run,
        STAGE,
        unit,
        settings={"seed": seed, **settings},
        upstream={"dataset": sums, "validation images": plan.val.digest(with_stamps=True)},
        outputs=(result,),
    )
    done = run_unit(unit_of_work, produce)
    assert done is not None  # only classes that a run leaves out are not done
    return done.record


class _Training:
    """The training of one student, with the network and optimiser that it keeps from epoch to epoch."""

    def __init__(self, config: EvaluateConfig, plan: EvaluationPlan, dataset: DistilledDataset, seed: int) -> None:
        self.config, self.dataset, self.protocol = config, dataset, plan.protocol
        self.epochs, self.seed, val = plan.epochs, seed, plan.val
        self.device = resolve_device(config.device)
        self.workers = config.workers or num_available_cores()
        self.peak = config.lr or peak_learning_rate(config.student)
        self.size = int(dataset.recipe["size"])
        # The authors' CutMix writes into its batch, so what their extra pass sees is mixed; their MixUp does not.
        self.mixed_in_place = dataset.recipe["views"]["mix"] == "cutmix"
        self.preprocessing = Preprocessing(tuple(dataset.recipe["mean"]), tuple(dataset.recipe["std"]))
        self.val = _evaluation_views(_Validation(val.spec, val.digest(with_stamps=True), self.size, self.workers, val))
        with seeded_init(counter_seed(seed, "student")):
            network = build_network(config.student, num_classes=len(dataset.classes), size=self.size)
        self.network: nn.Module = network.to(self.device).to(memory_format=torch.channels_last)
        if config.compile:
            self.network.compile()
        weight_decay = float(dataset.recipe["optimiser"]["weight_decay"])
        self.optimiser = torch.optim.AdamW(split_decay(self.network, weight_decay), lr=self.peak, betas=(0.9, 0.999))

    def run(self, what: str, *, after_epoch: Callable[[], None]) -> dict[str, Any]:
        """Trains all epochs, with `after_epoch` called after each; returns last and best accuracy and every look."""
        started = time.monotonic()
        looks: list[dict[str, Any]] = []
        wanted = look_epochs(self.epochs, self.config.looks)
        loss = 0.0
        with seeded_init(counter_seed(self.seed, "dropout")):
            for epoch, batches in enumerate(track(self._epochs(), total=self.epochs, what=what, unit="epoch")):
                loss = self._train_epoch(epoch, batches)
                after_epoch()
                if epoch + 1 in wanted:
                    accuracy = self._measure()
                    looks.append(
                        {
                            "epoch": epoch + 1,
                            "top1": accuracy.top1,
                            "top5": accuracy.top5,
                            "num_images": accuracy.num_images,
                        }
                    )
                    run_logger().info(
                        "%s: epoch %d, loss %.4f, top-1 %.2f %%", what, epoch + 1, loss, 100 * accuracy.top1
                    )
        best = max(looks, key=lambda look: look["top1"])
        return {
            "last_top1": looks[-1]["top1"],
            "last_top5": looks[-1]["top5"],
            "best_top1": best["top1"],
            "best_epoch": best["epoch"],
            "epochs": self.epochs,
            "loss": loss,
            "num_val": looks[-1]["num_images"],
            "seconds": round(time.monotonic() - started, 1),
            "looks": looks,
        }

    def _epochs(self) -> Iterator[Iterator[StudentBatch]]:
        return student_epochs(
            self.dataset,
            self.protocol,
            num_epochs=self.epochs,
            seed=self.seed,
            device=self.device,
            workers=self.workers,
            unmixed=self.config.extra_forward and not self.mixed_in_place,
        )

    def _train_epoch(self, epoch: int, batches: Iterator[StudentBatch]) -> float:
        rate = self.peak * stretched_cosine(epoch / self.epochs, stretch=self.protocol.lr_stretch)
        return train_epoch(
            self.network, self.optimiser, self._steps(batches), loss=self._loss(), learning_rate=lambda _: rate
        )

    def _steps(self, batches: Iterator[StudentBatch]) -> Iterator[tuple[Tensor, Targets]]:
        for batch in batches:
            if self.config.extra_forward:  # moves BatchNorm's statistics, as the authors' loop does
                with torch.no_grad():
                    self.network(batch.shown if batch.unmixed is None else batch.unmixed)
            yield batch.shown, (batch.teacher_logits, batch.hard_labels)

    def _loss(self) -> Callable[[Tensor, Targets], Tensor]:
        if self.protocol.one_hot:
            return lambda logits, targets: soft_cross_entropy(logits, targets[1])
        if self.config.loss == "gift":
            return lambda logits, targets: gift_loss(logits, targets[0], targets[1])
        kl = partial(kl_at_temperature, temperature=float(self.dataset.recipe["temperature"]))
        return lambda logits, targets: kl(logits, targets[0])

    def _measure(self) -> Accuracy:
        return measure_accuracy(self.network, self.val.batches(self.preprocessing, self.device))


@dataclass(frozen=True, slots=True)
class _Validation:
    """A validation source as a cache key: equal specs and digests mean equal images."""

    spec: str
    digest: str
    size: int
    workers: int
    source: Source = field(compare=False)


@lru_cache(maxsize=1)
def _evaluation_views(val: _Validation) -> EvaluationViews:
    """Returns the views to measure on: one set for all students of a process."""
    return EvaluationViews(labelled_items(val.source), size=val.size, workers=val.workers)
