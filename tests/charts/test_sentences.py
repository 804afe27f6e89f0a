"""The map of sentences as a chart."""

import numpy as np
import pandas as pd
import pytest
import vl_convert

from neuronxa_core import charts


@pytest.mark.parametrize(("languages", "n"), [(25, 100), (2, 1250), (204, 12), (3, 4)])
def test_a_map_is_small_and_keeps_its_frame_and_its_grey(languages, n):
    codes = [f"Some language {k} (l{k:03d}_Latn)" for k in range(languages)]
    places = np.random.default_rng(0).normal(size=(languages * n, 2))
    table = pd.DataFrame(
        {
            "label": np.repeat(codes, n),
            "group": np.repeat(["Romance" if k % 2 else "others" for k in range(languages)], n),
            "sentence": np.tile(np.arange(1, n + 1), languages),
            "text": np.tile([f"Предложение номер {k} " * 8 for k in range(n)], languages),
            "x": places[:, 0],
            "y": places[:, 1],
        }
    )
    chart = charts.sentence_map(table, 4.5, others="others", colour="Family", title="A map")
    assert len(chart.to_json(indent=None)) < 300_000
    spec = chart.to_dict()
    lines, dots = spec["layer"]
    assert dots["encoding"]["x"]["scale"]["domain"] == dots["encoding"]["y"]["scale"]["domain"] == [-4.5, 4.5]
    assert dots["encoding"]["color"]["scale"]["range"][-1] == "#BBBBBB"
    assert lines["encoding"]["x2"]["field"] == "px"
    if n == 4:
        drawn = vl_convert.vegalite_to_svg(chart.to_json())
        assert drawn.count('aria-roledescription="circle"') == languages * n
        assert f"Language: {codes[-1]}; Sentence: 4; Pivot: {table['text'].iloc[-1][:80]}…" in drawn
