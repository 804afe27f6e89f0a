"""Words and text as pages write them."""

import shlex

from neuronxa_core.__main__ import parser
from neuronxa_core.experiment import Experiment
from pages.components import wording


def test_texts_come_out_harmless():
    assert wording.sentence("<script>alert(1)</script>", "arb_Arab") == (
        '<span dir="rtl" lang="arb">&lt;script&gt;alert(1)&lt;/script&gt;</span>'
    )
    assert wording.safe("[x](javascript:y) **b**") == "\\[x\\]\\(javascript\\:y\\) \\*\\*b\\*\\*"


def test_the_command_line_of_an_experiment_is_read_back():
    chosen = Experiment(corpus="a b.csv", languages=("deu", "fra"), sentences=7, pooling="last", dtype="float16")
    options = parser().parse_args(["score", *shlex.split(wording.command_line(chosen))])
    assert (options.corpus, options.languages, options.sentences) == ("a b.csv", ["deu", "fra"], 7)
    assert (options.pooling, options.dtype, options.neuron) == ("last", "float16", "product")


def test_sizes_and_times_as_a_person_says_them():
    assert [wording.size(x) for x in (12, 1500, 2_340_000, 5e9)] == ["12 bytes", "1.5 kB", "2.3 MB", "5.0 GB"]
    assert [wording.duration(x) for x in (0.2, 42, 600, 7200)] == ["1 s", "42 s", "10 min", "2.0 h"]
