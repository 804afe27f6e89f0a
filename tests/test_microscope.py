"""microscope.py: tokens as a reader reads them, and activations token by token against the plain computation."""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
import regex
import torch
from accelerate import cpu_offload
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import (
    CHOSEN,
    COLUMNS,
    EXPERTS,
    HIDDEN,
    LAYERS,
    MOE_FAMILIES,
    PlainExperts,
    PlainNeurons,
    byte_tokenizer,
)
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers import models as tokenizer_models
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from neuronxa_core.errors import ExperimentError, ExtractionError, ModelError
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import text_neurons, token_activations
from neuronxa_core.models import loading, sources, token_text
from neuronxa_core.models.token_text import Unit, align_tokens_to_text
from neuronxa_core.states import extraction, per_token, planning
from neuronxa_core.states.per_token import TextStates
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

TEXTS = [
    "القطة تنام في الشمس، Latin في الوسط.",
    "החתול ישן בשמש",
    "बिल्ली धूप में सो रही है। क्षत्रिय",
    "বিড়ালটি রোদে ঘুমাচ্ছে",
    "แมวนอนหลับกลางแดด น้ำ",
    "猫は昼に眠る。ﾈｺ",
    "猫在阳光下睡觉",
    "고양이가 햇볕에서 잔다",
    unicodedata.normalize("NFD", "고양이가 잔다"),
    "Con mèo ngủ dưới nắng",
    unicodedata.normalize("NFD", "Con mèo ngủ dưới nắng"),
    "a 👨‍👩‍👧 family 🇮🇹🇫🇷 👍🏽!",
    "a\tb\n\nc\r\nd",
    "  two  spaces  before and after  ",
    " ",
    "",
    "The CAT, Éclair ﬁne İstanbul x\u200bx <s> Ġurnata ▁x \ufffd",
    "e\u0301\u0301 \u0301a",
]
NAMED = ["<s>", "</s>", "<unk>"]


def _sentencepiece(kind: str) -> Tokenizer:
    tokenizer = Tokenizer(tokenizer_models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if kind == "split":
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
        )
    if kind == "normalised":  # what XLM-R's precompiled map does, from parts
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
        )
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=NAMED, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(TEXTS[:3] + TEXTS[4:6], trainer)
    if kind == "bytes":
        document = json.loads(tokenizer.to_str())
        document["model"]["vocab"] += [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]
        document["model"]["byte_fallback"] = True
        tokenizer = Tokenizer.from_str(json.dumps(document))
    return tokenizer


def _byte_level(trim: bool, prefix: bool) -> Tokenizer:
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=NAMED,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" the cat the   cat"] * 4, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 1), ("<s>", 0), trim_offsets=trim, add_prefix_space=prefix
    )
    return tokenizer


def _words(kind: str) -> Tokenizer:
    if kind == "wordpiece":
        tokenizer = Tokenizer(tokenizer_models.WordPiece(unk_token="<unk>"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=150, special_tokens=NAMED, show_progress=False)
    else:
        tokenizer = Tokenizer(tokenizer_models.WordLevel(unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordLevelTrainer(special_tokens=NAMED, show_progress=False)
    tokenizer.train_from_iterator(TEXTS[:6], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


def _fallback_of_llama() -> Tokenizer:
    letters = {piece: k + 3 for k, piece in enumerate("▁thecat")}
    bytes_ = {f"<0x{byte:02X}>": 20 + byte for byte in range(256)}
    vocabulary = {**{name: k for k, name in enumerate(NAMED)}, **letters, **bytes_}
    tokenizer = Tokenizer(
        tokenizer_models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


MADE = {
    **{
        f"byte-level{' trimmed' * trim}{' with a prefix' * prefix}": functools.partial(_byte_level, trim, prefix)
        for trim in (True, False)
        for prefix in (True, False)
    },
    **{
        f"sentencepiece {kind}": functools.partial(_sentencepiece, kind)
        for kind in ("", "split", "normalised", "bytes")
    },
    "wordpiece": functools.partial(_words, "wordpiece"),
    "word-level": functools.partial(_words, "word-level"),
    "llama": _fallback_of_llama,
}


@functools.cache
def made(name: str):
    if name == "demo":
        return sources.load_tokenizer(sources.parse_source("demo"))
    if name == "byt5":
        return ByT5Tokenizer()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=MADE[name](), bos_token="<s>", eos_token="</s>")
    tokenizer.unk_token = "<unk>"
    return tokenizer


EVERY = ["demo", "byt5", *MADE]


def ids_of(tokenizer, text: str, max_length: int | None = None) -> list[int]:
    """As extraction.tokenize makes them."""
    ids = tokenizer([text], add_special_tokens=True, truncation=False, verbose=False)["input_ids"][0]
    if max_length is not None and len(ids) > max_length:
        ids = tokenizer([text], add_special_tokens=True, truncation=True, max_length=max_length)["input_ids"][0]
        tokenizer([text])  # so that the next call finds no truncation
    return ids


def check(text: str, ids: list[int], units: tuple[Unit, ...]) -> None:
    """What holds of the units of any text under any tokenizer that does not lose it."""
    assert "".join(unit.text for unit in units if not unit.special) == text
    assert sorted(k for unit in units for k in unit.tokens) == list(range(len(ids)))
    assert all(unit.exact for unit in units)
    edges = {0, *(found.end() for found in regex.finditer(r"\X", text))}
    reached = 0
    for unit in units:
        assert unit.tokens == tuple(sorted(unit.tokens))
        assert unit.tokens or not unit.special
        if not unit.special:
            reached += len(unit.text)
            assert reached in edges


def shown(name: str, text: str) -> list[str]:
    """The units' texts, gaps in parentheses and special ones in angle brackets."""
    units = align_tokens_to_text(made(name), text, ids_of(made(name), text))
    check(text, ids_of(made(name), text), units)
    return [f"<{u.text.strip('<>')}>" if u.special else u.text if u.tokens else f"({u.text})" for u in units]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("text", TEXTS)
def test_units_give_every_text_back_and_hold_every_token_once(name, text):
    ids = ids_of(made(name), text)
    check(text, ids, align_tokens_to_text(made(name), text, ids))


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=40)
@given(
    text=st.one_of(
        st.text(max_size=30),
        st.text("ab \n\tÉéĠ▁\u0301\u200d\u093f\u0e33ก猫👩\u1100\u1161\ufffd", max_size=12),
    )
)
@example(text="\ufffd\ufffd")
def test_units_give_any_text_back(name, text):
    ids = ids_of(made(name), text)
    check(text, ids, align_tokens_to_text(made(name), text, ids))


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=20)
@given(text=st.sampled_from(TEXTS), max_length=st.integers(2, 20))
def test_what_was_cut_is_one_unit_at_the_end(name, text, max_length):
    tokenizer = made(name)
    ids = ids_of(tokenizer, text, max_length)
    units = align_tokens_to_text(tokenizer, text, ids)
    check(text, ids, units)
    was_cut = len(ids) < len(ids_of(tokenizer, text))
    cut = [k for k, unit in enumerate(units) if unit.cut]
    assert len(cut) <= was_cut
    assert all(k == len(units) - 1 and not units[k].tokens and units[k].text for k in cut)
    if was_cut and not cut:  # what was not read is the rest of a unit that was begun
        assert not text or units[-1].tokens


@pytest.mark.parametrize("trim", ["", " trimmed"])
def test_a_space_goes_with_the_word_whose_token_holds_it(trim):
    assert shown(f"byte-level{trim}", " the cat") == ["<s>", " the", " cat", "</s>"]
    assert shown(f"byte-level{trim} with a prefix", "the cat") == ["<s>", "the", " cat", "</s>"]
    assert shown(f"byte-level{trim} with a prefix", " the cat") == ["<s>", " the", " cat", "</s>"]
    # the last of several spaces is the word's
    assert shown(f"byte-level{trim}", " the   cat ") == ["<s>", " the", "  ", " cat", " ", "</s>"]
    assert shown(f"byte-level{trim} with a prefix", "  ")[1:-1] in ([" ", " "], ["  "])


def test_a_space_that_sentencepiece_marks_goes_with_the_word():
    assert made("sentencepiece split").tokenize("猫  猫")[0].startswith("▁")
    assert "".join(shown("sentencepiece split", "\n 猫  猫 ")) == "(\n) 猫( ) 猫( )"
    assert shown("llama", "cat é") == ["c", "a", "t", " ", "é"]


def test_a_space_that_no_token_holds_is_a_gap():
    assert shown("word-level", " 猫  猫\t") == ["<s>", "( )", "猫", "(  )", "猫", "(\t)", "</s>"]
    assert shown("wordpiece", " 猫  猫\t") == ["<s>", "( )", "猫", "(  )", "猫", "(\t)", "</s>"]


def test_bytes_of_a_character_and_marks_stay_with_their_letter():
    assert shown("byte-level", "é猫") == ["<s>", "é", "猫", "</s>"]
    assert shown("byte-level", "नि") == ["<s>", "नि", "</s>"]
    assert shown("byte-level", "e\u0301x") == ["<s>", "e\u0301", "x", "</s>"]
    assert shown("llama", "é猫") == ["é", "猫"]
    assert shown("byt5", "é猫") == ["é", "猫", "</s>"]
    assert shown("byte-level", "👨‍👩‍👧👍🏽") == ["<s>", "👨‍👩‍👧", "👍🏽", "</s>"]
    assert shown("byte-level", "น้ำ") == ["<s>", "น้ำ", "</s>"]


def test_normalised_and_unknown_words_keep_the_text_as_it_was():
    assert shown("wordpiece", "Qqqq ΩΩ") == ["<s>", "Qqqq", "( )", "ΩΩ", "</s>"]
    assert shown("word-level", "Qqqq ΩΩ") == ["<s>", "Qqqq", "( )", "ΩΩ", "</s>"]
    units = align_tokens_to_text(made("wordpiece"), "ÉÉ", ids_of(made("wordpiece"), "ÉÉ"))
    assert "".join(unit.text for unit in units if not unit.special) == "ÉÉ"


def test_a_special_token_that_stands_in_the_text_is_text():
    units = align_tokens_to_text(made("byte-level"), "a<s>b", ids_of(made("byte-level"), "a<s>b"))
    assert [(unit.text, unit.special) for unit in units] == [
        ("<s>", True),
        ("a", False),
        ("<s>", False),
        ("b", False),
        ("</s>", True),
    ]


def test_a_text_cut_on_the_left_has_its_unread_part_first():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_words("word-level"), truncation_side="left")
    ids = tokenizer("猫 猫 a 猫", truncation=True, max_length=4)["input_ids"]
    units = align_tokens_to_text(tokenizer, "猫 猫 a 猫", ids)
    assert [unit.text for unit in units] == ["猫 猫 ", "<s>", "a", " ", "猫", "</s>"]
    assert [unit.cut for unit in units] == [True] + [False] * 5


class Lowercasing(ByT5Tokenizer):
    """A tokenizer without offsets that does not give its text back."""

    def _tokenize(self, text):
        return super()._tokenize(text.lower())


def test_where_decoding_does_not_give_the_text_back_the_pieces_are_shown():
    tokenizer = Lowercasing()
    ids = ids_of(tokenizer, "Ab")
    units = align_tokens_to_text(tokenizer, "Ab", ids)
    assert units == (
        Unit("a", (0,), exact=False),
        Unit("b", (1,), exact=False),
        Unit("</s>", (2,), special=True),
    )
    assert all(unit.exact for unit in align_tokens_to_text(tokenizer, "ab", ids))


def test_ids_that_are_not_the_tokenizers_own_are_placed_by_decoding():
    tokenizer = made("byte-level")
    ids = [0, *tokenizer.convert_tokens_to_ids(["Ã", "©", "Ġ", "t", "h", "e"]), 1]
    assert ids != ids_of(tokenizer, "é the")
    units = align_tokens_to_text(tokenizer, "é the", ids)
    check("é the", ids, units)
    assert [unit.text for unit in units] == ["<s>", "é", " ", "t", "h", "e", "</s>"]


def test_reading_units_leaves_the_tokenizer_as_it_is():
    tokenizer = made("byte-level")
    tokenizer(["the cat sat on the mat"], truncation=False)
    align_tokens_to_text(tokenizer, "the cat", ids_of(tokenizer, "the cat")[:2])
    assert tokenizer.backend_tokenizer.truncation is None
    assert not tokenizer.deprecation_warnings.get("sequence-length-is-longer-than-the-specified-maximum")


# ------------------------------------------------------------------------------------------------------- activations

SENTENCES = ["a dog runs in the rain", "猫は昼に", "a", "кошка спит", "the cat sat on the mat"]
SEVERAL = [("llama", "product"), ("llama", "gate"), ("phi3", "gate"), ("modernbert", "gate"), ("gpt2", "product")]
# opt flattens rows and positions into one axis
SEVERAL += [("opt", "product"), ("bert", "product"), ("bloom", "gate"), ("gemma2", "gate"), ("xlm-roberta", "product")]


@pytest.mark.parametrize(("family", "definition"), SEVERAL)
def test_token_activations_sum_to_what_extraction_pools(loaded, family, definition):
    model = loaded(family)
    states = extraction.extract(model, "xx", SENTENCES, definition)
    for layer in range(LAYERS):
        for neuron in (0, 17, model.info.neurons - 1):
            read = per_token.token_activations(model, SENTENCES, layer, neuron, definition)
            assert [len(values) for values in read] == states.tokens.tolist()
            assert all(values.dtype == np.float32 for values in read)
            for k, values in enumerate(read):
                assert (values > 0).sum() == states.arrays["nas_mean"][layer, k, neuron]
                assert (values[-1] > 0) == states.arrays["nas_last"][layer, k, neuron]
                assert abs(values[-1]) == states.arrays["nav_last"][layer, k, neuron]
                np.testing.assert_allclose(np.abs(values).sum(), states.arrays["nav_mean"][layer, k, neuron], rtol=2e-6)


@pytest.mark.parametrize(("family", "definition"), SEVERAL)
def test_batched_equals_one_by_one_and_all_at_once(loaded, monkeypatch, family, definition):
    model = loaded(family)
    together = per_token.token_activations(model, SENTENCES, 1, 5, definition)
    whole = per_token.text_activations(model, SENTENCES, definition)
    monkeypatch.setitem(extraction.TOKEN_BUDGET, "cpu", 1)
    for k, sentence in enumerate(SENTENCES):
        (alone,) = per_token.token_activations(model, [sentence], 1, 5, definition)
        np.testing.assert_allclose(together[k], alone, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(whole[k].values[1, :, 5], alone, rtol=1e-4, atol=1e-5)
        assert whole[k].values.shape == (LAYERS, len(alone), model.info.neurons)


@pytest.mark.parametrize("definition", ["product", "gate"])
def test_values_are_those_of_the_formula(tiny, loaded, definition):
    model, plain = loaded("qwen2"), PlainNeurons("qwen2", tiny("qwen2"))
    ids = byte_tokenizer(True).encode(SENTENCES[0]).ids
    inputs = []
    first = model.model.get_submodule(plain.first_path(2))
    handle = first.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    with torch.inference_mode():
        model.model(input_ids=torch.tensor([ids]))
    handle.remove()
    wanted = plain.activations(2, inputs[0].reshape(len(ids), HIDDEN), definition).numpy()
    (read,) = per_token.token_activations(model, SENTENCES[:1], 2, 7, definition)
    (states,) = per_token.text_activations(model, SENTENCES[:1], definition)
    np.testing.assert_allclose(read, wanted[:, 7], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(states.values[2], wanted, rtol=1e-4, atol=1e-5)
    assert (wanted < 0).any() and np.array_equal(np.sign(read), np.sign(wanted[:, 7]))
    assert states.ids == tuple(ids) and not states.truncated


@pytest.mark.parametrize(
    ("family", "definition"),
    [(name, "product") for name in MOE_FAMILIES]
    + [(name, "gate") for name in MOE_FAMILIES if MOE_FAMILIES[name].product is None],
)
def test_a_mixtures_values_are_those_of_the_formula_and_0_where_the_expert_was_not_chosen(
    tiny, loaded, family, definition
):
    model, plain = loaded(family), PlainExperts(family, tiny(family))
    inputs: dict[str, torch.Tensor] = {}
    module = model.model.get_submodule(MOE_FAMILIES[family].experts.format(1))
    for sentence in SENTENCES:
        handle = module.register_forward_pre_hook(
            lambda _m, args, sentence=sentence: inputs.update({sentence: args[0]})
        )
        with torch.inference_mode():
            model.model(input_ids=torch.tensor([byte_tokenizer(True).encode(sentence).ids]))
        handle.remove()
    wanted = {sentence: plain.activations(1, x, definition).numpy() for sentence, x in inputs.items()}
    together = per_token.text_activations(model, SENTENCES, definition)
    for sentence, states in zip(SENTENCES, together, strict=True):
        assert states.values.shape == (LAYERS, len(wanted[sentence]), EXPERTS * COLUMNS)
        np.testing.assert_allclose(states.values[1], wanted[sentence], rtol=1e-4, atol=2e-5)
        on = states.values.reshape(LAYERS, -1, EXPERTS, COLUMNS).any(axis=3)
        assert (on.sum(axis=2) == CHOSEN).all()
    for neuron in (0, COLUMNS - 1, COLUMNS, 3 * COLUMNS + 7, EXPERTS * COLUMNS - 1):
        read = per_token.token_activations(model, SENTENCES, 1, neuron, definition)
        for sentence, values in zip(SENTENCES, read, strict=True):
            np.testing.assert_allclose(values, wanted[sentence][:, neuron], rtol=1e-4, atol=2e-5)
    assert any((values == 0).any() and (values != 0).any() for values in wanted.values())


def test_an_expert_that_no_token_chooses_has_zeros(tiny):
    """Expert 2 loses whatever the token: its router row points away from every input."""

    def plant(model):
        for layer in model.layers:
            layer.mlp.gate.weight[2] = 0
            layer.mlp.gate.weight[[0, 1]] *= 100

    model = loading.load(sources.parse_source(str(tiny("olmoe", edit=plant))), device="cpu")
    whole = per_token.text_activations(model, SENTENCES)
    silent = [not states.values[1, :, 2 * COLUMNS : 3 * COLUMNS].any() for states in whole]
    assert any(silent)
    for states, values, is_silent in zip(
        whole, per_token.token_activations(model, SENTENCES, 1, 2 * COLUMNS + 3), silent, strict=True
    ):
        assert values.shape == (len(states.ids),)
        assert np.array_equal(values == 0, states.values[1, :, 2 * COLUMNS + 3] == 0)
        assert not is_silent or not values.any()


def test_a_mixture_that_runs_twice_is_refused_and_its_own_way_comes_back(tiny):
    model = loading.load(sources.parse_source(str(tiny("mixtral"))), device="cpu")
    own = model.model.config._experts_implementation
    model.model.layers[1].mlp = model.model.layers[0].mlp
    for read in (
        lambda: per_token.text_activations(model, SENTENCES),
        lambda: per_token.token_activations(model, SENTENCES, 1, 5),
    ):
        with pytest.raises(
            ExtractionError, match=r"^MixtralModel (runs layer \d's|did not run the) feed-forward network"
        ):
            read()
        assert model.model.config._experts_implementation == own


def test_gate_is_refused_where_a_mixture_does_not_have_it(loaded):
    model = loaded("gpt_oss")
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.model.modules()]
    with pytest.raises(ModelError, match="choose 'product'"):
        per_token.token_activations(model, SENTENCES, 0, 0, "gate")
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.model.modules()] == hooks


def test_the_forward_pass_ends_after_the_layer_and_leaves_no_hook(loaded):
    model = loaded("llama")
    ran = []

    def hooks():  # transformers hangs its own into a model that was once asked for hidden states
        return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.model.modules())

    before = hooks()
    handles = [
        model.model.get_submodule(network.layer).register_forward_pre_hook(lambda *_args, k=k: ran.append(k))
        for k, network in enumerate(model.feed_forwards)
    ]
    per_token.token_activations(model, SENTENCES[:1], 1, 0)
    for handle in handles:
        handle.remove()
    assert ran == [0, 1]
    assert hooks() == before


def test_a_model_that_accelerate_moves_about_gives_the_same(tiny):
    source = sources.parse_source(str(tiny("llama")))
    model = loading.load(source, device="cpu")
    wanted = [per_token.token_activations(model, SENTENCES, layer, 3) for layer in range(LAYERS)]
    cpu_offload(model.model, execution_device=torch.device("cpu"))
    for _ in range(2):
        for layer in range(LAYERS):
            for got, value in zip(per_token.token_activations(model, SENTENCES, layer, 3), wanted[layer], strict=True):
                np.testing.assert_array_equal(got, value)
            assert {p.device.type for p in model.model.parameters()} == {"meta"}, "weights were left behind"


@pytest.mark.parametrize(("layer", "neuron"), [(-1, 0), (LAYERS, 0), (0, -1), (0, 10**6)])
def test_a_layer_or_neuron_that_there_is_not_is_refused(loaded, layer, neuron):
    with pytest.raises(ExperimentError, match=r"llama.* has no (layer|neuron)"):
        per_token.token_activations(loaded("llama"), SENTENCES, layer, neuron)


def test_nan_names_language_and_layer(tiny):
    def plant(model):
        model.layers[1].mlp.up_proj.weight[4] = float("nan")

    model = loading.load(sources.parse_source(str(tiny("llama", edit=plant))), device="cpu")
    assert np.isfinite(per_token.token_activations(model, SENTENCES, 1, 5)[0]).all()
    with pytest.raises(ExtractionError, match=r"swh_Latn: inf or NaN in the activations of layer 1 .* choose"):
        per_token.token_activations(model, SENTENCES, 1, 4, language="swh_Latn")
    with pytest.raises(ExtractionError, match="the text: inf or NaN in the activations of layer 1"):
        per_token.text_activations(model, SENTENCES[:1])


def test_a_failing_pass_and_no_memory_are_explained(loaded, monkeypatch):
    model = loaded("llama")

    def fail_with(error):
        def run(*_arguments):
            raise error

        monkeypatch.setattr(per_token, "_run_batch", run)

    fail_with(RuntimeError("boom"))
    with pytest.raises(ExtractionError, match=r"the sentences: the forward pass of .* failed: RuntimeError: boom"):
        per_token.token_activations(model, SENTENCES, 0, 0)
    fail_with(MemoryError())
    with pytest.raises(ExtractionError, match="memory ran out on a single sentence"):
        per_token.token_activations(model, SENTENCES, 0, 0)


def test_when_memory_runs_out_the_batch_is_made_smaller(loaded, monkeypatch):
    model = loaded("llama")
    wanted = per_token.token_activations(model, SENTENCES, 1, 3)
    sizes = []
    real = per_token._run_batch

    def run(loaded, hooks, rows):
        sizes.append(len(rows))
        if len(rows) > 1:
            raise torch.OutOfMemoryError("out of memory")
        real(loaded, hooks, rows)

    monkeypatch.setattr(per_token, "_run_batch", run)
    got = per_token.token_activations(model, SENTENCES, 1, 3)
    assert max(sizes) > 1
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_text_whose_activations_are_too_large_is_refused(loaded, monkeypatch):
    model = loaded("llama")
    a_token = model.info.layers * model.info.neurons * 4
    tokens = len(byte_tokenizer(True).encode(SENTENCES[0]).ids)
    monkeypatch.setattr(per_token, "TEXT_BYTES", tokens * a_token)
    assert len(per_token.text_activations(model, SENTENCES[:1])) == 1
    monkeypatch.setattr(per_token, "TEXT_BYTES", tokens * a_token - 1)
    with pytest.raises(ExtractionError, match=f"shorten the text to {tokens - 1} tokens"):
        per_token.text_activations(model, SENTENCES[:1])


def test_no_sentences_give_nothing(loaded):
    assert per_token.token_activations(loaded("llama"), [], 0, 0) == []
    assert per_token.text_activations(loaded("llama"), []) == []


def test_a_sentence_that_was_cut_says_so(tiny):
    model = loading.load(sources.parse_source(str(tiny("llama"))), device="cpu")
    model.info = replace(model.info, max_length=5)
    states = per_token.text_activations(model, ["the cat sat on the mat", "a"])
    assert [state.truncated for state in states] == [True, False]
    assert len(states[0].ids) == states[0].values.shape[1] == 5
    exact = byte_tokenizer(True).decode(states[0].ids[1:-1])
    (whole,) = per_token.text_activations(model, [exact])
    assert len(whole.ids) == 5 and not whole.truncated
    units = align_tokens_to_text(model.tokenizer, "the cat sat on the mat", states[0].ids)
    assert units[-1].cut and units[-2].special


# --------------------------------------------------------------------------------------------------------- the cache


@pytest.fixture(scope="module")
def pool():
    return ModelPool()


@pytest.fixture
def plan(store, tiny):
    return planning.make_plan(Experiment(model=str(tiny("llama")), languages=("spa_Latn",), sentences=20), store)


@pytest.fixture
def read(monkeypatch):
    """The sentences that the model reads, in order."""
    sentences: list[str] = []
    real = per_token.token_activations

    def spied(loaded, texts, *choices, **options):
        sentences.extend(texts)
        return real(loaded, texts, *choices, **options)

    monkeypatch.setattr(per_token, "token_activations", spied)
    return sentences


def same(x: per_token.TokenActivations, y: per_token.TokenActivations) -> bool:
    return (x.text, x.ids, x.truncated) == (y.text, y.ids, y.truncated) and x.values.tobytes() == y.values.tobytes()


def test_only_what_was_not_asked_before_is_read(plan, store, pool, read):
    first = token_activations.activations_of(plan, store, pool, "spa_Latn", [0, 1, 2, 3, 4], 1, 3)
    assert read == [plan.corpus.texts["spa_Latn"][k] for k in range(5)]
    read.clear()
    again = token_activations.activations_of(plan, store, pool, "spa_Latn", [6, 4, 2, 0, 5, 2], 1, 3)
    assert read == [plan.corpus.texts["spa_Latn"][k] for k in (6, 5)]
    assert [same(a, first[k]) for a, k in ((again[1], 4), (again[2], 2), (again[3], 0), (again[5], 2))] == [True] * 4
    assert [a.text for a in again] == [plan.corpus.texts["spa_Latn"][k] for k in (6, 4, 2, 0, 5, 2)]
    read.clear()
    texts = [plan.corpus.texts["spa_Latn"][0], "a text of my own"]
    token_activations.activations_of(plan, store, pool, "eng_Latn", texts, 1, 3)
    assert read == ["a text of my own"]


def test_what_is_known_needs_no_model(plan, store, pool):
    first = token_activations.activations_of(plan, store, pool, "eng_Latn", [0, 1], 1, 3)
    other = Store(store.folder)
    again = token_activations.activations_of(plan, other, None, "eng_Latn", [0, 1], 1, 3)
    other.close()
    assert all(same(a, b) for a, b in zip(first, again, strict=True))


def test_values_come_back_to_the_last_bit(plan, store, pool, monkeypatch):
    values = np.array([-0.0, 1e-45, 3.4028235e38, 0.1, -1 / 3, 16777217.0, np.nextafter(np.float32(1), 2)], np.float32)
    values = np.concatenate([values, np.random.default_rng(0).standard_normal(500).astype(np.float32)])
    made_up = per_token.TokenActivations("a", tuple(range(len(values))), values, True)
    monkeypatch.setattr(per_token, "token_activations", lambda *_choices, **_options: [made_up])
    token_activations.activations_of(plan, store, pool, "eng_Latn", ["a"], 0, 0)
    (back,) = token_activations.activations_of(plan, store, None, "eng_Latn", ["a"], 0, 0)
    assert back.values.dtype == np.float32 and same(back, made_up)


def test_another_layer_neuron_definition_model_or_dtype_is_read_anew(plan, store, pool, read, tiny):
    def ask(plan, layer=1, neuron=3):
        read.clear()
        token_activations.activations_of(plan, store, pool, "eng_Latn", [0], layer, neuron)
        return len(read)

    assert ask(plan) == 1 and ask(plan) == 0
    assert ask(plan, layer=2) == 1 and ask(plan, neuron=4) == 1
    model = str(tiny("llama"))
    for changes in ({"neuron": "gate"}, {"dtype": "bfloat16"}, {"model": str(tiny("llama", seed=1))}):
        experiment = Experiment(**{"model": model, "languages": ("spa_Latn",), "sentences": 20, **changes})
        assert ask(planning.make_plan(experiment, store)) == 1
    same_model = Experiment(model=model, languages=("deu_Latn", "spa_Latn"), sentences=10, state="nav")
    assert ask(planning.make_plan(same_model, store)) == 0
    assert ask(replace(plan, identity="")) == 1


def test_sessions_at_once_never_give_wrong_values(plan, store, pool):
    wanted = token_activations.activations_of(plan, Store(store.folder), pool, "eng_Latn", list(range(8)), 1, 3)
    store.drop(token_activations._activations_key(plan, 1, 3))
    wrong: list[object] = []

    def session(seed: int) -> None:
        own = Store(store.folder)
        order = np.random.default_rng(seed)
        for _ in range(6):
            rows = order.choice(8, 3, replace=False).tolist()
            for row, got in zip(
                rows, token_activations.activations_of(plan, own, pool, "eng_Latn", rows, 1, 3), strict=True
            ):
                if got.ids != wanted[row].ids or not np.allclose(got.values, wanted[row].values, 1e-4, 1e-5):
                    wrong.append((seed, row))
        own.close()

    threads = [threading.Thread(target=session, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_another_session_adds_meanwhile_is_kept(plan, store, pool, monkeypatch, read):
    real = per_token.token_activations

    def slow(loaded, texts, *choices, **options):
        found = real(loaded, texts, *choices, **options)
        monkeypatch.setattr(per_token, "token_activations", real)
        token_activations.activations_of(plan, store, _Lent(loaded), "eng_Latn", [1], 1, 3)
        return found

    monkeypatch.setattr(per_token, "token_activations", slow)
    token_activations.activations_of(plan, store, pool, "eng_Latn", [0], 1, 3)
    assert len(token_activations.activations_of(plan, store, None, "eng_Latn", [0, 1], 1, 3)) == 2


class _Lent(ModelPool):
    def __init__(self, loaded):
        super().__init__()
        self._model = loaded

    def acquire(self, _plan, patience=None):
        return contextlib.nullcontext(self._model)


def test_the_document_of_a_neuron_does_not_grow_for_ever(plan, store, pool, monkeypatch, read):
    monkeypatch.setattr(per_token, "KEPT_SENTENCES", 4)
    token_activations.activations_of(plan, store, pool, "eng_Latn", [0, 1, 2], 1, 3)
    token_activations.activations_of(plan, store, pool, "eng_Latn", [3, 4], 1, 3)
    read.clear()
    token_activations.activations_of(plan, store, pool, "eng_Latn", [1, 2, 3, 4], 1, 3)
    assert read == []
    assert len(token_activations.activations_of(plan, store, pool, "eng_Latn", list(range(9)), 1, 3)) == 9


@pytest.mark.parametrize(
    ("language", "row", "words"),
    [("eng_Latn", 10**6, "has no row"), ("eng_Latn", -1, "has no row"), ("xxx_Latn", 0, "no language xxx_Latn")],
)
def test_a_row_that_there_is_not_is_refused(plan, store, language, row, words):
    with pytest.raises(ExperimentError, match=words):
        token_activations.activations_of(plan, store, None, language, [row], 0, 0)


def test_an_empty_row_and_an_unknown_neuron_are_refused_without_a_model(plan, store):
    texts = {**plan.corpus.texts, "eng_Latn": ["", *plan.corpus.texts["eng_Latn"][1:]]}
    gappy = replace(plan, corpus=replace(plan.corpus, texts=texts))
    with pytest.raises(ExperimentError, match="row 0 is empty in eng_Latn"):
        token_activations.activations_of(gappy, store, None, "eng_Latn", [0], 0, 0)
    with pytest.raises(ExperimentError, match="has no neuron 99999"):
        token_activations.activations_of(plan, store, None, "eng_Latn", [0], 0, 99999)


def test_the_tokenizer_of_a_plan_reads_what_was_read(plan, store, pool):
    (found,) = token_activations.activations_of(plan, store, pool, "spa_Latn", [0], 1, 3)
    tokenizer = token_text.tokenizer_of(plan.source, plan.identity)
    assert tokenizer is token_text.tokenizer_of(plan.source, plan.identity)
    check(found.text, list(found.ids), align_tokens_to_text(tokenizer, found.text, found.ids))
    assert len(token_text.token_strings(tokenizer, found.ids)) == len(found.values)
    assert token_text.token_strings(tokenizer, [10**6]) == ("",)


# ----------------------------------------------------------------------------------------------------- what stands out


def states_of(values) -> TextStates:
    values = np.array(values, dtype=np.float32)
    return TextStates("x", tuple(range(values.shape[1])), values, False)


# [layer, token, neuron]
X = states_of([[[1, -4, 0], [3, 4, 0]], [[-1, 0.5, 2], [-1, 0.5, -2]]])
Y = states_of([[[2, -1, 1], [2, -1, 1], [2, -1, 1]], [[1, 1, 0], [0, 1, 0], [0, 1, 0]]])


def test_strongest_ranks_by_mean_size():
    table = text_neurons.strongest(X, top=4)
    assert table.values.tolist() == [
        [0, 1, 4.0, 0.5, -4.0, 1],
        [0, 0, 2.0, 1.0, 3.0, 2],
        [1, 2, 2.0, 0.5, 2.0, 1],
        [1, 0, 1.0, 0.0, -1.0, 1],
    ]
    assert list(table) == ["layer", "neuron", "mean_abs", "share_active", "peak", "peak_token"]
    assert len(text_neurons.strongest(X, top=1000)) == 6


def test_shared_neurons_counts_active_sets_by_layer():
    table = text_neurons.shared_neurons(X, Y)
    assert table.values.tolist() == [[0, 2, 2, 1, 1 / 3], [1, 2, 2, 1, 1 / 3]]
    half = text_neurons.shared_neurons(X, Y, threshold=0.5)
    assert half[["active_x", "active_y", "both"]].values.tolist() == [[1, 2, 1], [1, 1, 1]]
    nothing = states_of(-np.ones((2, 2, 3)))
    assert text_neurons.shared_neurons(nothing, nothing)["jaccard"].tolist() == [0.0, 0.0]


def test_strongest_shared_takes_the_weaker_of_the_two():
    table = text_neurons.strongest_shared(X, Y, top=5)
    assert table[["layer", "neuron", "weaker", "mean_abs_x", "mean_abs_y"]].values.tolist() == [
        [0, 0, 2.0, 2.0, 2.0],
        [1, 1, 0.5, 0.5, 1.0],
    ]
    assert table[["share_active_x", "share_active_y"]].values.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert len(text_neurons.strongest_shared(X, Y, top=1)) == 1
    assert len(text_neurons.strongest_shared(X, states_of(-np.ones((2, 1, 3))))) == 0


def test_texts_that_cannot_be_compared_are_refused():
    with pytest.raises(ExperimentError, match="different models"):
        text_neurons.shared_neurons(X, states_of(np.ones((2, 2, 4))))
    with pytest.raises(ExperimentError, match="threshold"):
        text_neurons.strongest_shared(X, Y, threshold=1.0)


def test_what_stands_out_agrees_with_a_plain_computation(loaded):
    x, y = per_token.text_activations(loaded("llama"), SENTENCES[:2])
    best = text_neurons.strongest(x, top=1).iloc[0]
    means = np.abs(x.values.astype(np.float64)).mean(axis=1)
    assert means[int(best.layer), int(best.neuron)] == pytest.approx(means.max())
    token = x.values[int(best.layer), int(best.peak_token) - 1, int(best.neuron)]
    assert token == best.peak and abs(token) == np.abs(x.values[int(best.layer), :, int(best.neuron)]).max()
    table = text_neurons.shared_neurons(x, y)
    for layer, row in table.iterrows():
        a, b = ((s.values[layer] > 0).any(axis=0) for s in (x, y))
        assert row.jaccard == pytest.approx((a & b).sum() / (a | b).sum())
