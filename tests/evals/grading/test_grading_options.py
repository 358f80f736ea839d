"""Conventions on which graders disagree, each both ways."""

from typing import Any

import pytest

from evals.grading import GradingOptions, equivalent


@pytest.mark.parametrize(
    ("option", "a", "b", "equal"),
    [
        ({"percent": "number"}, "10\\%", "10", True),
        ({"percent": "number"}, "10\\%", "0.1", False),
        ({"percent": "fraction"}, "10\\%", "0.1", True),
        ({"percent": "fraction"}, "10\\%", "10", False),
        ({"percent": "either"}, "10\\%", "10", True),
        ({"ordered_lists": True}, "1, 2", "2, 1", False),
        ({"ordered_lists": False}, "1, 2", "2, 1", True),
        ({"units": "ignore"}, "5 \\text{ cm}", "5 \\text{ m}", True),
        ({"units": "compare"}, "5 \\text{ cm}", "5 \\text{ m}", False),
        ({"units": "compare"}, "5 \\text{ cm}", "5", True),
        ({"units": "require"}, "5 \\text{ cm}", "5", False),
        ({"units": "require"}, "5 \\text{ cm}", "0.05 \\text{ m}", True),
        ({"decimal_comma": True}, "1,5", "1.5", True),
        ({"decimal_comma": False}, "1,5", "1.5", False),
        ({"rounded_digits": 3}, "0.333", "1/3", True),
        ({"rounded_digits": 0}, "0.333", "1/3", False),
        ({"rounded_digits": 4}, "0.333", "1/3", False),
        ({"bare_base": True}, "17_8", "17", True),
        ({"bare_base": False}, "17_8", "17", False),
        ({"bare_base": False}, "17_8", "15", True),
        ({"mixed_numbers": True}, "3\\frac{1}{2}", "\\frac{7}{2}", True),
        ({"mixed_numbers": False}, "3\\frac{1}{2}", "\\frac{3}{2}", True),
    ],
)
def test_option(option: dict[str, Any], a: str, b: str, equal: bool) -> None:
    assert equivalent(a, b, GradingOptions(**option)) is equal
    assert equivalent(b, a, GradingOptions(**option)) is equal
