"""One task's scores at a plan's languages: matched from a table, or measured here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from neuronxa_core.errors import ScoresError
from neuronxa_core.measures.bitext_retrieval import BitextRetrieval, split_sentences
from neuronxa_core.measures.language_scores import LanguageScores
from neuronxa_core.measures.likelihood import NatsPerByte
from neuronxa_core.measures.probe import LinearProbe
from neuronxa_core.measures.task_correlation import same_model
from neuronxa_core.measures.transfer import Transfer
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import Store
from neuronxa_core.tasks import matching, score_files
from neuronxa_core.tasks.task_scores import TaskScores
from neuronxa_core.wording import some_of


@dataclass(frozen=True)
class Task:
    """One task's scores by code of a plan.

    model: whose scores they are. scores, n: by language; n, the number of items, is NaN where unknown. source: where
    the scores were read. unmatched: what was not used, in sentences. rows: the sentences on which alignment is to be
    measured, where the task was measured on the others; None for all. measure: what measured it, where this program
    did. table: the table that it is of, where it was read.
    """

    model: str
    name: str
    metric: str
    scores: dict[str, float]
    n: dict[str, float]
    source: str
    unmatched: tuple[str, ...] = ()
    rows: tuple[int, ...] | None = None
    higher_is_better: bool = True
    measure: LanguageScores | None = None
    table: TaskScores | None = None

    @property
    def title(self) -> str:
        return f"{self.name} ({self.metric})"

    @property
    def sign(self) -> int:
        """1, or -1 where less is better: a method predicts such a task by a negative correlation."""
        return 1 if self.higher_is_better else -1

    @property
    def is_share(self) -> bool:
        """Whether more is better and all scores are in [0, 1], as accuracies are."""
        return self.higher_is_better and all(0 <= score <= 1 for score in self.scores.values())

    def of_another_model(self, plan: Plan) -> str:
        """A warning where the scores are not those of the plan's model; else nothing."""
        if same_model(plan, [self.model]):
            return ""
        return (
            f"These are scores of {self.model}; the alignment is that of {plan.source.name}. Scores of another model "
            "say how hard a language is, not what this model can do."
        )

    def of_model(self, other: Plan, store: Store) -> dict[str, float]:
        """The same task's scores of another model's plan: measured, or in the same table; empty where neither."""
        if self.measure is not None:
            measure = replace(self.measure, plan=other)
            return {} if measure.totals(store) else measured(measure, store, other).scores
        named = None if self.table is None else same_model(other, self.table.groups["model"].unique())
        if named is None:
            return {}
        try:
            return matched(other, self.table, named, self.name, self.metric).scores
        except ScoresError:  # the table has another task or metric of that model
            return {}


def matched(plan: Plan, scores: TaskScores, model: str, task: str, metric: str) -> Task:
    """A task of a table of scores at the plan's languages. Raises ScoresError where the table does not have it."""
    chosen = scores.select(model=model, task=task, metric=metric)
    joined = matching.join(chosen, plan.all_languages, pivot=plan.pivot)
    sources = list(dict.fromkeys(str(source) for source in chosen.table["source"] if str(source)))
    return Task(
        model,
        task,
        metric,
        joined.pairs["score"].astype(float).to_dict(),
        joined.pairs["n"].astype(float).to_dict(),
        some_of(sources, 3, "; "),
        joined.notes,
        higher_is_better=scores.higher_is_better(task, metric),
        table=scores,
    )


def measured(measure: LanguageScores, store: Store, plan: Plan | None = None) -> Task:
    """The task that a complete measure is. plan: whose languages it is for, where the measure has data of its own."""
    plan, rows = plan or measure.plan, None
    if isinstance(measure, LinearProbe):
        name = f"topic transfer from {measure.source_language}"
    elif isinstance(measure, Transfer):
        name = f"transfer from {measure.plan.pivot} on {measure.labelled.name}"
    elif isinstance(measure, BitextRetrieval):
        name = f"retrieval of held-out sentences by {measure.state.upper()}"
        rows = tuple(split_sentences(plan, measure.share, measure.split_seed)[0].tolist())
    else:
        name = "likelihood"
    results = {
        code: tuple(one[name].item() for name in ("score", "stderr", "n"))
        for code, one in measure.scores(measure.results(store)).items()
    }
    scores = score_files.from_measure(plan.source.name, name, measure.metric, results, "measured here")
    task = matched(plan, scores, plan.source.name, name, measure.metric)
    return replace(task, rows=rows, higher_is_better=measure.higher_is_better, measure=measure, table=None)


def measured_already(plan: Plan, store: Store, pooling: str) -> list[Task]:
    """The tasks that are measured here with default choices, where they are complete."""
    measures: list[LanguageScores] = [BitextRetrieval(plan, "nas", pooling)]
    if plan.corpus.labels is not None:
        measures.append(LinearProbe(plan, plan.pivot, "emb", pooling))
    if plan.info.causal:
        measures.append(NatsPerByte(plan))
    return [measured(measure, store) for measure in measures if not measure.totals(store)]


def all_tasks(plan: Plan, scores: TaskScores, model: str) -> list[Task]:
    """Every task and metric of a model in a table of scores."""
    groups = scores.select(model=model).groups
    return [matched(plan, scores, *row) for row in groups[["model", "task", "metric"]].itertuples(index=False)]


@cache
def published() -> TaskScores:
    """The bundled scores, read once."""
    return score_files.published()


@cache
def best_covered(codes: tuple[str, ...], pivot: str) -> tuple[str, str, str]:
    """The published (model, task, metric) with scores of most of the languages."""
    groups = [tuple(row) for row in published().groups[["model", "task", "metric"]].itertuples(index=False)]

    def covered(group: tuple[str, str, str]) -> int:
        chosen = published().select(model=group[0], task=group[1], metric=group[2])
        return len(matching.join(chosen, codes, pivot=pivot).pairs)

    return max(groups, key=covered)
