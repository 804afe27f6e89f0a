"""DataFrames to altair charts: pure functions, one file a family."""

from neuronxa_core.charts.alignment import layer_curves, ranking, states_side_by_side
from neuronxa_core.charts.curves import value_curves
from neuronxa_core.charts.matrices import is_picture, language_matrix, picture_step, similarity_matrix
from neuronxa_core.charts.neurons import effects, probability_bars, value_distribution
from neuronxa_core.charts.overlap import (
    MEANING_KINDS,
    meaning,
    overlap_curves,
    shared_core,
    specific_neurons,
    text_overlap,
    upset,
)
from neuronxa_core.charts.tasks import correlation_by_layer, methods_by_tasks, model_curves, scatter, sentence_curve
from neuronxa_core.charts.theme import (
    CANVAS,
    COLOURS,
    DASHES,
    LANGUAGES_SIZE,
    MATRIX_SIZE,
    MOST_CURVES,
    MOST_MARKS,
    MOST_VALUES,
    SCORE_AXIS,
    STANDARD_RANGE,
    VIRIDIS,
    png,
    svg,
)

__all__ = [
    "CANVAS",
    "COLOURS",
    "DASHES",
    "LANGUAGES_SIZE",
    "MATRIX_SIZE",
    "MEANING_KINDS",
    "MOST_CURVES",
    "MOST_MARKS",
    "MOST_VALUES",
    "SCORE_AXIS",
    "STANDARD_RANGE",
    "VIRIDIS",
    "correlation_by_layer",
    "effects",
    "is_picture",
    "language_matrix",
    "layer_curves",
    "meaning",
    "methods_by_tasks",
    "model_curves",
    "overlap_curves",
    "picture_step",
    "png",
    "probability_bars",
    "ranking",
    "scatter",
    "sentence_curve",
    "shared_core",
    "similarity_matrix",
    "specific_neurons",
    "states_side_by_side",
    "svg",
    "text_overlap",
    "upset",
    "value_curves",
    "value_distribution",
]
