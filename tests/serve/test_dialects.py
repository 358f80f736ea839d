"""Every dialect of thinking budgets becomes one `ThinkingBudget`, or an error that names the field."""

import copy
from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.budget import EFFORT_SHARES, LoopStop, RequestError, ThinkingBudget
from serve.dialects import FIELDS, OBJECTS, Route, normalise_request
from serve.templates import TemplateTraits
from tests.serve.test_trace import FORM

LIMITS = [
    "thinking_token_budget",
    "thinking_budget",
    "thinking_budget_tokens",
    "reasoning_budget_tokens",
    "reasoning_budget",
    "reasoning.max_tokens",
    "thinking.budget_tokens",
    "thinking.budget",
    "nvext.max_thinking_tokens",
    "sampling_params.thinking_token_budget",
]
EFFORTS = ["reasoning_effort", "reasoning.effort", "output_config.effort", "thinking.effort"]
SWITCHES = ["enable_thinking", "chat_template_kwargs.enable_thinking", "reasoning.enabled"]
HIDING = [("include_reasoning", False), ("reasoning.exclude", True), ("thinking.display", "omitted")]
OTHERS = [
    "chat_template_kwargs.thinking_token_budget",
    "include_reasoning",
    "reasoning.exclude",
    "thinking.type",
    "thinking.display",
    "reasoning_budget_message",
]
ROUTES: tuple[Route, ...] = get_args(Route)
TEMPLATED: list[Route] = ["chat", "responses", "messages"]
NONE = ThinkingBudget()
FIVE = ThinkingBudget(5)


def with_field(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`body` with a field, or with a member of an object."""
    name, _, member = path.partition(".")
    return {**body, name: {**body.get(name, {}), member: value} if member else value}


def just(path: str, value: Any) -> dict[str, Any]:
    return with_field({"model": "m"}, path, value)


def test_the_tables_here_are_the_table_there() -> None:
    assert sorted(FIELDS) == sorted([*LIMITS, *EFFORTS, *SWITCHES, *OTHERS])


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("path", LIMITS)
@pytest.mark.parametrize(("value", "budget"), [(0, 0), (1, 1), (10**6, 10**6), (-1, None), (None, None)])
def test_limits(path: str, value: int | None, budget: int | None, route: Route) -> None:
    found, rest, hidden = normalise_request(just(path, value), route)
    assert found == ThinkingBudget(budget)
    assert not hidden
    left = {"model": "m"}
    if path.startswith("sampling_params"):
        left["sampling_params"] = {}
    if budget == 0 and route in TEMPLATED:
        left["chat_template_kwargs"] = {"enable_thinking": False}
    assert {name: value for name, value in rest.items() if value is not None} == left


@pytest.mark.parametrize("path", LIMITS)
@pytest.mark.parametrize("value", [True, False, 1.0, "8", -2, [3], {}])
def test_wrong_limits(path: str, value: Any) -> None:
    with pytest.raises(RequestError) as error:
        normalise_request(just(path, value), "chat")
    assert error.value.param == path
    assert path in str(error.value)
    assert repr(value) in str(error.value)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("path", EFFORTS)
@pytest.mark.parametrize("level", ["none", *EFFORT_SHARES])
def test_efforts_set_the_budget_and_reach_the_template(path: str, level: str, route: Route) -> None:
    found, rest, _ = normalise_request(just(path, level), route)
    assert found == (ThinkingBudget(0) if level == "none" else ThinkingBudget(effort=level))
    variables = rest.get("chat_template_kwargs", {})
    seen = {
        "chat": rest.get("reasoning_effort"),
        "responses": rest.get("reasoning", {}).get("effort"),
        "messages": variables.get("reasoning_effort"),
    }
    assert seen == {name: level if name == route else None for name in TEMPLATED}
    assert variables.get("enable_thinking") == ((level != "none") if route in TEMPLATED else None)


@pytest.mark.parametrize("path", EFFORTS)
@pytest.mark.parametrize("value", ["High", "", 1, True, ["low"], {}])
def test_wrong_efforts(path: str, value: Any) -> None:
    with pytest.raises(RequestError, match="must be one of none, minimal, low") as error:
        normalise_request(just(path, value), "responses")
    assert error.value.param == path


@pytest.mark.parametrize("effort", EFFORTS)
@pytest.mark.parametrize("limit", LIMITS)
def test_tokens_beat_effort(effort: str, limit: str) -> None:
    for level in ("low", "none"):
        found, rest, _ = normalise_request(with_field(just(effort, level), limit, 100), "chat")
        assert found == ThinkingBudget(100)
        assert rest.get("reasoning_effort") == (level if level != "none" else None)
        assert rest.get("chat_template_kwargs", {}).get("enable_thinking") is not False


def test_the_lowest_effort_wins() -> None:
    body = {"reasoning_effort": "high", "reasoning": {"effort": "low"}, "output_config": {"effort": "max"}}
    found, rest, _ = normalise_request(body, "chat")
    assert found.effort == rest["reasoning_effort"] == "low"


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("path", SWITCHES)
def test_switches(path: str, route: Route) -> None:
    off, rest, _ = normalise_request(with_field(just(path, False), "thinking_budget", 9), route)
    assert off == ThinkingBudget(0)
    assert (rest.get("chat_template_kwargs") or {}).get("enable_thinking", True) is (route not in TEMPLATED)
    on, rest, _ = normalise_request(just(path, True), route)
    assert on == NONE
    assert (rest.get("chat_template_kwargs") or {}).get("enable_thinking", False) is (route in TEMPLATED)


@pytest.mark.parametrize(
    ("mode", "budget", "switched"),
    [("enabled", None, True), ("adaptive", None, True), ("disabled", 0, False), ("between_tools", 0, False)],
)
@pytest.mark.parametrize("route", TEMPLATED)
def test_anthropic_types(mode: str, budget: int | None, switched: bool, route: Route) -> None:
    found, rest, _ = normalise_request({"thinking": {"type": mode}}, route)
    assert found == ThinkingBudget(budget)
    assert rest == {"chat_template_kwargs": {"enable_thinking": switched}}


@pytest.mark.parametrize(
    ("route", "field", "last"),
    [
        ("chat", "messages", {"role": "tool", "content": "7"}),
        ("responses", "input", {"type": "function_call_output", "output": "7"}),
        ("messages", "messages", {"role": "user", "content": [{"type": "tool_result", "content": "7"}]}),
    ],
)
def test_between_tools_thinks_after_a_tool(route: Route, field: str, last: dict[str, Any]) -> None:
    body = {field: [{"role": "user", "content": "?"}, last], "thinking": {"type": "between_tools"}}
    assert normalise_request(body, route)[0] == NONE
    body[field] += [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    assert normalise_request(body, route)[0] == ThinkingBudget(0)


def test_anthropic_members_and_ours_go_together() -> None:
    thinking = {"type": "enabled", "budget_tokens": 100, "display": "omitted", "deadline": 3, "loop": True}
    found, rest, hidden = normalise_request({"thinking": thinking, "max_tokens": 50}, "messages")
    assert found == ThinkingBudget(100, deadline=3.0, loop=LoopStop())
    assert hidden
    assert rest == {"max_tokens": 50, "chat_template_kwargs": {"enable_thinking": True}}


@pytest.mark.parametrize(("path", "value"), HIDING)
def test_hidden_thinking(path: str, value: Any) -> None:
    for route in TEMPLATED:
        found, rest, hidden = normalise_request(just(path, value), route)
        assert (found, rest, hidden) == (NONE, {"model": "m"}, True)
    for raw in ("completions", "tokens"):
        with pytest.raises(RequestError, match="raw text") as error:
            normalise_request(just(path, value), raw)  # type: ignore[arg-type]
        assert error.value.param == path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("logprobs", True),
        ("return_token_ids", True),
        ("enable_response_messages", True),
        ("include", ["message.output_text.logprobs"]),
    ],
)
def test_hidden_thinking_is_not_shown_as_tokens(field: str, value: Any) -> None:
    body = {"include_reasoning": False, field: value}
    with pytest.raises(RequestError) as error:
        normalise_request(body, "responses")
    assert error.value.param == field
    assert normalise_request({**body, "include_reasoning": True}, "responses").body[field] == value


def test_shown_thinking() -> None:
    body = {"include_reasoning": True, "reasoning": {"exclude": False}, "thinking": {"display": "summarized"}}
    assert normalise_request(body, "chat") == (NONE, {}, False)


def test_openai_members_of_reasoning_pass_on_responses() -> None:
    reasoning = {"effort": "low", "summary": "auto", "mode": "standard", "context": "auto", "max_tokens": 7}
    found, rest, _ = normalise_request({"reasoning": reasoning}, "responses")
    assert found == ThinkingBudget(7)
    del reasoning["max_tokens"]
    assert rest["reasoning"] == reasoning
    with pytest.raises(RequestError) as error:
        normalise_request({"reasoning": reasoning}, "chat")
    assert error.value.param == "reasoning.summary"


def test_anthropic_output_format_passes_on_messages() -> None:
    output = {"effort": "minimal", "format": {"type": "json_schema", "schema": {}}}
    rest = normalise_request({"output_config": output}, "messages").body
    assert rest["output_config"] == {"format": output["format"]}


def test_last_words_become_a_stop_text() -> None:
    found = normalise_request({"reasoning_budget_message": "Enough."}, "chat", None, FORM).thinking
    assert found == ThinkingBudget(stop_text="Enough.</think>\n\n")
    with pytest.raises(RequestError, match=r"thinking\.stop_text") as error:
        normalise_request({"reasoning_budget_message": "x", "thinking": {"stop_text": "y</think>"}}, "chat")
    assert error.value.param == "reasoning_budget_message"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"enable_thinking": 1}, "enable_thinking"),
        ({"enable_thinking": "no"}, "enable_thinking"),
        ({"chat_template_kwargs": {"enable_thinking": 0}}, "chat_template_kwargs.enable_thinking"),
        (
            {"chat_template_kwargs": {"thinking_token_budget": 9}},
            "chat_template_kwargs.thinking_token_budget",
        ),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
        ({"thinking": True}, "thinking"),
        ({"thinking": {"budgets": 4}}, "thinking.budgets"),
        ({"thinking": {"ceiling": 4}}, "thinking.ceiling"),
        ({"thinking": {"stop_text": 4}}, "thinking.stop_text"),
        ({"thinking": {"type": "auto"}}, "thinking.type"),
        ({"thinking": {"type": []}}, "thinking.type"),
        ({"thinking": {"display": "none"}}, "thinking.display"),
        ({"thinking": {"min_tokens": 9}, "thinking_budget": 5}, "thinking.min_tokens"),
        ({"thinking": {"min_tokens": 9, "type": "disabled"}}, "thinking.min_tokens"),
        ({"reasoning": "high"}, "reasoning"),
        ({"reasoning": {"max_token": 9}}, "reasoning.max_token"),
        ({"reasoning": {"exclude": 1}}, "reasoning.exclude"),
        ({"include_reasoning": "false"}, "include_reasoning"),
        ({"output_config": {"task_budget": {}}}, "output_config.task_budget"),
        ({"output_config": {"format": {}}}, "output_config.format"),
        ({"nvext": {"max_thinking_tokens": 9, "top_k": 1}}, "nvext.top_k"),
        ({"reasoning_budget_message": 3}, "reasoning_budget_message"),
        ({"thinking_bugdet": 8}, "thinking_bugdet"),
        ({"max_reasoning_tokens": 8}, "max_reasoning_tokens"),
        ({"think": True}, "think"),
    ],
)
def test_other_wrong_fields_are_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as error:
        normalise_request(body, "chat")
    assert error.value.param == param
    assert param in str(error.value)


def test_a_slip_of_the_pen_is_put_right() -> None:
    with pytest.raises(RequestError, match="did you mean thinking_budget"):
        normalise_request({"thinking_bugdet": 8}, "chat")


def test_the_template_keeps_its_other_variables() -> None:
    body = {"thinking_budget": 0, "chat_template_kwargs": {"enable_thinking": True, "other": 1}}
    rest = normalise_request(body, "chat").body
    assert rest["chat_template_kwargs"] == {"enable_thinking": False, "other": 1}


def test_server_default() -> None:
    assert normalise_request({}, "chat", FIVE)[0] == FIVE
    assert normalise_request({"enable_thinking": True}, "chat", FIVE)[0] == FIVE
    assert normalise_request({"thinking_budget": 9}, "chat", FIVE)[0].budget == 9
    assert normalise_request({"thinking_budget": -1}, "chat", FIVE)[0].budget is None
    assert normalise_request({"reasoning_effort": "low"}, "chat", FIVE)[0] == ThinkingBudget(effort="low")
    effort = ThinkingBudget(effort="low", deadline=9.0)
    assert normalise_request({"thinking_budget": 7}, "chat", effort)[0] == ThinkingBudget(7, deadline=9.0)
    assert (
        normalise_request({"thinking": {"min_tokens": 9}, "thinking_budget": 20}, "chat", FIVE)[0].budget
        == 20
    )


def test_a_target_accuracy_stands_alone() -> None:
    target = {"thinking": {"target_accuracy": 0.9, "max_cost": 40, "family": "chain"}}
    wanted = ThinkingBudget(target_accuracy=0.9, max_cost=40, family="chain")
    for default in (NONE, FIVE, ThinkingBudget(0), ThinkingBudget(effort="low")):
        assert normalise_request({**target, "enable_thinking": True}, "chat", default)[0] == wanted
    for other in ({"reasoning_effort": "low"}, {"thinking_budget": 9}, {"enable_thinking": False}):
        with pytest.raises(RequestError, match="beside") as error:
            normalise_request(target | other, "chat")
        assert error.value.param == "thinking.target_accuracy"
    # What a request says itself takes the place of a default.
    assert normalise_request({"thinking_budget": 9}, "chat", wanted)[0] == ThinkingBudget(
        9, max_cost=40, family="chain"
    )
    assert normalise_request({"reasoning_effort": "low"}, "chat", wanted)[0].target_accuracy is None
    off = {"target_accuracy": False, "max_cost": False, "family": False}
    assert normalise_request({"thinking": off}, "chat", wanted)[0] == NONE


def test_a_request_may_turn_on_what_the_default_turns_off() -> None:
    off = ThinkingBudget(0)
    assert normalise_request({}, "chat", off)[:2] == (
        off,
        {"chat_template_kwargs": {"enable_thinking": False}},
    )
    for body in ({"enable_thinking": True}, {"thinking": {"type": "adaptive"}}):
        found, rest, _ = normalise_request(body, "chat", off)
        assert found == NONE
        assert rest == {"chat_template_kwargs": {"enable_thinking": True}}


def test_a_ceiling_holds_whatever_the_request_says() -> None:
    for ceiling in (0, 7):
        default = replace(FIVE, ceiling=ceiling)
        found, rest, _ = normalise_request({"thinking_budget": -1, "enable_thinking": True}, "chat", default)
        assert found == ThinkingBudget(ceiling=ceiling)
        assert rest["chat_template_kwargs"]["enable_thinking"] is (ceiling > 0)


@pytest.mark.parametrize("switch", ["thinking", None])
def test_a_template_is_told_in_its_own_words(switch: str | None) -> None:
    form = replace(FORM, template=TemplateTraits(switch=switch))

    def told(**body: Any) -> Any:
        found, rest, _ = normalise_request(body, "chat", None, form)
        return found.budget, rest.get("chat_template_kwargs")

    word = {} if switch is None else {switch: False}
    assert told(enable_thinking=False) == (0, word or None)
    assert told(chat_template_kwargs={"enable_thinking": False}) == (0, word or {})
    if switch is not None:
        assert told(chat_template_kwargs={switch: False}) == (0, word)
        assert told(chat_template_kwargs={switch: True, "a": 1}) == (None, {switch: True, "a": 1})


@given(st.dictionaries(st.sampled_from(LIMITS), st.integers(-1, 10**9)), st.sampled_from(ROUTES))
def test_smallest_limit_wins(values: dict[str, int], route: Route) -> None:
    body: dict[str, Any] = {}
    for path, value in values.items():
        body = with_field(body, path, value)
    limits = [value for value in values.values() if value >= 0]
    assert normalise_request(body, route).thinking == ThinkingBudget(min(limits, default=None))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SANE = st.sampled_from([None, True, False, 0, 5, -1, "low", "none", "enabled", "disabled", "omitted"])
TOP = sorted({path.partition(".")[0] for path in FIELDS})


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    body: dict[str, Any] = draw(st.dictionaries(st.sampled_from([*TOP, "x", "messages", "input"]), JSON))
    for path in draw(st.lists(st.sampled_from([*FIELDS, "thinking.soft", "reasoning.summary"]), max_size=4)):
        name, _, member = path.partition(".")
        if not member or isinstance(body.get(name), dict | None):
            body = with_field({**body, name: body.get(name) or {}}, path, draw(SANE | JSON))
    return body


@given(bodies(), st.sampled_from(ROUTES))
def test_any_body_is_folded_or_refused(body: dict[str, Any], route: Route) -> None:
    before = copy.deepcopy(body)
    refusal = None
    try:
        found, rest, _ = normalise_request(body, route)
    except RequestError as error:
        refusal = error
    assert body == before
    if refusal is not None:
        assert refusal.param.partition(".")[0] in body
        assert refusal.param in str(refusal)
        return
    assert found.budget is None or found.budget >= 0
    assert (found.budget is None) or (found.effort is None)
    kept = {
        "chat": {"reasoning_effort"},
        "responses": {"reasoning"},
        "messages": {"output_config"},
        "completions": set(),
        "tokens": set(),
    }[route] | {"chat_template_kwargs", "sampling_params"}
    assert not set(rest) & (set(TOP) - kept)
    for name in OBJECTS:
        assert set(rest.get(name) or {}) <= {*OBJECTS[name].get(route, ()), "effort"}
    for name in ("x", "messages", "input"):
        assert rest.get(name) == body.get(name)


@given(bodies(), st.sampled_from(ROUTES))
def test_what_is_folded_asks_for_nothing_more(body: dict[str, Any], route: Route) -> None:
    """The rest of a body says of thinking no more than its template hears."""
    try:
        found, rest, _ = normalise_request(body, route)
    except RequestError:
        return
    again = normalise_request(rest, route)
    assert again.body == rest
    assert again.thinking in (
        NONE,
        ThinkingBudget(found.budget),
        ThinkingBudget(effort=again.thinking.effort),
    )
