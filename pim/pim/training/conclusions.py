"""What a training run reached, in sentences, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pim.pim.training.loop import Outcome

FEW_SOURCES = 5  # held-out videos below which the bound says little about others
SLIGHT = 0.01  # nats; a smaller rise of the bound is none


def conclude(outcome: Outcome) -> list[str]:
    """Say how far training raised the bound on held-out footage, how sure that is, and what to do next."""
    if not outcome.bound:
        return ["No video was held out, so nothing is known about other footage; add videos, or set --held-out."]
    return list(_sentences(outcome))


def _sentences(outcome: Outcome) -> Iterator[str]:
    after, before = _mean(outcome.bound), _mean(outcome.before)
    where = f"on {outcome.pairs} pairs of {outcome.sources} held-out videos"
    if outcome.sources == 1:
        where = where.removesuffix("s")
    if after - before < SLIGHT:
        yield f"Training did not raise the bound {where}: {after:.2f} nats, {before:.2f} before it."
        yield "Train longer, or on footage in which more moves."
        return
    most = math.log(outcome.batch)
    yield f"Training raised the bound {where} from {before:.2f} to {after:.2f} nats, of {most:.2f} that are possible."
    if outcome.dead:
        bands = ", ".join(str(band + 1) for band in outcome.dead)
        yield f"Bands {bands} (1 is the coarsest) carry almost no information: train longer or with other settings."
    if outcome.sources < FEW_SOURCES:
        yield f"With {outcome.sources} held out this is uncertain; more videos say more than more crops."
    yield "That says nothing about people: pim eval table compares metrics with ratings, where you have some."


def _mean(bands: list[float]) -> float:
    return sum(bands) / len(bands)
