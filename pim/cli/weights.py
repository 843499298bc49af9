"""`pim weights`: which weight files there are, whether they are whole, smaller ones, and getting VGG-16."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any, Literal

import typer

from pim.cli import common
from pim.cli.common import csv_table, one_line
from pim.cli.progress import downloading
from pim.errors import PimError, UsageError, WeightsError, os_errors_as

app = typer.Typer(help="List and check weight files, compress them, and get the backbone of the VGG metrics.")


@app.command("list", epilog="\b\nExample:\n  pim weights list")
def list_(form: common.Format = None, target: common.Output = None) -> None:
    """List the weight files inside the package, and the backbones in the cache.

    Each with its path, SHA-256, licence, and how it was made.
    """
    from pim.core.files import sha256_of
    from pim.core.weights import read_header, shipped
    from vggmetric.backbone import in_cache

    records = [
        {"name": name, "path": str(path), "sha256": sha256_of(path), **asdict(read_header(path))}
        for name, path in (shipped() | in_cache()).items()
    ]
    if not records:
        common.note("this installation holds no weight files")
    columns = ("name", "path", "sha256", "kind", "format", "licence", "config", "training")
    rows = [{column: _flat(record[column]) for column in columns} for record in records]
    common.show(form, target, {"weights": records}, csv_table(columns, rows), "".join(map(_story, records)))


@app.command("check", epilog="\b\nExample:\n  pim weights check")
def check(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE...", help="Weight files; without any, those of the package.")
    ] = None,
) -> None:
    """Read weight files to the end and build their networks.

    Prints SHA-256, kind and path of every good one, separated by tabs, and names the others.
    """
    from pim.core.weights import shipped
    from pim.metrics.registry import check_weights

    paths = files or list(shipped().values())
    failed = 0
    for path in paths:
        try:
            header, digest = check_weights(path)
        except PimError as error:
            failed += 1
            common.note(one_line(str(error)))
        else:
            print(f"{digest}\t{header.kind}, format {header.format}\t{one_line(str(path))}", flush=True)
    if failed:
        common.note(f"{failed} of {len(paths)} weight files failed")
        raise typer.Exit(1)


@app.command("get", epilog="\b\nExamples:\n  pim weights get vgg16\n  pim weights get vgg16 --id oxford --f16")
def get(
    what: Annotated[Literal["vgg16"], typer.Argument(help="The network.")],
    name: Annotated[
        Literal["tv1k", "oxford"],
        typer.Option("--id", help="Trained by torchvision, as behind LPIPS, or the original weights of Oxford."),
    ] = "tv1k",
    half: Annotated[bool, typer.Option("--f16", help="Store float16: 29 MB instead of 59.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the 553 MB that are published, too.")] = False,
    quiet: common.Quiet = False,
) -> None:
    """Fetch the trained layers of VGG-16, check them, and keep what the metrics need.

    A download that was cut off continues with the same command. Prints where the file lies now.
    """
    from vggmetric.backbone import named
    from vggmetric.download import get as fetched

    backbone = named(name)
    common.note(f"{what}, {backbone.title}; licence {backbone.licence}", quiet)
    with common.stoppable("what came is kept"), downloading(backbone.file, backbone.size, quiet) as moved:
        path = fetched(name, half=half, keep=keep, progress=moved)
    print(one_line(str(path)))


@app.command("compress", epilog="\b\nExample:\n  pim weights compress my.safetensors -o my.pntm")
def compress(
    source: Annotated[
        str, typer.Argument(metavar="WEIGHTS", help="A .safetensors file of a PIM, or the name of one that ships.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The compressed file.")],
    step: Annotated[
        float, typer.Option(min=0, help="Quantisation step in units of the root mean square of each tensor.")
    ] = 0.25,
    quiet: common.Quiet = False,
) -> None:
    """Quantise the weights of a PIM and code them in few bytes.

    The larger the step, the smaller the file, and the less the metric is what it was: compare the
    expanded file with the original by `pim eval` before it is used.
    """
    from ntc import compressed_weights
    from pim.core.files import write_bytes
    from pim.core.weights import shipped

    path = shipped().get(source, Path(source))
    common.keep_inputs(output, [str(path)])
    content = compressed_weights.compress(path, step)
    write_bytes(output, content)
    size = path.stat().st_size
    common.note(f"{size} bytes became {len(content)}, {size / len(content):.1f} times fewer", quiet)
    print(output)


@app.command("expand", epilog="\b\nExample:\n  pim weights expand my.pntm -o expanded.safetensors")
def expand(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `pim weights compress`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The weights, .safetensors.")],
) -> None:
    """Turn compressed weights into an ordinary weight file, which every command takes with -m."""
    from ntc import compressed_weights
    from pim.core import weights

    if output.suffix != ".safetensors":
        raise UsageError(f"--output must end in .safetensors; got {output}")
    common.keep_inputs(output, [str(source)])
    with os_errors_as(WeightsError, f"cannot read {source}"):
        content = source.read_bytes()
    header, tensors = compressed_weights.expand(content)
    weights.write(output, tensors, header)
    print(output)


def _flat(value: Any) -> str | int:
    """One cell: objects as JSON."""
    return value if isinstance(value, (str, int)) else json.dumps(value, sort_keys=True)


def _story(record: dict[str, Any]) -> str:
    lines = [record["name"]]
    for key in ("path", "sha256", "licence", "config", "training"):
        value = record[key]
        if isinstance(value, str):
            lines.append(f"  {key}: {one_line(value) or 'not stated'}")  # whole, to be copied
        elif value or key == "training":
            shown = one_line(", ".join(f"{k} {_flat(v)}" for k, v in value.items())) or "not stated"
            lines += wrap(f"  {key}: {shown}", 110, subsequent_indent="    ", break_on_hyphens=False)
    return "\n".join(lines) + "\n"
