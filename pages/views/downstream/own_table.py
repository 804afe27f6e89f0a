"""A table of languages of the visitor's own: for colours in Scatter and as controls in Robustness."""

from __future__ import annotations

import streamlit as st

from neuronxa_core.errors import ScoresError
from neuronxa_core.tasks import covariates
from pages.access import host
from pages.components import wording
from pages.views.downstream.selection import TaskSelection


def show(selection: TaskSelection) -> None:
    """Where to upload it; it is kept for the session, and is a colour and a control from then on."""
    allowed = host.host_settings().uploads.file_mib
    upload = st.file_uploader(
        "Your own table of languages: a column of codes and any others",
        type=["csv", "tsv"],
        key="own_covariates_upload",
        max_upload_size=max(1, allowed),
        disabled=not allowed,
        help="Such as code,training_share,class. Its columns become colours in Scatter and controls here.",
    )
    if upload is not None and st.session_state.get("own_covariates_name") != upload.file_id:
        try:
            st.session_state["own_covariates"] = covariates.read(upload.name, upload.getvalue())
        except ScoresError as error:
            st.error(wording.said(str(error)))
            return
        st.session_state["own_covariates_name"] = upload.file_id
        st.rerun()
    own = st.session_state.get("own_covariates")
    if own is not None:
        _, notes = covariates.matched(own, selection.points.languages)
        for note in (f"Columns: {', '.join(own.columns.drop('language'))}.", *notes):
            st.caption(wording.safe(note))
