"""The documents: their code runs, their commands exist, their links lead somewhere.

- ```python blocks of a document run in order, in one namespace, in a folder that holds examples/ and
  my.safetensors. A block whose first line is `# NAME.py` becomes that file instead.
- Lines `pim ...` of ```sh and ```console blocks run if they use examples/, folders that are there (originals/,
  jpeg30/, webp30/), or no files at all; of the others (training, data sets) only the words are checked.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import agreement_picture
import codec_judges
import pytest
import typer.core
from agreement import SETS, cost_picture, everything, table
from story_codecs import write_folders

import pim
import vggmetric
from ntc import store

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "tests/golden/*.md", "*/pretrained/*.md")
    for path in ROOT.glob(pattern)
)
TUTORIALS = set(ROOT.glob("docs/tutorial-*.md"))  # typed by tests of their own
WITHOUT_FILES = ("metrics", "weights list", "weights check", "data where", "--help", "--version")
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)

Cli = Callable[..., object]


def blocks(path: Path, *languages: str) -> Iterator[tuple[int, str]]:
    """The code of a document: number of its first line, text."""
    text = path.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        if found[2] in languages:
            yield text.count("\n", 0, found.start(3)) + 1, re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE)


def commands(path: Path) -> list[list[str]]:
    """The words after `pim` of every command line, up to a pipe or redirection."""
    found = []
    for _, code in blocks(path, "sh", "console"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["pim"]:
                end = next((i for i, word in enumerate(words) if word in ("|", ">", "2>", "&&")), len(words))
                found.append(words[1:end])
    return found


def with_(*languages: str) -> list[Path]:
    return [path for path in DOCUMENTS if next(blocks(path, *languages), None)]


def called(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of originals and of what codecs made of them."""
    folder = tmp_path_factory.mktemp("coded")
    write_folders([ROOT / "examples" / name for name in ("reference.png", "distorted.png")], folder)
    return folder


@pytest.fixture
def desk(tmp_path: Path, coded: Path, tiny_pim: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of a reader."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(tiny_pim, tmp_path / "my.safetensors")
    shutil.copy(store.find(None), tmp_path / "first.safetensors")
    shutil.copytree(coded, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def has_files(words: list[str]) -> bool:
    """Whether all that a command reads is on the desk, or it reads nothing."""
    line = " ".join(words)
    if "examples/" in line or line.startswith(WITHOUT_FILES):
        return True
    read = [word for before, word in pairwise(words) if word.endswith("/") and before != "-o"]
    return bool(read) and all(Path(folder).is_dir() for folder in read)


def save_files(path: Path, folder: Path) -> None:
    for _, code in blocks(path, "python"):
        if name := re.match(r"# (\w+\.py)\n", code):
            (folder / name[1]).write_text(code, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("path", with_("python"), ids=called)
def test_the_python_of_a_document_runs(path: Path, desk: Path) -> None:
    save_files(path, desk)
    namespace: dict[str, object] = {}
    for line, code in blocks(path, "python"):
        if not re.match(r"# \w+\.py\n", code):
            exec(compile("\n" * (line - 1) + code, str(path), "exec"), namespace)  # a traceback names the line


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in DOCUMENTS if commands(path) and path not in TUTORIALS], ids=called)
def test_the_commands_of_a_document_run_or_are_at_least_right(
    path: Path, desk: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_files(path, desk)
    for words in commands(path):
        line = " ".join(words)
        with monkeypatch.context() as here:
            if not has_files(words):
                here.setattr(typer.core.TyperCommand, "invoke", lambda self, context: None)
            assert cli(*words).code == 0, f"pim {line}"  # type: ignore[attr-defined]


def test_every_command_of_the_readme_that_needs_no_data_of_ones_own_runs(desk: Path) -> None:
    left_out = [words for words in commands(ROOT / "README.md") if not has_files(words)]
    assert left_out == []


def test_the_readme_says_how_to_install_and_to_test_as_every_change_is() -> None:
    readme, every = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/run"))
    for command in ("pip install .", "pip install '.[test]'", "python -m pytest -n 2"):
        assert f"\n{command}\n" in readme
    assert "{ python -m pytest -n 2 " in every


def test_the_check_of_commands_sees_one_that_does_not_exist(tmp_path: Path, cli: Cli) -> None:
    document = tmp_path / "wrong.md"
    document.write_text("```console\n$ pim train videos/ \\\n    --stepz 3 | tail  # long\n3.1\n```\n")
    assert commands(document) == [["train", "videos/", "--stepz", "3"]]
    assert cli(*commands(document)[0]).code == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", DOCUMENTS, ids=called)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    prose = BLOCK.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"<img[^>]* src=\"([^\"]+)\"", prose):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def anchors(path: Path) -> set[str]:
    """What GitHub makes of the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_golden_file_has_a_row_that_tells_its_origin() -> None:
    folder = ROOT / "tests" / "golden"
    rows = re.findall(r"^\| `(\w+)` \|", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(path.stem for path in folder.glob("*.npz"))


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/images/*.svg")), ids=called)
def test_a_picture_has_a_size_of_its_own(path: Path) -> None:
    root = ElementTree.parse(path).getroot()
    box = [float(number) for number in root.attrib["viewBox"].split()]
    assert [float(root.attrib[side]) for side in ("width", "height")] == box[2:]


def test_the_picture_of_agreement_is_that_of_the_stored_results() -> None:
    stored = everything()
    picture = (ROOT / "docs" / "images" / "agreement.svg").read_text(encoding="utf-8")
    assert picture == agreement_picture.draw(stored, SETS)
    assert (ROOT / "docs" / "images" / "agreement_vs_cost.svg").read_text(encoding="utf-8") == cost_picture()
    shown = [(ROOT / path).read_text(encoding="utf-8") for path in ("README.md", "pim/pretrained/pim.md")]
    rows = {row for text in shown for row in text.split("<!-- agreement -->")[1].split("<!--")[0].strip().splitlines()}
    assert rows <= set(table(stored).splitlines())
    assert f"of {len(agreement_picture.panels(stored)['raid'])} metrics" in (ROOT / "README.md").read_text()


def test_the_table_of_losses_of_codecs_is_that_of_the_stored_results() -> None:
    stored = json.loads((ROOT / "benchmarks" / "results" / "codec_losses.json").read_text(encoding="utf-8"))
    shown = (ROOT / "docs" / "training-loss.md").read_text(encoding="utf-8")
    assert f"<!-- codecs -->\n{codec_judges.markdown(stored)}<!-- /codecs -->\n" in shown
    groups = json.loads((ROOT / "benchmarks" / "results" / "codec_losses_groups.json").read_text(encoding="utf-8"))
    assert f"<!-- groups -->\n{codec_judges.grouped(groups)}<!-- /groups -->\n" in shown


ELEVEN = ("pim", "psnr", "ms-ssim", "nlpd", "mdsi")  # of 15 corruptions rise


def test_as_many_corruptions_rise_as_the_card_says() -> None:
    means: dict[tuple[str, str], list[float]] = {}
    with (ROOT / "benchmarks" / "results" / "imagenet_c.csv").open(encoding="utf-8") as stream:
        for row in sorted(csv.DictReader(stream), key=lambda row: int(row["severity"])):
            means.setdefault((row["metric"], row["part"]), []).append(float(row["value"]))
    rising = {which for which, values in means.items() if all(a < b for a, b in pairwise(values))}
    counts = Counter(metric for metric, _ in rising)
    assert counts == {"lpips-alex": 12, "gmsd": 10, "ssim": 9, "haarpsi": 9} | dict.fromkeys(ELEVEN, 11)
    assert not any(part == "elastic_transform" for _, part in rising)


def test_readers_find_what_they_look_for() -> None:
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "CITATION.cff", "LICENSE", "NOTICE"):
        assert (ROOT / name).is_file(), name
    assert "### Scores change" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCUMENTS, ids=called)
def test_files_that_a_document_names_exist(path: Path) -> None:
    named = re.findall(
        r"`((?:pim|datasets|eval|ntc|tests|docs|examples|benchmarks)/[\w/]+\.\w+)`", path.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists() and "NAME" not in name] == []


def test_every_public_name_has_a_place_in_the_reference() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    public = {f"{package.__name__}.{name}" for package in (pim, vggmetric) for name in package.__all__}
    assert public - {"pim.__version__"} <= shown
