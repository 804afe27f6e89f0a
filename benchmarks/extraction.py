"""What reading the states costs beside the forward pass itself: python benchmarks/extraction.py [--store|--memory]

Three models: (a) the bundled one, (b) a random Llama of 2048 hidden, 8192 inner, 4 layers, (c) a random BERT of 384
hidden, 1536 inner, 12 layers; 100 sentences x 8 languages of the bundled corpus. In every round each of the three ways
runs once on the same batches, one after the other; the figures are medians over rounds of the ratios within a round:

- extraction (NAS, NAV, EMB under three poolings) against the bare forward pass of the same batches without any hook;
- the obvious script, one sentence at a time with output_hidden_states, EMB only, pooled on the host, against
  extraction.

With --store: extraction of what is kept by default, stored in an empty cache language by language, against the same
forward pass; and what is between the states in memory and the disk: random states of LLaMA 3.1 8B's shape, already
rounded, put into a cache against a plain write of the same bytes.

With --memory: the peak of resident memory of a process that reads so many sentences of so many languages.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from timing import seconds

sys.path.insert(0, str(Path(__file__).parents[1]))

from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel

from neuronxa_core.corpora import reading
from neuronxa_core.experiment import ENTRIES, Experiment
from neuronxa_core.host import process_memory
from neuronxa_core.models import loading, sources, structure
from neuronxa_core.models.description import LoadedModel
from neuronxa_core.states import batches, computing, extraction, planning, precision
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store

LANGUAGES = ("eng_Latn", "deu_Latn", "fra_Latn", "rus_Cyrl", "zho_Hans", "tur_Latn", "jpn_Jpan", "arb_Arab")


def random_model(kind: str, folder: str) -> str:
    """A folder with (b) or (c) with random weights and the bundled model's tokenizer, or the bundled model (a)."""
    if kind == "a":
        return "demo"
    torch.manual_seed(0)
    demo = sources.parse_source("demo")
    vocabulary = 8000
    if kind == "b":
        model = LlamaModel(
            LlamaConfig(vocab_size=vocabulary, hidden_size=2048, intermediate_size=8192, num_hidden_layers=4,
                        num_attention_heads=16, num_key_value_heads=4)
        )  # fmt: skip
    else:
        model = BertModel(
            BertConfig(vocab_size=vocabulary, hidden_size=384, intermediate_size=1536, num_hidden_layers=12,
                       num_attention_heads=6), add_pooling_layer=False,
        )  # fmt: skip
    model.save_pretrained(folder)
    sources.load_tokenizer(demo).save_pretrained(folder)
    return folder


def bare_pass(loaded: LoadedModel, sentences: int) -> tuple[list[list[list[int]]], Callable[[], None]]:
    """Token ids of every language's sentences, and their forward pass in extraction's batches without any hook."""
    raw = reading.read("demo").texts
    texts = [raw[code][:sentences] for code in LANGUAGES]
    rows = [batches.tokenize(loaded, sentences, loaded.info.max_length).ids for sentences in texts]
    sizes = batches.TOKEN_BUDGET["cpu"], batches.PASS_TOKENS["cpu"]
    id_batches = [
        [ids[k] for k in batch] for ids in rows for batch in batches.batches_by_length(list(map(len, ids)), *sizes)
    ]
    options = {"use_cache": False} if loaded.info.causal else {}

    @torch.inference_mode()
    def bare() -> None:
        for batch in id_batches:
            ids, _, mask = batches.right_padded(loaded, batch)
            loaded.model(input_ids=ids, attention_mask=mask, **options)

    return rows, bare


def measure(name: str, model: str, times: int, sentences: int) -> None:
    """Print a row of the table."""
    loaded = loading.load(sources.parse_source(model), dtype="float32", device="cpu")
    rows, bare = bare_pass(loaded, sentences)
    options = {"use_cache": False} if loaded.info.causal else {}

    def extract() -> None:
        for code in LANGUAGES:
            extraction.extract(loaded, code, reading.read("demo").texts[code][:sentences])

    @torch.inference_mode()
    def obvious() -> None:
        for ids in (row for language in rows for row in language):
            states = loaded.model(input_ids=torch.tensor([ids]), output_hidden_states=True, **options).hidden_states
            weights = torch.arange(1, len(ids) + 1, dtype=torch.float32)
            [(hidden[0].cpu() * weights[:, None]).sum(dim=0) / weights.sum() for hidden in states[1:]]

    bare()
    extract()
    overheads, gains, spent = [], [], []
    for number in range(times):
        ways = [bare, extract] if number % 2 else [extract, bare]
        taken = {way: seconds(way) for way in ways}
        overheads.append(taken[extract] / taken[bare])
        spent.append(taken[extract])
        if number < max(1, times // 3):
            gains.append(seconds(obvious) / taken[extract])
    print(
        f"| {name} | {statistics.median(spent):.2f} | {statistics.median(overheads):.3f} | "
        f"{min(overheads):.3f} | {statistics.median(gains):.2f} |",
        flush=True,
    )


def measure_store(name: str, model: str, times: int, sentences: int) -> None:
    """Print a row of the table of --store."""
    asked = Experiment(model=model, languages=LANGUAGES[1:], sentences=sentences, dtype="float32", device="cpu")
    ratios, spent, pool = [], [], ModelPool()
    for number in range(times + 1):
        with tempfile.TemporaryDirectory() as folder, closing(Store(folder)) as store:
            plan = planning.make_plan(asked, store)
            with pool.acquire(plan) as loaded:
                _, bare = bare_pass(loaded, sentences)
            ways = [bare, partial(computing.compute_missing, plan, store, pool)]
            took = {k: seconds(ways[k]) for k in ((0, 1) if number % 2 else (1, 0))}
        if number:  # the first is to warm up
            ratios.append(took[1] / took[0])
            spent.append(took[1])
    print(
        f"| {name} | {statistics.median(spent):.2f} | {statistics.median(ratios):.3f} | {min(ratios):.3f} |", flush=True
    )


def measure_host_path(times: int) -> None:
    """Print seconds and ratio of a cache's put to a plain write, of 100 sentences of LLaMA 3.1 8B in 16 bits."""
    random, shape = np.random.default_rng(0), (32, 100)
    arrays = {
        name: random.integers(0, 1000, (*shape, width), np.uint16).view(dtype)
        for name, width, dtype in (("nas", 14_336, "u2"), ("nav", 14_336, "f2"), ("emb", 4096, "f2"))
    }
    ratios, spent = [], []
    for number in range(times + 1):
        with tempfile.TemporaryDirectory(dir=".") as folder, closing(Store(Path(folder, "cache"))) as store:

            def put(store: Store = store) -> None:
                for name, array in arrays.items():
                    store.put(name, {name: array}, {})

            def write(folder: str = folder) -> None:
                for name, array in arrays.items():
                    with Path(folder, name).open("wb", buffering=0) as file:
                        file.write(memoryview(array).cast("B"))

            ways = [write, put] if number % 2 else [put, write]
            took = {way: seconds(way) for way in ways}
        if number:
            ratios.append(took[put] / took[write])
            spent.append(took[put])
    size = sum(array.nbytes for array in arrays.values()) / 1e6
    print(
        f"\n{size:.0f} MB of one language put into a cache: {statistics.median(spent):.2f} s, "
        f"{statistics.median(ratios):.2f} times a plain write (least {min(ratios):.2f})"
    )


def peak_memory(sentences: int, languages: int) -> None:
    """Print the peak of this process's resident memory, in MiB, after extraction with the bundled model."""
    process_memory.keep_what_is_freed()
    loaded = loading.load(sources.parse_source("demo"), device="cpu")
    raw = reading.read("demo").texts
    for code in itertools.islice(itertools.cycle(raw), languages):
        extraction.extract(loaded, code, list(itertools.islice(itertools.cycle(raw[code]), sentences)))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def measure_memory(few: int) -> None:
    """Print the table of peaks, each of a process of its own."""
    print("\n| sentences | languages | states of a language, MiB | peak of the process, MiB |")
    print("| ---: | ---: | ---: | ---: |")
    info = structure.describe(sources.parse_source("demo"))
    for sentences, languages in ((few, 1), (few, 16), (4 * few, 1), (16 * few, 1), (64 * few, 1)):
        command = [sys.executable, __file__, "--peak-of", str(sentences), str(languages)]
        peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        held = sentences * precision.bytes_per_sentence(info, "exact", ENTRIES) >> 20
        print(f"| {sentences} | {languages} | {held} | {peak} |", flush=True)


def measure_speed(kinds: str, times: int, sentences: int, store: bool) -> None:
    """Print the table of times."""
    process_memory.keep_what_is_freed()
    last = "" if store else " obvious script against it |"
    print(f"| model | extraction{' with store' if store else ''}, s | against bare forward | least |{last}")
    print("| --- | ---: | ---: | ---: |" + (" ---: |" if last else ""))
    names = {"a": "(a) bundled", "c": "(c) BERT 384 x 12", "b": "(b) Llama 2048 x 4"}
    for kind, name in names.items():
        if kind in kinds:
            with tempfile.TemporaryDirectory() as folder:
                way, rounds = measure_store if store else measure, -(-times // 2) if kind == "b" else times
                way(name, random_model(kind, folder), rounds, sentences)
    if store:
        measure_host_path(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=7, help="rounds")
    parser.add_argument("--models", default="abc")
    parser.add_argument("--sentences", type=int, default=100, help="of each language; with --memory the fewest")
    parser.add_argument("--memory", action="store_true", help="measure peaks of memory instead")
    parser.add_argument("--store", action="store_true", help="measure the way to the disk, too")
    parser.add_argument("--peak-of", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        peak_memory(*options.peak_of)
    elif options.memory:
        measure_memory(options.sentences)
    else:
        measure_speed(options.models, options.times, options.sentences, options.store)


if __name__ == "__main__":
    main()
