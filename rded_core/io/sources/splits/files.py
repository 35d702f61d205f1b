"""The files of a split, by the words in their names and in those of their folders."""

from collections.abc import Collection, Iterable, Mapping

from rded_core.errors import InputError
from rded_core.io.sources.names import SPLIT_KINDS, SPLIT_NAMES, UNLABELLED_WORDS, words_in
from rded_core.io.sources.splits.words import (
    PURPOSES,
    SEPARATORS,
    SplitPlace,
    are_unclear,
    deciding_words,
    parts_of,
    spell_splits,
    split_places,
    split_word,
    split_words,
)


def files_of_split(paths: list[str], split: str) -> list[str]:
    """Returns the files named after a split or in a folder named after it; failing that, those that name no split.

    A split word is any part of a name between ``-``, ``_`` and ``.``, or cut off by capitals, with or without a number
    (``val2017``) or a word such as ``set`` after it. Words that others have another split in place of go first, then
    one that begins the file's name or is a whole folder's name. Files named after images without labels
    (``unsupervised.parquet``) belong to no split if others name splits.

    Raises:
        InputError: every file belongs to a different split, or one to several; or only some names hold words of one
            split, and all of them inside (``toy-train.tar`` beside ``car.tar``).
    """
    words = _words_by_path(paths)
    _require_clear_names(words, split)
    for kind in SPLIT_KINDS[split]:
        if chosen := [path for path in paths if words[path].intersection(kind)]:
            return chosen
    are_split = any(words.values())
    unnamed = [path for path in paths if not (words[path] or (are_split and _is_unlabelled(path)))]
    if not unnamed:
        raise InputError(
            f"no file of the split {split!r} among {', '.join(paths[:5])}; name files or folders after it, or "
            f"{_give(paths)}"
        )
    return unnamed


def _is_unlabelled(path: str) -> bool:
    return any(not UNLABELLED_WORDS.isdisjoint(words_in(part)) for part in path.split("/"))


def _give(paths: Iterable[str]) -> str:
    """Returns how to give some files without regard to their names; tables have no patterns."""
    pattern = "" if any(path.endswith(".parquet") for path in paths) else ", or a pattern that ends in .tar"
    return f"give the ones you mean: a folder that holds only them{pattern}"


def _require_clear_names(words: Mapping[str, set[str]], split: str) -> None:
    named = [path for path, found in words.items() if found]
    others = [path for path, found in words.items() if not found]
    if not named or not others or any(map(_begins_with_split, named)):
        return
    if not are_unclear(word for path in named for word in words[path]):
        raise InputError(
            f"{named[0]} may be of the split {min(words[named[0]])!r}, but {others[0]} names none, so it is unclear "
            f"which files are the split {split!r}; name all after their split, or {_give(words)}"
        )


def _begins_with_split(path: str) -> bool:
    *folders, base = path.split("/")
    first = next(filter(None, SEPARATORS.split(base.lower())), "")  # capitals alone are not certain: TestTube.tar
    return any(map(split_word, (*map(str.lower, folders), first)))


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


def _words_by_path(paths: list[str]) -> dict[str, set[str]]:
    """Returns the split words of each path: those that decide, failing that `_words_of` without those of all paths.

    Raises:
        InputError: a path names several splits.
    """
    spelled = spell_splits(paths)
    deciding = deciding_words(spelled)
    words = _without_common({path: deciding[path] or _words_of(spelled[path]) for path in paths})
    own = _words_of_their_own(spelled)
    for path, found in words.items():
        is_contradicted = are_unclear(own[path]) and not _begins_with_one_of(spelled[path], deciding[path])
        if are_unclear(found) or (deciding[path] and is_contradicted):
            raise _several_splits(path, found | own[path])
    _require_first_words_decide(words, own)
    return words


def _without_common(words: dict[str, set[str]]) -> dict[str, set[str]]:
    """Returns the words of each path without those of all paths, if some path has words of both purposes."""
    unclear = next((path for path, found in words.items() if are_unclear(found)), None)
    if unclear is None:
        return words
    common = set[str].intersection(*words.values())
    rest = {path: found - common for path, found in words.items()}
    if common and rest[unclear] and not all(rest.values()):  # train/crash-test-0 beside train/car-0
        raise _several_splits(unclear, words[unclear])
    return rest


def _words_of_their_own(spelled: Mapping[str, str]) -> dict[str, set[str]]:
    """Returns the split words of each path but for those that all paths with such words have in the same place."""
    places = {path: {_place(each) for each in split_places(text)} for path, text in spelled.items()}
    named = [found for found in places.values() if found]
    shared = named[0].intersection(*named) if named else set[tuple[int, int, str]]()
    return {path: {word for _, _, word in found - shared} for path, found in places.items()}


def _place(found: SplitPlace) -> tuple[int, int, str]:
    return found.depth, found.part, found.word


def _begins_with_one_of(path: str, words: Collection[str]) -> bool:
    """Whether a file's name begins with a split word of the same purpose as `words`."""
    first = _first_word(path)
    return bool(first) and not are_unclear({first, *words})


def _require_first_words_decide(words: Mapping[str, set[str]], own: Mapping[str, set[str]]) -> None:
    """Raises InputError if names begin alike and differ in a later split: ``train-a-train`` and ``train-b-val``."""
    if are_unclear(word for found in own.values() for word in found):
        for path, found in own.items():
            if not are_unclear(found) and are_unclear(found | words[path]):
                raise _several_splits(path, found | words[path])


def _several_splits(path: str, words: Collection[str]) -> InputError:
    return InputError(
        f"{path} names several splits ({', '.join(sorted(words))}); name files or folders after one split, or "
        f"{_give([path])}"
    )


def _words_of(path: str) -> set[str]:
    """Returns the split words of a file: those in its name, and if none is its first word, of the nearest folder."""
    *folders, base = path.split("/")
    if word := _first_word(path):
        return {word}
    whole = next(({word} for folder in reversed(folders) if (word := _whole_word(folder))), set[str]())
    if found := split_words(base) | whole:
        return found
    return next((found for folder in reversed(folders) if (found := split_words(folder))), set[str]())


def _first_word(path: str) -> str:
    """Returns the split word that a file's name begins with, or ""."""
    return _whole_word(next(iter(parts_of(path.rpartition("/")[2])), ""))


def _whole_word(folder: str) -> str:
    """Returns the split word that a folder is named after, if it names nothing else and no number, or ""."""
    return "" if folder[-1:].isdigit() else split_word(folder.lower())
