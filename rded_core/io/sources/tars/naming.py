"""Order and names of the classes of tars."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from rded_core.errors import InputError
from rded_core.io.sources.labels import Label, is_digits, mixed_message, unify_labels
from rded_core.io.sources.tars.numberings import Numberings
from rded_core.io.storage.remote_file import read_bytes
from rded_core.io.storage.urls import is_url


class ClassNames(NamedTuple):
    """The classes of tars.

    Attributes:
        folders: the name of each class, in class order.
        by_label: the class of each label.
        by_tar: the classes of the labels of tars that number them in another way.
    """

    folders: list[str]
    by_label: Mapping[str, str]
    by_tar: Mapping[str, Mapping[str, str]] = {}

    def folder_of(self, label: str, tar: str) -> str:
        """Returns the class of a label in a tar; a label that no image has stands for itself."""
        return self.by_tar.get(tar, self.by_label).get(label, label)


def spell_labels(places: Mapping[Label, str]) -> dict[Label, str]:
    """Returns the text of each label, in class order: by number if all are numbers, else by text.

    Args:
        places: the labels, each with the place (file and key) of a sample that has it.

    Raises:
        InputError: numbers and names are mixed so that numbers would be ordered as text, or a number has two spellings.
    """
    texts = {label: str(final) for label, final in unify_labels(places).items()}
    digits = [label for label, text in texts.items() if is_digits(text)]
    names = [label for label, text in texts.items() if not is_digits(text)]
    words = [label for label in names if not texts[label].isdigit()]
    if words and _order_differs([texts[label] for label in digits]):
        raise InputError(mixed_message(digits[0], words[0], places))
    _require_one_spelling([texts[label] for label in digits])
    order = sorted(texts, key=lambda label: texts[label] if names else int(texts[label]))
    return {label: texts[label] for label in order}


def _order_differs(digits: list[str]) -> bool:
    return sorted(digits) != sorted(digits, key=int)


def _require_one_spelling(digits: Collection[str]) -> None:
    spelled: dict[int, str] = {}
    for text in sorted(set(digits)):
        earlier = spelled.setdefault(int(text), text)
        if earlier != text:
            raise InputError(f"labels {earlier!r} and {text!r} are one number; write each number in one way")


def name_labels(
    labels: Sequence[str],
    names: Mapping[str, Collection[str | None]],
    numberings: Numberings,
    first_tar: str,
) -> ClassNames:
    """Returns the classes of labels, as named by a classes.json near the tars or by the samples.

    Numbers that differ between tars count by their names. Otherwise the labels stand for themselves unless each has
    one distinct name.

    Args:
        labels: in class order.
        names: the names that the samples of each label have.
        numberings: the names by tar.
        first_tar: the tar beside which a classes.json may lie.

    Raises:
        InputError: a classes.json names some of the labels and not others, or gives one name to two of them; or tars
            name a number differently, and not all of them name the same classes.
    """
    if folders := _names_near(first_tar, labels):
        return ClassNames(folders, dict(zip(labels, folders, strict=True)))
    differ = any(len(set(filter(None, names[label]))) > 1 for label in labels)
    if differ and not numberings.are_captions and all(map(is_digits, labels)):
        return _by_names(labels, numberings)
    sample_names = [next(iter(names[label])) for label in labels if is_digits(label) and len(names[label]) == 1]
    class_names = [name for name in sample_names if name]
    folders = class_names if len(set(class_names)) == len(labels) else list(labels)
    return ClassNames(folders, dict(zip(labels, folders, strict=True)))


def _by_names(labels: Sequence[str], numberings: Numberings) -> ClassNames:
    numberings.require_same_names()
    by_tar = {tar: _spelled(labels, names) for tar, names in numberings.own.items()}
    folders = [name for _, name in sorted(numberings.shared.items())]
    return ClassNames(folders, _spelled(labels, numberings.shared), by_tar)


def _spelled(labels: Sequence[str], names: Mapping[int, str]) -> dict[str, str]:
    return {label: names[int(label)] for label in labels if int(label) in names}


def _names_near(first_tar: str, labels: Sequence[str]) -> list[str]:
    """Returns the names in a classes.json beside the tars or above; empty if it has none of the labels."""
    folder = first_tar.rsplit("/", 1)[0] if "/" in first_tar else "."
    above = folder.rsplit("/", 1)[0] if is_url(folder) else f"{folder}/.."
    for place in (f"{folder}/classes.json", f"{above}/classes.json"):
        folders = _read_names(place)
        if folders.keys() & set(labels):
            _require_names(labels, folders, place)
            return [folders[label] for label in labels]
    return []


def _read_names(place: str) -> dict[str, str]:
    try:
        entries: list[dict[str, Any]] = json.loads(read_bytes(place))
        return {str(entry["index"]): str(entry["folder"]) for entry in entries}
    except InputError:  # the storage failed, so whether the file exists is unknown
        raise
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # missing, or in a different form
        return {}


def _require_names(labels: Sequence[str], folders: Mapping[str, str], place: str) -> None:
    if unnamed := [label for label in labels if label not in folders]:
        raise InputError(f"{place} has no class {unnamed[0]!r}, but a sample has; add it to the file or move the file")
    chosen = [folders[label] for label in labels]
    if twice := [folder for folder in chosen if chosen.count(folder) > 1]:
        raise InputError(f"{place} gives two classes the folder {twice[0]!r}; give each its own")
