"""What an unfinished `pim score` has done, beside its output: the same command goes on from there."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pim.cli.records import Scored, Settings, describe, versions
from pim.core.files import write_bytes
from pim.core.metric import Metric
from pim.metrics.custom import CustomMetric
from pim.scoring.engine import Score
from pim.scoring.fingerprint import OWN
from pim.scoring.pairs import STDIN, Pair
from pim.scoring.pictures import FilePicture

if TYPE_CHECKING:
    from pim.scoring.frames import FramePair

Key = tuple[str, ...]
Scores = Generator[Score[Pair], None, None]
FrameScores = Generator[Score["FramePair"], None, None]


class Journal:
    """Pairs that were scored, in a file beside an output until that is written.

    Args:
        target: The output.
        metrics: Those that are asked for; other weights or settings begin anew.
        settings: How values are computed.
        inputs: What else they depend on, such as files and when these were changed.
    """

    def __init__(
        self, target: Path, metrics: Sequence[Metric], settings: Settings, inputs: Sequence[object] = ()
    ) -> None:
        self.path = target.with_name(f".{target.name}.partial")
        about = {
            "metrics": [describe(metric) for metric in metrics],
            "settings": {**settings.as_dict(), "max_pixels": settings.opening.max_pixels},
            "versions": versions(),
            "inputs": list(inputs),
        }
        self._about = json.dumps(about)
        self.known = self._read()

    def scores(
        self, pairs: Sequence[Pair], compute: Callable[[Sequence[Pair]], Scores]
    ) -> Generator[tuple[Pair, Scored], None, None]:
        """Give the pairs in their order, those that are known from the journal, and note the others as they come.

        A pair is computed with its neighbours, as it would have been without interruption: a shared picture is
        analysed once, which may round otherwise.
        """
        keys = [_key(pair) for pair in pairs]
        missing = [i for i, key in enumerate(keys) if key not in self.known]
        wanted = sorted({j for i in missing for j in (i - 1, i, i + 1) if 0 <= j < len(pairs)})
        fresh = dict.fromkeys(wanted)
        with closing(compute([pairs[i] for i in wanted])) as scores, self.path.open("a", encoding="utf-8") as stream:
            for i, (pair, key) in enumerate(zip(pairs, keys, strict=True)):
                scored = Scored.of(next(scores)) if i in fresh else self.known[key]
                if key in self.known:
                    scored = self.known[key]
                else:
                    _write(stream, [(key, scored)])
                yield pair, scored

    def frames(
        self, pairs: Iterable[FramePair], compute: Callable[[Iterable[FramePair]], FrameScores]
    ) -> Generator[tuple[FramePair, Scored], None, None]:
        """As `scores`, of frames that come one after the other: those of one time are kept, and computed, together."""
        last = max((int(key[0]) for key in self.known), default=0) - 1  # of the latest, some may not have been kept
        source = iter(pairs)
        for pair in source:
            if pair.number > last:
                source = chain([pair], source)
                break
            yield pair, self.known[_frame_key(pair)]
        with closing(compute(source)) as scores, self.path.open("a", encoding="utf-8") as stream:
            for _, members in groupby(scores, key=lambda score: score.pair.number):
                found = [(score.pair, Scored.of(score)) for score in members]
                _write(stream, [(_frame_key(pair), scored) for pair, scored in found])
                yield from found

    def remove(self) -> None:
        """Forget everything: the output is there."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> Mapping[Key, Scored]:
        """What is known of the same question; a journal of another one makes room, and so does a torn last line."""
        lines = self.path.read_bytes().splitlines(keepends=True) if self.path.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        if not whole or whole[0].decode().rstrip("\n") != self._about:
            whole = [self._about.encode() + b"\n"]
        write_bytes(self.path, b"".join(whole))
        rows: list[Any] = [json.loads(line) for line in whole[1:]]
        return {tuple(key): Scored(**scored) for key, scored in rows}


def can_continue(pairs: Sequence[Pair], metrics: Sequence[Metric]) -> bool:
    """Whether values of a killed command may be used: not of code that may have changed, nor of stdin."""
    inner = [getattr(metric, "metric", metric) for metric in metrics]  # an aligned one has another inside
    own = all(type(m).__module__.partition(".")[0] in OWN and not isinstance(m, CustomMetric) for m in inner)
    return own and not any(STDIN in (pair.reference_path, pair.distorted_path) for pair in pairs)


def _write(stream: TextIO, rows: Sequence[tuple[Key, Scored]]) -> None:
    stream.write("".join(json.dumps([key, asdict(scored)]) + "\n" for key, scored in rows))
    stream.flush()


def _frame_key(pair: FramePair) -> Key:
    return str(pair.number), pair.distorted


def _key(pair: Pair) -> Key:
    """Both files, and when they were changed."""
    paths = (pair.reference_path, pair.distorted_path)
    return (*paths, *(FilePicture(path).stamp(verify=False) for path in paths))
