"""The config of `rded distill`: every number a user may change, checked on construction.

The ``Attributes`` lines of each class are the help texts of its flags and of its fields in Prefect's forms.
"""

from dataclasses import dataclass
from typing import Annotated, get_args

from annotated_types import Ge, Interval

from rded_core.config.bounds import AreaShare, MaybePositive, MaybePositiveFloat, Positive, Seed, Side
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
from rded_core.config.fields import check_fields
from rded_core.config.sizes import parse_size
from rded_core.errors import InputError
from rded_core.text.wording import ShortNamed


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillConfig(ShortNamed):
    """Settings for one distillation.

    Attributes:
        source: dataset to distil: a folder of class folders, WebDataset tars, Parquet files, a URL of any of these, or
            torchvision:NAME
        observer: scoring network: torchvision:NAME, timm:NAME, rded:NAME (convnet3, resnet18_small, ...), or
            package.module:factory; or a .safetensors file of rded train-observer, which needs no --weights
        weights: the observer's weights, a .safetensors file or a state dict; by default the network's pretrained ones
        observer_classes: text file with the observer's classes in head order, one name or WordNet id per line
        teacher: labelling network, written like --observer; by default the observer
        teacher_weights: the teacher's weights file; by default the observer's if the teacher is the observer
        teacher_classes: text file with the teacher's classes in head order, written like --observer-classes
        ipc: distilled images per class
        out: run folder, or a URL for one (s3://...); must be new, empty, or contain this same run
        num_candidates: source images drawn per class
        num_crops: random crops scored per candidate
        factor: patches per side of a distilled image, 1 to 16; the paper uses 2 for photographs, 1 for 32 px
        size: side of a distilled image in pixels
        crop_scale_min: smallest share of a candidate's area that a crop may cover
        label_epochs: epochs of soft labels to record; a student that trains longer reuses them
        label_codec: how labels are stored: float16, int8, int4, features (the teacher's features, and its last
            layer once), topk:N, or auto: float16 up to 200 classes, int8 above; with --label-budget the codec that
            loses least
        label_budget: maximum size of the labels, such as 200MB: ways to store them are measured on the teacher and the
            distilled images, and the one that loses least within the budget is used, with fewer epochs if necessary
        protocol: how views and batches of the soft labels are drawn: paper, or standard (batch 128, crops from 8 % of
            the area)
        label_batch_size: images per recorded batch; by default the protocol's value for this IPC
        mix: how two views of a batch are mixed: cutmix, mixup or none
        temperature: softmax temperature of the students' loss; by default 20, or 4 with mixup
        flip: mirror half of the views; turn off for digits, text and the like
        seed: root seed of all random draws
        classes: keep only these classes (names, WordNet ids or folders; comma-separated or repeated)
        classes_per_shard: classes per unit of work; by default 10, or more if that would make over 32 units; does not
            change the result
        image_format: file format of distilled images: jpeg, png or webp
        image_quality: quality of jpeg and webp, 1 to 100
        device: device that networks run on: auto, cpu, cuda (all GPUs score), cuda:N or mps
        precision: precision of scoring: float32, bfloat16 (patches that decide the selection are scored again in
            float32; slow on a CPU), or auto, which uses bfloat16 on CUDA; the same patches are chosen in each case
        decoder: decoder of candidates for scoring: cpu, or cuda (with --device cuda), which needs fewer cores but gives
            slightly different pixels and scores
        workers: threads that decode and score; by default one per core; does not change the result
        allow_fewer: make fewer images of a class with too few candidates instead of stopping
        force: continue even if the observer is no better than chance on the source, or takes one class for another
        max_rejected: largest share of the images read that may be unusable (corrupt, truncated, vanished); above it,
            the run stops
        selection: which patches are kept: realism (the method), or its controls mosaic and random, which use no scores
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
    factor: Annotated[int, Interval(ge=1, le=16)] = 2
    size: Side = 224
    crop_scale_min: AreaShare = 0.08
    label_epochs: Positive = 300
    label_codec: str = "auto"
    label_budget: str | None = None
    protocol: LabelProtocolName = "paper"
    label_batch_size: Annotated[int, Ge(2)] | None = None
    mix: Mix = "cutmix"
    temperature: MaybePositiveFloat = None
    flip: bool = True
    seed: Seed = 0
    classes: tuple[str, ...] | None = None
    classes_per_shard: MaybePositive = None
    image_format: ImageFormat = "jpeg"
    image_quality: Annotated[int, Interval(ge=1, le=100)] = 90
    device: str = "auto"
    precision: Precision = "auto"
    decoder: Decoder = "cpu"
    workers: MaybePositive = None
    allow_fewer: bool = False
    force: bool = False
    max_rejected: Annotated[float, Interval(ge=0, le=1)] = 0.1
    selection: Selection = "realism"

    def __post_init__(self) -> None:
        check_fields(self)
        no_secret(source=self.source, out=self.out, weights=self.weights, teacher_weights=self.teacher_weights)
        require_codec(self.label_codec)
        if self.label_budget is not None:
            parse_size(self.label_budget)
        if self.decoder == "cuda" and not self.device.startswith(("auto", "cuda")):
            raise InputError(f"decoder cuda needs device cuda, got {self.device!r}; pass --decoder cpu")
        if self.factor > self.size // 8:
            raise InputError(
                f"factor must leave patches of at least 8 px, got {self.factor} at size {self.size}; "
                f"the maximum is {self.size // 8}"
            )
        if self.num_candidates < self.candidates_per_class:
            possible = self.num_candidates // self.candidates_per_image
            lower = f" or lower --ipc to {possible}" if possible else ""
            raise InputError(
                f"num_candidates must be >= factor² · ipc = {self.candidates_per_class}, got {self.num_candidates}; "
                f"raise --num-candidates (up to the images of a class){lower}"
            )

    @property
    def tile_factor(self) -> int:
        """Patches per side of an image under this selection; the random control's images are one patch each."""
        return 1 if self.selection == "random" else self.factor

    @property
    def patches_per_image(self) -> int:
        """Patches in one image under this selection."""
        return self.tile_factor * self.tile_factor

    @property
    def candidates_per_image(self) -> int:
        """Candidates that one image uses up: factor², in controls too, which make as many images."""
        return self.factor * self.factor

    @property
    def candidates_per_class(self) -> int:
        """Candidates that a class needs for `ipc` images."""
        return self.candidates_per_image * self.ipc


@dataclass(frozen=True, kw_only=True, slots=True)
class Rerun:
    """What to redo or skip in one invocation of a run; not part of the run's settings.

    An empty `only_classes` skips all classes and makes only what depends on all of them together.

    Attributes:
        only_classes: work only on these classes (names, WordNet ids or folders; comma-separated or repeated) and leave
            the others as the last run left them
        redo: redo these stages even if nothing changed: draw, check, score, select, tile, label (or
            relabel), publish (comma-separated)
    """

    only_classes: tuple[str, ...] | None = None
    redo: tuple[RedoWord, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "redo", tuple("label" if name == "relabel" else name for name in self.redo))
        for name in self.redo:
            one_of(get_args(Redo), redo=name)
