"""What `pim fit` and `pim ablate` share: rated data sets, and quantities of pictures, computed once and kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.cli import common
from pim.cli.common import progress
from pim.errors import DataError, UsageError, check_known

if TYPE_CHECKING:
    from pim.datasets.dataset import Dataset
    from pim.eval.judgements import Plan
    from pim.eval.rated import Selection
    from pim.images.opener import OpenOptions
    from vggmetric.fitting.bench import Bench
    from vggmetric.fitting.cross_validation import Solver
    from vggmetric.fitting.source import VGGQuantities
    from vggmetric.head import Head

FOLDERS = ("bapps", "tid2013", "kadid10k", "csiq", "live", "pipal")

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="RATINGS...",
        help="Tables of opinions, forced choices or quadruples, folders of known data sets, or NAME=FOLDER.",
    ),
]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Fit to what is there where files are missing.")]
Split = Literal["train", "val"]
Half = Annotated[Split, typer.Option("--split", help="Of bapps: which part to fit to.")]
Backbone = Annotated[
    str,
    typer.Option("--backbone", metavar="ID", help="tv1k, oxford, oxford12 (four layers), or rand and a seed."),
]
Norm = Annotated[
    Literal["unit", "none"],
    typer.Option("--norm", help="unit: features of length 1 at each position; none: divided by one number a layer."),
]
Pool = Annotated[Literal["max", "l2"], typer.Option("--pool", help="How the network pools.")]
Prior = Annotated[
    str | None,
    typer.Option(
        "--prior",
        metavar="HEAD",
        help="The head to start from: lpips-vgg, a .safetensors file, or uniform for all layers alike; "
        "by default vgg where its backbone is used.",
    ),
]
Folds = Annotated[int, typer.Option("--folds", min=2, help="With fewer than 20 photos each is a fold.")]
Equal = Annotated[
    bool, typer.Option("--equal-sets", help="Let all data sets weigh the same, instead of by their votes.")
]
Cache = Annotated[Path | None, typer.Option("--cache", metavar="DIR", help="Where quantities are kept.")]
Draws = Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws of an interval.")]


@dataclass(frozen=True)
class Setting:
    """How to get from ratings to quantities, and which photos are held out when."""

    backbone: str
    norm: Literal["unit", "none"]
    pool: Literal["max", "l2"]
    folds: int
    equal: bool
    seed: int
    cache: Path | None
    opening: OpenOptions
    device: common.DeviceName
    workers: int
    quiet: bool
    prior: str | None = None

    @property
    def folder(self) -> Path:
        """Where quantities and fits are kept."""
        from pim.core.weights import cache_folder

        return self.cache or cache_folder() / "quantities"


def source_of(setting: Setting) -> VGGQuantities:
    """The backbone, with a word about it if its weights are random.

    Raises:
        PimError: if its weights are not here.
    """
    from vggmetric.backbone import named
    from vggmetric.fitting.source import VGGQuantities

    if named(setting.backbone).random:
        common.note(f"{setting.backbone} has random weights: what comes out is for tests and controls only")
    return VGGQuantities(setting.backbone, setting.norm, setting.pool, common.chosen_device(setting.device))


def prior_of(setting: Setting) -> tuple[str, Head] | None:
    """The head to start from; None: all layers alike.

    Raises:
        UsageError: if there is none of that name, or it is for another network.
        WeightsError: if its file is damaged.
    """
    from vggmetric.fitting.bench import UNIFORM
    from vggmetric.head import Head, locate

    name = "vgg" if setting.prior is None else setting.prior
    if name == UNIFORM:
        return None
    head = Head.read(locate(name))
    wanted = (setting.backbone, setting.norm, setting.pool)
    if (head.backbone, head.norm, head.pool) == wanted:
        return Path(name).stem, head
    if setting.prior is None:
        return None
    raise UsageError(
        f"{name} is a head for {head.backbone}, norm {head.norm}, pool {head.pool}; this fit uses {', '.join(wanted)}"
    )


def gather(plans: Sequence[Plan], source: VGGQuantities, setting: Setting) -> Bench:
    """Ratings with their quantities.

    Raises:
        PimError: if a picture cannot be used or there is too little to fit to.
    """
    from vggmetric.fitting import bench
    from vggmetric.fitting.quantities import Collecting

    how = Collecting(setting.folder, setting.opening, common.chosen_device(setting.device), setting.workers)
    pairs = sum(len(plan.pairs) for plan in plans)
    with kept(setting.folder), progress(setting.backbone, pairs, quiet=setting.quiet) as advance:
        return bench.gather(
            plans,
            source,
            how,
            prior_of(setting),
            seed=setting.seed,
            folds=setting.folds,
            equal=setting.equal,
            advance=advance,
        )


@contextmanager
def solver(bench: Bench, setting: Setting) -> Iterator[Solver]:
    """Fits by channel, which take long where there are many pictures, kept as they are made."""
    import numpy as np

    from vggmetric.fitting.arrays import Remembering, opened

    size = bench.layout.size
    with kept(setting.folder), opened(setting.folder / f"fits_{size}.sqlite", size, np.float64) as store:
        yield Remembering(store, f"{bench.content} {setting.backbone} {setting.norm} {setting.pool}")


def kept(folder: Path) -> AbstractContextManager[None]:
    """Say on Ctrl-C what is kept."""
    return common.stoppable(f"what is done is kept in {folder}")


def plans(
    paths: Sequence[str],
    images: Path | None,
    higher_is_better: bool | None,
    split: Split,
    selection: Selection,
    allow_missing: bool,
    quiet: bool,
) -> list[Plan]:
    """The picture pairs and judgements of all data sets, their files looked at.

    Raises:
        UsageError: if a path or name is none of a data set.
        ManifestError: if a data set is damaged.
    """
    from pim.eval.judgements import Treatment, plan_of
    from pim.eval.rated import RatedSet, datasets, looked_at

    found = []
    for text in paths:
        name, equals, rest = text.partition("=")
        if equals and not Path(text).exists():
            check_known("unknown data set", [name], FOLDERS)
            dataset = _choices(name, Path(rest).expanduser(), split)
        elif (path := Path(text).expanduser()).is_dir():
            dataset = _recognised(path, split)
        else:
            dataset = datasets(RatedSet("table", path, images=images, higher_is_better=higher_is_better))[0]
        dataset = looked_at(dataset, allow_missing, partial(progress, quiet=quiet))
        found.append(plan_of(dataset, Treatment(shorter_side=dataset.protocol_side), selection.keep()))
    return found


def _recognised(path: Path, split: Split) -> Dataset:
    """The data set that a folder holds, whichever it is."""
    from pim.datasets.dataset import ManifestError

    found = []
    for name in FOLDERS:
        try:
            found.append(_choices(name, path, split))
        except ManifestError:
            continue
    if len(found) != 1:
        what = f"several: {' and '.join(d.name for d in found)}" if found else f"none of {', '.join(FOLDERS)}"
        raise UsageError(f"{path} holds {what}; {FOLDERS[1]}={path}, for example, says which it is")
    return found[0]


def _choices(name: str, path: Path, split: Split) -> Dataset:
    """The part of a data set that says which of two pictures differs more."""
    from pim.eval.rated import RatedSet, datasets

    rated = RatedSet(name, path, split=split if name == "bapps" else "val")
    found = [dataset for dataset in datasets(rated) if dataset.kind in ("opinion", "two_afc")]
    if not found:
        raise DataError(f"{path} holds no opinions and no forced choices to fit to")
    return found[0]
