"""Whether a tag may be released, and its notes: its version is that of the code, and CHANGELOG.md has a part for it.

python .ci/release.py v0.1.0 --notes notes.md
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def notes(tag: str, changelog: str, version: str) -> str:
    """The part of the changelog for a tag.

    Raises:
        ValueError: if the tag is not the version of the code, or the changelog has no part, or an empty one, for it.
    """
    if tag != f"v{version}":
        raise ValueError(f"the tag {tag} is not v{version}, the version in pim/_version.py")
    found = re.search(rf"^## {re.escape(version)} [(-].*?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise ValueError(f"CHANGELOG.md has no part '## {version} (date)'; name the unreleased part so")
    return found[1].strip() + "\n"


def main() -> None:
    """Check the tag, write the notes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag", help="such as v0.1.0")
    parser.add_argument("--notes", type=Path, help="the file for the notes; without it they are printed")
    asked = parser.parse_args()
    version = re.search(r'VERSION = "(.+)"', (ROOT / "pim/_version.py").read_text())
    try:
        text = notes(asked.tag, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version[1] if version else "")
    except ValueError as error:
        raise SystemExit(f"release: {error}") from None
    if asked.notes:
        asked.notes.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
