"""What the cache holds, how often it was asked, what lies beside it, and whether it is whole."""

from __future__ import annotations

import logging

import pandas as pd
import streamlit as st

from neuronxa_core.exports import harmless_table
from neuronxa_core.host import cache_report
from neuronxa_core.host.cache_report import FOLDERS, Verification
from neuronxa_core.store.cache import Store
from pages.access.people import Person
from pages.components import progress, wording
from pages.components.process import Services
from pages.views.admin.columns import COLUMNS, NO_RIGHTS

log = logging.getLogger(__name__)


def show(services: Services, me: Person) -> None:
    """The whole part."""
    _entries(services.store, me)
    _reads(services.store)
    _beside(services.store)
    _verification(services)


@st.cache_data(ttl=60, show_spinner="Reading the cache's table …")
def _contents(version: str, _store: Store) -> pd.DataFrame:
    """What the cache holds at a version of it."""
    return cache_report.contents(_store)


def _chosen(table: pd.DataFrame, key: str, **options: object) -> list[int]:
    """Show a table, and return the numbers of the rows that are chosen in it."""
    rows = st.dataframe(
        harmless_table(table.assign(bytes=table["bytes"].map(wording.size))),
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        key=key,
        column_config=COLUMNS,
        **options,
    ).selection.rows
    return [row for row in rows if row < len(table)]


def _entries(store: Store, me: Person) -> None:
    """What the cache holds, by model and kind and then by language; what is chosen can be deleted."""
    table = _contents(store.version(), store)
    if table.empty:
        st.caption("The cache is empty. Whatever is computed in Run, or by the command line, appears here.")
        return
    models = cache_report.by_model(table)
    picked = models.iloc[_chosen(models, "admin_models")]
    if picked.empty:
        st.caption("Choose rows to see their languages, or to delete them.")
        return
    inside = table.merge(picked[["model", "kind"]], on=["model", "kind"])
    names = [wording.label(code) if code else "" for code in inside["language"]]
    shown = inside.drop(columns=["key"]).assign(language=names)
    rows = _chosen(shown, "admin_entries", height=min(320, 38 + 35 * len(shown)))
    deleted = inside.iloc[rows] if rows else inside
    count = f"{len(deleted):,} {'entry' if len(deleted) == 1 else 'entries'} ({wording.size(deleted['bytes'].sum())})"
    if not me.manages:
        st.caption(NO_RIGHTS)
    with st.popover(f"Delete {count}", icon=":material/delete:", disabled=not me.manages):
        st.write("A run that reads them now can still read them. What is needed again is computed again.")
        if st.button(f"Delete {count} for good", key="admin_delete", type="primary"):
            for key in deleted["key"]:
                store.drop(key)
                log.info("%s deleted %s", me.name, key)
            st.rerun()


def _reads(store: Store) -> None:
    """How often what was asked for was there."""
    reads = store.reads()
    if not reads:
        return
    table = pd.DataFrame(
        [
            {"What": kind, "Found": hits, "Not there": misses, "Found, %": 100 * hits / (hits + misses)}
            for kind, (hits, misses) in sorted(reads.items())
        ]
    )
    hits, misses = table["Found"].sum(), table["Not there"].sum()
    st.caption(
        f"Since the server started, {hits / (hits + misses):.0%} of {hits + misses:,} reads found what they asked for."
    )
    with st.expander("Hit rate by kind", icon=":material/query_stats:"):
        st.dataframe(table, hide_index=True, column_config={"Found, %": st.column_config.NumberColumn(format="%.1f")})


def _beside(store: Store) -> None:
    """Folders of the cache that its limit does not count."""
    sizes = {name: amount for name, amount in cache_report.beside(store).items() if amount}
    if sizes:
        parts = "; ".join(f"{wording.size(amount)} of {FOLDERS[name]} ({name})" for name, amount in sizes.items())
        st.caption(wording.safe(f"Beside it, and not counted: {parts}."))


def _verification(services: Services) -> None:
    """What the last verification found, and a button to verify again."""
    last = cache_report.last_verified(services.store)
    if last is None:
        st.caption("The cache was not verified yet. Each entry is verified when it is read, in any case.")
    elif last.damaged:
        st.warning(
            wording.said(
                f"Verified on {last.when:%Y-%m-%d at %H:%M} UTC: {len(last.damaged)} of {last.entries:,} entries were "
                "damaged and have been dropped; they are computed again when they are needed."
            ),
            icon=":material/healing:",
        )
    else:
        st.caption(f"Verified on {last.when:%Y-%m-%d at %H:%M} UTC: all {last.entries:,} entries are whole.")
    running = services.queue.find(Verification())
    if st.button(
        "Verify all entries",
        icon=":material/verified:",
        disabled=running is not None and running.active,
        help="Reads every byte and compares it with its checksum. It waits its turn in the queue.",
    ) and progress.submit(Verification()):
        st.rerun()
