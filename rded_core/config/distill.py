"""Configs: every number a user may change, checked at the door.

The ``Attributes`` section of each class is the help text of its flag and of its field in Prefect's form.
"""

from dataclasses import dataclass
from typing import Annotated, get_args

from rded_core.config.bounds import ABOVE_ZERO, AreaShare, MaybePositive, Positive, Seed, Side
from rded_core.config.choices import (
    Decoder,
    ImageFormat,
    LabelProtocolName,
    Mix,
    Precision,
    Redo,
    RedoWord,
    Selection,
    no_secret,
    one_of,
    require_codec,
)
from rded_core.config.fields import Bounds, check_fields
from rded_core.config.sizes import parse_size
from rded_core.errors import InputError
from rded_core.text.wording import ShortNamed


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig(ShortNamed):
    """What one distillation does.

    Attributes:
        source: what to distil: a folder of class folders, WebDataset tars, Parquet files, a URL of these, or
            torchvision:NAME
        observer: the scoring network: torchvision:NAME, timm:NAME, rded:NAME (convnet3, resnet18_small, ...), or
            package.module:factory
        weights: the observer's weights, a .safetensors file or a state dict; by default the spec's own pretrained ones
        observer_classes: text file with the observer's classes in head order, one name or WordNet id a line
        teacher: the labelling network, in the observer's form; by default the observer
        teacher_weights: the teacher's weights file; by default the observer's where the teacher is the observer
        teacher_classes: text file with the teacher's classes in head order, in the form of --observer-classes
        ipc: distilled images per class
        out: folder of the run, or a URL for one (s3://...); must be new, empty, or hold this very run
        num_candidates: source images drawn per class
        num_crops: random crops scored per candidate
        factor: patches per side of a distilled image, 1 to 16; the paper takes 2 for photographs, 1 for 32 px
        size: side of a distilled image in pixels
        crop_scale_min: smallest share of a candidate's area that a crop may cover
        label_epochs: epochs of soft labels to record; a student that trains longer walks them again
        label_codec: how labels are stored: float16, int8, int4, features (the teacher's, and its last layer once),
            topk:N, or auto: float16 up to 200 classes, int8 above; with --label-budget what loses least
        label_budget: most bytes of labels, such as 200MB: ways to store them are measured on the teacher and the
            distilled images, and the one that loses least within the budget is taken, with fewer epochs if need be
        protocol: views and batches of the soft labels: paper, or standard (batch 128, crops from 8 % of the area)
        label_batch_size: images per recorded batch; by default the protocol's for this IPC
        mix: how two views of a batch are mixed: cutmix, mixup or none
        temperature: of the softmaxes that students compare; by default 20, or 4 with mixup
        flip: mirror half of the views; off for digits, text and the like
        seed: root of every random draw
        classes: keep only these classes (names, WordNet ids or folders, comma-separated)
        classes_per_shard: classes per unit of work; by default 10, or more where that would make over 32 units; changes
            nothing in the result
        image_format: how distilled images are stored: jpeg, png or webp
        image_quality: of jpeg and webp, 1 to 100
        device: where networks run: auto, cpu, cuda (all GPUs score), cuda:N or mps
        precision: of scoring: float32, bfloat16 (what decides the selection is scored again in float32; slow on a CPU),
            or auto, which takes bfloat16 on CUDA; the same patches are chosen
        decoder: what decodes candidates for scoring: cpu, or cuda (with --device cuda), which needs fewer cores, and
            whose pixels, and so scores, differ a little
        workers: threads that decode and score; by default one per core; changes nothing in the result
        allow_fewer: let a class with too few candidates have fewer images instead of stopping
        force: go on although the observer is no better than chance on the source
        max_rejected: share of the images read that may be unusable (corrupt, truncated, vanished) before the run stops
        selection: which patches are taken: realism (the method), or its controls mosaic and random, without scores
    """

    source: str
    observer: str
    ipc: Positive
    out: str
    weights: str | None = None
    observer_classes: str | None = None
    teacher: str | None = None
    teacher_weights: str | None = None
    teacher_classes: str | None = None
    num_candidates: Positive = 300
    num_crops: Positive = 5
    factor: Annotated[int, Bounds(1, 16)] = 2
    size: Side = 224
    crop_scale_min: AreaShare = 0.08
    label_epochs: Positive = 300
    label_codec: str = "auto"
    label_budget: str | None = None
    protocol: LabelProtocolName = "paper"
    label_batch_size: Annotated[int | None, Bounds(2)] = None
    mix: Mix = "cutmix"
    temperature: Annotated[float | None, ABOVE_ZERO] = None
    flip: bool = True
    seed: Seed = 0
    classes: tuple[str, ...] | None = None
    classes_per_shard: MaybePositive = None
    image_format: ImageFormat = "jpeg"
    image_quality: Annotated[int, Bounds(1, 100)] = 90
    device: str = "auto"
    precision: Precision = "auto"
    decoder: Decoder = "cpu"
    workers: MaybePositive = None
    allow_fewer: bool = False
    force: bool = False
    max_rejected: Annotated[float, Bounds(0, 1)] = 0.1
    selection: Selection = "realism"

    def __post_init__(self) -> None:
        check_fields(self)
        no_secret(source=self.source, out=self.out, weights=self.weights, teacher_weights=self.teacher_weights)
        require_codec(self.label_codec)
        if self.label_budget is not None:
            parse_size(self.label_budget)
        if self.decoder == "cuda" and not self.device.startswith(("auto", "cuda")):
            raise InputError(f"decoder cuda needs device cuda, got {self.device!r}; give --decoder cpu")
        if self.factor > self.size // 8:
            raise InputError(
                f"factor must leave patches of at least 8 px, got {self.factor} at size {self.size}; "
                f"{self.size // 8} is the most"
            )
        if self.num_candidates < self.candidates_per_class:
            possible = self.num_candidates // self.candidates_per_image
            lower = f" or lower --ipc to {possible}" if possible else ""
            raise InputError(
                f"num_candidates must be >= factor² · ipc = {self.candidates_per_class}, got {self.num_candidates}; "
                f"raise --num-candidates (to at most the images of a class){lower}"
            )

    @property
    def tile_factor(self) -> int:
        """Patches per side of an image of this selection; a random real image is one patch."""
        return 1 if self.selection == "random" else self.factor

    @property
    def patches_per_image(self) -> int:
        """Patches in one image of this selection."""
        return self.tile_factor * self.tile_factor

    @property
    def candidates_per_image(self) -> int:
        """Candidates that an image takes of its class: factor², in controls too, which make as many images."""
        return self.factor * self.factor

    @property
    def candidates_per_class(self) -> int:
        """Candidates that a class must have for `ipc` images."""
        return self.candidates_per_image * self.ipc


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerun:
    """What of a run is to be done again, or left alone, this once; no part of what the run is.

    With no class in `only_classes`, all classes are left alone, and what is made of all of them together is made.

    Attributes:
        only_classes: work on these classes only (names, WordNet ids or folders, comma-separated), and leave the others
            as the last run left them
        redo: make these stages again although nothing changed: draw, check, score, select, tile, label (or
            relabel), publish (comma-separated)
    """

    only_classes: tuple[str, ...] | None = None
    redo: tuple[RedoWord, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "redo", tuple("label" if name == "relabel" else name for name in self.redo))
        for name in self.redo:
            one_of(get_args(Redo), redo=name)
