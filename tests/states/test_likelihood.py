"""Likelihood against a plain computation: one sentence at a time, no padding, softmax in float64."""

from __future__ import annotations

import functools
import json
import math
import shutil

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, VOCABULARY, byte_tokenizer, core
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from neuronxa_core.errors import ExtractionError, ModelError
from neuronxa_core.models import description, loading, sources
from neuronxa_core.states import likelihood as likelihood_states
from neuronxa_core.states.likelihood import negative_log_likelihood

SENTENCES = ["a dog runs in the rain", "猫は昼に", "a", "кошка спит", "the cat sat on the mat", "die Katze am Tag"]
CHOICES = {"gemma2": {"final_logit_softcapping": 3.0}}
CAUSAL = [name for name in FAMILIES if FAMILIES[name].causal]
BOS, EOS = 0, 2


def own_tokens(sentence: str) -> list[int]:
    return byte_tokenizer(False).encode(sentence).ids


def with_head(folder, dtype: str = "float32") -> description.LoadedModel:
    return loading.load(sources.parse_source(str(folder)), dtype, "cpu", head=True)


@pytest.fixture(scope="module")
def speaking(tiny):
    """speaking(family, **choices): a tiny language model with its head, loaded once."""

    @functools.cache
    def get(family: str) -> description.LoadedModel:
        return with_head(tiny(family, head=True, **CHOICES.get(family, {})))

    return get


def nats_of(logits: np.ndarray, wanted: list[int]) -> float:
    """Sum of -ln softmax(logits[k])[wanted[k]]."""
    total = 0.0
    for row, token in zip(logits.astype(np.float64), wanted, strict=True):
        powers = np.exp(row - row.max())
        total -= math.log(powers[token] / powers.sum())
    return total


@torch.inference_mode()
def alone(model, ids: list[int], before: list[int]) -> float:
    """One sentence through transformers' own language model, its tokens predicted after `before`."""
    if not before and len(ids) == 1:
        return 0.0
    logits = model(input_ids=torch.tensor([[*before, *ids][:-1]])).logits[0].float().numpy()
    return nats_of(logits, ids if before else ids[1:])


@functools.cache
def _plain(folder) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return np.array([alone(model, own_tokens(sentence), [BOS]) for sentence in SENTENCES])


@pytest.fixture
def plain(tiny):
    return lambda family: _plain(tiny(family, head=True, **CHOICES.get(family, {})))


@pytest.mark.parametrize("family", core(CAUSAL, "llama", "gemma2", "gpt2", "opt"))
def test_nats_are_those_of_the_plain_computation_in_any_batch(family, speaking, plain):
    loaded = speaking(family)
    whole = negative_log_likelihood(loaded, SENTENCES, language="eng")
    one_by_one = negative_log_likelihood(loaded, SENTENCES, token_budget=1)
    few = negative_log_likelihood(loaded, SENTENCES[::-1], token_budget=40)
    for nats in (whole.nats, one_by_one.nats, few.nats[::-1]):
        np.testing.assert_allclose(nats, plain(family), rtol=1e-5)
    assert whole.nats.dtype == np.float64
    assert whole.tokens.tolist() == [len(own_tokens(sentence)) for sentence in SENTENCES]
    assert whole.bytes.tolist() == [22, 12, 1, 19, 22, 16]
    assert whole.truncated == 0
    assert whole.prefixed
    assert whole.nats_per_byte == pytest.approx(sum(plain(family)) / 92)
    assert not np.allclose(whole.nats, whole.tokens * math.log(VOCABULARY), rtol=0.02)


def test_a_certain_head_by_hand(tiny):
    """One layer of nothing, hidden state e_1 everywhere: the logits are the head's first column, 0 but for ln 9."""

    def plant(model):
        for name, parameter in model.named_parameters():
            parameter.zero_()
            if name.endswith("norm.weight"):
                parameter.fill_(1)
        model.model.embed_tokens.weight[:, 0] = 1
        model.lm_head.weight[own_tokens("a")[0], 0] = math.log(9) / math.sqrt(32)

    loaded = with_head(tiny("llama", head=True, edit=plant))
    got = negative_log_likelihood(loaded, ["a", "aaa"])
    # a unit vector's root mean square is 1 / sqrt(32), which the last norm divides by
    expected = -math.log(9 / (9 + VOCABULARY - 1))
    np.testing.assert_allclose(got.nats, [expected, expected * len(own_tokens("aaa"))], rtol=1e-5)


def test_special_tokens_of_the_tokenizer_change_nothing(tiny):
    with_them, without = (with_head(tiny("qwen2", head=True, with_special_tokens=choice)) for choice in (True, False))
    a, b = (negative_log_likelihood(loaded, SENTENCES) for loaded in (with_them, without))
    assert np.array_equal(a.nats, b.nats)


# the prefix


def with_prefix_tokens(tiny, tmp_path, tokenizer: dict, **config) -> description.LoadedModel:
    """A tiny LLaMA whose tokenizer and configuration name these special tokens and no others."""
    folder = tmp_path / "model"
    shutil.copytree(tiny("llama", head=True), folder)
    PreTrainedTokenizerFast(tokenizer_object=byte_tokenizer(False), **tokenizer).save_pretrained(folder)
    file = folder / "config.json"
    plain_config = {"bos_token_id": None, "eos_token_id": None}
    file.write_text(json.dumps({**json.loads(file.read_text()), **plain_config, **config}))
    return with_head(folder)


@pytest.mark.parametrize(
    ("tokenizer", "config", "wanted"),
    [
        ({"bos_token": "<s>", "eos_token": "</s>"}, {"bos_token_id": 5}, BOS),
        ({"eos_token": "</s>"}, {"bos_token_id": 5}, EOS),
        ({}, {"bos_token_id": 5, "eos_token_id": 6}, 5),
        ({}, {"eos_token_id": [6, 7]}, 6),
        ({}, {"bos_token_id": VOCABULARY, "eos_token_id": 6}, 6),
        ({}, {}, None),
    ],
)
def test_the_prefix_is_bos_else_eos_of_the_tokenizer_else_of_the_configuration(
    tokenizer, config, wanted, tiny, tmp_path
):
    loaded = with_prefix_tokens(tiny, tmp_path, tokenizer, **config)
    assert likelihood_states.prefix_token(loaded) == wanted
    got = negative_log_likelihood(loaded, SENTENCES)
    assert got.prefixed is (wanted is not None)
    before = [] if wanted is None else [wanted]
    expected = [alone(loaded.head, own_tokens(sentence), before) for sentence in SENTENCES]
    np.testing.assert_allclose(got.nats, expected, rtol=1e-5)
    assert got.tokens.tolist() == [len(own_tokens(sentence)) - (wanted is None) for sentence in SENTENCES]
    assert got.bytes.sum() == 92


def test_one_token_that_is_not_predicted(tiny, tmp_path):
    loaded = with_prefix_tokens(tiny, tmp_path, {})
    progress = []
    got = negative_log_likelihood(loaded, ["a", "the cat"], on_progress=lambda *done: progress.append(done))
    assert (got.nats[0], got.tokens[0], got.bytes[0]) == (0, 0, 1)
    assert got.nats[1] > 0
    assert progress == [(2, 2)]
    alone = negative_log_likelihood(loaded, ["a"])
    assert (alone.nats_per_byte, alone.tokens.tolist()) == (0, [0])


# long sentences, memory


@pytest.mark.parametrize("fast", [True, False])
def test_sentences_are_cut_at_the_longest(fast, tiny, monkeypatch):
    loaded = with_head(tiny("gpt2", head=True, n_positions=8))
    if not fast:
        monkeypatch.setattr(type(loaded.tokenizer), "is_fast", False)
    got = negative_log_likelihood(loaded, SENTENCES)
    tokens = [own_tokens(sentence)[:8] for sentence in SENTENCES]
    np.testing.assert_allclose(got.nats, [alone(loaded.head, ids, [BOS]) for ids in tokens], rtol=1e-5)
    assert got.tokens.tolist() == [len(ids) for ids in tokens]
    assert got.truncated == sum(len(own_tokens(sentence)) > 8 for sentence in SENTENCES) > 0
    ascii_rows = [0, 2, 4, 5]
    read = [len(byte_tokenizer(False).decode(tokens[k]).encode()) for k in ascii_rows]
    assert got.bytes[ascii_rows].tolist() == read
    assert got.bytes[0] < len(SENTENCES[0])
    assert got.nats_per_byte == pytest.approx(got.nats.sum() / got.bytes.sum())


def test_no_pass_makes_more_logits_than_the_bound(speaking, plain, monkeypatch):
    loaded, shapes = speaking("llama"), []
    monkeypatch.setattr(likelihood_states, "LOGITS_BYTES", {"cpu": 4 * VOCABULARY * 25})
    monkeypatch.setattr(likelihood_states, "CHUNK_BYTES", 4 * VOCABULARY * 3)
    handle = loaded.head.lm_head.register_forward_hook(lambda _m, _i, logits: shapes.append(logits.shape))
    try:
        got = negative_log_likelihood(loaded, SENTENCES)
    finally:
        handle.remove()
    np.testing.assert_allclose(got.nats, plain("llama"), rtol=1e-5)
    assert len(shapes) > 2
    assert all(rows == 1 or rows * width <= 25 for rows, width, _ in shapes)
    assert any(rows > 1 for rows, _, _ in shapes)


def test_when_memory_runs_out_batches_shrink(speaking, plain, monkeypatch):
    run, sizes, progress = likelihood_states._run_batch, [], []

    def small_batches_only(loaded, read, predicted):
        sizes.append(len(read))
        if len(read) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(loaded, read, predicted)

    monkeypatch.setattr(likelihood_states, "_run_batch", small_batches_only)
    got = negative_log_likelihood(speaking("llama"), SENTENCES, on_progress=lambda *done: progress.append(done))
    np.testing.assert_allclose(got.nats, plain("llama"), rtol=1e-5)
    assert sizes[0] == len(SENTENCES)
    assert progress[-1] == (len(SENTENCES), len(SENTENCES))
    assert [done for done, _ in progress] == sorted({done for done, _ in progress})


def test_half_precision_is_summed_in_float32(tiny):
    loaded = with_head(tiny("llama", head=True), "bfloat16")
    got = negative_log_likelihood(loaded, SENTENCES, token_budget=1)
    for nats, sentence in zip(got.nats, SENTENCES, strict=True):
        ids = own_tokens(sentence)
        with torch.inference_mode():
            logits = loaded.head(input_ids=torch.tensor([[BOS, *ids[:-1]]])).logits[0]
        assert logits.dtype == torch.bfloat16
        assert nats == pytest.approx(nats_of(logits.float().numpy(), ids), rel=1e-5)


# what goes wrong


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_inf_and_nan_name_the_language(bad, tiny):
    def plant(model):
        model.lm_head.weight[7, 3] = bad

    loaded = with_head(tiny("llama", head=True, edit=plant))
    with pytest.raises(ExtractionError, match=r"^Swahili: inf or NaN in the logits of llama\d+ at dtype float32"):
        negative_log_likelihood(loaded, SENTENCES, language="Swahili")


def test_a_model_without_its_head(loaded):
    with pytest.raises(ModelError, match="was loaded without its language-model head"):
        negative_log_likelihood(loaded("llama"), SENTENCES)


# the bundled model


def test_the_bundled_model_knows_its_languages():
    loaded = loading.load(sources.parse_source("demo"), device="cpu", head=True)
    english = negative_log_likelihood(loaded, ["The children are playing in the garden.", "It is raining today."])
    assert 0.8 < english.nats_per_byte < 2.5
    scrambled = negative_log_likelihood(loaded, [".nedrag eht ni gniyalp era nerdlihc ehT", ".yadot gniniar si tI"])
    assert scrambled.nats_per_byte > 1.4 * english.nats_per_byte
