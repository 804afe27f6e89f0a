"""Extraction against a plain computation: one sentence at a time, neurons from the weights, sums in python loops."""

from __future__ import annotations

import dataclasses
import functools
import random

import numpy as np
import pytest
import torch
from tiny_models import (
    CHOSEN,
    COLUMNS,
    EXPERTS,
    FAMILIES,
    HIDDEN,
    LAYERS,
    MOE_FAMILIES,
    PlainExperts,
    PlainNeurons,
    byte_tokenizer,
    core,
)

from neuronxa_core.corpora import reading
from neuronxa_core.errors import Cancelled, ExtractionError
from neuronxa_core.experiment import ENTRIES
from neuronxa_core.models import description, estimates, loading, sources
from neuronxa_core.states import extraction
from neuronxa_core.states.batches import tokenize
from neuronxa_core.states.extraction import extract
from neuronxa_core.states.hooks import StateHooks

SENTENCES = [
    "a dog runs in the rain",
    "猫は昼に",
    "a",
    "кошка спит",
    "the cat sat on the mat",
    "die Katze am Tag",
]
NAMES = list(ENTRIES)
# gpt_oss computes the two definitions from one and the same value, so it has one only
MIXTURES = [(name, n) for name in MOE_FAMILIES for n in ("product", "gate") if n == "product" or name != "gpt_oss"]
DEFINITIONS = [(name, n) for name in FAMILIES for n in (("product", "gate") if FAMILIES[name].gated else ("product",))]
CORE = [("llama", "product"), ("llama", "gate"), ("phi3", "gate"), ("gemma2", "product"), ("gpt2", "product")]
CORE += [("bert", "product"), ("opt", "product"), ("bloom", "product"), ("mixtral", "gate"), ("gpt_oss", "product")]


@dataclasses.dataclass
class Tokens:
    """What one sentence makes in a model: activations and hidden states, [layer][token][width] in float64.

    returned: the hidden states that transformers returns.
    """

    activations: list[list[list[float]]]
    hidden: list[list[list[float]]]
    returned: list[list[list[float]]]


def alone(family: str, folder, loaded, ids: list[int], neuron: str) -> Tokens:
    """One sentence through the model without padding or mask; neurons recomputed from the weights in float64."""
    plain = (PlainExperts if family in MOE_FAMILIES else PlainNeurons)(family, folder)
    inputs: dict[int, torch.Tensor] = {}
    outputs: dict[int, torch.Tensor] = {}
    handles = []
    for k in range(LAYERS):
        first = loaded.model.get_submodule(
            MOE_FAMILIES[family].experts.format(k) if family in MOE_FAMILIES else plain.first_path(k)
        )
        layer = loaded.model.get_submodule(loaded.feed_forwards[k].layer)
        handles.append(first.register_forward_pre_hook(lambda _m, args, k=k: inputs.__setitem__(k, args[0])))
        handles.append(layer.register_forward_hook(lambda _m, _args, out, k=k: outputs.__setitem__(k, out)))
    with torch.inference_mode():
        result = loaded.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    for handle in handles:
        handle.remove()
    # the states between layers are also what transformers returns; the last one it returns has a norm behind it
    hidden = list(result.hidden_states[1:LAYERS])
    last = outputs[LAYERS - 1]
    hidden.append(last[0] if isinstance(last, tuple) else last)
    return Tokens(
        [plain.activations(k, inputs[k].reshape(len(ids), HIDDEN), neuron).tolist() for k in range(LAYERS)],
        [state[0].double().tolist() for state in hidden],
        [state[0].double().tolist() for state in result.hidden_states],
    )


def pooled_sums(values: list[list[float]]) -> dict[str, list[float]]:
    """The three poolings of [token][width], by their formulas times their denominators."""
    width = range(len(values[0]))
    return {
        "weighted": [sum(t * row[j] for t, row in enumerate(values, start=1)) for j in width],
        "last": list(values[-1]),
        "mean": [sum(row[j] for row in values) for j in width],
    }


@dataclasses.dataclass
class Plain:
    """The arrays that extract should give, and where a float32 pass may see an activation on the other side of 0."""

    arrays: dict[str, np.ndarray]
    uncertain: np.ndarray


@functools.cache
def _plain(family: str, folder, loaded_get, neuron: str, sentences: tuple[str, ...]) -> Plain:
    loaded = loaded_get(family)
    arrays: dict[str, list] = {name: [[] for _ in range(LAYERS + name.startswith("hid"))] for name in NAMES}
    uncertain: list[list] = [[] for _ in range(LAYERS)]
    for sentence in sentences:
        tokens = alone(family, folder, loaded, byte_tokenizer(True).encode(sentence).ids, neuron)
        for k, values in enumerate(tokens.returned):
            for pooling, pooled in pooled_sums(values).items():
                arrays[f"hid_{pooling}"][k].append(pooled)
        for k in range(LAYERS):
            on = [[1 if a > 0 else 0 for a in row] for row in tokens.activations[k]]
            value = [[abs(a) for a in row] for row in tokens.activations[k]]
            for state, values in (("nas", on), ("nav", value), ("emb", tokens.hidden[k])):
                for pooling, pooled in pooled_sums(values).items():
                    arrays[f"{state}_{pooling}"][k].append(pooled)
            near_zero = [[0 < abs(a) < 2e-5 for a in row] for row in tokens.activations[k]]
            uncertain[k].append([any(column) for column in zip(*near_zero, strict=True)])
    return Plain({name: np.array(values) for name, values in arrays.items()}, np.array(uncertain))


@pytest.fixture
def plain(tiny, loaded):
    """plain(family, neuron, sentences): the slow computation, once a session."""

    def get(family: str, neuron: str = "product", sentences=SENTENCES) -> Plain:
        return _plain(family, tiny(family), loaded, neuron, tuple(sentences))

    return get


def assert_same(got: extraction.LanguageStates, wanted: dict[str, np.ndarray], uncertain: np.ndarray) -> None:
    """NAS equal wherever no activation is within rounding of 0, NAV and EMB close."""
    assert set(got.arrays) == set(NAMES)
    assert uncertain.mean() < 0.05
    for name in NAMES:
        array = got.arrays[name]
        assert array.shape == wanted[name].shape, name
        if name.startswith("nas"):
            assert array.dtype.kind == "u"
            assert np.array_equal(array[~uncertain], wanted[name][~uncertain]), name
        else:
            assert array.dtype == np.float32
            scale = np.abs(wanted[name]).max(axis=-1, keepdims=True)
            assert (np.abs(array - wanted[name]) <= 2e-5 * scale).all(), name


# every state, pooling and definition, every family


@pytest.mark.parametrize(("family", "neuron"), core([*DEFINITIONS, *MIXTURES], *CORE))
def test_states_are_those_of_the_plain_computation_in_any_batch(family, neuron, loaded, plain):
    """All in one batch, one by one, small batches and another order: absolute, rotary and ALiBi positions alike."""
    wanted, model = plain(family, neuron), loaded(family)
    for budget in (1, 30, None):
        got = extract(model, "eng", SENTENCES, neuron, token_budget=budget)
        assert_same(got, wanted.arrays, wanted.uncertain)
    assert got.tokens.tolist() == [len(byte_tokenizer(True).encode(s).ids) for s in SENTENCES]
    assert got.truncated == 0
    if family in MOE_FAMILIES:  # an expert that no token of a sentence chose has states of 0
        shape = (LAYERS, len(SENTENCES), EXPERTS, COLUMNS)
        assert (
            got.arrays["nav_last"].reshape(shape).any(axis=3).sum(axis=2).tolist()
            == [[CHOSEN] * len(SENTENCES)] * LAYERS
        )
        assert (wanted.arrays["nas_mean"].reshape(shape).any(axis=3).sum(axis=2) < EXPERTS).any()
        return
    assert 0 < (wanted.arrays["nas_last"] > 0).mean() < 1
    if not FAMILIES[family].gated:
        gate = extract(model, "eng", SENTENCES, "gate")
        assert all(np.array_equal(got.arrays[name], gate.arrays[name]) for name in NAMES)
    order = list(range(len(SENTENCES)))
    random.Random(1).shuffle(order)
    got = extract(model, "eng", [SENTENCES[k] for k in order], neuron, token_budget=40)
    permuted = {name: array[:, order] for name, array in wanted.arrays.items()}
    assert_same(got, permuted, wanted.uncertain[:, order])


@pytest.mark.parametrize(("family", "neuron"), [("llama", "gate"), ("opt", "product")])
def test_nas_numerators_are_whole_numbers_and_exact(family, neuron, loaded):
    """Against the very activations that the pass saw, with no allowance."""
    model = loaded(family)
    shape = FAMILIES[family]
    seen: list[list[torch.Tensor]] = [[] for _ in range(LAYERS)]
    handles = []
    for k in range(LAYERS):
        layer = model.model.get_submodule(shape.layer.format(k))
        if neuron == "product":
            module = layer.get_submodule(shape.last)
            handles.append(module.register_forward_pre_hook(lambda _m, args, k=k: seen[k].append(args[0].clone())))
        else:
            module = layer.get_submodule(shape.activation_module)
            handles.append(module.register_forward_hook(lambda _m, _a, out, k=k: seen[k].append(out.clone())))
    got = extract(model, "eng", SENTENCES, neuron, token_budget=1)
    for handle in handles:
        handle.remove()
    longest_first = sorted(range(len(SENTENCES)), key=lambda k: (-got.tokens[k], k))
    for k in range(LAYERS):
        for call, sentence in enumerate(longest_first):
            rows = seen[k][call].reshape(-1, shape.neurons).tolist()
            assert len(rows) == got.tokens[sentence]
            for state, values in (
                ("nas", [[int(a > 0) for a in row] for row in rows]),
                ("nav", [[abs(a) for a in row] for row in rows]),
            ):
                for pooling, pooled in pooled_sums(values).items():
                    array = got.arrays[f"{state}_{pooling}"][k, sentence]
                    if state == "nas" or pooling == "last":
                        assert array.tolist() == pooled
                    else:
                        np.testing.assert_allclose(array, pooled, rtol=1e-5)


def test_a_hand_worked_sentence(tiny):
    """One layer, activations planted by token: ids 5, 6, 7 make neuron 0 of an OPT 2, 0 and 3, and neuron 1 4, 4, 4."""

    def plant(model):
        layer = model.decoder.layers[0]
        model.decoder.embed_tokens.weight.zero_()
        model.decoder.embed_positions.weight.zero_()
        for parameter in layer.parameters():
            parameter.zero_()
        # the norm before the network passes a +1, -1 on any two axes through
        layer.final_layer_norm.weight.fill_(1)
        for token, axis in ((5, 0), (6, 2), (7, 4)):
            model.decoder.embed_tokens.weight[token, axis] = 1
            model.decoder.embed_tokens.weight[token, axis + 1] = -1
        # the norm of a vector of +1 and -1 among 32 entries has length 4: it scales by 4
        layer.fc1.weight[0, 0] = 2 / 4
        layer.fc1.weight[0, 4] = 3 / 4
        layer.fc1.weight[0, 2] = -5 / 4
        layer.fc1.bias[1] = 4

    folder = tiny("opt", edit=plant, num_hidden_layers=1)
    model = loading.load(sources.parse_source(str(folder)), device="cpu")
    model.tokenizer = FixedTokenizer({"three": [5, 6, 7], "two": [7, 5]})
    got = extract(model, "eng", ["three", "two"]).arrays
    # weights 1, 2, 3 and 1, 2; the sums are over 6 and 3 for `weighted`, 3 and 2 for `mean`
    assert got["nas_weighted"][0, :, :2].tolist() == [[1 + 3, 6], [3, 3]]
    assert got["nas_last"][0, :, :2].tolist() == [[1, 1], [1, 1]]
    assert got["nas_mean"][0, :, :2].tolist() == [[2, 3], [2, 2]]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4)
    close(got["nav_weighted"][0, :, :2], [[2 * 1 + 3 * 3, 4 * 6], [3 * 1 + 2 * 2, 4 * 3]])
    close(got["nav_last"][0, :, :2], [[3, 4], [2, 4]])
    close(got["nav_mean"][0, :, :2], [[5, 12], [5, 8]])
    assert got["nas_weighted"][0, :, 2:].max() == 0
    assert got["nav_mean"][0, :, 2:].max() == 0
    close(got["emb_weighted"][0, :, :6], [[1, -1, 2, -2, 3, -3], [2, -2, 0, 0, 1, -1]])
    close(got["emb_last"][0, :, :6], [[0, 0, 0, 0, 1, -1], [1, -1, 0, 0, 0, 0]])
    close(got["emb_mean"][0, :, :6], [[1, -1, 1, -1, 1, -1], [1, -1, 0, 0, 1, -1]])


class FixedTokenizer:
    """Token ids by sentence."""

    def __init__(self, ids: dict[str, list[int]]) -> None:
        self.ids = ids

    def __call__(self, texts, truncation=False, max_length=None, **_options):
        return {"input_ids": [self.ids[text][: max_length if truncation else None] for text in texts]}


def with_tokens(loaded: description.LoadedModel, ids: dict[str, list[int]]) -> description.LoadedModel:
    return dataclasses.replace(loaded, tokenizer=FixedTokenizer(ids))


# tokens


def test_special_tokens_that_the_tokenizer_adds_count(tiny):
    sentence = ["the cat"]
    bare, special = (
        loading.load(sources.parse_source(str(tiny("llama", with_special_tokens=choice))), device="cpu")
        for choice in (False, True)
    )
    inner = byte_tokenizer(False).encode(sentence[0]).ids
    assert tokenize(bare, sentence, 99).ids == [inner]
    assert tokenize(special, sentence, 99).ids == [[0, *inner, 2]]
    with_them = extract(special, "eng", sentence)
    assert with_them.tokens.tolist() == [len(inner) + 2]
    # the last real token is </s>: the same as a text that was given with it
    given_with_them = extract(with_tokens(bare, {"x": [0, *inner, 2]}), "eng", ["x"])
    for name in NAMES:
        assert np.array_equal(with_them.arrays[name], given_with_them.arrays[name])


def test_long_sentences_are_cut_and_counted(loaded):
    model = loaded("llama")
    lengths = [len(byte_tokenizer(True).encode(s).ids) for s in SENTENCES]
    got = extract(model, "eng", SENTENCES, max_length=5)
    assert got.max_length == 5
    assert got.truncated == sum(length > 5 for length in lengths) > 0
    assert got.truncated < len(SENTENCES)
    assert got.tokens.tolist() == [min(length, 5) for length in lengths]
    inner = byte_tokenizer(False).encode(SENTENCES[0]).ids
    by_hand = extract(with_tokens(model, {"x": [0, *inner[:3], 2]}), "eng", ["x"])
    assert np.array_equal(got.arrays["nas_weighted"][:, 0], by_hand.arrays["nas_weighted"][:, 0])
    np.testing.assert_allclose(got.arrays["emb_last"][:, 0], by_hand.arrays["emb_last"][:, 0], atol=1e-4)
    short = dataclasses.replace(model, info=dataclasses.replace(model.info, max_length=6))
    for longest in (None, 6, 100):
        got = extract(short, "eng", SENTENCES, max_length=longest)
        assert (got.max_length, got.tokens.max()) == (6, 6)


def test_a_tokenizer_that_belongs_to_another_model(tiny):
    model = loading.load(sources.parse_source(str(tiny("llama", vocab_size=100))), device="cpu")
    with pytest.raises(ExtractionError, match=r"gives token \d+, but the model knows only 100.*another model"):
        extract(model, "rus", ["кошка"])


def test_a_sentence_without_tokens(tiny):
    model = loading.load(sources.parse_source(str(tiny("llama", with_special_tokens=False))), device="cpu")
    with pytest.raises(ExtractionError, match="makes no token of the sentence ''"):
        extract(model, "eng", ["a", ""])


@pytest.mark.parametrize("family", ["llama", "bert"])
@pytest.mark.parametrize("padding", [None, -1, 7, 300])
def test_any_padding_id(family, padding, loaded, plain, monkeypatch):
    """Padding never counts, and an id that has no vector is not used."""
    model = loaded(family)
    monkeypatch.setattr(model.model.config, "pad_token_id", padding)
    assert model.padding_id == (padding if padding == 7 else 0)
    wanted = plain(family)
    assert_same(extract(model, "eng", SENTENCES, token_budget=10_000), wanted.arrays, wanted.uncertain)


@pytest.mark.parametrize(
    ("length", "weighted", "mean"),
    [
        (22, np.uint8, np.uint8),
        (23, np.uint16, np.uint8),
        (255, np.uint16, np.uint8),
        (256, np.uint16, np.uint16),
        (361, np.uint16, np.uint16),
        (362, np.uint32, np.uint16),
        (2047, np.uint32, np.uint16),
    ],
)
def test_long_sentences_are_counted_exactly(length, weighted, mean, tiny):
    """Whatever the length, in the smallest integers that hold the counts."""

    def plant(model):
        for layer in model.decoder.layers:
            layer.fc1.weight[0].zero_()
            layer.fc1.bias[0] = 1

    folder = tiny("opt", edit=plant, num_hidden_layers=1, max_position_embeddings=2100)
    loaded = loading.load(sources.parse_source(str(folder)), device="cpu")
    ids = np.random.default_rng(0).integers(4, 300, size=length).tolist()
    got = extract(with_tokens(loaded, {"long": ids, "short": [5, 6]}), "eng", ["short", "long"])
    assert got.tokens.tolist() == [2, length]
    assert got.arrays["nas_weighted"].dtype == weighted
    assert got.arrays["nas_mean"].dtype == mean
    assert got.arrays["nas_last"].dtype == np.uint8
    assert got.arrays["nas_weighted"][0, :, 0].tolist() == [3, length * (length + 1) // 2]
    assert got.arrays["nas_mean"][0, :, 0].tolist() == [2, length]


def test_when_memory_runs_out_batches_shrink(loaded, plain, monkeypatch):
    model, run, sizes, progress = loaded("llama"), StateHooks.run, [], []

    def small_batches_only(hooks, rows):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        run(hooks, rows)

    monkeypatch.setattr(StateHooks, "run", small_batches_only)
    wanted = plain("llama")
    got = extract(model, "eng", SENTENCES, token_budget=200, on_progress=lambda *done: progress.append(done))
    assert_same(got, wanted.arrays, wanted.uncertain)
    assert sizes[0] == len(SENTENCES)
    assert sum(size for size in sizes if size <= 2) == len(SENTENCES)
    counts = [done for done, _all in progress]
    assert counts == sorted(set(counts))
    assert progress[-1] == (len(SENTENCES), len(SENTENCES))


def test_memory_that_runs_out_in_the_middle_of_a_pass(loaded, plain):
    """What the hooks kept of the failed pass is forgotten."""
    model = loaded("llama")
    failed = []

    def fail_on_many(_module, args):
        if args[0].shape[0] > 3:
            failed.append(args[0].shape[0])
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = model.model.layers[LAYERS - 1].register_forward_pre_hook(fail_on_many)
    try:
        got = extract(model, "eng", SENTENCES, token_budget=200)
    finally:
        handle.remove()
    assert failed
    assert_same(got, plain("llama").arrays, plain("llama").uncertain)


def test_a_single_sentence_that_does_not_fit(loaded, monkeypatch):
    def full(*_args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StateHooks, "run", full)
    longest = max(len(byte_tokenizer(True).encode(s).ids) for s in SENTENCES)
    with pytest.raises(ExtractionError, match=f"single sentence of {longest} tokens in Swahili"):
        extract(loaded("llama"), "Swahili", SENTENCES)


def test_sentences_of_equal_tokens_have_equal_states_in_any_batch():
    model = loading.load(sources.parse_source("demo"), device="cpu")
    # the first six, again and again, so that batches of other sizes hold them; the last is cut to be the longest again
    texts = reading.read("demo").texts["deu_Latn"][:12]
    lengths = tokenize(model, texts, 512).lengths
    longest = lengths.index(max(lengths))
    texts = [*texts, *texts[:6] * 5, texts[longest] + " tail"]
    progress = []
    options = {"max_length": max(lengths) - 1, "token_budget": 100}
    got = extract(model, "deu", texts, **options, on_progress=lambda *done: progress.append(done))
    assert progress[-1] == (len(texts), len(texts))
    for array in got.arrays.values():
        for start in range(12, 42, 6):
            np.testing.assert_array_equal(array[:, :6], array[:, start : start + 6])
        np.testing.assert_array_equal(array[:, longest], array[:, 42])


# cancelling, hooks


def hooks_of(loaded: description.LoadedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules())


@pytest.mark.parametrize("after", [0, 3])
def test_cancelling_between_batches(after, loaded):
    model, progress = loaded("llama"), []
    hooks = hooks_of(model)
    with pytest.raises(Cancelled, match=f"stopped in eng after {after} of {len(SENTENCES)} sentences"):
        extract(
            model,
            "eng",
            SENTENCES,
            token_budget=1,
            on_progress=lambda *done: progress.append(done),
            cancelled=lambda: len(progress) == after,
        )
    assert [done for done, _all in progress] == list(range(1, after + 1))
    assert hooks_of(model) == hooks


@pytest.mark.parametrize("dtype", ["bfloat16"])
def test_half_precision_is_pooled_in_float32(dtype, tiny):
    """Against the very half-precision activations that the pass saw."""
    model = loading.load(sources.parse_source(str(tiny("llama"))), dtype, "cpu")
    seen: list[list[torch.Tensor]] = [[] for _ in range(LAYERS)]
    for k in range(LAYERS):
        module = model.model.layers[k].mlp.down_proj
        module.register_forward_pre_hook(lambda _m, args, k=k: seen[k].append(args[0][0].clone()))
    got = extract(model, "eng", SENTENCES, token_budget=1)
    longest_first = sorted(range(len(SENTENCES)), key=lambda k: (-got.tokens[k], k))
    for k in range(LAYERS):
        for call, sentence in enumerate(longest_first):
            assert seen[k][call].dtype == estimates.DTYPES[dtype]
            rows = seen[k][call].tolist()
            on = pooled_sums([[int(a > 0) for a in row] for row in rows])
            value = pooled_sums([[abs(a) for a in row] for row in rows])
            for pooling in extraction.POOLINGS:
                assert got.arrays[f"nas_{pooling}"][k, sentence].tolist() == on[pooling]
                np.testing.assert_allclose(got.arrays[f"nav_{pooling}"][k, sentence], value[pooling], rtol=1e-6)
