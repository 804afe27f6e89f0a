"""Trains the bundled model: a small multilingual LLaMA on parallel software messages.

    scripts/fetch_catalogs.sh CATALOGS
    python scripts/train_demo_model.py --catalogs CATALOGS --out neuronxa_core/demo/model --minutes 100

The objective is half a language model's cross-entropy and, from weighted-mean hidden states of one middle layer,
InfoNCE between an English message and its translation against the other messages of the batch. Neuron states are not
trained for: what alignment they show, they show as a by-product. Languages get unequal shares of their messages on
purpose; `shares.csv` beside the model says which.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import time
from pathlib import Path

import torch
from demo_catalogs import read_all
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SHARES = {
    "deu_Latn": 1.0,
    "fra_Latn": 1.0,
    "spa_Latn": 1.0,
    "ita_Latn": 1.0,
    "por_Latn": 1.0,
    "rus_Cyrl": 0.5,
    "ukr_Cyrl": 0.5,
    "pol_Latn": 0.5,
    "swe_Latn": 0.5,
    "zho_Hans": 0.5,
    "tur_Latn": 0.1,
    "jpn_Jpan": 0.1,
    "arb_Arab": 0.1,
    "ind_Latn": 0.1,
    "vie_Latn": 0.1,
    "fin_Latn": 0.01,
    "kor_Hang": 0.01,
    "hin_Deva": 0.01,
    "heb_Hebr": 0.01,
    "ell_Grek": 0.0,
    "ben_Beng": 0.0,
    "tha_Thai": 0.0,
    "pes_Arab": 0.0,
    "swh_Latn": 0.0,
}
PAD, BOS, EOS = 0, 1, 2
REPOSITORY = Path(__file__).resolve().parents[1]


def normal(text: str) -> str:
    """A form in which two messages that say the same to a reader are equal."""
    return "".join(c for c in text.casefold() if c.isalnum())


def split(
    messages: dict[str, dict[str, str]], forbidden: set[str], seed: int, held_out: int
) -> tuple[dict[str, list[tuple[str, str]]], list[dict[str, str]]]:
    """Training pairs by language, at the shares above, and the held-out messages with all their translations.

    Held out are messages that the languages with at least half a share all have. No message whose English or any of
    whose translations is in `forbidden` (normal form) is trained on.
    """
    rng = random.Random(seed)
    allowed = sorted(e for e, t in messages.items() if not {normal(e), *map(normal, t.values())} & forbidden)
    rng.shuffle(allowed)
    wanted = [code for code, share in SHARES.items() if share >= 0.1]
    test = []
    for english in allowed:
        if 6 <= len(english.split()) <= 25 and all(code in messages[english] for code in wanted):
            test.append({"eng_Latn": english, **messages[english]})
        if len(test) == held_out:
            break
    seen = {normal(text) for row in test for text in row.values()}
    pairs = {}
    for code, share in SHARES.items():
        usable = [
            (english, messages[english][code])
            for english in allowed
            if code in messages[english] and normal(english) not in seen and normal(messages[english][code]) not in seen
        ]
        pairs[code] = usable[: round(share * len(usable))]
    return pairs, test


def train_tokenizer(texts: list[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE, which puts a beginning-of-sentence token before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return tokenizer


def batches(pairs: dict[str, list[tuple[list[int], list[int]]]], chunk: int, chunks: int, seed: int):
    """Endless batches of token pairs: `chunks` runs of `chunk` pairs, each of one language and of similar length."""
    rng = random.Random(seed)
    while True:
        runs = []
        for items in pairs.values():
            items = items[:]
            rng.shuffle(items)
            window = chunk * 25
            for start in range(0, len(items), window):
                near = sorted(items[start : start + window], key=lambda p: len(p[0]) + len(p[1]))
                runs += [near[k : k + chunk] for k in range(0, len(near), chunk)]
        rng.shuffle(runs)
        for start in range(0, len(runs) - chunks + 1, chunks):
            yield [pair for run in runs[start : start + chunks] for pair in run]


def pad(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids [row, position] and the mask of real tokens."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), PAD)
    for k, row in enumerate(rows):
        ids[k, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(width)[None, :] < lengths[:, None]


def weighted_mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Position-weighted mean over real tokens, [row, hidden]."""
    weights = torch.arange(1, mask.shape[1] + 1) * mask
    weights = weights / weights.sum(1, keepdim=True)
    return torch.einsum("bth,bt->bh", states.float(), weights.float())


def forward(model: LlamaForCausalLM, ids: torch.Tensor, mask: torch.Tensor, layer: int):
    """Last hidden states, and the hidden states after `layer`."""
    kept = {}
    hook = model.model.layers[layer].register_forward_hook(
        lambda _m, _i, out: kept.update(h=out[0] if isinstance(out, tuple) else out)
    )
    try:
        last = model.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).last_hidden_state
    finally:
        hook.remove()
    return last, kept["h"]


def info_nce(x: torch.Tensor, y: torch.Tensor, sources: list[int], temperature: float) -> torch.Tensor:
    """Symmetric InfoNCE of matching rows; rows with the same English source are no negatives of each other."""
    similarity = torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(y, dim=1).T / temperature
    source = torch.tensor(sources)
    same = (source[:, None] == source[None, :]) & ~torch.eye(len(source), dtype=torch.bool)
    similarity = similarity.masked_fill(same, float("-inf"))
    target = torch.arange(len(source))
    loss = torch.nn.functional.cross_entropy
    return (loss(similarity, target) + loss(similarity.T, target)) / 2


@torch.no_grad()
def neuron_alignment(model: LlamaForCausalLM, x: list[list[int]], y: list[list[int]]) -> list[float]:
    """Share of mutual nearest neighbours by neuron activation states, per layer; a quick look during training."""
    layers, pooled = model.model.layers, {}
    for k, rows in enumerate((x, y)):
        ids, mask = pad(rows)
        hooks = [
            layer.mlp.down_proj.register_forward_pre_hook(
                lambda _m, args, key=(k, j), mask=mask: pooled.update({key: weighted_mean(args[0] > 0, mask)})
            )
            for j, layer in enumerate(layers)
        ]
        model.model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        for hook in hooks:
            hook.remove()
    scores = []
    for j in range(len(layers)):
        a, b = (torch.nn.functional.normalize(pooled[k, j], dim=1) for k in (0, 1))
        s = a @ b.T
        best = s.argmax(1)
        scores.append(float(((best == torch.arange(len(a))) & (s.argmax(0) == torch.arange(len(a)))).float().mean()))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--catalogs", type=Path, required=True, help="the folder that fetch_catalogs.sh filled")
    parser.add_argument("--out", type=Path, required=True, help="where the model goes")
    parser.add_argument("--minutes", type=float, default=100, help="how long to train (default: 100)")
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--hidden", type=int, default=224)
    parser.add_argument("--inner", type=int, default=640)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=7)
    parser.add_argument("--contrast-layer", type=int, default=4, help="the layer, from 0, whose states are contrasted")
    parser.add_argument("--temperature", type=float, default=0.05)
    parser.add_argument("--chunk", type=int, default=64, help="pairs of one language in a row")
    parser.add_argument("--chunks", type=int, default=2, help="rows of pairs in a batch")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--length", type=int, default=96, help="tokens kept of a message")
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--save-every", type=float, default=15, help="minutes between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--resume", type=float, default=0, metavar="MINUTES", help="go on from the checkpoint in --out, made so far in"
    )
    parser.add_argument("--steps", type=int, default=0, help="stop after so many steps (a trial)")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    corpus = REPOSITORY / "neuronxa_core" / "demo" / "corpus"
    forbidden = {normal(line) for file in corpus.glob("*_*.txt") for line in file.read_text("utf-8").splitlines()}
    messages = read_all(options.catalogs)
    pairs, test = split(messages, forbidden, options.seed, options.held_out)
    print(f"{len(messages)} messages, {sum(map(len, pairs.values()))} pairs, {len(test)} held out", flush=True)

    english = sorted({e for items in pairs.values() for e, _ in items})
    tokenizer = train_tokenizer(english + [t for items in pairs.values() for _, t in items], options.vocabulary)
    options.out.mkdir(parents=True, exist_ok=True)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=512
    ).save_pretrained(options.out)

    def encode(texts: list[str]) -> list[list[int]]:
        return [e.ids[: options.length] for e in tokenizer.encode_batch(texts)]

    source_number = {text: k for k, text in enumerate(english)}
    tokens = {}
    for code, items in pairs.items():
        x, y = encode([e for e, _ in items]), encode([t for _, t in items])
        tokens[code] = [(a, b, source_number[e]) for a, b, (e, _) in zip(x, y, items, strict=True)]
    with (options.out / "shares.csv").open("w", newline="", encoding="utf-8") as handle:
        table = csv.writer(handle)
        table.writerow(["language", "share", "pairs", "tokens"])
        table.writerow(["eng_Latn", 1.0, len(english), sum(map(len, encode(english)))])
        for code, share in SHARES.items():
            table.writerow([code, share, len(pairs[code]), sum(len(p[1]) for p in tokens[code])])

    config = LlamaConfig(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        intermediate_size=options.inner,
        num_hidden_layers=options.layers,
        num_attention_heads=options.heads,
        num_key_value_heads=options.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    model = LlamaForCausalLM(config)
    if options.resume:
        model = LlamaForCausalLM.from_pretrained(options.out, dtype=torch.float32)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, betas=(0.9, 0.98), weight_decay=0.05)

    def save() -> None:
        kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.to(torch.bfloat16).save_pretrained(options.out)
        model.float().load_state_dict(kept)

    (options.out / "held_out.json").write_text(json.dumps(test, ensure_ascii=False, indent=0), "utf-8")
    watched = {code: encode([row[code] for row in test]) for code in ("eng_Latn", "spa_Latn", "rus_Cyrl", "tur_Latn")}
    start = last_save = time.monotonic()
    seen = 0
    # a resumed run sees the messages in another order
    shuffle = options.seed + round(options.resume)
    for step, batch in enumerate(batches(tokens, options.chunk, options.chunks, shuffle)):
        elapsed = time.monotonic() - start + 60 * options.resume
        done = step / options.steps if options.steps else elapsed / (60 * options.minutes)
        if done >= 1:
            break
        rate = options.rate * min(1, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids, mask = pad([p[0] for p in batch] + [p[1] for p in batch])
        seen += int(mask.sum())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            last, middle = forward(model, ids, mask, options.contrast_layer)
            predicted = mask[:, 1:] & (torch.rand(mask.shape[0], mask.shape[1] - 1) < 1 / 3)
            logits = model.lm_head(last[:, :-1][predicted])
        language = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][predicted])
        pooled = weighted_mean(middle, mask)
        half = len(batch)
        contrast = info_nce(pooled[:half], pooled[half:], [p[2] for p in batch], options.temperature)
        (0.5 * language + contrast).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 0:
            print(
                f"{elapsed / 60:6.1f} min  step {step:5d}  {seen / max(1, time.monotonic() - start):6.0f} tokens/s  "
                f"language {language.item():.3f}  contrast {contrast.item():.3f}",
                flush=True,
            )
        if step % 250 == 249:
            for code in ("spa_Latn", "rus_Cyrl", "tur_Latn"):
                scores = neuron_alignment(model, watched["eng_Latn"], watched[code])
                print(f"    {code} " + " ".join(f"{s:.2f}" for s in scores), flush=True)
        if time.monotonic() - last_save > 60 * options.save_every:
            save()
            last_save = time.monotonic()
    save()
    print(
        f"trained for {(time.monotonic() - start) / 60 + options.resume:.1f} minutes, {seen} tokens, {step} steps",
        flush=True,
    )


if __name__ == "__main__":
    main()
