"""forgotten.json: images that a run must never use again; and the note of an unfinished ``rded forget``."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rded_core.errors import InputError
from rded_core.io.formats.sealed import DamagedRecord, digest_of, read_sealed, seal
from rded_core.io.layout.run import RunFolder
from rded_core.io.storage.atomic import write_text
from rded_core.io.storage.files import os_errors_as_input_errors


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Images that a run must leave out.

    Attributes:
        sha256: digests of the images.
        by_class: class folder to the digests, among them, of images that were its candidates, sorted.
    """

    sha256: frozenset[str] = frozenset()
    by_class: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def mark_of_class(self, folder: str) -> str:
        """Returns one digest of the images that a class's candidates leave out; empty if there are none.

        Records hold this digest, since only this list may name a forgotten image.
        """
        digests = self.by_class.get(folder)
        return digest_of(digests) if digests else ""


def read_forgotten(run: RunFolder) -> Forgotten:
    """Reads what a run must leave out, from the copy if the list is missing; a control leaves out what its owner does.

    Raises:
        InputError: the file is damaged: continuing could bring back forgotten images.
    """
    owner = run.owner or run
    path = owner.forgotten if owner.forgotten.exists() else owner.forgotten_copy
    try:
        content = read_sealed(path)
        return Forgotten(frozenset(content["sha256"]), content["by_class"])
    except FileNotFoundError:
        return Forgotten()
    except (OSError, DamagedRecord, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); restore it from its copy: rded repair {run.root}") from error


def write_forgotten(run: RunFolder, forgotten: Forgotten) -> None:
    """Writes the list, and its copy in ``work/``."""
    text = seal({"sha256": sorted(forgotten.sha256), "by_class": forgotten.by_class})
    write_text(run.forgotten_copy, text)
    write_text(run.forgotten, text)


@dataclass(frozen=True, slots=True)
class Begun:
    """Images of an unfinished ``rded forget``; their names may no longer be recorded anywhere else.

    Attributes:
        images: SHA-256 of each image to forget, to the URIs under which it is known.
        uris: URIs of images that were candidates, including those forgotten earlier.
    """

    images: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    uris: list[str] = field(default_factory=list[str])


def is_forgetting(run: RunFolder) -> bool:
    """Returns True if an ``rded forget`` was started and has not finished."""
    return run.forgetting.exists()


def read_begun(run: RunFolder) -> Begun:
    """Reads the note of an unfinished ``rded forget``; empty if it does not exist.

    Raises:
        InputError: the note is damaged: continuing without it could finish with nothing forgotten.
    """
    try:
        return Begun(**read_sealed(run.forgetting))
    except FileNotFoundError:
        return Begun()
    except (OSError, DamagedRecord, TypeError) as error:
        raise InputError(f"{run.forgetting} is damaged: {how_to_forget_again(run)}") from error


def how_to_forget_again(run: RunFolder) -> str:
    """Returns the remedy if the list of images of an interrupted ``rded forget`` is lost."""
    return (
        "no other file lists all images of the interrupted rded forget; delete the file, then name "
        f"them again: rded forget {run.root} --source IMAGE (those in {run.forgotten.name} by their SHA-256)"
    )


def begin_forgetting(run: RunFolder, images: Mapping[str, Collection[str]], uris: Collection[str]) -> None:
    """Notes what is about to be forgotten, in addition to the images of an unfinished ``rded forget``."""
    begun = read_begun(run)
    merged = {digest: sorted({*images.get(digest, ()), *begun.images.get(digest, ())}) for digest in images}
    write_text(run.forgetting, seal({"images": {**begun.images, **merged}, "uris": sorted({*uris, *begun.uris})}))


def end_forgetting(run: RunFolder, images: Collection[str]) -> None:
    """Removes images from the note, and the note with the last ones: only their digests remain."""
    begun = read_begun(run)
    if rest := {digest: uris for digest, uris in begun.images.items() if digest not in images}:
        write_text(run.forgetting, seal({"images": rest, "uris": begun.uris}))
        return
    with os_errors_as_input_errors(run.forgetting):
        run.forgetting.unlink(missing_ok=True)
