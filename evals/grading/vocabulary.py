"""Names that answers use: functions, constants, Greek letters, and words that are no product of letters."""


def names(text: str) -> tuple[str, ...]:
    """Names written with spaces between them."""
    return tuple(text.split())


_GREEK_SMALL = names(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
    "sigma tau upsilon phi chi psi omega"
)
_GREEK_LARGE = tuple(name.capitalize() for name in _GREEK_SMALL)
GREEK = frozenset([*_GREEK_SMALL, *_GREEK_LARGE, "varphi", "varepsilon", "vartheta", "ell"])
GREEK_LETTERS = dict(zip("αβγδεζηθικλμνξοπρστυφχψω", _GREEK_SMALL, strict=True)) | dict(
    zip("ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩ", _GREEK_LARGE, strict=True)
)

TRIGONOMETRIC = frozenset(names("sin cos tan cot sec csc"))
HYPERBOLIC = frozenset(names("sinh cosh tanh coth"))
INVERSE = frozenset(names("asin acos atan acot asec acsc asinh acosh atanh"))
# What a function is called in text, and in a tree.
FUNCTIONS = (
    {name: name for name in (*TRIGONOMETRIC, *HYPERBOLIC, *INVERSE)}
    | {
        name: name
        for name in names("exp log ln lg min max gcd lcm abs floor ceil cis det arg Re Im sgn deg Pr")
    }
    | {"arc" + name[1:]: name for name in INVERSE}
    | {"cosec": "csc", "ceiling": "ceil", "sign": "sgn", "binomial": "binom", "factorial": "factorial"}
    | {"ctan": "cot", "arcosh": "acosh", "arsinh": "asinh", "artanh": "atanh", "arccosec": "acsc"}
)
CONSTANTS = {
    "pi": "pi", "Pi": "pi", "infty": "oo", "inf": "oo", "infinity": "oo", "Infinity": "oo", "oo": "oo",
}  # fmt: skip

# Two or three letters that are a word; other runs as short are products of letters.
SHORT_WORDS = frozenset(
    names(
        "no on of it is at as am be by do go he me my so up us we an yes odd all any one two six ten "
        "not nor yet day age the her his she him red win won lie boy man men sum tie"
    )
)
_SEPARATING = frozenset(names("and or if for where when with mod is in to else otherwise"))


def known_word(word: str) -> bool:
    """Whether a run of letters is a name, not a product of letters."""
    return word in FUNCTIONS or word in CONSTANTS or word in GREEK or word in ("sqrt", "cbrt", "frac")


def is_separating_word(word: str) -> bool:
    """Words that end an expression."""
    return word.lower() in _SEPARATING
