"""A run's report as one HTML page that needs nothing else: figures, tables, samples, settings."""

from typing import Any

from evals.report.headline import headline, setup, title
from evals.report.pages.document import Section, document
from evals.report.plot import positions
from evals.report.tables import (
    account_table,
    breakdown_table,
    calibration_table,
    control_table,
    cost_table,
    crosscheck_table,
    cut_share_table,
    difference_table,
    ending_table,
    entropy_table,
    failure_table,
    gain_table,
    interval_table,
    missing_table,
    point_table,
    settings_table,
    shape_table,
    stop_cause_table,
    verdict_table,
    vote_table,
)
from evals.wording import listed, sentence

Summary = dict[str, Any]
_FIELDS = ("level", "subject", "set")


def page(summary: Summary, samples: dict[str, Any]) -> str:
    """The page as text. `samples`: what `page_samples` gives; without entries the page has no browser."""
    versions = ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
    return document(
        kind="Accuracy against thinking budget",
        title=title(summary),
        headline=headline(summary),
        setup=setup(summary),
        sections=[section for section in _sections(summary, samples) if section is not None],
        data=figure_data(summary) | {"samples": samples},
        footer=f"Made by thinkdial eval report from the replies of this run ({versions}). "
        "This page requests nothing from anywhere.",
    )


def figure_data(summary: Summary) -> dict[str, Any]:
    """What the figures of a run, other than its samples, are drawn from."""
    return {
        "axis": summary["axis"],
        "points": summary["points"],
        "places": positions([point["budget"] for point in summary["points"]]),
        **{f"by_{field}": summary[f"by_{field}"] for field in _FIELDS},
        "entropy_along": summary["entropy_along"],
    }


def _sections(summary: Summary, samples: dict[str, Any]) -> list[Section | None]:
    return [
        curve_section(summary),
        _endings(summary),
        _groups(summary),
        _control(summary),
        _votes(summary),
        calibration_section(summary),
        _entropy(summary),
        _crosscheck(summary),
        _samples(samples),
        _account(summary),
        _failures(summary),
        Section(
            "settings",
            "Settings",
            "Settings",
            "Everything the replies and their grades depend on.",
            tables=[settings_table(summary)],
        ),
    ]


def curve_section(summary: Summary) -> Section:
    """The budget curve, and what its differences are worth."""
    return Section(
        "curve",
        "Curve",
        "What a budget buys",
        "Accuracy of all replies. The dark band holds each point and the light band the whole curve, at "
        "95 %. A curve can rise only because more problems finish in time; so cut replies stand "
        "beside it, with thinking off on the same problems.",
        [("curve", {})] if any(point["n"] for point in summary["points"]) else (),
        [shape_table(summary)],
        [point_table(summary), interval_table(summary), difference_table(summary), gain_table(summary)],
    )


def _endings(summary: Summary) -> Section:
    known = any(share for point in summary["points"] for share in point["shares"].values())
    return Section(
        "endings",
        "Endings",
        "How thinking ended",
        "Natural: the model closed its thinking. Forced: it was ended for the model; escaped, if it went on "
        "reasoning in the answer. Censored: the tokens ran out while thinking, so that what the trace would "
        "have said is not known.",
        [("endings", {})] if known else (),
        tables=[
            ending_table(summary),
            stop_cause_table(summary),
            verdict_table(summary),
            cut_share_table(summary),
        ],
    )


def _groups(summary: Summary) -> Section | None:
    several = [f for f in _FIELDS if len({row["group"] for row in summary[f"by_{f}"]}) > 1]
    if not several:
        return None
    return Section(
        "groups",
        "Groups",
        f"By {listed(several)}",
        "The curve of each group over the curve of all, in grey.",
        [("groups", {})],
        tables=[breakdown_table(summary, field) for field in several],
    )


def _control(summary: Summary) -> Section | None:
    asked = [p for p in summary["points"] if p["control"] and isinstance(p["budget"], int) and p["budget"]]
    if not asked:
        return None
    return Section(
        "control",
        "Control",
        "Asked and used",
        "Whether the dial is connected: thinking tokens used against the budget asked. Points on the "
        "diagonal use all that was asked; above it, the budget was not kept.",
        [("control", {})] if len(asked) > 1 else (),
        tables=[control_table(summary)],
    )


def _votes(summary: Summary) -> Section | None:
    if not vote_table(summary).rows:
        return None
    return Section(
        "votes",
        "Votes",
        "Several samples",
        "maj@k: the most frequent of k answers is right. pass@k: one of k is.",
        [("votes", {})],
        tables=[vote_table(summary)],
    )


def calibration_section(summary: Summary) -> Section | None:
    """How confidence and accuracy agree; None where no confidence is known."""
    table = calibration_table(summary)
    if not table.rows:
        return None
    return Section(
        "calibration",
        "Calibration",
        "Does it know when it is right?",
        "Reliability of each source of confidence: points on the diagonal are calibrated, their size is the "
        "number of replies, the bars beneath count them. With few replies even perfect confidence shows an "
        "error: the noise floor.",
        [("calibration", {}), ("calibration-curve", {})],
        tables=[table],
    )


def _entropy(summary: Summary) -> Section | None:
    table = entropy_table(summary)
    if not table.rows:
        return None
    return Section(
        "entropy",
        "Entropy",
        "Entropy",
        "How much the answers to one problem differ, and how undecided the model is from token to token: "
        "at each budget, and along the traces that ended by themselves.",
        [("entropy", {}), *([("entropy-along", {})] if summary["entropy_along"] else [])],
        tables=[table],
    )


def _crosscheck(summary: Summary) -> Section | None:
    check = summary["crosscheck"]
    if check is None:
        return None
    return Section(
        "crosscheck",
        "Cross-check",
        "Forked against direct",
        sentence(check["verdict"]),
        shown=[crosscheck_table(summary)],
    )


def _samples(samples: dict[str, Any]) -> Section | None:
    if not samples["entries"]:
        return None
    shown, all = len(samples["entries"]), samples["of"]
    if shown == all:
        words = f"All {all:,} problems and samples of the run."
    else:
        words = (
            f"{shown:,} of the run's {all:,} problems and samples: those that went wrong, and those that "
            "were right and went wrong at a larger budget, before others, spread over levels and problems."
        )
    return Section(
        "samples",
        "Samples",
        "Read the replies",
        f"{words} Cuts stand in the trace at their token, with the answer that was given there.",
        [("samples", {})],
    )


def _account(summary: Summary) -> Section:
    return Section(
        "cost",
        "Cost",
        "What it took",
        shown=[cost_table(summary), account_table(summary)],
    )


def _failures(summary: Summary) -> Section | None:
    tables = [failure_table(summary), missing_table(summary)]
    if not any(table.rows for table in tables):
        return None
    return Section("failures", "Failures", "What is missing", shown=tables)
