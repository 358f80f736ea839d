"""JSON schemas of what thinking adds to requests and responses. The OpenAPI document holds them."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from serve.budget import EFFORT_SHARES, LONGEST_TEXT
from serve.trace import ThinkingReport

Schema = dict[str, Any]

LIMIT: Schema = {
    "type": ["integer", "null"],
    "minimum": -1,
    "description": "Most thinking tokens of each choice: 0 is thinking off, -1 is no limit.",
}
EFFORT: Schema = {
    "enum": ["none", *EFFORT_SHARES, None],
    "description": "A level in place of a number of tokens; `none` is thinking off.",
}
SWITCH: Schema = {"type": ["boolean", "null"]}
COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}
TEXT: Schema = {"type": ["string", "null"], "maxLength": LONGEST_TEXT}
ABOVE_ZERO: Schema = {"type": ["integer", "null"], "minimum": 1}
AT_LEAST_TWO: Schema = {"type": ["integer", "null"], "minimum": 2}


def _object(members: Mapping[str, Schema], description: str) -> Schema:
    return {
        "type": "object",
        "properties": dict(members),
        "additionalProperties": False,
        "description": description,
    }


def _said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


def _switch_or(schema: Schema, description: str) -> Schema:
    return {"anyOf": [schema, {"type": ["boolean", "null"]}], "description": description}


THINKING: Schema = _object(
    {
        "budget": LIMIT,
        "effort": EFFORT,
        "target_accuracy": {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"const": False},
                {"type": "null"},
            ],
            "description": "The smallest budget whose measured accuracy reaches this; needs a profile.",
        },
        "max_cost": {
            "anyOf": [{"type": "number", "minimum": 0}, {"const": False}, {"type": "null"}],
            "description": "Most mean thinking tokens, as measured; needs a profile.",
        },
        "family": {
            "anyOf": [{"type": "string", "maxLength": LONGEST_TEXT}, {"const": False}, {"type": "null"}],
            "description": "The kind of problem whose measured curve holds; needs a profile.",
        },
        "deadline": {
            "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": False}, {"type": "null"}],
            "description": "Seconds from arrival in which the whole response should be there; false is none.",
        },
        "soft": _said(COUNT, "Within this many tokens of the budget, stop at the end of a sentence or line."),
        "min_tokens": _said(COUNT, "Thinking that ends earlier goes on with `wait_text`."),
        "wait_text": TEXT,
        "loop": _switch_or(
            _object(
                {"repeats": AT_LEAST_TWO, "tokens": AT_LEAST_TWO}, "One cycle, this often and this long."
            ),
            "Stop thinking that runs in circles.",
        ),
        "confident": _switch_or(
            _object(
                {
                    "every": _said(ABOVE_ZERO, "Thinking tokens between probes."),
                    "tokens": _said(ABOVE_ZERO, "Most tokens of a probe."),
                    "induce": _said(TEXT, "What a probe's answer starts with."),
                    "threshold": {
                        "type": ["number", "null"],
                        "exclusiveMinimum": 0,
                        "maximum": 1,
                        "description": "Least geometric mean of a probe's token probabilities.",
                    },
                    "agree": _said(ABOVE_ZERO, "How many probes in a row must be certain, and agree."),
                },
                "Probes of the answer.",
            ),
            "Stop thinking once its answer is certain.",
        ),
        "answer_reserve": _said(COUNT, "Tokens of the reply that thinking must leave to the answer."),
        "stop_text": _said(TEXT, "What is inserted when thinking is cut; holds the closing tag once."),
        "entropy": _said(
            SWITCH, "Tell the entropy of each thinking token, while streaming and in the report."
        ),
    },
    "What this request asks of its thinking. Members that it does not name are the server's defaults.",
)


def request_fields(path: str) -> dict[str, Schema]:
    """The fields that ask something of thinking, in every dialect, as the route `path` takes them."""
    passed_on: dict[str, tuple[str, ...]] = {}
    if path == "/v1/responses":
        passed_on["reasoning"] = ("summary", "generate_summary", "mode", "context")
    if path.startswith("/v1/messages"):
        passed_on["output_config"] = ("format",)
    objects: dict[str, Mapping[str, Schema]] = {
        "reasoning": {"effort": EFFORT, "max_tokens": LIMIT, "enabled": SWITCH, "exclude": SWITCH},
        "output_config": {"effort": EFFORT},
        "nvext": {"max_thinking_tokens": LIMIT},
        "thinking": {
            **THINKING["properties"],
            "type": {"enum": ["enabled", "disabled", "adaptive", "between_tools", None]},
            "budget_tokens": LIMIT,
            "display": {"enum": ["summarized", "omitted", "updates", None]},
        },
    }
    fields: dict[str, Schema] = {
        name: LIMIT
        for name in (
            "thinking_token_budget",
            "thinking_budget",
            "thinking_budget_tokens",
            "reasoning_budget_tokens",
            "reasoning_budget",
        )
    }
    fields |= {
        "enable_thinking": SWITCH,
        "include_reasoning": SWITCH,
        "reasoning_effort": EFFORT,
        "reasoning_budget_message": _said(
            TEXT, "What is inserted when thinking is cut, without the closing tag."
        ),
    }
    for name, members in objects.items():
        others: dict[str, Schema] = {member: {} for member in passed_on.get(name, ())}
        closed = _object({**members, **others}, THINKING["description"] if name == "thinking" else "")
        fields[name] = {"anyOf": [closed, {"type": "null"}]}
    return fields


_REPORT = TypeAdapter(ThinkingReport).json_schema(ref_template="#/components/schemas/{model}")
REPORT_PARTS: dict[str, Schema] = _REPORT.pop("$defs")
"""Schemas that the report's refers to, by name."""
REPORT: Schema = {
    **_REPORT,
    "description": "How the thinking of a choice went, once it has ended; members that are not required tell "
    "of what was in force.",
}
REPORT_OR_ID: Schema = {
    "anyOf": [
        {"$ref": "#/components/schemas/ThinkingReport"},
        {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        {"type": "null"},
    ],
    "description": "The report; on a response that has only begun, the id by which thinking can be stopped.",
}
REASONING_TOKENS: Schema = {"type": "integer", "minimum": 0, "description": "Thinking tokens."}
PROFILE: Schema = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "curve": {"type": "array", "items": {"type": "object"}},
        "families": {"type": "object"},
        "rule": {"type": "string"},
        "levels": {"type": "object", "additionalProperties": {"type": ["integer", "null"], "minimum": 0}},
    },
    "required": ["model", "curve", "families", "rule", "levels"],
    "description": "The model's thinking profile, and the budget of each effort level; null is no limit.",
}
