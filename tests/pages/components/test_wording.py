"""Words and text as pages write them."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from neuronxa_core.cli.main import parser
from neuronxa_core.experiment import Experiment
from pages.components import wording


def test_texts_come_out_harmless():
    assert wording.sentence("<script>alert(1)</script>", "arb_Arab") == (
        '<span dir="rtl" lang="arb-Arab">&lt;script&gt;alert(1)&lt;/script&gt;</span>'
    )


def test_the_command_line_of_an_experiment_is_read_back():
    chosen = Experiment(corpus="a b.csv", languages=("deu", "fra"), sentences=7, pooling="last", dtype="float16")
    options = parser().parse_args(["score", *shlex.split(wording.command_line(chosen))])
    assert (options.corpus, options.languages, options.sentences) == ("a b.csv", ["deu", "fra"], 7)
    assert (options.pooling, options.dtype, options.neuron) == ("last", "float16", "product")


def test_sizes_and_times_as_a_person_says_them():
    assert [wording.size(x) for x in (12, 1500, 2_340_000, 5e9)] == ["12 bytes", "1.5 kB", "2.3 MB", "5.0 GB"]
    assert [wording.duration(x) for x in (0.2, 42, 600, 7200)] == ["1 s", "42 s", "10 min", "2.0 h"]


# what others wrote -------------------------------------------------------------------------------------------------

NASTY = [
    "![x](https://tracker.example/x.png)",
    "[click](https://evil.example)",
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "**bold** _x_ ~~y~~",
    "`code` and `more",
    "``x`` `",
    "`\n\n![x](https://tracker.example/y.png)\n\n`",
    "# heading",
    "- list\n- list",
    "1. list",
    "12) list",
    "> quotation",
    "+ list",
    "=\n===",
    "a | b\n--|--\nc | d",
    "$\\href{javascript:alert(1)}{x}$",
    ":red[text] :material/delete: :smile:",
    "&lt;b&gt; &copy;",
    "\\*not\\*",
]


def plain_of(markdown):
    """What a reader of CommonMark sees: (text, kinds of all that is more than text and code)."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown)
    inner = [one for token in tokens if token.type == "inline" for one in token.children]
    plain = {"text", "text_special", "code_inline", "softbreak"}
    kinds = {token.type for token in [*tokens, *inner]} - plain - {"inline", "paragraph_open", "paragraph_close"}
    return "".join(one.content for one in inner if one.type in plain), kinds


@pytest.mark.parametrize("text", NASTY)
@pytest.mark.parametrize("way", [wording.said, wording.safe])
def test_no_words_of_others_are_read_as_markdown(text, way):
    text = " ".join(text.split())
    shown = way(text)
    seen, more = plain_of(shown)
    assert not more, (shown, more)
    if way is wording.safe:
        assert seen == text or "&" in text
    for sign in ("$", ":material", ":red[", ":smile"):
        assert sign not in shown.replace(f"\\{sign[0]}", "")


@given(st.text(max_size=60))
def test_whatever_an_error_repeats_is_shown_as_words(text):
    assert not plain_of(wording.said(text))[1]


def test_an_error_keeps_its_code_and_codes():
    assert wording.said("run `hf auth login` for eng_Latn (a-b).") == "run `hf auth login` for eng_Latn (a-b)."
