"""`thinkdial eval problems`: list the problem sets, show problems as they would be asked, export them."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from evals.commands.command import WRONG_USAGE, fail

if TYPE_CHECKING:
    from evals.problems import Problem

_SHOWN = 3
_EXAMPLE = """examples:
  thinkdial eval problems                                      # the sets, and where each would come from
  thinkdial eval problems 'math500[level=5,subject=Algebra]'   # three problems as they would be asked
  thinkdial eval problems aime24 amc23 --prompt matharena --limit 1
  thinkdial eval problems gsm8k --export gsm8k.jsonl           # every problem, as {id, problem, answer, ...}
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "problems",
        help="list problem sets, show or export their problems",
        description="List the problem sets; given some, show problems as they would be asked.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help="NAME, FILE.jsonl, or either[level=1-3,...]")
    parser.add_argument(
        "--limit", type=int, metavar="N", help=f"problems of each set ({_SHOWN}; export: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of thinkmath (0)")
    parser.add_argument("--prompt", metavar="P", help="a preset, a text with {problem}, or a file with one")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write them as JSONL instead")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """List, show or export."""
    from evals.problems import load

    if not options.sets and options.export:
        return fail("export: no set is named; give one or more before --export", WRONG_USAGE)
    limit = options.limit
    if limit is None and options.export is None:
        limit = _SHOWN
    try:
        if not options.sets:
            print(listing())
            return 0
        problems = load(options.sets, limit=limit, seed=options.seed)
        if options.export is not None:
            _export(problems, options.export, options.prompt)
            print(f"{len(problems)} problems written to {options.export}", file=sys.stderr)
        else:
            print("\n\n".join(_shown(problem, options.prompt) for problem in problems))
    except (ValueError, OSError) as error:
        return fail(str(error), WRONG_USAGE)
    return 0


def listing() -> str:
    """A table of the sets known by name and of those in the data folder, then of the prompt presets."""
    from evals.problems import DATA_VARIABLE, data_folder, find_local, thinkmath
    from evals.problems.catalogue import SETS, canonical_name
    from evals.problems.hub import cached, download_command
    from evals.problems.prompts import PRESETS, preset_of

    folder = data_folder()
    rows: list[tuple[str, ...]] = [("set", "problems", "prompt", "published as", "would be read from")]
    rows.append(("thinkmath", f"endless ({thinkmath.HELD_OUT})", "plain", "generated", "this program"))
    for name, entry in SETS.items():
        local = find_local(name)
        place = str(local) if local else "the hub's cache" if cached(entry) else "the hub"
        configs = "" if entry.configs == (None,) else f" {entry.configs[0]}"
        configs += ", ..." if len(entry.configs) > 1 else ""
        rows.append((name, str(entry.size), entry.prompt, f"{entry.hub}{configs} ({entry.split})", place))
    if folder is not None:
        for path in sorted(folder.glob("*.jsonl")):
            if canonical_name(path.stem) not in SETS:
                rows.append((path.stem, "", preset_of(path.stem).name, "", str(path)))
    presets = [(preset.name, preset.use, preset.source) for preset in PRESETS.values()]
    example = download_command("aime25", SETS["aime25"])
    return "\n".join(
        [
            _table(rows),
            "",
            _table([("prompt", "for", "source"), *presets]),
            "",
            f"Without the hub: `{example}`",
            f"or DIR/aime25.jsonl, one {{id, problem, answer}} object a line; then set {DATA_VARIABLE}=DIR.",
        ]
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _shown(problem: "Problem", preset: str | None) -> str:
    from evals.problems.prompts import preset_of

    chosen = preset_of(problem.set, preset)
    facts = [problem.id]
    if problem.level is not None:
        facts.append(f"level {problem.level}")
    if problem.subject is not None:
        facts.append(problem.subject)
    heading = " · ".join([*facts, f"prompt {chosen.name}", f"gold {problem.answer}"])
    return f"--- {heading}\n{chosen.fill(problem.problem)}"


def _export(problems: list["Problem"], path: Path, preset: str | None) -> None:
    """Write problems as a JSONL that `load` reads; `prompt` is what each would be asked as."""
    import json
    from dataclasses import asdict

    from evals.problems.prompts import prompt

    with path.open("w", encoding="utf-8") as file:
        for problem in problems:
            row = {key: value for key, value in asdict(problem).items() if value is not None}
            row["prompt"] = prompt(problem, preset)
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
