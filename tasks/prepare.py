"""Open the source, the observer and the run folder; stop here if anything cannot work."""

import json
import platform
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prefect import task

from rded_core import ALGORITHM_VERSION, __version__
from rded_core.config import DistillConfig
from rded_core.errors import InputError
from rded_core.io.dataset_card import write_json
from rded_core.io.device import resolve_device, resolve_precision
from rded_core.io.device_jpegs import require_jpeg_decoder
from rded_core.io.manifest import Record
from rded_core.io.observers import Observer
from rded_core.io.paths import ClassShard, RunFolder, class_shards
from rded_core.io.run_records import read_run, require_apart, require_free
from rded_core.io.sources import Source, SourceClass, absolute_spec, open_source
from tasks.index import write_index
from tasks.networks import load_observer, load_teacher
from tasks.policies import STAGE_POLICY
from tasks.progress import run_logger

NEUTRAL_FIELDS = {"out", "device", "precision", "workers", "classes_per_shard", "force"}
"""Config fields that change nothing in the result, so that a run may go on under other values."""

PATH_FIELDS = ("source", "weights", "observer_classes", "teacher_weights", "teacher_classes")

VERSIONED_PACKAGES = ("torch", "torchvision", "pillow", "simplejpeg", "pyarrow", "webdataset", "numpy")


class RunPlan:
    """What a run is going to do, handed from task to task.

    No dataclass: Prefect walks into every list and dataclass that a task is called with, twice a task run, and a
    thousand classes in a thousand task runs cost it far more than the tasks' own work.

    Attributes:
        config: as resolved.
        classes: the source's, in index order.
        num_source: images of each class.
        shards: the units of work.
        index: record of each shard's index, by shard name.
        needs_tars: candidates are copied into tars (the source is none).
        observer: digest of the scoring network.
        teacher: digest of the labelling network.
    """

    def __init__(
        self,
        config: DistillConfig,
        source: Source,
        shards: list[ClassShard],
        *,
        index: dict[str, Record],
        observer: str,
        teacher: str,
    ) -> None:
        self.config = config
        self.classes = source.classes
        self.num_source = tuple(len(items) for items in source.items)
        self.shards = tuple(shards)
        self.index = index
        self.needs_tars = not source.is_webdataset
        self.observer = observer
        self.teacher = teacher

    @property
    def run(self) -> RunFolder:
        """The run folder."""
        return RunFolder(Path(self.config.out))

    def digest_of(self, role: str) -> str:
        """Returns the digest of the ``observer`` or ``teacher``."""
        return self.observer if role == "observer" else self.teacher

    def classes_of(self, shard: ClassShard) -> tuple[SourceClass, ...]:
        """Returns the classes of one shard."""
        return self.classes[shard.start : shard.stop]


@task(name="prepare", task_run_name="prepare {config.source}", **STAGE_POLICY)
def prepare(config: DistillConfig) -> RunPlan:
    """Lists the source, loads the networks, claims OUT and writes the index of each class shard.

    Raises:
        InputError: source, observer, IPC or OUT cannot work.
    """
    config = replace(config, **absolute_paths(config))
    run = RunFolder(Path(config.out))
    if config.decoder == "cuda":
        require_jpeg_decoder(resolve_device(config.device))
    require_free(run)
    require_apart(run.root, config.source)
    source = open_source(config.source, classes=config.classes)
    tell_classes(source)
    check_counts(config, source)
    observer = load_observer(config, source.classes)
    teacher = load_teacher(config, source.classes)
    _tell_network("observer", observer, config.size)
    if teacher.digest != observer.digest:
        _tell_network("teacher", teacher, config.size)
    described = _describe_run(config, source, observer, teacher)
    _check_control(run, described)
    _claim(run, described)
    shards = class_shards(len(source.classes), config.classes_per_shard)
    digest = described["source"]["digest"]
    index = {shard.name: write_index(run, source, shard, seed=config.seed, source_digest=digest) for shard in shards}
    return RunPlan(config, source, shards, index=index, observer=observer.digest, teacher=teacher.digest)


def check_counts(config: DistillConfig, source: Source) -> None:
    """Raises InputError where a class has too few images for the IPC, unless fewer are allowed."""
    counts = [(len(items), label.folder) for items, label in zip(source.items, source.classes, strict=True)]
    fewest, folder = min(counts)
    if fewest < config.candidates_per_class and not config.allow_fewer:
        raise too_few(folder, fewest, fewest, config)
    short = sum(count < config.num_candidates for count, _ in counts)
    if short:
        run_logger().info(
            "%d of %d classes have fewer than %d images (fewest: %s, %d): all of theirs are candidates",
            short, len(counts), config.num_candidates, folder, fewest,
        )  # fmt: skip


def too_few(folder: str, num_usable: int, num_source: int, config: DistillConfig) -> InputError:
    """Returns the error of a class with too few usable candidates, with the largest IPC possible."""
    possible = num_usable // config.candidates_per_image
    remedy = f"the largest --ipc possible is {possible}, or give --allow-fewer"
    if possible == 0:
        remedy = "add images, leave the class out with --classes, or lower --factor"
    if num_usable < config.num_candidates <= num_source:
        remedy = f"{remedy}; or raise --num-candidates, since some candidates were rejected"
    return InputError(
        f"class {folder!r} has {num_usable} usable images, but factor² x ipc = {config.candidates_per_image} x "
        f"{config.ipc} = {config.candidates_per_class} are needed; {remedy}"
    )


def tell_classes(source: Source) -> None:
    """Logs what a source holds, and the order of its classes."""
    names = [label.folder for label in source.classes]
    shown = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
    run_logger().info("%s: %d images, %d classes in this order: %s", source.spec, source.num_items, len(names), shown)
    if source.num_ignored_files:
        run_logger().info("%d files passed over: no labelled images by name", source.num_ignored_files)


def _tell_network(role: str, network: Observer, size: int) -> None:
    run_logger().info("%s %s: %s", role, network.spec, network.head_note)
    made_for = network.preprocessing.size
    if made_for and made_for != size:
        run_logger().warning("the %s was made for images of %d px, and sees %d px here (--size)", role, made_for, size)


def _describe_run(config: DistillConfig, source: Source, observer: Observer, teacher: Observer) -> dict[str, Any]:
    return {
        "config": asdict(config),
        "algorithm_version": ALGORITHM_VERSION,
        "source": {"digest": source.digest(), "num_images": source.num_items, "num_classes": len(source.classes)},
        "observer": describe_network(observer),
        "teacher": describe_network(teacher),
        "device": str(resolve_device(config.device)),
        "precision": str(resolve_precision(config.precision, resolve_device(config.device))).removeprefix("torch."),
        "versions": {
            "rded": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in VERSIONED_PACKAGES},
        },
    }


def absolute_paths(config: DistillConfig) -> dict[str, str]:
    """Returns the config's local paths, absolute, so that a run goes on, and run.json works, from any folder."""
    named = {name: getattr(config, name) for name in PATH_FIELDS}
    return {name: absolute_spec(path) for name, path in named.items() if path}


def describe_network(observer: Observer) -> dict[str, Any]:
    """Returns what records and recipes say of a network."""
    return {
        "spec": observer.spec,
        "digest": observer.digest,
        "head": observer.head_note,
        "mean": list(observer.preprocessing.mean),
        "std": list(observer.preprocessing.std),
        "trained_top1": observer.facts.get("top1"),
    }


def _identity(described: dict[str, Any]) -> dict[str, Any]:
    """Picks what makes two runs the same run: everything the result depends on."""
    fields = {f"config.{name}": value for name, value in described["config"].items() if name not in NEUTRAL_FIELDS}
    digests = {f"{name}.digest": described[name]["digest"] for name in ("source", "observer", "teacher")}
    return json.loads(json.dumps({**fields, **digests, "algorithm_version": described["algorithm_version"]}))


def _claim(run: RunFolder, described: dict[str, Any]) -> None:
    """Writes run.json, or checks that the one there describes this very run."""
    if not run.run_json.is_file():
        write_json(run.run_json, described)
        return
    before = _identity(read_run(run))
    now = _identity(described)
    changed = [name for name in now if before.get(name) != now[name]]
    if "algorithm_version" in changed:
        raise InputError(
            f"--out {run.root} holds a run of another rded (algorithm version {before['algorithm_version']}, now "
            f"{ALGORITHM_VERSION}); choose another --out"
        )
    if changed:
        name = changed[0]
        raise InputError(
            f"--out {run.root} already holds another run ({name} was {before.get(name)!r}, now {now[name]!r}); "
            "choose another --out, or give that run's settings to go on with it"
        )


def _check_control(run: RunFolder, described: dict[str, Any]) -> None:
    """Raises InputError where a control would be made of other things than the run it is compared with."""
    if run.owner is None:
        return
    before = read_run(run.owner)
    changed = [
        name for name in ("source", "observer", "teacher") if before[name]["digest"] != described[name]["digest"]
    ]
    if before.get("algorithm_version") != described["algorithm_version"]:
        changed.append("rded's algorithm version")
    if changed:
        raise InputError(
            f"{' and '.join(changed)} changed since {run.owner.root} was distilled, so its controls would not be "
            "comparable; distil again into a new --out, or give --controls none"
        )
