"""Names that config fields accept, and checks of names and URLs."""

from typing import Literal

from rded_core.errors import InputError
from rded_core.text.secrets import has_secret

ProtocolName = Literal["paper", "standard", "hard"]
LabelProtocolName = Literal["paper", "standard"]
ImageFormat = Literal["jpeg", "png", "webp"]
Mix = Literal["cutmix", "mixup", "none"]
Decoder = Literal["cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]
Selection = Literal["realism", "mosaic", "random"]
Control = Literal["random", "mosaic"]
Redo = Literal["draw", "check", "score", "select", "tile", "label", "publish"]
RedoWord = Literal[Redo, "relabel"]
"""Stages as a user may name them; ``relabel`` means ``label``."""
StudentLoss = Literal["kl", "gift"]

LABEL_CODECS = ("float16", "int8", "int4", "features", "topk")
"""Ways to store labels; ``topk`` may carry its number of classes, as in ``topk:50``."""


def one_of(choices: tuple[str, ...], **values: str) -> None:
    """Raises InputError if a name, passed as ``field=name``, is not one of the choices."""
    for name, value in values.items():
        if value not in choices:
            raise InputError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def require_codec(name: str) -> None:
    """Raises InputError if no label codec has this name."""
    kind, _, number = name.partition(":")
    if name not in ("auto", *LABEL_CODECS) and not (kind == "topk" and number.isdecimal()):
        raise InputError(f"label_codec must be one of auto, {', '.join(LABEL_CODECS)}, topk:N; got {name!r}")


def no_secret(**urls: str | None) -> None:
    """Raises InputError if a URL, passed as ``field=url``, contains a secret: configs are stored and displayed."""
    for name, url in urls.items():
        if url is not None and has_secret(url):
            raise InputError(
                f"{name} contains a password or token in its URL, which run.json, logs and Prefect would store; "
                "remove it and set the environment variables of that storage instead (docs/watching.md)"
            )
