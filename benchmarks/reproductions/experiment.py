"""What an experiment is, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from pim.errors import UsageError
from reproductions.ledger import Ledger, Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Preset = Literal["quick", "full"]


class Watch(Protocol):
    """Told about work that got done."""

    def __call__(self, count: int = 1, note: str = "") -> None:
        """Count more steps as done."""


@dataclass(frozen=True)
class Claim:
    """One statement of a paper or of theory, and what came out here."""

    statement: str
    source: str  # where the number to compare with stands
    expected: str  # that number, with the tolerance that counts as agreement
    found: str
    holds: bool


@dataclass(frozen=True)
class Findings:
    """The outcome of an experiment."""

    rows: list[Result]  # one for every run, all with the same columns
    claims: list[Claim]
    figures: dict[str, Figure] = field(default_factory=dict)  # by name


@dataclass(frozen=True)
class Context:
    """What an experiment may use."""

    preset: Preset
    ledger: Ledger
    data: Path | None = None  # folder of data, for experiments that need some
    watch: Watch = lambda count=1, note="": None

    def need_data(self, what: str) -> Path:
        """The folder of data.

        Raises:
            UsageError: if none was named.
        """
        if self.data is None:
            raise UsageError(f"this experiment needs {what}; name its folder with --data")
        return self.data


@dataclass(frozen=True)
class Experiment:
    """How an experiment of the catalogue is run."""

    name: str
    run: Callable[[Context], Findings]
    steps: Callable[[Preset], int]  # that `watch` will count
