"""The command line as a real process: pipes, stdin, Ctrl-C, terminals, memory."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pim.images.opener import OpenOptions
from pim.scoring.pairs import Pair
from pim.scoring.pictures import Batch, Reading, opened

ROOT = Path(__file__).resolve().parents[1]
Start = Callable[..., "subprocess.Popen[bytes]"]
posix = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """ref.png, dist.png, and long.csv with 5000 pairs of them."""
    random = np.random.default_rng(0)
    for name in ("ref", "dist"):
        Image.fromarray(random.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "long.csv").write_text("reference,distorted\n" + "ref.png,dist.png\n" * 5000)
    return tmp_path


def end(process: subprocess.Popen[bytes], given: bytes | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a process."""
    out, err = process.communicate(given, timeout=120)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.slow
def test_an_image_can_come_from_stdin(process: Start, folder: Path) -> None:
    content = (folder / "dist.png").read_bytes()
    plain = end(process("score", "ref.png", "dist.png", "-m", "psnr", cwd=folder))
    assert end(process("score", "ref.png", "-", "-m", "psnr", cwd=folder), content) == (
        0,
        plain[1].replace("dist.png", "-"),
        "",
    )
    code, out, err = end(process("score", "-", "dist.png", "-m", "psnr", cwd=folder), b"")
    assert (code, out) == (1, "")
    assert "stdin" in err


@pytest.mark.slow
@posix
def test_a_reader_that_leaves_causes_no_message(process: Start, folder: Path) -> None:
    running = process("score", "--pairs", "long.csv", "-m", "psnr", "--quiet", cwd=folder)
    assert running.stdout is not None
    assert running.stdout.readline().endswith(b"\tdist.png\n")
    running.stdout.close()
    assert running.stderr is not None
    assert running.stderr.read() == b""
    assert running.wait(120) == 141


@pytest.mark.slow
@posix
@pytest.mark.parametrize("to_file", [False, True])
def test_ctrl_c_stops_and_says_what_is_kept(process: Start, folder: Path, to_file: bool) -> None:
    (folder / "out.csv").write_text("old")
    options = ["-o", "out.csv"] if to_file else ["--format", "csv"]
    broken = "reference,distorted\nref.png,missing.png\n" + "ref.png,dist.png\n" * 5000
    (folder / "long.csv").write_text(broken)
    running = process("score", "--pairs", "long.csv", "-m", "psnr", *options, cwd=folder)
    assert running.stderr is not None
    assert b"missing.png" in running.stderr.readline()  # it is scoring now
    running.send_signal(signal.SIGINT)
    code, out, err = end(running)
    assert code == 130
    assert err.startswith("pim: stopped after ")
    assert err.count("\n") == 1
    if to_file:
        assert "out.csv is not written" in err
        assert sorted(path.name for path in folder.iterdir()) == [
            *(".out.csv.partial", "dist.png", "long.csv", "out.csv", "ref.png")
        ]
        assert (folder / "out.csv").read_text() == "old"
    else:
        assert "complete" in err
        assert all(line.endswith(",psnr," + line.split(",")[3] + ",false,") for line in out.splitlines()[2:])


@pytest.mark.slow
@posix
def test_a_terminal_gets_a_bar_and_stdout_only_data(folder: Path) -> None:
    import pty

    (folder / "long.csv").write_text("reference,distorted\n" + "ref.png,dist.png\n" * 400)
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "pim", "score", "--pairs", "long.csv", "-m", "psnr"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    out = running.communicate(timeout=120)[0].decode()
    shown = os.read(ours, 1 << 20).decode(errors="replace")  # as much as the terminal holds may end within a sign
    os.close(ours)
    assert out == out.splitlines()[0].join(["", "\n"]) * 400
    assert "of 400 pairs" in shown
    assert "left" in shown


@pytest.mark.slow
@posix
def test_a_table_on_a_terminal_comes_after_the_bar(folder: Path) -> None:
    import pty

    for name in ("ref", "dist"):
        (folder / f"{name}s").mkdir()
        for number in range(3):
            (folder / f"{name}s" / f"{number}.png").write_bytes((folder / f"{name}.png").read_bytes())
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "pim", "score", "refs", "dists", "-m", "psnr"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"},
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    assert running.wait(timeout=120) == 0
    shown = os.read(ours, 1 << 16).decode(errors="replace")
    os.close(ours)
    bar, _, table = shown.rpartition("\x1b[2K")  # which takes the bar away
    assert "of 3 pairs" in bar
    assert table.startswith("bytes\r\n")


@pytest.mark.slow
@posix
def test_a_name_that_is_no_text_comes_out_as_it_went_in(process: Start, folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (folder / name).write_bytes((folder / "dist.png").read_bytes())
    running = process("score", "ref.png", name, "-m", "psnr", cwd=folder, PYTHONIOENCODING="utf-8:strict")
    out, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (0, b"")
    assert out.endswith(b"\tcaf\xe9.png\n")


@pytest.mark.slow
def test_letters_that_stdout_cannot_encode_are_escaped(process: Start, folder: Path) -> None:
    (folder / "é日.png").write_bytes((folder / "dist.png").read_bytes())
    running = process("score", "ref.png", "é日.png", "-m", "psnr", cwd=folder, PYTHONIOENCODING="latin-1:strict")
    out, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (0, b"")
    assert out.endswith(b"\t\xe9\\u65e5.png\n")


@pytest.mark.slow
@posix
def test_a_stdout_that_is_closed_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m pim metrics >&-"
    done = subprocess.run(command, shell=True, cwd=ROOT, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_behind_stdout_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([sys.executable, "-m", "pim", "metrics"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"pim: No space left on device\n")


def test_images_are_opened_only_a_little_ahead(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pim.images import opener as image

    count = 0
    real = image.open_image

    def counted(name: str, options: OpenOptions) -> image.OpenedImage:
        nonlocal count
        count += 1
        return real(name, options)

    monkeypatch.setattr(image, "open_image", counted)
    paths = (str(folder / "ref.png"), str(folder / "dist.png"))
    stream = opened((Batch((Pair(*paths, *paths),)) for _ in range(100)), Reading(workers=2))
    for done in range(1, 20):
        assert next(stream).pairs[0].error is None
        assert count <= 1 + done + 4  # the reference once, what was taken, and twice the workers
    stream.close()
