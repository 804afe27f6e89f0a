"""Labelled sentences as XNLI's files have them, and what is wrong with a file said in a sentence."""

import json
import sys
import types
from pathlib import Path

import pytest

from neuronxa_core.errors import CorpusError
from neuronxa_core.host import limits
from neuronxa_core.tasks.labelled_pairs import read

HEAD = "language\tgold_label\tsentence1_parse\tsentence1\tsentence2\tpairID"
ROWS = [
    'en\tneutral\t\tHe said "no\tHe left.\t7',
    "en\tentailment\t\tIt is.\tIt be.\t8",
    "en\t-\t\tOdd.\tEven.\t9",
    "de\tentailment\t\tEs ist.\tEs sei.\t8",
    "de\tneutral\t\tEr sagte\tEr ging.\t7",
    "de\tneutral\t\tSeltsam.\tGerade.\t9",
    "de\tneutral\t\tMehr.\tWeniger.\t10",
]
TEXTS = {
    "en": (('He said "no', "It is."), ("He left.", "It be.")),
    "de": (("Er sagte", "Es ist."), ("Er ging.", "Es sei.")),
}


def put(folder: Path, **files: str | bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def tsv(*rows: str, head: str = HEAD) -> str:
    return "\n".join([head, *rows]) + "\n"


def jsonl(*rows: str, drop: tuple[str, ...] = ()) -> str:
    records = (dict(zip(HEAD.split("\t"), row.split("\t"), strict=True)) for row in rows)
    return "".join(json.dumps({k: v for k, v in one.items() if k not in drop}) + "\n" for one in records)


@pytest.mark.parametrize(
    "files",
    [
        {"xnli__tsv": tsv(*ROWS)},
        {"xnli__jsonl": jsonl(*ROWS)},
        {
            "xnli__a__en__tsv": tsv(*ROWS[:3]),
            "xnli__x__de__jsonl": jsonl(*ROWS[3:], drop=("language",)),
            "readme__md": "x",
        },
    ],
)
def test_files_of_xnlis_form_are_one_whatever_their_order(files, tmp_path):
    folder = put(tmp_path / "x", **files)
    sources = [folder, folder / "xnli.tsv"] if (folder / "xnli.tsv").exists() else [folder]
    for path in sources:
        found = read(path)
        assert found.texts == TEXTS
        assert found.labels == ("neutral", "entailment")
        assert found.notes == (
            "Items left aside, since not every language has them: 1 of 4.",
            "Items left aside, since they have no label: 1 of 4.",
        )
    assert list(read(folder, ["de"]).texts) == ["de"]


def test_single_sentences_and_rows_without_an_id_go_by_their_order(tmp_path):
    head = "label\tsentence"
    folder = put(tmp_path, en__tsv=tsv("1\tgood", "0\tbad", head=head), de__tsv=tsv("1\tgut", "0\tschlecht", head=head))
    found = read(folder)
    assert (found.texts, found.labels) == ({"de": (("gut", "schlecht"),), "en": (("good", "bad"),)}, ("1", "0"))
    put(tmp_path, de__tsv=tsv("1\tgut", head=head))
    with pytest.raises(CorpusError, match="en has 2 rows and de 1; add a column pairID or id"):
        read(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "x.tsv is empty"),
        (HEAD, "x.tsv has headings but no rows"),
        ("sentence1\tsentence2\na\tb\n", "x.tsv has no column of labels; its columns are sentence1, sentence2; name"),
        ("label\tsentence1\na\tb\n", "x.tsv has no column of sentences;"),
        ("language\ten\na\tb\n", "x.tsv has no column of labels and sentences;"),
        (tsv(ROWS[0], "de\tneutral"), "x.tsv, line 3: 2 cells where there are 6 headings"),
        (tsv(ROWS[0], "", ROWS[1]), "x.tsv, line 3: 1 cell where"),
        (tsv("en\tneutral\t\ta\t \t7"), "x.tsv, line 2: sentence2 is empty; fill it in"),
        (tsv("\tneutral\t\ta\tb\t7"), "x.tsv, line 2: the language is empty"),
        (tsv(*ROWS[:2], ROWS[0]), "x.tsv, line 4: en has item 7 twice"),
        (tsv(*ROWS[:2], "de\tneutral\t\ta\tb\t8"), "x.tsv, line 4: the label is 'neutral' where x.tsv, line 3 of"),
        (tsv(*ROWS[:2], "de\tneutral\t\ta\tb\t17"), "x.tsv has no item with a label in every one of en, de"),
        (tsv(ROWS[2]), "x.tsv has no item with a label"),
        (b"\xff\xfe", "x.tsv, line 1: not UTF-8"),
        (tsv(ROWS[0]).encode() + b"\xe4", "x.tsv, line 3: not UTF-8"),
        (b"a\x00b\n", "x.tsv, line 1: a NUL byte"),
    ],
)
def test_a_malformed_table_is_refused(text, said, tmp_path):
    refused(put(tmp_path / "x", x__tsv=text) / "x.tsv", said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "x.jsonl, line 1 is no JSON object"),
        ("[1]\n", "x.jsonl, line 1 is no JSON object"),
        ('{"label": 1, "sentence": "\\ud800"}\n', "x.jsonl, line 1 is no JSON object"),  # half a character
        (jsonl(ROWS[0]) + '{"language": "de"}\n', "x.jsonl, line 2: sentence1 is empty"),
        ('{"label": 1, "sentence": ["a"]}\n', 'x.jsonl, line 1: sentence is ["a"], which is no text'),
    ],
)
def test_malformed_json_lines_are_refused(text, said, tmp_path):
    refused(put(tmp_path / "x", x__jsonl=text) / "x.jsonl", said)


def test_files_that_do_not_fit_each_other_are_refused(tmp_path, monkeypatch):
    refused(put(tmp_path / "none", readme__md="x"), "holds no .tsv or .jsonl file")
    refused(tmp_path / "absent", "cannot be read: No such file")
    refused(put(tmp_path / "two", a__tsv=tsv(*ROWS), b__tsv=tsv(*ROWS)), "en is in both a.tsv and b.tsv; give one")
    single = tsv("neutral\tEr sagte\t7", head="label\tsentence\tid")
    refused(put(tmp_path / "mixed", a__tsv=tsv(ROWS[0]), de__tsv=single), "en and de differ: one has pairs of")
    with pytest.raises(CorpusError, match="two has no language fr; there are en, de"):
        read(put(tmp_path / "two", b__tsv=tsv(ROWS[0].replace("en", "xx", 1))), ["fr"])
    monkeypatch.setattr(limits, "CORPUS_FILE_BYTES", 10)
    refused(tmp_path / "mixed", "is larger than 0 MiB")


def refused(path: Path, said: str) -> None:
    with pytest.raises(CorpusError) as error:
        read(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


class HubRows(list):
    """What load_dataset gives, as far as it is read."""

    column_names = ("premise", "hypothesis", "label")
    features = types.MappingProxyType({"label": types.SimpleNamespace(names=["entailment", "neutral"])})


TOLD = {"language": ["en", "de"], "translation": ["He left.", "Er ging."]}


@pytest.mark.parametrize(
    ("source", "row", "found"),
    [
        (
            "hub:facebook/xnli:all_languages",
            {"premise": {"en": "He said", "de": "Er sagte"}, "hypothesis": TOLD},
            {"en": (("He said",), ("He left.",)), "de": (("Er sagte",), ("Er ging.",))},
        ),
        (
            "hub:facebook/xnli:en:validation",
            {"premise": "He said", "hypothesis": "He left."},
            {"en": (("He said",), ("He left.",))},
        ),
        ("hub:a/b", {"language": "sw", "sentence": "Habari"}, {"sw": (("Habari",),)}),
    ],
)
def test_a_data_set_of_the_hub_is_read_as_a_file(source, row, found, monkeypatch):
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        return HubRows([row | {"label": 1}, row | {"label": -1}])

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    read_back = read(Path(source))
    assert (read_back.texts, read_back.labels) == (found, ("neutral",))
    assert read_back.notes == ("Items left aside, since they have no label: 1 of 2.",)
    name, config, split = [*source.removeprefix("hub:").split(":"), None, None][:3]
    assert asked == [((name,), {"name": config, "split": split or "test", "revision": None})]


def test_what_a_data_set_of_the_hub_lacks_is_one_sentence(monkeypatch):
    rows = HubRows([{"premise": {"en": "He said", "de": "Er sagte"}, "hypothesis": {"en": "He left."}, "label": 0}])
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=lambda *_a, **_k: rows))
    with pytest.raises(CorpusError, match="a/b, row 1: hypothesis is empty; fill it in"):
        read(Path("hub:a/b"))
    with pytest.raises(CorpusError, match="too many parts"):
        read(Path("hub:a/b:c:d:e"))
