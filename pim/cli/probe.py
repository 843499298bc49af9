"""`pim probe`: whether a metric cares more about what is in a box than about its like elsewhere."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pim.cli import common
from pim.cli.common import Row, one_line, progress, table
from pim.errors import UsageError

if TYPE_CHECKING:
    from pim.core.metric import Metric
    from pim.eval.boxes import Box
    from pim.eval.probe import ProbeOptions, Refusal, Response, Target
    from pim.eval.probe_summary import Ratio, Summary
    from pim.images.opener import OpenOptions

EXAMPLES = """\b
Examples:
  pim probe examples/reference.png --box 30,60,32,32 -m pim -m ssim
  pim probe faces.csv -m head.safetensors --control random.safetensors
"""
WIDTH = 110
COLUMNS = ("image", "x", "y", "w", "h")
ABOUT_ONE = (
    "S: distance with the box distorted over that with a control box distorted, all with the same squared error; "
    "[low, high] is the middle 95 % over control boxes of this picture and says nothing about others"
)
ABOUT_MANY = (
    "S: geometric mean over boxes of the distance with the box distorted over that with a control box distorted, "
    "all with the same squared error; [low, high]: 95 % bootstrap interval over pictures"
)


def probe(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="A picture, or a table (.csv) with columns image,x,y,w,h[,label].")
    ],
    box: Annotated[list[str] | None, typer.Option(metavar="X,Y,W,H", help="In pixels. May be repeated.")] = None,
    metric: common.Metrics = None,
    control: Annotated[
        str | None, typer.Option(metavar="NAME", help="A metric without knowledge of content, to compare with.")
    ] = None,
    distortion: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="noise, jpeg or blur; by default all.")
    ] = None,
    scramble: Annotated[
        Literal["turn", "tiles", "phases", "none"],
        typer.Option(
            help="Control of content: upside down (faces), tiles of 8 px permuted (text), or random phases under the "
            "same spectrum."
        ),
    ] = "turn",
    loosen: Annotated[
        float,
        typer.Option(
            min=1,
            max=10,
            help="Let control boxes be so many times further away than 20 % in brightness and 25 % in texture.",
        ),
    ] = 1.0,
    against: Annotated[
        Literal["alike", "flat", "texture"],
        typer.Option(help="Control boxes: the like, or the flattest or most textured of the picture."),
    ] = "alike",
    layers: Annotated[
        bool, typer.Option("--layers", help="For a metric on VGG-16: what every layer says, too.")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the box and its control boxes (.png).")
    ] = None,
    sensitive: Annotated[
        Path | None,
        typer.Option(
            "--sensitivity",
            metavar="FILE",
            help="Also draw what a unit of noise costs the first metric at every place (.png).",
        ),
    ] = None,
    background: common.Background = None,
    frame: common.Frame = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    form: common.Format = None,
    target: common.Output = None,
    device: common.Device = "auto",
    seed: common.Seed = 0,
    quiet: common.Quiet = False,
) -> None:
    """See whether a metric cares more about one part of a picture.

    The same distortion with exactly the same squared error is put into the box and, one at a time, into
    boxes of the same size that look alike in brightness and texture. A metric that counts errors alike
    everywhere gives 1. Boxes without enough likes are refused.
    """
    from pim.eval.estimate import IntervalOptions
    from pim.eval.matched_energy import DISTORTIONS
    from pim.eval.probe import ProbeOptions
    from pim.eval.probe_summary import of_boxes, of_images

    wanted = tuple(distortion or DISTORTIONS)
    if unknown := [name for name in wanted if name not in DISTORTIONS]:
        raise UsageError(f"unknown distortion {unknown[0]!r}; known are {', '.join(DISTORTIONS)}")
    targets = _targets(image, box or [], common.open_options(background, frame, max_pixels))
    names = [*(metric or []), *([control] if control else [])]
    metrics = common.load_metrics(names or None, device)
    control_name = metrics[-1].name if control else None
    options = ProbeOptions(wanted, scramble, loosen, against, seed, common.chosen_device(device), layers)
    responses, refusals = _probe(targets, metrics, options, quiet)
    if picture is not None:
        _draw(targets, options, picture)
    costs = _sensitivity(targets, metrics, sensitive, options, quiet) if sensitive is not None else {}
    for refusal in refusals:
        common.note(f"{one_line(refusal.image)} {refusal.box}, {refusal.distortion}: {NOT_SHOWN}: {refusal.reason}")
    several = len({t.image for t in targets}) > 1
    found = of_images(responses, control_name, IntervalOptions(seed=seed)) if several else of_boxes(responses)
    _print(found, responses, refusals, costs, several, form, target)
    if refusals and not responses:
        raise typer.Exit(1)


NOT_SHOWN = "not shown"
LOCAL_VARIANCE = "(local variance)"


def _targets(name: str, boxes: Sequence[str], opening: OpenOptions) -> list[Target]:
    """Boxes with their pictures."""
    from pim.eval.boxes import Box

    if boxes:
        parsed = [Box.parse(text) for text in boxes]
        rows = [(Path(name), box, "") for box in parsed]
    elif name.lower().endswith((".csv", ".tsv")):
        rows = _table(Path(name))
    else:
        raise UsageError("say where to look with --box x,y,width,height, or name a table (.csv) of boxes")
    return _opened(rows, opening)


def _opened(rows: Sequence[tuple[Path, Box, str]], opening: OpenOptions) -> list[Target]:
    import numpy as np

    from pim.eval.probe import Target
    from pim.images.opener import open_image

    found, pixels = [], {}
    for path, _, _ in rows:
        if path not in pixels:
            pixels[path] = np.rint(open_image(path, opening).pixels * 255).astype(np.uint8)
    for path, box, label in rows:
        box.check(pixels[path], str(path))
        others = tuple(other for where, other, _ in rows if where == path and other != box)
        found.append(Target(str(path), pixels[path], box, label, others))
    return found


def _table(path: Path) -> list[tuple[Path, Box, str]]:
    from pim.datasets.sheet import read_sheet
    from pim.eval.boxes import Box

    rows = [row for _, row in read_sheet(path, COLUMNS).records()]
    boxes = [Box.parse(",".join(row[column] for column in COLUMNS[1:])) for row in rows]
    return [(path.parent / row["image"], box, row.get("label", "")) for row, box in zip(rows, boxes, strict=True)]


def _probe(
    targets: Sequence[Target], metrics: Sequence[Metric], options: ProbeOptions, quiet: bool
) -> tuple[list[Response], list[Refusal]]:
    from pim.eval.probe import probe

    responses: list[Response] = []
    refusals: list[Refusal] = []
    with progress("probing", len(targets), unit="boxes", quiet=quiet) as advance:
        for target in targets:
            found, refused = probe(target, metrics, options)
            responses += found
            refusals += refused
            advance()
    return responses, refusals


def _sensitivity(
    targets: Sequence[Target], metrics: Sequence[Metric], path: Path, options: ProbeOptions, quiet: bool
) -> dict[str, float]:
    """What noise costs in the boxes of the first picture over outside, by metric, and the local variance."""
    from pim.core.files import written_whole
    from pim.eval.sensitivity import DRAWS, inside_over_outside, local_variance, sensitivity
    from pim.images.heatmap import draw

    first = targets[0]
    boxes = [target.box for target in targets if target.image == first.image]
    found = {}
    with progress("sensitivity", DRAWS * len(metrics), unit="draws", quiet=quiet) as advance:
        for number, metric in enumerate(metrics):
            values = sensitivity(metric, first.pixels, seed=options.seed, device=options.device, advance=advance)
            found[metric.name] = inside_over_outside(values, boxes)
            if number == 0:
                enlarged = values.repeat(8, axis=0).repeat(8, axis=1)
                caption = f"{one_line(metric.name)}: cost of a unit of noise"
                picture = draw(enlarged, min(0.0, float(values.min())), float(values.max()), caption)
                with written_whole(path) as stream:
                    picture.save(stream, "PNG")
    return found | {LOCAL_VARIANCE: inside_over_outside(local_variance(first.pixels), boxes)}


def _cost(name: str, ratio: float) -> str:
    if name == LOCAL_VARIANCE:
        return f"the local variance is {ratio:.3f} times that outside: below 1, noise is masked less"
    return f"in the boxes noise costs {one_line(name)} {ratio:.3f} times what it costs outside"


def _draw(targets: Sequence[Target], options: ProbeOptions, path: Path) -> None:
    """The first picture with its boxes in red and their control boxes in yellow."""
    from PIL import Image, ImageDraw

    from pim.core.files import written_whole
    from pim.eval.boxes import controls

    first = targets[0]
    picture = Image.fromarray(first.pixels)
    pen = ImageDraw.Draw(picture)
    for target in (t for t in targets if t.image == first.image):
        others = controls(target.pixels, target.box, target.avoid, options.loosen, options.against)
        boxes = [(box, (250, 210, 40)) for box in others]
        for box, colour in (*boxes, (target.box, (230, 30, 30))):
            pen.rectangle((box.x, box.y, box.x + box.width - 1, box.y + box.height - 1), outline=colour, width=2)
    with written_whole(path) as stream:
        picture.save(stream, "PNG")


def _print(
    found: Sequence[Summary],
    responses: Sequence[Response],
    refusals: Sequence[Refusal],
    costs: Mapping[str, float],
    several: bool,
    form: common.FormatName | None,
    target: Path | None,
) -> None:
    rows = [_row(summary, several) for summary in found]
    about = textwrap.fill(ABOUT_MANY if several else ABOUT_ONE, WIDTH) + "\n" if rows else ""
    document = {
        "summaries": [asdict(s) for s in found],
        "responses": [{**asdict(r), "box": str(r.box), "ratio": r.ratio} for r in responses],
        "refused": [{**asdict(r), "box": str(r.box)} for r in refusals],
        "sensitivity": dict(costs),
    }
    text = "".join([table(rows, "text"), about, *(f"{_cost(*item)}\n" for item in costs.items())])
    common.show(form, target, document, table(rows, "csv"), text)


def _row(summary: Summary, several: bool) -> Row:
    about: dict[str, str | int] = {"metric": summary.metric, "distortion": summary.distortion}
    if several:
        about |= {"pictures": summary.images, "boxes": summary.boxes}
    else:
        about |= {"box": one_line(summary.what)}
    shown = {"S": _text(summary.ratio), "S scrambled": _text(summary.scrambled)}
    if several:
        shown |= {"over scrambled": _text(summary.over_scrambled), "over control": _text(summary.over_control)}
    return {**about, **shown, "verdict": summary.verdict}


def _text(ratio: Ratio | None) -> str:
    if ratio is None:
        return "-"
    if ratio.low is None or ratio.high is None:
        return f"{ratio.value:.3f}"
    return f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
