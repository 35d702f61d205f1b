"""Mistakes that a look at the paths shows, told before anything slow is started; the stages check in full."""

from pathlib import Path

from rded_core.config import DistillConfig, EvaluateConfig, TrainObserverConfig
from rded_core.io.checkpoints import require_new
from rded_core.io.heads import read_class_list
from rded_core.io.paths import RunFolder, find_dataset
from rded_core.io.run_records import require_free
from rded_core.io.storage import is_url, require_folder
from rded_core.io.weights import require_weights


def look_before(config: DistillConfig | EvaluateConfig | TrainObserverConfig) -> None:
    """Raises InputError where a source, a weights file or a place to write cannot work; changes nothing."""
    match config:
        case DistillConfig():
            _require(sources=[config.source], weights=[config.weights, config.teacher_weights])
            for class_list in filter(None, (config.observer_classes, config.teacher_classes)):
                read_class_list(class_list)
            require_free(RunFolder(Path(config.out)))
        case EvaluateConfig():
            find_dataset(config.dataset)
            _require(sources=[config.val], weights=[])
        case TrainObserverConfig():
            _require(sources=[config.source, config.val], weights=[config.init])
            require_new(Path(config.out))


def _require(*, sources: list[str | None], weights: list[str | None]) -> None:
    for source in filter(None, sources):
        if not (is_url(source) or source.startswith("torchvision:") or source.endswith(".tar")):
            require_folder(Path(source))
    for path in filter(None, weights):
        require_weights(path)
