"""Task scores: read them from wherever they lie, tidy them, match them with the languages of a corpus.

    scores = read_scores("results/")                     lm-evaluation-harness results, or tables
    one = scores.select(model=model, task=task, metric=metric)
    joined = join(one, corpus.languages, pivot="eng_Latn")

One row is one score of one model in one task and language. Shares (accuracy, F1, exact match ...) are in [0, 1]: a
column of percentages is divided by 100, and a note says so. Other metrics (perplexity, BLEU ...) keep their unit.
Whatever is left aside is said in the notes. Nothing here computes a statistic.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import math
import re
import string
from collections import Counter, abc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import langcodes
import pandas as pd

from neuronxa_core import languages, limits
from neuronxa_core.corpora import CODES_THAT_OFTEN_HEAD_NO_TEXT
from neuronxa_core.errors import ScoresError
from neuronxa_core.wording import some_of

FACTS = Path(__file__).with_name("facts")
COLUMNS = ("model", "task", "metric", "language", "score", "stderr", "n", "source")
KEY = ("model", "task", "metric", "language")
PAIR_COLUMNS = ("model", "task", "metric", "language", "other", "score", "source")
TABLE_SUFFIXES = ("csv", "tsv", "tab", "txt")
SAME = 1e-9

Layout = Literal["long", "wide languages in columns", "wide tasks in columns"]
Heads = Literal["task", "model", "metric"]

# what a heading says in lower case, in order of preference where a table has several
HEADINGS: dict[str, tuple[str, ...]] = {
    "language": ("language code", "lang code", "iso code", "iso", "code", "language", "lang", "languages", "locale"),
    "model": ("model", "model name", "model id", "models", "checkpoint", "system"),
    "task": ("task", "task name", "tasks", "benchmark", "dataset", "benchmark name", "dataset name"),
    "metric": ("metric", "metric name", "metrics", "measure"),
    "score": ("score", "value", "accuracy", "acc", "scores", "result", "performance", "acc norm", "exact match", "f1"),
    "stderr": ("stderr", "std err", "standard error", "se", "sem", "std error", "acc stderr", "score stderr"),
    "n": ("n", "n samples", "samples", "num samples", "examples", "n examples", "count", "size"),
    "source": ("source", "url", "reference"),
}
GENERAL_SCORES = ("score", "value", "scores", "result", "performance")
SCORES_OF_PAIRS = ("rankc", "consistency", *HEADINGS["score"])
NOT_SHARES = re.compile(
    r"perplexity|ppl|bits|loss|likelihood|logprob|bleu|chrf|\bter\b|rouge|comet|mcc|matthews|brier|elo", re.IGNORECASE
)
ACCURACY = re.compile(r"acc|exact.?match|\bem\b", re.IGNORECASE)
MODEL_NAME = re.compile(
    r"/|\d[bm]\b|llama|qwen|mistral|gemma|bloom|glm|olmo|gpt|bert|xlm|mt[05]-|opt-|falcon|deepseek", re.IGNORECASE
)
AGGREGATES = frozenset(
    {"all", "avg", "average", "macro", "max", "mean", "median", "micro", "min", "overall", "std", "sum", "total"}
)
MISSING = frozenset({"", "-", "--", "–", "—", ".", "na", "n/a", "nan", "none", "null", "?"})

# Names of tasks of the harness. Codes of countries that stand for their language, as in xwinograd_jp:
LANGUAGE_OF_COUNTRY = {"cn": "zh", "cz": "cs", "dk": "da", "gr": "el", "jp": "ja", "ua": "uk", "vn": "vi"}
# two parts that are one language: elsewhere the first may end the task's name, as in lambada_openai_mt_de and m_arc_de
LOCALES = re.compile(
    r"(?:ar_xy|bn_bd|de_(?:at|ch|de)|en_(?:gb|us)|es_(?:419|es|la|mx)|fr_(?:ca|fr)|hi_in|id_id|it_it|ja_jp|ko_kr"
    r"|pt_(?:br|pt)|sw_ke|yo_ng|zh_(?:cn|hk|sg|tw))"
)
# what may follow the language, as in truthfulqa_de_mc1, mgsm_de_direct and arc_de_challenge
QUALIFIER = re.compile(
    r"_(mc[12]|gen|direct|native[-_]cot|en[-_]cot|cot|native|few_shot_(?:en|og)|prompt_\d+|challenge|easy|m?cf|hybrid"
    r"|\d+[-_]?shot)$"
)
WITH_SUBJECTS = re.compile(r"(global_mmlu_full|global_mmlu|include_base_44|mmlu_prox_lite|mmlu_prox)_(.+)")
# translation has two languages; the codes at the end of AGIEval's names are sections of exams (lsat_ar)
NO_LANGUAGE_TASKS = re.compile(r"wmt|flores|iwslt|opus|ntrex|mafand|agieval|tatoeba", re.IGNORECASE)
MULTILINGUAL_TASKS = re.compile(
    r"(?:^|_)(?:arc|belebele|xnli|xcopa|xstory_?cloze|paws-?x?|xwinograd|xquad|mlqa|mgsm|m?mmlu|hellaswag|truthfulqa"
    r"|lambada_openai_mt|tydiqa|sib200|xlsum|multiblimp|bmlama|afri\w+)(?=_|$)"
)
# codes that are also words or abbreviations at the end of the name of a task in one language
CODES_THAT_ARE_WORDS = re.compile(
    r"a[mns]|be|c[os]|fin|h[eo]|hat|her|i[dnst]|l[ao]|lit|m[lrty]|may|n[ao]|o[mr]|pa|per|pol|run|s[ceo]|sun|to"
)
# an abbreviation of machine translation, so Maltese only beside other languages
MACHINE_TRANSLATED = "mt"

# names in use beside those of `languages.name`
OTHER_NAMES = {
    "brazilian portuguese": "pt_BR",
    "castilian": "es",
    "european portuguese": "pt_PT",
    "farsi": "fa",
    "haitian": "ht",
    "kurmanji": "kmr_Latn",
    "mandarin": "zh",
    "mandarin chinese": "zh",
    "modern greek": "el",
    "north macedonian": "mk",
    "norwegian bokmal": "nb",
    "oriya": "or",
    "simplified chinese": "zh_Hans",
    "slovene": "sl",
    "sorani": "ckb",
    "traditional chinese": "zh_Hant",
    "western persian": "pes_Arab",
}
# the member meant by a macrolanguage's code where a corpus has several
USUAL_MEMBER = {"fas": "pes"}

_NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[+-]?\d{1,4})?"
_CELL = re.compile(rf"({_NUMBER})\s*(%?)(?:\s*(?:±|\+/-|\+-)\s*({_NUMBER})\s*%?)?", re.IGNORECASE | re.ASCII)
_THOUSANDS = re.compile(r"\d{1,3}(?:[ ,.]\d{3})+", re.ASCII)
_SCRIPT_FORM = re.compile(r"[a-z]{2,3}[-_][a-z]{4}(?:[-_](?:[a-z0-9]{5,8}|\d[a-z0-9]{3}))?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, eq=False)
class TaskScores:
    """Scores, one row each.

    table: columns `COLUMNS`. model, task, metric, language and source are text, score is finite, stderr (in the unit of
    score) and n (how many items) are NaN where unknown; no two rows agree in model, task, metric and language.
    notes: what was left aside, converted or merged, in sentences.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def groups(self) -> pd.DataFrame:
        """Every model, task and metric there is, in order; `languages` is how many of them have a score."""
        grouped = self.table.groupby(list(KEY[:3]), sort=False, as_index=False).size()
        return grouped.rename(columns={"size": "languages"})

    def select(self, *, model: str | None = None, task: str | None = None, metric: str | None = None) -> TaskScores:
        """The rows of a model, a task, a metric, any for None. Raises ScoresError where there is none."""
        table = self.table
        for column, value in (("model", model), ("task", task), ("metric", metric)):
            if value is not None:
                known = list(dict.fromkeys(table[column]))
                table = table[table[column] == value]
                if table.empty:
                    raise ScoresError(f"There are no scores of the {column} {value}; choose one of {_some(known)}")
        return replace(self, table=table.reset_index(drop=True))

    def to_csv(self) -> str:
        """The table as CSV, which `read_scores` reads back to the same values."""
        return self.table.to_csv(index=False, lineterminator="\n")


@dataclass(frozen=True)
class Mapping:
    """Which column of a table plays which role, None for no column.

    "long": one row a score; score is needed, and language, or else a task whose name ends in one (xnli_de).
    "wide languages in columns": `columns` are headed by languages. "wide tasks in columns": one row a language;
    `columns` are headed by tasks, or by what `heads` says.
    """

    layout: Layout
    language: str | None = None
    model: str | None = None
    task: str | None = None
    metric: str | None = None
    score: str | None = None
    stderr: str | None = None
    n: str | None = None
    source: str | None = None
    columns: tuple[str, ...] = ()
    heads: Heads = "task"


@dataclass(frozen=True, eq=False)
class Consistency:
    """How consistent a model's answers are between two languages, such as RankC on BMLAMA; one row a pair.

    table: columns `PAIR_COLUMNS`; language and other are the pair in the order of the source. notes: as in TaskScores.
    """

    table: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def languages(self) -> tuple[str, ...]:
        """Every language of a pair, in order of appearance."""
        return tuple(dict.fromkeys([*self.table["language"], *self.table["other"]]))

    def consistency_with(self, pivot: str) -> TaskScores:
        """Each language's value with the pivot, as scores; the metric's name gets "with <pivot>".

        Where both directions are given and differ, their mean, and a note. The pivot with itself is left aside.
        Raises ScoresError where the pivot is unknown or may be several of the languages.
        """
        found = languages.matches(code_of(pivot) or pivot, self.languages)
        if len(found) != 1:
            reason = f"{pivot} may be {' or '.join(found)}" if found else f"{pivot} is none of the languages"
            raise ScoresError(f"{reason}; choose one of {_some(self.languages)}")
        (pivot,) = found
        rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row in self.table.to_dict("records"):
            pair = {row["language"], row["other"]}
            if pivot in pair and len(pair) == 2:
                (other,) = pair - {pivot}
                score = {**row, "metric": f"{row['metric']} with {pivot}", "language": other, "stderr": None, "n": None}
                rows.setdefault(tuple(score[column] for column in KEY), []).append(score)
        if not rows:
            raise ScoresError(f"No other language has a value with {pivot}; give a table with more pairs")
        differing = [key[3] for key, both in rows.items() if _spread(row["score"] for row in both) > SAME]
        notes = list(self.notes)
        if differing:
            notes.append(f"The two directions differ, so their mean with {pivot} is taken: {_some(differing)}.")
        means = [{**both[0], "score": math.fsum(row["score"] for row in both) / len(both)} for both in rows.values()]
        return _tidy(means, notes)


@dataclass(frozen=True, eq=False)
class Joined:
    """Scores of one model, task and metric, matched with the languages of a corpus.

    pairs: the rows of the scores that could be matched, indexed by the corpus's code, in the corpus's order; the pivot
    is among them where it has a score. unmatched_scores: languages of the scores without a counterpart.
    unmatched_languages: codes of the corpus without a score. ambiguous: a score's language -> the codes of the corpus
    it may mean; such scores are not used. notes: the same in sentences, and matches that had to be inferred.
    """

    pivot: str
    pairs: pd.DataFrame
    unmatched_scores: tuple[str, ...]
    unmatched_languages: tuple[str, ...]
    ambiguous: abc.Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]

    @property
    def pivot_score(self) -> float:
        """The pivot's own score, NaN where there is none."""
        return float(self.pairs["score"].get(self.pivot, math.nan))


# Ways in ----------------------------------------------------------------------------------------------------------


def read_scores(
    source: str | Path | Sequence[str | Path], *, model: str = "", task: str = "", metric: str = ""
) -> TaskScores:
    """Read scores from files and folders.

    - `.json`: results of the lm-evaluation-harness, old and new; see `harness_scores`.
    - `.csv`, `.tsv`, `.tab`, `.txt`: a table, see `read_frame`, in the layout that `guess_mapping` finds.
    - a folder: every harness result in it and its folders, whatever its name; where there is none, every table in it.

    model, task, metric: names for what a table does not say; the file's name without suffix otherwise, and "score".

    Raises ScoresError for what is missing, too large, malformed or no score, and for two scores of one model, task,
    metric and language that differ.
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    if not sources or not all(str(one).strip() for one in sources):
        raise ScoresError("No scores were named; give a file or a folder")
    return merge(*(_read_source(_path(one), model, task, metric) for one in sources))


def read_scores_or_pairs(source: str | Path, pivot: str) -> TaskScores:
    """`read_scores`, and of a table of language pairs (see `read_consistency`) each language's value with the pivot."""
    path = _path(source)
    if is_file(path) and _suffix(path.name) in TABLE_SUFFIXES:
        frame = read_frame(path.name, read_content(path))
        if is_consistency(frame):
            return consistency(frame, source=path.name).consistency_with(pivot)
    return read_scores(source)


def read_file(name: str, data: bytes, *, model: str = "", task: str = "", metric: str = "") -> TaskScores:
    """Read one file, (name, content), as `read_scores` does: for uploads. Raises ScoresError as it does."""
    name = _printable(name)
    _refuse_large(name, len(data))
    if _suffix(name) == "json":
        return harness_scores(name, data, model=model)
    frame = read_frame(name, data)
    return apply_mapping(frame, guess_mapping(frame), source=name, model=model, task=task, metric=metric)


def published() -> TaskScores:
    """The bundled scores, as published; `source` says where each can be read. Facts only, see neuronxa_core/facts."""
    return read_scores(FACTS)


def from_measure(
    model: str,
    task: str,
    metric: str,
    scores: abc.Mapping[str, tuple[float, float | None, int | None]],
    source: str,
) -> TaskScores:
    """Scores that were measured here: {language: (score, stderr or None, n or None)}.

    Raises ScoresError for an empty name, a score that is no finite number, a negative stderr or an n below 1.
    """
    rows = [
        {"model": model, "task": task, "metric": metric, "language": code, "source": source}
        | dict(zip(("score", "stderr", "n"), values, strict=True))
        for code, values in scores.items()
    ]
    return _tidy(rows, ())


def merge(*scores: TaskScores) -> TaskScores:
    """All rows of all, equal ones once. Raises ScoresError where two of one model, task, metric and language differ."""
    if len(scores) == 1:
        return scores[0]
    rows = itertools.chain.from_iterable(one.table.to_dict("records") for one in scores)
    return _tidy(rows, dict.fromkeys(note for one in scores for note in one.notes))


def _path(source: str | Path) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError as error:  # ~nobody
        raise ScoresError(f"{source!s:.200} cannot be read: {error}") from error


def _read_source(path: Path, model: str, task: str, metric: str) -> TaskScores:
    try:
        if path.is_dir():
            return _read_folder(path, model, task, metric)
        if path.is_file():
            return read_file(path.name, read_content(path), model=model, task=task, metric=metric)
    except OSError as error:
        raise ScoresError(f"{path} cannot be read: {error}") from error
    raise ScoresError(f"There is no file or folder {path}; give a table or results of the lm-evaluation-harness")


def is_file(path: Path) -> bool:
    """Whether a path is that of a file; False where it may not be looked at."""
    try:
        return path.is_file()
    except OSError:
        return False


def read_content(path: Path) -> bytes:
    """A file's bytes. Raises ScoresError where it is too large or cannot be read."""
    try:
        _refuse_large(path.name, path.stat().st_size)
        data = limits.first_bytes(path, limits.SCORES_FILE_BYTES)
        _refuse_large(path.name, len(data))
        return data
    except OSError as error:
        raise ScoresError(f"{path} cannot be read: {error}") from error


def _read_folder(folder: Path, model: str, task: str, metric: str) -> TaskScores:
    most = limits.SCORES_FILES
    some_results = itertools.islice((path for path in folder.rglob("*.json") if path.is_file()), most + 1)
    of_tables = (path for path in folder.iterdir() if _suffix(path.name) in TABLE_SUFFIXES and path.is_file())
    results, tables = sorted(some_results), sorted(itertools.islice(of_tables, most + 1))
    if len(results) + len(tables) > most:
        raise ScoresError(f"{folder} holds more than {most} files; give a folder with fewer")
    size = sum(path.stat().st_size for path in (*results, *tables))
    if size > limits.SCORES_BYTES:
        raise ScoresError(
            f"the files of {folder} have {size / limits.MIB:,.0f} MiB together; at most "
            f"{limits.SCORES_BYTES // limits.MIB} MiB are read"
        )
    found: list[TaskScores] = []
    problems: list[str] = []
    for path in results:
        try:
            found.append(harness_scores(str(path.relative_to(folder)), read_content(path), model=model))
        except ScoresError as error:
            problems.append(str(error))
    if found:
        notes = [f"Not read: {problem}." for problem in problems]
        if tables:
            notes.append(f"Left aside beside the results: {_some(path.name for path in tables)}.")
        merged = merge(*found)
        return replace(merged, notes=(*merged.notes, *notes))
    if tables:
        return merge(*(read_file(p.name, read_content(p), model=model, task=task, metric=metric) for p in tables))
    if problems:
        raise ScoresError("; ".join(problems[:3]))
    raise ScoresError(
        f"{folder} holds no scores; it needs results_*.json of the lm-evaluation-harness, or a .csv table"
    )


def _refuse_large(name: str, size: int) -> None:
    if size > limits.SCORES_FILE_BYTES:
        most = limits.SCORES_FILE_BYTES // limits.MIB
        raise ScoresError(f"{name} has {size / limits.MIB:.0f} MiB; at most {most} MiB are read")


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _stem(name: str) -> str:
    last = PurePosixPath(name).name
    return last.rpartition(".")[0] or last


def _printable(name: str) -> str:
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(letter for letter in last if letter.isprintable()) or "the file"


def _some(names: Iterable[str], most: int = 8) -> str:
    return some_of((f"{name:.80}" for name in names), most)


# Languages --------------------------------------------------------------------------------------------------------


def code_of(text: str) -> str:
    """The code in a cell or heading: itself where it is one, else that of an English name, "" where it is neither.

    "deu_Latn", "German", "German (deu_Latn)", "Chinese (Simplified)" -> "zh_Hans", "Portuguese (Brazil)" -> "pt_BR".
    Words for averages are none, though "all" is the code of Allar.
    """
    text = text.strip()
    return _code_of(text) if len(text) <= 80 else ""


@lru_cache(maxsize=8192)
def _code_of(text: str) -> str:
    if not re.search(r"[^\W\d_]", text) or not AGGREGATES.isdisjoint(re.split(r"\W+", text.lower())):
        return ""
    if languages.is_language_code(text):
        return text
    named, _, remark = (part.strip() for part in text.removesuffix(")").partition(" ("))
    code = _codes_of_names().get(named.lower(), "")
    for given in (remark.rpartition(" (")[2], named) if remark else ():
        # "Serbian (Lat)" gives no code, though lat is Latin
        if len(given) > 2 and languages.is_language_code(given) and (not code or _are_alike(given, code)):
            return given
    for part in ("script", "territory") if code and remark else ():
        try:
            return f"{code}_{getattr(langcodes.Language.find_name(part, remark, 'en'), part)}"
        except (ValueError, LookupError):
            continue
    return code


def _are_alike(code: str, other: str) -> bool:
    return bool(languages.matches(code, [other]) or languages.matches(other, [code]))


@lru_cache(maxsize=1)
def _codes_of_names() -> dict[str, str]:
    """{English name in lower case: the shortest code}, of two-letter codes and those of `languages.csv`."""
    with Path(languages.__file__).with_name("languages.csv").open(encoding="utf-8", newline="") as table:
        threes = [row["code3"] for row in csv.DictReader(table)]
    twos = ["".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=2)]
    known = [code for code in (*twos, *threes) if languages.is_language_code(code)]
    return {languages.name(code).lower(): code for code in reversed(known)} | OTHER_NAMES


# Tables -----------------------------------------------------------------------------------------------------------


def read_frame(name: str, data: bytes) -> pd.DataFrame:
    """A CSV, TSV or semicolon table as text cells, "" for an empty one; its first row are the headings.

    Text is UTF-8 or, with a byte order mark, UTF-16, as spreadsheets export it; the separator is the one of tab,
    semicolon and comma that splits the headings most. Empty rows and columns are dropped, a column without a heading
    is called "column <number>".

    Raises ScoresError for a workbook, for what is too large, no text, or no table, and for a heading given twice.
    """
    name = _printable(name)
    _refuse_large(name, len(data))
    text = _decoded(name, data)
    separator = re.match(r"sep=([,;\t])\r?\n", text)
    if separator:
        text = text[separator.end() :]
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    try:
        delimiter = (
            separator[1] if separator else max("\t;,", key=lambda d: len(next(csv.reader([first], delimiter=d), [])))
        )
        rows = _rows(name, text, delimiter)
    except csv.Error as error:
        raise ScoresError(f"{name} cannot be read as a table: {error}; export it as CSV once more") from error
    if not rows:
        raise ScoresError(f"{name} is empty; give a table with headings and scores")
    headings = [heading or f"column {number}" for number, heading in enumerate(rows[0], 1)]
    used = [any(row[i] for row in rows) for i in range(len(headings))]
    rows = [[cell for cell, is_used in zip(row, used, strict=True) if is_used] for row in rows[1:]]
    headings = [heading for heading, is_used in zip(headings, used, strict=True) if is_used]
    doubled = [heading for heading, count in Counter(headings).items() if count > 1]
    if doubled:
        raise ScoresError(f"{name} has more than one column {_some(doubled)}; name each column once")
    if not rows:
        raise ScoresError(f"{name} has headings but no rows; give a table with scores")
    return pd.DataFrame(rows, columns=headings, dtype=object)


def _decoded(name: str, data: bytes) -> str:
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ScoresError(f"{name} is a workbook, which is not read; in the spreadsheet, save the sheet as CSV (UTF-8)")
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScoresError(f"{name}, line {line}: not UTF-8; save the file as CSV (UTF-8)") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ScoresError(f"{name}, line {line}: a NUL byte, so this is no text; save the file as CSV (UTF-8)")
    return text


def _rows(name: str, text: str, delimiter: str) -> list[list[str]]:
    """The rows that are not empty, their cells stripped and as many as there are headings. Raises csv.Error."""
    rows: list[list[str]] = []
    width, reader = 0, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    for cells in reader:
        row = [" ".join(cell.split()) for cell in cells]
        while row and not row[-1]:
            row.pop()
        if not row:
            continue
        width = width or len(row)
        if len(row) > width:
            raise ScoresError(f"{name}, line {reader.line_num}: {len(row)} cells where there are {width} headings")
        if width > limits.CORPUS_COLUMNS or len(rows) * width > limits.SCORES_CELLS:
            raise ScoresError(
                f"{name} is too large; at most {limits.CORPUS_COLUMNS} columns and {limits.SCORES_CELLS} cells are read"
            )
        rows.append(row + [""] * (width - len(row)))
    return rows


def guess_mapping(frame: pd.DataFrame) -> Mapping:
    """The mapping that headings and cells suggest, for `apply_mapping`.

    Raises ScoresError where no language or no score can be found, and for a table of language pairs.
    """
    roles = _roles(frame)
    if is_consistency(frame):
        raise ScoresError(
            "This table has a score for each pair of languages; read it as a consistency table and choose a pivot"
        )
    context = {role: roles.get(role) for role in ("model", "task", "metric", "source")}
    language, score, task = roles.get("language"), roles.get("score"), roles.get("task")
    if language is None and task and score and _share(frame[task], lambda cell: task_language(cell) is not None) > 0.5:
        return Mapping("long", score=score, stderr=roles.get("stderr"), n=roles.get("n"), **context)
    if language is not None:
        taken = {language, *context.values(), roles.get("stderr"), roles.get("n")}
        numeric = [heading for heading in frame if heading not in taken and _holds_scores(frame, heading)]
        named = [heading for heading in numeric if _words(heading) in HEADINGS["score"]]
        if len(named) == 1:
            spread = {"stderr": roles.get("stderr"), "n": roles.get("n")}
            return Mapping("long", language=language, score=named[0], **spread, **context)
        columns = tuple(named or numeric)
        if not columns:
            raise ScoresError(f"No column of scores was found; the columns are {_some(frame)}; head one with: score")
        heads: Heads = "metric" if named else "task"
        if not named and 2 * sum(bool(MODEL_NAME.search(heading)) for heading in columns) > len(columns):
            heads = "model"
        return Mapping("wide tasks in columns", language=language, columns=columns, heads=heads, **context)
    columns = _columns_of_languages(frame, [heading for heading in frame if heading not in context.values()])
    if not columns:
        raise ScoresError(
            f"No languages were found, neither as headings nor in a column; the columns are {_some(frame)}; head the "
            "column of codes with: language"
        )
    if context["model"] is None and context["task"] is None:
        labels = [h for h in frame if h not in (*columns, *context.values()) and _share(frame[h], _is_number) < 0.5]
        if labels:
            is_model = _share(frame[labels[0]], lambda cell: bool(MODEL_NAME.search(cell))) > 0.5
            context["model" if is_model else "task"] = labels[0]
    return Mapping("wide languages in columns", columns=columns, **context)


def apply_mapping(
    frame: pd.DataFrame, mapping: Mapping, *, source: str, model: str = "", task: str = "", metric: str = ""
) -> TaskScores:
    """The scores of a table under a mapping.

    source: the file's name or an address, for rows that give none. model, task, metric: for rows that name none; by
    default the stem of source, and for the metric the heading of the scores unless that is a general word ("score").
    Rows whose language is none (Average), and empty cells, are left aside with a note.

    Raises ScoresError for a mapping that does not fit the table, a score that is no number, an accuracy outside
    [0, 100], contradicting scores, and where nothing is left.
    """
    _check_mapping(frame, mapping)
    source = source.strip() or "a table"
    defaults = {
        "model": model.strip() or _stem(source),
        "task": task.strip() or _stem(source),
        "metric": metric.strip(),
    }
    cells = _cells_of(frame, mapping)
    rows: list[dict[str, Any]] = []
    no_language: dict[str, None] = {}
    n_empty = 0
    for count, (label, heading, number, roles) in enumerate(cells):
        if not roles["language"]:
            no_language[label] = None
            continue
        parsed = _parsed(f"column {heading}, row {number}", roles.pop("score"))
        if parsed is None:
            n_empty += 1
            continue
        score, stderr, is_percent = parsed
        named = {role: roles.get(role) or defaults[role] for role in defaults}
        named["metric"] = named["metric"] or _metric_of(mapping)
        rows.append(
            {
                **named,
                "language": roles["language"],
                "score": score,
                "stderr": stderr if stderr is not None else _stderr(mapping.stderr, roles.get("stderr", "")),
                "n": _n(mapping.n, roles.get("n", "")),
                "source": roles.get("source") or source,
                "is percent": is_percent or "%" in (mapping.score or ""),
                "column": heading if mapping.layout == "wide tasks in columns" else named["metric"],
            }
        )
        if count > limits.SCORES_CELLS:
            raise ScoresError(f"{source} is too large; at most {limits.SCORES_CELLS} cells are read")
    if not rows:
        reason = f"it names no language: {_some(no_language)}" if no_language else "all its cells are empty"
        raise ScoresError(f"{source} holds no scores; {reason}")
    notes = []
    if no_language:
        notes.append(f"Left aside in {source}, since they name no language: {_some(no_language)}.")
    if n_empty:
        notes.append(f"Empty cells in {source}: {n_empty}.")
    unused = _unused(frame, mapping)
    if unused:
        notes.append(f"Columns of {source} left aside: {_some(unused)}.")
    return _tidy(_shares(rows, source, notes), notes)


def _roles(frame: pd.DataFrame) -> dict[str, str]:
    """{role: heading} by the headings, checked against the cells; the column of languages also by its cells alone."""
    checks = {
        "language": lambda heading: "lang" in heading.lower() or _share(frame[heading], code_of) > 0.5,
        "score": lambda heading: _holds_scores(frame, heading),
        "stderr": lambda heading: _share(frame[heading], _is_number) > 0.5,
        "n": lambda heading: _share(frame[heading], _is_number) > 0.5,
    }
    words = {_words(heading): heading for heading in reversed(list(frame))}
    roles: dict[str, str] = {}
    for role, known in HEADINGS.items():
        heading = next((words[w] for w in known if w in words and checks.get(role, bool)(words[w])), None)
        if heading is not None:
            roles[role] = heading
    if "language" not in roles:
        free = [heading for heading in frame if heading not in roles.values()]
        found = next((heading for heading in free if _share(frame[heading], code_of) > 0.5), None)
        if found is not None:
            roles["language"] = found
    return roles


def _words(heading: str) -> str:
    bare = re.sub(r"\([^()]*\)|%", "", str(heading).lower())
    return " ".join(re.split(r"[\s_-]+", bare.strip()))


def _share(cells: Iterable[Any], is_one: Any) -> float:
    """Share of the first thousand cells with something in them for which `is_one` holds; 0 where there are none."""
    filled = (str(cell) for cell in cells if str(cell).strip().lower() not in MISSING)
    sample = list(itertools.islice(filled, 1000))
    return sum(bool(is_one(cell)) for cell in sample) / len(sample) if sample else 0.0


def _is_number(cell: str) -> bool:
    return _CELL.fullmatch(_plain(cell)) is not None


def _holds_scores(frame: pd.DataFrame, heading: str) -> bool:
    is_spread = re.search(r"std|err|\bci\b", heading, re.IGNORECASE) is not None
    is_average = not AGGREGATES.isdisjoint(re.split(r"\W+", heading.lower()))
    return not is_spread and not is_average and _share(frame[heading], _is_number) > 0.5


def _columns_of_languages(frame: pd.DataFrame, headings: Sequence[str]) -> tuple[str, ...]:
    """Headings that are languages above numbers; one that is rather a word (id) only where two others are."""
    found = [h for h in headings if code_of(h) and _share(frame[h], _is_number) > 0.5]
    words = {*CODES_THAT_OFTEN_HEAD_NO_TEXT, *HEADINGS["score"], *HEADINGS["stderr"], "no"}
    certain = [heading for heading in found if heading.lower() not in words]
    if len(certain) < 2:
        return tuple(certain)
    return tuple(heading for heading in found if heading in certain or not _is_numbering(frame[heading]))


def _is_numbering(cells: Iterable[str]) -> bool:
    """0, 1, 2 ... or 1, 2, 3 ..."""
    cells = list(cells)
    return cells in ([str(i + start) for i in range(len(cells))] for start in (0, 1))


def _check_mapping(frame: pd.DataFrame, mapping: Mapping) -> None:
    named = [
        getattr(mapping, field.name) for field in fields(mapping) if field.name not in ("layout", "columns", "heads")
    ]
    missing = [column for column in (*named, *mapping.columns) if column is not None and column not in frame.columns]
    if missing:
        raise ScoresError(f"The table has no column {_some(missing)}; its columns are {_some(frame.columns)}")
    if mapping.layout == "long":
        if mapping.score is None:
            raise ScoresError("No column of scores was chosen; choose one")
        if mapping.language is None and mapping.task is None:
            raise ScoresError("No column of languages was chosen; choose one, or one of tasks such as xnli_de")
    elif mapping.layout not in ("wide languages in columns", "wide tasks in columns"):
        raise ScoresError(f"There is no layout {mapping.layout!r:.40}")
    elif not mapping.columns:
        raise ScoresError("No columns of scores were chosen; choose at least one")
    elif mapping.layout == "wide tasks in columns" and mapping.language is None:
        raise ScoresError("No column of languages was chosen; choose one")
    elif mapping.layout == "wide tasks in columns" and mapping.heads not in ("task", "model", "metric"):
        raise ScoresError(f"Columns are headed by tasks, models or metrics, not by {mapping.heads!r:.40}")


def _cells_of(frame: pd.DataFrame, mapping: Mapping) -> Iterable[tuple[str, str, int, dict[str, str]]]:
    """(what names the language, heading and row of the score, {role: cell}) of each score; the headings are row 1."""
    roles = {role: getattr(mapping, role) for role in ("language", "model", "task", "metric", "stderr", "n", "source")}
    for number, values in enumerate(frame.itertuples(index=False, name=None), 2):
        cells = {heading: str(value).strip() for heading, value in zip(frame.columns, values, strict=True)}
        row = {role: cells[heading] for role, heading in roles.items() if heading is not None}
        if mapping.layout == "wide languages in columns":
            for heading in mapping.columns:
                yield heading, heading, number, row | {"language": code_of(heading), "score": cells[heading]}
            continue
        label = row.get("language", row.get("task", ""))
        if mapping.layout == "long":
            if mapping.language is None:
                row["task"], row["language"] = task_language(row["task"]) or (row["task"], "")
            else:
                row["language"] = code_of(label)
            yield label, mapping.score or "", number, row | {"score": cells[mapping.score or ""]}
            continue
        row["language"] = code_of(label)
        for heading in mapping.columns:
            yield label, heading, number, row | {mapping.heads: heading, "score": cells[heading]}


def _unused(frame: pd.DataFrame, mapping: Mapping) -> list[str]:
    used = {getattr(mapping, field.name) for field in fields(mapping) if field.name != "columns"} | {*mapping.columns}
    filled = [heading for heading in frame.columns if any(str(cell).strip() for cell in frame[heading])]
    return [heading for heading in filled if heading not in used]


def _metric_of(mapping: Mapping) -> str:
    named = re.sub(r"\s*(?:\(%\)|%)\s*", "", mapping.score or "")
    return named if _words(named) not in ("", *GENERAL_SCORES) else "score"


# Numbers ----------------------------------------------------------------------------------------------------------


def _plain(cell: str) -> str:
    return cell.replace("\u00a0", " ").replace("\u202f", " ").replace("−", "-").strip()


def _parsed(where: str, cell: str) -> tuple[float, float | None, bool] | None:
    """(score, standard error if the cell gives one, whether it says %); None for an empty cell. Raises ScoresError."""
    cell = _plain(cell)
    if cell.lower() in MISSING:
        return None
    match = _CELL.fullmatch(cell)
    if match is None:
        raise ScoresError(f"{where}: {cell!r:.40} is no number; mend the cell or leave the column out")
    score, percent, stderr = match.groups()
    return _float(where, score), None if stderr is None else _float(where, stderr), bool(percent)


def _float(where: str, text: str) -> float:
    value = float(text.replace(",", "."))
    if not math.isfinite(value):
        raise ScoresError(f"{where}: {text:.40} is too large to be a score; mend the cell")
    return value


def _stderr(heading: str | None, cell: str) -> float:
    parsed = _parsed(f"column {heading}", cell)
    return math.nan if parsed is None else parsed[0]


def _n(heading: str | None, cell: str) -> float:
    cell = _plain(cell)
    if _THOUSANDS.fullmatch(cell):
        cell = re.sub("[ ,.]", "", cell)
    parsed = _parsed(f"column {heading}", cell)
    return math.nan if parsed is None else parsed[0]


def _shares(rows: list[dict[str, Any]], source: str, notes: list[str]) -> list[dict[str, Any]]:
    """The rows with percentages divided by 100, column by column ("column", "is percent"); adds to the notes.

    A column is one of percentages where a cell says so, or where all lie in [0, 100] and one is above 1. Raises
    ScoresError for an accuracy outside [0, 100].
    """
    columns: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        columns.setdefault(row["column"], []).append(row)
    divided: list[str] = []
    for column, group in columns.items():
        if NOT_SHARES.search(group[0]["metric"]) or NOT_SHARES.search(column):
            continue
        low, high = min(row["score"] for row in group), max(row["score"] for row in group)
        if low < 0 or high > 100:
            if ACCURACY.search(group[0]["metric"]):
                odd = next(row for row in group if not 0 <= row["score"] <= 100)
                raise ScoresError(
                    f"{source}: {odd['metric']} of {odd['task']} in {languages.label(odd['language'])} is "
                    f"{odd['score']:g}, outside 0 to 100; mend it, or name another metric"
                )
            notes.append(f"{column} in {source} is kept in its own unit, from {low:g} to {high:g}.")
        elif high > 1 or any(row["is percent"] for row in group):
            divided.append(column)
            _note_suspicious(group, column, source, notes)
            for row in group:
                row["score"] /= 100
                row["stderr"] = _number_or_nan(row["stderr"]) / 100
    if divided:
        notes.append(f"Percentages in {source}, divided by 100: {_some(divided)}.")
    return rows


def _note_suspicious(group: list[dict[str, Any]], column: str, source: str, notes: list[str]) -> None:
    largest: dict[tuple[str, str], list[float]] = {}
    for row in group:
        largest.setdefault((row["model"], row["task"]), []).append(row["score"])
    small = [f"{model}, {task}" for (model, task), scores in largest.items() if len(scores) > 1 and max(scores) <= 1]
    if small:
        notes.append(
            f"{column} in {source} is read as percentages, and no score of these is above 1 %: {_some(small)}; if they "
            "are shares, give them in a table of their own."
        )


def _number_or_nan(value: Any) -> float:
    """A finite number as float; NaN for anything else, True and False too."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_number and math.isfinite(value) else math.nan
    except OverflowError:
        return math.nan


def _spread(values: Iterable[float]) -> float:
    values = list(values)
    return max(values) - min(values)


def _text(value: Any) -> str:
    """One line of printable text, at most 500 letters."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)[:2000]).split())[:500]


def _checked(row: abc.Mapping[str, Any]) -> dict[str, Any]:
    """The row with text as text and numbers as float. Raises ScoresError for empty names and impossible numbers."""
    checked: dict[str, Any] = {column: _text(row[column]) for column in (*KEY, "source")}
    for column, text in checked.items():
        if not text:
            raise ScoresError(f"A score has no {column}; name it ({checked})")
    where = f"{checked['metric']} of {checked['model']} on {checked['task']} in {languages.label(checked['language'])}"
    checked |= {column: _number_or_nan(row[column]) for column in ("score", "stderr", "n")}
    if math.isnan(checked["score"]):
        raise ScoresError(f"{where} is {row['score']!r:.40}, no number; mend it")
    if checked["stderr"] < 0:
        raise ScoresError(f"{where} has the standard error {checked['stderr']:g}; it cannot be negative")
    if checked["n"] < 1:
        raise ScoresError(f"{where} has n = {checked['n']:g}; it is a number of items, at least 1")
    return checked


def _tidy(rows: Iterable[abc.Mapping[str, Any]], notes: Iterable[str]) -> TaskScores:
    """Rows checked, equal ones merged. Raises ScoresError for two of one key that differ, and where there is none."""
    kept: dict[tuple[str, ...], dict[str, Any]] = {}
    merged: dict[str, None] = {}
    clashes: list[str] = []
    for row in map(_checked, rows):
        key = tuple(row[column] for column in KEY)
        first = kept.setdefault(key, row)
        if first is row:
            continue
        model, task, metric, code = key
        if abs(first["score"] - row["score"]) > SAME:
            sources = dict.fromkeys((first["source"], row["source"]))
            clashes.append(
                f"{metric} of {model} on {task} in {languages.label(code)} is {first['score']:g} and {row['score']:g} "
                f"({_some(sources)})"
            )
            continue
        merged[f"{model}, {task}, {metric}, {languages.label(code)}"] = None
        for column in ("stderr", "n"):
            first[column] = row[column] if math.isnan(first[column]) else first[column]
    if clashes:
        more = f"; {len(clashes) - 3} more" if len(clashes) > 3 else ""
        raise ScoresError(f"Scores contradict each other: {'; '.join(clashes[:3])}{more}. Leave one of each")
    if not kept:
        raise ScoresError("There are no scores; give at least one")
    if merged:
        notes = [*notes, f"The same score is there more than once and is kept once: {_some(merged)}."]
    table = pd.DataFrame(list(kept.values()), columns=list(COLUMNS))
    return TaskScores(table.astype(dict.fromkeys(("score", "stderr", "n"), "float64")), tuple(notes))


# Results of the lm-evaluation-harness -----------------------------------------------------------------------------


def harness_scores(name: str, data: bytes, *, model: str = "") -> TaskScores:
    """The scores of a results file of the lm-evaluation-harness, every metric a row.

    Metrics are "acc,none" with "acc_stderr,none" of current versions, or "acc" with "acc_stderr" of old ones; a filter
    other than none is named: "exact_match (strict-match)". The model's name is model_name, else `pretrained` of
    model_args; `model` where the file gives neither, then the file's name. n is the effective one of n-samples.

    A task's language is the end of its name (`task_language`). Left aside with a note: groups over languages, tasks
    that name no language, subjects of a task that also has a total, and a task that heads a family (hellaswag beside
    hellaswag_de), for it is other data than the translations.

    Raises ScoresError for what is no such file or holds no score of a language.
    """
    try:
        content = json.loads(_decoded(name, data))
    except (ValueError, RecursionError) as error:
        raise ScoresError(f"{name} is no JSON: {f'{error}':.100}; give the file that lm_eval wrote") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict) or not results:
        raise ScoresError(f'{name} has no "results" by task; give a results file of the lm-evaluation-harness')
    results = {task: entry for task, entry in results.items() if isinstance(entry, dict)}
    members, notes = _members(list(results), _subtasks(content.get("group_subtasks")), name)
    rows = []
    for full_name, (task, code) in members.items():
        metrics = _metrics(results[full_name])
        if not metrics:
            notes.append(f"{full_name} in {name} has no score.")
        for metric, (score, stderr) in metrics.items():
            rows.append(
                {
                    "model": _text(_model_of(content)) or model.strip() or _stem(name),
                    "task": task,
                    "metric": metric,
                    "language": code,
                    "score": score,
                    "stderr": stderr,
                    "n": _n_of(content.get("n-samples"), full_name),
                    "source": name,
                    "is percent": False,
                    "column": metric,
                }
            )
    if not rows:
        raise ScoresError(f"{name} holds no score of a task in a language; its tasks are {_some(results)}")
    return _tidy(_shares(rows, name, notes), notes)


def task_language(name: str) -> tuple[str, str] | None:
    """(task, language) of a task of the lm-evaluation-harness, None where its name names no language for certain.

    "belebele_acm_Arab" -> ("belebele", "acm_Arab"), "xwinograd_jp" -> ("xwinograd", "ja"), "truthfulqa_de_mc1" ->
    ("truthfulqa_mc1", "de"), "include_base_44_german" -> ("include_base_44", "de"). Not certain: a code that is also a
    word at the end of a task that is not known to be multilingual (polemo2_in), and a rare code (mmlu_pro).
    """
    found = _split(name) if len(name) <= 200 else None
    return (found.task, found.code) if found and found.is_certain and not found.subject else None


@dataclass(frozen=True)
class _TaskName:
    task: str
    code: str
    subject: str
    is_certain: bool


@lru_cache(maxsize=8192)
def _split(name: str) -> _TaskName | None:
    parts = name.split("|")
    base = parts[1] if len(parts) > 2 else name
    if NO_LANGUAGE_TASKS.match(base):
        return None
    stem, qualifiers = base, ""
    while found := QUALIFIER.search(stem):
        stem, qualifiers = stem[: found.start()], found[0] + qualifiers
    with_subject = WITH_SUBJECTS.fullmatch(stem)
    if with_subject:
        family, rest = with_subject.groups()
        words = rest.split("_")
        for size in (2, 1):
            code = (
                code_of(" ".join(words[:size]))
                if family == "include_base_44"
                else _code_in_name("_".join(words[:size]))
            )
            if code and len(words) >= size:
                return _TaskName(family + qualifiers, code, "_".join(words[size:]), True)
        return None
    words = stem.split("_")
    for size in (3, 2, 1):
        code = _code_in_name("_".join(words[-size:])) if any(words[:-size]) else ""
        if code:
            task = "_".join(words[:-size])
            return _TaskName(task + qualifiers, code, "", _is_certain(task, code))
    return None


def _code_in_name(text: str) -> str:
    """The code that a part of a task's name is: a bare language, one with its script, or a usual locale."""
    plain = text.lower().replace("-", "_")
    if LOCALES.fullmatch(plain):
        return text
    if _SCRIPT_FORM.fullmatch(text) or len(text) in (2, 3):
        code = LANGUAGE_OF_COUNTRY.get(plain, text)
        return code if languages.is_language_code(code) else ""
    return ""


def _is_certain(task: str, code: str) -> bool:
    if len(code) > 3:
        return True
    has_two_letters = len(langcodes.Language.get(code).language or "") == 2
    is_known_task = MULTILINGUAL_TASKS.search(task.lower()) is not None
    is_word = CODES_THAT_ARE_WORDS.fullmatch(code) is not None
    return has_two_letters and code != MACHINE_TRANSLATED and (not is_word or (len(code) == 2 and is_known_task))


def _members(
    names: Sequence[str], subtasks: abc.Mapping[str, Sequence[str]], source: str
) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """({name: (task, language)} of the tasks in one language, notes on the others)."""
    every = {*names, *itertools.chain.from_iterable(subtasks.values())}
    split = {name: found for name in every if len(name) <= 200 and (found := _split(name))}
    certain = Counter((s.task, len(s.code)) for s in split.values() if s.is_certain and not s.subject)
    # an uncertain code beside two certain ones of its task is a language too: is beside de and fr
    accepted = {name: s for name, s in split.items() if s.is_certain or certain[s.task, len(s.code)] > 1}
    present = [accepted[name] for name in names if name in accepted]
    totals = {(one.task, one.code) for one in present if not one.subject}
    stems = {one.task for one in present}
    members: dict[str, tuple[str, str]] = {}
    aside: dict[str, list[str]] = {}
    for name in names:
        found = accepted.get(name)
        inner = {accepted[part].code for part in subtasks.get(name, ()) if part in accepted}
        if inner - ({found.code} if found else set()):
            aside.setdefault("groups over languages", []).append(name)
        elif name in stems:
            aside.setdefault("English members of a family, or its averages, in other data", []).append(name)
        elif found is None:
            aside.setdefault("tasks that name no language", []).append(name)
        elif found.subject:
            has_total = (found.task, found.code) in totals
            reason = "subjects of a task whose total is there" if has_total else "subjects without their task's total"
            aside.setdefault(reason, []).append(name)
        else:
            members[name] = found.task, found.code
    return members, [f"Left aside in {source}, {reason}: {_some(names)}." for reason, names in aside.items()]


def _subtasks(content: Any) -> dict[str, list[str]]:
    """{group: its tasks}; in the harness's files a task of no group has an empty list."""
    if not isinstance(content, dict):
        return {}
    lists = {group: parts for group, parts in content.items() if isinstance(parts, list)}
    return {group: [part for part in parts if isinstance(part, str)] for group, parts in lists.items() if parts}


def _metrics(entry: abc.Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """{metric: (score, standard error or NaN)} of a task's entry; what is no finite number is no score."""
    metrics: dict[str, tuple[float, float]] = {}
    for key, value in entry.items():
        metric, _, filtered = key.partition(",")
        if metric.endswith("_stderr") or metric in ("alias", "name", "sample_len", "sample_count", "samples"):
            continue
        score = _number_or_nan(value)
        if metric.strip() and not math.isnan(score):
            stderr = _number_or_nan(entry.get(f"{metric}_stderr" + (f",{filtered}" if filtered else "")))
            label = metric if filtered in ("", "none") else f"{metric} ({filtered})"
            metrics[label] = score, stderr if stderr >= 0 else math.nan
    return metrics


def _model_of(content: abc.Mapping[str, Any]) -> str:
    """What the results say of the model; "" where they name none."""
    config, general = (content.get(key) for key in ("config", "config_general"))
    config = config if isinstance(config, dict) else {}
    general = general if isinstance(general, dict) else {}
    arguments = config.get("model_args")
    if isinstance(arguments, str):
        found = re.search(r"(?:^|,)(?:pretrained|model)=([^,]+)", arguments)
        pretrained: Any = found[1] if found else None
    else:
        pretrained = arguments.get("pretrained") if isinstance(arguments, dict) else None
    candidates = (content.get("model_name"), pretrained, config.get("model_name"), general.get("model_name"))
    return next((name for name in candidates if isinstance(name, str) and name.strip()), "")


def _n_of(samples: Any, task: str) -> float:
    entry = samples.get(task) if isinstance(samples, dict) else None
    n = _number_or_nan(entry.get("effective", entry.get("original")) if isinstance(entry, dict) else entry)
    return n if n >= 1 else math.nan


# Tables of language pairs -----------------------------------------------------------------------------------------


def read_consistency(source: str | Path, *, model: str = "", task: str = "", metric: str = "") -> Consistency:
    """Read a table of language pairs, such as RankC on BMLAMA: a matrix, or one row a pair.

    A matrix has languages as headings and in a column; one row a pair has two columns of languages, or one of pairs
    (en-fr), and a score. model, task, metric: for what the table does not say, as in `apply_mapping`.

    Raises ScoresError for what is no such table, and for pairs that contradict each other.
    """
    path = _path(source)
    try:
        if not path.is_file():
            raise ScoresError(f"There is no file {path}; give a table of language pairs")
        frame = read_frame(path.name, read_content(path))
    except OSError as error:
        raise ScoresError(f"{path} cannot be read: {error}") from error
    return consistency(frame, source=path.name, model=model, task=task, metric=metric)


def is_consistency(frame: pd.DataFrame) -> bool:
    """Whether a table has a score for each pair of languages, so that it is for `consistency`."""
    return _matrix(frame) is not None or _pair_columns(frame) is not None


def consistency(frame: pd.DataFrame, *, source: str, model: str = "", task: str = "", metric: str = "") -> Consistency:
    """The table of `read_frame` as pairs; see `read_consistency`. Raises ScoresError as it does."""
    matrix, pairs = _matrix(frame), _pair_columns(frame)
    source = source.strip() or "a table"
    cells: list[tuple[str, str, str, str, dict[str, str]]] = []
    roles = {role: heading for role, heading in _roles(frame).items() if role in ("model", "task", "metric", "source")}
    heading = ""
    if matrix is not None:
        labels, columns = matrix
        roles = {}
        for number, row in enumerate(frame.to_dict("records"), 2):
            cells += [(row[labels], h, f"column {h}, row {number}", row[h], {}) for h in columns]
    elif pairs is not None:
        columns, heading = pairs
        roles = {role: column for role, column in roles.items() if column not in (*columns, heading)}
        for number, row in enumerate(frame.to_dict("records"), 2):
            first, second = (
                (row[columns[0]], row[columns[1]]) if len(columns) == 2 else _pair(row[columns[0]]) or ("", "")
            )
            context = {role: row[column] for role, column in roles.items()}
            cells.append((first, second, f"column {heading}, row {number}", row[heading], context))
    else:
        raise ScoresError(
            f"{source} is no table of language pairs; it needs languages as headings and in a column, or two columns "
            "of languages and one of scores"
        )
    default = metric.strip() or (heading if heading and _words(heading) not in GENERAL_SCORES else "consistency")
    rows, no_language = [], {}
    for first, second, where, cell, context in cells:
        codes = code_of(first), code_of(second)
        parsed = _parsed(where, cell)
        if not all(codes):
            no_language[f"{first} - {second}"] = None
        elif parsed is not None:
            rows.append(
                {
                    "model": context.get("model") or model.strip() or _stem(source),
                    "task": context.get("task") or task.strip() or _stem(source),
                    "metric": context.get("metric") or default,
                    "language": codes[0],
                    "other": codes[1],
                    "score": parsed[0],
                    "stderr": math.nan,
                    "source": context.get("source") or source,
                    "is percent": parsed[2],
                    "column": context.get("metric") or default,
                }
            )
    if not rows:
        raise ScoresError(f"{source} holds no value of a pair of languages; give a table with values")
    notes = [f"Left aside in {source}, since they name no language: {_some(no_language)}."] if no_language else []
    return Consistency(_tidy_pairs(_shares(rows, source, notes)), tuple(notes))


def _tidy_pairs(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    kept: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in rows:
        row |= {column: _text(row[column]) for column in PAIR_COLUMNS if column != "score"}
        first = kept.setdefault(tuple(row[column] for column in PAIR_COLUMNS[:5]), row)
        if abs(first["score"] - row["score"]) > SAME:
            raise ScoresError(
                f"{row['metric']} of {row['model']} between {row['language']} and {row['other']} is {first['score']:g} "
                f"and {row['score']:g}; leave one of them"
            )
    return pd.DataFrame(list(kept.values()), columns=list(PAIR_COLUMNS))


def _matrix(frame: pd.DataFrame) -> tuple[str, tuple[str, ...]] | None:
    """(the column of languages, the headings that are languages too) of a matrix of pairs."""
    labels = next((heading for heading in frame if _share(frame[heading], code_of) > 0.5), None)
    if labels is None:
        return None
    columns = [h for h in frame if h != labels and code_of(h) and _share(frame[h], _is_number) > 0.5]
    of_rows = {code_of(cell) for cell in frame[labels]}
    return (labels, tuple(columns)) if len(columns) > 1 and len(of_rows & {*map(code_of, columns)}) > 1 else None


def _pair_columns(frame: pd.DataFrame) -> tuple[tuple[str, ...], str] | None:
    """(the two columns of languages, or the one of pairs, the column of scores)."""
    if {*COLUMNS} <= {*frame.columns}:
        return None
    named = [*HEADINGS["model"], *HEADINGS["task"], *HEADINGS["metric"]]
    free = [heading for heading in frame if _words(heading) not in named]
    of_languages = [heading for heading in free if _share(frame[heading], code_of) > 0.5]
    of_pairs = [heading for heading in free if _share(frame[heading], _pair) > 0.5]
    columns = of_languages[:2] if len(of_languages) > 1 else of_pairs[:1]
    words = {_words(heading): heading for heading in reversed(list(frame))}
    score = next((words[w] for w in SCORES_OF_PAIRS if w in words and _holds_scores(frame, words[w])), None)
    if not columns or score is None or score in columns or _are_one_language(frame, columns):
        return None
    return tuple(columns), score


def _are_one_language(frame: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Whether two columns name each row's language twice, as code and name, rather than a pair."""
    if len(columns) < 2:
        return False
    rows = list(zip(*(frame[column] for column in columns), strict=True))
    same = [bool(languages.matches(code_of(a), [code_of(b)])) for a, b in rows if code_of(a) and code_of(b)]
    return bool(same) and 2 * sum(same) > len(same)


def _pair(cell: str) -> tuple[str, str] | None:
    """The two codes of "en-fr" or "zh-Hans-en"; None where the cell is no pair."""
    parts = re.split(r"[-–]", cell)
    for cut in range(1, min(len(parts), 8)):
        first, second = "-".join(parts[:cut]), "-".join(parts[cut:])
        if languages.is_language_code(first) and languages.is_language_code(second):
            return first, second
    return None


# Matching with a corpus -------------------------------------------------------------------------------------------


def join(scores: TaskScores | pd.DataFrame, corpus_codes: Iterable[str], *, pivot: str) -> Joined:
    """Match scores of one model, task and metric with the codes of a corpus.

    scores: or a table with columns language and score. corpus_codes: the pivot is added where it is not among them; it
    may be in another form ("en" for eng_Latn). A code of the corpus takes the score of the same code, else of the one
    code that means its language and script; see `languages.matches`. Where several are possible, a bare code is that of
    the usual script and member, which a note says: ar is arb_Arab rather than arb_Latn, fa is pes_Arab rather than
    prs_Arab. zho beside zho_Hans and zho_Hant is ambiguous. Ambiguous scores are listed and not used.

    Raises ScoresError for scores of several models, tasks or metrics, a language given twice, and a pivot that may be
    several of the codes.
    """
    table = scores.table if isinstance(scores, TaskScores) else scores
    _check_one_group(table)
    codes, pivot = _with_pivot(list(dict.fromkeys(corpus_codes)), pivot)
    given = list(table["language"])
    # what each of the scores may mean, then of each code's claimants the closest
    meant = {language: _closest(code_of(language) or language, codes) for language in given}
    ambiguous = {language: found for language, (found, _) in meant.items() if len(found) > 1}
    pairs: dict[str, str] = {}
    inferred: list[str] = []
    for code in codes:
        claimants = [language for language, (found, _) in meant.items() if found == (code,)]
        if not claimants:
            continue
        found, was_inferred = _closest(code, claimants)
        if len(found) == 1:
            pairs[code] = found[0]
            if was_inferred or meant[found[0]][1]:
                inferred.append(f"{found[0]} as {languages.label(code)}")
        else:
            ambiguous |= dict.fromkeys(found or claimants, (code,))
    positions = [given.index(language) for language in pairs.values()]
    matched = table.iloc[positions].set_axis(pd.Index(list(pairs), name="code", dtype=object), axis=0)
    concerned = {code for found in ambiguous.values() for code in found}
    unmatched_scores = tuple(one for one in given if one not in pairs.values() and one not in ambiguous)
    unmatched_languages = tuple(code for code in codes if code not in pairs and code not in concerned)
    notes = []
    if inferred:
        notes.append(f"Read as the usual form of its language: {_some(inferred)}.")
    if ambiguous:
        which = (f"{one} ({' or '.join(found)})" for one, found in ambiguous.items())
        notes.append(f"Ambiguous, so not used: {_some(which)}.")
    if unmatched_scores:
        notes.append(f"Scores without a language of the corpus: {_some(map(languages.label, unmatched_scores))}.")
    if unmatched_languages:
        notes.append(f"Languages of the corpus without a score: {_some(map(languages.label, unmatched_languages))}.")
    return Joined(pivot, matched, unmatched_scores, unmatched_languages, ambiguous, tuple(notes))


def _check_one_group(table: pd.DataFrame) -> None:
    if not {"language", "score"} <= set(table.columns):
        raise ScoresError(f"The scores have no columns language and score; they have {_some(map(str, table.columns))}")
    for column in KEY[:3]:
        if column in table.columns and table[column].nunique() > 1:
            values = _some(map(str, dict.fromkeys(table[column])))
            raise ScoresError(f"The scores are of more than one {column} ({values}); choose one")
    doubled = table["language"][table["language"].duplicated()]
    if len(doubled):
        raise ScoresError(
            f"The scores name a language more than once: {_some(dict.fromkeys(doubled))}; leave one of each"
        )


def _with_pivot(codes: list[str], pivot: str) -> tuple[list[str], str]:
    pivot = code_of(pivot) or pivot
    found = languages.matches(pivot, codes)
    if len(found) > 1:
        raise ScoresError(f"The pivot {pivot} may be {' or '.join(found)}; write one of them")
    return (codes, found[0]) if found else ([pivot, *codes], pivot)


def _closest(code: str, candidates: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """(those of `candidates` that `code` means, whether the choice was inferred from what is usual)."""
    found = tuple(dict.fromkeys(languages.matches(code, candidates)))
    if not found:
        by_code = {code_of(candidate): candidate for candidate in candidates}
        found = tuple(by_code[one] for one in dict.fromkeys(languages.matches(code, [c for c in by_code if c])))
    if len(found) < 2:
        return found, False
    usual = found
    expected = languages.script(code)
    if expected not in (None, "Hans", "Hant"):
        usual = tuple(one for one in usual if languages.script(one) == expected) or usual
    if len(usual) > 1:
        member = next((USUAL_MEMBER[m] for m in USUAL_MEMBER if languages.matches(m, [code])), None)
        usual = tuple(one for one in usual if member and languages.matches(member, [one])) or usual
    return (usual, True) if len(usual) == 1 else (found, False)
