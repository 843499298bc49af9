"""`pim score -o FOLDER.parquet`: a table in parts, for any number of pairs, computed here or by a cluster.

Parts lie in a hidden folder beside the output until all are there. Each holds a key of its pairs, the state of their
files, and all that its values depend on: the same command computes only the parts that are not there yet.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pim.cli import common
from pim.cli.limit import Limit
from pim.cli.records import CHANGES, Records, Scored, Settings, Tally
from pim.core.files import written_whole
from pim.errors import PimError, UsageError, from_extra
from pim.scoring.fingerprint import describe, digest
from pim.scoring.pairs import STDIN
from pim.scoring.parts import Found, Part, here, on_ray, parts_of
from pim.scoring.pictures import FilePicture, Reading

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.eval.run import Advance
    from pim.scoring.engine import Score
    from pim.scoring.pairs import Pair, Pairs

PARTS = 1000  # files, about, however many pairs: what is lost by a kill is a thousandth for each actor
SMALLEST = 50  # pairs of a part
KEY = b"pim"  # in the metadata of a file
TYPES = {"value": "float64", "lower_is_better": "bool", "bytes": "int64", "bits_per_pixel": "float64"}


class Table:
    """A table in parts.

    Args:
        target: The folder that is there once all parts are.
        chosen: What is scored.
        metrics: In the order of the values.
        settings: How values are computed.

    Raises:
        UsageError: if a file is there, a picture comes from stdin, or pyarrow is not installed.
        PimError: if the folder cannot be written to.
    """

    def __init__(self, target: Path, chosen: Pairs, metrics: Sequence[Metric], settings: Settings) -> None:
        if target.exists() and not target.is_dir():
            raise UsageError(f"{target} is a file, and a table in parts is a folder; name another one")
        if any(STDIN in (pair.reference_path, pair.distorted_path) for pair in chosen.items):
            raise UsageError("a table in parts has no pictures from stdin (-); give a file")
        self._arrow = _pyarrow()
        self.target, self.chosen, self.metrics, self.settings = target, chosen, metrics, settings
        self.folder = target if target.exists() else target.with_name(f".{target.name}.partial")
        self._records = Records("csv", metrics, settings, replace(chosen, columns=chosen.columns or ()))
        kinds = TYPES | dict.fromkeys(CHANGES, "float64")
        kinds |= dict.fromkeys(chosen.columns or (), "string")  # whatever a table of pairs calls them
        fields = [(name, kinds.get(name, "string")) for name in self._records.columns()]
        self._schema = self._arrow.schema([(name, self._arrow.type_for_alias(kind)) for name, kind in fields])
        about = [describe(metric, settings.device, settings.opening) for metric in metrics]
        self._about = digest({"metrics": about, "settings": settings.as_dict()})
        self._keys: dict[int, str] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PimError(f"cannot write {self.folder}: {error.strerror or error}") from error

    def missing(self, batch_size: int, advance: Advance) -> Iterator[Part[Pair]]:
        """Give the parts that are not there, and count the pairs of the others.

        Raises:
            UsageError: if the target is there with other pairs, metrics or settings.
        """
        size = max(SMALLEST, -(-len(self.chosen.items) // PARTS))
        for part in parts_of(self.chosen.items, batch_size, size):
            key = self._keys[part.number] = digest({"about": self._about, "pairs": [_state(p) for p in part.pairs]})
            if self._key_of(self._path(part.number)) == key:
                advance(len(part.pairs))
            elif self.folder == self.target:
                raise self._other()
            else:
                yield part
        if self.folder == self.target and self._path(len(self._keys)).exists():
            raise self._other()

    def write(self, number: int, scores: Sequence[Score[Pair]]) -> None:
        """Write a part, whole or not at all; raises PimError if it cannot be written."""
        import pyarrow.parquet as parquet

        scored = [(score.pair, Scored.of(score)) for score in scores]
        rows = [_text(self._records.record(pair, one, m)) for pair, one in scored for m in self.metrics]
        table = self._arrow.Table.from_pylist(rows, self._schema.with_metadata({KEY: self._keys[number]}))
        with written_whole(self._path(number)) as stream:
            parquet.write_table(table, stream)

    def finish(self) -> None:
        """Let the target appear, without what an earlier command has left."""
        wanted = {self._path(number) for number in self._keys}
        if self.folder != self.target:
            for left in set(self.folder.iterdir()) - wanted:
                left.unlink()
            os.replace(self.folder, self.target)
            self.folder = self.target

    def rows(self) -> Iterator[tuple[Pair, Scored]]:
        """Read the values and errors of all pairs in their order."""
        import pyarrow.parquet as parquet

        columns = ["metric", "value", "error", *(["resized_from"] if "resized_from" in self._schema.names else [])]
        pairs, count = iter(self.chosen.items), len(self.metrics)
        for number in range(len(self._keys)):
            rows = parquet.read_table(self._path(number), columns=columns).to_pylist()
            for group in (rows[start : start + count] for start in range(0, len(rows), count)):
                values = {row["metric"]: row["value"] for row in group if row["value"] is not None}
                errors = {row["metric"]: row["error"] for row in group if row["error"] is not None}
                yield next(pairs), Scored(values, errors, {}, [], group[0].get("resized_from"), None)

    def _other(self) -> UsageError:
        return UsageError(f"{self.target} is there, with other pairs, metrics or settings; name another folder")

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:06}.parquet"

    def _key_of(self, path: Path) -> str | None:
        """The key that a part was written under; None if it is not there, or damaged."""
        import pyarrow.parquet as parquet

        with suppress(OSError, self._arrow.ArrowException):
            return str((parquet.read_schema(path).metadata or {}).get(KEY, b"").decode())
        return None


@dataclass(frozen=True)
class Work:
    """Who computes, and how."""

    workers: int  # threads that open pictures ahead, of this process or of each actor
    batch_size: int
    engine: common.EngineName = "local"
    actors: int | None = None


def score_in_parts(table: Table, work: Work, limit: Limit | None, quiet: bool) -> bool:
    """Compute what a table lacks, and tell what failed or is above a limit: True if anything.

    Raises:
        UsageError: if the table holds something else, another process makes it, or a metric cannot be used at all.
        PimError: if it cannot be written, or Ray gives up.
    """
    total = len(table.chosen.items)
    with (
        common.alone_with(table.target),
        common.stoppable(f"all finished parts are kept in {table.folder}"),
        common.progress("score", total, quiet=quiet) as advance,
        closing(_computed(table, table.missing(work.batch_size, advance), work)) as found,
    ):
        for number, scores in found:
            table.write(number, scores)
            advance(len(scores))
        table.finish()
    tally = Tally(total, quiet)
    for pair, scored in table.rows():
        tally.add(scored)
        if limit is not None:
            limit.add(pair, scored)
    return tally.finish() | (limit is not None and limit.finish())


def _computed(table: Table, missing: Iterator[Part[Pair]], work: Work) -> Generator[Found[Pair], None, None]:
    settings = table.settings
    reading = Reading(settings.opening, settings.resize, work.workers)
    if work.engine == "ray":
        return on_ray(missing, table.metrics, settings.device, reading, work.actors)
    return here(missing, table.metrics, settings.device, reading)


def _state(pair: Pair) -> list[Any]:
    """What a part says of a pair, and the state of its files."""
    paths = (pair.reference_path, pair.distorted_path)
    return [pair.reference, pair.distorted, *paths, pair.extra, *(FilePicture(p).stamp(verify=False) for p in paths)]


def _text(row: dict[str, Any]) -> dict[str, Any]:
    """The same without bytes of file names that are no text."""
    return {
        name: cell.encode(errors="surrogateescape").decode(errors="replace") if isinstance(cell, str) else cell
        for name, cell in row.items()
    }


def _pyarrow() -> ModuleType:
    with from_extra("ray", "a .parquet table"):
        import pyarrow
    module: ModuleType = pyarrow
    return module
