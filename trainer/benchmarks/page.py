"""The page of all benchmarks: ratios against peers measured in the same run, figures, and the machine."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from evals.report.pages.document import Section, document
from evals.report.tables import Table

PAGE = "index.html"
BUSY = 0.2
"""Share of the cores that others took before a benchmark, above which its numbers are not to be trusted."""
ROOMS = {"serve": "The server", "evals": "Measuring", "trainer": "Training"}


def write_page(out: Path, gathered: Mapping[str, Any]) -> Path:
    """Write `index.html` of what `gather` has gathered; returns its path."""
    found: Mapping[str, Any] = gathered["benchmarks"]
    rooms = dict.fromkeys([*ROOMS, *(row["room"] for row in found.values())])
    sections = [*(section for room in rooms if (section := _room(room, found))), _machine(found)]
    text = document(
        kind="thinkdial, benchmarks",
        title="What it costs, against its peers",
        headline=headline(found),
        setup=f"thinkdial {version('thinkdial')}. Every peer was measured in the same run as ours, in turns; "
        "a ratio is taken within a round, so that what else the machine did falls on both. Absolute numbers "
        "are this machine's.",
        sections=sections,
        data={},
        footer="Made by make bench. This page requests nothing from anywhere.",
    )
    path = out / PAGE
    path.write_text(text, "utf-8")
    return path


def headline(found: Mapping[str, Any]) -> str:
    """How many ratios are at least as good as the peer's, as far as their intervals tell."""
    ratios = [ratio for row in found.values() if row["result"] for ratio in row["result"]["ratios"]]
    failed = [name for name, row in found.items() if row["status"]]
    ends = f" Not well ended: {', '.join(failed)}." if failed else ""
    busy = [name for name, row in found.items() if row["busy"] > BUSY]
    ends += f" The machine was busy before: {', '.join(busy)}." if busy else ""
    if not ratios:
        return f"No ratio has been measured.{ends}"
    kinds = [verdict(ratio) for ratio in ratios]
    return (
        f"Of {len(ratios)} {'ratio' if len(ratios) == 1 else 'ratios'} to peers, "
        f"{kinds.count('better')} better, {kinds.count('worse')} worse, {kinds.count('no difference seen')} "
        f"without a difference that the rounds show.{ends}"
    )


def verdict(ratio: Mapping[str, Any]) -> str:
    """`better` or `worse` where the whole interval is; a ratio of one run stands for itself."""
    low, high = ratio["low"], ratio["high"]
    if low is None or high is None:
        low = high = ratio["ratio"]
    if low <= 1 <= high:
        return "no difference seen"
    return "better" if (low > 1) == (ratio["better"] == "higher") else "worse"


def _room(room: str, found: Mapping[str, Any]) -> Section | None:
    """The ratios and figures of a room's benchmarks."""
    rows = {name: row for name, row in found.items() if row["room"] == room}
    if not rows:
        return None
    ratios = [
        [
            ratio["what"],
            ratio["ours"],
            ratio["peer"],
            f"{ratio['ratio']:.3f}",
            "" if ratio["low"] is None else f"{ratio['low']:.3f} to {ratio['high']:.3f}",
            ratio["interval"],
            f"{ratio['better']}: {verdict(ratio)}",
        ]
        for row in rows.values()
        if row["result"]
        for ratio in row["result"]["ratios"]
    ]
    figures = [
        [figure["what"], figure["text"], name]
        for name, row in rows.items()
        if row["result"]
        for figure in row["result"]["figures"]
    ]
    return Section(
        room,
        room,
        ROOMS.get(room, room),
        shown=[
            Table(
                "Ratios to peers",
                "ours over the peer's",
                ["what", "ours", "peer", "ratio", "interval", "of", "wanted"],
                ratios,
            ),
            Table("Figures", "without a peer", ["what", "measured", "benchmark"], figures),
        ],
    )


def _machine(found: Mapping[str, Any]) -> Section:
    """What was run where: machines, versions, and how busy the machine was before each benchmark."""
    runs = [
        [
            name,
            "well" if row["status"] == 0 else f"status {row['status']}",
            f"{row['seconds']:.0f}",
            f"{100 * row['busy']:.0f} %",
            " ".join(f"{load:.2f}" for load in row["machine"]["load_average"]),
            row["commit"],
            row["ended_at"],
            row["command"],
        ]
        for name, row in found.items()
    ]
    columns = ["benchmark", "ended", "seconds", "busy before", "load before", "commit", "ended at", "command"]
    note = (
        "Before: the share of the cores that others took, and the load average over 1, 5 and 15 minutes, "
        "which holds the benchmark before."
    )
    return Section(
        "machine",
        "Machine",
        "Where and how",
        shown=[
            Table("Machines", "", ["cpu", "cores", "memory", "platform", "versions"], machines(found)),
            Table("Benchmarks", note, columns, runs),
        ],
    )


def machines(found: Mapping[str, Any]) -> list[list[str]]:
    """The different machines, as they tell of themselves."""
    rows: list[list[str]] = []
    for run in found.values():
        told = run["machine"]
        versions = ", ".join(f"{name} {number}" for name, number in sorted(told["versions"].items()))
        cores = f"{told['usable_cores']} of {told['cores']}"
        row = [told["cpu"], cores, f"{told['memory_gib']:g} GiB", told["platform"], versions]
        if row not in rows:
            rows.append(row)
    return rows
