"""Values of opened batches: pictures of one size together, recurring ones analysed once, failures kept apart."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor

from pim.core.device import exact
from pim.core.metric import Metric, Prepared, ensure_finite
from pim.errors import PimError, UsageError
from pim.images.opener import Decoding
from pim.scoring.pictures import Item, Loaded, OpenedBatch, OpenedPair, Picture

if TYPE_CHECKING:
    from pim.scoring.aligned import Change

CHEAP = 100  # multiply-adds a pixel below which a metric takes no longer than the opening of its pictures
KEPT = 512 << 20  # bytes of analysed pictures that all metrics together keep
COPIED = 1 << 22  # pixels up to which a picture is copied to where metrics read it fastest; of larger ones none is
Asked = TypeVar("Asked")
Kept = TypeVar("Kept")
_Found = tuple["float | PimError", "Change | None"]  # of a pair
_REQUESTED = re.compile(r"allocate ([\d.]+ ?\w+)")  # in the messages of torch and NumPy


@dataclass(frozen=True)
class Score(Generic[Asked]):
    """What became of a pair: under every metric, by its name, either a value or an error."""

    pair: Asked  # as it came
    values: Mapping[str, float]
    errors: Mapping[str, PimError]  # why a metric has no value
    decodings: tuple[Decoding | None, Decoding | None] = (None, None)  # of reference and distorted, where opened
    resized_from: tuple[int, int] | None = None  # width and height of the distorted picture before
    identical: bool | None = None  # whether both are equal in every pixel; None if they cannot be compared
    changes: Mapping[str, Change] = field(default_factory=dict)  # by metric: displacement and tone that it took back


class Scorer:
    """Metrics, and what they know of the pictures seen last.

    Args:
        metrics: On the device, with different names.
        device: Where to compute.
    """

    def __init__(self, metrics: Sequence[Metric], device: str) -> None:
        self.metrics, self.device = metrics, device
        self._known = RecentlyPrepared[Prepared](KEPT)

    def scores(self, batch: OpenedBatch[Item], wanted: Callable[[int, Item], bool] | None = None) -> list[Score[Item]]:
        """Compute the values of a batch.

        Args:
            batch: With its pictures.
            wanted: Whether the metric of this number is asked for a pair; None: always.

        Raises:
            UsageError: if a metric cannot be used at all.
        """
        values: list[dict[str, float]] = [{} for _ in batch.pairs]
        errors: list[dict[str, PimError]] = [{} for _ in batch.pairs]
        changes: list[dict[str, Change]] = [{} for _ in batch.pairs]
        for number, metric in enumerate(self.metrics):
            asked = [i for i, p in enumerate(batch.pairs) if wanted is None or wanted(number, p.pair)]
            with _sparing(metric):
                found = self._by_size(metric, [batch.pairs[i] for i in asked], batch.recurring)
            for i, (value, change) in zip(asked, found, strict=True):
                if isinstance(value, PimError):
                    errors[i][metric.name] = value
                else:
                    values[i][metric.name] = value
                if change is not None:
                    changes[i][metric.name] = change
        return [_score(*row) for row in zip(batch.pairs, values, errors, changes, strict=True)]

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


class RecentlyPrepared(Generic[Kept]):
    """Analysed batches of pictures by some key; those used least recently make room.

    Args:
        budget: Bytes to hold; the latest batch is kept even if it is larger.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._known: OrderedDict[Hashable, tuple[Kept, int]] = OrderedDict()
        self._held = 0

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What is known under this key, or what `make` returns, to be known from now on."""
        if key not in self._known:
            prepared = make()
            self._known[key] = prepared, size_of(prepared)
            self._held += self._known[key][1]
        self._known.move_to_end(key)
        while len(self._known) > 1 and self._held > self._budget:
            self._held -= self._known.popitem(last=False)[1][1]
        return self._known[key][0]

    def clear(self) -> None:
        """Forget everything, as where memory is short."""
        self._known.clear()
        self._held = 0


def size_of(value: Any) -> int:
    """Count the bytes of the tensors in a value; memory that several of them share counts once."""
    found: dict[int, int] = {}
    _collect(value, found)
    return sum(found.values())


def _collect(value: Any, found: dict[int, int]) -> None:
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
    elif isinstance(value, Mapping):
        _collect(tuple(value.values()), found)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            _collect(part, found)
    elif is_dataclass(value):
        for field in fields(value):
            _collect(getattr(value, field.name), found)


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


def _score(
    pair: OpenedPair[Item], values: dict[str, float], errors: dict[str, PimError], changes: dict[str, Change]
) -> Score[Item]:
    both = (pair.reference, pair.distorted)
    first, second = (image.decoding if isinstance(image, Loaded) else None for image in both)
    identical = torch.equal(*map(pixels_of, both)) if pair.error is None else None
    return Score(pair.pair, values, errors, (first, second), pair.resized_from, identical, changes)


def _called(pair: OpenedPair[Item]) -> str:
    reference, distorted = pair.pair.both()
    return f"{distorted.name} against {reference.name}"


def _checked(value: Tensor, metric: Metric, pair: OpenedPair[Item]) -> float | PimError:
    try:
        return float(ensure_finite(value[None], metric.info, [_called(pair)]))
    except PimError as error:
        return error


def explained(error: Exception, pair: OpenedPair[Item]) -> PimError:
    """Make an error of a pair, or its lack of memory, one that names the pair.

    Raises:
        RuntimeError: the same, if it is about anything else: that is a fault of the program.
    """
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
