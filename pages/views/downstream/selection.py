"""What the Downstream page hands to its views."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
import streamlit as st

from neuronxa_core.demo import training
from neuronxa_core.measures import task_correlation, task_tables
from neuronxa_core.measures.alignment import Alignment
from neuronxa_core.measures.task import Task
from neuronxa_core.measures.task_correlation import Points
from neuronxa_core.tasks import covariates
from pages.components import cached
from pages.components.selection import Selection


@dataclass(frozen=True)
class TaskSelection(Selection):
    """A plan and a task. source: where the task's scores come from, as the page calls it."""

    task: Task
    source: str

    @cached_property
    def points(self) -> Points:
        """The languages with both an alignment and a score."""
        return task_correlation.points(self.plan, self.task.scores)

    def alignment(self, state: str | None = None, pooling: str | None = None, task: Task | None = None) -> Alignment:
        """Alignment of the plan's languages, on the sentences that the task leaves for it."""
        rows = (task or self.task).rows
        chosen = self.experiment
        return cached.alignment_of(self.plan, state or chosen.state, pooling or chosen.pooling, rows)

    def scores(self) -> dict[str, np.ndarray]:
        """Alignment of the points at every layer, [language, layer], by representation."""
        return {state: self.alignment(state).score[self.points.at] for state in self.experiment.states_compared}

    def pooled(self, state: str | None = None) -> np.ndarray:
        """Alignment of the points, layers pooled, [language]."""
        return self.alignment(state).pooled(self.experiment.layers)[self.points.at]

    @cached_property
    def joined(self) -> pd.DataFrame:
        """Alignment and score by language; see `task_tables.by_language`."""
        return task_tables.by_language(self.points, self.pooled(), self.task.n)

    @cached_property
    def known(self) -> pd.DataFrame:
        """What is known of the points' languages, the visitor's own table included; see `covariates.known`."""
        shares = training.shares() if self.plan.source.kind == "demo" else {}
        return covariates.known(self.points.languages, shares, st.session_state.get("own_covariates"))
