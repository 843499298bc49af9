"""Pairs in, scores out: any number of pairs in bounded memory, in order, failures kept apart.

Pictures of one size are computed together, recurring ones analysed once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from pim.core.device import choose, exact
from pim.core.metric import Metric, Prepared, ensure_finite
from pim.errors import PimError, UsageError
from pim.images.opener import Decoding, OpenOptions
from pim.metrics import registry
from pim.scoring.pictures import (
    Batch,
    ImageLike,
    Item,
    Loaded,
    OpenedBatch,
    OpenedPair,
    Picture,
    PicturePair,
    Reading,
    as_picture,
    opened,
)

if TYPE_CHECKING:
    from pim.scoring.aligned import Change
    from pim.scoring.kept import RecentlyPrepared

CHEAP = 100  # multiply-adds a pixel below which a metric takes no longer than the opening of its pictures
COPIED = 1 << 22  # pixels up to which a picture is copied to where metrics read it fastest; of larger ones none is
Given = TypeVar("Given")
Asked = TypeVar("Asked", bound=PicturePair | tuple[ImageLike, ImageLike])
Metrics = str | Metric | Sequence[str | Metric] | None
_Found = tuple["float | PimError", "Change | None"]  # of a pair
_REQUESTED = re.compile(r"allocate ([\d.]+ ?\w+)")  # in the messages of torch and NumPy


@dataclass(frozen=True)
class Score(Generic[Given]):
    """What became of a pair: under every metric, by its name, either a value or an error."""

    pair: Given  # as it came
    values: dict[str, float]
    errors: dict[str, PimError]  # why a metric has no value
    decodings: tuple[Decoding | None, Decoding | None] = (None, None)  # of reference and distorted, where opened
    resized_from: tuple[int, int] | None = None  # width and height of the distorted picture before
    identical: bool | None = None  # whether both are equal in every pixel; None if they cannot be compared
    changes: dict[str, Change] = field(default_factory=dict)  # by metric: displacement and tone that it took back


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
    engine: Literal["local", "ray"] = "local",
    actors: int | None = None,
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
        engine: "ray" shares pairs of files out to a Ray cluster, or to processes of this machine, with the same values;
            they are read thousands ahead then.
        actors: With "ray", how many; None: one for every CPU of the cluster, or every GPU if those compute.

    Returns:
        One score for every pair, in their order, as it is asked for.

    Raises:
        UsageError: if a metric or the device cannot be used, or a pair is none.
        PimError: if a metric cannot be loaded.
    """
    reading = Reading(opening or OpenOptions(), resize, workers)
    if engine == "ray":
        from pim.scoring.parts import in_order, on_ray, parts_of

        # the device is one of the actors'; this machine need not have it
        where, here = (str(choose("auto")),) * 2 if device == "auto" else (device, "cpu")
        chosen = load_metrics(metrics, here, align)
        return in_order(on_ray(parts_of(pairs, batch_size), chosen, where, reading, actors))
    if engine != "local":
        raise UsageError(f"engine must be local or ray; got {engine!r}")
    where = str(choose(device))
    return _scores(pairs, Scorer(load_metrics(metrics, where, align), where), reading, batch_size)


def load_metrics(metrics: Metrics, device: str | None, align: bool | None = None) -> list[Metric]:
    """Load the metrics that are given by name, and move all to a device, if one is named.

    Whether they look for displacement and tone first is said by `align`; None: those that do so by default.

    Raises:
        UsageError: if a name is unknown, or two metrics are called alike.
        PimError: if one cannot be loaded.
    """
    asked = metrics if isinstance(metrics, Iterable) and not isinstance(metrics, str | Metric) else [metrics]
    named = dict.fromkeys(registry.spelled(metric) if isinstance(metric, str) else metric for metric in asked)
    loaded = [m if isinstance(m, Metric) else registry.load(m, device=device) for m in named]
    moved = loaded if device is None else [metric.to(device) for metric in loaded]
    found = [_aligned(metric) if (metric.info.aligned if align is None else align) else metric for metric in moved]
    called = [metric.name for metric in found]
    if repeated := sorted({name for name in called if called.count(name) > 1}):
        raise UsageError(f"two metrics are called {repeated[0]!r}; rename one file, or score them one after the other")
    return found


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
    asked = (numbered(pair, number) for number, pair in enumerate(pairs))
    with closing(opened(batches(asked, batch_size), reading)) as stream:
        for batch in stream:
            for found in scorer.scores(batch):
                yield replace(found, pair=found.pair.given)  # type: ignore[misc]


def numbered(pair: Any, number: int) -> _Numbered:
    """Find the pictures of a pair, which messages call by its number; raises UsageError if it is none."""
    if hasattr(pair, "both"):
        return _Numbered(pair, *pair.both())
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise UsageError(f"pair {number} must be (reference, distorted); got {type(pair).__name__}")
    first, second = pair
    return _Numbered(
        pair, as_picture(first, f"pair {number}[reference]"), as_picture(second, f"pair {number}[distorted]")
    )


def batches(pairs: Iterable[Item], size: int) -> Iterator[Batch[Item]]:
    """Group neighbours, in their order; a pair that shares a picture with one beside it is a batch of its own."""
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


class Scorer:
    """Metrics, and what they know of the pictures seen last.

    Args:
        metrics: On the device, with different names.
        device: Where to compute.
    """

    def __init__(self, metrics: Sequence[Metric], device: str) -> None:
        self.metrics, self.device = metrics, device
        self._known: RecentlyPrepared[Prepared] | None = None

    def scores(self, batch: OpenedBatch[Item], wanted: Callable[[int, Item], bool] | None = None) -> list[Score[Item]]:
        """Compute the values of a batch; `wanted` says whether the metric of a number is asked for a pair."""
        scores = [_nothing_yet(pair) for pair in batch.pairs]
        for number, metric in enumerate(self.metrics):
            asked = [i for i, p in enumerate(batch.pairs) if wanted is None or wanted(number, p.pair)]
            with _sparing(metric):
                found = self._by_size(metric, [batch.pairs[i] for i in asked], batch.recurring)
            for i, (value, change) in zip(asked, found, strict=True):
                if isinstance(value, PimError):
                    scores[i].errors[metric.name] = value
                else:
                    scores[i].values[metric.name] = value
                if change is not None:
                    scores[i].changes[metric.name] = change
        return scores

    def _by_size(
        self, metric: Metric, pairs: Sequence[OpenedPair[Item]], recurring: frozenset[Picture]
    ) -> list[_Found]:
        found: list[_Found | None] = [None if pair.error is None else (pair.error, None) for pair in pairs]
        for places in of_one_size(pairs):
            values = self._batch(metric, [pairs[place] for place in places], recurring)
            for place, value in zip(places, values, strict=True):
                found[place] = value
        return [value for value in found if value is not None]

    def _batch(self, metric: Metric, pairs: Sequence[OpenedPair[Item]], recurring: frozenset[Picture]) -> list[_Found]:
        """The value of every pair of one size; a batch that fails is halved until the pair to blame is alone."""
        try:
            with torch.inference_mode():
                values, changes = self._compute(metric, pairs, recurring)
                computed = exact(values)
            if computed.shape != (len(pairs),):
                raise UsageError(f"{metric.name} must return ({len(pairs)},); got {tuple(computed.shape)}")
            return [
                (_checked(value, metric, pair), change)
                for value, change, pair in zip(computed, changes, pairs, strict=True)
            ]
        except UsageError:
            raise
        except (PimError, MemoryError, RuntimeError) as error:
            reason = explained(error, pairs[0])  # no more of the error: its frames hold the memory of the batch
        if len(pairs) == 1:
            return [(reason, None)]
        if self._known is not None:
            self._known.clear()
        half = len(pairs) // 2
        return [*self._batch(metric, pairs[:half], frozenset()), *self._batch(metric, pairs[half:], frozenset())]

    def _compute(
        self, metric: Metric, pairs: Sequence[OpenedPair[Item]], recurring: frozenset[Picture]
    ) -> tuple[Tensor, Sequence[Change | None]]:
        first, second = zip(*(pair.pair.both() for pair in pairs), strict=True)
        references, candidates = [p.reference for p in pairs], [p.distorted for p in pairs]
        nothing = [None] * len(pairs)
        if len(pairs) == 1 and recurring.issuperset(second) and not metric.explains:
            both = self._analysed(metric, first, references), self._analysed(metric, second, candidates)
            return metric.compare(*both), nothing
        known = recurring.issuperset(first)
        reference = self._analysed(metric, first, references) if known else together(references, self.device)
        candidate = together(candidates, self.device)
        return metric.explain(reference, candidate) if metric.explains else (metric(reference, candidate), nothing)

    def _analysed(self, metric: Metric, pictures: tuple[Picture, ...], images: Sequence[Loaded | PimError]) -> Prepared:
        if self._known is None:
            from pim.scoring.kept import RecentlyPrepared

            self._known = RecentlyPrepared[Prepared]()
        return self._known.get((metric.name, pictures), lambda: metric.prepare(together(images, self.device)))


def of_one_size(pairs: Sequence[OpenedPair[Item]]) -> list[list[int]]:
    """Group the places of the pairs without an error by what can be in one batch."""
    found: dict[Hashable, list[int]] = {}
    for place, pair in enumerate(pairs):
        if pair.error is None:
            pixels = pixels_of(pair.distorted)
            found.setdefault((pixels.shape, pixels.dtype, pixels.device), []).append(place)
    return list(found.values())


def together(images: Sequence[Loaded | PimError], device: str) -> Tensor:
    """Put opened pictures of one size into a batch (N, 3, H, W) on a device."""
    pixels = [pixels_of(image) for image in images]
    batch = pixels[0][None] if len(pixels) == 1 else torch.stack(pixels)
    return (batch.contiguous() if batch[0, 0].numel() <= COPIED else batch).to(device)


@contextmanager
def _sparing(metric: Metric) -> Iterator[None]:
    """One thread for a cheap metric: several would wait for those that open pictures, at every operation."""
    before, cost = torch.get_num_threads(), metric.info.operations
    if cost is None or cost > CHEAP or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pixels_of(image: Loaded | PimError) -> Tensor:
    """Get the pixels (3, H, W) of a picture whose pair has no error."""
    assert isinstance(image, Loaded)
    return image.pixels


def _nothing_yet(pair: OpenedPair[Item]) -> Score[Item]:
    both = (pair.reference, pair.distorted)
    first, second = (image.decoding if isinstance(image, Loaded) else None for image in both)
    identical = torch.equal(*map(pixels_of, both)) if pair.error is None else None
    return Score(pair.pair, {}, {}, (first, second), pair.resized_from, identical)


def _called(pair: OpenedPair[Item]) -> str:
    reference, distorted = pair.pair.both()
    return f"{distorted.name} against {reference.name}"


def _checked(value: Tensor, metric: Metric, pair: OpenedPair[Item]) -> float | PimError:
    try:
        return float(ensure_finite(value[None], metric.info, [_called(pair)]))
    except PimError as error:
        return error


def explained(error: Exception, pair: OpenedPair[Item]) -> PimError:
    """Make an error of a pair, or its lack of memory, one that names the pair; anything else is raised again."""
    if isinstance(error, PimError):
        text = str(error).splitlines()[0]
        return (
            error if any(picture.name in text for picture in pair.pair.both()) else PimError(f"{_called(pair)}: {text}")
        )
    text = str(error)
    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in text:
        raise error
    width, height = pair.reference.size if isinstance(pair.reference, Loaded) else (0, 0)
    request = _REQUESTED.search(text)
    needs = f"; {request[1]} more were needed" if request else ""
    return PimError(f"{_called(pair)}: not enough memory for {width} x {height} pixels{needs}")
