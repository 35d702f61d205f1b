"""Counts, settings and names, worded for people."""

import re

from rded_core.text.secrets import mask_secrets

ES_ENDINGS = ("s", "x", "tch")
"""Endings of nouns that take ``es``; not ``ch``, because of ``epochs``."""


def counted(count: int, noun: str) -> str:
    """Returns a count with its noun: ``1 image``, ``2 images``, ``2 classes``, ``2 batches``, ``2 copies``."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}{'es' if noun.endswith(ES_ENDINGS) else 's'}"


TOP5_CLASSES = 6
"""With fewer classes, top-5 accuracy says nothing."""


def percent(share: float, digits: int = 1) -> str:
    """Returns a share 0..1 as ``98.8 %``."""
    return f"{100 * share:.{digits}f} %"


SETTING_WORDS = {
    "algorithm_version": "algorithm version",
    "batch_size": "label-batch-size",
    "forgotten": "forgotten images",
    "observer.digest": "observer",
    "output": "the class's place in the observer's head",
    "outputs": "the classes' places in the network's head",
    "per_class": "images checked per class",
    "pixel_forms": "reading of the candidates' pixels",
    "settings": "settings or source images",
    "source.digest": "source images",
    "tars": "copies of the candidates",
    "teacher.digest": "teacher",
}
"""Words for settings whose names in records and run.json are not those of the flags."""


def setting_words(name: str) -> str:
    """Returns a setting as the command line names it: ``num-candidates``, ``label-batch-size``, ``source images``."""
    plain = name.removeprefix("config.")
    return SETTING_WORDS.get(plain, plain.replace("_", "-"))


GENERIC_FOLDERS = {"train", "val", "test", "dataset"}
"""Folder names that say nothing about the contents; the name of the folder above is used instead."""

MAX_SHORT_NAME = 40


def short_name(spec: str) -> str:
    """Returns the name of a source or folder without its location: ``photos`` of ``s3://bucket/photos/train-{0..9}.tar``."""
    place = mask_secrets(spec).rpartition("://")[2].partition("?" if "://" in spec else "\0")[0]
    place = place.removeprefix("torchvision:").partition("@")[0] if place.startswith("torchvision:") else place
    parts = [re.split(r"[{*\[?]", part)[0].removesuffix(".tar").strip("-_. ") for part in place.split("/")]
    names = [part for part in parts if part]
    specific = [part for part in names if part.lower() not in GENERIC_FOLDERS]
    return [spec, *names[-1:], *specific[-1:]][-1][:MAX_SHORT_NAME]


class ShortNamed:
    """A config with a short name for run names: that of its source, or of its dataset."""

    __slots__ = ()

    @property
    def short_name(self) -> str:
        """Name of the source or dataset without its location."""
        return short_name(str(getattr(self, "source", "") or getattr(self, "dataset", "")))


STAGE_WORDS = {
    "index": "list",
    "candidates": "draw",
    "observe": "check",
    "realism": "score",
    "selection": "select",
    "squeeze": "tile",
    "soft_labels": "label",
    "publish": "publish",
}
"""Words for the stages as users see them, the same as in ``--redo``."""
