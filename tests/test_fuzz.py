"""Malformed input of every kind: what comes of it is a result or one of the project's own errors, and nothing else.

A small number of cases each; `python -m pytest tests/test_fuzz.py --full` runs more than 10,000.
"""

import csv
import io
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from neuronxa_core.cli.main import main
from neuronxa_core.corpora import reading, selection
from neuronxa_core.errors import NeuronXAError, ScoresError
from neuronxa_core.experiment import CHOICES, Experiment
from neuronxa_core.host import settings as host
from neuronxa_core.states.computing import compute_missing
from neuronxa_core.states.planning import make_plan
from neuronxa_core.states.pools import ModelPool
from neuronxa_core.store.cache import Store
from neuronxa_core.tasks import score_files

ROOT = Path(__file__).parents[1]
fuzz = settings(settings.get_profile("fuzz"), suppress_health_check=[HealthCheck.function_scoped_fixture])

# text that once broke some program: line ends, controls, direction marks, lone halves, formulas, markup, paths
NASTY = st.sampled_from(
    [
        *("\0", "\r", "\x0b", "\x85", "\u2028", "\ufeff", "\u202e", "\ud800", "e\u0301", "😀", '"', '""', " "),
        *("=1+1", "@SUM(A1)", "../", "~", "$x$", "<b>", "[a](b)", "![](http://x)", ":red[x]", "`", "%s", "{}"),
        *("nan", "inf", "-inf", "1e999", "9" * 400, "NULL"),
    ]
)
text = st.lists(st.text(max_size=6) | NASTY, max_size=5).map("".join)
codes = st.sampled_from(["eng_Latn", "deu_Latn", "deu", "de", "zho_Hans", "label", "id", "ENG_LATN", "eng-deu"]) | text
encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])


def encoded(content: str, encoding: str) -> bytes:
    return content.encode(encoding, "replace" if encoding != "utf-8" else "surrogatepass")


@st.composite
def tables(draw, headings=codes, cells=text):
    """Bytes of a CSV or TSV, as a program writes it, or with rows of any length."""
    width = draw(st.integers(0, 5))
    rows = [draw(st.lists(headings, min_size=width, max_size=width))]
    for _ in range(draw(st.integers(0, 5))):
        length = width if draw(st.booleans()) else draw(st.integers(0, 7))
        rows.append(draw(st.lists(cells, min_size=length, max_size=length)))
    delimiter = draw(st.sampled_from([",", "\t", ";"]))
    if draw(st.booleans()):
        out = io.StringIO()
        csv.writer(
            out, delimiter=delimiter, quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
        ).writerows(rows)
        content = out.getvalue()
    else:
        content = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(delimiter.join(row) for row in rows)
    return encoded(content, draw(encodings))


@st.composite
def parquets(draw):
    """Bytes of a Parquet file of some kind of column, perhaps damaged."""
    kinds = {
        "text": st.lists(st.text(st.characters(codec="utf-8"), max_size=5) | st.none(), min_size=3, max_size=3),
        "number": st.lists(st.integers(-5, 5), min_size=3, max_size=3),
        "bytes": st.lists(st.binary(max_size=4), min_size=3, max_size=3),
        "list": st.just([["a"], [], None]),
        "struct": st.just([{"a": 1}, None, {"a": 2}]),
    }
    names = draw(
        st.lists(st.sampled_from(["eng_Latn", "deu_Latn", "label", "iso_639_3", "text", "id", "x"]), unique=True)
    )
    frame = pd.DataFrame({name: draw(kinds[draw(st.sampled_from(sorted(kinds)))]) for name in names})
    out = io.BytesIO()
    frame.to_parquet(out)
    return draw(damaged(st.just(out.getvalue())))


@st.composite
def damaged(draw, contents):
    """Bytes as they are, cut off, or with some of them changed."""
    content = bytearray(draw(contents))
    if draw(st.booleans()):
        return bytes(content)
    content = content[: draw(st.integers(0, len(content)))]
    for _ in range(draw(st.integers(0, 4))):
        if content:
            content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


OFTEN = (
    *("eng_Latn.txt", "deu_Latn.txt", "deu.dev", "deu_Latn.devtest", "labels.txt", "a.csv", "a.tsv", "eng-deu.tsv"),
    *("README.md", "a.zip"),
)
file_names = st.sampled_from(OFTEN) | text.map(lambda name: f"{name}.txt")
some_bytes = st.binary(max_size=60) | damaged(tables()) | st.tuples(text, encodings).map(lambda given: encoded(*given))


def read_and_select(files, pivot):
    """A corpus, checked, or None after one of the project's errors in one line."""
    try:
        raw = reading.read_uploads(files)
        corpus = selection.select(raw, pivot)
    except NeuronXAError as error:
        assert "\n" not in str(error)
        return
    assert all(len(lines) == len(corpus.lines) for lines in corpus.texts.values())
    assert corpus.n_sentences >= 2


@fuzz
@given(st.lists(st.tuples(file_names, some_bytes), max_size=4), codes)
def test_uploaded_corpora(files, pivot):
    read_and_select(files, pivot)


@settings(fuzz, max_examples=round(settings.get_profile("fuzz").max_examples / 25) or 3)
@given(parquets() | some_bytes, codes)
def test_uploaded_parquet_files(content, pivot):
    """Each is read in a process of its own, which takes its time."""
    read_and_select([("a.parquet", content)], pivot)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
results = st.fixed_dictionaries(
    {},
    optional={
        "results": json_values
        | st.dictionaries(
            st.sampled_from(["belebele_deu_Latn", "xnli_de", "arc_de", "m"]),
            st.dictionaries(st.sampled_from(["acc,none", "acc_stderr,none", "acc", "alias"]), json_values, max_size=3),
            max_size=3,
        ),
        "config": json_values,
        "model_name": json_values,
        "n-samples": json_values,
        "group_subtasks": json_values,
        "versions": json_values,
    },
).map(lambda content: json.dumps(content).encode())
score_cells = (
    st.floats().map(str) | st.integers(-200, 200).map(str) | st.sampled_from(["12,5", "50 %", "0.5±0.1", "-"]) | text
)
score_headings = (
    st.sampled_from(["language", "task", "model", "metric", "score", "stderr", "n", "deu_Latn", "fra"]) | text
)
score_bytes = st.binary(max_size=40) | damaged(tables(score_headings, score_cells | codes)) | damaged(results)


@fuzz
@given(st.sampled_from(["a.csv", "a.tsv", "results_1.json", "a.json", "eng-deu.tsv", "a.txt"]) | text, score_bytes)
def test_score_tables(name, content):
    try:
        scores = score_files.read_file(name, content)
        again = score_files.read_file("a.csv", scores.to_csv().encode("utf-8", "surrogatepass"))
    except NeuronXAError as error:
        assert isinstance(error, ScoresError)
        return
    assert len(again) == len(scores)


setting_values = (
    st.integers(-5, 10**12) | st.floats() | st.booleans() | text | st.lists(text | st.integers(), max_size=3)
)
sections = {section: list(field.annotation.model_fields) for section, field in host.Settings.model_fields.items()}
documents = st.dictionaries(
    st.sampled_from(sorted(sections)) | text,
    st.dictionaries(
        st.sampled_from(sorted({k for keys in sections.values() for k in keys})) | text, setting_values, max_size=3
    )
    | setting_values,
    max_size=3,
)


def toml(document) -> str:
    """What a person might have typed for it: not always TOML."""
    lines = []
    for section, keys in document.items():
        lines.append(f"[{section}]")
        lines += (
            [f"{key} = {json.dumps(value)}" for key, value in keys.items()] if isinstance(keys, dict) else [str(keys)]
        )
    return "\n".join(lines)


queries = st.fixed_dictionaries(
    {},
    optional={
        **{
            name: st.sampled_from(sorted(CHOICES.get(name, ("demo", "eng_Latn")))) | text | NASTY
            for name in Experiment.__dataclass_fields__
        },
        "sentences": st.integers(-5, 10**10).map(str) | text,
        "seed": st.integers(-5, 10**10).map(str) | text,
        "languages": st.lists(codes, max_size=4).map(",".join),
        "model": st.sampled_from(["demo", "/etc", "../../etc", "~root", "hub/id@x", "a" * 5000, "file:///etc"]) | text,
        "corpus": st.sampled_from(["demo", "/etc/passwd", "../..", "~", "hub:a/b", "hub:..", "\0"]) | text,
    },
)


@fuzz
@given(documents.map(toml) | text, queries)
def test_settings_and_what_links_ask_of_them(tmp_path_factory, content, query):
    file = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        allowed = host.read(file)
    except NeuronXAError as error:
        assert str(file) in str(error)
        allowed = host.Settings()
    try:
        experiment = Experiment.from_query(query)
        assert Experiment.from_query(experiment.to_query()) == experiment
        assert json.dumps(asdict(experiment))
        allowed.check(experiment)
    except NeuronXAError:
        return
    for place, folders in ((experiment.model, allowed.models.folders), (experiment.corpus, allowed.corpora.folders)):
        if place != "demo" and folders == ():
            assert not Path(place).is_absolute()


def cases(share: float) -> int:
    """How many of a kind that takes long."""
    return max(4, round(settings.get_profile("fuzz").max_examples * share))


def test_the_command_line_ends_with_a_documented_status_and_one_line(tmp_path, capsys):
    """Corpora that are mostly readable, so that every stage is reached."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = st.lists(text, min_size=2, max_size=4).map("\n".join)

    @settings(max_examples=cases(0.25), deadline=None)
    @given(
        st.dictionaries(st.sampled_from(["eng_Latn", "deu_Latn", "fra_Latn"]), lines, min_size=1),
        st.sampled_from(["eng_Latn", "eng", "xx", ""]),
        st.sampled_from(
            [[], ["--sentences", "2"], ["--sentences", "0"], ["--languages", "deu_Latn"], ["--dtype", "x"]]
        ),
    )
    def one(texts, pivot, more):
        for old in corpus.iterdir():
            old.unlink()
        for code, content in texts.items():
            (corpus / f"{code}.txt").write_bytes(content.encode("utf-8", "surrogatepass"))
        arguments = ["score", "--model", "demo", "--corpus", str(corpus), "--pivot", pivot, "--device", "cpu", *more]
        try:
            status = main([*arguments, "--cache-dir", str(tmp_path / "cache"), "--out", str(tmp_path / "out.csv")])
        except SystemExit as left:  # argparse
            status = left.code
        said = capsys.readouterr().err
        assert status in (0, 2)
        assert "Traceback" not in said
        if status == 2:
            assert "error: " in said.splitlines()[-1]

    one()


PAGES = sorted(f"pages/{name}" for name in ("run", "alignment", "overlap", "microscope", "downstream", "admin"))


@pytest.mark.full
@pytest.mark.parametrize("page", ["streamlit_app", *PAGES])
def test_pages_show_no_traceback_whatever_a_link_says(page, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    monkeypatch.setenv("NEURONXA_CACHE_DIR", str(tmp_path))
    store = Store()
    compute_missing(make_plan(Experiment(sentences=3, languages=("deu_Latn",)), store), store, ModelPool())
    store.close()
    keys = ["view", "layer", "overlap_view", "downstream_view", "neuron_layer", "neuron_number", "alignment_state"]
    widgets = st.dictionaries(
        st.sampled_from(keys), text | st.integers(-9, 10**9).map(str) | st.just("Sentences"), max_size=3
    )

    @settings(max_examples=cases(0.05), deadline=None)
    @given(queries, widgets)
    def one(query, more):
        small = {"sentences": "3", "languages": "deu_Latn"}  # where nothing else is said, what is computed
        test = AppTest.from_file(str(ROOT / f"{page}.py"), default_timeout=120)
        if page != "streamlit_app":  # which reads the link itself
            try:
                test.session_state["experiment"] = Experiment.from_query({**small, **query})
            except NeuronXAError:
                test.session_state["experiment"] = Experiment(sentences=3, languages=("deu_Latn",))
        for name, value in {**query, **more}.items():
            test.query_params[name] = value.encode("utf-8", "replace").decode()
        test.run()
        assert not test.exception, [box.value for box in test.exception]
        assert all("Traceback" not in box.value for box in test.error)

    one()
    assert os.environ["NEURONXA_CACHE_DIR"] == str(tmp_path)
