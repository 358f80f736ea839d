"""What effort levels promised, and what they reached on problems that the profile had not seen."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure

from evals.bench.effort_levels import Kept, kept
from evals.budgets import Budget
from evals.report.pages.document import Section
from evals.report.tables import Table
from evals.report.tables.table import number, percent
from evals.summary.outcomes import Outcome, outcomes
from evals.summary.replies import read_run
from evals.wording import sentence
from serve.profile import PROFILE, read_profile
from trainer.ablation.plot import COLOURS, INK, as_png, tidy


def levels_section(folder: Path) -> Section:
    """Promised and reached, recomputed from the replies. folder: of `evals.bench.effort_levels`."""
    profile = read_profile(folder / PROFILE)
    found = outcomes(read_run(folder / "levels"))
    by_level: dict[Budget, list[Outcome]] = {
        level: replies
        for level in profile.document["recommended"]
        if (replies := [outcome for outcome in found if outcome.budget == level])
    }
    rows = kept(profile, by_level, outcomes(read_run(folder / "peak")))
    inside = sum(row.low <= row.promised <= row.high for row in rows)
    return Section(
        "levels",
        "Effort levels",
        "Promised and reached",
        "An effort level promises a share of the peak accuracy. The profile chose its budget by the curve "
        "above; here the server was asked by reasoning_effort, on problems the profile had not seen. "
        f"{inside} of {len(rows)} promises lie in the 95 % interval of what was reached (a bootstrap of "
        "problems, paired with the peak's); the smallest measured budget may give more than was promised.",
        picture=("shares of the peak accuracy, promised and reached, by effort level", draw(rows)),
        shown=[level_table(rows, profile.rule)],
    )


def level_table(rows: Sequence[Kept], rule: str) -> Table:
    """One row a level."""
    return Table(
        "Effort levels",
        f"{sentence(rule)} Reached: share of the accuracy at the peak's budget, same problems.",
        ["level", "budget", "promised %", "reached % [95 %]", "accuracy %", "expected %", "thinking tokens"],
        [
            [
                row.level,
                "no limit" if row.budget is None else str(row.budget),
                percent(row.promised),
                f"{percent(row.share)} [{percent(row.low)}, {percent(row.high)}]",
                percent(row.accuracy),
                percent(row.expected),
                number(row.tokens),
            ]
            for row in rows
        ],
    )


def draw(rows: Sequence[Kept]) -> bytes:
    """What was reached, with its interval, over what was promised, as a PNG."""
    figure = matplotlib.figure.Figure(figsize=(7.2, 3.2), dpi=160, facecolor="white", layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    shares = [row.share for row in rows]
    axes.errorbar(
        places,
        shares,
        yerr=[[row.share - row.low for row in rows], [row.high - row.share for row in rows]],
        fmt="o",
        color=COLOURS[0],
        capsize=4,
        label="reached, 95 %",
    )
    axes.plot(places, [row.promised for row in rows], "_", color=COLOURS[1], markersize=26, label="promised")
    axes.set_xticks(
        places, [f"{row.level}\n{'no limit' if row.budget is None else row.budget}" for row in rows]
    )
    axes.set_ylabel("share of the peak accuracy", color=INK, fontsize=9.5)
    axes.legend(frameon=False, labelcolor=INK, fontsize=9, loc="lower right")
    tidy(axes)
    return as_png(figure)
