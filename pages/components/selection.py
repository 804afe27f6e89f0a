"""What a page shows: the session's experiment, its plan, and the part of it whose states are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import streamlit as st

from neuronxa_core.errors import CorruptEntry, NeuronXAError, StatesMissing
from neuronxa_core.experiment import Experiment
from neuronxa_core.measures import alignment_tables
from neuronxa_core.measures.alignment import METHODS, Alignment
from neuronxa_core.states import planning
from neuronxa_core.states.computing import Extraction
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import Store
from pages.components import links, sidebar
from pages.components.cached import alignment_of, plan_for
from pages.components.messages import errors_shown
from pages.components.process import services
from pages.components.progress import estimate, how_it_ended, ready, submit, submit_unasked, watch
from pages.components.session import choose, experiment
from pages.components.wording import POOLING_NAMES, counted, label, safe, said, size

# times that a damaged entry is computed again without being asked: a disk may damage it every time
MOST_REPAIRS = 2


@dataclass(frozen=True)
class Selection:
    """What a page hands to its views.

    whole: the plan of the experiment. plan: the part of it whose states are stored.
    """

    experiment: Experiment
    whole: Plan
    plan: Plan

    @property
    def store(self) -> Store:
        """The store of this process."""
        return services().store

    @property
    def method(self) -> str:
        """The name of the alignment score that belongs to the representation: NASCA, NAVCA or MEXA."""
        return METHODS[self.experiment.state]

    @property
    def codes(self) -> list[str]:
        """All languages, the pivot first."""
        return list(self.plan.all_languages)

    def alignment(self, state: str | None = None) -> Alignment:
        """Alignment with the pivot, by the experiment's representation or another one."""
        return alignment_of(self.plan, state or self.experiment.state, self.experiment.pooling)

    @property
    def reference(self) -> Alignment:
        """What widgets start from: the same whatever is chosen beside them, or a link would open another picture."""
        return alignment_of(self.plan, Experiment.state, Experiment.pooling)

    def best_aligned(self) -> list[str]:
        """The languages without the pivot, the best aligned by NASCA first."""
        return alignment_tables.ranked(self.reference, Experiment.layers)


def open_page(title: str) -> Selection:
    """A page's title, what is selected, and a line that says so; ends the page where nothing is computed yet."""
    st.title(title)
    sidebar.run_choice()
    try:
        whole = plan_for(experiment())
    except NeuronXAError as error:
        st.error(said(str(error)), icon=":material/error:")
        with st.container(horizontal=True):
            links.button("Choose another model or corpus", "run", "way-out-run")
            if st.button("Show the bundled example", key="way-out", type="tertiary", icon=":material/home:"):
                choose(Experiment())
                st.rerun()
        st.stop()
    sidebar.pivot_choice(whole)
    selected = Selection(experiment(), whole, _computed_part(whole))
    sidebar.remember(selected.experiment)
    return selected


@contextmanager
def recompute_if_corrupt(plan: Plan) -> Iterator[None]:
    """Errors as `errors_shown`; where a damaged entry is met, compute it again and show the page anew meanwhile.

    plan: the part that was computed before, since nobody asked for the rest; what takes longer than a minute is offered
    instead. Where states were not kept, one more pass is offered.
    """
    with errors_shown():
        try:
            yield
        except CorruptEntry as damage:
            if services().store.damage[damage.key] > MOST_REPAIRS:
                raise
            begun = submit_unasked(Extraction(plan))
            again = "It is being computed again." if begun else "It is to be computed again."
            st.toast(f"{said(str(damage))}. {again}", icon=":material/build:")
            st.rerun()
        except StatesMissing as lack:
            need(lack.plan, [lack.name])
            st.rerun()  # they were stored meanwhile


def need(plan: Plan, names: Sequence[str]) -> None:
    """Where some of the states `<state>_<pooling>` are not kept, one more pass for them all; ends the page there."""
    wanted = planning.with_states(plan, names)
    if planning.missing(wanted, services().store):
        *most, last = [
            f"{state.upper()} ({POOLING_NAMES[pooling]})" for state, pooling in (n.split("_") for n in names)
        ]
        _offer(wanted, f"{', '.join(most)} and {last}" if most else last)


def _offer(plan: Plan, what: str) -> None:
    """One more pass, for states that were not kept so far; ends the page where that runs or waits."""
    work, store = Extraction(plan), services().store
    if _is_demo(plan) and services().queue.find(work) is None:
        submit_unasked(work)
    planning.check_size(plan, store)
    count, more = counted(len(planning.missing(plan, store)), "language"), planning.missing_bytes(plan, store)
    st.info(
        f"This reads {what}, which a run keeps when it is asked for: one more pass over {count}, {estimate(work)[1]}, "
        f"{size(more)} on disk.",
        icon=":material/info:",
    )
    if ready(work, "Compute them", f"states-{work.key}", type="primary", icon=":material/play_arrow:"):
        st.rerun()
    st.stop()


def _is_demo(plan: Plan) -> bool:
    return (plan.experiment.model, plan.experiment.corpus) == ("demo", "demo")


def _computed_part(whole: Plan) -> Plan:
    """The part of a plan whose states are there, with a line that says what it is; ends the page where there is none.

    For the rest it shows the run that computes it, or offers one. The bundled model on the bundled corpus is computed
    without being asked, where that takes no minute. States besides those that are read count where they are read.
    """
    queue, work, chosen = services().queue, Extraction(whole), experiment()
    read = planning.with_only(whole, [f"{chosen.state}_{chosen.pooling}"])
    lacking = planning.missing(read, services().store)
    if lacking and _is_demo(whole) and queue.find(work) is None:
        submit_unasked(work)
    part = _part(read)
    job = queue.find(work)
    if lacking and job is not None and job.active:
        shown = 0 if part is None else len(part.languages)
        # what is there is shown anew whenever it has grown by a quarter
        watch(work, until=lambda: (now := _part(read)) is not None and len(now.languages) >= max(1.25 * shown, 1))
    elif lacking:
        interrupted = how_it_ended(work)
        st.info(
            f"{len(lacking)} of {len(whole.all_languages)} languages of this choice are not computed yet; that takes "
            f"{estimate(work)[1]}.",
            icon=":material/info:",
        )
        button = "Resume" if interrupted else "Compute them"
        if st.button(button, type="primary", icon=":material/play_arrow:") and submit(work):
            st.rerun()
    if part is None:
        st.caption("The first results appear here as soon as the pivot and one more language are read.")
        st.stop()
    of_demo, on_demo = part.info.name == "demo", part.corpus.name == "demo"
    st.caption(
        safe(
            f"{'Demo model' if of_demo else part.info.name}, {'demo corpus' if on_demo else part.corpus.name}: "
            f"{part.corpus.size}, {counted(len(part.languages), 'language')} against "
            f"{label(part.pivot)}, {counted(part.info.layers, 'layer')} of {counted(part.info.neurons, 'neuron')}, "
            f"{part.dtype}."
        )
    )
    return part


def _part(plan: Plan) -> Plan | None:
    """The plan of the languages whose states are there; None without the pivot or any other."""
    lacking = set(planning.missing(plan, services().store))
    ready = [code for code in plan.languages if code not in lacking]
    if plan.pivot in lacking or not ready:
        return None
    return planning.restrict(plan, ready)
