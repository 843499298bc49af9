"""What `pim rate report` prints: text for people, JSON with everything, CSV of raters or of scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pim.cli.common import Row, one_line, table

if TYPE_CHECKING:
    from pim.rating.agreement import Share
    from pim.rating.report import CandidateScore, Rater, Report


def document(found: Report) -> dict[str, Any]:
    """Everything, for JSON."""
    shares = {"repeats": _share(found.repeats), "catch": _share(found.catch)}
    raters = [{**asdict(rater), **_shares(rater)} for rater in found.raters]
    return {**asdict(found), **shares, "raters": raters}


def csv_table(found: Report, which: str) -> str:
    """The raters or the scores, one a line."""
    rows = [_rater_row(rater) for rater in found.raters] if which == "raters" else [asdict(s) for s in found.scores]
    return table(rows, "csv") if rows else ""


def text(found: Report) -> str:
    """What people read."""
    return "".join(f"{line}\n" for line in _lines(found))


def _lines(found: Report) -> Iterator[str]:
    of = f"{found.judged} of {found.triplets} triplets"
    yield f"{found.answers} answers to {of}, {found.shared} of them judged by two raters or more"
    if found.raters:
        yield f"{found.finished} of {len(found.raters) - len(found.excluded)} raters are done"
    if found.excluded:
        yield f"left out as asked: {', '.join(map(one_line, found.excluded))}"
    yield from _agreement(found)
    if found.raters:
        yield ""
        yield table([_brief(rater, found.ties > 0) for rater in found.raters], "text").rstrip("\n")
        yield ""
        yield from _to_look_at(found)
    for reference in dict.fromkeys(score.reference for score in found.scores):
        yield ""
        yield f"{one_line(reference)}, Bradley-Terry scores with 95 % intervals, higher is closer"
        yield table([_score(s) for s in found.scores if s.reference == reference], "text").rstrip("\n")
    if found.notes:
        yield ""
        yield from (f"note: {one_line(note)}" for note in found.notes)
    if found.ranking:
        yield ""
        yield from (f"{one_line(str(preference))}" for preference in found.ranking)


def _agreement(found: Report) -> Iterator[str]:
    if found.alpha is not None:
        interval = found.alpha_interval
        within = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
        yield f"Krippendorff's alpha {found.alpha:.3f}{within}; 1 is complete agreement, 0 is chance"
    if found.person is not None:
        yield f"two raters give the same answer in {found.person:.1%} of cases"
    yield f"the same rater repeats an answer in {_percent(found.repeats)}"
    yield f"catch trials passed: {_percent(found.catch)}"


def _to_look_at(found: Report) -> Iterator[str]:
    odd = [rater for rater in found.raters if rater.reasons]
    if not odd:
        yield "nobody stands out"
        return
    yield "look at these raters, and decide; --exclude NAME leaves one out:"
    for rater in odd:
        yield f"  {one_line(rater.name)}: {'; '.join(rater.reasons)}"


def _brief(rater: Rater, ties: bool) -> Row:
    return {
        "rater": rater.name + (" (left out)" if rater.excluded else ""),
        "done": f"{rater.done}/{rater.total}",
        "catch": _of(rater.catch),
        "repeats": _of(rater.repeats),
        "with majority": _of(rater.others),
        "left": _of(rater.left),
        **({"no difference": rater.ties} if ties else {}),
        "seconds": None if rater.seconds is None else f"{rater.seconds:.1f}",
        "taken back": rater.withdrawn,
    }


def _score(score: CandidateScore) -> Row:
    return {
        "candidate": score.candidate,
        "score": f"{score.score:+.2f}",
        "interval": f"[{score.low:+.2f}, {score.high:+.2f}]",
        "answers": score.n,
    }


def _rater_row(rater: Rater) -> Row:
    flat: dict[str, Any] = {}
    for key, value in asdict(rater).items():
        if key in ("catch", "repeats", "others", "left"):
            flat |= {key: value["hits"], f"{key}_n": value["n"]}
        else:
            flat[key] = "; ".join(value) if key == "reasons" else value
    return flat


def _shares(rater: Rater) -> dict[str, Any]:
    return {name: _share(getattr(rater, name)) for name in ("catch", "repeats", "others", "left")}


def _share(share: Share) -> dict[str, Any]:
    return {"hits": share.hits, "n": share.n, "value": share.value, "interval": share.interval()}


def _of(share: Share) -> str | None:
    return f"{share.hits}/{share.n}" if share.n else None


def _percent(share: Share) -> str:
    interval = share.interval()
    if share.value is None or interval is None:
        return "n/a (none yet)"
    return f"{share.value:.1%} [{interval[0]:.1%}, {interval[1]:.1%}] of {share.n}"
