"""The command line as a whole: start-up, refusals, failures, completion, and the examples of every help text."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pim import __version__
from pim.cli import common
from pim.cli.app import run
from pim.core.weights import shipped
from pim.errors import UsageError
from pim.metrics.registry import DEFAULT

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "numpy", "PIL", "scipy", "pandas", "sklearn", "rich", "av"}
COMMANDS = [
    ("score",),
    ("compare",),
    ("map",),
    ("metrics",),
    ("weights", "list"),
    ("weights", "check"),
    ("ntc", "rd"),
    ("ntc", "compress"),
    ("ntc", "decompress"),
]

Cli = Callable[..., Any]


def imported_by(*arguments: str) -> set[str]:
    """The heavy packages that one command line imports, in a process of its own."""
    code = (
        "import sys; from pim.cli.app import run; run(sys.argv[1:]); print(); print('imported', *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    return HEAVY & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "line",
    ["--help", "--version", "score --help", "metrics", "scor a b", "score a b -m psnrr", "score a", "weights list"],
)
def test_help_lists_and_refusals_import_nothing_heavy(line: str) -> None:
    assert imported_by(*line.split()) == set()


def test_the_check_of_imports_sees_torch_where_it_is_imported() -> None:
    assert "torch" in imported_by("score", "missing.png", "missing.png", "-m", "psnr")


def test_version_is_the_one_of_the_package(cli: Cli) -> None:
    assert cli("--version").out == f"pim {__version__}\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("scor a b", "did you mean 'score'"),
        ("score a b --metrik psnr", "did you mean '--metric'"),
        ("score a b -m pnsr", "did you mean 'psnr'"),
        ("compare a b c -m pnsr", "did you mean 'psnr'"),
        ("map a b -o x.png -m ssimm", "did you mean 'ssim'"),
        ("score a b --format xml", "'text', 'json', 'csv'"),
        ("score a b --batch-size 0", "--batch-size"),
        ("score a", "pim score --help"),
        ("score", "pim score --help"),
        ("score a --pairs b.csv", "not both"),
        ("score a b --allow-unmatched", "is for folders"),
        ("compare a b", "'B'"),
        ("map a b -o x.gif", ".png"),
        ("map a b -o x.png --max -1", "above 0"),
        ("map a b -o x.png -m psnr", "psnr has no map; known are pim, pim-1, pim-5"),
        ("weights", "pim weights --help"),
        ("score - -", "stdin"),
    ],
)
def test_wrong_usage_is_one_line_that_helps_and_exit_code_2(cli: Cli, line: str, said: str) -> None:
    ran = cli(*line.split())
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("pim: ")
    assert said.lower() in ran.err.lower()


def test_without_a_command_the_help_comes_on_stderr_with_exit_code_2(cli: Cli) -> None:
    ran = cli()
    assert (ran.code, ran.out) == (2, "")
    assert "Commands:" in ran.err


def test_what_should_not_happen_is_one_line_and_with_pim_debug_a_traceback(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise KeyError("two\nlines")

    monkeypatch.setattr("pim.metrics.registry.list_metrics", broken)
    ran = cli("metrics")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    assert "KeyError" in ran.err
    assert "report" in ran.err
    monkeypatch.setenv("PIM_DEBUG", "1")
    assert "Traceback" in cli("metrics").err


def test_ctrl_c_anywhere_is_exit_code_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pim.metrics.registry.list_metrics", stopped)
    ran = cli("metrics")
    assert (ran.code, ran.err) == (130, "pim: stopped\n")


@pytest.mark.parametrize(
    ("typed", "offered"), [("pim sco", "score"), ("pim score -m ps", "psnr"), ("pim weights ch", "check")]
)
def test_shell_completion_offers_commands_and_metrics(
    process: Callable[..., subprocess.Popen[bytes]], typed: str, offered: str
) -> None:
    count = str(len(typed.split()) - 1)
    asked = process(_PIM_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=count)
    assert offered in asked.communicate()[0].decode().split()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_examples_of_every_help_text_work_as_typed(
    cli: Cli, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if DEFAULT not in shipped():
        pytest.skip("the weights of the default metric are not in this tree")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIM_CACHE", str(tmp_path / "cache"))
    examples = re.findall(r"^ +pim (.+)$", cli(*command, "--help").out.partition("Example")[2], re.M)
    assert examples
    for example in examples:
        words = shlex.split(example)
        ran = cli(*[name for word in words for name in (sorted(tmp_path.glob(word)) if "*" in word else [word])])
        assert (ran.code, ran.err) == (0, ""), example


def test_every_command_shows_an_example(cli: Cli) -> None:
    for command in COMMANDS:
        assert f"\n    pim {' '.join(command)}" in cli(*command, "--help").out, command


def test_no_command_writes_over_what_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    inputs = ["t.csv", "t.json", "a.safetensors", "photos/x.png", "c.npz", "photos/labels.csv"]
    for name in inputs:
        (tmp_path / name).write_bytes(name.encode() + b"\0")
    (tmp_path / "link.csv").symlink_to("t.csv")
    for line in (
        "eval table t.csv -o t.json",
        "eval table t.csv --values link.csv",
        "fit t.csv -o t.safetensors",
        "train --crops c.npz --pack c.npz",
        "train photos -o a.safetensors --pack photos/x.png",
        "ntc rd --curve t.csv --plot t.csv",
        "ntc rd photos -o photos/labels.csv",
        "ntc rd photos --codec mine=a.safetensors -o a.safetensors",
        "weights compress a.safetensors -o a.safetensors",
        "data check table t.csv -o link.csv",
        "rate plan t.csv -o t.csv",
        "metrics --format csv -o c.npz",
    ):
        assert run(line.split()) == 2, line
        assert "overwrite an input" in (told := capsys.readouterr().err) or "is there and no text" in told, line
    for name in inputs:
        assert (tmp_path / name).read_bytes() == name.encode() + b"\0"


def test_two_processes_do_not_train_to_one_output(tmp_path: Path) -> None:
    with (
        common.alone_with(tmp_path / "a.safetensors"),
        pytest.raises(UsageError, match=r"another process is making .*a\.safetensors"),
        common.alone_with(tmp_path / "a.safetensors"),
    ):
        pass
