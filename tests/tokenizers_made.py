"""Texts of many scripts and tokenizers of every kind, for tests of how tokens are shown."""

from __future__ import annotations

import functools
import json
import unicodedata

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers import models as tokenizer_models
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from neuronxa_core.models import sources

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


def words(kind: str) -> Tokenizer:
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
    "wordpiece": functools.partial(words, "wordpiece"),
    "word-level": functools.partial(words, "word-level"),
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
    """As batches.tokenize makes them."""
    ids = tokenizer([text], add_special_tokens=True, truncation=False, verbose=False)["input_ids"][0]
    if max_length is not None and len(ids) > max_length:
        ids = tokenizer([text], add_special_tokens=True, truncation=True, max_length=max_length)["input_ids"][0]
        tokenizer([text])  # so that the next call finds no truncation
    return ids
