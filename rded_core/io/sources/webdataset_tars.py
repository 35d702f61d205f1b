"""WebDataset tars, read in place: an index of member offsets, then ranged reads."""

import tarfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import attrgetter

from rded_core.errors import InputError
from rded_core.io.formats.shards import DamagedTarError, SparseMemberError
from rded_core.io.sources.base import NO_END_MARK, PassedOver, Source, SourceItem, name_classes
from rded_core.io.sources.labels import Label
from rded_core.io.sources.tars.members import Members
from rded_core.io.sources.tars.naming import ClassNames, name_labels, spell_labels
from rded_core.io.sources.tars.numberings import Numberings
from rded_core.io.sources.tars.samples import Sample, list_samples
from rded_core.io.storage.files import quoted_name, shown_name
from rded_core.io.storage.remote_file import open_stream
from rded_core.io.storage.stand_ins import stand_in_at
from rded_core.io.storage.urls import stamp_of


@dataclass(slots=True)
class _Found:
    """What the tars of a source hold, by label."""

    items: defaultdict[Label, list[SourceItem]] = field(default_factory=lambda: defaultdict(list))
    names: defaultdict[Label, set[str | None]] = field(default_factory=lambda: defaultdict(set))
    places: dict[Label, str] = field(default_factory=dict)
    numberings: Numberings = field(default_factory=Numberings)
    left_out: defaultdict[tuple[str, Label | None], list[tuple[str, str]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    unmarked: list[str] = field(default_factory=list[str])

    def add(self, sample: Sample, *, tar: str, stamp: int) -> None:
        """Adds a sample to its class, or to those that are left out."""
        if sample.image is None or sample.label is None:
            self.left_out[sample.problem, sample.label].append((tar, sample.name))
            return
        image = sample.image
        self.items[sample.label].append(SourceItem(sample.name, tar, image.offset, image.num_bytes, True, stamp))
        self.names[sample.label].add(sample.class_name)
        self.places.setdefault(sample.label, f"{tar}: {shown_name(sample.name)}")


def open_webdataset_tars(tars: list[str], *, spec: str) -> Source:
    """Opens tars whose samples hold an image and a label (``.cls`` or a label in ``.json``).

    Integer labels are class indices, named by a ``classes.json`` next to the tars or in the folder above; text
    labels are class names, in sorted order. Tars that number the same names differently go by the names. Samples
    without an image or a label are left out and counted.

    Raises:
        InputError: no image has a label, a key appears twice, labels are of several types, tars name a number
            differently, or a file is damaged or not a plain tar.
    """
    found = _Found()
    for tar in tars:
        stamp = stamp_of(tar)
        samples, has_end_mark = _index_tar(tar)
        for sample in samples:
            found.add(sample, tar=tar, stamp=stamp)
        found.numberings.note(tar, samples)
        if not has_end_mark:
            found.unmarked.append(shown_name(tar.rsplit("/", 1)[-1]))
    if not found.items:
        counts = Counter(problem for (problem, _), names in found.left_out.items() for _ in names)
        reasons = "".join(f"; {problem}: {count}" for problem, count in counts.items())
        raise InputError(f"{spec}: no sample holds both an image and a label (.cls, or a label in .json){reasons}")
    _check_unique([item for group in found.items.values() for item in group], spec)
    spelled = spell_labels(found.places)
    names: defaultdict[str, set[str | None]] = defaultdict(set)
    for label, text in spelled.items():
        names[text] |= found.names[label]
    classes = name_labels(list(names), names, found.numberings, tars[0])
    items: dict[str, list[SourceItem]] = {folder: [] for folder in classes.folders}
    for label, text in spelled.items():
        for tar, group in groupby(found.items[label], key=attrgetter("path")):
            items[classes.folder_of(text, tar)] += group
    return Source(
        spec=spec,
        classes=name_classes(classes.folders),
        items=tuple(tuple(sorted(group, key=lambda item: item.key)) for group in items.values()),
        is_webdataset=True,
        passed_over=_passed_over(found, classes),
    )


def _passed_over(found: _Found, classes: ClassNames) -> tuple[PassedOver, ...]:
    places: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for (problem, label), samples in found.left_out.items():
        for tar, name in samples:
            folder = "" if label is None else classes.folder_of(str(label), tar)
            place = shown_name(f"{tar.rsplit('/', 1)[-1]}: {name}")  # reports show it, so no folder of this machine
            places[problem, folder].append(place)
    unmarked = [PassedOver(NO_END_MARK, "", len(found.unmarked), found.unmarked[0])] if found.unmarked else []
    samples = [PassedOver(problem, folder, len(names), names[0]) for (problem, folder), names in places.items()]
    return (*samples, *unmarked)


def _index_tar(tar: str) -> tuple[list[Sample], bool]:
    """Returns the samples of a tar, and whether it has an end mark."""
    try:
        with open_stream(tar) as stream:
            members = Members(stream)
            return list_samples(members, tar), members.has_end_mark
    except OSError as error:
        raise InputError(f"{tar} cannot be read: {error.strerror or error}; check its permissions") from error
    except SparseMemberError as error:
        raise InputError(f"{tar} is not a plain tar ({error}); pack it again without --sparse") from error
    except DamagedTarError as error:
        raise InputError(
            f"{tar} is damaged or cut off at byte {error.at}: {error}; fetch or pack it again, or unpack it with tar "
            "--ignore-zeros if several tars were joined"
        ) from error
    except tarfile.TarError as error:
        if found := stand_in_at(tar):
            raise InputError(f"{tar} is not a plain tar: {found}") from error
        raise InputError(f"{tar} is not a plain tar ({error}); give uncompressed .tar files") from error


def _check_unique(items: list[SourceItem], spec: str) -> None:
    for before, after in pairwise(sorted(items, key=lambda item: item.key)):
        if before.key == after.key:
            raise InputError(
                f"{spec}: key {quoted_name(after.key)} appears in {before.path} and {after.path}; keys must be unique"
            )
