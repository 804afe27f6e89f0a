"""Correlations that the NeuronXA paper reports, by the task that they are of."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

FILE = Path(__file__).with_name("reported_correlations.csv")
# names under which a paper's task is known: no other language, setting or successor of it
NAMES = {
    "m-ARC": re.compile(r"(m[-_]?)?arc([-_]challenge)?"),
    "m-MMLU": re.compile(r"(m[-_]?)?mmlu"),
    "Belebele": re.compile(r"belebele"),
    "XNLI": re.compile(r"xnli([-_](dev|test))?"),
    "BMLAMA-53": re.compile(r"bmlama([-_]?53)?"),
}
SHOTS = re.compile(r"[-_]\d+[-_]?shots?$")


def correlations(task: str) -> pd.DataFrame:
    """What the paper reports of a task, by any of its names; no rows where it reports nothing.

    Columns: task (as the paper calls it), method, corpus (of the alignment; empty where it is not said), which (`best
    row`: the highest that is listed for the method), r, source, label (of a line in a chart).
    """
    name = SHOTS.sub("", task.strip().lower())
    table = pd.read_csv(FILE, keep_default_na=False)
    found = table[[NAMES[one].fullmatch(name) is not None for one in table["task"]]].reset_index(drop=True)
    return found.assign(label="paper: " + (found["method"] + ", " + found["which"]).str.removesuffix(", "))


def caption(found: pd.DataFrame) -> str:
    """What the lines of `correlations` are, in a sentence; empty where there are none."""
    if found.empty:
        return ""
    details = [", ".join(filter(None, one)) for one in zip(found["which"], found["corpus"], strict=True)]
    figures = zip(found["method"], found["r"], details, strict=True)
    named = ", ".join(f"{method} {r:.4f}{f' ({said})' if said else ''}" for method, r, said in figures)
    return (
        f"Dotted: correlations with {found['task'][0]} that NeuronXA (Huang et al., ACL 2025) reports for large "
        f"models: {named}."
    )
