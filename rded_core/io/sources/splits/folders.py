"""The folder of images that holds a split's classes, among the folders at the top of a source."""

import re
from collections.abc import Collection, Mapping

from rded_core.errors import InputError
from rded_core.io.sources.names import SPLIT_FILLERS, SPLIT_KINDS, SPLIT_NAMES, UNLABELLED_WORDS, words_in
from rded_core.io.sources.splits.words import (
    PURPOSES,
    are_unclear,
    deciding_words,
    parts_of,
    spell_splits,
    split_word,
    split_words,
)

NUMBER = re.compile(r"\d+")


def words_of_folders(tops: Collection[str]) -> dict[str, set[str]]:
    """Returns the split words of the folders that have any; words that others have another split in place of decide."""
    spelled = spell_splits(sorted(tops))
    deciding = deciding_words(spelled)
    words = {top: deciding[top] or split_words(text) for top, text in spelled.items()}
    return {top: found for top, found in words.items() if found}


def split_folder(tops: Mapping[str, Collection[str]], *, spec: str, split: str) -> str:
    """Returns the folder of the requested split, or "" if the folders are classes.

    A folder with a split word that holds images but no folders is a class if others beside it are. Folders beside the
    splits that have no split word hold images without classes.

    Args:
        tops: the folders that hold images, each with the names of its subfolders that do ("" for the folder itself).
        spec: as the user wrote it.
        split: ``train`` or ``val``.

    Raises:
        InputError: it is unclear which folders are splits, or the requested one is missing or has no class folders.
    """
    words = words_of_folders(tops)
    unlabelled = {top for top in tops if top not in words and _is_unlabelled(top, tops[top])}
    others = sorted(set(tops) - set(words) - unlabelled)
    rests = _without_splits(tops)
    whole = {top for top in words if not rests[top] and all(len(year) == 4 for year in NUMBER.findall(top))}
    named = whole | _named_alike(words, unlabelled, rests)
    parted = [top for top in words if any(tops[top])]
    if not parted and (not named or len(others) > int(are_unclear(word for top in named for word in words[top]))):
        return ""
    wrapped = any(set(tops[top]) == {top} for top in parted)  # seg_train/seg_train/CLASS is surely a split
    certain = wrapped or not named.isdisjoint(parted or words) or _share_classes(parted, tops, words)
    if others and not certain:
        return ""
    if others or (unlabelled and not certain):
        raise InputError(
            f"{spec} holds splits ({', '.join(words)}) and other folders "
            f"({', '.join((others or sorted(unlabelled))[:5])}), so its classes are unclear; give the folder whose "
            f"subfolders are the classes, e.g. {spec}/{min(parted or words)}, or rename {min(words)} if it is a class"
        )
    if parted and not any(top.lower() in PURPOSES for top in words):
        _require_one_set(words, rests, spec)
    return _choose(words, tops, spec=spec, split=split) if tops else ""


def _is_unlabelled(top: str, inner: Collection[str]) -> bool:
    """Whether a folder is named after images without classes, and holds no folders."""
    return not any(inner) and not UNLABELLED_WORDS.isdisjoint(words_in(top))


def _named_alike(
    words: Mapping[str, set[str]], unlabelled: Collection[str], rest_of: Mapping[str, tuple[str, ...]]
) -> set[str]:
    """Returns the folders that differ only by the split from one of the other split, or from an unlabelled one."""
    rests = {purpose: {rest_of[top] for top in _of_purpose(words, purpose)} for purpose in SPLIT_NAMES}
    alike = set[tuple[str, ...]].intersection(*rests.values()) | {rest_of[top] for top in unlabelled}
    return {top for top in words if rest_of[top] in alike}


def _of_purpose(words: Mapping[str, set[str]], purpose: str) -> list[str]:
    return [top for top, found in words.items() if found.intersection(SPLIT_NAMES[purpose])]


def _require_one_set(words: Mapping[str, set[str]], rest_of: Mapping[str, tuple[str, ...]], spec: str) -> None:
    """Raises InputError if names differ by more than the split: ``bullet_train`` and ``test_tube`` may be classes."""
    rests = {purpose: {rest_of[top]: top for top in _of_purpose(words, purpose)} for purpose in SPLIT_NAMES}
    train, val = rests["train"], rests["val"]
    if train and val and not train.keys() & val.keys():
        first, second = next(iter(train.values())), next(iter(val.values()))
        raise InputError(
            f"{spec}: {first} and {second} may be splits or classes; if they are splits, give the one you mean, e.g. "
            f"{spec}/{first}, and if they are classes, rename them"
        )


def _without_splits(tops: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Returns the parts of each name that say something else than a split."""
    plain = SPLIT_FILLERS | UNLABELLED_WORDS
    return {
        top: tuple(part for part in parts_of(name) if part not in plain and not split_word(part))
        for top, name in spell_splits(tops).items()
    }


def _share_classes(
    parted: list[str], tops: Mapping[str, Collection[str]], words_of: Mapping[str, Collection[str]]
) -> bool:
    """Whether folders for training and for validation have subfolders of the same name."""
    by_purpose = {
        purpose: {name for top in parted for name in tops[top] if set(words_of[top]).intersection(words)}
        for purpose, words in SPLIT_NAMES.items()
    }
    return bool(set[str].intersection(*by_purpose.values()) - {""})


def _choose(words: Mapping[str, set[str]], tops: Mapping[str, Collection[str]], *, spec: str, split: str) -> str:
    """Returns the folder that is named after the split; an earlier kind in `SPLIT_KINDS` is preferred."""
    for kind in SPLIT_KINDS[split]:
        matches = sorted(top for top in words if words[top].intersection(kind))
        is_flat = not any(map(any, (tops[top] for top in matches)))
        if (len(matches) > 1 and not is_flat) or (matches and are_unclear(words[matches[0]])):
            raise InputError(
                f"{spec}: {', '.join(matches)} could be its {split} split; give the one you mean, e.g. "
                f"{spec}/{matches[0]}"
            )
        if matches and is_flat:
            raise InputError(
                f"{spec}/{matches[0]} holds images but no class folders, so their classes are unknown; sort them into "
                f"{spec}/{matches[0]}/CLASS/"
            )
        if matches:
            return matches[0]
    raise InputError(
        f"{spec} holds the splits {', '.join(sorted(words))} but no {SPLIT_NAMES[split][0]!r}; give the folder "
        f"itself, e.g. {spec}/{min(words)}"
    )
