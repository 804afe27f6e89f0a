"""Time and memory of scores from stored states at the size of a large model: python benchmarks/alignment.py [--times N]

Made-up states of a pivot and 200 languages x 100 sentences x 32 layers x 4096 neurons, which share part of their signal
with the pivot, go into a store in a temporary folder (NAS weighted as uint16, 5.3 GB at this size) and come out by
`align` as in the app, with a new store every time so that checksums are verified, and nothing of it kept. The
page cache is warm: every file was just written. In every round each way runs once; the figures are medians over rounds,
ratios are taken within a round. Beside it, in the same process:

- the plain read: the same bytes of the same files summed once through numpy's memory map, no checksum;
- the checked read: the same blocks through the store, checksums only;
- plain read and align from disk: the same, after the system was told to drop the files' pages;
- the products: one float32 product a layer on unit rows that are made already, on those of layer 0 for every layer;
- the loop: scipy.spatial.distance.cosine over sentence pairs of float32 and of float64 vectors, on a slice, scaled to
  all pairs.

Then all pairs of some languages at one layer against their products alone, a float32 product for each pair of languages
that is needed (of the first 24 languages, scaled by the number of pairs), and the bootstrap of all layers against
`align`. Peak memory is that of another process that does nothing but `align` or all pairs, Python and its libraries
included. `--state nav_weighted` does the same with float32.

A large model at full width and few layers: --languages 203 --layers 4 --neurons 14336 --paired 204. Layers are of one
size, and each is read and multiplied by itself, so that time grows with their number; memory does not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial.distance import cosine
from timing import seconds

sys.path.insert(0, str(Path(__file__).parents[1]))

from neuronxa_core.corpora.parallel import Corpus
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import alignment, all_pairs, cosine_retrieval
from neuronxa_core.models import sources, structure
from neuronxa_core.states import planning, stored
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import Store

SAMPLE = 24
WAYS = ("align", "read", "checked", "products", "bootstrap")
RESAMPLES = 1000
DTYPES = {"nas_weighted": np.uint16, "nas_last": np.uint8, "nav_weighted": np.float32, "nav_last": np.float16}


def made_up_plan(options: argparse.Namespace) -> Plan:
    """A plan for made-up languages of a made-up model; its keys are those under which `write_states` stores."""
    codes = tuple(f"l{k:03}" for k in range(options.languages))
    texts = {code: tuple(f"sentence {k}" for k in range(options.sentences)) for code in ("pivot", *codes)}
    rows = tuple(range(options.sentences))
    corpus = Corpus("made up", "pivot", codes, texts, tuple(row + 1 for row in rows), rows, None, ())
    source = sources.parse_source("demo")
    info = replace(structure.describe(source), layers=options.layers, neurons=options.neurons, hidden=options.neurons)
    keys = {code: f"states-{code}" for code in ("pivot", *codes)}
    return Plan(Experiment(), corpus, source, info, "cpu", "float32", keys)


def write_states(plan: Plan, store: Store, name: str) -> None:
    """Numerators of sentences of 10 to 40 tokens: what neurons like, what a sentence means, a language's own noise."""
    layers, n, width = plan.info.layers, len(plan.corpus.usable), plan.info.neurons
    random = np.random.default_rng(0)
    usual = random.beta(2, 3, (layers, 1, width)).astype(np.float32)
    meaning = random.standard_normal((layers, n, width), dtype=np.float32)
    tokens = random.integers(10, 40, (n, 1)).astype(np.float32)
    dtype = DTYPES[name]
    largest = 1 if name.endswith("last") else tokens * (tokens + 1) / 2
    states = np.empty((layers, n, width), dtype)
    for k, code in enumerate(plan.all_languages):
        shared = 0 if k == 0 else random.uniform(0.002, 0.1)
        leaning = 0.1 * random.standard_normal((layers, 1, width), dtype=np.float32)
        for layer in range(layers):
            share = random.standard_normal((n, width), dtype=np.float32)
            share *= 0.15
            share += (0.1 if k == 0 else shared) * meaning[layer]
            share += usual[layer] + leaning[layer]
            states[layer] = np.clip(share, 0, 1) * largest if name != "nas_last" else share > 0.5
        entries: dict[str, dict[str, np.ndarray]] = {plan.entry_key(code, name): {name: states}}
        entries.setdefault(plan.keys[code], {})["tokens"] = tokens[:, 0].astype(np.int32)
        for key, arrays in entries.items():
            store.put(key, arrays, {"language": code, "truncated": 0})


def forget_scores(plan: Plan, store: Store, state: str, pooling: str) -> None:
    measure = alignment.AlignmentScores(plan, state, pooling)
    for part in measure.parts():
        store.drop(measure.key_of(part))


def plain_read(plan: Plan, store: Store, name: str) -> Callable[[], object]:
    """A way to sum all bytes of the states through memory maps of their files, as 64-bit numbers."""
    places = []
    for code in plan.all_languages:
        with store.get(plan.entry_key(code, name)) as entry:
            states = entry.array(name)
            places.append((entry.file.name, entry._starts[name], states.nbytes))

    def read() -> None:
        for path, offset, size in places:
            np.memmap(path, np.uint64, "r", offset, size // 8).sum()

    return read


def checked_read(plan: Plan, folder: Path, name: str) -> None:
    store = Store(folder)
    for code in plan.all_languages:
        with store.get(plan.entry_key(code, name)) as entry:
            for layer in range(plan.info.layers):
                entry.layer(name, layer)
    store.close()


def align_anew(plan: Plan, folder: Path, state: str, pooling: str) -> alignment.Alignment:
    """`pipeline.align` with nothing remembered: no scores, no checksum."""
    store = Store(folder)
    forget_scores(plan, store, state, pooling)
    found = alignment.align(plan, store, state, pooling)
    store.close()
    return found


def peak_bytes() -> int:
    """The most memory that this process has had, file pages that it has mapped included."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent had before the program began
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def peak_of(work: Callable, *arguments: object) -> tuple[int, int]:
    """Peak memory in bytes before and after some work, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before = pool.apply(peak_bytes)
        pool.apply(work, arguments)
        return before, pool.apply(peak_bytes)


def forget_pages(folder: Path) -> None:
    """Have the system drop what it holds of the files in memory."""
    for path in folder.rglob("*.safetensors"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def loop_seconds_a_pair(x: np.ndarray, y: np.ndarray, dtype: type) -> float:
    """Time of one scipy cosine in a Python loop over a slice of the sentence pairs."""
    x, y = x[:40].astype(dtype), y[:40].astype(dtype)
    start = time.perf_counter()
    for i in range(len(x)):
        for j in range(len(y)):
            cosine(x[i], y[j])
    return (time.perf_counter() - start) / (len(x) * len(y))


def report(rows: list[tuple[str, list[float]]]) -> None:
    for name, values in rows:
        print(f"| {name} | {statistics.median(values):.3f} | {min(values):.3f} | {max(values):.3f} |", flush=True)


def measure_align(plan: Plan, folder: Path, state: str, pooling: str, times: int) -> None:
    name = f"{state}_{pooling}"
    store = Store(folder)
    read = plain_read(plan, store, name)
    with stored.StatesReader(plan, store) as reader:
        x = np.array(reader.vectors(plan.pivot, state, pooling, 0))
        others = np.concatenate([reader.vectors(code, state, pooling, 0) for code in plan.languages])
    store.close()
    unit_x, unit_others = cosine_retrieval.unit_rows(x), cosine_retrieval.unit_rows(others)

    def products() -> None:
        for _ in range(plan.info.layers):
            unit_others @ unit_x.T

    spent: dict[str, list[float]] = {key: [] for key in (*WAYS, "cold read", "cold align")}
    loops: dict[type, list[float]] = {np.float32: [], np.float64: []}
    for number in range(times + 1):
        found = align_anew(plan, folder, state, pooling)
        cold = {}
        for key, work in (("cold read", read), ("cold align", lambda: align_anew(plan, folder, state, pooling))):
            forget_pages(folder)
            cold[key] = seconds(work)
        ways = {
            "align": lambda: align_anew(plan, folder, state, pooling),
            "read": read,
            "checked": lambda: checked_read(plan, folder, name),
            "products": products,
            "bootstrap": lambda found=found: alignment.bootstrap(found.aligned, resamples=RESAMPLES),
        }
        taken = cold | {key: seconds(work) for key, work in ways.items()}
        if number:  # the first round warms up
            for key, value in taken.items():
                spent[key].append(value)
            for dtype, values in loops.items():
                values.append(loop_seconds_a_pair(x, others, dtype))
    pairs = len(others) * len(x) * plan.info.layers
    floor = [max(a, b) for a, b in zip(spent["read"], spent["products"], strict=True)]
    cold_floor = [max(a, b) for a, b in zip(spent["cold read"], spent["products"], strict=True)]

    def ratio(above: list[float], below: list[float]) -> list[float]:
        return [a / b for a, b in zip(above, below, strict=True)]

    print(f"Mean score {found.score.mean():.3f}, languages from {found.pooled().min():.3f} to "
          f"{found.pooled().max():.3f}.\n")  # fmt: skip
    print(f"| {name}, {others.dtype}, seconds or times | median | least | most |\n| --- | ---: | ---: | ---: |")
    report(
        [
            ("align, s", spent["align"]),
            ("plain read, s", spent["read"]),
            ("checked read, s", spent["checked"]),
            ("products alone, s", spent["products"]),
            ("align against the larger floor", ratio(spent["align"], floor)),
            ("plain read from disk, s", spent["cold read"]),
            ("align from disk, s", spent["cold align"]),
            ("align from disk against the larger floor", ratio(spent["cold align"], cold_floor)),
            *(
                (
                    f"cosine loop, {dtype.__name__}, against align",
                    [pairs * s / a for s, a in zip(loop, spent["align"], strict=True)],
                )
                for dtype, loop in loops.items()
            ),
            (
                "float32 loop against products alone",
                [pairs * s / a for s, a in zip(loops[np.float32], spent["products"], strict=True)],
            ),
            ("bootstrap, s", spent["bootstrap"]),
            ("bootstrap against align", ratio(spent["bootstrap"], spent["align"])),
        ]
    )


def pairs_anew(plan: Plan, folder: Path, state: str, pooling: str) -> None:
    store = Store(folder)
    all_pairs.pair_matrix(plan, store, state, pooling, 0)
    store.close()


def measure_pairs(plan: Plan, folder: Path, state: str, pooling: str, times: int) -> None:
    with stored.StatesReader(plan, store := Store(folder)) as reader:
        some = [reader.vectors(code, state, pooling, 0) for code in plan.all_languages[:SAMPLE]]
        unit = np.stack([cosine_retrieval.unit_rows(vectors) for vectors in some])
    store.close()
    count = len(plan.all_languages)
    scale = count * (count + 1) / (len(unit) * (len(unit) + 1))

    def products() -> None:
        for a in range(len(unit)):
            unit[a:].reshape(-1, unit.shape[-1]) @ unit[a].T

    products()
    matrix, floor = [], []
    for _ in range(times):
        before = seconds(products)
        matrix.append(seconds(lambda: pairs_anew(plan, folder, state, pooling)))
        floor.append(scale * (before + seconds(products)) / 2)
    print(f"\n| all pairs of {count} languages at a layer | median | least | most |\n| --- | ---: | ---: | ---: |")
    report(
        [
            ("pair_matrix, s", matrix),
            ("products alone, each language with those after it, s", floor),
            ("pair_matrix against products", [a / b for a, b in zip(matrix, floor, strict=True)]),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", type=int, default=200)
    parser.add_argument("--sentences", type=int, default=100)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--neurons", type=int, default=4096)
    parser.add_argument("--paired", type=int, default=50, help="languages of which all pairs are compared")
    parser.add_argument("--times", type=int, default=5, help="rounds")
    parser.add_argument("--state", choices=DTYPES, default="nas_weighted")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    options = parser.parse_args()
    plan = made_up_plan(options)
    state, pooling = options.state.split("_")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        store = Store(folder)
        write_states(plan, store, options.state)
        store.close()
        size = options.layers * options.sentences * options.neurons * np.dtype(DTYPES[options.state]).itemsize
        print(
            f"{options.languages} languages x {options.sentences} sentences x {options.layers} layers x "
            f"{options.neurons:,} neurons, {(options.languages + 1) * size / 1e9:.2f} GB; "
            f"{os.cpu_count()} cores, numpy {np.__version__}, OPENBLAS_CORETYPE "
            f"{os.environ.get('OPENBLAS_CORETYPE', 'not set')}.",
            flush=True,
        )
        paired = planning.restrict(plan, plan.languages[: options.paired - 1])
        for name, work, some in (("align", align_anew, plan), ("all pairs", pairs_anew, paired)):
            before, after = peak_of(work, some, Path(folder), state, pooling)
            print(f"Peak memory {before / 2**30:.2f} GiB before {name}, {after / 2**30:.2f} GiB after.", flush=True)
        measure_align(plan, Path(folder), state, pooling, options.times)
        measure_pairs(paired, Path(folder), state, pooling, options.times)


if __name__ == "__main__":
    main()
