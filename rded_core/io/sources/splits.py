"""The split that a file or folder belongs to, by the words in its name."""

import re
from collections.abc import Collection, Iterable, Mapping

from rded_core.errors import InputError
from rded_core.io.sources.names import SPLIT_FILLERS, SPLIT_KINDS, SPLIT_NAMES, UNLABELLED_WORDS, words_in

PURPOSES = {word: purpose for purpose, words in SPLIT_NAMES.items() for word in words}
"""Purpose (train or val) of each split word."""

SPLIT_PART = re.compile(rf"({'|'.join(PURPOSES)})\d*(?:{'|'.join(sorted(SPLIT_FILLERS))})?\d*")
"""A part of a name that names a split: ``train``, ``train2017``, ``trainset``."""

NUMBER = re.compile(r"\d+")

GIVE = "give the ones you mean: a folder that holds only them, or a pattern that ends in .tar"


def files_of_split(paths: list[str], split: str) -> list[str]:
    """Returns the files named after a split or in a folder named after it; failing that, those that name no split.

    A split word is any part of a name between ``-``, ``_`` and ``.``, with or without a number (``val2017``) or a word
    such as ``set`` after it. One that begins the file's name or is a whole folder's name goes before others.

    Raises:
        InputError: every file belongs to a different split, or one to several; or only some names hold words of one
            split, and all of them inside (``toy-train.tar`` beside ``car.tar``).
    """
    words = _words_by_path(paths)
    _require_clear_names(words, split)
    for kind in SPLIT_KINDS[split]:
        if chosen := [path for path in paths if words[path].intersection(kind)]:
            return chosen
    unnamed = [path for path in paths if not words[path]]
    if not unnamed:
        raise InputError(
            f"no file of the split {split!r} among {', '.join(paths[:5])}; name files or folders after it, or {GIVE}"
        )
    return unnamed


def _require_clear_names(words: Mapping[str, set[str]], split: str) -> None:
    named = [path for path, found in words.items() if found]
    others = [path for path, found in words.items() if not found]
    if not named or not others or any(map(_begins_with_split, named)):
        return
    if not _is_unclear(word for path in named for word in words[path]):
        raise InputError(
            f"{named[0]} may be of the split {min(words[named[0]])!r}, but {others[0]} names none, so it is unclear "
            f"which files are the split {split!r}; name all after their split, or {GIVE}"
        )


def _begins_with_split(path: str) -> bool:
    *folders, base = path.lower().split("/")
    return any(map(_split_word, (*folders, *words_in(base)[:1])))


def files_without_split(paths: list[str]) -> list[str]:
    """Returns the files that no split word is found for."""
    words = _words_by_path(paths)
    return [path for path in paths if not words[path]]


def unsplit_files(paths: list[str], chosen: Collection[str]) -> list[str]:
    """Returns the files without a split word that are not among the `chosen` ones, sorted."""
    return sorted(set(files_without_split(paths)) - set(chosen))


def holds_splits(paths: list[str]) -> bool:
    """Whether some of the files are for training and others for validation."""
    words = _words_by_path(paths)
    return {PURPOSES[word] for found in words.values() for word in found} == set(SPLIT_NAMES)


def split_words(name: str) -> set[str]:
    """Returns the split words in the parts of a name: ``train`` of ``seg_train``, ``train2017`` and ``trainset``."""
    return set(filter(None, map(_split_word, words_in(name))))


def _split_word(part: str) -> str:
    """Returns the split word that a part of a name consists of, without what is joined to it, or ""."""
    match = SPLIT_PART.fullmatch(part)
    return match[1] if match else ""


def _words_by_path(paths: list[str]) -> dict[str, set[str]]:
    """Returns the split words of each path; of a path with words of both purposes, those not common to all paths."""
    words = {path: _words_of(path) for path in paths}
    common = set[str].intersection(*words.values()) if words else set[str]()
    for path, found in words.items():
        if _is_unclear(found):
            words[path] = found - common
        if _is_unclear(words[path]):
            raise InputError(
                f"{path} names several splits ({', '.join(sorted(found))}); name files or folders after one split"
            )
    return words


def _words_of(path: str) -> set[str]:
    """Returns the split words of a file: those in its name, and if none is its first word, of the nearest folder."""
    *folders, base = path.lower().split("/")
    first = base.split(".")[0].split("-")[0].split("_")[0]
    if word := _whole_word(first):
        return {word}
    whole = next(({word} for folder in reversed(folders) if (word := _whole_word(folder))), set[str]())
    if found := split_words(base) | whole:
        return found
    return next((found for folder in reversed(folders) if (found := split_words(folder))), set[str]())


def _whole_word(folder: str) -> str:
    """Returns the split word that a folder is named after, if it names nothing else and no number, or ""."""
    return "" if folder[-1:].isdigit() else _split_word(folder)


def _is_unclear(words: Iterable[str]) -> bool:
    return len({PURPOSES[word] for word in words}) > 1


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
    words = {top: found for top in sorted(tops) if (found := split_words(top))}
    unlabelled = {top for top in tops if top not in words and _is_unlabelled(top, tops[top])}
    others = sorted(set(tops) - set(words) - unlabelled)
    whole = {top for top in words if not _without_split(top) and all(len(year) == 4 for year in NUMBER.findall(top))}
    named = whole | _named_alike(words, unlabelled)
    parted = [top for top in words if any(tops[top])]
    if not parted and (not named or len(others) > int(_is_unclear(word for top in named for word in words[top]))):
        return ""
    wrapped = any(set(tops[top]) == {top} for top in parted)  # seg_train/seg_train/CLASS is surely a split
    certain = wrapped or not named.isdisjoint(parted or words) or _share_classes(parted, tops)
    if others and not certain:
        return ""
    if others or (unlabelled and not certain):
        raise InputError(
            f"{spec} holds splits ({', '.join(words)}) and other folders "
            f"({', '.join((others or sorted(unlabelled))[:5])}), so its classes are unclear; give the folder whose "
            f"subfolders are the classes, e.g. {spec}/{min(parted or words)}, or rename {min(words)} if it is a class"
        )
    if parted and not any(top.lower() in PURPOSES for top in words):
        _require_one_set(words, spec)
    return _choose(words, tops, spec=spec, split=split) if tops else ""


def _is_unlabelled(top: str, inner: Collection[str]) -> bool:
    """Whether a folder is named after images without classes, and holds no folders."""
    return not any(inner) and not UNLABELLED_WORDS.isdisjoint(words_in(top))


def _named_alike(words: Mapping[str, set[str]], unlabelled: Collection[str]) -> set[str]:
    """Returns the folders that differ only by the split from one of the other split, or from an unlabelled one."""
    rests = {purpose: {_without_split(top) for top in _of_purpose(words, purpose)} for purpose in SPLIT_NAMES}
    alike = set[tuple[str, ...]].intersection(*rests.values()) | {_without_split(top) for top in unlabelled}
    return {top for top in words if _without_split(top) in alike}


def _of_purpose(words: Mapping[str, set[str]], purpose: str) -> list[str]:
    return [top for top, found in words.items() if found.intersection(SPLIT_NAMES[purpose])]


def _require_one_set(words: Mapping[str, set[str]], spec: str) -> None:
    """Raises InputError if names differ by more than the split: ``bullet_train`` and ``test_tube`` may be classes."""
    rests = {purpose: {_without_split(top): top for top in _of_purpose(words, purpose)} for purpose in SPLIT_NAMES}
    train, val = rests["train"], rests["val"]
    if train and val and not train.keys() & val.keys():
        first, second = next(iter(train.values())), next(iter(val.values()))
        raise InputError(
            f"{spec}: {first} and {second} may be splits or classes; if they are splits, give the one you mean, e.g. "
            f"{spec}/{first}, and if they are classes, rename them"
        )


def _without_split(name: str) -> tuple[str, ...]:
    """Returns the parts of a name that say something else than a split."""
    plain = SPLIT_FILLERS | UNLABELLED_WORDS
    return tuple(part for part in words_in(name) if part not in plain and not _split_word(part))


def _share_classes(parted: list[str], tops: Mapping[str, Collection[str]]) -> bool:
    """Whether folders for training and for validation have subfolders of the same name."""
    by_purpose = {
        purpose: {name for top in parted for name in tops[top] if split_words(top).intersection(words)}
        for purpose, words in SPLIT_NAMES.items()
    }
    return bool(set[str].intersection(*by_purpose.values()) - {""})


def _choose(words: Mapping[str, set[str]], tops: Mapping[str, Collection[str]], *, spec: str, split: str) -> str:
    """Returns the folder that is named after the split; an earlier kind in `SPLIT_KINDS` is preferred."""
    for kind in SPLIT_KINDS[split]:
        matches = sorted(top for top in words if words[top].intersection(kind))
        if len(matches) > 1 or (matches and _is_unclear(words[matches[0]])):
            raise InputError(
                f"{spec}: {', '.join(matches)} could be its {split} split; give the one you mean, e.g. "
                f"{spec}/{matches[0]}"
            )
        if matches and not any(tops[matches[0]]):
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
