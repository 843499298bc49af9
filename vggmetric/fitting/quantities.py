"""The quantities of picture pairs, computed once and kept on disk.

What is kept is known by the network, its normalisation and pooling, how pictures are opened and treated, and
the content of both files, so it is found again wherever the files are, and never used for others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pim.errors import DataError, PimError
from pim.eval.judgements import PlannedPair, StampedPicture
from pim.eval.run import Advance, per_batch
from pim.eval.scoring import Placed, waves
from pim.images.opener import OpenOptions
from pim.scoring.engine import of_one_size, together
from pim.scoring.fingerprint import digest
from pim.scoring.kept import RecentlyPrepared
from pim.scoring.pictures import Batch, OpenedPair, Reading, opened
from vggmetric.fitting.arrays import Arrays
from vggmetric.fitting.arrays import opened as opened_arrays
from vggmetric.fitting.source import ReferenceQuantities, VGGQuantities

FORMAT = 1  # of what is kept; a change makes everything be computed again
BATCH_PIXELS = {"cpu": 1 << 16}  # at once
BATCH_PIXELS_ELSEWHERE = 1 << 21
NAMED = 5  # pictures that an error names


@dataclass(frozen=True)
class Collecting:
    """How quantities are computed."""

    folder: Path  # what is computed is kept there
    opening: OpenOptions = OpenOptions()
    device: str = "cpu"
    workers: int = 2


def stamp(picture: StampedPicture) -> str:
    """The hash of a picture, of its file and of what is done to it.

    Raises:
        DataError: if it cannot be read.
    """
    content = picture.stamp(verify=True)
    if content.startswith("unreadable"):
        raise DataError(f"{picture.name} is {content}")
    return content


def keys(pairs: Sequence[PlannedPair], stamp: Callable[[StampedPicture], str]) -> list[str]:
    """What picture pairs are known by, (M,), from the hashes of their pictures."""
    return [f"{stamp(pair.reference)}:{stamp(pair.distorted)}:{_treatment(pair)}" for pair in pairs]


def collect(
    source: VGGQuantities, pairs: Sequence[PlannedPair], names: Sequence[str], how: Collecting, advance: Advance
) -> NDArray[np.float32]:
    """Get the quantities of picture pairs, (M, P), by their names from `keys`; those that are not kept are computed.

    `advance` is called as pairs get done, those that were kept included.

    Raises:
        DataError: naming pictures that cannot be used; the others are kept.
    """
    about = {"format": FORMAT, "source": dict(source.identity), "opening": asdict(how.opening)}
    with opened_arrays(how.folder / f"{digest(about)[:20]}.sqlite", source.size, np.float32) as store:
        known = store.known(names)
        missing = {place for place, name in enumerate(names) if name not in known}
        advance(len(names) - len(missing))
        if missing:
            _compute(source, pairs, names, missing, store, how, advance)
        rows: dict[str, list[int]] = defaultdict(list)
        for place, name in enumerate(names):
            rows[name].append(place)
        found = np.empty((len(names), source.size), dtype=np.float32)
        store.read_into(found, rows)
    return found


def _compute(
    source: VGGQuantities,
    pairs: Sequence[PlannedPair],
    names: Sequence[str],
    missing: set[int],
    store: Arrays,
    how: Collecting,
    advance: Advance,
) -> None:
    most = per_batch(pairs, how.opening, BATCH_PIXELS.get(how.device, BATCH_PIXELS_ELSEWHERE))
    every = waves([pair.reference.name for pair in pairs], most)
    left = [wave for wave in every if missing.intersection(wave)]  # whole, so that batches are always the same
    batches = (Batch(tuple(Placed(place, pairs[place]) for place in wave)) for wave in left)
    failed: list[str] = []
    analysed = RecentlyPrepared[ReferenceQuantities]()
    with closing(opened(batches, Reading(how.opening, workers=how.workers))) as stream:
        for wave in stream:
            failed += [str(pair.error) for pair in wave.pairs if pair.error is not None]
            for places in of_one_size(wave.pairs):
                batch = [wave.pairs[place] for place in places]
                found = _quantities(source, batch, analysed, how.device)
                store.write({names[pair.pair.place]: row for pair, row in zip(batch, found, strict=True)})
            advance(len(missing.intersection(pair.pair.place for pair in wave.pairs)))
    if failed:
        told = "; ".join(failed[:NAMED])
        more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        raise DataError(f"{len(failed)} of {len(pairs)} picture pairs cannot be used: {told}{more}")


def _quantities(
    source: VGGQuantities,
    batch: Sequence[OpenedPair[Placed]],
    analysed: RecentlyPrepared[ReferenceQuantities],
    device: str,
) -> NDArray[np.float32]:
    """(n, P) of one batch; references that come again soon are analysed once."""
    names = tuple(pair.pair.pair.reference.name for pair in batch)
    with torch.inference_mode():
        try:
            known = analysed.get(names, lambda: source.analyse(together([pair.reference for pair in batch], device)))
            found = source.compare(known, together([pair.distorted for pair in batch], device))
        except PimError as error:
            raise DataError(f"{names[0]}: {error}") from error
    values = found.float().cpu().numpy()
    if not np.isfinite(values).all():
        raise DataError(f"the network gives no finite values for a picture of {', '.join(names)}; look at the pictures")
    return np.asarray(values)


def _treatment(pair: PlannedPair) -> str:
    """What is done to the files of a pair before the network sees them, as a short hash."""
    done = [getattr(picture, "shorter_side", None) for picture in (pair.reference, pair.distorted)]
    columns = [getattr(picture, "columns", None) for picture in (pair.reference, pair.distorted)]
    return hashlib.sha256(repr((done, columns)).encode()).hexdigest()[:8]
