"""What is learned from: which files, who is held out, and videos by the rules of pictures."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from test_frames import cut, moving, write_folder, write_video

from ntc.patches import PatchSettings
from ntc.patches import collect as patches
from pim.datasets.footage import breaks, find_sources, pictures_in
from pim.datasets.video import count_frames, video_frames
from pim.errors import DataError, InputError


def empty(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def held(folder: Path, **options: Any) -> list[str]:
    return [source.name for source in find_sources([folder], **options) if source.held_out]


def notes(folder: Path) -> str:
    return "\n".join(note for source in find_sources([folder]) for note in source.notes)


@pytest.mark.parametrize(
    "text",
    [
        "File;SPLIT\nx.mov;Train\nsub/y.mov;valid\n",
        "split,file\ntrain, ./x\nvalid, sub\\Y.MOV\n",
        "file,split\nx.mov,train\nsub,valid\n",
    ],
)
def test_a_manifest_is_understood_as_it_is_meant(tmp_path: Path, text: str) -> None:
    empty(tmp_path, "x.mov", "sub/y.mov", "z.mov")
    (tmp_path / "manifest.csv").write_text(text)
    assert "y.mov" in held(tmp_path, held_out_share=0.0001)
    assert "x.mov" not in held(tmp_path, held_out_share=0.9999)


def test_a_manifest_is_found_whatever_the_case_of_its_name(tmp_path: Path) -> None:
    empty(tmp_path, "x.mov", "y.mov")
    (tmp_path / "Manifest.CSV").write_text("file,split\nx.mov,train\ny.mov,train\n")
    assert (held(tmp_path, held_out_share=0.9999), notes(tmp_path)) == ([], "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,split\nq.mov,valid\n", "line 2: 'q.mov' is no video or picture"),
        ("file,split\nx.mov,valid\nx,train\n", "line 3: 'x' is both valid and train"),
        ("file,part\nx.mov,valid\n", "no column 'split'"),
        ("file,split\nx.mov,held out\n", "must be train or valid; got 'held out'"),
    ],
)
def test_a_manifest_that_is_not_understood_is_refused(tmp_path: Path, text: str, message: str) -> None:
    empty(tmp_path, "x.mov", "y.mov")
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        find_sources([tmp_path])


def test_what_a_manifest_decides_no_draw_overrules(tmp_path: Path) -> None:
    name = unicodedata.normalize("NFD", "ü.mov")
    empty(tmp_path, name, "y.mov")
    (tmp_path / "manifest.csv").write_text("file,split\nü.mov,train\ny.mov,train\n")
    assert held(tmp_path, held_out_share=0.5) == []


def test_everything_that_is_left_out_is_told_and_one_useless_folder_stops_nothing(tmp_path: Path) -> None:
    empty(tmp_path, "a.mts", "b.WMV", "thumb.jpg", "read.me", "._c.mov", "empty/.keep", "text/x.doc", "__MACOSX/d.mov")
    assert [source.name for source in find_sources([tmp_path])] == ["a.mts", "b.WMV"]
    told = notes(tmp_path)
    for name in ("thumb.jpg", "read.me", "empty holds neither", "x.doc"):
        assert name in told
    assert "c.mov" not in told
    with pytest.raises(DataError, match="neither videos"):
        find_sources([tmp_path / "text"])


def test_a_video_that_is_named_twice_or_by_a_link_is_one_source(tmp_path: Path) -> None:
    empty(tmp_path / "v", "a.mov", "b.mov")
    os.symlink("a.mov", tmp_path / "v" / "c.mov")
    os.symlink("v", tmp_path / "w")
    found = find_sources([tmp_path / "v", tmp_path / "w", tmp_path / "v" / "a.mov"])
    assert [source.name for source in found] == ["a.mov", "b.mov"]
    assert any("counts once" in note for note in found[0].notes)


def test_who_is_held_out_is_drawn_among_what_can_be_used(tmp_path: Path) -> None:
    write_video(tmp_path / "good.mp4", moving())
    empty(tmp_path, *(f"{i}.mp4" for i in range(4)))
    crops, problems = cut([tmp_path], tmp_path / "out", held_out_share=0.9)
    assert crops.names == ("good.mp4",)
    assert len(crops.take(False)) == len(crops)
    assert len(problems) == 4


def test_digits_that_are_no_decimals_are_letters(tmp_path: Path) -> None:
    folder = empty(tmp_path / "f", "²10.png", "²9.png", "٣.png")
    assert [path.name for path in pictures_in(folder)] == ["٣.png", "²9.png", "²10.png"]


def test_gaps_in_the_numbers_of_frames_are_no_neighbours(tmp_path: Path) -> None:
    names = ["a008.png", "a010.png", "a012.png", "a016.png", "b018.png"]
    assert breaks([Path(name) for name in names]) == [False, False, False, True, True]
    assert breaks([Path("cat.png"), Path("dog.png")]) == [False, False]
    folder = write_folder(tmp_path / "f", moving(12))
    (folder / "frame5.png").unlink()
    (folder / "frame8.png").write_bytes(b"torn")
    (folder / "._frame1.png").write_bytes(b"hidden")
    crops, (told,) = cut([folder], tmp_path)
    assert "frame8.png" in told
    order = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    for first, gap in zip(crops.frame.tolist(), crops.gap.tolist(), strict=True):
        numbers = [order[t] for t in range(first, first + gap + 1)]
        assert numbers[-1] - numbers[0] == gap
        assert 8 not in numbers


def test_a_folder_of_photos_is_as_many_sources_and_one_bad_one_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", moving(20))
    Image.fromarray(np.dstack([moving(1)[0], np.full((96, 128), 9, np.uint8)])).save(folder / "frame3.png")
    told: list[str] = []
    found = patches(find_sources([folder], 0.2), PatchSettings(64, 10), problem=told.append)
    assert found.names == ("photos", "photos (held out)")
    assert (len(found.take(False)), len(found.take(True))) in ((15, 4), (16, 3))
    (line,) = told
    assert "frame3.png has transparent pixels" in line
    assert "--background" not in line


# Videos


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write gray frames of 64 x 48 with one chroma as they are, without loss."""

    def writer(name: str, form: str = "yuv420p", size: tuple[int, int] = (64, 48), **tags: Any) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, form
            for key, value in tags.items():
                setattr(stream.codec_context, key, value)
            for _ in range(3):
                frame = av.VideoFrame(*size, form)
                for plane, value in zip(frame.planes, (100, 90, 180, 120), strict=False):
                    plane.update(bytes([value]) * plane.buffer_size)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return writer


def shown(path: Path) -> tuple[Any, list[str]]:
    told: list[str] = []
    (first, *_) = list(video_frames(path, told.append))
    return first.pixels, told


def expected(matrix: tuple[float, float], full: bool) -> list[float]:
    """Y' 100, Cb 90, Cr 180 by the equations of ITU-R BT.709, 3.2 and 3.4, with the weights of a matrix."""
    red, blue = matrix
    y, u, v = (100 / 255, -38 / 255, 52 / 255) if full else (84 / 219, -38 / 224, 52 / 224)
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    return [255 * r, 255 * (y - red * r - blue * b) / (1 - red - blue), 255 * b]


@pytest.mark.parametrize(
    ("tags", "size", "matrix", "full"),
    [
        ({"colorspace": 1, "color_range": 1}, (64, 48), (0.2126, 0.0722), False),
        ({"colorspace": 5, "color_range": 2}, (64, 48), (0.299, 0.114), True),
        ({}, (64, 48), (0.299, 0.114), False),
        ({}, (1280, 720), (0.2126, 0.0722), False),
    ],
)
def test_matrix_and_range_are_followed(
    write: Callable[..., Path], tags: dict[str, int], size: tuple[int, int], matrix: tuple[float, float], full: bool
) -> None:
    pixels, told = shown(write("a.mkv", size=size, **tags))
    assert np.abs(pixels[20, 20] - np.array(expected(matrix, full))).max() < 3
    assert told == []


def test_hdr_is_refused_and_wide_primaries_are_converted(write: Callable[..., Path]) -> None:
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        with pytest.raises(InputError, match=rf"a\.mkv is HDR \({name}"):
            list(video_frames(write("a.mkv", color_trc=transfer, color_primaries=9, colorspace=9), print))
    plain, _ = shown(write("b.mkv", colorspace=1, color_primaries=1, color_trc=1))
    wide, told = shown(write("c.mkv", colorspace=1, color_primaries=9, color_trc=14))
    assert int(wide[20, 20, 0]) > int(plain[20, 20, 0]) + 5
    assert "primaries 9" in " ".join(told)


def test_transparent_videos_are_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"a\.mkv has transparent pixels"):
        list(video_frames(write("a.mkv", form="yuva420p"), print))


def test_pixels_become_square(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "sar=3/2:log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for picture in moving(3):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert shown(path)[0].shape == (96, 192, 3)


def turned(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write a display matrix into the header of the track of an .mp4 file."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version, flags, times, track, duration, layer, volume
    for place, value in zip((0, 4, 12, 16), matrix, strict=True):
        content[start + place : start + place + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
        ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
        ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    ],
)
def test_turned_and_mirrored_videos_are_upright(tmp_path: Path, matrix: tuple[int, int, int, int], turn: Any) -> None:
    path = write_video(tmp_path / "a.mp4", moving(3))
    lying, _ = shown(path)
    turned(path, matrix)
    assert np.array_equal(shown(path)[0], turn(lying))


def test_a_cut_off_video_gives_what_came_before(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", moving(40))
    whole = [frame.pixels for frame in video_frames(path, print)]
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    told: list[str] = []
    found = [frame.pixels for frame in video_frames(path, told.append) if frame.pixels is not None]
    assert 10 < len(found) < 40
    assert count_frames(path) >= len(found)
    assert all(np.array_equal(a, b) for a, b in zip(found[:-1], whole, strict=False))


def test_damaged_frames_are_left_out_and_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", moving(40))
    whole = [frame.pixels for frame in video_frames(path, print)]
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat")
    for place in range(start + 20_000, start + 40_000, 997):
        content[place] ^= 0x55
    path.write_bytes(content)
    told: list[str] = []
    found = list(video_frames(path, told.append))
    lost = [at for at, frame in enumerate(found) if frame.pixels is None]
    assert 0 < len(lost) < 40
    assert f"{len(lost)} frames are left out" in told[-1]
    assert sum(np.array_equal(f.pixels, w) for f, w in zip(found, whole, strict=False)) > 5
