from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import pim
from pim.core import weights
from pim.core.weights import WeightHeader
from pim.errors import InputError, PimError, UsageError
from pim.metrics import registry
from pim.metrics.classics import PSNR
from pim.pim.model import PIM
from pim.pim.networks import PIMConfig

TINY = PIMConfig(filters=(4, 3), scales=1, filter_set="sp0")


@pytest.fixture
def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Two 8-bit pictures, (34, 41, 3)."""
    generator = np.random.default_rng(7)
    return tuple(generator.integers(0, 256, (34, 41, 3), dtype=np.uint8) for _ in range(2))


@pytest.fixture
def ships_tiny(tmp_path, monkeypatch):
    """An installation whose default weights are seeded random ones; the kept metrics are forgotten before and after."""
    torch.manual_seed(5)
    metric = PIM(TINY)
    path = tmp_path / "tiny.safetensors"
    weights.write(path, metric.state_dict(), WeightHeader("pim", TINY.to_dict()))
    monkeypatch.setattr(weights, "shipped", lambda: {registry.DEFAULT: path})
    registry.load_kept.cache_clear()
    yield metric
    registry.load_kept.cache_clear()


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    difference = a.astype(np.float64) / np.iinfo(a.dtype).max - b.astype(np.float64) / np.iinfo(b.dtype).max
    return float(-10 * np.log10((difference**2).mean()))


def _forms(array: np.ndarray, path) -> dict[str, object]:
    """One picture in every form that `distance` takes."""
    picture = Image.fromarray(array)
    picture.save(path)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    stream.seek(0)
    tensor = torch.from_numpy(array).permute(2, 0, 1) / 255
    return {
        "path": path,
        "name": str(path),
        "open file": stream,
        "PIL image": picture,
        "uint8 array": array,
        "uint16 array": array.astype(np.uint16) * 257,
        "float32 array": array.astype(np.float32) / 255,
        "float64 array": array / 255,
        "array that is a view": np.asfortranarray(array)[::-1][::-1],
        "tensor": tensor,
        "batch of one": tensor[None],
    }


def test_every_form_of_a_picture_gives_the_same_distance(arrays, tmp_path) -> None:
    a, b = arrays
    for name, form in _forms(a, tmp_path / "a.png").items():
        assert pim.distance(form, b, "psnr") == pytest.approx(_psnr(a, b), rel=1e-6), name
    for name, form in _forms(b, tmp_path / "b.png").items():
        assert pim.distance(a, form, "psnr") == pytest.approx(_psnr(a, b), rel=1e-6), name


def test_sixteen_bits_keep_their_precision() -> None:
    a = np.full((4, 5, 3), 30000, np.uint16)
    b = a + np.uint16(1)
    assert pim.distance(a, b, "psnr") == pytest.approx(_psnr(a, b), rel=1e-4)


def test_a_gray_array_is_three_equal_channels(arrays) -> None:
    gray, other = arrays[0][..., 0], arrays[1]
    want = pim.distance(np.repeat(gray[..., None], 3, axis=2), other, "psnr")
    assert pim.distance(gray, other, "psnr") == want


def test_arrays_and_tensors_are_not_changed(arrays) -> None:
    a, b = (array.astype(np.float32) / 255 for array in arrays)
    before = a.copy()
    a.setflags(write=False)
    pim.distance(a, b, "psnr")
    np.testing.assert_array_equal(a, before)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: a.astype(np.int32), "uint8, uint16 or floating point in .* got int32"),
        (lambda a: a > 5, "got bool"),
        (lambda a: a.astype(np.float32), r"looks like 0\.\.255"),
        (lambda a: a / 255 * 2 - 1, r"looks like \[-1, 1\]"),
        (lambda a: np.where(a > 250, np.nan, 0.5), "contains NaN"),
        (lambda a: a.transpose(2, 0, 1), r"shape \(H, W, 3\) or \(H, W\); got \(3, 34, 41\)"),
        (lambda a: a[..., [0, 1, 2, 2]], r"got \(34, 41, 4\)"),
        (lambda a: a[1:], r"shape of reference, \(1, 3, 34, 41\); got \(1, 3, 33, 41\)"),
        (lambda a: a[:0], "distorted is empty"),
        (lambda a: torch.zeros(2, 3, 34, 41), "distorted holds 2 images; one is expected, a metric takes batches"),
        (lambda a: torch.from_numpy(a).permute(2, 0, 1), "got uint8"),
        (lambda a: torch.from_numpy(a / 255), "permute"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(arrays, spoil, message) -> None:
    a, b = arrays
    with pytest.raises(InputError, match=message):
        pim.distance(a, spoil(b), "psnr")


def test_files_of_unequal_size_and_missing_files_are_refused(arrays, tmp_path) -> None:
    Image.fromarray(arrays[0][1:]).save(tmp_path / "smaller.png")
    with pytest.raises(InputError, match="shape of reference"):
        pim.distance(arrays[0], tmp_path / "smaller.png", "psnr")
    with pytest.raises(InputError, match="nowhere.png"):
        pim.distance(tmp_path / "nowhere.png", arrays[0], "psnr")


def test_transparent_files_need_a_background(arrays, tmp_path) -> None:
    clear = np.dstack([arrays[0], np.zeros((34, 41), np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    white = np.full((34, 41, 3), 255, np.uint8)
    with pytest.raises(InputError, match="clear.png"):
        pim.distance(white, tmp_path / "clear.png", "psnr")
    assert pim.distance(white, tmp_path / "clear.png", "psnr", background="white") == float("inf")


def test_identical_images_have_infinite_psnr_and_that_is_a_value(arrays) -> None:
    assert pim.distance(arrays[0], arrays[0], "psnr") == float("inf")


def test_a_value_that_is_no_number_is_an_error_that_names_the_files(arrays, tmp_path) -> None:
    class Broken(PSNR):
        def _compare(self, features, distorted):
            return torch.full((len(distorted),), float("nan"))

    for name in "ab":
        Image.fromarray(arrays[0]).save(tmp_path / f"{name}.png")
    with pytest.raises(PimError, match=r"psnr of .*a\.png and .*b\.png is nan"):
        pim.distance(tmp_path / "a.png", tmp_path / "b.png", Broken())


def test_the_default_metric_is_loaded_once(arrays, ships_tiny, monkeypatch) -> None:
    loads = []
    original = registry.load
    monkeypatch.setattr(registry, "load", lambda name=None, **options: loads.append(name) or original(name, **options))
    a, b = arrays
    first, second = pim.distance(a, b), pim.distance(a, b, registry.DEFAULT)
    assert loads == [registry.DEFAULT]
    tensors = [torch.from_numpy(array).permute(2, 0, 1)[None] / 255 for array in arrays]
    assert first == second == pytest.approx(ships_tiny(*tensors).item(), rel=1e-6)


def test_a_weight_file_is_read_again_because_it_may_have_changed(arrays, ships_tiny, tmp_path) -> None:
    path = tmp_path / "mine.safetensors"
    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        weights.write(path, PIM(TINY).state_dict(), WeightHeader("pim", TINY.to_dict()))
        values.append(pim.distance(*arrays, str(path)))
    assert values[0] != values[1]


def test_no_graph_is_kept_for_tensors_that_want_gradients(ships_tiny) -> None:
    a = torch.full((3, 33, 35), 0.5, requires_grad=True)
    assert isinstance(pim.distance(a, a.detach() * 0.5), float)


def test_an_unknown_metric_is_refused_before_the_images_are_opened() -> None:
    with pytest.raises(UsageError, match="unknown metric 'ssmi'; did you mean 'ssim'"):
        pim.distance("nowhere.png", "nowhere.png", "ssmi")


def test_metrics_lists_all_with_the_default_first_and_says_what_is_missing(ships_tiny) -> None:
    listed = pim.list_metrics()
    assert [status.info for status in listed] == list(registry.built_in().values())
    assert listed[0].info.name == registry.DEFAULT
    by_name = {status.info.name: status for status in listed}
    assert by_name["psnr"].available
    assert by_name["psnr"].weights_hash is None
    assert by_name[registry.DEFAULT].weights_hash == registry.load().weights_hash
    assert not by_name["pim-1"].available
    assert "pim-1.safetensors" in by_name["pim-1"].unavailable
    assert json.loads(json.dumps(by_name["ssim"].as_dict()))["value_range"] == [-1.0, 1.0]


LISTS_WITHOUT = (
    "import sys, pim; pim.list_metrics(); sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'PIL')))"
)


def test_listing_the_metrics_imports_nothing_heavy() -> None:
    assert subprocess.run([sys.executable, "-c", LISTS_WITHOUT], check=False).returncode == 0


def test_the_check_for_heavy_imports_can_fail() -> None:
    assert subprocess.run([sys.executable, "-c", f"import numpy; {LISTS_WITHOUT}"], check=False).returncode == 1
