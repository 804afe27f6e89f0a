"""Parallel sentences: read them from wherever they lie, normalise them, choose among them, say what is wrong.

    raw = read("demo")                               every language of a source, line by line
    corpus = select(raw, "eng_Latn", ["fra_Latn"])   the rows that an experiment uses, and findings about them

Every text is NFC with no space around it: the same Vietnamese sentence in decomposed form is other tokens, and more
than halved its alignment. Line i of one language translates line i of every other, so nothing here drops a line of one
language alone: a row that is empty in one language is left out of `usable` for all.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from neuronxa_core.corpora import languages, parquet
from neuronxa_core.corpora.parallel import RawCorpus, _Columns, normalise
from neuronxa_core.corpora.tables import _check_headings, _columns_of_table, _headings_to_read, _read_table
from neuronxa_core.corpora.texts import _check_long_lines, _lines, _stem, _suffix
from neuronxa_core.errors import CorpusError
from neuronxa_core.host import limits
from neuronxa_core.wording import some_of

DEMO = Path(__file__).parents[1] / "demo" / "corpus"
# FLORES-200's folders; the first that is there is read
SPLITS = ("devtest", "dev")
FLORES_PLUS = "openlanguagedata/flores_plus"
ARCHIVES = frozenset({"zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "tar"})
NAMES_OF_NO_DATA = ("readme", "license", "licence", "copying", "changelog", ".")


def read(source: str | Path) -> RawCorpus:
    """Read every language of a source.

    - "demo": the bundled corpus.
    - "hub:owner/name[:config[:split]]": see `read_hub`.
    - a folder of one file a language, `<code>.txt`, `<code>.dev` or `<code>.devtest`, one sentence a line; `labels.txt`
      holds one label a line. Where both FLORES splits are present, as files or as folders, devtest is read.
    - a CSV or Parquet file, or a TSV with a header: one column a language (`eng_Latn` or `sentence_eng_Latn`),
      optionally `label`. In a TSV a quotation mark is text and a cell holds no tab, as IANA defines it.
    - a pair file `<source>-<target>.tsv` or `.txt`, tab-separated, no header, two columns of text (columns of ids,
      language codes or attributions are skipped); or a folder of them that share one language, identical line by line.

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
            return _read_files(_stem(path.name), text, _contents([path]), _kinds([path.name]), ())
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
        base_name = "".join(c for c in PurePosixPath(untrusted_name.replace("\\", "/")).name if c.isprintable())
        if base_name in by_name:
            raise CorpusError(f"Two uploaded files are called {base_name}; upload each language once")
        by_name[base_name] = data
    if not by_name:
        raise CorpusError("No file was uploaded")
    _check_sizes({name: len(data) for name, data in by_name.items()})
    wanted, notes = _sift(list(by_name))
    if not wanted:
        _check_archives(by_name)
    name = _stem(next(iter(by_name))) if len(by_name) == 1 else "upload"
    return _read_files(name, "upload", {name: by_name[name] for name in wanted}, wanted, notes)


def read_hub(
    dataset: str, *, config: str | None = None, split: str | None = None, revision: str | None = None
) -> RawCorpus:
    """Read a data set of the Hugging Face hub with the optional `datasets` library; code of a data set is never run.

    Either one column a language (`eng_Latn` or `sentence_eng_Latn`), or one row a sentence and language as in FLORES+
    (`iso_639_3`, `iso_15924`, `text`, `id`), where rows of one id are translations. split: devtest for FLORES+, test
    for others unless given. Raises CorpusError where `datasets` is not installed or the data set cannot be loaded.
    """
    parse_hub(f"hub:{dataset}")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise CorpusError("Reading from the hub needs the datasets library: pip install datasets") from error
    split = split or ("devtest" if dataset == FLORES_PLUS else "test")
    try:
        rows = load_dataset(dataset, name=config, split=split, revision=revision)
        headings = list(rows.column_names)
        _check_headings(dataset, headings)
        wanted = _headings_to_read(headings)
        parquet.check_cells(dataset, getattr(rows, "num_rows", 0), len(wanted))
        table = {heading: list(rows[heading]) for heading in wanted}
    except CorpusError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CorpusError(
            f"The data set {dataset} (split {split}) cannot be loaded: {reason}; if it is gated, accept its terms on "
            "the hub and log in with hf auth login"
        ) from error
    return _corpus(dataset, f"hub:{dataset}", _columns_of_table(dataset, table, headings))


# Reading files ----------------------------------------------------------------------------------------------------


def _read_folder(folder: Path, source: str, name: str) -> RawCorpus:
    entries = list(itertools.islice(folder.iterdir(), limits.CORPUS_FILES + 1))
    if len(entries) > limits.CORPUS_FILES:
        raise CorpusError(f"The folder {source} holds more than {limits.CORPUS_FILES} files, too many for a corpus")
    wanted, notes = _sift(sorted(entry.name for entry in entries if entry.is_file()))
    split = next((split for split in SPLITS if (folder / split).is_dir()), None)
    if split and not {"language", "pair"} & set(wanted.values()):
        inner = _read_folder(folder / split, source, name)
        return replace(inner, notes=(f"Read from its folder {split}.", *inner.notes))
    if not wanted:
        _check_archives(entry.name for entry in entries)
        raise CorpusError(
            f"The folder {source} holds no corpus; it needs files such as eng_Latn.txt and deu_Latn.txt, or one table"
        )
    return _read_files(name, source, _contents([folder / file_name for file_name in wanted]), wanted, notes)


def _contents(files: Sequence[Path]) -> dict[str, bytes]:
    """{name: content}. Raises CorpusError where they are too large, before they are read, and OSError."""
    _check_sizes({file.name: file.stat().st_size for file in files})
    contents = {file.name: limits.first_bytes(file, limits.CORPUS_FILE_BYTES) for file in files}
    _check_sizes({name: len(data) for name, data in contents.items()})
    return contents


def _check_archives(names: Iterable[str]) -> None:
    for name in names:
        if _suffix(name) in ARCHIVES:
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


def _sift(names: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """({name: kind} of the files to read, notes on the others); one kind of data is read, the first that is there."""
    kinds = _kinds(names)
    data_kind = next((kind for kind in ("language", "pair", "table") if kind in kinds.values()), None)
    if data_kind is None:
        return {}, ()
    wanted = {name: kind for name, kind in kinds.items() if kind in (data_kind, "labels")}
    notes = []
    dev_files = [name for name in wanted if _suffix(name) == "dev"]
    if dev_files and any(_suffix(name) == "devtest" for name in wanted):
        notes.append(f"Both FLORES splits are there: devtest is read, {some_of(dev_files)} left aside.")
        wanted = {name: kind for name, kind in wanted.items() if name not in dev_files}
        kinds = _kinds([name for name in names if name not in dev_files])
    others = [name for name in kinds if name not in wanted and not name.startswith(".")]
    if others:
        notes.append(f"Left aside, since not part of the corpus: {some_of(others)}.")
    return wanted, tuple(notes)


def _kinds(names: Iterable[str]) -> dict[str, str]:
    """{file name: "language", "pair", "table", "labels" or "other"}, by the names alone."""
    return {name: _kind(name) for name in names}


def _kind(name: str) -> str:
    stem, suffix = _stem(name), _suffix(name)
    if name.lower().startswith(NAMES_OF_NO_DATA):
        return "other"
    if name.lower() == "labels.txt":
        return "labels"
    if suffix in ("csv", "parquet"):
        return "table"
    if suffix in ("tsv", "tab"):
        return "pair" if _pair_codes(stem) else "table"
    if suffix in ("txt", "dev", "devtest") and languages.is_language_code(stem):
        return "language"
    return "pair" if suffix == "txt" and _pair_codes(stem) else "other"


def _read_files(
    name: str, source: str, files: Mapping[str, bytes], kinds: Mapping[str, str], notes: tuple[str, ...]
) -> RawCorpus:
    def of_kind(kind: str) -> dict[str, bytes]:
        return {file_name: data for file_name, data in files.items() if kinds[file_name] == kind}

    language_files, pair_files, tables = of_kind("language"), of_kind("pair"), of_kind("table")
    if language_files and all(map(_is_pair_after_all, language_files, language_files.values())):
        language_files, pair_files = {}, language_files
    if language_files:
        columns = _columns_of_language_files(language_files)
    elif pair_files:
        columns = _columns_of_pairs(pair_files)
    elif len(tables) == 1:
        columns = _read_table(*next(iter(tables.items())))
    elif tables:
        raise CorpusError(f"{source} holds several tables ({some_of(tables)}); give one of them")
    else:
        raise CorpusError(
            f"{some_of(files) or source} is no corpus; name a text file by its language (eng_Latn.txt) or its pair "
            "(eng-deu.tsv), or give a .csv, .tsv or .parquet table"
        )
    for file_name, data in of_kind("labels").items():
        columns = replace(columns, labels=_labels(file_name, data, columns.texts))
    return _corpus(name, source, replace(columns, notes=(*notes, *columns.notes)))


def _columns_of_language_files(files: Mapping[str, bytes]) -> _Columns:
    texts: dict[str, Sequence[str]] = {}
    problems: dict[str, str] = {}
    file_of: dict[str, str] = {}
    for file_name, data in files.items():
        code = _stem(file_name)
        if code in file_of:
            raise CorpusError(f"{code} is there twice, as {file_of[code]} and {file_name}; leave one of them")
        file_of[code] = file_name
        try:
            texts[code] = _lines(file_name, data)
        except CorpusError as error:
            problems[code] = str(error)
    return _Columns(texts, problems)


def _labels(file_name: str, data: bytes, texts: Mapping[str, Sequence[str]]) -> list[str]:
    labels = _lines(file_name, data)
    line_counts = sorted({len(lines) for lines in texts.values()})
    if texts and len(labels) not in line_counts:
        counts = " or ".join(map(str, line_counts))
        raise CorpusError(
            f"{file_name} has {len(labels)} labels where the languages have {counts} lines; give one each"
        )
    return labels


def _columns_of_pairs(files: Mapping[str, bytes]) -> _Columns:
    codes_of = {file_name: _pair_codes(_stem(file_name)) for file_name in files}
    if not set.intersection(*(set(codes) for codes in codes_of.values())):
        raise CorpusError(f"The pair files ({some_of(files)}) have no language in common; give one of them")
    texts: dict[str, Sequence[str]] = {}
    file_of: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for file_name, data in files.items():
        try:
            pair = _read_pair(file_name, data)
        except CorpusError as error:
            unreadable[file_name] = str(error)
            continue
        for code, lines in pair.items():
            if code in texts and texts[code] != lines:
                differing = next((i for i, (a, b) in enumerate(zip(texts[code], lines, strict=False)) if a != b), None)
                line = min(len(texts[code]), len(lines)) + 1 if differing is None else differing + 1
                raise CorpusError(
                    f"{file_of[code]} and {file_name} are not parallel, their {code} differs at line {line}; "
                    "give one of them"
                )
            texts[code] = lines
            file_of[code] = file_name
    problems = {
        code: problem for file_name, problem in unreadable.items() for code in codes_of[file_name] if code not in texts
    }
    return _Columns(texts, problems)


def _pair_codes(stem: str) -> tuple[str, str] | tuple[()]:
    """The two codes of "eng-deu", "tatoeba.eng-deu" or "zh-Hans-en"; empty where the stem names no pair."""
    parts = stem.rpartition(".")[2].split("-")
    for cut in range(1, len(parts)):
        first, second = "-".join(parts[:cut]), "-".join(parts[cut:])
        if languages.is_language_code(first) and languages.is_language_code(second) and first != second:
            return first, second
    return ()


def _is_pair_after_all(file_name: str, data: bytes) -> bool:
    """pt-br.txt is Brazilian Portuguese or Portuguese and Breton: the latter where most lines hold a tab."""
    if not _pair_codes(_stem(file_name)):
        return False
    _check_long_lines(file_name, data)
    lines = [line for line in data.split(b"\n") if line.strip()]
    return 2 * sum(b"\t" in line for line in lines) > len(lines)


def _read_pair(file_name: str, data: bytes) -> dict[str, Sequence[str]]:
    pair = _pair_codes(_stem(file_name))
    if data.count(b"\t") > limits.CORPUS_CELLS:
        raise CorpusError(f"{file_name} has more than {limits.CORPUS_CELLS:,} cells; leave out sentences")
    rows = [line.split("\t") for line in _lines(file_name, data)]
    names_the_pair = [all(languages.matches(code, row) for code in pair) for row in rows[:2]]
    if names_the_pair in ([True], [True, False]):
        return _read_table(file_name, data).texts
    width = max(2, next(len(row) for row in rows if row != [""]))
    rows = [[""] * width if row == [""] else row for row in rows]
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise CorpusError(f"{file_name}, line {number}: {len(row)} columns where {width} are expected")
    cells_of_columns = list(zip(*rows, strict=True))
    of_text = [cells for cells in cells_of_columns if width == 2 or not _is_bookkeeping(cells, pair)]
    if len(of_text) != 2:
        raise CorpusError(f"{file_name} has {len(of_text)} columns of text; a pair file needs two, separated by a tab")
    return dict(zip(pair, of_text, strict=True))


def _is_bookkeeping(cells: Sequence[str], pair: Sequence[str]) -> bool:
    """A column of ids, of one language code repeated, or of licences."""
    values = {cell.strip() for cell in cells if cell.strip()}
    is_one_code = len(values) == 1 and bool(languages.matches(next(iter(values)), pair))
    return is_one_code or all(value.isdecimal() or value.startswith("CC-BY") for value in values)


# A corpus of what was read ----------------------------------------------------------------------------------------


def _corpus(name: str, source: str, columns: _Columns) -> RawCorpus:
    if not columns.texts:
        reasons = list(dict.fromkeys(columns.problems.values()))
        raise CorpusError("; ".join(reasons[:3]) or f"{source} holds no language")
    texts = {code: tuple(map(normalise, lines)) for code, lines in columns.texts.items()}
    return RawCorpus(
        name=name,
        source=source,
        texts=texts,
        changed={code: sum(map(str.__ne__, columns.texts[code], lines)) for code, lines in texts.items()},
        problems=dict(columns.problems),
        labels=None if columns.labels is None else tuple(map(normalise, columns.labels)),
        notes=tuple(columns.notes),
    )
