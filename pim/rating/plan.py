"""How a study is run: its settings, and in which order a rater meets questions, repeats and catch trials."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from pim.errors import UsageError
from pim.rating.choosing import Rule

Kind = Literal["main", "repeat", "catch"]

LONGEST_QUESTION, LONGEST_INSTRUCTIONS = 120, 4000  # characters
APART = 10  # main trials between a question and its repetition, where there are as many


@dataclass(frozen=True, slots=True)
class Settings:
    """What stays the same for as long as a study lasts.

    Raises:
        UsageError: if a value cannot be right.
    """

    choose: Rule = "all"
    judgements: int = 0  # main trials of a rater; 0: as many as there are triplets
    catch: float = 0.05  # catch trials per main trial
    repeats: float = 0.1  # repeated trials per main trial
    rest: int = 50  # trials between two breaks; 0: none
    seed: int = 0
    background: str | None = None  # colour under transparent pixels
    max_pixels: int = 512_000_000
    question: str = ""  # of one's own, in place of which candidate is closer to the reference
    instructions: str = ""  # what raters read before they begin, in place of the usual words
    no_difference: bool = False  # a third answer

    def __post_init__(self) -> None:
        if self.choose not in ("all", "active"):
            raise UsageError(f"choose must be all or active; got {self.choose!r}")
        for name in ("catch", "repeats"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise UsageError(f"{name} must be a share from 0 to 0.5; got {getattr(self, name)}")
        for name, most in (("question", LONGEST_QUESTION), ("instructions", LONGEST_INSTRUCTIONS)):
            if len(getattr(self, name)) > most:
                raise UsageError(f"{name} may have {most} characters; got {len(getattr(self, name))}")
            if getattr(self, name).isspace():
                raise UsageError(f"{name} holds nothing but spaces")

    @classmethod
    def merged(cls, stored: dict[str, Any], asked: dict[str, Any]) -> Settings:
        """Make the settings of a study from those that it began with, if it did, and those that were named now.

        Raises:
            UsageError: if one was named that differs.
        """
        named = {key: value for key, value in asked.items() if value is not None}
        changed = [
            f"{key} is {stored[key]}, not {value}" for key, value in named.items() if stored.get(key, value) != value
        ]
        if changed:
            raise UsageError(f"these ratings began with other settings: {'; '.join(changed)}; choose another --db")
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in {**stored, **named}.items() if key in known})


def order_of(main: int, settings: Settings, can_catch: bool, rater: int) -> str:
    """Say what each trial of a rater is, in order, as text: m for main, r for repeat, c for catch.

    There are `main` main trials among the others, whose shares are of `main`, rounded up; every rater has an order of
    their own. A repeat comes only when there is a main trial at least `APART` main trials before it (fewer in short
    sessions) that was not repeated yet.

    >>> order_of(8, Settings(catch=0.1, repeats=0.2), True, 1)
    'mmmmmmmrmcr'
    """
    rng = np.random.default_rng([settings.seed, rater, 1])
    repeats = int(np.ceil(settings.repeats * main))
    catches = int(np.ceil(settings.catch * main)) if can_catch else 0
    apart = apart_in(main)
    drawn = np.sort(rng.integers(apart, main + 1, size=repeats))
    after = [min(main, max(int(place), apart + i + 1)) for i, place in enumerate(drawn)]
    order = "".join("m" + "r" * after.count(number) for number in range(1, main + 1))
    for place in rng.integers(1, len(order) + 1, size=catches):
        order = f"{order[:place]}c{order[place:]}"
    return order


def kinds_of(order: str) -> list[Kind]:
    """The words for the letters of `order_of`."""
    words: dict[str, Kind] = {"m": "main", "r": "repeat", "c": "catch"}
    return [words[letter] for letter in order]


def apart_in(main: int) -> int:
    """How many main trials lie between a question and its repetition."""
    return min(APART, main // 2)
