"""`pim ntc compress`: pictures to files of a learned codec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pim.cli import common
from pim.cli.ntc import files

EXAMPLES = """\b
Examples:
  pim ntc compress examples/reference.png --force --quiet
  pim ntc compress examples/reference.png --quality 20 -o small.pntc --quiet
"""
QUALITY_STEPS = 2.55  # of the 256 in a file, per unit of --quality


def compress(
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", show_default=False, help="Pictures to code.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", show_default=False, help="By default IMAGE.pntc, beside it."),
    ] = None,
    quality: Annotated[
        int, typer.Option(min=0, max=100, help="0: fewest bits; 100: most. Codecs for one rate ignore it.")
    ] = 50,
    codec: files.Codec = None,
    force: files.Force = False,
    background: common.Background = None,
    frame: common.Frame = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    threads: files.Threads = 0,
    device: common.Device = "cpu",
    quiet: common.Quiet = False,
) -> None:
    """Code pictures with a learned codec.

    Prints the names of the files. `pim ntc decompress` needs the same codec to read them; the codec that
    ships is found by itself. Pictures become 8-bit sRGB.
    """
    pairs = files.targets(images, output, files.SUFFIX, force)
    from ntc.coding import compress as to_bytes
    from ntc.coding import from_pixels
    from ntc.store import find
    from ntc.store import load as load_codec
    from pim.core.files import write_bytes
    from pim.images.opener import open_image

    files.use_threads(threads)
    loaded = load_codec(find(codec), common.chosen_device(device)).codec
    files.note_slow_coder(quiet)
    opening = common.open_options(background, frame, max_pixels)
    level = round(quality * QUALITY_STEPS) if loaded.config.conditioned else None

    def work(name: str, target: Path) -> str:
        image = from_pixels(open_image(name, opening).pixels)
        data = to_bytes(loaded, image, level)
        write_bytes(target, data)
        height, width = image.shape[-2:]
        return f"{len(data)} bytes, {8 * len(data) / (height * width):.3f} bits per pixel"

    files.each(pairs, "compress", work, quiet=quiet)
