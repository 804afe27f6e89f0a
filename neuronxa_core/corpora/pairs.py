"""Pairs of languages, as Tatoeba and OPUS give them.

One file of two columns of text that are tab-separated, no header (eng-deu.tsv); or two files of one name that end in
their languages (tatoeba.afr-eng.afr beside tatoeba.afr-eng.eng, Moses' corpus.en-de.en beside corpus.en-de.de).
"""

from collections.abc import Mapping, Sequence

from neuronxa_core.corpora import languages
from neuronxa_core.corpora.parallel import Columns
from neuronxa_core.corpora.tables import read_table
from neuronxa_core.corpora.texts import check_lines, lines_of, stem, suffix
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


def side_of(file_name: str) -> str:
    """The language of which "tatoeba.afr-eng.afr" is the side of a pair; "" where a name is that of no side."""
    ending = suffix(file_name)
    return next((code for code in pair_codes(stem(file_name)) if code.lower() == ending), "")


def read_pairs(files: Mapping[str, bytes]) -> Columns:
    """The languages of pair files, {name: content}, that share one language: line by line, or each with its own lines.

    A pair is one file, or two files of one name that end in their languages. One that cannot be read becomes a problem
    of its languages. Raises CorpusError where the files have no language in common or one pair twice.
    """
    codes_of = {file_name: pair_codes(stem(file_name)) for file_name in files}
    shared = set.intersection(*map(set, codes_of.values()))
    if not shared:
        raise CorpusError(f"The pair files ({some_of(files)}) have no language in common; give one of them")
    names_of: dict[str, list[str]] = {}
    for file_name in files:
        names_of.setdefault(stem(file_name) if side_of(file_name) else file_name, []).append(file_name)
    pairs: dict[str, Mapping[str, Sequence[str]]] = {}
    unreadable: dict[str, str] = {}
    for name, names in names_of.items():
        try:
            is_whole = name in files
            pairs[name] = _read_pair(name, files[name], codes_of[name]) if is_whole else _read_sides(names, files)
        except CorpusError as error:
            unreadable |= dict.fromkeys(codes_of[names[0]], str(error))
    texts: dict[str, Sequence[str]] = {}
    for pair in pairs.values():
        texts |= pair
    problems = {code: problem for code, problem in unreadable.items() if code not in texts}
    if all(texts[code] == lines for pair in pairs.values() for code, lines in pair.items()):
        return Columns(texts, problems)
    (pivot, *another), own, name_of = shared, {}, {}
    for name, pair in pairs.items():
        code = next((code for code in codes_of[names_of[name][0]] if code != pivot), "")
        if another or code in own:
            others = (other for other in pairs if other != name)
            raise CorpusError(f"{name_of.get(code) or next(others)} and {name} are the same pair; give one of them")
        found = {other: languages.matches(other, pair) for other in (pivot, code)}
        own[code], name_of[code] = {other: pair[known[0]] for other, known in found.items()}, name
    lines = dict.fromkeys(line for pair in own.values() for line in pair[pivot])
    texts = {pivot: list(lines), **{code: pair[code] for code, pair in own.items()}}
    problems = {code: problem for code, problem in problems.items() if code not in texts}
    note = f"Each pair has its own sentences of {pivot}: languages are compared with it, and not with each other."
    return Columns(texts, problems, notes=(note,), pairs=own)


def _read_sides(names: Sequence[str], files: Mapping[str, bytes]) -> Mapping[str, Sequence[str]]:
    """The two files of a pair. Empty lines at the end of one count where the other has as many lines."""
    name = stem(names[0])
    sides = {side_of(file_name): file_name for file_name in names}
    lacking = [code for code in pair_codes(name) if code not in sides]
    if lacking:
        raise CorpusError(f"{names[0]} is one side of a pair, and {name}.{lacking[0]} is missing; put it beside it")
    lines = {code: lines_of(sides[code], files[sides[code]]) for code in pair_codes(name)}
    counts = {code: len(found) for code, found in lines.items()}
    longest = max(counts.values())
    for code, found in lines.items():
        data = files[sides[code]]
        there = data.count(b"\n") + (not data.endswith(b"\n"))
        found += [""] * (min(longest, there) - len(found))
    if len(set(map(len, lines.values()))) > 1:
        said = " and ".join(f"{sides[code]} has {count:,} lines" for code, count in counts.items())
        raise CorpusError(f"{said}: line by line they are no translations; mend them or leave the pair out")
    return lines


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
