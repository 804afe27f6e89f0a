"""The table of the model card: alignment and likelihood of the bundled model by language.

    python -m scripts.evaluate_demo_model [--model FOLDER] [--held-out held_out.json]

Likelihood is the mean negative log-likelihood of the bundled corpus in nats a byte of UTF-8. `held_out.json` is what
train_demo_model.py wrote beside the model: catalog messages that were not trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from neuronxa_core.corpora import reading
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import alignment
from neuronxa_core.models.sources import DEMO_FOLDER
from neuronxa_core.states import computing, planning, pools
from neuronxa_core.store.cache import Store


@torch.inference_mode()
def nats_a_byte(model: LlamaForCausalLM, tokenizer, sentences: tuple[str, ...]) -> float:
    """Mean negative log-likelihood a byte, one sentence at a time."""
    nats, size = 0.0, 0
    for text in sentences:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        nats += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
        size += len(text.encode())
    return nats / size


def alignments(model: str, corpus: str, store: Store) -> dict[str, planning.Alignment]:
    """The three alignments of every language with English."""
    plan = planning.make_plan(Experiment(model=model, corpus=corpus, device="cpu"), store)
    computing.compute_missing(plan, store, pools.ModelPool())
    return {state: alignment.align(plan, store, state, "weighted") for state in ("nas", "nav", "emb")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=DEMO_FOLDER)
    parser.add_argument("--held-out", type=Path)
    options = parser.parse_args()
    with (options.model / "shares.csv").open(encoding="utf-8", newline="") as handle:
        shares = {row["language"]: row for row in csv.DictReader(handle)}
    model = LlamaForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    raw = reading.read("demo")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "cache")
        found = alignments(str(options.model), "demo", store)
        held_out = {}
        if options.held_out:
            rows = json.loads(options.held_out.read_text("utf-8"))
            codes = [code for code in rows[0] if all(code in row for row in rows)]
            table = Path(folder) / "held_out.csv"
            with table.open("w", newline="", encoding="utf-8") as handle:
                writer = csv.DictWriter(handle, codes, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(rows)
            nas = alignments(str(options.model), str(table), store)["nas"]
            held_out = dict(zip(nas.languages, nas.score.max(axis=1), strict=True))
        store.close()
    print("| language | share | pairs | NASCA best (layer) / mean | NAVCA best / mean | MEXA best / mean ", end="")
    print("| NASCA best, held out | nats a byte |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    nas = found["nas"]
    order = sorted(range(len(nas.languages)), key=lambda k: -nas.score[k].max())
    english = nats_a_byte(model, tokenizer, raw.texts["eng_Latn"])
    print(f"| eng_Latn | {shares['eng_Latn']['share']} | {shares['eng_Latn']['pairs']} | | | | | {english:.2f} |")
    for k in order:
        code = nas.languages[k]
        row = shares.get(code, {"share": "0", "pairs": "0"})
        cells = [f"{nas.score[k].max():.2f} ({nas.score[k].argmax()}) / {nas.score[k].mean():.2f}"]
        cells += [f"{found[s].score[k].max():.2f} / {found[s].score[k].mean():.2f}" for s in ("nav", "emb")]
        cells += [f"{held_out[code]:.2f}" if code in held_out else ""]
        cells += [f"{nats_a_byte(model, tokenizer, raw.texts[code]):.2f}"]
        print(f"| {code} | {row['share']} | {row['pairs']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
