"""Video files: frames that belong together are compared, and what is dropped, damaged or cut off is told."""

from __future__ import annotations

import csv
import io
import json
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import pim
from pim.datasets.video import look_at, video_frames
from pim.errors import DataError, InputError, UsageError
from pim.eval.video_page import WorstFrames
from pim.scoring import engine
from pim.scoring.frames import FramePair, FramePairs, FramePicture
from pim.scoring.video import scores_of

Cli = Callable[..., Any]
HEIGHT, WIDTH, BITS = 48, 96, 6
TICK = Fraction(1, 90_000)
COUNT = 40


def picture(number: int) -> np.ndarray[Any, Any]:
    """A moving texture with its number as six black or white squares below it."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    texture = 127 + 60 * np.sin((columns + 3 * number) / 7) + 40 * np.sin((rows - 2 * number) / 5)
    pixels = np.stack([texture, np.roll(texture, 5, 0), np.roll(texture, 9, 1)], 2).clip(0, 255).astype(np.uint8)
    for bit in range(BITS):
        pixels[-16:, 16 * bit : 16 * bit + 16] = 255 * (number >> bit & 1)
    return pixels


def number_in(pixels: np.ndarray[Any, Any] | None) -> int | None:
    if pixels is None:
        return None
    return sum(int(pixels[-12:-4, 16 * bit + 4 : 16 * bit + 12].mean() > 127) << bit for bit in range(BITS))


def write(
    path: Path,
    shown: Iterable[tuple[int, Fraction]],
    rate: int = 30,
    crf: int = 18,
    gop: int = 250,
    trc: int = 1,
    tick: Fraction = TICK,
    **container_options: str,
) -> Path:
    """A clip of pictures by number and time."""
    with av.open(str(path), "w", options=container_options) as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": str(crf), "g": str(gop), "threads": "1"}
        stream.codec_context.time_base, stream.codec_context.color_trc = tick, trc
        for number, time in shown:
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def even(rate: int = 30, start: Fraction = Fraction(0), count: int = COUNT) -> list[tuple[int, Fraction]]:
    return [(n, start + Fraction(n, rate)) for n in range(count)]


def converted(rate: int, dropped: Sequence[int] = ()) -> list[tuple[int, Fraction]]:
    """What a converter makes of 30 frames a second: the frame nearest to each time, the later of two."""
    frames = []
    for place in range(COUNT * rate // 30):
        time = Fraction(place, rate)
        frames.append((min(int(time * 30 + Fraction(1, 2)), COUNT - 1), time))
    return [frame for place, frame in enumerate(frames) if place not in dropped]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an original, in which commands run."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "original.mp4", even())
    return tmp_path


def paired(reference: str, distorted: str) -> list[tuple[int | None, int | None]]:
    found = [pair.pictures for pair in FramePairs(reference, [distorted])]
    return [(number_in(first.pixels), number_in(second.pixels)) for first, second in found]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("rate", "ending"),  # mkv has times in whole milliseconds
    [(15, "mp4"), (20, "mp4"), (20, "mkv"), (25, "mkv"), (30, "mp4"), (50, "mp4"), (60, "mkv")],
)
def test_frames_of_another_rate_with_three_dropped_meet_their_own(here: Path, rate: int, ending: str) -> None:
    dropped = (3, 4, 8)
    shown = converted(rate, dropped)
    write(here / f"coded.{ending}", shown, rate)
    found = paired("original.mp4", f"coded.{ending}")
    assert [pair for pair in found if pair[0] != pair[1]] == []
    numbers = [first for first, _ in found]
    assert numbers == sorted(set(numbers))  # nobody twice
    nearest = {n for n, time in shown if abs(time - Fraction(n, 30)) <= min(Fraction(1, 60), Fraction(1, 2 * rate))}
    assert len(nearest) - len(found) in (0, 1)  # a picture that is shown twice may be nearer to nobody at the end


def test_dropped_frames_and_another_rate_are_told_and_have_no_partner(here: Path, cli: Cli) -> None:
    write(here / "coded.mp4", converted(25, (12, 13, 30)), 25)
    found = pim.score_video("original.mp4", "coded.mp4", "psnr")
    assert "coded.mp4 shows 25 frames a second, original.mp4 30" in found.notes
    assert "coded.mp4: 3 frames dropped, at 0.480, 0.520, 1.200 s" in found.notes
    assert f"{COUNT - len(found.times)} of {COUNT} frames of original.mp4 have no partner in coded.mp4" in found.notes
    assert len(found.times) == 30  # 33 of 25 frames a second, less three
    assert found.values["psnr"].min() > 30
    ran = cli("score", "original.mp4", "coded.mp4", "-m", "psnr", "-o", "out.json")
    assert ran.code == 0
    for note in (*found.notes, "frames are compared one by one; how things move is not judged"):
        assert f"pim: {note}" in ran.err
    document = json.loads(Path("out.json").read_text())
    assert document["videos"][0]["notes"] == found.notes
    assert len(document["videos"][0]["reference_without_partner"]) == COUNT - 30
    assert [record["seconds"] for record in document["records"]] == [round(t, 6) for t in found.times.tolist()]


def test_a_start_that_is_not_zero_moves_no_pair_and_is_told(here: Path) -> None:
    write(here / "late.mkv", even(start=Fraction(1, 2)), crf=30)
    assert paired("original.mp4", "late.mkv") == [(n, n) for n in range(COUNT)]
    (note,) = pim.score_video("original.mp4", "late.mkv", "psnr", every=20).notes
    assert note.startswith("late.mkv begins at 0.500 s, original.mp4 at 0.000 s")


def test_a_clip_that_is_longer_or_shorter_leaves_the_rest_without_partners(here: Path) -> None:
    write(here / "long.mp4", even(count=COUNT + 4), crf=30)
    assert paired("original.mp4", "long.mp4") == [(n, n) for n in range(COUNT)]
    found = pim.score_video("long.mp4", "original.mp4", "psnr")
    assert len(found.times) == COUNT
    assert found.failed == []
    assert found.notes == [f"4 of {COUNT + 4} frames of long.mp4 have no partner in original.mp4"]


def test_times_of_an_avi_in_the_order_of_its_packets_move_no_pair(here: Path) -> None:
    write(here / "o.avi", even(), tick=Fraction(1, 30))  # x264 makes frames that others stand between
    assert paired("original.mp4", "o.avi") == [(n, n) for n in range(COUNT)]
    whole = (here / "o.avi").read_bytes()
    (here / "cut.avi").write_bytes(whole[: whole.index(b"idx1") - 1500])
    found = pim.score_video("original.mp4", "cut.avi", "psnr")
    assert len(found.times) == COUNT
    assert "is cut off" in found.failed[-1]


def test_a_recording_has_the_rate_of_its_frames_whatever_its_header_says(here: Path) -> None:
    shown = [(n, Fraction(n, 30) + Fraction(n % 3 * 4, 1000)) for n in range(COUNT)]
    write(here / "recorded.mkv", shown, rate=1000, tick=Fraction(1, 1000))  # ticks of its clock
    assert look_at(here / "recorded.mkv").rate == pytest.approx(30, rel=0.01)
    assert paired("original.mp4", "recorded.mkv") == [(n, n) for n in range(COUNT)]


def test_a_clip_without_frames_fails_and_repeated_times_are_no_error(here: Path, cli: Cli) -> None:
    write(here / "o.avi", even(), tick=Fraction(1, 30))
    (here / "none.avi").write_bytes((here / "o.avi").read_bytes()[:5700])  # its headers
    ran = cli("score", "original.mp4", "none.avi", "-m", "psnr")
    assert (ran.code, f"{COUNT} of {COUNT} pairs failed" in ran.err) == (1, True)
    assert "nan" not in ran.out
    write(here / "fast.mkv", [(n, Fraction(n, 5000)) for n in range(COUNT)])  # five have one time
    assert pim.score_video("fast.mkv", "fast.mkv", "psnr").values["psnr"].min() == np.inf


def test_every_frame_has_the_value_of_its_pixels(here: Path) -> None:
    write(here / "coded.mp4", even(), crf=38)
    found = pim.score_video("original.mp4", "coded.mp4", ["psnr", "ssim"], every=7)
    frames = [[f.pixels for f in video_frames(here / name, print)] for name in ("original.mp4", "coded.mp4")]
    kept = range(0, COUNT, 7)
    pairs: Any = [(frames[0][n], frames[1][n]) for n in kept]
    scores = list(pim.score(pairs, ["psnr", "ssim"]))
    np.testing.assert_allclose(found.times, [n / 30 for n in kept])
    for name in ("psnr", "ssim"):
        expected = [score.values[name] for score in scores]
        assert found.values[name].tolist() == expected
        assert found.mean(name) == pytest.approx(np.mean(expected))
        for percent in (1, 5, 50, 95, 99):
            assert found.percentile(name, percent) == pytest.approx(np.percentile(expected, percent))
        assert found.worst(name) == (kept[int(np.argmin(expected))] / 30, min(expected))


def test_equal_frames_are_infinite_and_told_instead_of_averaged(here: Path) -> None:
    found = pim.score_video("original.mp4", "original.mp4", "psnr", every=10)
    assert np.isinf(found.values["psnr"]).all()
    assert found.notes == ["original.mp4: psnr is infinite on 4 frames, which its mean leaves out"]
    assert found.percentile("psnr", 50) == np.inf
    for percent in (-5, 150):
        with pytest.raises(UsageError, match=r"percent must lie in \[0, 100\]"):
            found.percentile("psnr", percent)


def test_the_rate_is_that_of_the_packets_of_the_video(here: Path) -> None:
    found = pim.score_video("original.mp4", "original.mp4", "ssim", every=20)
    with av.open("original.mp4") as container:
        size = sum(packet.size for packet in container.demux(video=0))
    assert found.kilobits_per_second == pytest.approx(size * 8 / 1000 / (COUNT / 30))
    assert found.bits_per_pixel == pytest.approx(size * 8 / (COUNT * WIDTH * HEIGHT))


def cut(path: Path, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


@pytest.mark.parametrize(("name", "options"), [("a.mp4", {"movflags": "faststart"}), ("a.mkv", {})])
def test_a_truncated_clip_is_scored_up_to_there_and_the_rest_is_named(
    here: Path, cli: Cli, name: str, options: dict[str, str]
) -> None:
    write(here / name, even(), crf=30, **options)
    whole = pim.score_video("original.mp4", name, "psnr").values["psnr"]
    cut(here / name, 0.6)
    ran = cli("score", "original.mp4", name, "-m", "psnr", "-o", "out.csv")
    assert ran.code == 1
    assert "is missing at the end" in ran.err or "are missing at the end" in ran.err
    table = rows(Path("out.csv").read_text())
    assert [int(row["frame"]) for row in table] == list(range(COUNT))  # nobody is passed over
    scored = [int(row["frame"]) for row in table if row["value"]]
    assert 8 < len(scored) < COUNT - 8
    assert scored[:8] == list(range(8))
    assert [float(table[n]["value"]) for n in scored] == [whole[n] for n in scored]
    for row in table[max(scored) + 1 :]:
        assert row["error"].startswith(f"{name} at {int(row['frame']) / 30:.3f} s is ")


def test_damaged_frames_are_named_by_their_time_and_those_after_them_are_scored(here: Path) -> None:
    path = write(here / "coded.mp4", even(), crf=30, gop=10)
    whole = pim.score_video("original.mp4", "coded.mp4", "psnr").values["psnr"]
    with av.open("coded.mp4") as container:
        packets = [(packet.pos, packet.size, packet.is_keyframe) for packet in container.demux(video=0) if packet.size]
    hit = [n for n, packet in enumerate(packets) if packet[2]][2] + 1  # the one after the third key frame
    content = bytearray(path.read_bytes())
    for place in range(packets[hit][0] + 4, packets[hit][0] + packets[hit][1]):
        content[place] ^= 0x5A
    path.write_bytes(content)
    found = pim.score_video("original.mp4", "coded.mp4", "psnr")
    values = found.values["psnr"]
    lost = np.flatnonzero(np.isnan(values))
    assert len(values) == COUNT
    assert 0 < len(lost) <= 12
    assert set(lost) <= set(range(17, 30))  # from where the decoder still held frames to the next key frame
    kept = ~np.isnan(values)
    assert (values[kept] == whole[kept]).all()
    assert [round(failure.seconds * 30) for failure in found.failures] == lost.tolist()
    assert all("is damaged" in sentence for sentence in found.failed)


def test_a_damaged_original_costs_its_own_frames(here: Path) -> None:
    write(here / "coded.mp4", even(), crf=30)
    write(here / "short.mkv", even(), crf=18)
    cut(here / "short.mkv", 0.5)
    found = pim.score_video("short.mkv", "coded.mp4", "psnr")
    assert len(found.times) + len(found.as_dict()["distorted_without_partner"]) == COUNT
    assert found.failures[-1].message.startswith(f"short.mkv at {(COUNT - 1) / 30:.3f} s is cut off")


def test_a_clip_that_cannot_be_read_costs_no_other(here: Path, cli: Cli) -> None:
    write(here / "good.mp4", even(), crf=30)
    Path("bad.mp4").write_bytes(b"no video" * 100)
    ran = cli("score", "original.mp4", "bad.mp4", "good.mp4", "-m", "psnr", "--every", 10, "-o", "o.csv")
    assert ran.code == 1
    table = rows(Path("o.csv").read_text())
    assert [row["distorted"] for row in table if row["value"]] == ["good.mp4"] * 4
    assert "bad.mp4: 4 frames at 0.000 s to 1.000 s failed: cannot be read as a video" in ran.err
    assert "4 of 8 pairs failed" in ran.err
    with pytest.raises(InputError, match=r"^bad.mp4 cannot be read as a video"):
        pim.score_video("bad.mp4", "good.mp4")


def test_a_clip_that_is_missing_is_refused_before_any_frame(here: Path, cli: Cli) -> None:
    ran = cli("score", "original.mp4", "original.mp4", "missing.mp4", "-m", "psnr", "-o", "o.csv")
    assert (ran.code, ran.err) == (1, "pim: missing.mp4 does not exist\n")
    assert not Path("o.csv").exists()


def test_hdr_is_refused_by_name(here: Path) -> None:
    write(here / "hdr.mp4", even(count=4), trc=16)
    found = pim.score_video("original.mp4", "hdr.mp4", "psnr")
    assert "is HDR" in found.failed[0]
    assert np.isnan(found.values["psnr"]).all()


def test_too_many_pixels_are_refused(here: Path, cli: Cli) -> None:
    ran = cli("score", "original.mp4", "original.mp4", "-m", "psnr", "--every", 20, "--max-pixels", 100)
    assert ran.code == 1
    assert "original.mp4 at 0.000 s is 96 x 48, more than the limit of 100 pixels" in ran.err


def test_another_size_is_refused_once_or_scaled(here: Path) -> None:
    with av.open("small.mp4", "w") as container:
        stream: Any = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH // 2, HEIGHT // 2, "yuv420p"
        for number in range(COUNT):
            half = np.ascontiguousarray(picture(number)[::2, ::2])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(half, format="rgb24")))
        container.mux(stream.encode())
    (said,) = pim.score_video("original.mp4", "small.mp4", "psnr").failed
    assert "is 48 x 24 pixels, its reference original.mp4 at 0.000 s is 96 x 48" in said
    assert pim.score_video("original.mp4", "small.mp4", "psnr", resize=True).failed == []


def test_only_a_few_frames_are_in_memory(here: Path) -> None:
    pairs = FramePairs("original.mp4", ["original.mp4"])
    (found,) = scores_of(pairs, {"psnr": False}).values()
    held: weakref.WeakSet[FramePicture] = weakref.WeakSet()

    def watched() -> Iterator[FramePair]:
        for pair in pairs:
            held.update(pair.pictures)
            yield pair

    most = 0
    for score in engine.score(watched(), "psnr"):
        found.add(score.pair, score.values, {})
        most = max(most, len(held))
    assert len(found.times) == COUNT
    assert most < 20


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], list[int]]:
    """`stops(5)`: Ctrl-C ends the command at its sixth batch; the list counts batches."""
    real, seen, ends = engine.Scorer.scores, [0], [None]

    def scores(self: Any, batch: Any, *rest: Any) -> Any:
        if seen[0] == ends[0]:
            raise KeyboardInterrupt
        seen[0] += 1
        return real(self, batch, *rest)

    def stop(at: int | None) -> list[int]:
        seen[0], ends[0] = 0, at  # type: ignore[call-overload]
        return seen

    monkeypatch.setattr(engine.Scorer, "scores", scores)
    return stop


def test_a_stopped_command_goes_on_to_the_same_table(here: Path, cli: Cli, stops: Callable[..., list[int]]) -> None:
    for name in "ab":
        write(here / f"{name}.mp4", even(), crf=30 if name == "a" else 40)
    command = ("score", "original.mp4", "a.mp4", "b.mp4", "-m", "ssim", "--every", 2, "-o", "out.csv")
    seen = stops(None)
    assert cli(*command, "--report", "p.html").code == 0
    whole, page = Path("out.csv").read_text(), Path("p.html").read_text()
    assert seen == [COUNT]
    for name in ("out.csv", "p.html"):
        Path(name).unlink()
    stops(17)
    ran = cli(*command)
    assert ran.code == 130
    assert "the same command goes on" in ran.err
    partial = Path(".out.csv.partial")
    partial.write_bytes(partial.read_bytes()[:-20])  # as a kill leaves it
    seen = stops(None)
    assert cli(*command, "--report", "p.html").code == 0
    assert COUNT - 17 <= seen[0] <= COUNT - 10
    assert Path("out.csv").read_text() == whole
    assert Path("p.html").read_text() == page
    assert not partial.exists()


def test_a_stopped_command_begins_anew_with_other_frames(here: Path, cli: Cli, stops: Callable[..., list[int]]) -> None:
    write(here / "a.mp4", even(), crf=30)
    command = ("score", "original.mp4", "a.mp4", "-m", "psnr", "-o", "out.csv")
    stops(12)
    assert cli(*command).code == 130
    write(here / "a.mp4", even(), crf=40)
    seen = stops(None)
    assert cli(*command).code == 0
    assert seen == [COUNT]


def test_rates_make_a_curve_of_every_folder(here: Path, cli: Cli) -> None:
    for coder, qualities in (("old", (20, 28, 36)), ("new", (22, 30, 38))):
        Path(coder).mkdir()
        for crf in qualities:
            write(here / coder / f"{crf}.mp4", even(), crf=crf)
    files = sorted(map(str, Path().glob("*/*.mp4")))
    assert cli("score", "original.mp4", *files, "-m", "psnr", "-m", "ssim", "--every", 8, "--rates", "r.csv").code == 0
    table = rows(Path("r.csv").read_text())
    assert [(row["codec"], row["setting"]) for row in table] == [(p.split("/")[0], Path(p).stem) for p in files]
    assert all(float(row["bpp"]) * WIDTH * HEIGHT * 30 == pytest.approx(1000 * float(row["kbit_s"])) for row in table)
    ran = cli("ntc", "rd", "--curve", "r.csv", "--against", "old", "-m", "psnr")
    assert ran.code == 0
    assert "BD-rate" in ran.out
    assert "not read" not in ran.err


def test_curves_of_folders_of_one_name_and_of_this_one_stay_apart(here: Path, cli: Cli) -> None:
    for folder in (".", "one/x264", "two/x264"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (here / folder / "20.mp4").write_bytes((here / "original.mp4").read_bytes())
    files = ("20.mp4", "one/x264/20.mp4", "two/x264/20.mp4")
    cli("score", "original.mp4", *files, "-m", "ssim", "--every", 20, "--rates", "r.csv", "--report", "p.html")
    assert [row["codec"] for row in rows(Path("r.csv").read_text())] == [here.name, "one/x264", "two/x264"]
    cli("score", "original.mp4", "20.mp4", "-m", "psnr", "--every", 20, "--report", "p.html")
    assert "20.mp4 inf, closer than JPEG quality 95" in Path("p.html").read_text()


def test_the_page_shows_worst_frames_and_says_what_was_paired(here: Path, cli: Cli) -> None:
    write(here / "coded.mp4", converted(15), 15, crf=36)
    assert cli("score", "original.mp4", "coded.mp4", "-m", "ssim", "--report", "p.html", "--quiet").code == 0
    page = Path("p.html").read_text()
    assert page.count("data:image/webp") >= 3  # a frame, its original and a map
    assert "20 of 40 frames of original.mp4 have no partner in coded.mp4" in page
    assert "Over time" in page
    assert "how things move is not judged" in page


def test_worst_frames_lie_apart() -> None:
    class At:
        def __init__(self, time: float) -> None:
            self.time = time

    class Both:
        def __init__(self, time: float) -> None:
            self.pictures = (At(time), At(time))

    worst = WorstFrames(lower_is_better=True)
    values = {0.0: 1.0, 0.1: 5.0, 0.2: 4.0, 1.3: 2.0, 1.5: 3.0, 3.0: 9.0, 4.0: 0.5, 5.0: 2.5, 6.5: 0.1}
    for time, value in values.items():
        worst.add(Both(time), value)  # type: ignore[arg-type]
    assert [pair.pictures[0].time for pair in worst] == [3.0, 0.1, 1.5, 5.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("original.mp4",), "give a video and one or more"),
        (("original.mp4", "b.png"), "original.mp4 is a video, so b.png should be one too"),
        (("original.mp4", "a.mp4", "a.mp4"), "a.mp4 is named twice"),
        (("original.mp4", "a.mp4", "--frame", "2"), "--frame is not for videos"),
        (("original.mp4", "a.mp4", "--save-aligned", "x"), "--save-aligned is not for videos"),
        (("original.mp4", "a.mp4", "--report", "p.txt"), "--report p.txt must end in .html"),
        (("original.mp4", "a.mp4", "--rates", "original.mp4"), "would overwrite an input"),
        (("original.mp4", "a.mp4", "--frame", "0"), "--frame is not for videos"),
        (("original.mp4", "a.mp4", "-o", "x.csv", "--rates", "./x.csv"), "two outputs would be written to"),
        (("a.png", "b.png", "--every", "2"), "--every and --rates are for videos"),
    ],
)
def test_what_cannot_be_meant_is_refused(here: Path, cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    ran = cli("score", *arguments)
    assert ran.code == 2
    assert said in ran.err


def test_without_a_decoder_the_extra_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install 'pim-metric\[video\]'"):
        pim.score_video("original.mp4", "original.mp4", "psnr")


def test_a_file_says_until_when_it_is_whole(here: Path) -> None:
    whole = look_at(here / "original.mp4")
    assert (whole.frames, whole.cut, whole.known_until) == (COUNT, "", np.inf)
    write(here / "fast.mp4", even(), movflags="faststart")
    part = look_at(cut(here / "fast.mp4", 0.5))
    assert part.cut.startswith("is cut off: ")
    assert part.frames < COUNT
    assert set(part.times[part.times <= part.known_until].round(3)) >= {
        round(n / 30, 3) for n in range(int(part.known_until * 30))
    }
