"""Hostile answers: what a grader must survive, in seconds and in safety.

Each is an answer as a model may write it, by accident or because a reward taught it to. The code among them
makes a file where it is run, so that running it can be seen.
"""

from collections.abc import Callable
from pathlib import Path

_MILLION = 1_000_000


def _nested(opening: str, core: str, closing: str, depth: int) -> str:
    return opening * depth + core + closing * depth


TOWERS = {
    "tower": "5^{5^{5^{5}}}",
    "tower in plain text": "9**9**9**9**9",
    "tower of twelve": _nested("2^{", "2", "}", 12),
    "tower of thousands": _nested("2^{", "2", "}", 5000),
    "tower modulo": r"7^{7^{7^{7}}} \bmod 1000",
    "tower in an exponent": r"e^{e^{e^{e^{e^{e}}}}}",
    "negative tower": "2^{-10^{100}}",
    "root of a tower": r"\sqrt[10^{9}]{10^{10^{9}}}",
    "base of a tower": r"\log_{2}(2^{2^{2^{2^{2^{2}}}}})",
    "difference of towers": "3^{4^{5^{6}}} - 3^{4^{5^{6}}} + 1",
    "near one": "(1+10^{-100})^{10^{100}}",
}
FACTORIALS = {
    "factorials of factorials": "9!!!!",
    "bracketed factorials": _nested("(", "7", "!)", 12),
    "long factorials": "3" + "!" * 100_000,
    "factorial of a million": "1000000!",
    "factorial of a tower": "(10^{10^{10}})!",
    "quotient of factorials": r"\frac{100000000!}{99999999!}",
    "large binomial": r"\binom{1000000000}{500000000}",
    "large binomial, small index": r"\binom{10^{100}}{3}",
    "binomial of a binomial": r"\binom{\binom{\binom{100}{50}}{50}}{50}",
    "gamma": r"\Gamma(10^{30})",
    "gamma tower": r"\Gamma(\Gamma(\Gamma(\Gamma(10))))",
    "greatest common divisor": r"\gcd(10^{10^{8}}, 6^{10^{8}})",
}
NUMBERS = {
    "a million digits": "7" * _MILLION,
    "a million decimals": "0." + "3" * _MILLION,
    "a million zeros": "0" * _MILLION + "1",
    "exponent of nine digits": "1e999999999",
    "negative exponent of nine digits": "1e-999999999",
    "exponent of a hundred digits": "1e" + "9" * 100,
    "fraction of long numbers": r"\frac{" + "1" * 300_000 + "}{" + "3" * 300_000 + "}",
    "product of long numbers": r"\cdot".join(["9" * 5000] * 200),
    "repeating decimal": r"0.\overline{" + "142857" * 50_000 + "}",
    "base of a huge number": "1" * 100_000 + "_{2}",
    "base two billion": "11_{2000000000}",
    "commas": "1" + ",000" * 250_000,
    "percent of percent": "5" + r"\%" * 100_000,
    "degrees of degrees": "5" + r"^{\circ}" * 50_000,
    "infinite": r"\infty^{\infty^{\infty}} - \infty",
    "division by nothing": r"\frac{1}{\sin(\pi) + 1 - 1 - \sin(\pi)}",
    "signs": "-" * _MILLION + "1",
}
EXPRESSIONS = {
    "expand": "(a+b+c+d+e+f+g+h)^{200} - (a+b+c+d+e+f+g+h)^{200} + 1",
    "expand many": "".join(f"(x_{{{n}}}+{n})" for n in range(400)),
    "expand in powers": "(((x+1)^{50}+1)^{50}+1)^{50}",
    "polynomial quotient": r"\frac{x^{1000000}-1}{x-1}",
    "trigonometric tower": _nested(r"\sin(\cos(\tan(", "x", ")))", 60),
    "trigonometric sum": "+".join(rf"\sin({n}x)\cos({n}x)" for n in range(1, 300)),
    "trigonometric powers": r"(\sin(x)+\cos(x)+\tan(x)+\cot(x))^{60}",
    "radical tower": _nested(r"\sqrt{1+", "x", "}", 80),
    "radical sum": "+".join(rf"\sqrt{{{n}}}" for n in range(2, 400)),
    "nearly zero": r"e^{\pi\sqrt{163}} - 262537412640768744 + 7.5 \times 10^{-13}",
    "fraction tower": _nested(r"\frac{1}{1+", "x", "}", 300),
    "continued fraction of thousands": _nested(r"\cfrac{1}{2+", "1", "}", 5000),
    "absolute values": _nested("|", "x", "|", 301),
    "sum": r"\sum_{n=1}^{10^{12}} \frac{1}{n^{2}}",
    "sums of sums": r"\sum_{a=1}^{9999}\sum_{b=1}^{9999}\sum_{c=1}^{9999} \sin(abc)",
    "factorials in sums": r"\sum_{a=1}^{90}\sum_{b=1}^{40} (abx)!",
    "product": r"\prod_{k=1}^{10^{9}} \left(1+\frac{1}{k}\right)",
    "integral": r"\int_{0}^{\infty} e^{-x^{x^{x}}} \sin(x^{9}) \, dx",
    "limit": r"\lim_{n \to \infty} \left(1+\frac{1}{n^{n^{n}}}\right)^{n!}",
    "floor of a tower": r"\lfloor 7^{7^{7^{7}}} \cdot \pi \rfloor",
    "floor tower": _nested(r"\left\lfloor 1.5 \cdot ", "x", r"\right\rfloor", 200),
    "logarithms": _nested(r"\log(", "10^{10^{10}}", ")", 50),
    "modulo": r"(10^{10^{10}}+1) \bmod (10^{9}+7)",
    "many names": "+".join(f"a_{{{n}}}" for n in range(20_000)),
    "many terms": "+".join(["x"] * 200_000),
    "many equalities": "=".join(["x"] * 50_000),
    "many plus-minus": r"\pm".join(["1"] * 40),
    "many plus-minus in a list": ",".join([r"\pm 1 \pm 2 \pm 3 \pm 4"] * 200),
}
STRUCTURES = {
    "long set": r"\{" + ",".join(map(str, range(100_000))) + r"\}",
    "long set of expressions": r"\{" + ",".join(rf"\sqrt{{{n}}}+x" for n in range(3000)) + r"\}",
    "list of equations": ",".join(f"y=x+{n}" for n in range(199)),
    "list of sums": ",".join(rf"\sum_{{k=1}}^{{90}} \sin({n}kx)" for n in range(60)),
    "reversed set": r"\{" + ",".join(rf"\frac{{{n}x+{n}}}{{x+1}}" for n in range(300, 0, -1)) + r"\}",
    "long tuple": "(" + ",".join(["1"] * 300_000) + ")",
    "large matrix": r"\begin{pmatrix}" + r"\\".join([" & ".join(["x^2"] * 150)] * 150) + r"\end{pmatrix}",
    "determinant": r"\det\begin{pmatrix}"
    + r"\\".join(" & ".join(f"x_{{{i},{j}}}" for j in range(30)) for i in range(30))
    + r"\end{pmatrix}",
    "power of a matrix": r"\begin{pmatrix}1&1\\1&0\end{pmatrix}^{10^{10}}",
    "unions": r"\cup".join(f"({n},{n + 1})" for n in range(20_000)),
    "nested unions": _nested("(", "(0,1)", r"\cup(2,3))", 2000),
    "intervals of towers": "[9^{9^{9^{9}}}, 9^{9^{9^{9}}}+1)",
    "nested tuples": _nested("(", "1", ",2)", 5000),
    "nested brackets": _nested("(", "1", ")", 100_000),
    "nested LaTeX brackets": _nested(r"\left(", "1", r"\right)", 20_000),
    "nested braces": _nested("{", "1", "}", 100_000),
    "nested fractions": _nested(r"\frac{", "1", "}{2}", 20_000),
    "nested roots": _nested(r"\sqrt{", "2", "}", 20_000),
    "nested boxes": _nested(r"\boxed{", "1", "}", 20_000),
    "nested text": _nested(r"\text{", "1", "}", 20_000),
    "nested scripts": "x" + _nested("_{", "1", "}", 20_000),
    "nested environments": _nested(r"\begin{matrix}", "1", r"\end{matrix}", 5000),
    "system": r"\begin{cases}" + r"\\".join(f"x^{n} & x > {n}" for n in range(500)) + r"\end{cases}",
}
TEXTS = {
    "open braces": "{" * _MILLION,
    "closed braces": "}" * _MILLION,
    "alternating braces": "}{" * 500_000,
    "open brackets": "(" * _MILLION,
    "open boxes": r"\boxed{" * 100_000,
    "dollars": "$" * _MILLION,
    "backslashes": "\\" * _MILLION,
    "carets": "^" * _MILLION,
    "scripts without base": "^{_{^{_{" * 10_000,
    "spaces": "1" + " " * _MILLION + "x",
    "spaces and dots": " ." * 500_000,
    "newlines": "\n" * _MILLION + "1",
    "letters": "a" * _MILLION,
    "words": "and or " * 150_000,
    "lists of words": "1 and 2, " * 100_000,
    "long command": "\\" + "x" * _MILLION,
    "many commands": r"\frac" * 200_000,
    "text commands": r"\text{cm}" * 100_000,
    "left without right": r"\left(" * 100_000,
    "environments without end": r"\begin{pmatrix}" * 50_000,
    "comments": "%" * _MILLION,
    "expansion": r"\def\a{\a\a\a}\a",
    "laughs": r"\def\a{ha}\def\b{\a\a\a\a}\def\c{\b\b\b\b}\c",
    "loop": r"\loop\iftrue\repeat",
    "reads a file": r"\input{/etc/passwd}",
    "bait of digits": "1" * 50_000 + "!",
    "bait of groups": "1,1" * 100_000 + "x",
    "bait of pairs": "(1,2)," * 50_000 + "(",
    "bait of units": "5 " + "cm " * 100_000,
    "bait of equations": "x = " * 100_000,
    "bait of dots": "1." * 200_000,
    "answers": "the answer is " * 50_000,
    "thoughts": "<think>" * 50_000 + "1",
    "ended thoughts": "</think>" * 50_000 + "1",
    "null bytes": "\0" * 1000 + "1\0",
    "right to left": "\N{RIGHT-TO-LEFT OVERRIDE}21\N{POP DIRECTIONAL FORMATTING}",
    "marks of direction": "\N{RIGHT-TO-LEFT MARK}" * 10_000 + "1",
    "zero width": "1\N{ZERO WIDTH SPACE}2\N{ZERO WIDTH JOINER}3",
    "combining marks": "1" + "\N{COMBINING ACUTE ACCENT}" * 100_000,
    "wide digits": "\N{FULLWIDTH DIGIT ONE}\N{ARABIC-INDIC DIGIT TWO}\N{MATHEMATICAL BOLD DIGIT THREE}",
    "superscript digits": "\N{SUPERSCRIPT TWO}" * 10_000,
    "ligatures": "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 10_000,
    "fractions of one sign": "\N{VULGAR FRACTION ONE HALF}" * 10_000,
    "half of a pair": "\ud800" * 100 + "1",
    "not characters": "\uffff\ufffe",
    "control characters": "".join(map(chr, range(32))) + "1",
}
# FILE is replaced by the path of a file that only running the code makes.
CODE = {
    "import": "__import__('os').system('touch FILE')",
    "import, the same": "__import__('os').system('touch FILE')*0+1",
    "import without quotes": "__import__(chr(111)+chr(115)).system(chr(116)+'ouch FILE')",
    "open": "open('FILE','w')",
    "open, doubly quoted": 'open("FILE","w").write("x")',
    "path": "getattr(__import__('pathlib').Path('FILE'),'touch')()",
    "formatted string": "f\"{__import__('os').system('touch FILE')}\"",
    "lambda": "(lambda: open('FILE','w'))()",
    "comprehension": "[open('FILE','w') for _ in [0]]",
    "walrus": "(f:=open('FILE','w'))",
    "subclasses": "().__class__.__base__.__subclasses__()",
    "subclasses, used": "[c for c in ().__class__.__base__.__subclasses__() if c.__name__=='_wrap_close'][0]"
    ".__init__.__globals__['system']('touch FILE')",
    "globals": "globals()['__builtins__']['open']('FILE','w')",
    "exec": "exec(\"open('FILE','w')\")",
    "eval of eval": "eval('eval(\"open(\\'FILE\\',\\'w\\')\")')",
    "sympify": "sympify(\"open('FILE','w')\")",
    "parse_expr": "sympy.parsing.sympy_parser.parse_expr(\"open('FILE','w')\")",
    "lambdify": "lambdify([], \"open('FILE','w')\")()",
    "Symbol": "Symbol('x').__class__.__init__.__globals__['__builtins__']['open']('FILE','w')",
    "Function": "Function(\"open('FILE','w')\")(x)",
    "in LaTeX": r"\text{__import__('os').system('touch FILE')}",
    "in an operator": r"\operatorname{__import__('os').system}('touch FILE')",
    "in a fraction": r"\frac{__import__('os').system('touch FILE')}{1}",
    "in a script": r"x_{__import__('os').system('touch FILE')}",
    "in a set": r"\{1, __import__('os').system('touch FILE')\}",
    "in a matrix": r"\begin{pmatrix}__import__('os').system('touch FILE')\end{pmatrix}",
    "escaped braces": r"\{__import__('os').system('touch FILE')\}",
    "shell": "$(touch FILE)",
    "shell, backquoted": "`touch FILE`",
    "write18": r"\write18{touch FILE}",
    "openout": r"\newwrite\f\immediate\openout\f=FILE\immediate\closeout\f",
    "template": "{{ self.__init__.__globals__.__builtins__.open('FILE','w') }}",
    "yaml": "!!python/object/apply:os.system ['touch FILE']",
    "pickle": "cos\nsystem\n(S'touch FILE'\ntR.",
    "decorator": "@exec\ndef f(): open('FILE','w')",
    "matrix string": 'Matrix(\'open("FILE","w")\')',
}
GROUPS = {
    "towers": TOWERS,
    "factorials": FACTORIALS,
    "numbers": NUMBERS,
    "expressions": EXPRESSIONS,
    "structures": STRUCTURES,
    "texts": TEXTS,
    "code": CODE,
}
# How an input meets the grader: as the answer, as the gold, as both (which must not make it slow to compare),
# as a gold and a slightly different answer or the same items in another order, and as a reply's text, stated,
# or before its box.
PLACINGS: dict[str, Callable[[str], tuple[str, str]]] = {
    "answer": lambda text: ("1", rf"\boxed{{{text}}}"),
    "gold": lambda text: (text, r"\boxed{1}"),
    "both": lambda text: (text, rf"\boxed{{{text}}}"),
    "differently": lambda text: (f"{text} + 0 + 1", rf"\boxed{{1 + {text}}}"),
    "in reverse": lambda text: (text, rf"\boxed{{{','.join(reversed(text.split(',')))}}}"),
    "bare": lambda text: ("1", text),
    "before the box": lambda text: ("1", rf"{text} \boxed{{1}}"),
    "stated": lambda text: ("1", f"The answer is ${text}$"),
}


def hostile_pairs(sentinel: Path) -> list[tuple[str, str, str]]:
    """`(name, gold, response)` of every input in every place; code that is run makes `sentinel`."""
    return [
        (f"{group}: {name} ({placing})", *place(text.replace("FILE", str(sentinel))))
        for group, texts in GROUPS.items()
        for name, text in texts.items()
        for placing, place in PLACINGS.items()
    ]
