"""The answer of Downstream in one sentence: how far to believe a correlation of alignment with a task."""

from __future__ import annotations

import pandas as pd


def verdict(table: pd.DataFrame, method: str, task: str) -> str:
    """What `task_tables.held_constant` says, in Markdown.

    The correlation is said to be there where its 95 % interval leaves out 0. It is called likely confounded where, with
    a control held constant, the interval holds 0 and r has lost more than half of its size or turned round.
    """
    plain, controlled = table.iloc[0], table.iloc[1:]
    where = f"over {plain['n']} languages"
    if pd.isna(plain["r"]):
        return f"**{method} or {task} is the same in all languages**, so that no correlation is defined ({where})."
    if plain["low"] <= 0 <= plain["high"]:
        return f"**No correlation of {method} with {task} is beyond chance**: {_said(plain)} {where}."
    found = f"**{method} goes {'along with' if plain['r'] > 0 else 'against'} {task}**: {_said(plain)} {where}"
    lost = controlled[
        (controlled["low"] <= 0) & (controlled["high"] >= 0) & (controlled["r"] * plain["r"] < 0.5 * plain["r"] ** 2)
    ]
    if len(lost):
        worst = lost.loc[(lost["r"] * plain["r"]).idxmin()]
        return f"{found}; with {worst['held constant']} held constant {_said(worst)}: **likely confounded**."
    if len(controlled) and not ((controlled["low"] <= 0) & (controlled["high"] >= 0)).any():
        names = ", ".join(controlled["held constant"])
        return f"{found}; it stays beyond chance with each of {names} held constant."
    return f"{found}. What else could explain it: *Robustness*."


def _said(row: pd.Series) -> str:
    return f"r = {row['r']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
