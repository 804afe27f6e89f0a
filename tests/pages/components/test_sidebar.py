"""Names of runs: a browser sends back the name of the one that is chosen, so that no two may be alike."""

from neuronxa_core.experiment import Experiment
from pages.components.sidebar import names_of


def test_no_two_runs_have_one_name():
    thai, japanese = (Experiment(languages=("spa_Latn", code), sentences=15) for code in ("tha_Thai", "jpn_Jpan"))
    sampled = Experiment(languages=japanese.languages, sentences=15, seed=1)
    every, some = Experiment(sentences=15, seed=2), Experiment(sentences=15, seed=3)
    start = "Demo model · Demo corpus · "
    assert names_of([thai, japanese, sampled, every, some, Experiment()]) == {
        thai: f"{start}2 languages · 15 sentences",
        japanese: f"{start}2 languages · 15 sentences: spa_Latn, jpn_Jpan",
        sampled: f"{start}2 languages · 15 sentences: spa_Latn, jpn_Jpan (2)",
        every: f"{start}15 sentences",
        some: f"{start}15 sentences (2)",
        Experiment(): "Demo model · Demo corpus",
    }
