"""Half precision: what is stored of the pooled sums, and what scores make of it, against a plain rounding."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from neuronxa_core.cli.main import main
from neuronxa_core.experiment import ENTRIES, Experiment
from neuronxa_core.measures import alignment
from neuronxa_core.states import computing, planning, precision
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.precision import to_half
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store

FLOATS = arrays_of.arrays(
    np.float32,
    arrays_of.array_shapes(min_dims=2, max_dims=2, max_side=5),
    elements=st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)
    | st.floats(-2, 2, width=32, allow_subnormal=False),
)


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """A store, and a plan by how states are stored, with the states of three languages computed in each."""
    store = Store(tmp_path_factory.mktemp("store"))
    pool = ModelPool()
    made = {}
    for storage in precision.STORAGE:
        experiment = Experiment(languages=("deu_Latn", "tha_Thai"), sentences=12, storage=storage, kept=ENTRIES)
        made[storage] = planning.make_plan(experiment, store)
        computing.compute_missing(made[storage], store, pool)
    yield store, made
    store.close()


@given(FLOATS)
def test_half_is_the_nearest_of_eleven_bits_under_a_power_of_two(values):
    """Every component against a rounding in fractions; the largest of a row lies in [1/2, 1] after scaling."""
    kept, scales = to_half(values)
    assert (kept.dtype, scales.dtype, scales.shape) == (np.float16, np.float32, (len(values),))
    for row, halves, factor in zip(values, kept, scales, strict=True):
        scale = Fraction(float(factor))
        largest = Fraction(max(abs(float(v)) for v in row))
        if largest == 0:
            assert not halves.any()
            continue
        assert scale.numerator == 1 or scale.denominator == 1
        assert (scale.numerator * scale.denominator).bit_count() == 1
        assert scale / 2 <= largest < scale
        for value, half in zip(row, halves, strict=True):
            wanted, got = Fraction(float(value)) / scale, Fraction(float(half))
            assert abs(got) <= 1
            # half of the last place: 11 bits, and never finer than 2^-24
            exponent = math.floor(math.log2(abs(wanted))) if wanted else -24
            assert abs(got - wanted) <= Fraction(2) ** (max(exponent, -14) - 11)


def test_half_by_hand():
    values = np.array([[3.0, -1.0, 0.0], [70000.0, 35000.0, 1.0], [0.0, 0.0, 0.0]], np.float32)
    kept, scales = to_half(values)
    assert scales.tolist() == [4, 131072, 1]
    assert kept[0].tolist() == [0.75, -0.25, 0]
    # 70000 / 131072 = 0.534058, between 1/2 and 1 in steps of 1/2048: 1093.75 of them, so 1094
    assert kept[1, 0] == 1094 / 2048
    assert kept[2].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("storage", "neuron", "hidden"), [("exact", 16, 12), ("half", 10, 6)])
def test_bytes_of_an_entry(storage, neuron, hidden, plans):
    """As the arrays of the store say; scales are 4 bytes per row and left out."""
    store, made = plans
    info, counted = made[storage].info, 0
    for name, key in made[storage].entries("deu_Latn").items():
        with store.get(key) as entry:
            assert {one for one in entry.arrays if one in ENTRIES} == {name}
            shape, dtype = entry.arrays[name]
        size = dtype.itemsize * math.prod(shape)
        assert size == 12 * precision.bytes_per_sentence(info, storage, [name])
        counted += size
    by_layer = info.neurons * neuron + 2 * info.hidden * hidden  # EMB and HID
    assert counted == 12 * (info.layers * by_layer + info.hidden * hidden)


def test_scores_are_those_of_the_rounded_states(plans):
    """Aligned sentence by sentence, by cosines in float64 of what a rounding of the exact states gives."""
    store, made = plans
    plan = made["half"]
    with StatesReader(made["exact"], store) as reader:
        for state, pooling in (("nas", "weighted"), ("nav", "weighted"), ("emb", "last")):
            result = alignment.align(plan, store, state, pooling)
            for layer in range(plan.info.layers):
                rounded = {}
                for code in plan.all_languages:
                    values = reader.vectors(code, state, pooling, layer).astype(float)
                    if state != "nas":
                        largest = np.abs(values).max(axis=1, keepdims=True)
                        values = (values / 2.0 ** np.ceil(np.log2(largest))).astype(np.float16).astype(float)
                    rounded[code] = values / np.linalg.norm(values, axis=1, keepdims=True)
                for k, code in enumerate(plan.languages):
                    cosines = rounded[plan.pivot] @ rounded[code].T
                    for i in range(len(cosines)):
                        others = [j for j in range(len(cosines)) if j != i]
                        aligned = all(cosines[i, i] - max(cosines[i, j], cosines[j, i]) > 1e-12 for j in others)
                        assert result.aligned[k, layer, i] == aligned, (state, pooling, layer, code, i)


def test_pooled_sums_are_close_and_those_of_nas_exact(plans):
    store, made = plans
    with StatesReader(made["exact"], store) as exact, StatesReader(made["half"], store) as half:
        for name in ENTRIES:
            for code in made["half"].all_languages:
                wanted = exact.pooled_sums(code, *name.split("_"), 3)
                got = half.pooled_sums(code, *name.split("_"), 3)
                assert np.array_equal(got, wanted) == name.startswith("nas")
                assert (np.abs(got - wanted) <= np.abs(wanted).max(axis=1, keepdims=True) / 2000).all()


@pytest.mark.full
def test_the_command_line_stores_as_asked_and_says_what_has_no_room(tmp_path, monkeypatch, capsys):
    asked = ["score", "--model", "demo", "--corpus", "demo", "--pivot", "eng_Latn", "--languages", "deu_Latn"]
    asked += ["--sentences", "4", "--cache-dir", str(tmp_path)]
    assert main([*asked, "--storage", "half"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 8
    store = Store(tmp_path)
    assert {entry.meta["storage"] for entry in store.entries() if "storage" in entry.meta} == {"half"}
    store.close()
    monkeypatch.setenv("NEURONXA_CACHE_GIB", "0.0001")
    assert main(asked) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "NEURONXA_CACHE_GIB" in said.err
