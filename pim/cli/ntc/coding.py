"""`pim ntc compress` and `decompress`: pictures to files of a learned codec, and back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from pim.cli import common
from pim.cli.common import one_line, progress
from pim.errors import InputError, PimError, UsageError, os_errors_as

COMPRESS_EXAMPLES = """\b
Examples:
  pim ntc compress examples/reference.png --force --quiet
  pim ntc compress examples/reference.png --quality 20 -o small.pntc --quiet
"""
DECOMPRESS_EXAMPLES = """\b
Example:
  pim ntc compress examples/reference.png -o reference.pntc --quiet
  pim ntc decompress reference.pntc -o decoded.png --quiet
"""
QUALITY_STEPS = 2.55  # of the 256 in a file, per unit of --quality
LARGEST_FILE = 1 << 30  # bytes

Codec = Annotated[
    str | None, typer.Option("--codec", metavar="NAME", help="A codec that ships, or a .safetensors file.")
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Of the CPU; 0: all.")]


def compress(
    images: Annotated[list[str], typer.Argument(metavar="IMAGES...", help="Pictures to code.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="By default IMAGE.pntc, beside it.")
    ] = None,
    quality: Annotated[
        int, typer.Option(min=0, max=100, help="0: fewest bits; 100: most. Codecs for one rate ignore it.")
    ] = 50,
    codec: Codec = None,
    force: Force = False,
    background: common.Background = None,
    frame: common.Frame = None,
    max_pixels: common.MaxPixels = common.MAX_PIXELS,
    threads: Threads = 0,
    device: common.Device = "cpu",
    quiet: common.Quiet = False,
) -> None:
    """Code pictures with a learned codec.

    Prints the names of the files. `pim ntc decompress` needs the same codec to read them; the codec that
    ships is found by itself. Pictures become 8-bit sRGB.
    """
    pairs = _targets(images, output, ".pntc", force)
    from ntc.coding import compress as to_bytes
    from ntc.coding import from_pixels
    from ntc.store import find
    from ntc.store import load as load_codec
    from pim.core.files import write_bytes
    from pim.images.opener import open_image

    common.use_threads(threads)
    loaded = load_codec(find(codec), common.chosen_device(device)).codec
    _note_slow_coder(quiet)
    opening = common.open_options(background, frame, max_pixels)
    level = round(quality * QUALITY_STEPS) if loaded.config.conditioned else None

    def work(name: str, target: Path) -> str:
        image = from_pixels(open_image(name, opening).pixels)
        data = to_bytes(loaded, image, level)
        write_bytes(target, data)
        height, width = image.shape[-2:]
        return f"{len(data)} bytes, {8 * len(data) / (height * width):.3f} bits per pixel"

    _each(pairs, "compress", work, quiet=quiet)


def decompress(
    coded: Annotated[list[str], typer.Argument(metavar="FILES...", help="Made by pim ntc compress.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="By default FILE.png, beside it.")
    ] = None,
    codec: Codec = None,
    force: Force = False,
    max_pixels: common.MaxPixels = 1 << 27,
    threads: Threads = 0,
    device: common.Device = "cpu",
    quiet: common.Quiet = False,
) -> None:
    """Decode pictures, as 8-bit PNG unless --output has another ending.

    Prints the names of the pictures. A file that is damaged, or of another codec, is refused.
    """
    pairs = _targets(coded, output, ".png", force)
    import io

    from PIL import Image

    from ntc.coding import decompress as from_bytes
    from ntc.coding import to_8_bit
    from ntc.store import find_by_id
    from pim.core.files import write_bytes

    form = Image.registered_extensions().get(".png" if output is None else output.suffix.lower())
    if form not in Image.SAVE:
        raise UsageError(f"--output {output} must end in .png, .webp, .jpg or another picture that Pillow writes")
    common.use_threads(threads)
    where = common.chosen_device(device)
    _note_slow_coder(quiet)

    def work(name: str, target: Path) -> str:
        try:
            data = _read(name)
            pixels = to_8_bit(from_bytes(find_by_id(data, codec, where), data, max_pixels))
        except InputError as error:
            raise InputError(f"{one_line(name)} {error}") from error
        stream = io.BytesIO()
        try:
            Image.fromarray(pixels).save(stream, format=form)
        except (OSError, ValueError) as error:
            raise InputError(f"{target} cannot hold this picture: {error}") from error
        write_bytes(target, stream.getvalue())
        return f"{pixels.shape[1]} x {pixels.shape[0]} pixels"

    _each(pairs, "decompress", work, quiet=quiet)


def _targets(inputs: Sequence[str], output: Path | None, suffix: str, force: bool) -> list[tuple[str, Path]]:
    """Where the result of each input goes: `output`, or beside the input with another ending.

    Raises:
        UsageError: if two inputs, or an input and a result, share a file, or something would be overwritten.
    """
    if output is not None and len(inputs) > 1:
        raise UsageError(f"--output names one file, but there are {len(inputs)} inputs; leave it out")
    pairs = [(name, output or Path(name).with_suffix(suffix)) for name in inputs]
    if output is not None:
        common.keep_inputs(output, inputs)
    seen: dict[Path, str] = {}
    for name, target in pairs:
        if target in seen:
            raise UsageError(f"{one_line(seen[target])} and {one_line(name)} would both become {one_line(str(target))}")
        seen[target] = name
        if output is None and target.exists() and not force:
            raise UsageError(
                f"{one_line(str(target))} exists; name another file with --output, or use --force to replace it"
            )
    return pairs


def _each(pairs: Sequence[tuple[str, Path]], label: str, work: Callable[[str, Path], str], *, quiet: bool) -> None:
    """Do the work for every input, print every result and what is said about it, name what failed.

    Raises:
        typer.Exit: with code 1 if any failed.
    """
    failed = 0
    names_show_progress = sys.stdout.isatty()
    with progress(label, len(pairs), unit="images", quiet=quiet or names_show_progress) as advance:
        for name, target in pairs:
            try:
                said = work(name, target)
            except UsageError:
                raise
            except PimError as error:
                failed += 1
                common.note(str(error))
            else:
                print(target, flush=True)
                common.note(f"{one_line(str(target))}: {said}", quiet)
            advance()
    if failed:
        raise typer.Exit(1)


def _read(name: str) -> bytes:
    """A whole file, if it can be one of ours."""
    with os_errors_as(InputError, "cannot be read"), open(name, "rb") as stream:
        data = stream.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise InputError(f"is larger than {LARGEST_FILE} bytes; no coded image is")
    return data


def _note_slow_coder(quiet: bool) -> None:
    """Say what is missing if symbols are coded in plain Python."""
    from ntc.coder import fast

    if not fast():
        common.note(
            "constriction is not installed, so streams are coded in plain Python: the same bytes, but slower; "
            "pip install 'pim-metric[ntc]'",
            quiet,
        )
