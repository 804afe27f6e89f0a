"""What was noticed in the corpus before any model runs."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from neuronxa_core import exports
from neuronxa_core.corpora import checks
from neuronxa_core.corpora.parallel import Corpus
from pages.components import wording


def show(corpus: Corpus) -> None:
    if few := checks.few_sentences(corpus):
        st.warning(few, icon=":material/warning:")
    for severity in ("error", "warning"):
        rows = [
            (wording.label(one.language) if one.language else "all", one.message, one.count)
            for one in corpus.findings
            if one.severity == severity
        ]
        if rows:
            title = f"{len(rows)} {severity}{'s' if len(rows) > 1 else ''} about the corpus"
            with st.expander(title, icon=f":material/{severity}:", expanded=severity == "error"):
                table = pd.DataFrame(rows, columns=["Language", "What", "Lines"])
                st.dataframe(exports.harmless_table(table), hide_index=True)
    for finding in corpus.findings:
        if finding.severity == "info":
            st.caption(wording.safe(finding.message))
