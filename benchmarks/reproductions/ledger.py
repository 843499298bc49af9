"""Results of single runs, kept so that an interrupted experiment goes on where it stood."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from pim.core.files import write_bytes, write_text
from pim.errors import PimError

Value = str | int | float | bool | None
Settings = Mapping[str, Value]
Result = dict[str, Value]


def number(result: Mapping[str, Value], key: str) -> float:
    """A numeric entry of a result."""
    value = result[key]
    assert isinstance(value, int | float)
    return float(value)


class Ledger:
    """One file for every finished run in a folder, named by a hash of its settings.

    Args:
        folder: Made when the first run ends.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, settings: Settings, work: Callable[[], Result]) -> Result:
        """What a run with these settings gave; it is only done if it was not before.

        Args:
            settings: Everything that the result depends on, plain values.
            work: The run.

        Raises:
            PimError: if the file of the run is damaged or cannot be written.
        """
        path = self._path(settings)
        if path.exists():
            return self._read(path, settings)
        result = work()
        self._write(path, json.dumps({"settings": dict(settings), "result": result}, indent=1))
        return result

    def artefact(self, settings: Settings, ending: str) -> Path:
        """Where a run may keep a file, such as a trained network."""
        return self._path(settings).with_suffix(ending)

    def keep(self, path: Path, content: bytes) -> None:
        """Write an artefact, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)

    def _path(self, settings: Settings) -> Path:
        text = json.dumps(dict(settings), sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"

    def _write(self, path: Path, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(path, text)

    def _read(self, path: Path, settings: Settings) -> Result:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["settings"] == dict(settings):
                return dict(found["result"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PimError(f"{path} is damaged; delete it, and its run will be done again") from error
        raise PimError(f"{path} holds the result of another run; delete it, and this run will be done")
