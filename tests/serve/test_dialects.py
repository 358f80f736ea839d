"""Every dialect of thinking budgets becomes one `ThinkingBudget`, or an error that names the field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.budget import RequestError, ThinkingBudget
from serve.dialects import normalise_request

FIELDS = ["thinking_token_budget", "thinking_budget", "thinking.budget"]
ROUTES = ["chat", "completions"]
FIVE = ThinkingBudget(5)


def with_field(name: str, value: Any) -> dict[str, Any]:
    return {"thinking": {"budget": value}} if name == "thinking.budget" else {name: value}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(("value", "budget"), [(0, 0), (1, 1), (10**6, 10**6), (-1, None), (None, None)])
def test_each_field(name: str, value: int | None, budget: int | None, route: str) -> None:
    found, rest = normalise_request({"model": "m", **with_field(name, value)}, route)
    assert found == ThinkingBudget(budget)
    assert set(rest) <= {"model", "chat_template_kwargs"}


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("value", [True, False, 1.0, "8", -2, [3], {}])
def test_wrong_budget_is_refused(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=name) as error:
        normalise_request(with_field(name, value), "chat")
    assert error.value.param == name
    assert repr(value) in str(error.value)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"enable_thinking": 1}, "enable_thinking"),
        ({"enable_thinking": "no"}, "enable_thinking"),
        ({"chat_template_kwargs": {"enable_thinking": 0}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": []}, "chat_template_kwargs"),
        ({"thinking": True}, "thinking"),
        ({"thinking": {"budgets": 4}}, "thinking.budgets"),
        ({"thinking": {"stop_text": 4}}, "thinking.stop_text"),
        ({"thinking_bugdet": 8}, "thinking_bugdet"),
        ({"reasoning_budget_tokens": 8}, "reasoning_budget_tokens"),
    ],
)
def test_other_wrong_fields_are_refused(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as error:
        normalise_request(body, "chat")
    assert error.value.param == param


def test_budget_zero_turns_the_template_off() -> None:
    body = {"thinking_budget": 0, "chat_template_kwargs": {"enable_thinking": True, "other": 1}}
    rest = normalise_request(body, "chat")[1]
    assert rest["chat_template_kwargs"] == {"enable_thinking": False, "other": 1}
    assert "chat_template_kwargs" not in normalise_request({"thinking_budget": 0}, "completions")[1]


def test_enable_thinking() -> None:
    assert normalise_request({"enable_thinking": False}, "chat")[0].budget == 0
    assert normalise_request({"chat_template_kwargs": {"enable_thinking": False}}, "chat")[0].budget == 0
    assert normalise_request({"enable_thinking": False, "thinking_budget": 9}, "completions")[0].budget == 0
    found, rest = normalise_request({"enable_thinking": True}, "chat")
    assert found.budget is None
    assert rest["chat_template_kwargs"] == {"enable_thinking": True}


def test_server_default() -> None:
    assert normalise_request({}, "chat", FIVE)[0].budget == 5
    assert normalise_request({"enable_thinking": True}, "chat", FIVE)[0].budget == 5
    assert normalise_request({"thinking_budget": 9}, "chat", FIVE)[0].budget == 9
    assert normalise_request({"thinking_budget": -1}, "chat", FIVE)[0].budget is None


def test_body_is_not_modified() -> None:
    body = {"thinking": {"budget": 0, "stop_text": "x"}, "chat_template_kwargs": {"a": 1}}
    before = {"thinking": {"budget": 0, "stop_text": "x"}, "chat_template_kwargs": {"a": 1}}
    normalise_request(body, "chat")
    assert body == before


@given(st.dictionaries(st.sampled_from(FIELDS), st.integers(-1, 10**9)))
def test_smallest_limit_wins(values: dict[str, int]) -> None:
    body: dict[str, Any] = {}
    for name, value in values.items():
        body |= with_field(name, value)
    limits = [value for value in values.values() if value >= 0]
    found, _ = normalise_request(body, "completions")
    assert found.budget == (min(limits) if limits else None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = [
    "thinking_token_budget",
    "thinking_budget",
    "enable_thinking",
    "thinking",
    "chat_template_kwargs",
    "x",
]


@given(st.dictionaries(st.sampled_from(NAMES), JSON), st.sampled_from(ROUTES))
def test_any_body_is_folded_or_refused(body: dict[str, Any], route: str) -> None:
    try:
        found, rest = normalise_request(body, route)
    except RequestError as error:
        refused = error.param.split(".")[0]
    else:
        refused = None
    if refused is not None:
        assert refused in body
        return
    assert found.budget is None or found.budget >= 0
    assert not set(rest) & set(NAMES[:4])
    assert rest.get("x") == body.get("x")
