"""Parallel sentences: read them from wherever they lie, normalise them, choose among them, say what is wrong.

    raw = read("demo")                               every language of a source, line by line
    corpus = select(raw, "eng_Latn", ["fra_Latn"])   the rows that an experiment uses, and findings about them

Every text is NFC with no space around it: the same Vietnamese sentence in decomposed form is other tokens, and more
than halved its alignment. Line i of one language translates line i of every other, so nothing here drops a line of one
language alone: a row that is empty in one language is left out of `usable` for all.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from neuronxa_core.corpora import languages, pairs, parquet, tables
from neuronxa_core.corpora.parallel import Columns, RawCorpus, normalise
from neuronxa_core.corpora.texts import base_name, lines_of, stem, suffix
from neuronxa_core.errors import CorpusError
from neuronxa_core.host import limits
from neuronxa_core.wording import some_of

T = TypeVar("T")
DEMO = Path(__file__).parents[1] / "demo" / "corpus"
# FLORES-200's folders; the first that is there is read
SPLITS = ("devtest", "dev")
FLORES_PLUS = "openlanguagedata/flores_plus"
ARCHIVES = frozenset({"zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "tar"})
NAMES_OF_NO_DATA = ("readme", "license", "licence", "copying", "changelog", ".")
# what may name a language beside codes
NAME = re.compile(r"[\w.() +-]{1,60}")
WHAT = {"pair": "a pair file", "table": "a table", "language": "one language", "named": "one language"}


def read(source: str | Path) -> RawCorpus:
    """Read every language of a source.

    - "demo": the bundled corpus.
    - "hub:owner/name[:config[:split]]": see `read_hub`.
    - a folder of one file per language, `<code>.txt`, `<code>.dev` or `<code>.devtest`, one sentence per line;
      `labels.txt` holds one label per line. A file that is named by no code is a language of its own name, where it has
      as many lines as the others. Where both FLORES splits are present, as files or as folders, devtest is read.
    - a CSV or Parquet file, or a TSV with a header: one column per language (`eng_Latn` or `sentence_eng_Latn`),
      optionally `label`. In a TSV a quotation mark is text and a cell holds no tab, as IANA defines it.
    - a pair file `<source>-<target>.tsv` or `.txt`, tab-separated, no header, two columns of text (columns of ids,
      language codes or attributions are skipped); or two files `<name>.<source>-<target>.<source>` and
      `<name>.<source>-<target>.<target>`, of which one may be named; or a folder of pairs that share one language, line
      by line or each with its own lines of it.

    Text is UTF-8; a line ends at LF or CRLF and nowhere else; empty lines at the end of a file do not count. Archives
    are not unpacked.

    Raises CorpusError, one sentence, for what is missing, empty, malformed, larger than `limits` says, or holds no
    readable language. A single unreadable language of several goes to `problems`.
    """
    text = str(source).strip()
    if text.startswith("hub:"):
        dataset, config, split = parse_hub(text)
        return read_hub(dataset, config=config, split=split)
    if not text:
        raise CorpusError("No corpus was named; give a path, demo, or hub:owner/name")
    try:
        path = DEMO if text == "demo" else Path(text).expanduser()
        if path.is_dir():
            return _read_folder(path, text, "demo" if text == "demo" else path.resolve().name)
        if path.is_file():
            _check_archives([path.name])
            sides = [path.with_name(f"{stem(path.name)}.{code}") for code in pairs.pair_codes(stem(path.name))]
            files = [file for file in sides if file.is_file()] if pairs.side_of(path.name) else [path]
            return _read_files(stem(path.name), text, _contents(files or [path]), ())
    except (OSError, RuntimeError) as error:  # ~nobody is a RuntimeError
        raise CorpusError(f"{text:.200} cannot be read: {error}") from error
    raise CorpusError(f"There is no file or folder {text:.200}; give a path, demo, or hub:owner/name")


def within(folder: Path) -> list[Path]:
    """What `read` could read in a folder, by the names alone: the folder itself, or else its tables. Raises OSError."""
    entries = sorted(itertools.islice(folder.iterdir(), limits.CORPUS_FILES))
    kinds = {entry: _kind(entry.name) for entry in entries if entry.is_file()}
    if {"language", "pair"} & set(kinds.values()):
        return [folder]
    return [entry for entry, kind in kinds.items() if kind == "table"]


def parse_hub(text: str) -> tuple[str, str | None, str | None]:
    """(data set, config, split) of "hub:owner/name:config:split". Raises CorpusError for what is none."""
    dataset, *rest = text.removeprefix("hub:").split(":")
    if len(rest) > 2:
        raise CorpusError(f"{text:.200} has too many parts; write hub:owner/name:config:split")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", dataset):
        raise CorpusError(f"{dataset!r:.200} is no data set of the hub; write owner/name")
    config, split = (*rest, "", "")[:2]
    return dataset, config or None, split or None


def read_uploads(files: Sequence[tuple[str, bytes]]) -> RawCorpus:
    """Read uploaded files, (name, content) each, as `read` reads a folder; a name counts without its folders.

    Raises CorpusError as `read` does, and where two files have one name.
    """
    by_name: dict[str, bytes] = {}
    for untrusted_name, data in files:
        name = base_name(untrusted_name)
        if name in by_name:
            raise CorpusError(f"Two uploaded files are called {name}; upload each language once")
        by_name[name] = data
    if not by_name:
        raise CorpusError("No file was uploaded")
    _check_sizes({name: len(data) for name, data in by_name.items()})
    wanted, notes = _sift(list(by_name))
    if not wanted:
        _check_archives(by_name)
    name = stem(next(iter(by_name))) if len(by_name) == 1 else "upload"
    return _read_files(name, "upload", {name: by_name[name] for name in wanted}, notes)


def read_hub(
    dataset: str, *, config: str | None = None, split: str | None = None, revision: str | None = None
) -> RawCorpus:
    """Read a data set of the Hugging Face hub with the optional `datasets` library; code of a data set is never run.

    Either one column per language (`eng_Latn` or `sentence_eng_Latn`), or one row per sentence and language as in
    FLORES+ (`iso_639_3`, `iso_15924`, `text`, `id`), where rows of one id are translations. split: devtest for FLORES+,
    test for others unless given. Raises CorpusError where `datasets` is not installed or the data set cannot be loaded.
    """
    parse_hub(f"hub:{dataset}")

    def table_of(rows: Any) -> tuple[dict[str, list], list[str]]:
        headings = list(rows.column_names)
        tables.check_headings(dataset, headings)
        wanted = tables.headings_to_read(headings)
        parquet.check_cells(dataset, getattr(rows, "num_rows", 0), len(wanted))
        return {heading: list(rows[heading]) for heading in wanted}, headings

    split = split or ("devtest" if dataset == FLORES_PLUS else "test")
    table, headings = from_hub(table_of, dataset, config, split, revision)
    return _corpus(dataset, f"hub:{dataset}", tables.columns_of_table(dataset, table, headings))


def from_hub(take: Callable[[Any], T], dataset: str, config: str | None, split: str, revision: str | None = None) -> T:
    """What `take` makes of a data set of the hub, loaded with the `datasets` library. Raises as `read_hub`."""
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise CorpusError("Reading from the hub needs the datasets library: pip install datasets") from error
    try:
        return take(load_dataset(dataset, name=config, split=split, revision=revision))
    except CorpusError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CorpusError(
            f"The data set {dataset} (split {split}) cannot be loaded: {reason}; if it is gated, accept its terms on "
            "the hub and log in with hf auth login"
        ) from error


def _read_folder(folder: Path, source: str, name: str) -> RawCorpus:
    entries = list(itertools.islice(folder.iterdir(), limits.CORPUS_FILES + 1))
    if len(entries) > limits.CORPUS_FILES:
        raise CorpusError(f"The folder {source} holds more than {limits.CORPUS_FILES} files, too many for a corpus")
    wanted, notes = _sift(sorted(entry.name for entry in entries if entry.is_file()))
    split = next((split for split in SPLITS if (folder / split).is_dir()), None)
    if split and not {"language", "pair"} & set(map(_kind, wanted)):
        inner = _read_folder(folder / split, source, name)
        return replace(inner, notes=(f"Read from its folder {split}.", *inner.notes))
    if not wanted:
        _check_archives(entry.name for entry in entries)
        raise CorpusError(
            f"The folder {source} holds no corpus; it needs files such as eng_Latn.txt and deu_Latn.txt, or one table"
        )
    return _read_files(name, source, _contents([folder / file_name for file_name in wanted]), notes)


def _contents(files: Sequence[Path]) -> dict[str, bytes]:
    """{name: content}. Raises CorpusError where they are too large, before they are read, and OSError."""
    _check_sizes({file.name: file.stat().st_size for file in files})
    contents = {file.name: limits.first_bytes(file, limits.CORPUS_FILE_BYTES) for file in files}
    _check_sizes({name: len(data) for name, data in contents.items()})
    return contents


def _check_archives(names: Iterable[str]) -> None:
    for name in names:
        if suffix(name) in ARCHIVES:
            raise CorpusError(f"{name} is an archive, which is not read; unpack it, and give its files")


def _check_sizes(sizes: Mapping[str, int]) -> None:
    """Raise CorpusError where one of the files, or all, are too large for a corpus; sizes in bytes."""
    for name, size in sizes.items():
        if size > limits.CORPUS_FILE_BYTES:
            raise CorpusError(
                f"{name} has {size / limits.MIB:,.0f} MiB; at most {limits.CORPUS_FILE_BYTES // limits.MIB} MiB are "
                "read: leave out sentences"
            )
    if sum(sizes.values()) > limits.CORPUS_BYTES:
        raise CorpusError(
            f"The files have {sum(sizes.values()) / limits.MIB:,.0f} MiB together; at most "
            f"{limits.CORPUS_BYTES // limits.MIB} MiB are read: leave out languages or sentences"
        )


def _sift(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """(the files to read, notes on the others); one kind of data is read, the first that is there."""
    kinds = {name: _kind(name) for name in names}
    data_kind = next((kind for kind in ("language", "pair", "table", "named") if kind in kinds.values()), None)
    if data_kind is None:
        return [], ()
    data_kinds = ("language", "named") if data_kind == "language" else (data_kind,)
    wanted = [name for name, kind in kinds.items() if kind in (*data_kinds, "labels")]
    others = [name for name in names if name not in wanted and not name.startswith(".")]
    notes = []
    dev_files = [name for name in wanted if suffix(name) == "dev"]
    if dev_files and any(suffix(name) == "devtest" for name in wanted):
        notes.append(f"Both FLORES splits are there: devtest is read, {', '.join(dev_files)} left aside.")
        wanted = [name for name in wanted if name not in dev_files]
    if others:
        named = (f"{base_name(name)} ({WHAT.get(kinds[name], 'no corpus file')})" for name in others)
        notes.append(f"Left aside, since not part of the corpus: {', '.join(named)}.")
    return wanted, tuple(notes)


def _kind(file_name: str) -> str:
    """ "language", "named", "pair", "table", "labels" or "other", by the name alone; named: by no code."""
    code, ending = stem(file_name), suffix(file_name)
    if file_name.lower().startswith(NAMES_OF_NO_DATA):
        return "other"
    if file_name.lower() == "labels.txt":
        return "labels"
    if ending in ("csv", "parquet"):
        return "table"
    if ending in ("tsv", "tab"):
        return "pair" if pairs.pair_codes(code) else "table"
    if ending in ("txt", "dev", "devtest") and languages.is_language_code(code):
        return "language"
    if (ending == "txt" and pairs.pair_codes(code)) or pairs.side_of(file_name):
        return "pair"
    return "named" if ending in ("txt", "dev", "devtest") and NAME.fullmatch(code) else "other"


def _read_files(name: str, source: str, files: Mapping[str, bytes], notes: tuple[str, ...]) -> RawCorpus:
    def of_kind(kind: str) -> dict[str, bytes]:
        return {file_name: data for file_name, data in files.items() if _kind(file_name) == kind}

    language_files, pair_files, table_files = of_kind("language"), of_kind("pair"), of_kind("table")
    if language_files and all(map(pairs.is_pair_after_all, language_files, language_files.values())):
        language_files, pair_files = {}, language_files
    named_files = of_kind("named")
    if language_files or len(named_files) > 1:
        columns = _read_language_files(language_files, named_files)
    elif pair_files:
        columns = pairs.read_pairs(pair_files)
    elif len(table_files) == 1:
        columns = tables.read_table(*next(iter(table_files.items())))
    elif table_files:
        raise CorpusError(f"{source} holds several tables ({some_of(table_files)}); give one of them")
    else:
        raise CorpusError(
            f"{some_of(files) or source} is no corpus; name a text file by its language (eng_Latn.txt) or its pair "
            "(eng-deu.tsv, or tatoeba.eng-deu.eng beside tatoeba.eng-deu.deu), or give a .csv, .tsv or .parquet table"
        )
    for file_name, data in of_kind("labels").items():
        if columns.pairs:
            notes = (*notes, f"Left aside: {file_name}, since labels need the same sentences in all languages.")
            continue
        columns = replace(columns, labels=_labels(file_name, data, columns.texts))
    return _corpus(name, source, replace(columns, notes=(*notes, *columns.notes)))


def _read_language_files(coded: Mapping[str, bytes], named: Mapping[str, bytes]) -> Columns:
    """coded, named: {file name: content}; of those that no code names, what does not fit the others is left aside."""
    texts: dict[str, Sequence[str]] = {}
    problems: dict[str, str] = {}
    file_of: dict[str, str] = {}
    for file_name, data in {**coded, **named}.items():
        code = stem(file_name)
        if code in file_of:
            raise CorpusError(f"{code} is there twice, as {file_of[code]} and {file_name}; leave one of them")
        file_of[code] = file_name
        try:
            texts[code] = lines_of(file_name, data)
        except CorpusError as error:
            problems[code] = str(error)
    aside = [f"{file_name} (unreadable)" for file_name in named if problems.pop(stem(file_name), None)]
    counts = {code: len(lines) for code, lines in texts.items()}
    expected = {counts[code] for code in map(stem, coded) if code in counts}
    expected = expected or {count for count, _ in Counter(counts.values()).most_common(1)}
    for file_name in named:
        if counts.get(stem(file_name), 0) not in {0, *expected}:
            aside.append(f"{file_name} ({len(texts.pop(stem(file_name)))})")
    usual = " or ".join(map(str, sorted(expected)))
    note = (
        f"Left aside, since no code names them and they have other numbers of lines than {usual}: {', '.join(aside)}."
    )
    return Columns(texts, problems, notes=(note,) if aside else ())


def _labels(file_name: str, data: bytes, texts: Mapping[str, Sequence[str]]) -> list[str]:
    labels = lines_of(file_name, data)
    line_counts = sorted({len(lines) for lines in texts.values()})
    if texts and len(labels) not in line_counts:
        counts = " or ".join(map(str, line_counts))
        raise CorpusError(
            f"{file_name} has {len(labels)} labels where the languages have {counts} lines; give one each"
        )
    return labels


def _corpus(name: str, source: str, columns: Columns) -> RawCorpus:
    if not columns.texts:
        reasons = list(dict.fromkeys(columns.problems.values()))
        raise CorpusError("; ".join(reasons[:3]) or f"{source} holds no language")
    texts = {code: tuple(map(normalise, lines)) for code, lines in columns.texts.items()}
    return RawCorpus(
        name=name,
        source=source,
        texts=texts,
        changed={
            code: tuple(
                row for row, (given, line) in enumerate(zip(columns.texts[code], lines, strict=True)) if given != line
            )
            for code, lines in texts.items()
        },
        problems=dict(columns.problems),
        labels=None if columns.labels is None else tuple(map(normalise, columns.labels)),
        notes=tuple(columns.notes),
        pairs={code: _corpus(name, source, Columns(dict(pair))) for code, pair in columns.pairs.items()},
    )
