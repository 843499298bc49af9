"""onnxruntime-web, which runs the metric in a browser: fetched once from npm, checked, and kept in the cache."""

from __future__ import annotations

import base64
import hashlib
import tarfile
from pathlib import Path

from pim.core.database import alone
from pim.core.files import write_bytes
from pim.core.weights import cache_folder
from pim.datasets.fetch import Download, Progress, fetch, forget
from pim.errors import DataError

VERSION = "1.30.0"
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # as npm tells it
SIZE = 33_106_585  # bytes
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def cached() -> Path | None:
    """The folder with `FILES`; None if they have not been fetched."""
    folder = _folder()
    return folder if all((folder / name).is_file() for name in FILES) else None


def get(package: Path | None = None, progress: Progress = lambda have, total: None) -> Path:
    """Have the runtime in the cache, and return its folder, which holds `FILES`.

    Args:
        package: What `npm pack onnxruntime-web@VERSION` writes, for machines without a network; None: fetch it.
        progress: Called with the bytes that are here and the size of the whole.

    Raises:
        DataError: if it cannot be fetched, or is not that version of the package.
        PimError: if the cache cannot be written.
    """
    if (there := cached()) is not None:
        return there
    folder = _folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder.with_name(f".{folder.name}.lock"), f"another process is fetching {folder}; wait for it"):
        if package is not None:
            check(package)
            unpack(package, folder)
            return folder
        fetched, _ = fetch(Download(URL, folder.with_name(f"{folder.name}.tgz"), most=2 * SIZE, check=check), progress)
        unpack(fetched, folder)
        forget(fetched)
    return folder


def check(package: Path) -> None:
    """Raise DataError unless a file is the package whose hash is known."""
    if not package.is_file():
        raise DataError(f"{package} is no file; npm pack onnxruntime-web@{VERSION} makes one")
    with package.open("rb") as stream:
        digest = base64.b64encode(hashlib.file_digest(stream, "sha512").digest()).decode()
    if digest != SHA512:
        raise DataError(f"{package} is not onnxruntime-web {VERSION}: its SHA-512 is {digest}, expected {SHA512}")


def unpack(package: Path, folder: Path) -> None:
    """Take `FILES` out of the package."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as archive:
        for name in FILES:
            stream = archive.extractfile(f"package/dist/{name}")
            if stream is None:
                raise DataError(f"{package} holds no dist/{name}")
            write_bytes(folder / name, stream.read())


def _folder() -> Path:
    return cache_folder() / f"onnxruntime-web-{VERSION}"
