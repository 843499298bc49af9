"""LIVE image quality assessment database, release 2: 29 pictures, 5 distortions, realigned DMOS.

Source: Sheikh, Sabir, Bovik, A Statistical Evaluation of Recent Full Reference Image Quality
Assessment Algorithms (IEEE Transactions on Image Processing 15, 2006).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pim.datasets.dataset import Dataset, Finding, ManifestError, Record
from pim.datasets.folder import child, find_root, listing
from pim.datasets.opinions import Rating, opinion_set

FOLDERS = {  # in the order of the tables: name, pictures with undistorted copies, what it is
    "jp2k": (227, "JPEG 2000"),
    "jpeg": (233, "JPEG"),
    "wn": (174, "white noise"),
    "gblur": (174, "Gaussian blur"),
    "fastfading": (174, "fast fading"),
}
ROWS = sum(count for count, _ in FOLDERS.values())
EXPECTED = {"": 779, "jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145}
DMOS = (-5.0, 115.0)  # met are -2.64 to 111.77
LARGEST = 1 << 20  # bytes of a table; zlib makes 1 GiB of it at most
PATIENCE = 60  # seconds
_READ = """
import json, sys
import numpy as np
from scipy.io import loadmat

found = loadmat(sys.argv[1], squeeze_me=True, variable_names=sys.argv[2:])
known = {name: np.ravel(found[name], order="F").tolist() for name in sys.argv[2:] if name in found}
print(json.dumps(known, default=str))
"""
LAYOUT = "LIVE release 2, a folder with dmos_realigned.mat, refnames_all.mat, refimgs and " + ", ".join(FOLDERS)


def read(path: Path) -> Dataset:
    """Read the tables of LIVE, in a folder or up to two levels away; undistorted copies are left out.

    Raises:
        ManifestError: if it is another data set, or its tables cannot be understood.
    """
    root = find_root(path, lambda folder: child(folder, "refnames_all.mat").is_file(), LAYOUT)
    ratings, copies = _ratings(root)
    references = listing(child(root, "refimgs"))
    folders = {name: listing(child(root, name), (".bmp",), by_stem=True) for name in FOLDERS}
    files = {f"{name}/{stem}": file for name, folder in folders.items() for stem, file in folder.files.items()}
    return opinion_set(
        "live",
        root,
        ratings,
        references.files,
        {rating.distorted: files[rating.distorted] for rating in ratings if rating.distorted in files},
        score="DMOS",
        limits=DMOS,
        higher_is_better=False,
        expected=EXPECTED,
        findings=(
            *(found for folder in (references, *folders.values()) for found in folder.findings()),
            Finding("note", f"{copies} undistorted copies are left out", copies),
        ),
    )


def _ratings(root: Path) -> tuple[list[Rating], int]:
    """The distorted pictures in the order of the tables, and the number of undistorted copies."""
    scores = child(root, "dmos_realigned.mat")
    if not scores.is_file():
        old = "; dmos.mat is there, but its scores are not aligned between sessions" * child(root, "dmos.mat").is_file()
        raise ManifestError(f"{root} lacks dmos_realigned.mat{old}")
    table = _variables(scores, ("dmos_new", "orgs", "dmos_std"), (int, float))
    names = _variables(child(root, "refnames_all.mat"), ("refnames_all",), str)["refnames_all"]
    deviations = table.get("dmos_std", [None] * ROWS)  # of means: a tenth of what single people differ by
    places = [(folder, number) for folder, (count, _) in FOLDERS.items() for number in range(1, count + 1)]
    ratings = []
    for at, (folder, number) in enumerate(places):
        if not table["orgs"][at]:
            reference = names[at].lower()
            record = Record(
                key=f"{folder}/img{number}",
                group=Path(reference).stem,
                value=float(table["dmos_new"][at]),
                subsets=(folder,),
                distortion=FOLDERS[folder][1],
                deviation=deviations[at],
            )
            ratings.append(Rating(reference, record.key, record))
    return ratings, ROWS - len(ratings)


def _variables(path: Path, names: tuple[str, ...], kind: type | tuple[type, ...]) -> dict[str, list[Any]]:
    """Columns of a MATLAB file, by name; the last of several may be lacking.

    SciPy reads it in a process of its own, which a damaged file can take down.

    Raises:
        ManifestError: if it cannot be read, or a column is not there, has another length or holds something else.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ManifestError(f"{path} cannot be read as a MATLAB file of LIVE: it has more than {LARGEST} bytes")
        command = [sys.executable, "-P", "-c", _READ, str(path), *names]
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ManifestError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if done.returncode:
        reason = (
            done.stderr.decode(errors="replace").strip().splitlines() or [f"it ends the reader with {done.returncode}"]
        )[-1]
        raise ManifestError(f"{path} cannot be read as a MATLAB file: {reason}")
    found: dict[str, list[Any]] = json.loads(done.stdout)
    for name in names[:2]:
        if name not in found:
            raise ManifestError(f"{path} has no {name!r}; it has {', '.join(found) or 'nothing else that is known'}")
    for name, column in found.items():
        if len(column) != ROWS or not all(isinstance(cell, kind) for cell in column):
            what = "names" if kind is str else "numbers"
            raise ManifestError(f"{path}: {name} must be {ROWS} {what}; got {len(column)} cells")
    return found
