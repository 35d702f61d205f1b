"""The samples of a tar: which member is the image, which one the label."""

import io
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from rded_core.errors import InputError
from rded_core.io.sources.labels import Label, read_label_at
from rded_core.io.sources.names import IMAGE_SUFFIXES
from rded_core.io.sources.tars.members import Member, Members
from rded_core.io.storage.files import quoted_name, shown_name

CLASS_NAME_FIELDS = ("class_name", "label_name")
"""Fields of a sample's .json that may name its class if its label is a number."""

LABEL_FIELDS = ("class_index", "label", "cls", "class", "class_id")
"""Fields of a sample's .json that may hold its label if it has no .cls; the first one present is taken."""

CLS, JSON = "cls", "json"
LABEL_ENDINGS = {"cls": CLS, "cls.txt": CLS, "json": JSON}
LABEL_SUFFIXES = tuple(f".{ending}" for ending in LABEL_ENDINGS)
CAPTIONS = frozenset({"txt", *LABEL_ENDINGS})

Parts = dict[str, Member]
"""The members of a key by their extension (all after the first dot, in lower case)."""


class Sample(NamedTuple):
    """A sample of a tar; `image` is None if it is left out, for the reason in `problem`."""

    name: str
    image: Member | None
    label: Label | None
    class_name: str | None
    problem: str = ""


class _Labels:
    """The contents of the label files of a tar, read while it is listed, and thus in order."""

    def __init__(self, stream: io.RawIOBase | io.BufferedReader, tar: str) -> None:
        self._stream, self._tar = stream, tar
        self._texts: dict[str, bytes] = {}

    def note(self, member: Member) -> None:
        """Reads a member if it is a label file."""
        if not member.name.lower().endswith(LABEL_SUFFIXES) or member.broken:
            return
        self._stream.seek(member.offset)
        text = self._stream.read(member.num_bytes) or b""
        if self._texts.setdefault(member.name, text) != text:
            raise InputError(f"{self._place(member.name)} appears twice, with different contents; keep one of them")

    def of(self, parts: Parts) -> tuple[Label | None, str | None]:
        """Returns the label and the class name of a sample; .cls goes before .json."""
        by_kind = {LABEL_ENDINGS[ending]: member.name for ending, member in parts.items() if ending in LABEL_ENDINGS}
        self._require_one_cls(parts)
        described = self._fields(by_kind.get(JSON, ""))
        value: Any = next((described[field] for field in LABEL_FIELDS if field in described), None)
        if CLS in by_kind:
            value = self._texts.get(by_kind[CLS])
        label = read_label_at(value, self._place(by_kind.get(CLS) or by_kind.get(JSON, "")))
        name = next((described[field] for field in CLASS_NAME_FIELDS if field in described), None)
        return label, None if name is None else str(name)

    def require_same(self, first: Member, second: Member) -> None:
        """Raises InputError if two label files that count as one, as ``a.cls`` and ``a.CLS``, hold different labels."""
        found = [read_label_at(self._texts.get(each.name), self._place(each.name)) for each in (first, second)]
        if found[0] != found[1]:
            raise InputError(
                f"{self._place(first.name)} holds the label {found[0]!r}, {shown_name(second.name)} holds "
                f"{found[1]!r}; keep one of them"
            )

    def _place(self, name: str) -> str:
        return f"{self._tar}: {shown_name(name)}"

    def _require_one_cls(self, parts: Parts) -> None:
        if "cls" in parts and "cls.txt" in parts:
            self.require_same(parts["cls"], parts["cls.txt"])

    def _fields(self, name: str) -> dict[str, Any]:
        try:
            fields: Any = json.loads(self._texts.get(name, b""))
        except (ValueError, RecursionError):
            return {}
        return fields if isinstance(fields, dict) else {}


def list_samples(members: Members, tar: str) -> list[Sample]:
    """Returns the samples of a tar, those without an image or a label too.

    A key is a member's name to the first dot of its last part. Its image is the member whose extension is an image
    ending and nothing else (``a.jpg`` beside ``a.mask.png``), or else its only image. Names that begin with a dot are
    left out.

    Raises:
        InputError: a key holds several images, or a label is unusable.
        tarfile.TarError: the tar is damaged.
    """
    keys: defaultdict[str, Parts] = defaultdict(dict)
    labels = _Labels(members.stream, tar)
    for member in members:
        folder, _, base = member.name.rpartition("/")
        stem, _, extension = base.partition(".")
        if not stem:
            continue
        parts, extension = keys[f"{folder}/{stem}" if folder else stem], extension.lower()
        if extension in parts and _is_image(extension):
            raise _image_twice(tar, parts[extension].name, member.name)
        labels.note(member)
        if extension in parts and extension in LABEL_ENDINGS:
            labels.require_same(parts[extension], member)
        parts[extension] = member
    return [sample for parts in keys.values() for sample in _samples_of(parts, labels, tar)]


def _samples_of(parts: Parts, labels: _Labels, tar: str) -> list[Sample]:
    """Returns the sample of a key; several, if the key was cut at a dot inside the names of samples with labels."""
    if not any(_is_image(ending) and "." in ending for ending in parts):
        return [_sample_of(parts, labels, tar)]
    longer = _by_longer_key(parts)
    has_shorter = LABEL_ENDINGS.keys() & parts.keys() or any(map(_is_image, longer.get("", ())))
    if not has_shorter and any(LABEL_ENDINGS.keys() & inner.keys() for inner in longer.values()):
        return [_sample_of(inner, labels, tar) for inner in longer.values()]
    labelled = {key: inner for key, inner in longer.items() if key and _is_labelled_image(inner, labels)}
    taken = {member for inner in labelled.values() for member in inner.values()}
    rest = {ending: member for ending, member in parts.items() if member not in taken}
    return [_sample_of(group, labels, tar) for group in (rest, *labelled.values()) if group]


def _is_labelled_image(parts: Parts, labels: _Labels) -> bool:
    return any(map(_is_image, parts)) and labels.of(parts)[0] is not None


def _by_longer_key(parts: Parts) -> dict[str, Parts]:
    """Returns the members of a key by their names to the last dot: ``1.jpg`` and ``1.cls`` belong together."""
    longer: defaultdict[str, Parts] = defaultdict(dict)
    for extension, member in parts.items():
        ending = next((each for each in LABEL_ENDINGS if extension.endswith(f".{each}")), extension.rpartition(".")[2])
        longer[extension.removesuffix(ending)][ending] = member
    return longer


def _sample_of(parts: Parts, labels: _Labels, tar: str) -> Sample:
    images = _images_of(parts)
    if len(images) > 1:
        raise _two_images(tar, *(parts[ending].name for ending in images[:2]))
    label, class_name = labels.of(parts)
    first = next(iter(parts.values()))
    if not images:
        return Sample(first.name, None, label, class_name, _why_without_image(parts))
    image = parts[images[0]]
    if image.broken:
        return Sample(image.name, None, label, class_name, f"samples whose image is {image.broken}")
    if label is None:
        return Sample(image.name, None, None, class_name, "samples without a label")
    return Sample(image.name, image, label, class_name)


def _image_twice(tar: str, first: str, second: str) -> InputError:
    if first != second:
        return _two_images(tar, first, second)
    return InputError(f"{tar}: key {quoted_name(second)} appears twice; keys must be unique")


def _two_images(tar: str, first: str, second: str) -> InputError:
    return InputError(
        f"{tar}: {shown_name(first)} and {shown_name(second)} are two images of one key (names up to the first dot), "
        "so it is unclear which is meant; keep one, or name others like KEY.mask.png beside KEY.jpg"
    )


def _why_without_image(parts: Mapping[str, Member]) -> str:
    endings = sorted({PurePosixPath(member.name).suffix for name, member in parts.items() if name not in CAPTIONS})
    known = [ending for ending in endings if ending]
    if not known:
        return "samples without an image"
    return f"samples without an image of a known ending (with {shown_name(known[0])})"


def _images_of(parts: Parts) -> list[str]:
    """Returns the endings that are an image ending and nothing else, or if there is none, all that end in one."""
    images = [ending for ending in parts if _is_image(ending)]
    return [ending for ending in images if "." not in ending] or images


def _is_image(extension: str) -> bool:
    return f".{extension.rpartition('.')[2]}" in IMAGE_SUFFIXES
