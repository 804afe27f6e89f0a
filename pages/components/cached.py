"""What is read and computed once per process, as long as nothing changes on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from neuronxa_core.corpora import parallel, reading
from neuronxa_core.experiment import Experiment, digest
from neuronxa_core.measures import activation_counts, alignment, bitext_retrieval, task_correlation
from neuronxa_core.measures.activation_counts import ActivationCounts
from neuronxa_core.measures.alignment import Alignment
from neuronxa_core.measures.base import Arrays, Measure, Part
from neuronxa_core.measures.transfer import Transfer
from neuronxa_core.models import description, structure
from neuronxa_core.models.description import ModelSource
from neuronxa_core.states import planning
from neuronxa_core.states.planning import Plan
from pages.access.host import host_settings
from pages.components.kept import kept
from pages.components.process import services


def _fingerprint(path_text: str) -> str:
    """Changes when a file below the path does; so that a corpus or model mended on disk is read again."""
    try:
        path = Path(path_text).expanduser()
        folders = [path, *(path / split for split in reading.SPLITS)] if path.is_dir() else []
        files = sorted(file for folder in folders for file in folder.glob("*")) if folders else [path]
        return digest(
            [(str(f), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for f in files if f.is_file() for s in [f.stat()]]
        )
    except (OSError, RuntimeError, ValueError) as error:  # what reads it says what is wrong
        return digest(repr(error))


@kept("Reading the corpus …")
def _raw(source: str, fingerprint: str) -> parallel.RawCorpus:
    return reading.read(source)


def raw_corpus(source: str) -> parallel.RawCorpus:
    """The corpus, read once as long as its files do not change. Raises NotAllowed, too."""
    allowed = host_settings().corpus_source(source)
    return _raw(allowed, _fingerprint(allowed))


@kept("Looking at the model …")
def _model_info(source: ModelSource, fingerprint: str) -> description.ModelInfo:
    return structure.describe(source)


def model_info(model: str) -> description.ModelInfo:
    """What can be said of a model without its weights, found out once as long as its files do not change.

    Raises NotAllowed, too.
    """
    source = host_settings().model_source(model)
    return _model_info(source, _fingerprint(source.location))


@kept("Looking at model and corpus …")
def _plan(
    key: str, prints: tuple[str, str], folder: str, device: str, source: ModelSource, corpus: str, _chosen: Experiment
) -> Plan:
    return planning.make_plan(_chosen, services().store, _raw(corpus, prints[1]), device, source)


def plan_for(chosen: Experiment) -> Plan:
    """The plan of an experiment, made once as long as model and corpus do not change on disk.

    Raises NotAllowed, too.
    """
    allowed = host_settings()
    source, corpus = allowed.check(chosen)
    prints = (_fingerprint(source.location), _fingerprint(corpus))
    device = allowed.device(chosen.device)
    plan = _plan(chosen.extraction.key, prints, str(services().store.folder), device, source, corpus, chosen.extraction)
    allowed.check_size(plan, services().store)
    return plan


def results_of(measure: Measure) -> Mapping[Part, Arrays]:
    """A measure's numbers by part: all of an instant one, else those that are there. They must be left as they are."""
    return _results(*_identity(measure), measure)


def table_of(measure: Measure) -> pd.DataFrame:
    """A measure's tidy table: all of an instant one, else of what is there."""
    return _table(*_identity(measure), measure).copy()


def _identity(measure: Measure) -> tuple[str, str, int, str]:
    """What decides a measure's table: choices, numbers, and how many parts are missing."""
    store = services().store
    missing = 0 if measure.instant else len(measure.missing(store))
    return measure.key, repr(measure.choices()), missing, str(store.folder)


@kept("Computing …")
def _results(key: str, choices: str, missing: int, folder: str, _measure: Measure) -> Mapping[Part, Arrays]:
    store = services().store
    return _measure.run(store) if _measure.instant else _measure.results(store)


@kept("Computing …")
def _table(key: str, choices: str, missing: int, folder: str, _measure: Measure) -> pd.DataFrame:
    return _measure.frame(results_of(_measure))


@kept("Comparing sentences …")
def _alignment(key: str, state: str, pooling: str, rows: tuple[int, ...] | None, _plan: Plan) -> Alignment:
    if rows is not None:
        return bitext_retrieval.alignment_on(_plan, services().store, rows, state, pooling)
    return alignment.align(_plan, services().store, state, pooling)


def alignment_of(plan: Plan, state: str, pooling: str, rows: tuple[int, ...] | None = None) -> Alignment:
    """Scores of a plan whose states are all stored, on all its sentences or on some rows of them."""
    return _alignment(alignment.scores_key(plan, state, pooling), state, pooling, rows, plan)


@kept("Counting active neurons …")
def _activity(key: str, _plan: Plan) -> ActivationCounts:
    return activation_counts.activation_counts(_plan, services().store)


def activity_of(plan: Plan) -> ActivationCounts:
    """Activation counts of a plan whose states are all stored."""
    return _activity(activation_counts.counts_key(plan), plan)


@kept()
def _tokens(key: str, _plan: Plan) -> dict[str, float]:
    return task_correlation.tokens_per_sentence(_plan, services().store)


def tokens_of(plan: Plan) -> dict[str, float]:
    """Mean tokens per sentence by language, of a plan whose states are all stored."""
    return _tokens(plan.key, plan)


@kept("Reading the labelled data …")
def _transfer(
    plan_key: tuple[str, str],
    data: str,
    fingerprint: str,
    items: int | None,
    state: str,
    pooling: str,
    layer: int | str,
    _plan: Plan,
) -> Transfer:
    return Transfer(_plan, data, items=items, state=state, pooling=pooling, layer=layer)


def transfer_of(plan: Plan, data: str, items: int | None, state: str, pooling: str, layer: int | str) -> Transfer:
    """The measure, its data read and parted once as long as they do not change on disk. Raises as `Transfer`."""
    return _transfer((plan.key, plan.pivot), data, _fingerprint(data), items, state, pooling, layer, plan)
