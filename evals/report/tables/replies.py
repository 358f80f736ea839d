"""Tables of the replies: how they ended, whether budgets were kept, votes, confidence, entropy."""

from typing import Any

from evals.report.tables.table import (
    Table,
    change,
    count,
    keys_in_order,
    number,
    percent,
    probability,
    with_bounds,
)

Summary = dict[str, Any]
SHARES = ("natural", "forced", "escaped", "censored", "off", "unknown")
SOURCES = {
    "answer_probability": "answer's tokens",
    "vote_share": "votes",
    "stated_confidence": "stated",
}
"""Sources of confidence, as a reader says them."""


def ending_table(summary: Summary) -> Table:
    """How thinking ended at each budget."""
    rows = [
        [
            str(point["budget"]),
            *(percent(point["shares"][name]) for name in SHARES),
            percent(point["ended_share"]),
            percent(point["ended_answered_share"]),
        ]
        for point in summary["points"]
    ]
    return Table(
        "How thinking ended",
        "Shares in %. Natural: the model closed its thinking. Forced: it was ended for the model. Escaped: "
        "of the forced, those that went on reasoning in the answer. Censored: max_tokens ran out while "
        "thinking. Ended: the reply ended by itself; answered: and has a final answer.",
        ["budget", *SHARES, "ended", "ended, answered"],
        rows,
    )


def stop_cause_table(summary: Summary) -> Table:
    """Stop causes as the server reported them."""
    return _tally(
        summary, "stop_causes", "Stop causes", "Replies by stop cause, as the server reported them."
    )


def verdict_table(summary: Summary) -> Table:
    """The grader's verdicts."""
    note = "Replies by the grader's verdict; only `equal` counts as right."
    return _tally(summary, "verdicts", f"Verdicts of the grader {summary['grader']}", note)


def _tally(summary: Summary, field: str, title: str, note: str) -> Table:
    points = summary["points"]
    names = keys_in_order([point[field] for point in points])
    rows = [[str(point["budget"]), *(count(point[field].get(name, 0)) for name in names)] for point in points]
    return Table(title, note, ["budget", *names], rows if names else [])


def control_table(summary: Summary) -> Table:
    """Thinking asked for against thinking used."""
    rows = []
    for point in summary["points"]:
        control = point["control"]
        if control is not None:
            rows.append(
                [
                    str(point["budget"]),
                    number(control["mean_used"]),
                    number(control["max_used"], 0),
                    percent(control["over_share"]),
                    number(control["mean_error"]),
                    percent(control["mean_relative_error"]),
                ]
            )
    return Table(
        "Asked and used",
        "Thinking tokens used at each budget. Over: replies that used more than asked. Error: used less "
        "asked, in tokens; distance: the size of the error, in % of the budget. Ending early is one too.",
        ["budget", "mean used", "most used", "over %", "mean error", "mean distance, %"],
        rows,
    )


def vote_table(summary: Summary) -> Table:
    """pass@k, maj@k and G-Pass@k."""
    points = [point for point in summary["points"] if point["n"]]
    columns = []
    for field, name in (("pass_at_k", "pass@{}"), ("maj_at_k", "maj@{}"), ("g_pass_at_k", "G-Pass, {}")):
        keys = keys_in_order([point[field] or {} for point in points])
        columns += [(field, key, name.format(key)) for key in keys if key != "k"]
    rows = [
        [str(point["budget"]), *(percent((point[field] or {}).get(key)) for field, key, _ in columns)]
        for point in points
    ]
    return Table(
        "Several samples",
        "In %. pass@k: one of k samples is right (unbiased); maj@k: the most frequent of k answers, by the "
        f"grader's equality, is right, ties shared; G-Pass{_of(points)}: at least that share of k is right.",
        ["budget", *(name for *_, name in columns)],
        rows if columns and any((point["samples"] or 0) > 1 for point in points) else [],
    )


def _of(points: list[dict[str, Any]]) -> str:
    """How many samples G-Pass@k is of."""
    found = {point["g_pass_at_k"]["k"] for point in points if point["g_pass_at_k"]}
    return "".join(f"@{k}" for k in sorted(found))


def calibration_table(summary: Summary) -> Table:
    """Calibration of every confidence source at every budget."""
    rows = []
    for source, name in SOURCES.items():
        for point in summary["points"]:
            found = (point["calibration"] or {}).get(source)
            if found:
                rows.append([name, str(point["budget"]), *_calibration_cells(found)])
    return Table(
        "Calibration",
        "ECE: mean distance of confidence from accuracy over ten bins, of equal width or equal mass; floor: "
        "what perfectly calibrated replies of this number would show. Brier = reliability - resolution + "
        "uncertainty + within bins. AUROC: how well confidence tells right from wrong. T: temperature that "
        "fits best, and the ECE after it.",
        [
            "confidence",
            "budget",
            "n",
            "ECE (floor)",
            "ECE, mass (floor)",
            "Brier",
            "reliability",
            "resolution",
            "uncertainty",
            "within",
            "AUROC",
            "T",
            "ECE after T",
        ],
        rows,
    )


def _calibration_cells(found: dict[str, Any]) -> list[str]:
    return [
        count(found["n"]),
        f"{number(found['ece'], 3)} ({number(found['noise_floor'], 3)})",
        f"{number(found['ece_mass'], 3)} ({number(found['noise_floor_mass'], 3)})",
        *(
            number(found[name], 3)
            for name in ("brier", "reliability", "resolution", "uncertainty", "within_bin")
        ),
        with_bounds(found["auroc"], found["auroc_low"], found["auroc_high"]),
        number(found["temperature"], 2),
        number(found["ece_tempered"], 3),
    ]


def entropy_table(summary: Summary) -> Table:
    """Entropy of the answers and of the tokens."""
    rows = [
        [
            str(point["budget"]),
            with_bounds(
                point["entropy"]["answer"], point["entropy"]["answer_low"], point["entropy"]["answer_high"]
            ),
            number(point["entropy"]["token"], 3),
            number(point["entropy"]["rest"], 4),
            percent(point["entropy"]["forking_share"]),
        ]
        for point in summary["points"]
        if point["entropy"] is not None
    ]
    return Table(
        "Entropy",
        "In nats. Answer: entropy of the answers to a problem, equal answers counted together. Token: mean "
        "entropy of the next token, a lower bound from the most likely tokens; rest: mean probability of all "
        "others. Forking: tokens above the threshold of the most uncertain fifth.",
        ["budget", "answer", "token", "rest", "forking %"],
        rows,
    )


def crosscheck_table(summary: Summary) -> Table:
    """Forked and direct replies to the same points."""
    check = summary["crosscheck"]
    rows = []
    for point in check["points"] if check else []:
        rows.append(
            [
                str(point["budget"]),
                count(point["n"]),
                percent(point["forked"]),
                percent(point["direct"]),
                change(point["difference"]),
                probability(point["p_holm"]),
                count(point["identical"]),
                count(point["alike"]),
            ]
        )
    return Table(
        "Forked against direct",
        "Accuracy of the same points drawn both ways, in %, and direct less forked in points. Identical: "
        "replies that are the same token for token; alike: both right or both wrong.",
        ["budget", "n", "forked", "direct", "difference", "p, Holm", "identical", "alike"],
        rows,
    )
