"""Pair files (eng-deu.tsv), as Tatoeba and OPUS give them: two columns of text that are tab-separated, no header."""

from collections.abc import Mapping, Sequence

from neuronxa_core.corpora import languages
from neuronxa_core.corpora.parallel import Columns
from neuronxa_core.corpora.tables import read_table
from neuronxa_core.corpora.texts import check_lines, lines_of, stem
from neuronxa_core.errors import CorpusError
from neuronxa_core.host import limits
from neuronxa_core.wording import some_of


def pair_codes(file_stem: str) -> tuple[str, str] | tuple[()]:
    """The two codes of "eng-deu", "tatoeba.eng-deu" or "zh-Hans-en"; empty where the stem names no pair."""
    parts = file_stem.rpartition(".")[2].split("-")
    for cut in range(1, len(parts)):
        first, second = "-".join(parts[:cut]), "-".join(parts[cut:])
        if languages.is_language_code(first) and languages.is_language_code(second) and first != second:
            return first, second
    return ()


def is_pair_after_all(file_name: str, data: bytes) -> bool:
    """pt-br.txt is Brazilian Portuguese or Portuguese and Breton: the latter where most lines hold a tab."""
    if not pair_codes(stem(file_name)):
        return False
    check_lines(file_name, data)
    lines = [line for line in data.split(b"\n") if line.strip()]
    return 2 * sum(b"\t" in line for line in lines) > len(lines)


def read_pairs(files: Mapping[str, bytes]) -> Columns:
    """The languages of pair files, {name: content}, that share one language line by line.

    A file that cannot be read becomes a problem of its languages. Raises CorpusError where the files have no language
    in common or are not parallel.
    """
    codes_of = {file_name: pair_codes(stem(file_name)) for file_name in files}
    if not set.intersection(*map(set, codes_of.values())):
        raise CorpusError(f"The pair files ({some_of(files)}) have no language in common; give one of them")
    texts: dict[str, Sequence[str]] = {}
    file_of: dict[str, str] = {}
    unreadable: dict[str, str] = {}
    for file_name, data in files.items():
        try:
            pair = _read_pair(file_name, data, codes_of[file_name])
        except CorpusError as error:
            unreadable |= dict.fromkeys(codes_of[file_name], str(error))
            continue
        for code, lines in pair.items():
            known = texts.get(code, lines)
            if known != lines:
                at = next((i for i, (a, b) in enumerate(zip(known, lines, strict=False)) if a != b), None)
                line = min(len(known), len(lines)) if at is None else at
                raise CorpusError(
                    f"{file_of[code]} and {file_name} are not parallel, their {code} differs at line {line + 1}; "
                    "give one of them"
                )
            texts[code], file_of[code] = lines, file_name
    return Columns(texts, {code: problem for code, problem in unreadable.items() if code not in texts})


def _read_pair(file_name: str, data: bytes, pair: Sequence[str]) -> Mapping[str, Sequence[str]]:
    if data.count(b"\t") > limits.CORPUS_CELLS:
        raise CorpusError(f"{file_name} has more than {limits.CORPUS_CELLS:,} cells; leave out sentences")
    rows = [line.split("\t") for line in lines_of(file_name, data)]
    names_the_pair = [all(languages.matches(code, row) for code in pair) for row in rows[:2]]
    if names_the_pair in ([True], [True, False]):
        return read_table(file_name, data).texts
    width = max(2, next(len(row) for row in rows if row != [""]))
    rows = [[""] * width if row == [""] else row for row in rows]
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise CorpusError(f"{file_name}, line {number}: {len(row)} columns where {width} are expected")
    columns = list(zip(*rows, strict=True))
    of_text = [cells for cells in columns if width == 2 or not _is_bookkeeping(cells, pair)]
    if len(of_text) != 2:
        raise CorpusError(f"{file_name} has {len(of_text)} columns of text; a pair file needs two, separated by a tab")
    return dict(zip(pair, of_text, strict=True))


def _is_bookkeeping(cells: Sequence[str], pair: Sequence[str]) -> bool:
    """A column of ids, of one language code repeated, or of licences."""
    values = {cell.strip() for cell in cells} - {""}
    is_one_code = len(values) == 1 and bool(languages.matches(next(iter(values)), pair))
    return is_one_code or all(value.isdecimal() or value.startswith("CC-BY") for value in values)
