"""DataFrames to altair charts: pure functions, one file per family.

Every chart has a title, named axes whose ranges stay as a slider moves, a tooltip and a colour-blind-safe scale. Its
docstring says which columns its table has.
"""

from neuronxa_core.charts.alignment import (
    dumbbells,
    layer_curves,
    layer_heat_map,
    ranking,
    retrieval_gaps,
    states_side_by_side,
)
from neuronxa_core.charts.curves import value_curves
from neuronxa_core.charts.matrices import LANGUAGES_SIZE, is_picture, language_matrix, similarity_matrix
from neuronxa_core.charts.neurons import effects, probability_bars, value_distribution
from neuronxa_core.charts.overlap import (
    definitions,
    meaning,
    overlap_curves,
    shared_core,
    specific_neurons,
    text_overlap,
    upset,
)
from neuronxa_core.charts.pictures import MATRIX_SIZE, MOST_MARKS, MOST_VALUES, picture_step
from neuronxa_core.charts.sentences import sentence_map
from neuronxa_core.charts.tasks import (
    accuracies,
    correlation_by_layer,
    methods_by_tasks,
    model_curves,
    odds_ratios,
    scatter,
    sentence_curve,
)
from neuronxa_core.charts.theme import MOST_CURVES, png, svg
