"""forms.py: what is kept of the pooled_sums, against a plain computation, and what scores make of it."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from neuronxa_core.cli.main import main
from neuronxa_core.errors import ExperimentError, StoreError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import activation_counts, alignment, neuron_rankings
from neuronxa_core.states import computing, planning, precision
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.states.precision import shorten, shortened
from neuronxa_core.states.stored import StatesReader
from neuronxa_core.store.cache import Store, default_limit

FLOATS = arrays_of.arrays(
    np.float32,
    arrays_of.array_shapes(min_dims=2, max_dims=2, max_side=5),
    elements=st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)
    | st.floats(-2, 2, width=32, allow_subnormal=False),
)


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    """A store and one plan a form, with the states of three languages computed in each."""
    store = Store(tmp_path_factory.mktemp("store"))
    pool = ModelPool()
    made = {}
    for form in precision.FORMS:
        experiment = Experiment(languages=("deu_Latn", "tha_Thai"), sentences=12, storage=form)
        made[form] = planning.make_plan(experiment, store)
        computing.compute_missing(made[form], store, pool)
    yield store, made
    store.close()


def test_what_each_form_shortens():
    names = [f"{state}_{pooling}" for state in ("nas", "nav", "emb") for pooling in ("weighted", "last", "mean")]
    assert {name: shortened(name, "exact") for name in names} == dict.fromkeys(names)
    half = dict.fromkeys(names[:3]) | dict.fromkeys(names[3:], np.float16)
    assert {name: shortened(name, "half") for name in names} == half
    assert {name: shortened(name, "compact") for name in names} == half | {"nas_weighted": np.uint8}


@given(FLOATS)
def test_half_is_the_nearest_of_eleven_bits_under_a_power_of_two(values):
    """Every component against a rounding in fractions; the largest of a row lies in [1/2, 1] after scaling."""
    kept, scales = shorten(values, np.full(len(values), 3), np.float16)
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
    kept, scales = shorten(values, np.array([1, 1, 1]), np.float16)
    assert scales.tolist() == [4, 131072, 1]
    assert kept[0].tolist() == [0.75, -0.25, 0]
    # 70000 / 131072 = 0.534058, between 1/2 and 1 in steps of 1/2048: 1093.75 of them, so 1094
    assert kept[1, 0] == 1094 / 2048
    assert kept[2].tolist() == [0, 0, 0]


@given(st.data())
def test_eight_bits_are_the_nearest_step_of_the_frequency(data):
    tokens = np.array(data.draw(st.lists(st.integers(1, 2048), min_size=1, max_size=5)))
    whole = tokens * (tokens + 1) // 2
    counts = np.array([[data.draw(st.integers(0, int(w))) for _ in range(3)] for w in whole], np.float32)
    kept, scales = shorten(counts, tokens, np.uint8)
    assert (kept.dtype, scales.dtype, scales.shape) == (np.uint8, np.float32, (len(tokens),))
    for sentence, neuron in np.ndindex(counts.shape):
        frequency = Fraction(int(counts[sentence, neuron]), int(whole[sentence]))
        assert abs(Fraction(int(kept[sentence, neuron]), 255) - frequency) <= Fraction(1, 510) + Fraction(1, 10**9)
    np.testing.assert_allclose(kept * scales[:, None], counts, atol=whole.max() / 509)
    # what is never or always on stays so
    assert (kept[counts == 0] == 0).all()
    assert (kept[counts == np.broadcast_to(whole[:, None], counts.shape)] == 255).all()


def test_eight_bits_by_hand():
    """Four tokens, weights 1 to 4 of 10: on at the last is 4/10 of 255 = 102, at the first two 3/10: 76.5, to even."""
    kept, scales = shorten(np.array([[4, 3, 10, 0]], np.float32), np.array([4]), np.uint8)
    assert kept.tolist() == [[102, 76, 255, 0]]
    assert scales.tolist() == [np.float32(10 / 255)]


@pytest.mark.parametrize(("form", "neuron", "hidden"), [("exact", 16, 12), ("half", 10, 6), ("compact", 9, 6)])
def test_bytes_a_sentence(form, neuron, hidden, plans):
    """As the arrays of the store say; scales are 4 bytes a row and left out."""
    store, made = plans
    info = made[form].info
    with store.get(made[form].keys["deu_Latn"]) as entry:
        counted = sum(
            dtype.itemsize * math.prod(shape)
            for name, (shape, dtype) in entry.arrays.items()
            if name != "tokens" and not name.endswith("_scale")
        )
    assert counted == 12 * precision.bytes_a_sentence(info, form)
    assert counted == 12 * info.layers * (info.neurons * neuron + info.hidden * hidden)


# ------------------------------------------------------------------------------------------------- from run to reading


def test_every_form_has_entries_of_its_own(plans):
    _store, made = plans
    assert len({key for plan in made.values() for key in plan.keys.values()}) == 3 * len(precision.FORMS)


@pytest.mark.parametrize("form", ["half", "compact"])
def test_scores_are_those_of_the_rounded_states(form, plans):
    """Aligned sentence by sentence, by cosines in float64 of what a rounding of the exact states gives."""
    store, made = plans
    exact, plan = made["exact"], made[form]
    with StatesReader(exact, store) as reader:
        for state, pooling in (("nas", "weighted"), ("nas", "mean"), ("nav", "weighted"), ("emb", "last")):
            found = alignment.align(plan, store, state, pooling)
            for layer in range(plan.info.layers):
                rounded = {}
                for code in plan.all_languages:
                    values = reader.vectors(code, state, pooling, layer).astype(float)
                    tokens = reader.tokens(code)[:, None].astype(float)
                    if state == "nas" and pooling == "weighted" and form == "compact":
                        values = np.rint(255 * values / (tokens * (tokens + 1) / 2))
                    elif state != "nas":
                        largest = np.abs(values).max(axis=1, keepdims=True)
                        values = (values / 2.0 ** np.ceil(np.log2(largest))).astype(np.float16).astype(float)
                    rounded[code] = values / np.linalg.norm(values, axis=1, keepdims=True)
                for k, code in enumerate(plan.languages):
                    cosines = rounded[plan.pivot] @ rounded[code].T
                    for i in range(len(cosines)):
                        others = [j for j in range(len(cosines)) if j != i]
                        aligned = all(cosines[i, i] - max(cosines[i, j], cosines[j, i]) > 1e-12 for j in others)
                        assert found.aligned[k, layer, i] == aligned, (state, pooling, layer, code, i)


@pytest.mark.parametrize("form", ["half", "compact"])
def test_numerators_are_close_and_counts_exact(form, plans):
    store, made = plans
    with StatesReader(made["exact"], store) as exact, StatesReader(made[form], store) as short:
        for state in ("nas", "nav", "emb"):
            for pooling in ("weighted", "last", "mean"):
                for code in made[form].all_languages:
                    wanted = exact.pooled_sums(code, state, pooling, 3)
                    got = short.pooled_sums(code, state, pooling, 3)
                    if state == "nas" and (pooling != "weighted" or form == "half"):
                        assert np.array_equal(got, wanted)
                    else:
                        steps = 509 if state == "nas" else 2000
                        assert (np.abs(got - wanted) <= np.abs(wanted).max(axis=1, keepdims=True) / steps + 0.3).all()
                        assert not np.array_equal(got, wanted)
    counts = [activation_counts.activation_counts(made[name], store).counts for name in ("exact", form)]
    assert np.array_equal(*counts)


def test_values_of_a_neuron_and_of_a_sentence_do_not_feel_the_scale(plans):
    store, made = plans
    exact, half = (neuron_rankings.neuron_values(made[form], store, ["tha_Thai"], 2, 7) for form in ("exact", "half"))
    np.testing.assert_allclose(half["tha_Thai"], exact["tha_Thai"], rtol=2e-3, atol=1e-4)
    exact, half = (
        neuron_rankings.strongest_in_sentence(made[form], store, "tha_Thai", 1, top=3) for form in ("exact", "half")
    )
    assert exact[["layer", "neuron"]].equals(half[["layer", "neuron"]])
    np.testing.assert_allclose(half["value"], exact["value"], rtol=2e-3)


# --------------------------------------------------------------------------------------------------------- what is room


def test_states_that_the_cache_cannot_hold_are_refused_before_anything_runs(tmp_path):
    store = Store(tmp_path / "cache", size_limit=3 << 20)
    plan = planning.make_plan(Experiment(languages=("deu_Latn", "tha_Thai"), sentences=12), store)
    assert 3 << 20 < 3 * planning.bytes_a_language(plan) < 1 << 30
    with pytest.raises(ExperimentError, match=r"3 languages take 0\.0 GiB and the cache holds at most 0\.0 GiB.*half"):
        computing.Extraction(plan).run(store, ModelPool(), lambda *_: None, lambda: False)
    assert planning.missing(plan, store) == list(plan.all_languages)
    half = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=12, storage="compact"), store)
    planning.check_size(half, store)
    store.close()


def test_a_disk_that_is_too_full_is_told_before_anything_runs(tmp_path, monkeypatch):
    store = Store(tmp_path / "cache")
    plan = planning.make_plan(Experiment(languages=("deu_Latn",), sentences=12, storage="half"), store)
    needed = 2 * planning.bytes_a_language(plan)
    monkeypatch.setattr("neuronxa_core.store.cache.shutil.disk_usage", lambda _folder: SimpleNamespace(free=needed - 1))
    with pytest.raises(ExperimentError, match="are free in") as caught:
        planning.check_size(plan, store)
    assert "storage half" not in str(caught.value)
    monkeypatch.setattr("neuronxa_core.store.cache.shutil.disk_usage", lambda _folder: SimpleNamespace(free=needed))
    planning.check_size(plan, store)
    store.close()


def test_the_limit_can_be_set(monkeypatch):
    monkeypatch.delenv("NEURONXA_CACHE_GIB", raising=False)
    assert default_limit() == 50 * 2**30
    monkeypatch.setenv("NEURONXA_CACHE_GIB", "1.5")
    assert default_limit() == 3 * 2**29
    for wrong in ("0", "-3", "much", "nan", "inf", "1e-12"):
        monkeypatch.setenv("NEURONXA_CACHE_GIB", wrong)
        with pytest.raises(StoreError, match="NEURONXA_CACHE_GIB is a number of GiB above 0"):
            default_limit()


def test_the_command_line_keeps_what_is_asked_for_and_says_what_has_no_room(tmp_path, monkeypatch, capsys):
    asked = ["score", "--model", "demo", "--corpus", "demo", "--pivot", "eng_Latn", "--languages", "deu_Latn"]
    asked += ["--sentences", "4", "--cache-dir", str(tmp_path)]
    assert main([*asked, "--storage", "half"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 1 + 8
    store = Store(tmp_path)
    assert {entry.meta.get("storage") for entry in store.entries() if "language" in entry.meta} == {"half"}
    store.close()
    monkeypatch.setenv("NEURONXA_CACHE_GIB", "0.0001")
    assert main(asked) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "NEURONXA_CACHE_GIB" in said.err
    assert said.err.count("\n") == 1
