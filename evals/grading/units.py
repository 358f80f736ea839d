"""Units of measurement: names, dimensions and factors, so that 1 m is 100 cm and not 1 s."""

import re
from fractions import Fraction

from evals.grading.vocabulary import names

# name: (dimension, factor to the dimension's base unit)
_TABLE: dict[str, tuple[str, Fraction]] = {}


def _table() -> None:
    lengths = {
        "1": "m meter metre", "1/1000": "mm millimeter millimetre", "1/100": "cm centimeter centimetre",
        "1/10": "dm decimeter", "1000": "km kilometer kilometre", "381/1250": "ft foot feet",
        "127/5000": "in inch inches", "1143/1250": "yd yard", "201168/125": "mi mile",
    }  # fmt: skip
    times = {
        "1": "s sec second", "60": "min minute", "3600": "h hr hrs hour", "86400": "day", "604800": "week",
        "1/1000": "ms millisecond",
    }  # fmt: skip
    masses = {
        "1": "g gram", "1000": "kg kilogram kilo", "1/1000": "mg milligram", "1000000": "ton tonne",
        "45359237/100000": "lb lbs pound", "45359237/1600000": "oz ounce",
    }  # fmt: skip
    volumes = {"1": "L l liter litre", "1/1000": "mL ml milliliter millilitre"}
    money = {"1": "dollar usd $", "1/100": "cent ¢"}
    calendar = {"1": "month", "12": "year yr yrs"}
    for dimension, factors in (
        ("length", lengths), ("time", times), ("mass", masses), ("volume", volumes), ("money", money),
        ("calendar", calendar), ("force", {"1": "N newton"}), ("energy", {"1": "J joule"}),
        ("power", {"1": "W watt"}), ("people", {"1": "person people"}),
    ):  # fmt: skip
        for factor, known in factors.items():
            for name in names(known):
                _TABLE[name] = (dimension, Fraction(factor))


_table()
_ALIASES = {
    "mph": "mile / hour",
    "kph": "km / hour",
    "kmph": "km / hour",
    "km/h": "km / hour",
    "fps": "ft / s",
}
_OTHER = frozenset(
    names(
        "in am pm sq cu unit units degree degrees deg percent pct percentage rad radian radians month "
        "months year years yr yrs euro euros yuan rupee rupees way ways people person persons point "
        "points time times hz khz mhz N J W V A K Pa kpa kwh kw rpm kph kmph fps cc gal gallon "
        "gallons pint pints quart quarts acre acres dozen pairs sides cups cup each per square cubic "
        "number"
    )
)
_WORD = re.compile(r"[^\W\d_]+")
Measure = tuple[tuple[tuple[str, int], ...], Fraction]


def is_unit(word: str) -> bool:
    """Whether `word` after a number is a unit."""
    return _lookup(word) is not None or word in _OTHER or word.lower() in _OTHER


def measure(unit: str) -> Measure | None:
    """Dimensions with their powers, and the factor to base units; None for what we do not know.

    "cm^2" is ((("length", 2),), 1/10000), "miles per hour" a length by a time.
    """
    text = " ".join(_ALIASES.get(word.lower(), word) for word in unit.split()[:12])
    text = (
        text.replace(" per ", " / ")
        .replace(" an ", " / ")
        .replace("/", " / ")
        .replace("·", " ")
        .replace(".", " ")
    )
    dimensions: dict[str, int] = {}
    factor, sign, next_power = Fraction(1), 1, 1
    for word in text.replace("*", " ").split()[:12]:
        if word == "/":
            sign = -1
            continue
        if word.lower() in ("square", "sq", "cubic", "cu"):
            next_power = 2 if word.lower() in ("square", "sq") else 3
            continue
        name, _, raised = word.partition("^")
        if raised and (len(raised) > 2 or not raised.lstrip("-").isdecimal()):
            return None
        known = _lookup(name)
        if known is None:
            return None
        power = sign * next_power * int(raised or 1)
        dimensions[known[0]] = dimensions.get(known[0], 0) + power
        factor *= known[1] ** power
        next_power = 1
    kept = tuple(sorted((name, power) for name, power in dimensions.items() if power))
    return (kept, factor) if kept else None


def share_a_word(unit: str, other: str) -> bool:
    """Whether two units have a word in common, whatever its form: "years old" and "yrs"."""
    words = [
        {_lookup(word) or word.lower().rstrip("s") for word in _WORD.findall(name)} for name in (unit, other)
    ]
    return bool(words[0] & words[1])


def _lookup(word: str) -> tuple[str, Fraction] | None:
    known = _TABLE.get(word) or (_TABLE.get(word.lower()) if len(word) > 1 else None)
    if known is None and len(word) > 3 and word.endswith("s"):
        known = _TABLE.get(word[:-1].lower())
    return known
