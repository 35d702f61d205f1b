"""Names in a source: which files are images, and which words name a split instead of a class."""

import re

IMAGE_SUFFIXES = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".jp2",
        ".avif",
    }
)
"""File names with these endings (any case) are images of a folder source; others are skipped and counted."""

ARCHIVE_SUFFIXES = frozenset({".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
"""Endings of files that may hold images still packed."""

ARCHIVES = "archives that are still packed"

PACKED_NAMES = frozenset({"archive", "dataset", "data", "images", "annotations", "labels", "master", "main"})
"""Names of archives, in lower case, that whole data sets come in: next to class folders they are not a class."""

OTHER_SUFFIXES = frozenset(
    {
        *(".txt", ".md", ".rst", ".pdf", ".doc", ".docx", ".html", ".htm", ".css", ".js", ".log", ".cls"),
        *(
            ".csv",
            ".tsv",
            ".xls",
            ".xlsx",
            ".json",
            ".jsonl",
            ".xml",
            ".yaml",
            ".yml",
            ".toml",
            ".ini",
            ".cfg",
            ".conf",
        ),
        *(
            ".py",
            ".pyc",
            ".ipynb",
            ".sh",
            ".m",
            ".mat",
            ".pkl",
            ".pickle",
            ".h5",
            ".hdf5",
            ".pth",
        ),
        *(".safetensors", ".db", ".sqlite", ".lmdb", ".mdb", ".idx", ".index", ".bib", ".lst", ".names", ".data"),
        *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".wav", ".mp3", ".svg", ".md5", ".sha1", ".sha256", ".sums"),
        *(".lnk", ".url", ".torrent", ".bak", ".aae", ".xmp", ".thm", ".ffs_db", ".lock"),
    }
)
"""Endings of files that lie next to images and are none: no image is lost when they are skipped."""

ARRAY_SUFFIXES = frozenset({".npy", ".npz", ".pt"})
"""Endings of files that are data beside images, but may be the images of a class that holds nothing else."""

DATA_NAMES = PACKED_NAMES | {
    *("cache", "checkpoint", "checkpoints", "depth", "embedding", "embeddings", "feature", "features", "latent"),
    *("latents", "log", "logs", "mask", "masks", "meta", "metadata", "model", "models", "output", "outputs", "results"),
    *("runs", "weight", "weights"),
}
"""Words in names of folders, in lower case, whose arrays are not the images of a class."""

OTHER_NAMES = frozenset(
    {
        *("readme", "license", "licence", "copying", "notice", "authors", "changelog", "version", "makefile"),
        *("dockerfile", "index", "labels", "classes", "md5sums", "sha256sums", "checksums", "_success", "icon\r"),
    }
)
"""Names without an ending, in lower case, of files that are not images."""

SPLIT_KINDS = {
    "train": (("train", "training", "trn"),),
    "val": (("val", "valid", "validation"), ("test", "testing", "tst")),
}
"""Words that mean splits, not classes, by purpose; words of one kind mean the same, and earlier kinds are preferred."""

SPLIT_NAMES = {purpose: tuple(word for kind in kinds for word in kind) for purpose, kinds in SPLIT_KINDS.items()}

SPLIT_FILLERS = frozenset({"set", "data", "dataset", "image", "images", "img", "imgs"})
"""Words that say no more about a split, beside its own (``train_images``) or joined to it (``trainset``)."""

UNLABELLED_WORDS = frozenset(
    {"pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled", "unsupervised", "extra"}
)
"""Words in the names of folders that hold images without classes, beside splits."""


def is_image_name(name: str) -> bool:
    """Whether a file name ends like that of an image."""
    _, dot, ending = name.rpartition(".")
    return bool(dot) and f".{ending.lower()}" in IMAGE_SUFFIXES


def words_in(name: str) -> list[str]:
    """Returns the parts of a name between ``-``, ``_``, ``.`` and spaces, in lower case."""
    return [word for word in re.split(r"[-_. ]+", name.lower()) if word]
