"""forgotten.json: images that a run must never use again; and the note of a forgetting that has not ended."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from rded_core.errors import InputError
from rded_core.io.formats.sealed import DamagedRecord, digest_of, read_sealed, seal
from rded_core.io.layout.run import RunFolder
from rded_core.io.storage.atomic import write_text
from rded_core.io.storage.files import told_plainly


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is to be left out.

    Attributes:
        sha256: digests of the images.
        by_class: class folder to the digests, among them, of images that were its candidates, sorted.
    """

    sha256: frozenset[str] = frozenset()
    by_class: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def mark_of_class(self, folder: str) -> str:
        """Returns one digest over what a class's candidates are without, no text for nothing.

        It is what records hold: nothing but this list names a forgotten image.
        """
        digests = self.by_class.get(folder)
        return digest_of(digests) if digests else ""


def read_forgotten(run: RunFolder) -> Forgotten:
    """Reads what a run must leave out, from the copy where the list is gone; a control leaves out what its owner does.

    Raises:
        InputError: the file is damaged: to go on could bring back what was to be forgotten.
    """
    owner = run.owner or run
    path = owner.forgotten if owner.forgotten.exists() else owner.forgotten_copy
    try:
        content = read_sealed(path)
        return Forgotten(frozenset(content["sha256"]), content["by_class"])
    except FileNotFoundError:
        return Forgotten()
    except (OSError, DamagedRecord, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); rded repair {run.root} mends it from its copy") from error


def write_forgotten(run: RunFolder, forgotten: Forgotten) -> None:
    """Writes the list, and its copy in ``work/``."""
    text = seal({"sha256": sorted(forgotten.sha256), "by_class": forgotten.by_class})
    write_text(run.forgotten_copy, text)
    write_text(run.forgotten, text)


@dataclass(frozen=True, slots=True)
class Begun:
    """What a forgetting is about that was begun and has not ended: by then nothing else may know its images' names.

    Attributes:
        images: SHA-256 of the images asked for to the URIs under which they are known.
        uris: of images that were candidates, of those forgotten earlier too.
    """

    images: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    uris: list[str] = field(default_factory=list[str])


def is_forgetting(run: RunFolder) -> bool:
    """Tells whether a forgetting was begun and has not ended."""
    return run.forgetting.exists()


def read_begun(run: RunFolder) -> Begun:
    """Reads what a forgetting that has not ended is about; nothing where none is.

    Raises:
        InputError: its note is damaged: to go on without it could end a forgetting with nothing forgotten.
    """
    try:
        return Begun(**read_sealed(run.forgetting))
    except FileNotFoundError:
        return Begun()
    except (OSError, DamagedRecord, TypeError) as error:
        raise InputError(f"{run.forgetting} is damaged: {how_to_forget_again(run)}") from error


def how_to_forget_again(run: RunFolder) -> str:
    """Says what to do where nothing tells any more which images a forgetting that was interrupted is about."""
    return (
        "nothing else knows all images that the forgetting which was interrupted is about; delete the file, then name "
        f"them again: rded forget {run.root} --source IMAGE (those in {run.forgotten.name} by their SHA-256)"
    )


def begin_forgetting(run: RunFolder, images: Mapping[str, Collection[str]], uris: Collection[str]) -> None:
    """Notes what is about to be forgotten, beside what a forgetting that has not ended is about."""
    begun = read_begun(run)
    known = {digest: sorted({*images.get(digest, ()), *begun.images.get(digest, ())}) for digest in images}
    write_text(run.forgetting, seal({"images": {**begun.images, **known}, "uris": sorted({*uris, *begun.uris})}))


def end_forgetting(run: RunFolder, images: Collection[str]) -> None:
    """Takes images out of the note, the last ones with the note: nothing of them is left but their digests."""
    begun = read_begun(run)
    if rest := {digest: uris for digest, uris in begun.images.items() if digest not in images}:
        write_text(run.forgetting, seal({"images": rest, "uris": begun.uris}))
        return
    with told_plainly(run.forgetting):
        run.forgetting.unlink(missing_ok=True)
