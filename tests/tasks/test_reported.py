"""The paper's correlations: each task has its own, and any other none."""

import pandas as pd
import pytest

from neuronxa_core.tasks import reported


@pytest.mark.parametrize(
    ("names", "figures"),
    [
        (("xnli", "XNLI_dev"), {"NeuronXA": 0.9639, "NASCA": 0.9326, "NAVCA": 0.8937, "MEXA": 0.8370}),
        (("bmlama53", "BMLAMA"), {"NeuronXA": 0.9062, "NASCA": 0.7701, "NAVCA": 0.8065, "MEXA": 0.7463}),
        (("m_arc", "arc_challenge", "arc_25-shot"), {"NeuronXA": 0.9867}),
        (("m-mmlu", "mmlu_5-shot"), {"NeuronXA": 0.9859}),
        (("belebele",), {"NeuronXA": 0.9796}),
        (
            ("arc_easy", "global_mmlu", "mmlu_prox", "xnli_translate_train_all", "xcopa", "bmlama17", "likelihood", ""),
            {},
        ),
    ],
)
def test_a_task_has_the_figures_of_the_paper_or_none(names, figures):
    for name in names:
        found = reported.correlations(name)
        assert dict(zip(found["method"], found["r"], strict=True)) == figures, name
        said = reported.caption(found)
        assert (said == "") == (not figures)
        assert all(f"{method} {r:.4f}" in said for method, r in figures.items())


def test_every_figure_has_a_source_and_a_task_that_is_known():
    table = pd.read_csv(reported.FILE)
    assert set(table["task"]) == set(reported.NAMES)
    assert table["source"].str.startswith("https://arxiv.org/").all()
    said = reported.caption(reported.correlations("belebele"))
    assert said.endswith("reports for large models: NeuronXA 0.9796 (best row, FLORES-200).")
