"""Laws of equality, on answers made at random: reflexive, symmetric, blind to formatting, exact."""

from fractions import Fraction

from grading_cases import DIFFERENT, EQUAL
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.grading import GradingOptions, Verdict, compare, equivalent, grade
from evals.grading.vocabulary import names

_ANSWERS = st.sampled_from(
    sorted(
        {
            answer
            for table in (EQUAL, DIFFERENT)
            for pairs in table.values()
            for pair in pairs
            for answer in pair
        }
    )
)
_PIECES = st.sampled_from(
    names(
        "\\frac { } ( ) [ ] \\{ \\} 1 2 0.5 1,000 x y \\pi + - ^ _ , = < \\le \\pm \\cup \\sqrt "
        "\\text{cm} and | ! % ^\\circ \\begin{matrix} \\end{matrix} & \\\\ \\boxed{ <think> </think> $ "
        "answer: #### \0 \ud800 \\infty \\in : ... \\sum_{k=1}^{n} \\binom e i \\sin \\log 1e99 ² √"
    )
)
_MIXTURES = st.lists(_PIECES, max_size=12).map("".join) | _ANSWERS | st.text(max_size=30)


@given(st.integers(), st.integers())
def test_integers_are_equal_exactly_when_they_are(a: int, b: int) -> None:
    assert grade(str(a), rf"\boxed{{{b:+,}}}").correct == (a == b)


@given(st.fractions(), st.fractions())
def test_fractions_are_equal_exactly_when_they_are(a: Fraction, b: Fraction) -> None:
    written = f"\\frac{{{b.numerator}}}{{{b.denominator}}}"
    assert equivalent(f"{a.numerator}/{a.denominator}", written) == (a == b)
    assert equivalent(f"{b.numerator * 2}/{b.denominator * 2}", written)


@given(st.integers(-(10**6), 10**6), st.integers(0, 6))
def test_decimals_are_the_fractions_they_stand_for(digits: int, places: int) -> None:
    value = Fraction(digits, 10**places)
    sign = "-" if digits < 0 else ""
    whole, rest = divmod(abs(digits), 10**places)
    decimal = f"{sign}{whole}.{rest:0{places}d}" if places else f"{digits}"
    assert equivalent(decimal, f"\\frac{{{value.numerator}}}{{{value.denominator}}}")


@settings(max_examples=60)
@given(_MIXTURES)
def test_any_answer_equals_itself(text: str) -> None:
    assert compare(text, text)[0] is Verdict.EQUAL


@settings(max_examples=60)
@given(_MIXTURES, _MIXTURES)
def test_order_does_not_matter(a: str, b: str) -> None:
    options = GradingOptions(symbolic=False)  # a worker's time is not the same twice
    assert compare(a, b, options) == compare(b, a, options)


@settings(max_examples=60)
@given(_MIXTURES, _MIXTURES)
def test_any_text_gets_a_verdict(gold: str, response: str) -> None:
    result = grade(gold, response)
    assert result.correct == (result.verdict is Verdict.EQUAL)
    assert (result.answer is None) == (result.verdict in (Verdict.NO_ANSWER, Verdict.CENSORED))


@given(
    st.sampled_from([pair for pairs in EQUAL.values() for pair in pairs]),
    st.sampled_from(
        ["${}$", "\\({}\\)", " {} ", "{}.", "\\displaystyle {}", "{{{}}}", "$$\n{}\n$$", "**{}**"]
    ),
)
def test_formatting_does_not_matter(pair: tuple[str, str], wrapping: str) -> None:
    a, b = pair
    if "$" in b or (wrapping == "{{{}}}" and not b.isdigit()) or (b.isascii() and not b.isprintable()):
        return
    assert equivalent(a, wrapping.format(b))


@given(st.lists(st.integers(-99, 99), min_size=2, max_size=6, unique=True), st.randoms())
def test_sets_have_no_order_and_tuples_do(items: list[int], source: object) -> None:
    mixed = sorted(items, key=lambda _: source.random())  # type: ignore[attr-defined]
    first, second = (", ".join(map(str, each)) for each in (items, mixed))
    assert equivalent(rf"\{{{first}\}}", rf"\{{{second}\}}")
    assert equivalent(f"({first})", f"({second})") == (items == mixed)
