"""`pim rate`: forced choices of one's own raters, asked in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.cli import common
from pim.cli.common import csv_line, destination, json_text, one_line, progress
from pim.errors import PimError, UsageError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pim.rating.triplets import TripletSet

_PLAN_EXAMPLES = """\b
Examples:
  pim rate plan originals/ jpeg/ webp/ ours/ -o triplets.csv
  pim rate plan originals/ jpeg/ webp/ ours/
"""
_SERVE_EXAMPLES = """\b
Examples:
  pim rate serve originals/ jpeg/ webp/ ours/ --db ratings.sqlite
  pim rate serve triplets.csv --db ratings.sqlite --choose active --judgements 200
  pim rate serve triplets.csv --db ratings.sqlite --host 0.0.0.0
  pim rate serve originals/ jpeg/ webp/ --question "Which shows the skin more naturally?" --no-difference
"""
_EXPORT_EXAMPLES = """\b
Examples:
  pim rate export ratings.sqlite -o ratings.csv
  pim rate export ratings.sqlite -o ratings.csv --exclude "Robin"
"""
_REPORT_EXAMPLES = """\b
Examples:
  pim rate report ratings.sqlite
  pim rate report ratings.sqlite --format csv --table scores -o scores.csv
"""

Sources = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...",
        show_default=False,
        help="A table with the columns reference, a, b; or a folder of references and folders of candidates.",
    ),
]
Images = Annotated[
    Path | None, typer.Option("--images", metavar="DIR", show_default=False, help="Where paths of a table start.")
]
File = Annotated[Path, typer.Argument(metavar="DB", show_default=False, help="The file made by pim rate serve.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="NAME", show_default=False, help="Leave this rater out. May be repeated."),
]

app = typer.Typer(help="Collect forced choices of your own raters in the browser.")


@app.command("plan", epilog=_PLAN_EXAMPLES)
def plan(sources: Sources, images: Images = None, target: common.Output = None) -> None:
    """List the triplets that would be asked, as a table to edit and to serve.

    From folders: all pairs of candidates that are called like the same reference.
    """
    from pim.rating.export import names_from
    from pim.rating.triplets import read

    common.keep_inputs(target, map(str, sources))
    given = read(sources, images)
    names = names_from(given.paths, Path() if target is None else target.parent)
    with destination(target) as stream:
        stream.write(csv_line(("reference", "a", "b", "group")))
        for triplet in given.triplets:
            cells = (names[triplet.reference], names[triplet.a], names[triplet.b], triplet.group)
            stream.write(csv_line(cells))


@app.command("serve", epilog=_SERVE_EXAMPLES)
def serve(
    sources: Sources,
    file: Annotated[
        Path, typer.Option("--db", metavar="FILE", help="Keep every answer there, and go on with what is there.")
    ] = Path("ratings.sqlite"),
    images: Images = None,
    question: Annotated[
        str | None,
        typer.Option("--question", metavar="TEXT", show_default=False, help="In place of: which is closer?"),
    ] = None,
    instructions: Annotated[
        str | None,
        typer.Option("--instructions", metavar="TEXT", show_default=False, help="What raters read before they begin."),
    ] = None,
    no_difference: Annotated[
        bool | None,
        typer.Option("--no-difference", help="Offer it as a third answer: half a vote for each candidate."),
    ] = None,
    choose: Annotated[
        Literal["all", "active"] | None,
        typer.Option(
            "--choose",
            show_default=False,
            help="all, the default: what was judged least comes first. active: what would tell most about the scores.",
        ),
    ] = None,
    judgements: Annotated[
        int | None,
        typer.Option("--judgements", metavar="N", min=1, show_default=False, help="Of each rater; by default all."),
    ] = None,
    catch: Annotated[
        float | None,
        typer.Option("--catch", metavar="SHARE", min=0, max=0.5, help="Catch trials per judgement.  [default: 0.05]"),
    ] = None,
    repeats: Annotated[
        float | None,
        typer.Option("--repeats", metavar="SHARE", min=0, max=0.5, help="Repeats per judgement.  [default: 0.1]"),
    ] = None,
    rest: Annotated[
        int | None,
        typer.Option("--rest", metavar="N", min=0, help="Answers between two breaks; 0 for none.  [default: 50]"),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Where to listen; beyond this machine with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes one that is free.")] = 8765,
    background: common.Background = None,
    max_pixels: Annotated[
        int | None,
        typer.Option("--max-pixels", min=1, show_default=False, help="Refuse images with more pixels than this."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, show_default=False, help="Start of all random numbers.")
    ] = None,
    quiet: common.Quiet = False,
) -> None:
    """Show triplets in a web page and keep which candidate people find closer to the reference.

    Open the printed address in a browser, on this machine or, with --host, on another one or a tablet.
    Raters go on where they stopped when they enter the same name. The server can be stopped or killed at
    any time; the same command goes on.
    """
    from pim.rating import store
    from pim.rating.prepare import access_token, prepare
    from pim.rating.triplets import read

    _require_server()
    from pim.rating.access import Access, is_loopback
    from pim.rating.server import application
    from pim.rating.server import serve as answer_requests

    asked = {
        "choose": choose,
        "judgements": judgements,
        "catch": catch,
        "repeats": repeats,
        "rest": rest,
        "seed": seed,
        "background": background,
        "max_pixels": max_pixels,
        "question": question,
        "instructions": instructions,
        "no_difference": no_difference,
    }
    given: TripletSet = read(sources, images)
    with store.serving(file) as kept:
        ready = prepare(kept, given, asked, _watch(quiet))
        for line in ready.notes:
            common.note(line, quiet)
        token = None if is_loopback(host) else access_token(kept)
        listening = _listen(host, port)
        try:
            print(_address(listening, host, token), flush=True)
            told = f"triplets: {len(given.triplets)}; answers in {file} so far: {store.count(kept)}; Ctrl-C stops"
            common.note(told, quiet)
            answer_requests(application(ready.study, ready.gallery, Access(host, token)), listening)
        except KeyboardInterrupt:
            told = f"stopped; answers kept in {file}: {store.count(kept)}; the same command goes on"
            raise common.Interrupted(told) from None
        finally:
            listening.close()


@app.command("export", epilog=_EXPORT_EXAMPLES)
def export(file: File, exclude: Exclude = None, target: common.Output = None, quiet: common.Quiet = False) -> None:
    """Write the answers as a table of forced choices, for pim eval table and pim fit.

    One line per judged triplet: reference, a, b, prefer_b (the share of raters who found b closer), n, group.
    Beside FILE.csv a FILE.json says where the answers come from and who was left out.
    """
    from pim.rating import store
    from pim.rating.export import choices, excluded_names, names_from, summary, without

    content = store.content(file)
    excluded = excluded_names(content, exclude or [])
    found = choices(content, without(content, excluded))
    if not found:
        raise PimError(f"{file} holds no answers to export yet")
    names = names_from(content.paths, Path() if target is None else target.parent)
    beside = None if target is None else target.with_suffix(".json")
    if target is not None and beside is not None and (target == beside or target.resolve() == file.resolve()):
        raise UsageError(f"--output {target} must be a table, such as ratings.csv")
    with destination(target) as stream:
        stream.write(csv_line(("reference", "a", "b", "prefer_b", "n", "group")))
        for choice in found:
            t = choice.triplet
            stream.write(csv_line((names[t.reference], names[t.a], names[t.b], choice.prefer_b, choice.n, t.group)))
    told = summary(content, found, excluded)
    if beside is not None:
        with destination(beside) as stream:
            stream.write(json_text({"ratings": told}))
    left_out = f"; left out: {', '.join(map(one_line, excluded))}" if excluded else ""
    common.note(f"{told['answers']} answers to {told['judged']} of {told['triplets']} triplets{left_out}", quiet)


@app.command("report", epilog=_REPORT_EXAMPLES)
def report(
    file: File,
    exclude: Exclude = None,
    table: Annotated[
        Literal["raters", "scores"], typer.Option("--table", help="Which one --format csv writes.")
    ] = "raters",
    form: common.Format = None,
    target: common.Output = None,
) -> None:
    """Say how well raters agree with themselves and each other, who should be looked at, and what they prefer.

    Nobody is left out unless --exclude says so. Scores are Bradley-Terry log-odds per reference, higher is closer.
    """
    from pim.cli import rate_report
    from pim.rating import store
    from pim.rating.report import report as describe

    found = describe(store.content(file), exclude or [])
    form = common.chosen_format(form, target)
    with destination(target) as stream:
        if form == "json":
            stream.write(json_text(rate_report.document(found)))
        elif form == "csv":
            stream.write(rate_report.csv_table(found, table))
        else:
            stream.write(rate_report.text(found))


def _require_server() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise PimError(f"pim rate serve needs {error.name}: pip install 'pim-metric[rate]'") from error


def _watch(quiet: bool) -> Callable[[int], AbstractContextManager[Callable[[int], None]]]:
    return lambda total: progress("look at pictures", total, unit="pictures", quiet=quiet)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UsageError: if the address is none of this machine's.
        PimError: if the port is taken.
    """
    import errno
    import socket

    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(f"--host {host} is no address of this machine") from error
    try:
        return socket.create_server(where, family=family, backlog=64)
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise UsageError(f"--host {host} is no address of this machine") from error
        raise PimError(f"cannot listen on {host}, port {port}: {error.strerror}; try another --port") from error


def _address(listening: socket.socket, host: str, token: str | None) -> str:
    """What to type into a browser."""
    import ipaddress

    where, port = listening.getsockname()[:2]
    name = _outward() if ipaddress.ip_address(where).is_unspecified else host
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{port}/" + ("" if token is None else f"?token={token}")


def _outward() -> str:
    """The address under which others reach this machine, as far as it knows; its name if it knows none."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address that is nobody's: nothing is sent, a route is chosen
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
