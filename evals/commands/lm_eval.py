"""`thinkdial eval lm-eval`: sweep lm-eval's tasks over budgets."""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.commands.command import FAILED, INTERRUPTED, WRONG_USAGE, fail, on_server
from evals.commands.report import write
from evals.commands.sweep import add_account, add_curve, add_sampling, add_server, api_key, sweep_settings


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "lm-eval",
        help="sweep lm-eval's generative tasks over budgets",
        description="Draw the replies to lm-eval's tasks at every budget into a run directory, have lm-eval "
        "score them, and write the report. Prompts are chats under the server's template (lm-eval's "
        "--apply_chat_template). A task's stop strings end its answers, not the thinking; its temperature "
        "and max_gen_toks are not used: a budget says how long to think. Run it again to resume or to add.",
    )
    task = parser.add_argument_group("tasks")
    task.add_argument(
        "--tasks",
        type=lambda text: tuple(text.split(",")),
        required=True,
        help="tasks, groups or tags of lm-eval, or paths of task files, comma-separated",
    )
    task.add_argument(
        "--include-path", type=Path, action="append", default=[], metavar="DIR", help="a folder of task files"
    )
    task.add_argument("--limit", type=int, metavar="N", help="the first N documents of each task")
    task.add_argument("--num-fewshot", type=int, metavar="N", help="examples (what each task says)")
    task.add_argument("--system-instruction", metavar="TEXT", help="a system turn")
    task.add_argument(
        "--fewshot-as-multiturn",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="examples as turns of their own (default), or all in the user's turn",
    )
    task.add_argument("--metric", metavar="NAME", help="the metric that counts as right (each task's first)")
    task.add_argument("--filter", metavar="NAME", help="the filter that extracts its answer (the first)")
    task.add_argument(
        "--confirm-run-unsafe-code", action="store_true", help="let tasks run code that the model wrote"
    )
    add_curve(parser, samples="what each task asks")
    add_server(parser)
    add_sampling(parser)
    add_account(parser)
    parser.set_defaults(run=run, problems=(), prompt=None, samples=None)


def run(options: argparse.Namespace) -> int:
    """Draw what the run directory lacks, score it, and write its report."""
    # Imported here: `--help` must not wait for lm-eval.
    try:
        import lm_eval  # noqa: F401
    except ModuleNotFoundError:
        return fail("lm-eval is not installed; pip install 'thinkdial[lm-eval]'", FAILED)
    import httpx

    from clients import APIError
    from evals.bridges.lm_eval_sweep import RESULTS, TaskChoice, result_table, sweep_tasks
    from evals.problems import Problem
    from evals.sweep.run import SweepResult, run_sweep
    from evals.sweep.settings import SweepSettings

    logging.getLogger("lm_eval").setLevel(logging.WARNING)
    again = shlex.join(["thinkdial", "eval", *options.arguments])
    try:
        choice = TaskChoice(
            tasks=options.tasks,
            include_path=tuple(options.include_path),
            limit=options.limit,
            fewshot=options.num_fewshot,
            multiturn=options.fewshot_as_multiturn,
            system=options.system_instruction,
            metric=options.metric,
            filter=options.filter,
            unsafe_code=options.confirm_run_unsafe_code,
        )
        # None is as often as the tasks ask; the settings of the sweep have each task's number in their place.
        samples, options.samples = options.samples, 1
        options.problems = options.tasks
        settings = sweep_settings(options)
        key = api_key(options.api_key_env)

        def sweep(base_urls: list[str], model: str | None) -> dict[str, Any]:
            def draw(settings: SweepSettings, problems: Sequence[Problem]) -> SweepResult:
                return run_sweep(settings, base_urls, model, key, problems)

            return sweep_tasks(choice, settings, draw, samples)

        results = on_server(options, sweep)
    except ValueError as error:
        return fail(str(error), WRONG_USAGE)
    except RuntimeError as error:
        return fail(str(error), FAILED)
    except (APIError, httpx.HTTPError) as error:
        reason = str(error) or type(error).__name__
        return fail(f"the server failed: {reason}\nwhat was drawn is stored; resume with: {again}", FAILED)
    except OSError as error:
        return fail(f"a task's data cannot be had: {error}", FAILED)
    except KeyboardInterrupt:
        print(f"\ninterrupted; what was drawn is stored. Resume with:\n  {again}", file=sys.stderr)
        return INTERRUPTED
    print(result_table(results))
    print(options.out / RESULTS)
    missing = sum(point["missing"] for point in results["points"])
    return write(options.out, failed=missing > 0, grader="upstream")
