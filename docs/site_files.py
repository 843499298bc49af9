"""What the documentation site shows beside `docs/reference`: the repository's own documents, where they lie."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from pim.errors import DataError
from pim.web import runtime

ROOT = Path(__file__).resolve().parents[1]
SHOWN = (
    "*.md",
    "CITATION.cff",
    "NOTICE",
    "LICENSE",
    "docs/*.md",
    "docs/images/*",
    "examples/*",
    "examples/screenshots/*",
    "benchmarks/*.md",
    "benchmarks/results/*",
    "tests/golden/*.md",
    "*/pretrained/*.md",
    "*/pretrained/*.csv",
    "pim/web/page/*",
)
PAGE = "pim/web/page"


def on_files(files: Files, config: Any) -> Files:
    """Add them, so that links between documents are those of the repository."""
    for path in sorted({path for pattern in SHOWN for path in ROOT.glob(pattern) if path.is_file()}):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    beside = {"theme.css": ROOT / "pim/core/look/theme.css"}
    try:
        fetched = runtime.get()
        beside |= {f"runtime/{name}": fetched / name for name in runtime.FILES}
    except DataError as error:  # no reason to have no documents where npm is out of reach
        logging.getLogger("mkdocs.hooks").info("the page in the browser will not run: %s", error)
    for name, path in beside.items():  # what the page in the browser needs
        files.append(File.generated(config, f"{PAGE}/{name}", abs_src_path=str(path)))
    return files
