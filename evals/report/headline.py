"""What a run says, in words: what thinking buys here, at what price, and how far that can be trusted."""

from typing import Any

from evals.budgets import Budget, as_number, is_share
from evals.wording import listed

Summary = dict[str, Any]


def title(summary: Summary) -> str:
    """The run's name: model and problem sets."""
    settings = summary["settings"]
    model = settings["model"].rstrip("/").rpartition("/")[2]
    return f"{model} on {problem_sets(settings['problems'])}"


def problem_sets(problems: str | list[str]) -> str:
    """The sets of a run in words; a path is named by its file."""
    names = [problems] if isinstance(problems, str) else problems
    return listed([name.rstrip("/").rpartition("/")[2] for name in names])


def headline(summary: Summary) -> str:
    """A few sentences: the gain from first to best budget, what is enough, what cut replies say."""
    points = [point for point in summary["points"] if point["n"]]
    if not points:
        return "No reply has been drawn yet."
    sentences = [_gain(points)] if len(points) > 1 else [_only(points[0])]
    sentences += [
        sentence for sentence in (_enough(summary, points), _cut(points), _loss(summary)) if sentence
    ]
    return " ".join(sentences)


def setup(summary: Summary) -> str:
    """How the numbers were made, in a sentence or two."""
    plan, settings = summary["plan"], summary["settings"]
    samples = "one sample" if plan["samples"] == 1 else f"{plan['samples']} samples"
    mode = {
        "forked": "Every budget is answered from one trace per sample, cut at its tokens.",
        "direct": "Every budget is a request of its own.",
        "imported": "The replies were drawn elsewhere and imported.",
    }[settings["mode"]]
    return (
        f"{plan['problems']} problems, {samples} of each at {len(plan['budgets'])} budgets; "
        f"{_decoding(settings['sampling'])}; graded by {summary['grader']}. {mode} "
        "Intervals are 95 % and treat each problem as one cluster."
    )


def _gain(points: list[dict[str, Any]]) -> str:
    first = min(points, key=lambda point: as_number(point["budget"]))
    best = max(points, key=lambda point: point["accuracy"])
    start = f"{_percent(first['accuracy'])} {_at(first['budget'])}"
    if best is first or best["accuracy"] <= first["accuracy"]:
        return f"Thinking more does not raise accuracy here: it is {start}, and no larger budget has more."
    gained = 100 * (best["accuracy"] - first["accuracy"])
    used = best["mean_thinking_tokens"]
    cost = f", for {used:,.0f} thinking tokens a reply" if used else ""
    doubt = " Their intervals overlap: it may be chance." if best["low"] <= first["high"] else ""
    return (
        f"Thinking raises accuracy from {start} to {_percent(best['accuracy'])} {_at(best['budget'])}: "
        f"{gained:+.1f} points{cost}.{doubt}"
    )


def _only(point: dict[str, Any]) -> str:
    return f"Accuracy is {_percent(point['accuracy'])} {_at(point['budget'])}."


def _enough(summary: Summary, points: list[dict[str, Any]]) -> str | None:
    """The smallest budget with 95 % of the peak, where it is not the largest."""
    reach = next((row for row in summary["curve"]["reach"] if row["share"] == 0.95), None)
    if (
        reach is None
        or reach["budget"] is None
        or reach["budget"] in (points[0]["budget"], points[-1]["budget"])
    ):
        return None
    return f"{_amount(reach['budget'])} enough for 95 % of the peak."


def _cut(points: list[dict[str, Any]]) -> str | None:
    """The largest budget that cuts at least a fifth of the replies: what unfinished thinking buys there."""
    cut = [p for p in points if (p["cut"]["share"] or 0) >= 0.2 and p["cut"]["gain"] is not None]
    if not cut:
        return None
    point = cut[-1]
    gain = point["cut"]["gain"]
    if gain["mean"] == 0:
        return (
            f"Replies cut {_at(point['budget'])} are right as often as without thinking on the same problems."
        )
    words = "more" if gain["mean"] > 0 else "less"
    if gain["low"] <= 0 <= gain["high"]:
        verdict = "a difference that may be chance"
    else:
        verdict = f"95 %: {100 * gain['low']:+.1f} to {100 * gain['high']:+.1f}"
    return (
        f"Replies cut {_at(point['budget'])} are right {100 * abs(gain['mean']):.1f} points {words} often "
        f"than without thinking on the same problems ({verdict})."
    )


def _loss(summary: Summary) -> str | None:
    loss = summary["curve"]["overthinking"]
    if loss is None or loss["low"] <= 0:
        return None
    return f"Beyond the best budget, more thinking loses {100 * loss['mean']:.1f} points."


def _decoding(sampling: dict[str, Any]) -> str:
    modes = [sampling.get(mode) or {} for mode in ("thinking", "no_thinking")]
    if all(mode.get("temperature") == 0 for mode in modes):
        return "greedy decoding"
    if sampling.get("preset"):
        return f"sampled with the {sampling['preset']} preset"
    return f"temperature {modes[0].get('temperature')}"


def _at(budget: Budget) -> str:
    if budget in (0, "off"):
        return "with thinking off"
    if budget == "max":
        return "without a limit"
    if budget == "on":
        return "with thinking on"
    if is_share(budget):
        return f"at {budget[:-1]} % of the natural length"
    return f"at {budget:,} tokens" if isinstance(budget, int) else f"at effort {budget}"


def _amount(budget: Budget) -> str:
    if is_share(budget):
        return f"{budget[:-1]} % of the natural length is"
    return f"{budget:,} tokens are" if isinstance(budget, int) else f"Effort {budget} is"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
