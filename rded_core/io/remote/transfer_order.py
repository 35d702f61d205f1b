"""Files of a run by their POSIX paths from there: which are sent to a URL, in what order, and which a task needs."""

from collections.abc import Callable, Collection
from enum import Enum
from itertools import pairwise
from pathlib import Path

from rded_core.io.layout.dataset import DatasetFolder
from rded_core.io.layout.run import LOCK_NAME, RunFolder, stage_and_unit
from rded_core.io.layout.units import block_name


class SendOrder(Enum):
    """In which order files of a run are sent to a URL: each may be believed only once those before it are there."""

    NOTES, OUTPUTS, RECORDS, SUMS = range(4)


_RUN = RunFolder(Path())

NOTES_TO_FORGET = tuple(path.as_posix() for path in (_RUN.forgotten, _RUN.forgotten_copy, _RUN.forgetting))
"""Paths of the notes of what must never be used again: they go before all else."""

SUMS_NAME = DatasetFolder(Path()).sums.name

BEING_MADE = tuple(path.parts for path in (_RUN.staged_dataset, _RUN.replaced_dataset))


def send_order(path: str) -> SendOrder:
    """Returns when a file of a run, by its POSIX path from there, is sent."""
    if path in NOTES_TO_FORGET:
        return SendOrder.NOTES
    if path.endswith(".json"):
        return SendOrder.RECORDS
    return SendOrder.SUMS if path.rpartition("/")[2] == SUMS_NAME else SendOrder.OUTPUTS


def sums_beside(path: str) -> str:
    """Returns the checksums of the dataset that a file of a run is part of; nothing for others, and the checksums."""
    dataset = f"/{_RUN.dataset.name}/"
    above, found, _ = f"/{path}".partition(dataset)
    is_other = not found or send_order(path) is SendOrder.SUMS
    return "" if is_other else f"{above}{dataset}{SUMS_NAME}".lstrip("/")


def is_sent(path: str) -> bool:
    """Tells whether a file of a run goes to a URL: no lock does, nor a dataset that is being put together.

    What leads out of the run folder is no file of it.
    """
    parts = path.split("/")
    is_being_made = any(pair in BEING_MADE for pair in pairwise(parts))
    return parts[-1] != LOCK_NAME and not is_being_made and not {"", ".", ".."} & {*parts} and "\\" not in path


def class_files(units: Collection[str]) -> Callable[[str], bool]:
    """Picks the files of some classes, whatever the stage."""
    return lambda path: stage_and_unit(path)[1] in units


def label_files_of(block: range) -> Callable[[str], bool]:
    """Picks a block's labels, notes of what images labels were made from, and all distilled images."""
    own = (block_name(block), "images-")
    return lambda path: stage_and_unit(path)[0] == "squeeze" or stage_and_unit(path)[1].startswith(own)


def candidate_files(path: str) -> bool:
    """Picks candidates, and what networks made of them as they are."""
    return stage_and_unit(path)[0] in ("candidates", "observe")


def all_but_candidates(path: str) -> bool:
    """Picks all but the candidates' own tars, which are as large as the source's share of them."""
    return not (stage_and_unit(path)[0] == "candidates" and path.endswith(".tar"))
