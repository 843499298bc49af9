"""Learned metrics on the Hugging Face hub (optional package `huggingface_hub`).

Nothing else in this package talks to the hub. Names, accounts and the cache are those of its own library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING

from pim.core import weights
from pim.core.files import write_bytes, write_text
from pim.errors import PimError, UsageError, WeightsError, from_extra
from pim.metrics import registry

if TYPE_CHECKING:
    from pim.core.metric import Metric

CARD = """---
library_name: pim-metric
license: {hub_licence}
tags: [image-quality, perceptual-metric]
---
# {name}

A perceptual image-quality metric: how different do two pictures look? Licence: {licence}.

```python
import pim

metric = pim.from_pretrained("{repository}")
distance = metric(reference, distorted)  # (N, 3, H, W), sRGB in [0, 1] -> (N,)
```

How it was trained:

```json
{training}
```
"""


def from_pretrained(name: str | Path, *, revision: str | None = None, device: str | None = None) -> Metric:
    """Load a learned metric from a repository of the hub, or from a folder with the same files.

    Only the weight file is fetched, checked like any other and kept in the cache of the hub's library.

    Args:
        name: Such as "user/name", or a folder that `save_pretrained` wrote.
        revision: A branch, tag or commit; a commit is the only one that stays what it is.
        device: Where its weights shall be, such as "cpu" or "cuda".

    Raises:
        UsageError: if the name is a file, or no folder and huggingface_hub is not installed.
        WeightsError: if there is not exactly one weight file, or it is damaged or foreign.
        PimError: if it cannot be fetched.
    """
    if (folder := Path(name)).is_file():
        raise UsageError(f"{name} is a file, not a folder of save_pretrained; pim.load takes weight files")
    if not folder.is_dir():
        hub = _hub()
        with _told(f"cannot fetch {name}"):
            folder = Path(hub.snapshot_download(str(name), revision=revision, allow_patterns="*.safetensors"))
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise WeightsError(f"{name} must hold one .safetensors file; it holds {listed}")
    return registry.load(str(found[0]), device=device)


def save_pretrained(metric: Metric | str | Path, folder: str | Path, repository: str = "user/name") -> None:
    """Write a weight file and a card, README.md, into a folder: what `push_to_hub` uploads.

    Args:
        metric: A weight file, which is copied with its story; or a PIM or a fitted head as it is now.
        folder: Made if it is not there.
        repository: What the card calls it.

    Raises:
        UsageError: if the metric has no weights of its own, or another weight file is in the folder.
        WeightsError: if the weight file is damaged or foreign.
        PimError: if the folder cannot be written to.
    """
    path = Path(folder) / f"{Path(metric if isinstance(metric, str | Path) else metric.name).stem}.safetensors"
    save = getattr(metric, "save", None)
    if isinstance(metric, str | Path):
        registry.check_weights(metric)
    elif save is None:
        raise UsageError(f"{metric.name} has no weights of its own; a PIM and a fitted head have")
    if others := sorted(other.name for other in path.parent.glob("*.safetensors") if other.name != path.name):
        raise UsageError(f"{folder} holds {others[0]}, and a repository has one weight file; name another folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PimError(f"cannot write {folder}: {error.strerror or error}") from error
    if save is None:
        write_bytes(path, Path(str(metric)).read_bytes())
    else:
        save(path)
    header = weights.read_header(path)
    told = {"name": path.stem, "repository": repository, "licence": header.licence}
    known = "apache-2.0" if header.licence == "Apache-2.0" else "other"
    write_text(
        path.parent / "README.md",
        CARD.format(**told, hub_licence=known, training=json.dumps(header.training, indent=1)),
    )


def push_to_hub(metric: Metric | str | Path, name: str, *, private: bool = False) -> str:
    """Upload a learned metric and its card into a repository of the hub, in place of the weight file it has.

    A repository that is not there is made.

    Args:
        metric: A weight file, or a PIM or a fitted head as it is now.
        name: Such as "user/name"; the account is that of `hf auth login` or HF_TOKEN.
        private: Whether a repository that is made is.

    Returns:
        The address of the commit.

    Raises:
        UsageError: if huggingface_hub is not installed, or the metric has no weights of its own.
        WeightsError: if the weight file is damaged or foreign.
        PimError: if it cannot be uploaded.
    """
    hub = _hub()
    with TemporaryDirectory(prefix="pim-") as folder:
        save_pretrained(metric, folder, name)
        with _told(f"cannot upload to {name}"):
            hub.create_repo(name, private=private, exist_ok=True)
            said = "Upload a metric of pim"
            old = "*.safetensors"  # under another name it would be a second one
            done = hub.upload_folder(repo_id=name, folder_path=folder, commit_message=said, delete_patterns=old)
    return str(done.commit_url)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Make what the hub's library raises, of several other libraries, an error of one line."""
    try:
        yield
    except Exception as error:
        raise PimError(f"{what}: {' '.join(str(error).split()) or type(error).__name__}") from error


def _hub() -> ModuleType:
    with from_extra("hub", "the hub"):
        import huggingface_hub
    module: ModuleType = huggingface_hub
    return module
