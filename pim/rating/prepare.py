"""Everything that has to be right before the first rater comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from pim.core.database import Database
from pim.errors import DataError
from pim.images.opener import OpenOptions
from pim.rating import store
from pim.rating.gallery import Gallery, Shown, sizes_differ, survey
from pim.rating.plan import Settings
from pim.rating.study import Study
from pim.rating.triplets import TripletSet

NAMED = 5

Watch = Callable[[int], AbstractContextManager[Callable[[int], None]]]  # how many pictures -> called after each


@dataclass(frozen=True)
class Ready:
    """A study that can be served."""

    study: Study
    gallery: Gallery
    notes: tuple[str, ...]


def prepare(file: Database, given: TripletSet, asked: Mapping[str, Any], watch: Watch) -> Ready:
    """Begin a study about triplets, or go on with it, with the settings that were named; None for the others.

    Raises:
        UsageError: if a setting is not that of the study.
        DataError: if a picture cannot be shown, sizes differ within a triplet, or the study is about something else.
    """
    settings = Settings.merged(store.noted(file, "settings") or {}, dict(asked))
    options = OpenOptions(background=settings.background, max_pixels=settings.max_pixels)
    known = {picture.name: picture.facts for picture in store.pictures(file).values()}
    with watch(len(given.paths)) as advance:
        facts = survey(given.paths, given.references, options, known, advance)
    if differ := sizes_differ([(t.reference, t.a, t.b) for t in given.triplets], facts):
        rest = f" and {len(differ) - NAMED} more" if len(differ) > NAMED else ""
        raise DataError(
            f"pictures of one triplet must have one size ({len(differ)}): {'; '.join(differ[:NAMED])}{rest}"
        )
    store.keep_set(file, given, facts)
    store.note(file, "settings", asdict(settings))
    study = Study(file, settings)
    notes = list(given.notes)
    if settings.catch and not study.can_catch:
        notes.append("no catch trials: every reference is so plain that a coarse copy would pass for it")
    return Ready(study, Gallery(_shown(file), options), tuple(notes))


def access_token(file: Database) -> str:
    """The token of a study, made when it is first asked for, so that pages survive a restart of the server."""
    token = store.noted(file, "token")
    if not isinstance(token, str):
        (token,) = store.new_tokens(1)
        store.note(file, "token", token)
    return token


def _shown(file: Database) -> dict[str, Shown]:
    found = {}
    for picture in store.pictures(file).values():
        found[picture.token] = Shown(picture.path, picture.facts.sha256, coarse=False)
        found[picture.coarse_token] = Shown(picture.path, picture.facts.sha256, coarse=True)
    return found
