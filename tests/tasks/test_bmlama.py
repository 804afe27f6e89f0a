"""BMLAMA's files: read as they are, and what is wrong with them said in a sentence."""

import pytest

from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks.bmlama import Query, check_parallel, read, read_file

HEAD = "Prompt\tAns\tCandidate Ans\tSubject\r\n"
GOOD = HEAD + "Ada was born in <mask>.\tRome, Bonn\tOslo, Rome, Bonn\tAda\r\n"


def test_a_file_as_it_is_published(tmp_path):
    # cells that hold a quotation mark are quoted as in CSV, and the last line is empty
    text = GOOD + '"The ""NATO"" is in <mask>."\tOslo\t"Oslo, a""b"\tx\r\n\r\n'
    (tmp_path / "en.tsv").write_bytes(text.encode("utf-8-sig"))
    (tmp_path / "notes.md").write_text("other")
    wanted = (
        Query("Ada was born in <mask>.", ("Rome", "Bonn"), ("Oslo", "Rome", "Bonn")),
        Query('The "NATO" is in <mask>.', ("Oslo",), ("Oslo", 'a"b')),
    )
    assert read(tmp_path) == read(tmp_path / "en.tsv") == {"en": wanted}
    assert wanted[1].filled == ['The "NATO" is in Oslo.', 'The "NATO" is in a"b.']


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "en.tsv has no column Prompt and no column Ans and no column Candidate Ans; BMLAMA's files"),
        ("Prompt,Ans,Candidate Ans\n", "en.tsv has no column Prompt and"),
        ("Prompt\tAns\tAns\tCandidate Ans\n", "en.tsv has no column Ans;"),
        (HEAD, "en.tsv has headings but no prompts"),
        (GOOD + "a <mask>\tb\n", "en.tsv, line 3: 2 cells where there are 4 columns"),
        (GOOD + "\n" + GOOD, "en.tsv, line 3: 0 cells"),
        (HEAD + "a\tb\tb\n", "line 2: the prompt has <mask> 0 times"),
        (HEAD + "<mask> a <mask>\tb\tb\n", "line 2: the prompt has <mask> 2 times"),
        (HEAD + "a <mask>\tb\tc, d\n", "line 2: the answer 'b' is none of the candidates"),
        (HEAD + "a <mask>\tb\tb, , c\n", "line 2: a candidate is empty"),
        (HEAD + '"a <mask>\tb\tb\nc <mask>\td\td\n', "line 2: a quotation mark opens a cell and none closes it"),
        (b"\xff\xfe\x00", "en.tsv"),
        (HEAD.encode() + b"\xe4", "en.tsv, line 2: not UTF-8"),
        (b"PK\x03\x04", "en.tsv is a workbook"),
    ],
)
def test_malformed_files_are_refused(text, said):
    with pytest.raises(ScoresError) as error:
        read_file("en.tsv", text if isinstance(text, bytes) else text.encode())
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (("a", "b"), "de has 2 prompts and en 1"),
        (("a, b",), "line 2 has 2 candidates in de and 1 in en"),
    ],
)
def test_files_that_are_not_parallel_are_refused(other, said):
    made = lambda texts: tuple(Query("<mask>", ("a",), tuple(text.split(", "))) for text in texts)  # noqa: E731
    with pytest.raises(ScoresError, match=said):
        check_parallel({"en": made(("a",)), "de": made(other)})


def test_no_files_are_refused(tmp_path):
    for path, said in ((tmp_path, "holds no .tsv file"), (tmp_path / "x.tsv", "cannot be read: No such file")):
        with pytest.raises(ScoresError, match=said):
            read(path)
