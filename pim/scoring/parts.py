"""Long lists of pairs, cut into parts that are computed one by one: here, or by the actors of a cluster.

A list is cut between batches and never inside one, and a pair knows which pictures its neighbours in the whole list
have. So every part gives the values that it has in the list, whoever computes it and in whatever order.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Generic

from pim.core.metric import Metric
from pim.errors import UsageError
from pim.scoring.cluster import Actor, Cluster
from pim.scoring.engine import Asked, Score, Scorer, batches, numbered
from pim.scoring.pictures import Batch, Given, PicturePair, Reading, StandardInput, opened

SIZE = 64  # pairs of a part, where their number is not known beforehand

Scores = list[Score[Any]]
Found = tuple[int, list[Score[Asked]]]  # number of a part, and what came of its pairs


@dataclass(frozen=True)
class Part(Generic[Asked]):
    """Neighbours in a list."""

    number: int  # in the list, from 0
    pairs: tuple[Asked, ...]  # as they came
    batches: tuple[Batch[PicturePair], ...]  # the same


def parts_of(pairs: Iterable[Asked], batch_size: int, size: int = SIZE) -> Iterator[Part[Asked]]:
    """Cut pairs into parts of at least so many pairs, the last one of what is left.

    Raises:
        UsageError: if a pair is none.
    """
    waiting: list[Batch[Any]] = []
    number = count = 0
    for batch in batches((numbered(pair, at) for at, pair in enumerate(pairs)), batch_size):
        waiting.append(batch)
        count += len(batch.pairs)
        if count >= size:
            yield _part(number, waiting)
            waiting, count, number = [], 0, number + 1
    if waiting:
        yield _part(number, waiting)


def _part(number: int, waiting: Sequence[Batch[Any]]) -> Part[Any]:
    given = tuple(pair.given for batch in waiting for pair in batch.pairs)
    bare = (replace(batch, pairs=tuple(replace(pair, given=None) for pair in batch.pairs)) for batch in waiting)
    return Part(number, given, tuple(bare))


def computed(question: Iterable[Batch[PicturePair]], scorer: Scorer, reading: Reading) -> Scores:
    """Compute batches here; no score names its pair."""
    with closing(opened(question, reading)) as stream:
        return [replace(found, pair=None) for batch in stream for found in scorer.scores(batch)]  # type: ignore[arg-type]


def here(
    parts: Iterable[Part[Asked]], metrics: Sequence[Metric], device: str, reading: Reading
) -> Generator[Found[Asked], None, None]:
    """Compute parts in this process, in their order; raises UsageError if a metric cannot be used at all."""
    scorer = Scorer(metrics, device)
    for part in parts:
        yield part.number, _named(part.pairs, computed(part.batches, scorer, reading))


class PartActor(Actor):
    """Computes parts in a process of its own."""

    _scorer: Scorer | None = None

    def answer(self, question: tuple[int, Sequence[Batch[PicturePair]]]) -> tuple[int, Scores]:
        """Compute the batches of a part, known by its number."""
        self._scorer = self._scorer or Scorer(self.metrics, self.device)
        return question[0], computed(question[1], self._scorer, self.reading)


def on_ray(
    parts: Iterable[Part[Asked]], metrics: Sequence[Metric], device: str, reading: Reading, actors: int | None
) -> Generator[Found[Asked], None, None]:
    """Compute parts in the actors of a cluster, in the order in which they answer.

    Raises:
        UsageError: if a pair is not of files, a metric cannot be used at all, or the cluster has no such device.
        PimError: if an actor would compute something else than this process, or Ray gives up.
    """
    asked: dict[int, tuple[Asked, ...]] = {}

    def questions() -> Iterator[tuple[int, Sequence[Batch[PicturePair]]]]:
        for part in parts:
            _check_files(part)
            asked[part.number] = part.pairs
            yield part.number, part.batches

    with Cluster(actors) as cluster:
        for number, found in cluster.ask(questions(), PartActor, metrics, device, reading):
            yield number, _named(asked.pop(number), found)


def in_order(found: Iterable[Found[Asked]]) -> Generator[Score[Asked], None, None]:
    """Give the scores of parts that come in any order in the order of the list."""
    waiting: dict[int, list[Score[Asked]]] = {}
    following = 0
    for number, scores in found:
        waiting[number] = scores
        while following in waiting:
            yield from waiting.pop(following)
            following += 1


def _named(pairs: Sequence[Asked], found: Scores) -> list[Score[Asked]]:
    return [replace(score, pair=pair) for pair, score in zip(pairs, found, strict=True)]


def _check_files(part: Part[Any]) -> None:
    for picture in (picture for batch in part.batches for pair in batch.pairs for picture in pair.both()):
        if isinstance(picture, Given | StandardInput):
            raise UsageError(f"{picture.name} is held by this process; actors of Ray need the path of a file")
