"""Tables that set alignment beside a task's scores: by language, layer, control, estimate and model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from neuronxa_core.corpora import languages
from neuronxa_core.errors import ExperimentError
from neuronxa_core.measures import sentence_subsets, task_correlation
from neuronxa_core.measures.alignment import METHODS, Alignment, pool_layers
from neuronxa_core.measures.task import Task
from neuronxa_core.measures.task_correlation import Points
from neuronxa_core.states import planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.statistics import correlation, layer_choice, partial, regression
from neuronxa_core.store.cache import Store
from neuronxa_core.tasks import covariates

SENTENCE_STEPS = (10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)


def by_language(points: Points, x: np.ndarray, n: Mapping[str, float]) -> pd.DataFrame:
    """Columns language, label, alignment (x), score and n (items of the task, NaN where unknown)."""
    return pd.DataFrame(
        {
            "language": points.languages,
            "label": [languages.label(code) for code in points.languages],
            "alignment": x,
            "score": points.y,
            "n": [n.get(code, np.nan) for code in points.languages],
        }
    )


def scatter_points(joined: pd.DataFrame, x: np.ndarray, y: np.ndarray, groups: Sequence[str]) -> pd.DataFrame:
    """The languages as charts.scatter draws them. joined: `by_language`; x, y: its columns, transformed or not."""
    more = [f"alignment {a:.4f}, score {b:.4f}" for a, b in zip(joined["alignment"], joined["score"], strict=True)]
    return joined[["language", "label"]].assign(x=x, y=y, group=list(groups), more=more)


def regression_line(span: np.ndarray, x: np.ndarray, y: np.ndarray) -> pd.DataFrame:
    """The line of y on x and its 95 % confidence band, over the range of `span`; empty where x is constant.

    Columns x, mean, low, high.
    """
    at = np.linspace(span.min(), span.max(), 60)
    fit = regression.regression(x, y, at)
    return pd.DataFrame({"x": at, "mean": fit.line, "low": fit.low, "high": fit.high}).dropna()


def by_layer(scores: Mapping[str, np.ndarray], y: np.ndarray, sign: int = 1) -> pd.DataFrame:
    """The correlation of every method's alignment with a task at each layer.

    scores: by state, [language, layer]. y: [language]. sign: -1 where less is better. Columns method, layer, r, low,
    high, p, rho, tau, p_of_best (`family_wise_p` over all layers and methods).
    """
    tables = []
    for state, by_state in scores.items():
        one = layer_choice.correlation_by_layer(by_state, y)
        columns = {name: getattr(one, name) for name in ("r", "low", "high", "p", "rho", "tau")}
        tables.append(pd.DataFrame({"method": METHODS[state], "layer": range(len(one.r)), **columns}))
    best = layer_choice.family_wise_p(np.hstack(list(scores.values())), sign * y)
    return pd.concat(tables, ignore_index=True).assign(p_of_best=best)


def best_of_all(table: pd.DataFrame, names: Sequence[str], kind: str) -> str:
    """In a sentence: which of all correlations of a table is the best, and whether it is more than the best of luck.

    table: with r and p_of_best, a row per `kind`, as a person calls several of them. names: a row's.
    """
    known = table.assign(name=names, size=table["r"].abs()).dropna(subset="p_of_best")
    if known.empty:
        return ""
    best = known.sort_values(["p_of_best", "size"], ascending=[True, False]).iloc[0]
    said = (
        f"The best of all {len(known)} {kind} is {best['name']} (r = {best['r']:.3f}); with the choice among them paid "
        f"for, p = {best['p_of_best']:.2g} by permutation."
    )
    return said if best["p_of_best"] < 0.05 else f"{said} The best of so many can be as good by chance alone."


def best_layers(table: pd.DataFrame, sign: int) -> pd.DataFrame:
    """The layer at which each method predicts the task best: its rows of `by_layer`. sign: -1 where less is better."""
    best = (sign * table["r"]).groupby(table["method"], sort=False).idxmax().dropna()
    return table.loc[best]


def held_out_layers(scores: Mapping[str, np.ndarray], y: np.ndarray, sign: int) -> pd.DataFrame:
    """The best layer of each method, and its r on languages that did not choose it; see `nested_layer_choice`.

    scores, y: as in `by_layer`. sign: -1 where less is better. Raises ExperimentError for too few languages.
    """
    rows = []
    for state, by_state in scores.items():
        nested = layer_choice.nested_layer_choice(by_state, sign * y)
        rows.append(
            {
                "method": METHODS[state],
                "best layer": nested.best,
                "r there": sign * nested.optimistic,
                "r on languages that did not choose it": sign * nested.mean,
                "optimism": nested.gap,
            }
        )
    return pd.DataFrame(rows)


def by_sentences(plan: Plan, store: Store, state: str, pooling: str, layers: str, points: Points) -> pd.DataFrame:
    """r with only so many sentence pairs, drawn from all; see `sentence_curve`."""
    planning.check_shared(plan, "r by the number of sentences")
    n = plan.corpus.n_sentences
    return sentence_subsets.sentence_curve(
        task_correlation.competitor_masks(plan, store, state, pooling),
        points.languages,
        range(plan.info.layers_of(state)),
        points.y,
        [*(size for size in SENTENCE_STEPS if size < n), n],
        layer_pooling=layers,
    )


def enough_sentences(curve: pd.DataFrame, within: float = 0.05) -> int | None:
    """The fewest sentence pairs whose mean r is that close to that of all; None where r is undefined."""
    close = curve.loc[(curve["r"] - curve["r"].iloc[-1]).abs() <= within, "sentences"]
    return int(close.iloc[0]) if len(close) else None


def controls_of(tokens: Mapping[str, float], known: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """What can be held constant, by name. tokens: per sentence, by language. known: see `covariates.known`;
    what is the same for all languages is no control.
    """
    length = pd.DataFrame({"tokens": [tokens[code] for code in known.index]})
    known = known.loc[:, known.nunique() > 1].reset_index(drop=True)
    found = {"tokens per sentence": length, **{str(name): known[[name]] for name in known if name != "family"}}
    if covariates.SHARE_COLUMN in known:
        found["training share and tokens"] = pd.concat([length, known[[covariates.SHARE_COLUMN]]], axis=1)
    return found


def held_constant(
    x: np.ndarray, y: np.ndarray, controls: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The correlation of x and y [language], and what is left of it with each control held constant.

    Returns the table with columns held constant, n, r, low, high, p, rho, and why a control could not be used, by name.
    """
    found, refused = {"nothing": correlation.correlate(x, y)}, {}
    for name, frame in controls.items():
        try:
            found[name] = partial.partial(x, y, frame)
        except ExperimentError as error:
            refused[name] = str(error)
    rows = [
        (name, one.n, one.pearson_r, one.pearson_low, one.pearson_high, one.pearson_p, one.spearman_rho)
        for name, one in found.items()
    ]
    return pd.DataFrame(rows, columns=["held constant", "n", "r", "low", "high", "p", "rho"]), refused


def estimates(
    plan: Plan, task: Task, points: Points, pooled: np.ndarray, pivot_score: float, method: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """MEXA's way to estimate, and two rivals: (their errors on languages with a score, the estimates of all languages).

    pooled: alignment of the plan's languages, [language], by `method`. The second table's columns: language, label,
    alignment, score (NaN where unknown), `method` × pivot's score, line, and line from and line to, between which a new
    language's score lies in 95 % of cases if the line holds; the best estimate first.
    """
    codes = [code for code in plan.languages if code != plan.pivot]
    x = pooled[[plan.languages.index(code) for code in codes]]
    found = regression.predicted(pooled[points.at], points.y, x, pivot_score)
    line = regression.regression(pooled[points.at], points.y, x)
    product = f"{method} × pivot's score"
    errors = {
        product: found.adjusted_error,
        "line through the other languages": found.line_error,
        "mean of the other languages": found.mean_error,
    }
    table = pd.DataFrame(
        {
            "language": codes,
            "label": [languages.label(code) for code in codes],
            "alignment": x,
            "score": [task.scores.get(code, np.nan) for code in codes],
            product: found.adjusted,
            "line": found.line,
            "line from": line.prediction_low,
            "line to": line.prediction_high,
        }
    )
    return (
        pd.DataFrame(
            [(name, one.mean_absolute, one.root_mean_square, one.bias) for name, one in errors.items()],
            columns=["estimate", "mean absolute error", "root mean square", "bias"],
        ),
        table.sort_values(product, ascending=False),
    )


def by_depth(alignments: Mapping[str, Alignment], codes: Sequence[str]) -> pd.DataFrame:
    """The mean score of some languages at each relative depth (layer 0 at 0, the last at 1), by model.

    Columns model, layer, depth, score, low, high (± 1.96 standard errors over languages).
    """
    tables = []
    for name, one in alignments.items():
        scores = one.score[[one.languages.index(code) for code in codes]]
        count, mean = scores.shape[1], scores.mean(axis=0)
        error = scores.std(axis=0, ddof=1) / np.sqrt(len(codes)) if len(codes) > 1 else np.zeros(count)
        depth = np.linspace(0, 1, count) if count > 1 else [0.5]
        band = {"low": mean - 1.96 * error, "high": mean + 1.96 * error}
        tables.append(pd.DataFrame({"model": name, "layer": range(count), "depth": depth, "score": mean, **band}))
    return pd.concat(tables, ignore_index=True)


def by_model(alignments: Mapping[str, Alignment], codes: Sequence[str], layers: str) -> pd.DataFrame:
    """Each model's score of some languages, layers pooled: a column per model, indexed by language."""
    return pd.DataFrame(
        {
            name: pool_layers(one.score[[one.languages.index(code) for code in codes]], layers)
            for name, one in alignments.items()
        },
        index=pd.Index(codes, name="language"),
    )


def points_of_models(scores: pd.DataFrame, tasks: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """The languages of all models with both an alignment and a score: columns model, language, x, y.

    scores: `by_model`. tasks: task scores by language, by model.
    """
    rows = [
        (model, code, scores.loc[code, model], tasks[model][code])
        for model in scores
        for code in scores.index
        if code in tasks[model]
    ]
    return pd.DataFrame(rows, columns=["model", "language", "x", "y"])
