"""What is built from the repository: the wheel, the sdist, and what pyproject.toml says of them."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import pim
from pim.metrics.others import PEERS, VGGS
from pim.metrics.registry import SHIPPED

ROOT = Path(__file__).resolve().parents[1]
HOMES = {
    "pim": ROOT / "pim",
    "pim/datasets": ROOT / "datasets",
    "pim/eval": ROOT / "eval",
    "vggmetric": ROOT / "vggmetric",
    "ntc": ROOT / "ntc",
}  # in the wheel: here
WHEEL_LIMIT = 25_000_000  # bytes
BUILD = """
import sys, setuptools.build_meta
target, *kinds = sys.argv[1:]  # setuptools changes sys.argv
for kind in kinds:
    getattr(setuptools.build_meta, f"build_{kind}")(target)
"""


def project() -> dict[str, Any]:
    with open(ROOT / "pyproject.toml", "rb") as stream:
        return tomllib.load(stream)


def source_files() -> dict[str, Path]:
    """Every file of the packages, by its name in the wheel."""
    found = {}
    for inside, folder in HOMES.items():
        for path in folder.rglob("*"):  # does not follow the links pim/datasets and pim/eval
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                found[f"{inside}/{path.relative_to(folder).as_posix()}"] = path
    return found


def build(source: Path, target: Path, *kinds: str) -> None:
    """Build with setuptools itself: pip would fetch it."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(target), *kinds], cwd=source, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of a copy of this tree."""
    copy, target = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    rubbish = shutil.ignore_patterns("__pycache__", "*.pyc", "golden")
    for folder in ("pim", "datasets", "eval", "vggmetric", "ntc", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=rubbish)
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy)
    build(copy, target, "sdist", "wheel")
    return target


@pytest.fixture(scope="module")
def wheel(built: Path) -> dict[str, bytes]:
    """The files of the wheel."""
    (path,) = built.glob("*.whl")
    return content(path)


def test_every_folder_with_code_is_a_listed_package() -> None:
    folders = {name.rpartition("/")[0].replace("/", ".") for name in source_files() if name.endswith(".py")}
    packages = {name.rpartition("/")[0].replace("/", ".") for name in source_files() if name.endswith("/__init__.py")}
    assert folders == packages
    assert packages == set(project()["tool"]["setuptools"]["packages"])


def test_the_declared_dependencies_are_what_is_imported() -> None:
    said = project()["project"]
    imported = {name for path in source_files().values() if path.suffix == ".py" for name in _imports(path)}
    peers = {module for peer in PEERS.values() for module in peer.modules} - {"torchvision"}  # ours needs it too
    optional = {
        _name(line)
        for extra in ("ray", "ntc", "video", "rate", "keras", "torchmetrics", "hub")
        for line in said["optional-dependencies"][extra]
    } | {"pyarrow"}  # comes with ray[data]
    own = {"pim", "vggmetric", "ntc", "reproductions"}  # the last is the repository's alone: pim ntc reproduce says so
    foreign = imported - set(sys.stdlib_module_names) - own - peers - {name.replace("-", "_") for name in optional}
    providers = packages_distributions()
    assert {providers[name][0].lower() for name in foreign} == {_name(line) for line in said["dependencies"]}
    assert {peer.distribution.lower() for peer in PEERS.values()} <= set(
        map(_name, said["optional-dependencies"]["peers"])
    )


def _name(requirement: str) -> str:
    return re.split(r"[<>=!~ \[]", requirement)[0].lower()


def _imports(path: Path) -> Iterator[str]:
    """The top-level packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def test_the_version_stands_in_one_place() -> None:
    written = [*(path for path in source_files().values() if path.suffix == ".py")]
    written += [ROOT / name for name in ("pyproject.toml", "CITATION.cff")]
    places = [path.name for path in written if f'"{pim.__version__}"' in path.read_text(encoding="utf-8")]
    assert places == ["_version.py"]
    assert "version" not in project()["project"]
    assert not re.search(r"^version:", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)


def test_no_dependency_has_an_upper_bound_and_all_that_are_tested_have_a_lower_one() -> None:
    said = project()["project"]
    optional = said["optional-dependencies"]
    tested = said["dependencies"] + optional["test"]
    assert [line for line in tested if not re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+", line)] == []
    assert [line for lines in optional.values() for line in lines if re.search("[<=!~]", line.replace(">=", ""))] == []


def test_the_command_is_the_main_of_the_package() -> None:
    module, _, function = project()["project"]["scripts"]["pim"].partition(":")
    assert (module, function) == ("pim.__main__", "main")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: dict[str, bytes]) -> None:
    files = source_files()
    own = {name: data for name, data in wheel.items() if ".dist-info/" not in name}
    assert sorted(own) == sorted(files)
    assert all(data == files[name].read_bytes() for name, data in own.items())


@pytest.mark.slow
def test_the_wheel_holds_weights_with_their_cards_taps_and_types(wheel: dict[str, bytes]) -> None:
    assert {"pim/py.typed", "pim/pim/steerable_filters.npz", "pim/eval/published.csv"} <= set(wheel)
    weights = {info.weights for info in (SHIPPED | VGGS).values() if info.weights is not None}
    assert weights
    for name in weights:
        assert f"pim/pretrained/{name}" in wheel
        assert f"pim/pretrained/{Path(name).stem}.md" in wheel


@pytest.mark.slow
def test_the_wheel_says_who_it_is(wheel: dict[str, bytes]) -> None:
    info = {name.partition(".dist-info/")[2]: data for name, data in wheel.items() if ".dist-info/" in name}
    metadata = HeaderParser().parsestr(info["METADATA"].decode())
    assert (metadata["Name"], metadata["Version"]) == ("pim-metric", pim.__version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert {"licenses/LICENSE", "licenses/NOTICE"} <= set(info)
    assert "pim = pim.__main__:main" in info["entry_points.txt"].decode()


@pytest.mark.slow
def test_the_wheel_is_small(built: Path) -> None:
    (path,) = built.glob("*.whl")
    assert path.stat().st_size < WHEEL_LIMIT


@pytest.mark.slow
def test_the_sdist_builds_the_same_wheel_and_leaves_the_tests_out(
    built: Path, wheel: dict[str, bytes], tmp_path: Path
) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
        safely: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not before 3.11.4
        archive.extractall(tmp_path, **safely)
    assert not [name for name in names if name.startswith("tests")]
    assert {"README.md", "CHANGELOG.md", "LICENSE", "NOTICE", "pyproject.toml"} <= set(names)
    (source,) = tmp_path.iterdir()
    build(source, tmp_path, "wheel")
    (again,) = tmp_path.glob("*.whl")
    assert content(again) == wheel


@pytest.mark.slow
def test_the_wheel_runs_away_from_the_repository(built: Path, tmp_path: Path) -> None:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "site")
    program = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[2]]; import pim; print(pim.__file__); "
        "from pim.cli.app import run; sys.exit(run(sys.argv[3:]))"
    )
    libraries = sysconfig.get_paths()["purelib"]
    pair = (ROOT / "examples" / "reference.png", ROOT / "examples" / "distorted.png")
    done = subprocess.run(  # -I: neither this folder nor PYTHONPATH, nor an editable install of the same package
        [sys.executable, "-I", "-S", "-c", program, tmp_path / "site", libraries, "score", *pair],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    where, line = done.stdout.splitlines()
    assert Path(where) == tmp_path / "site" / "pim" / "__init__.py"
    assert float(line.split("\t")[0]) > 0


def test_a_release_is_a_version_of_the_changelog() -> None:
    spec = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    release = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(release)
    changelog = "# Changelog\n\n## 0.2.0 (2027-01-01)\n\n### Added\n- A ruler.\n\n## 0.1.0 (2026-12-01)\n\nThe first.\n"
    assert release.notes("v0.2.0", changelog, "0.2.0") == "### Added\n- A ruler.\n"
    assert release.notes("v0.1.0", changelog, "0.1.0") == "The first.\n"
    with pytest.raises(ValueError, match="not v0.2.0, the version in"):
        release.notes("v0.1.0", changelog, "0.2.0")
    with pytest.raises(ValueError, match="no part '## 0.3.0"):
        release.notes("v0.3.0", changelog, "0.3.0")
