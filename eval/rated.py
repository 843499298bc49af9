"""Rated data sets by name: where one is, how it is read, which of its rows are taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pim.errors import DataError, UsageError, check_known

if TYPE_CHECKING:
    from pim.datasets.dataset import Dataset, Record
    from pim.eval.judgements import Plan
    from pim.eval.run import Advance

Made = TypeVar("Made")
LOOKED_AT = 200_000  # rows; the sizes of pictures of larger sets are not looked at beforehand
IMAGENET_C = ("imagenet-c", "tiny-imagenet-c")
NAMES = ("bapps", "tid2013", *IMAGENET_C, "kadid10k", "csiq", "live", "pipal", "table")


def from_json(kind: type[Made], content: Mapping[str, Any]) -> Made:
    """An instance of a dataclass from JSON of its fields; lists become tuples."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()})


class Progress(Protocol):
    """Shows how far something is."""

    def __call__(
        self, label: str, total: int, *, unit: str = "pairs", done: int = 0
    ) -> AbstractContextManager[Advance]:
        """Begin to show how the block gets on."""


@dataclass(frozen=True)
class RatedSet:
    """A data set that people rated, or whose corruptions have severities; how it is read."""

    name: str  # one of `NAMES`; "table" for your own
    path: Path  # its folder, or the table
    allow_missing: bool = False  # be content with the rows whose files are there
    higher_is_better: bool | None = None  # of a table
    images: Path | None = None  # of a table: where its paths start
    clean: Path | None = None  # of imagenet-c: the clean pictures
    generate: bool = False  # imagenet-c: corrupt the clean pictures that `path` holds
    corruptions: tuple[str, ...] = ()  # with generate: these only
    frost: Path | None = None  # with generate: the frost pictures
    tiny: bool = False  # imagenet-c: the variant of 64 x 64
    prepared: bool = False  # imagenet-c: clean pictures are cropped already
    seed: int = 20240229  # with generate: of the random numbers
    split: Literal["train", "val"] = "val"  # of bapps

    def __post_init__(self) -> None:
        """Refuse unknown names, and what belongs to another data set; text is taken for a path.

        Raises:
            UsageError: naming it.
        """
        check_known("unknown data set", [self.name], NAMES)
        for place in _PATHS:
            if isinstance(given := getattr(self, place), str):
                object.__setattr__(self, place, Path(given))
        if not isinstance(self.path, Path):
            raise UsageError(f"path must name a folder or a table; got {type(self.path).__name__}")
        for field in fields(self):
            owners = _OWNERS.get(field.name, NAMES)
            if self.name not in owners and getattr(self, field.name) != field.default:
                what = field.name.replace("_", " ")
                raise UsageError(f"{what} means nothing for {self.name}; it belongs to {owners[0]}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values with whole paths, to be noted in the run; `from_request` reads them."""
        return {name: str(v.resolve()) if isinstance(v, Path) else v for name, v in vars(self).items()}

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> RatedSet:
        """What a run noted."""
        noted = request["source"]
        paths = {name: noted[name] and Path(noted[name]) for name in _PATHS}
        return from_json(cls, {**noted, **paths})


_PATHS = ("path", "images", "clean", "frost")
_OWNERS = {
    "higher_is_better": ("table",),
    "images": ("table",),
    "split": ("bapps",),
    **dict.fromkeys(("clean", "generate", "corruptions", "frost", "tiny", "prepared"), IMAGENET_C),
}


@dataclass(frozen=True)
class Selection:
    """Which rows to take; empty: all."""

    subsets: tuple[str, ...] = ()
    distortions: tuple[str, ...] = ()
    levels: tuple[int, ...] = ()

    def keep(self) -> Callable[[Record], bool] | None:
        """The filter; None if everything is taken."""
        if not (self.subsets or self.distortions or self.levels):
            return None
        return lambda record: (
            (not self.subsets or not set(self.subsets).isdisjoint(record.subsets))
            and (not self.distortions or record.distortion in self.distortions)
            and (not self.levels or record.level in self.levels)
        )


EVERYTHING = Selection()


def datasets(asked: RatedSet) -> list[Dataset]:
    """Read the labels of a data set and compare them with its files; no picture is opened.

    Returns:
        One data set; for BAPPS the halves that are there. Ask `require_whole` before scoring.

    Raises:
        UsageError: if an option does not fit.
        ManifestError: if there is no such data set at the path, or it cannot be understood.
    """
    path, variant = asked.path, "tiny-imagenet-c" if asked.tiny else asked.name
    # One reader is imported, not all.
    reader = import_module(f"pim.datasets.{'imagenet_c' if asked.name in IMAGENET_C else asked.name}")
    if asked.name == "bapps":
        same = asked.split == "val" and reader.holds(path, "jnd/val")
        found = [] if same and not reader.holds(path, "2afc/val") else [reader.read_2afc(path, asked.split)]
        return [*found, reader.read_jnd(path)] if same else found
    if asked.generate:
        from pim.datasets.corruptions import Recipe

        return [reader.generated(path, asked.corruptions, seed=asked.seed, recipe=Recipe(variant, asked.frost))]
    if asked.name in IMAGENET_C:
        return [reader.read(path, asked.clean, crop=not asked.prepared, variant=variant)]
    if asked.name == "table":
        return [reader.read(path, asked.images, asked.higher_is_better)]
    return [reader.read(path)]


def looked_at(dataset: Dataset, allow_missing: bool, watch: Progress) -> Dataset:
    """Look at the pictures of a data set before it is scored; files that turn out unreadable will fail one by one.

    Raises:
        ManifestError: if it must not be scored.
    """
    from pim.datasets.pictures import check_pictures

    dataset.require_whole(allow_missing)
    if len(dataset) <= LOOKED_AT:
        with watch("look", len(dataset), unit="rows") as advance:
            dataset = check_pictures(dataset, progress=advance)
        dataset.require_whole(allow_missing=True)
    return dataset


def plan_again(request: Mapping[str, Any], name: str) -> Plan:
    """Find the pictures of a run that was made before, by its request and the name of its data set.

    Raises:
        PimError: if the data set is no longer there.
    """
    from pim.eval.judgements import Treatment, plan_of, with_jpeg_floor

    asked = RatedSet.from_request(request)
    selection = from_json(Selection, request["selection"])
    for dataset in datasets(asked):
        if dataset.name == name:
            return plan_of(with_jpeg_floor(dataset), Treatment(**request["treatment"]), selection.keep())
    raise DataError(f"{asked.path} does not hold {name} any more")
