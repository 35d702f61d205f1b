"""The names that tars give to their class numbers, each tar possibly in a way of its own."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from rded_core.errors import InputError
from rded_core.io.sources.labels import Label, is_digits
from rded_core.io.sources.tars.samples import Sample


@dataclass(slots=True)
class Numberings:
    """The names of class numbers by tar, as their samples have them.

    Attributes:
        shared: the name of each number in the tars that agree with those before them.
        first: for each number of `shared`, the first tar that names it.
        own: the names of each other tar.
        unnamed: a tar that has numbers without names, or "".
        are_captions: whether a number has several names in one tar, so that they do not name its class.
        are_repeated: whether two numbers have one name in a tar.
    """

    shared: dict[int, str] = field(default_factory=dict[int, str])
    first: dict[int, str] = field(default_factory=dict[int, str])
    own: dict[str, dict[int, str]] = field(default_factory=dict[str, dict[int, str]])
    unnamed: str = ""
    are_captions: bool = False
    are_repeated: bool = False
    _numbers: dict[str, int] = field(default_factory=dict[str, int])

    def note(self, tar: str, samples: Iterable[Sample]) -> None:
        """Adds the names that a tar gives to its numbers."""
        names = _names_of(samples)
        self.are_captions = self.are_captions or any(len(found) > 1 for found in names.values())
        if self.are_captions:
            return
        named = {number: name for number, found in names.items() for name in found}
        self.unnamed = self.unnamed or ("" if len(named) == len(names) else tar)
        self.are_repeated = self.are_repeated or len(set(named.values())) < len(named)
        if not all(self._agrees(number, name) for number, name in named.items()):
            self.own[tar] = named
            return
        for number, name in named.items():
            self.shared.setdefault(number, name)
            self.first.setdefault(number, tar)
            self._numbers.setdefault(name, number)

    def _agrees(self, number: int, name: str) -> bool:
        if self.shared.get(number, name) != name:
            return False
        return self.are_repeated or self._numbers.get(name, number) == number

    def require_same_names(self) -> None:
        """Raises InputError unless all tars name the same classes, so that only their numbers differ."""
        known = set(self.shared.values())
        is_known = all(known.issuperset(names.values()) for names in self.own.values())
        if self.unnamed or self.are_repeated or not is_known:
            raise InputError(self._differ_message())

    def _differ_message(self) -> str:
        also = f", and {self.unnamed} has numbers without names" if self.unnamed else ""
        return (
            f"{self._two_names()}{also}; give each class one name and one number in all tars, or if only the names "
            "differ, put a classes.json beside them"
        )

    def _two_names(self) -> str:
        """Describes the first number that two tars name differently."""
        seen = {number: (name, self.first[number]) for number, name in self.shared.items()}
        for tar, names in self.own.items():
            for number, name in names.items():
                earlier, first = seen.setdefault(number, (name, tar))
                if earlier != name:
                    return f"{first} names class {number} {earlier!r}, {tar} names it {name!r}"
        return "tars name their class numbers differently"


def _names_of(samples: Iterable[Sample]) -> dict[int, set[str]]:
    """Returns the names that samples with an image give to their class numbers."""
    names: defaultdict[Label, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.image is not None and sample.label is not None:
            names[sample.label].update([sample.class_name] if sample.class_name else [])
    numbers: defaultdict[int, set[str]] = defaultdict(set)
    for label, found in names.items():
        if is_digits(str(label)):
            numbers[int(label)] |= found
    return numbers
