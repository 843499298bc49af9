"""`pim weights compress` and `expand`: weight files in a fraction of their size, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pim.cli import common
from pim.errors import UsageError, WeightsError

COMPRESS_EXAMPLES = """\b
Example:
  pim weights compress my.safetensors -o my.pntm
"""
EXPAND_EXAMPLES = """\b
Example:
  pim weights expand my.pntm -o expanded.safetensors
"""


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
    from ntc.compressed_weights import compress
    from pim.core.files import write_bytes
    from pim.core.weights import shipped

    path = shipped().get(source, Path(source))
    common.keep_inputs(output, [str(path)])
    content = compress(path, step)
    write_bytes(output, content)
    size = path.stat().st_size
    common.note(f"{size} bytes became {len(content)}, {size / len(content):.1f} times fewer", quiet)
    print(output)


def expand(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `pim weights compress`.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The weights, .safetensors.")],
) -> None:
    """Turn compressed weights into an ordinary weight file, which every command takes with -m."""
    from ntc.compressed_weights import expand
    from pim.core import weights

    if output.suffix != ".safetensors":
        raise UsageError(f"--output must end in .safetensors; got {output}")
    common.keep_inputs(output, [str(source)])
    try:
        header, tensors = expand(source.read_bytes())
    except OSError as error:
        raise WeightsError(f"cannot read {source}: {error.strerror or error}") from error
    weights.write(output, tensors, header)
    print(output)
