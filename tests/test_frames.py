from __future__ import annotations

import sys

import av
import numpy as np
import pytest
from PIL import Image

from pim.datasets import frames
from pim.datasets.crops import CropSettings, load_crops, save_crops
from pim.errors import DataError, InputError, UsageError


def moving(count=12, height=96, width=128, seed=0, step=3):
    """Frames of a texture that moves by `step` pixels."""
    texture = np.random.default_rng(seed).integers(0, 256, (height, width + step * count, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(texture).resize((texture.shape[1], height // 4)).resize(texture.shape[1::-1]))
    return [smooth[:, step * t : step * t + width] for t in range(count)]


def write_video(path, pictures, codec="mpeg4"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    return path


def write_folder(folder, pictures):
    folder.mkdir()
    for t, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"frame{t}.png")
    return folder


SETTINGS = CropSettings(size=32, per_source=20, largest_reduction=2.0)


def cut(paths, tmp_path, settings=SETTINGS, **options):
    problems = []
    crops = frames.collect(frames.find_sources(paths, **options), settings, tmp_path / "cache", problem=problems.append)
    return crops, problems


def test_both_frames_of_a_pair_show_the_same_window_at_times_gap_apart(tmp_path):
    rows, columns = np.mgrid[0:96, 0:128].astype(np.uint8)
    pictures = [np.stack([columns, rows, np.full_like(rows, 20 * t)], 2) for t in range(12)]  # blue tells the time
    crops, problems = cut([write_folder(tmp_path / "a", pictures)], tmp_path)
    assert problems == []
    assert len(crops) > 10
    assert crops.pairs.shape[1:] == (2, 3, 32, 32)
    assert set(crops.gap.tolist()) == {1, 2}
    for pair, t, gap in zip(crops.pairs, crops.frame, crops.gap, strict=True):
        assert np.array_equal(pair[0, :2], pair[1, :2])  # the same place
        assert {int(side[2].mean()) for side in pair} == {20 * t, 20 * (t + gap)}  # at two times


def test_videos_and_folders_of_their_frames_give_similar_crops(tmp_path):
    pictures = moving()
    video, _ = cut([write_video(tmp_path / "clip.mp4", pictures)], tmp_path)
    assert len(video) > 10
    assert abs(float(video.pairs.mean()) - np.mean(pictures)) < 20


def test_frames_are_in_natural_order_of_their_numbers(tmp_path):
    pictures = [np.full((40, 40, 3), 10 * t, np.uint8) for t in range(12)]
    folder = write_folder(tmp_path / "a", pictures)
    assert [int(f.pixels[0, 0, 0]) for f in frames.frames_of(folder, print)] == [10 * t for t in range(12)]


def test_cuts_still_pictures_and_flat_windows_are_left_out(tmp_path):
    moved = moving(4)
    black, white = np.zeros_like(moved[0]), np.full_like(moved[0], 255)
    cases = {"cut": [black, white, black, white], "still": [moved[0]] * 4, "flat": [black, black + 3, black, black + 3]}
    for name, pictures in cases.items():
        with pytest.raises(DataError, match="none of the sources"):
            cut([write_folder(tmp_path / name, pictures)], tmp_path)


def test_the_same_seed_gives_the_same_crops_and_another_does_not(tmp_path):
    folder = write_folder(tmp_path / "a", moving())
    first, again = (cut([folder], tmp_path / name)[0] for name in ("x", "y"))
    other, _ = cut([folder], tmp_path, CropSettings(32, 20, 2, 2.0, seed=1))
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint


def test_a_second_call_decodes_nothing_and_a_changed_source_is_decoded_again(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "a", moving())
    first, _ = cut([folder], tmp_path)
    decoded = []
    real = frames.frames_of
    monkeypatch.setattr(frames, "frames_of", lambda path, tell: decoded.append(path) or real(path, tell))
    again, _ = cut([folder], tmp_path)
    assert decoded == []
    assert again.fingerprint == first.fingerprint
    Image.fromarray(moving(seed=5)[0]).save(folder / "frame3.png")
    cut([folder], tmp_path)
    assert decoded == [folder]


def test_a_torn_cache_file_is_made_again(tmp_path):
    folder = write_folder(tmp_path / "a", moving())
    first, _ = cut([folder], tmp_path)
    (part,) = (tmp_path / "cache").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    again, _ = cut([folder], tmp_path)
    assert again.fingerprint == first.fingerprint


def test_a_broken_video_is_named_and_the_others_go_on(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "good.mp4", moving())
    (folder / "broken.mp4").write_bytes(b"not a video at all" * 50)
    crops, problems = cut([folder], tmp_path, held_out_share=0.0)
    assert crops.names == ("good.mp4",)
    assert len(problems) == 1
    assert "broken.mp4" in problems[0]


def test_without_a_decoder_a_video_says_what_to_install_and_pictures_need_none(tmp_path, monkeypatch):
    video, folder = write_video(tmp_path / "clip.mp4", moving()), write_folder(tmp_path / "a", moving())
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install 'pim-metric\[video\]'"):
        list(frames.frames_of(video, print))
    assert len(list(frames.frames_of(folder, print))) == 12


def test_sources_are_held_out_by_the_manifest_or_else_by_share(tmp_path):
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"")
    by_share = frames.find_sources([tmp_path], held_out_share=0.01)
    assert sum(s.held_out for s in by_share) == 1
    assert not any(s.held_out for s in frames.find_sources([tmp_path], held_out_share=0.0))
    (tmp_path / "manifest.csv").write_text("file,split\na.mp4,train\nb.mp4,valid\nc.mp4,train\n")
    assert [s.name for s in frames.find_sources([tmp_path]) if s.held_out] == ["b.mp4"]
    (tmp_path / "manifest.csv").write_text("file,split\na.mp4,test\n")
    with pytest.raises(InputError, match="line 2: column split must be train or valid; got 'test'"):
        frames.find_sources([tmp_path])


def test_adding_a_video_moves_no_other_between_training_and_validation(tmp_path):
    names = [f"{i}.mp4" for i in range(30)]
    for name in names[:-1]:
        (tmp_path / name).write_bytes(b"")
    before = {s.name: s.held_out for s in frames.find_sources([tmp_path], 0.3)}
    (tmp_path / names[-1]).write_bytes(b"")
    after = {s.name: s.held_out for s in frames.find_sources([tmp_path], 0.3)}
    assert {name: after[name] for name in before} == before


def test_packed_crops_come_back_whole(tmp_path):
    crops, _ = cut([write_folder(tmp_path / "a", moving())], tmp_path)
    save_crops(tmp_path / "packed.npz", crops)
    assert load_crops(tmp_path / "packed.npz").fingerprint == crops.fingerprint
    (tmp_path / "torn.npz").write_bytes((tmp_path / "packed.npz").read_bytes()[:-50])
    with pytest.raises(DataError, match="not a file of packed crops"):
        load_crops(tmp_path / "torn.npz")


def test_wrong_sources_and_settings_are_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        frames.find_sources([tmp_path / "nowhere"])
    with pytest.raises(DataError, match="neither videos"):
        frames.find_sources([tmp_path])
    with pytest.raises(UsageError, match="size >= 16"):
        CropSettings(size=8)
    short = write_folder(tmp_path / "short", moving(2))
    with pytest.raises(DataError, match="none of the sources"):
        cut([short], tmp_path)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    folder = write_folder(tmp_path / "a", moving())
    kept, _ = cut([folder], tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "cache").write_text("a file where the folder should be")
    crops, (told,) = cut([folder], tmp_path / "other")
    assert crops.fingerprint == kept.fingerprint
    assert "crops cannot be kept in" in told
