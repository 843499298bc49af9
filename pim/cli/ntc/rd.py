"""`pim ntc rd`: rate-distortion curves of codecs from real files, and how many bits they differ by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pim.cli import common
from pim.cli.common import destination, one_line, progress
from pim.cli.ntc import rd_output
from pim.errors import PimError, UsageError, check_known
from pim.scoring.folders import image_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ntc.rd import Coder
    from ntc.rd_files import CodedFiles
    from pim.core.metric import Metric
    from pim.eval.rate_curves import RatePoint
    from pim.images.opener import OpenOptions

EXAMPLES = """\b
Examples:
  pim ntc rd examples/reference.png -m psnr -m ms-ssim
  pim ntc rd examples/ -m psnr -o rd.csv --plot rd.svg --quiet
  pim ntc rd --curve rd.csv --against webp
"""
ANCHOR_NAMES = ("jpeg", "webp")
DEFAULT_METRICS = ("psnr", "ms-ssim", "pim")


def rd(
    images: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGES...", help="Pictures, or folders of them, to code.")
    ] = None,
    codec: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="A learned codec that ships, or a file; those of one NAME make one curve. May be repeated.",
        ),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="jpeg, webp, avif, jpeg2000 or none; by default the first two. May be repeated."
        ),
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FOLDER",
            help="Files that another codec made: a folder for each setting, or a pattern with {setting} and {name}. "
            "May be repeated.",
        ),
    ] = None,
    curve: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CSV", help="Points that were measured before: columns codec, bpp and metrics. May be repeated."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="CODEC", help="Of the tables, take this codec alone.")
    ] = None,
    against: Annotated[str | None, typer.Option(metavar="CODEC", help="Whose bits are 100 %; the first one's.")] = None,
    metric: common.Metrics = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the curves, .svg, .png or .pdf.")] = None,
    background: common.Background = None,
    frame: common.Frame = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    form: common.Format = None,
    target: common.Output = None,
    device: common.Device = "auto",
    quiet: common.Quiet = False,
) -> None:
    """Measure how many bits codecs need for how much quality.

    Every picture is written as a real file at every setting and read again; values are means over
    pictures, on 8 bits per channel. psnr is that of R, G and B together, psnr-y that of the luma. The BD-rate is
    the percentage of bits that a codec needs more (negative: fewer) than another at equal quality. As text, both tables
    are printed; as CSV the points, which --curve reads again. A measurement that was killed goes on where it was.

    Files of --files are called like their pictures. Where a decoded picture (.png) lies beside a file of its name, that
    file is weighed and the picture is compared.
    """
    _check(images, [*(codec or []), *(files or [])], curve, only, plot)
    common.keep_inputs(target, [*(images or []), *map(str, curve or [])])
    points, failed = rd_output.stored(curve or [], only, common.note), 0
    infos = dict(rd_output.known(points))
    if images:
        from ntc.rd_files import find

        metrics = common.load_metrics(metric or DEFAULT_METRICS, device)
        learned = _learned(codec, [m.name for m in metrics])
        coders: list[Coder | CodedFiles] = [*_anchors(anchor), *learned, *map(find, files or [])]
        opening = common.open_options(background, frame, max_pixels)
        originals = image_files(images)
        _check_names([coder.name for coder in coders], originals if files else [])
        measured, failed = _measured(originals, coders, metrics, opening, common.chosen_device(device), quiet)
        names = {point.codec for point in measured}
        points = [*measured, *rd_output.renamed([("table", point) for point in points], names, common.note)]
        infos = {**rd_output.known(points), **{m.name: m.info for m in metrics}}
    if not points:
        raise PimError("nothing was measured")
    result = rd_output.Result(points, infos, against, common.note)
    with destination(target) as stream:
        stream.write(result.text(common.chosen_format(form, target)))
    if plot is not None:
        result.draw(plot)
    if failed:
        raise typer.Exit(1)


def _check(
    images: list[str] | None,
    codec: list[str],
    curve: list[Path] | None,
    only: list[str] | None,
    plot: Path | None,
) -> None:
    if not images and (codec or not curve):
        raise UsageError("give pictures to code, or tables of points with --curve; see pim ntc rd --help")
    if only and not curve:
        raise UsageError("--only chooses among the codecs of --curve tables; there is none")
    if plot is not None and plot.suffix.lower() not in (".svg", ".png", ".pdf"):
        raise UsageError(f"--plot {plot} must end in .svg, .png or .pdf")


def _check_names(codecs: Sequence[str], originals: Sequence[str]) -> None:
    """Refuse codecs, and originals of --files, whose values would be averaged as those of one."""
    if twice := [name for name in codecs if codecs.count(name) > 1]:
        raise UsageError(f"two codecs are called {twice[0]}; give one another name")
    stems: dict[str, str] = {}
    for path in originals:
        if (other := stems.setdefault(Path(path).stem, path)) != path:
            raise UsageError(f"{other} and {path} have one name, so --files cannot tell what was made of each")


def _anchors(names: list[str] | None) -> list[Coder]:
    from ntc.rd import ANCHORS

    chosen = list(dict.fromkeys(names or ANCHOR_NAMES))
    check_known("unknown anchor", chosen, (*ANCHORS, "none"))
    return [ANCHORS[name] for name in chosen if name != "none"]


def _learned(names: list[str] | None, metrics: Sequence[str]) -> list[Coder]:
    if not names:
        return []
    from ntc.rd import coders

    found = coders(names)
    for coder in found:
        flattering = coder.no_judges(metrics)
        if flattering:
            said = f"{coder.name} was trained with {', '.join(sorted(coder.trained_with))}"
            common.note(f"{said}: {', '.join(flattering)} cannot judge it; look at the other metrics")
    return list(found)


def _measured(
    files: Sequence[str],
    coders: Sequence[Coder | CodedFiles],
    metrics: Sequence[Metric],
    opening: OpenOptions,
    device: str,
    quiet: bool,
) -> tuple[list[RatePoint], int]:
    """The mean points, and how many pictures failed; a picture that one codec cannot code counts for none."""
    from ntc.rd_cache import rate_cache
    from pim.core.weights import cache_folder
    from pim.eval.rate_curves import average
    from pim.scoring.fingerprint import describe

    found: list[RatePoint] = []
    failed = 0
    count = sum(len(coder.settings) for coder in coders)
    depends = {metric.name: describe(metric, device, opening) for metric in metrics}
    with (
        rate_cache(cache_folder(), depends, common.note) as cache,
        progress("rd", len(files) * count, unit="files", quiet=quiet) as advance,
    ):
        for file in files:
            try:
                found += rd_output.of_picture(file, coders, metrics, opening, device, cache, advance)
            except UsageError:
                raise
            except (PimError, MemoryError) as error:
                failed += 1
                advance(count)
                text = str(error) or "not enough memory"
                common.note(text if file in text else f"{one_line(file)}: {text}")
    return average(found, common.note), failed
