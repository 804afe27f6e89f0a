"""What a GPU makes of models at real shapes: python benchmarks/gpu.py [--minutes 8] [--languages 8] [--folder DIR]

Made to be run unseen: a row that fails says why and the next one begins, each has a limit of time, memory is freed
between them, and all ends within the minutes. Nothing is downloaded: LLaMA 3.1 8B, Qwen2.5 7B and some layers of
Qwen3-30B-A3B, with random weights made in bfloat16 on the device, read the bundled corpus through the bundled
tokenizer. Without CUDA all is tiny, in float32 and on the CPU: does it run?

Ratios are medians over rounds in which the ways take turns on the same sentences. The matrix limit is the best of some
large products in the same run; a token takes two operations per weight that it meets.
"""

from __future__ import annotations

import argparse
import copy
import faulthandler
import gc
import importlib.util
import itertools
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import transformers
from shapes import DEVICE, SHAPES, TINY, around, build, plan_of, pool_of
from timing import seconds

sys.path.insert(0, str(Path(__file__).parents[1]))

from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import cosine_retrieval
from neuronxa_core.measures.ablation import Ablation
from neuronxa_core.measures.token_activations import activations_of
from neuronxa_core.models import estimates, loading, sources
from neuronxa_core.models.description import LoadedModel
from neuronxa_core.states import batches, extraction
from neuronxa_core.states.computing import compute_missing
from neuronxa_core.states.interventions import Neurons, ablated
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import Store

LANGUAGES, SENTENCES = 204, 100
ROW_SECONDS = 60
NO_LIMIT = 1 << 50
Rows = Iterator[tuple[str, str]]
"""What was measured, and the figure."""
States = dict[str, dict[str, np.ndarray]]
"""By language, see extraction.LanguageStates."""


class Clock:
    """Prints rows; none takes longer than its time, and all no longer than theirs."""

    def __init__(self, minutes: float) -> None:
        self._end = time.monotonic() + 60 * minutes
        signal.signal(signal.SIGALRM, self._over)
        # where no alarm is heard, as in a kernel that hangs
        faulthandler.dump_traceback_later(60 * minutes + 30, exit=True)

    @staticmethod
    def _over(*_signal: object) -> None:
        raise TimeoutError("it took longer than its limit of time")

    def rows(self, title: str, work: Callable[[], Rows], limit: float = ROW_SECONDS) -> None:
        """Print what work() finds as it comes, and what stopped it."""
        limit = min(limit, self._end - time.monotonic())
        if limit < 2:
            print(f"| {title} | left out | the minutes are over |", flush=True)
            return
        signal.setitimer(signal.ITIMER_REAL, limit)
        try:
            for name, figure in work():
                print(f"| {title} | {name} | {figure} |", flush=True)
        except Exception as error:
            print(f"| {title} | FAILED | {type(error).__name__}: {' '.join(str(error).split())[:300]} |", flush=True)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            free()


def free() -> None:
    gc.collect()
    if not TINY:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def wait() -> None:
    if not TINY:
        torch.cuda.synchronize()


def matrix_limit(dtype: torch.dtype) -> float:
    """Operations per second of the best of some large products."""
    x = torch.randn(size := 512 if TINY else 8192, size, device=DEVICE, dtype=dtype)

    def multiply() -> None:
        for _ in range(10):
            x @ x
        wait()

    return 10 * 2 * size**3 / min(seconds(multiply) for _ in range(5))


def speed(loaded: LoadedModel, languages: int, times: int, folder: Path) -> Rows:
    """Extraction against the bare pass, without and with the store, and against one sentence at a time."""
    plan, info = plan_of(loaded, languages, 4 if TINY else SENTENCES), loaded.info
    texts = {code: plan.sentences(code) for code in plan.all_languages}
    ids = [batches.tokenize(loaded, some, info.max_length).ids for some in texts.values()]
    every = [row for rows in ids for row in rows]
    tokens, few = sum(map(len, every)), every[:20]
    sizes = batches.TOKEN_BUDGET[DEVICE], batches.PASS_TOKENS[DEVICE]
    parted = [[rows[k] for k in part] for rows in ids for part in batches.batches_by_length([*map(len, rows)], *sizes)]
    places = map(str, itertools.count())

    @torch.inference_mode()
    def bare() -> None:
        for rows in parted:
            inputs, _, mask = batches.right_padded(loaded, rows)
            loaded.model(input_ids=inputs, attention_mask=mask, use_cache=False)
        wait()

    def extract() -> None:
        for code, some in texts.items():
            extraction.extract(loaded, code, some, names=plan.needed, folder=folder)

    def with_store() -> None:
        store = Store(folder / next(places), NO_LIMIT)
        compute_missing(plan, store, pool_of(loaded))
        store.close()

    @torch.inference_mode()
    def one_by_one() -> None:
        for row in few:
            inputs = torch.tensor([row], device=loaded.device)
            states = loaded.model(input_ids=inputs, output_hidden_states=True, use_cache=False).hidden_states
            weights = torch.arange(1, len(row) + 1, dtype=torch.float32)
            [(one[0].float().cpu() * weights[:, None]).sum(dim=0) / weights.sum() for one in states[1:]]

    yield "text", f"{languages} languages x {len(ids[0])} sentences of {tokens / len(every):.0f} tokens"
    bare()
    ways = {"bare forward": bare, "extraction": extract, "extraction with store": with_store}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(times + 1):
        taken = {name: seconds(ways[name]) for name in (ways if number % 2 else reversed(ways))}
        written = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        empty(folder)
        for name, value in taken.items() if number else ():  # the first round warms up
            spent[name].append(value)
    middle = {name: statistics.median(values) for name, values in spent.items()}
    limit = matrix_limit(loaded.model.dtype)
    experts = info.chosen * 3 * info.hidden * info.neurons // info.experts if info.experts else 0
    operations = 2 * (info.projected + info.layers * experts)
    for name, values in spent.items():
        ratio = statistics.median(a / b for a, b in zip(values, spent["bare forward"], strict=True))
        rate = tokens / middle[name]
        yield (
            name,
            f"{middle[name]:.2f} s; {ratio:.2f} times bare; {rate:,.0f} tokens/s, {rate * operations / limit:.0%}",
        )
    yield "matrix limit, which is 100 %", f"{limit / 1e12:,.1f} TFLOP/s in {loaded.dtype}"
    scale = LANGUAGES * SENTENCES / len(every)
    whole = f"{middle['extraction with store'] * scale:.0f} s, {written * scale / 1e9:.1f} GB"
    yield f"{LANGUAGES} languages x {SENTENCES} with store", f"{whole}, scaled from {len(every)} sentences"
    slow = min(seconds(one_by_one) for _ in range(2)) * len(every) / len(few)
    yield "one sentence at a time, EMB alone", f"{slow / middle['extraction']:.1f} times extraction"
    if not TINY:
        estimate = estimates.estimate_memory(info, loaded.dtype, DEVICE, sizes[0]).needed
        yield "peak memory", f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB; {estimate / 2**30:.1f} estimated"


def states_of(loaded: LoadedModel, plan: Plan, on_batch: Callable = lambda _done, _all: None) -> States:
    return {
        code: extraction.extract(loaded, code, plan.sentences(code), names=Experiment.kept, on_progress=on_batch).arrays
        for code in plan.all_languages
    }


def differences(x: States, y: States) -> str:
    """Worst differences of weighted states (of NAS: the share of sums that differ) and of a language's score."""
    says = []
    for state in ("nas", "nav", "emb"):
        a, b = (
            np.stack([arrays[f"{state}_weighted"] for arrays in side.values()]).astype(np.float64) for side in (x, y)
        )
        differ = f"{(a != b).mean():.2%} of sums" if state == "nas" else f"{np.abs(a - b).max() / np.abs(a).max():.1e}"
        scores = [
            np.stack([cosine_retrieval.retrieve(of[0], of[1:]).aligned.mean(axis=1) for of in side.swapaxes(0, 1)])
            for side in (a, b)
        ]
        says.append(f"{state.upper()} {differ}, score {np.abs(scores[0] - scores[1]).max(initial=0):.3f}")
    return "; ".join(says)


def against_cpu(shape: str) -> Rows:
    """Two layers on the device and, with the same weights, on the CPU."""
    for dtype in ("float32", "bfloat16"):
        here = build(shape, "cpu", dtype, num_hidden_layers=2, vocab_size=8192)
        there = around(shape, copy.deepcopy(here.head).to(DEVICE), dtype)
        plan = plan_of(here, 3, 6 if TINY else 20)
        yield f"device against CPU, {dtype}, worst", differences(states_of(there, plan), states_of(here, plan))


def halving(loaded: LoadedModel) -> Rows:
    """With memory for a part of a batch, extraction goes on in smaller ones and finds the same."""
    if TINY:
        yield "halving", "not run: needs CUDA"
        return
    plan, made = plan_of(loaded, 2, 150), []
    plain = states_of(loaded, plan, lambda done, _all: made.append(done))
    before = len(made)
    free()
    working = estimates.estimate_memory(loaded.info, loaded.dtype, DEVICE, 1024).working
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, (torch.cuda.memory_reserved() + working) / total))
    try:
        halved = states_of(loaded, plan, lambda done, _all: made.append(done))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    yield "halving on out-of-memory", f"{len(made) - before} batches for {before}; {differences(plain, halved)}"


def few_bits(shape: str, folder: Path) -> Rows:
    """Two layers as int8 and nf4, from files, against bfloat16 from the same files."""
    if TINY or not importlib.util.find_spec("bitsandbytes"):
        yield "int8 and nf4", "not run: " + ("needs CUDA" if TINY else "bitsandbytes is not installed")
        return
    base = build(shape, num_hidden_layers=2, vocab_size=8192)
    for part in (base.head, base.tokenizer):
        part.save_pretrained(folder)
    plan, source = plan_of(base, 3, 20), sources.parse_source(str(folder))
    plain = states_of(loading.load(source, "bfloat16", DEVICE), plan)
    del base, part
    for dtype in ("int8", "nf4"):
        free()
        found = states_of(loading.load(source, dtype, DEVICE), plan)
        peak = torch.cuda.max_memory_allocated() / 2**30
        yield f"{dtype} against bfloat16, worst", f"{differences(plain, found)}; peak {peak:.2f} GiB"


def interventions(loaded: LoadedModel, folder: Path) -> Rows:
    """Ablation and the token microscope on the device."""
    plan, info = plan_of(loaded, 3, 4 if TINY else 20), loaded.info
    texts, layer = plan.sentences(plan.pivot), info.layers // 2
    numbers = list(range(0, info.neurons, 97))
    neurons = Neurons.of(dict.fromkeys(range(info.layers), numbers))
    with ablated(loaded, neurons):
        states = extraction.extract(loaded, plan.pivot, texts).arrays["nav_weighted"]
    yield "ablated neurons", "NOT all 0" if states[:, :, numbers].any() else "all 0"
    store, pool = Store(folder, NO_LIMIT), pool_of(loaded)
    measure = Ablation(plan, sets=(("every 97th", neurons),), sentences=len(texts))
    spent = seconds(lambda: measure.run(store, pool))
    nats = measure.table(store).groupby("set")["nats_per_byte"].mean().round(3).to_dict()
    yield "ablation, 2 sets x 3 languages", f"{spent:.1f} s; nats per byte {nats}"
    spent = seconds(lambda: activations_of(plan, store, pool, plan.pivot, texts, layer, 5))
    last = [one.values[-1] for one in activations_of(plan, store, pool, plan.pivot, texts, layer, 5)]
    kept = extraction.extract(loaded, plan.pivot, texts).arrays["nav_last"][layer, :, 5]
    worst = np.abs(np.abs(last) - kept).max() / np.abs(kept).max()
    yield f"microscope, {len(texts)} sentences", f"{spent:.2f} s; last tokens differ from NAV by {worst:.1e} at most"
    store.close()


def empty(folder: Path) -> None:
    for left in folder.iterdir():
        shutil.rmtree(left)


def measure(shape: str, clock: Clock, options: argparse.Namespace, folder: Path) -> None:
    made: list[LoadedModel] = []

    def make() -> Rows:
        spent = seconds(lambda: (made.append(build(shape)), wait()))
        size = sum(parameter.nbytes for parameter in made[0].head.parameters()) / 2**30
        yield "model", f"{made[0].info.layers} layers, {size:.2f} GiB, made in {spent:.1f} s"

    clock.rows(shape, make)
    if made:
        clock.rows(shape, lambda: speed(made[0], options.languages, options.times, folder), 1.5 * ROW_SECONDS)
        clock.rows(shape, lambda: halving(made[0]))
        clock.rows(shape, lambda: interventions(made[0], folder / "interventions"))
    made.clear()
    free()
    clock.rows(shape, lambda: against_cpu(shape))
    clock.rows(shape, lambda: few_bits(shape, folder / "model"))
    empty(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=7.5, help="after which no row begins any more")
    parser.add_argument("--languages", type=int, default=3 if TINY else 8, help="that are read")
    parser.add_argument("--times", type=int, default=1 if TINY else 3, help="rounds")
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="MODEL")
    parser.add_argument("--folder", type=Path, help="where states are written for a while, some GB")
    options = parser.parse_args()
    device = "No CUDA: tiny models on the CPU, which say nothing of a GPU"
    if not TINY:
        card = torch.cuda.get_device_properties(0)
        device = f"{card.name}, {card.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{device}. {versions}.\n\n| model | | |\n| --- | --- | --- |", flush=True)
    clock = Clock(options.minutes)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for shape in options.models:
            measure(shape, clock, options, Path(folder))
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
