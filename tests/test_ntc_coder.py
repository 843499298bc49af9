"""Integer tables and the coder, against the public implementation, each other, and hostile input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ntc_prior import public as public  # a fixture

from ntc import conditional, tables
from ntc.coder import LARGEST, Decoder, Encoder, fast
from ntc.rangecoder import RangeDecoder, RangeEncoder
from pim.errors import InputError, WeightsError


@pytest.mark.parametrize("precision", [8, 12, 16])
@pytest.mark.parametrize("number", range(6))
def test_integer_tables_are_those_of_the_public_code(golden, number, precision):
    arrays = golden("ntc_tfc")
    ours = tables.quantise_pmf(arrays[f"pmf{number}"], precision)
    assert ours.tolist() == arrays[f"pmf{number}_cdf_p{precision}"].tolist()


def split(flat, precision):
    """The tables of the public layout: -precision, then one table from 0 to 2^precision, and so on."""
    starts = np.flatnonzero(flat == -precision)
    return [part[1:] for part in np.split(flat, starts[1:])]


def test_tables_of_densities_are_those_of_the_public_code(public, golden):
    density, arrays = public
    offset = arrays["median"].astype(np.float64)
    offset -= np.round(offset)
    ours = tables.factorised(density, offset, 2.0**-8)
    assert ours.low.tolist() == arrays["tfc_cdf_offset"].tolist()
    for number, want in enumerate(split(arrays["tfc_cdf"], 12)):
        assert len(ours.table(number)) == len(want)
        rough = np.diff(ours.table(number)) / 16
        assert np.abs(rough - np.diff(want)).max() <= 1 + len(want) / 64


def test_normal_tables_are_those_of_the_public_code(golden):
    arrays = golden("ntc_tfc")
    ours = tables.gaussian(2.0**-8)
    assert ours.low.tolist() == arrays["normal_tfc_cdf_offset"].tolist()
    for number, want in enumerate(split(arrays["normal_tfc_cdf"], 12)):
        cdf = ours.table(number)
        assert len(cdf) == len(want)
        reduced = tables.quantise_pmf(np.diff(cdf) / 65536, 12)
        assert np.abs(np.diff(reduced) - np.diff(want)).max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=200), st.integers(8, 16))
def test_every_symbol_of_a_table_is_possible_and_counts_add_up(pmf, precision):
    cdf = tables.quantise_pmf(np.array(pmf) / max(1.0, sum(pmf)), precision)
    assert cdf[0] == 0
    assert cdf[-1] == 1 << precision
    assert np.diff(cdf).min() >= 1


def test_values_that_are_no_probabilities_are_refused():
    for wrong in ([0.5], [0.5, np.nan], [0.5, -0.1], [0.9, 0.2], np.full(300, 1 / 300)):
        with pytest.raises(InputError):
            tables.quantise_pmf(wrong, 8)


def test_damaged_tables_are_refused():
    good = tables.gaussian()
    for name in ("cdf", "start", "low"):
        for change in (lambda a: a[:-1], lambda a: a[::-1].copy(), lambda a: a * 2 + 1):
            parts = {key: getattr(good, key) for key in ("cdf", "start", "low")}
            if name == "low" and len(change(parts[name])) == len(good.low):
                continue  # any start is possible
            parts[name] = change(parts[name])
            with pytest.raises(WeightsError):
                tables.Tables(**parts)


@pytest.fixture(scope="module")
def gaussians():
    return tables.gaussian()


def block(count, seed, spread=1.0):
    """Symbols drawn from their own tables, with some far outside."""
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 64, count)
    scale = conditional.scale_table().numpy()[index]
    symbols = np.rint(rng.standard_normal(count) * scale * spread).astype(np.int64)
    far = rng.random(count) < 0.02
    symbols[far] += rng.integers(-(1 << 20), 1 << 20, int(far.sum()))
    return symbols, index


@pytest.mark.parametrize(
    ("writer", "reader"), [(None, None), (RangeEncoder, None), (None, RangeDecoder), (RangeEncoder, RangeDecoder)]
)
def test_blocks_with_escapes_come_back_from_either_coder(gaussians, writer, reader):
    blocks = [block(500, seed) for seed in range(3)] + [block(0, 9), block(1, 5)]
    encoder = Encoder(gaussians, writer and writer())
    for symbols, index in blocks:
        kept = symbols.copy(), index.copy()
        encoder.put(symbols, index)
        assert np.array_equal(symbols, kept[0])  # the caller's arrays stay as they are
        assert np.array_equal(index, kept[1])
    data = encoder.finish()
    decoder = Decoder(data, gaussians, reader and reader(np.frombuffer(data, "<u4")))
    for symbols, index in blocks:
        assert np.array_equal(decoder.get(index), symbols)


@pytest.mark.parametrize("seed", range(20))
def test_the_plain_coder_writes_the_words_of_the_fast_one(seed):
    rng = np.random.default_rng(seed)
    fast_one, plain = Encoder(tables.gaussian()), RangeEncoder()
    for _ in range(rng.integers(0, 6)):
        cdf = tables.quantise_pmf(rng.dirichlet(np.full(rng.integers(2, 9), rng.choice([0.01, 1.0]))))
        symbols = rng.integers(0, len(cdf) - 1, rng.integers(0, 200)).astype(np.int32)
        fast_one._backend.encode(symbols, cdf)
        plain.encode(symbols, cdf)
    assert fast()
    assert fast_one.finish() == plain.finish().astype("<u4").tobytes()


def test_a_stream_is_as_long_as_its_probabilities_say(gaussians):
    rng = np.random.default_rng(1)
    index = rng.integers(0, 64, 20000)
    symbols = np.rint(rng.standard_normal(20000) * conditional.scale_table().numpy()[index]).astype(np.int64)
    encoder = Encoder(gaussians)
    encoder.put(symbols, index)
    ideal = conditional.bits(torch.from_numpy(symbols).double(), 0.0, conditional.scale_table()[index]).sum()
    assert 8 * len(encoder.finish()) == pytest.approx(float(ideal), rel=2e-3)


def test_the_stream_of_the_public_code_is_no_shorter_than_ours(golden, gaussians):
    arrays = golden("ntc_tfc")
    index = arrays["normal_rt_index"][0].astype(np.int64)
    k = np.rint(arrays["normal_rt_y"][0] - arrays["normal_rt_loc"][0]).astype(np.int64)
    np.testing.assert_allclose(k + arrays["normal_rt_loc"][0], arrays["normal_rt_yhat"][0], atol=1e-5)
    encoder = Encoder(gaussians)
    encoder.put(k, index)
    assert len(encoder.finish()) <= int(arrays["normal_rt_nbytes"]) + 4


def test_symbols_at_every_edge_of_a_table_and_far_beyond_come_back(gaussians):
    low, count = int(gaussians.low[20]), int(gaussians.symbols[20])
    edges = [low - 1, low, low + count - 1, low + count, low + count + 1, LARGEST, -LARGEST, 1 << 20, -(1 << 20)]
    symbols, index = np.array(edges), np.full(len(edges), 20)
    encoder = Encoder(gaussians)
    encoder.put(symbols, index)
    assert Decoder(encoder.finish(), gaussians).get(index).tolist() == edges


def test_what_cannot_be_coded_is_refused(gaussians):
    encoder = Encoder(gaussians)
    one = np.array([1])
    for symbols, index, message in (
        (np.array([LARGEST + 1]), one, "model is broken"),
        (np.array([np.nan]), one, "whole numbers"),
        (one, np.array([64]), "index 64"),
        (one, np.array([-1]), "index -1"),
        (one, np.array([1, 2]), "equally long"),
    ):
        with pytest.raises(InputError, match=message):
            encoder.put(symbols, index)
    with pytest.raises(InputError, match="words of 4"):
        Decoder(b"12345", gaussians)


def test_any_bytes_decode_to_something_or_to_an_error(gaussians):
    rng = np.random.default_rng(0)
    index = np.arange(64).repeat(5)
    for trial in range(300):
        data = rng.bytes(4 * rng.integers(0, 40)) if trial % 3 else b"\xff" * 4 * (trial % 7)
        results = []
        for reader in (None, RangeDecoder(np.frombuffer(data, "<u4"))):
            try:
                results.append(Decoder(data, gaussians, reader).get(index).tolist())
            except InputError as error:
                results.append(str(error))
        assert results[0] == results[1]
