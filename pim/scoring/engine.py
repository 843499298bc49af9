"""Pairs in, scores out: any number of pairs in bounded memory, in order, failures kept apart."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any, TypeVar

from pim.core.device import choose
from pim.core.metric import Metric
from pim.errors import UsageError
from pim.images.opener import OpenOptions
from pim.metrics import registry
from pim.metrics.registry import current
from pim.scoring.pictures import Batch, ImageLike, Item, Picture, PicturePair, Reading, as_picture, opened
from pim.scoring.scorer import Score, Scorer

Asked = TypeVar("Asked", bound=PicturePair | tuple[ImageLike, ImageLike])
Metrics = str | Metric | Sequence[str | Metric] | None


def score(
    pairs: Iterable[Asked],
    metrics: Metrics = None,
    *,
    device: str = "auto",
    batch_size: int = 1,
    workers: int = 2,
    opening: OpenOptions | None = None,
    resize: bool = False,
    align: bool | None = None,
) -> Generator[Score[Asked], None, None]:
    """Score any number of pairs, one after the other; a pair that fails does not end the rest.

    Pictures are opened ahead by threads, at most half a gigabyte of them; neighbours that share a picture have
    it opened and analysed once. A batch that does not fit into memory is halved.

    Args:
        pairs: (reference, distorted), each a path, an open binary file, a PIL image, an array or a tensor as
            `pim.distance` takes them, or a `pim.scoring.pairs.Pair`. Read as scores are taken, a few ahead: an array
            must stay as it is until the score of its pair has come.
        metrics: A name as `pim.load` takes it, a metric, or several with different names; without them the default one.
        device: "auto" for a GPU where there is one, else as torch names it; metrics are moved there.
        batch_size: Neighbours of one size computed together; values stay, up to rounding.
        workers: Threads that open pictures ahead; 0 opens when a score is asked for.
        opening: How files are opened: background of transparent ones, frame, largest number of pixels.
        resize: Scale distorted pictures to the size of their reference, bicubic and antialiased.
        align: Find displacement and change of tone, take both back and charge for them, for every metric; None: for
            those that do so by default.

    Returns:
        One score for every pair, in their order, as it is asked for.

    Raises:
        UsageError: if a metric or the device cannot be used, or a pair is none.
        PimError: if a metric cannot be loaded.
    """
    where = choose(device)
    chosen = load_metrics(metrics, str(where), align)
    reading = Reading(opening or OpenOptions(), resize, workers)
    return _scores(pairs, Scorer(chosen, str(where)), reading, batch_size)


def load_metrics(metrics: Metrics, device: str | None, align: bool | None = None) -> list[Metric]:
    """Load the metrics that are given by name, and move all to a device.

    Args:
        metrics: Names or metrics; None: the default one.
        device: As torch names it; None: leave them where they are.
        align: Whether they look for displacement and tone first; None: those that do so by default.

    Raises:
        UsageError: if a name is unknown, or two metrics are called alike.
        PimError: if one cannot be loaded.
    """
    asked = [metrics] if metrics is None or isinstance(metrics, str | Metric) else metrics
    named = list(dict.fromkeys(current(m) if isinstance(m, str) else m for m in asked))
    loaded = [m if isinstance(m, Metric) else registry.load(m, device=device) for m in named]
    moved = loaded if device is None else [metric.to(device) for metric in loaded]
    found = [_aligned(metric) if _wanted(metric, align) else metric for metric in moved]
    called = [metric.name for metric in found]
    if repeated := sorted({name for name in called if called.count(name) > 1}):
        raise UsageError(f"two metrics are called {repeated[0]!r}; rename one file, or score them one after the other")
    return found


def _wanted(metric: Metric, align: bool | None) -> bool:
    return metric.info.aligned if align is None else align


def _aligned(metric: Metric) -> Metric:
    from pim.scoring.aligned import Aligned

    return metric if isinstance(metric, Aligned) else Aligned(metric)


@dataclass(frozen=True)
class _Numbered:
    """A pair as it was given, with its pictures."""

    given: Any
    reference: Picture
    distorted: Picture

    def both(self) -> tuple[Picture, Picture]:
        """Reference and distorted picture."""
        return self.reference, self.distorted


def _scores(
    pairs: Iterable[Asked], scorer: Scorer, reading: Reading, batch_size: int
) -> Generator[Score[Asked], None, None]:
    numbered = (_numbered(pair, number) for number, pair in enumerate(pairs))
    with closing(opened(batches(numbered, batch_size), reading)) as stream:
        for batch in stream:
            for found in scorer.scores(batch):
                yield replace(found, pair=found.pair.given)  # type: ignore[misc]


def _numbered(pair: Any, number: int) -> _Numbered:
    if hasattr(pair, "both"):
        return _Numbered(pair, *pair.both())
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UsageError(f"pair {number} must be (reference, distorted); got {type(pair).__name__}")
    first, second = pair
    return _Numbered(
        pair, as_picture(first, f"pair {number}[reference]"), as_picture(second, f"pair {number}[distorted]")
    )


def batches(pairs: Iterable[Item], size: int) -> Iterator[Batch[Item]]:
    """Group neighbours, in their order; a pair that shares a picture with one beside it is a batch of its own.

    Args:
        pairs: Read one ahead.
        size: Most pairs in a batch.
    """
    waiting: list[Item] = []
    for pair, shared in _with_neighbours(pairs):
        if not shared:
            waiting.append(pair)
        if waiting and (shared or len(waiting) == size):
            yield Batch(tuple(waiting))
            waiting = []
        if shared:
            yield Batch((pair,), shared)
    if waiting:
        yield Batch(tuple(waiting))


def _with_neighbours(pairs: Iterable[Item]) -> Iterator[tuple[Item, frozenset[Picture]]]:
    """Each pair, and those of its pictures that the one before or after it has too."""
    before: frozenset[Picture] = frozenset()
    for pair, after in pairwise(chain(pairs, (None,))):
        assert pair is not None
        own, following = frozenset(pair.both()), frozenset(() if after is None else after.both())
        yield pair, own & (before | following)
        before = own
