"""`pim ntc decompress`: files of a learned codec to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pim.cli import common
from pim.cli.ntc import files
from pim.errors import InputError

EXAMPLES = """\b
Example:
  pim ntc compress examples/reference.png -o reference.pntc --quiet
  pim ntc decompress reference.pntc -o decoded.png --quiet
"""
LARGEST_FILE = 1 << 30  # bytes


def decompress(
    coded: Annotated[
        list[str], typer.Argument(metavar="FILES...", show_default=False, help="Made by pim ntc compress.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", show_default=False, help="By default FILE.png, beside it."),
    ] = None,
    codec: files.Codec = None,
    force: files.Force = False,
    max_pixels: common.MaxPixels = 1 << 27,
    threads: files.Threads = 0,
    device: common.Device = "cpu",
    quiet: common.Quiet = False,
) -> None:
    """Decode pictures, as 8-bit PNG unless --output has another ending.

    Prints the names of the pictures. A file that is damaged, or of another codec, is refused.
    """
    pairs = files.targets(coded, output, ".png", force)
    import io

    from PIL import Image

    from ntc.coding import decompress as from_bytes
    from ntc.coding import to_8_bit
    from ntc.store import find_by_id
    from pim.core.files import write_bytes

    files.use_threads(threads)
    where = common.chosen_device(device)
    files.note_slow_coder(quiet)

    def work(name: str, target: Path) -> str:
        with files.about(name):
            data = _read(name)
            pixels = to_8_bit(from_bytes(find_by_id(data, codec, where), data, max_pixels))
        stream = io.BytesIO()
        try:
            Image.fromarray(pixels).save(stream, format=Image.registered_extensions().get(target.suffix.lower(), "PNG"))
        except (OSError, ValueError) as error:
            raise InputError(f"{target} cannot hold this picture: {error}") from error
        write_bytes(target, stream.getvalue())
        return f"{pixels.shape[1]} x {pixels.shape[0]} pixels"

    files.each(pairs, "decompress", work, quiet=quiet)


def _read(name: str) -> bytes:
    """A whole file, if it can be one of ours.

    Raises:
        InputError: if it cannot be read, is empty or much too large.
    """
    try:
        with open(name, "rb") as stream:
            data = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}") from error
    if len(data) > LARGEST_FILE:
        raise InputError(f"is larger than {LARGEST_FILE} bytes; no coded image is")
    return data
