"""Answers that are equal and answers that are not, by type."""

EQUAL: dict[str, list[tuple[str, str]]] = {
    "integers": [
        ("7", "007"), ("+7", "7"), ("-0", "0"), ("1234567", "1,234,567"), ("1234", "1{,}234"),
        ("12345", r"12\,345"), ("10000", "10 000"), ("42", "$42$"), ("42", r"\(42\)"), ("42", "42."),
        ("42", "**42**"), ("-7", "−7"), ("7", "7.0"), ("1000", "10^3"), ("100", "10^{2}"),
        ("5", r"\text{five}"), ("12", r"12^{\text{th}}"),
    ],
    "decimals": [
        ("0.5", ".5"), ("0.50", "0.5"), ("1,5", "1.5"), ("0.333...", "1/3"),
        (r"0.1\overline{6}", r"\frac16"), ("3.14159", r"\pi"), ("2.449", r"\sqrt{6}"), ("1.5", "3/2"),
        ("1.50", r"1\frac{1}{2}"), (r"0.\overline{27}", "3/11"),
    ],
    "fractions": [
        (r"\frac{1}{2}", "1/2"), (r"\frac12", r"\dfrac{1}{2}"), (r"\tfrac{3}{6}", "1/2"),
        (r"-\frac{1}{2}", r"\frac{-1}{2}"), (r"\frac{1}{-2}", "-0.5"), (r"\frac{a}{b}", "a/b"),
        (r"\frac{x+1}{2}", "(x+1)/2"), ("½", "0.5"), (r"\frac1{72}", "1/72"), (r"{\frac{3}{4}}", "3/4"),
        (r"\frac{\frac12}{3}", r"\frac16"),
    ],
    "mixed numbers": [
        ("3 1/2", "7/2"), (r"3\frac{1}{2}", "3.5"), ("2½", "5/2"), (r"-2\frac{1}{4}", "-9/4"),
    ],
    "percentages": [
        (r"10\%", "10"), ("10%", "0.1"), (r"10 \%", "10 percent"), (r"12.5\%", r"12.5\text{ percent}"),
        ("50%", r"\frac12"),
    ],
    "scientific notation": [
        (r"3.2 \times 10^5", "320000"), ("1.5e3", "1500"), (r"6.02 \cdot 10^{-3}", "0.00602"),
        (r"2\times10^{8}", "200000000"),
    ],
    "units and money": [
        ("5", r"5 \text{ cm}"), (r"15\text{ cm}^2", "15"), (r"100 \text{ cm}", r"1 \text{ m}"),
        (r"\$12.50", "12.5"), ("12 dollars", r"\$12"), ("60 miles per hour", r"60 \text{ mph}"),
        ("2 hours", r"120 \text{ minutes}"), (r"125 \textnormal{ miles}", "125 miles"), ("5 apples", "5"),
        (r"3 \text{ m/s}", "3 m/s"), (r"10\mathrm{~km}", "10 km"), (r"20 \text{ square units}", "20"),
        ("€5", "5"), ("2.5 million", "2500000"), (r"5 \text{ N}", "5 newtons"), (r"5 \text{ in}", "5"),
        (r"12 \text{ in}^2", r"12 \text{ sq. in.}"), (r"4 \text{ years old}", r"4 \text{ yrs}"),
        ("12 square units", r"12 \text{ units}^2"),
    ],
    "degrees": [
        (r"90^\circ", "90"), (r"90^{\circ}", "90°"), (r"90^\circ", r"\frac{\pi}{2}"),
        ("45 degrees", r"45^\circ"), (r"\sin 30^\circ", "1/2"), (r"12^\circ 30'", r"12.5^\circ"),
        ("60", r"60\degree"),
    ],
    "radicals": [
        (r"\sqrt{8}", r"2\sqrt{2}"), (r"\sqrt 3", r"\sqrt{3}"),
        (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"), (r"\sqrt[3]{8}", "2"), ("√2", "sqrt(2)"),
        (r"\sqrt{3+2\sqrt2}", r"1+\sqrt{2}"), ("2^{1/2}", r"\sqrt2"),
        (r"\sqrt{2}+\sqrt{5}", r"\sqrt5+\sqrt2"), (r"\sqrt{\frac{1}{4}}", "0.5"), ("∛27", "3"),
    ],
    "intervals": [
        ("(1,2]", "(1, 2]"), (r"[0,1)\cup(1,2]", r"(1,2] \cup [0,1)"), (r"(-\infty, 3)", "x < 3"),
        (r"x \geq 5", r"[5, \infty)"), (r"1 < x \le 3", "(1,3]"),
        (r"x<1 \text{ or } x>3", r"(-\infty,1)\cup(3,\infty)"), (r"x \ne 3", r"(-\infty,3)\cup(3,\infty)"),
        (r"\mathbb{R} \setminus \{3\}", r"(-\infty,3)\cup(3,\infty)"), (r"x \in [1,2]", "[1,2]"),
        (r"[1,2] \cup [2,3]", "[1,3]"), (r"\left(-\infty, \frac{1}{2}\right]", "(-infinity, 0.5]"),
        (r"\{x \mid x > 3\}", r"(3, \infty)"), (r"(-\infty, \infty)", r"\mathbb{R}"),
        ("(1,3) U (5,7)", r"(1,3)\cup(5,7)"), (r"x > 1 \text{ and } x < 2", "(1,2)"),
        ("[0,1]", r"\left[0,1\right]"), (r"\{-1\} \cup [0,7)", r"[0,7) \cup \{-1\}"),
    ],
    "sets and lists": [
        (r"\{1,2,3\}", r"\{3, 2, 1\}"), ("1,2", "2, 1"), (r"1 \text{ and } 2", "1, 2"), ("1 or 2", "2,1"),
        (r"\{1,1,2\}", r"\{1,2\}"), ("x=1, x=2", "1, 2"), (r"x = 1 \text{ or } x = 2", r"\{1,2\}"),
        (r"\emptyset", r"\{\}"), (r"\{5\}", "5"), ("1, 2, and 3", "3,2,1"),
        ("(1,2),(3,4)", r"\{(3,4),(1,2)\}"), ("1;2", "1,2"), (r"\frac12, 3", "3, 0.5"),
        ("1,000, 2,000", "2000, 1000"),
    ],
    "tuples and vectors": [
        ("(1,2)", "(1, 2)"), (r"(\frac12, 0.5)", "(0.5,1/2)"), (r"\langle 1,2,3 \rangle", "(1,2,3)"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)"), ("(x,y)=(1,2)", "(1,2)"), ("x=1, y=2", "(1,2)"),
        ("(100,200)", "(100, 200)"), ("(6,31,-1)", "(6, 31, -1)"), ("(x, y, z) = (1, 2, 3)", "x=1,y=2,z=3"),
    ],
    "matrices": [
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
        (r"\begin{pmatrix} 1/2 & 0 \\ 0 & 1 \end{pmatrix}",
         r"\left[\begin{array}{cc} 0.5 & 0 \\ 0 & 1\end{array}\right]"),
        (r"\frac12\begin{pmatrix} 2 & 4 \\ 6 & 8 \end{pmatrix}",
         r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
        ("[[1,2],[3,4]]", r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}"),
    ],
    "equations": [
        ("x = 5", "5"), ("5 = x", "5"), ("y = 2x+1", "y=1+2x"), ("y = 2x + 1", "2x - y + 1 = 0"),
        ("f(x) = 2x", "2x"), ("f(x)=x^2", "f(t)=t^2"), ("x^2+y^2=1", "1 = y^2+x^2"),
        (r"x = \frac{1}{2}", "0.5"), (r"x \approx 3.14", "3.14"), ("2x+4y=6", "x+2y=3"), ("S = 10", "10"),
        ("x = 2+3 = 5", "5"), ("y=2x+1", "2x+1"), (r"\angle ABC = 30^\circ", "30"), ("AB = 5", "5"),
        (r"\frac{\sqrt{3}}{3} \approx 0.577", r"\frac{1}{\sqrt3}"),
    ],
    "inequalities": [
        (r"x \geq 5", r"5 \le x"), ("x > 3", "3 < x"), ("a < b < c", "c > b > a"), ("2x > 4", "x > 2"),
        ("-x < 1", "x > -1"), (r"a \le b", r"b \geq a"),
    ],
    "plus-minus": [
        (r"1 \pm \sqrt{2}", r"1+\sqrt2, 1-\sqrt2"), (r"\pm 3", "3, -3"), (r"\pm 3", r"-3 \text{ and } 3"),
        (r"x = \pm 2", "x=2, x=-2"), (r"\frac{1 \pm \sqrt5}{2}", r"\frac{1-\sqrt5}{2}, \frac{1+\sqrt5}{2}"),
        (r"\{1 \pm \sqrt5, -2\}", r"\{-2, 1-\sqrt5, 1+\sqrt5\}"),
    ],
    "base n": [
        (r"152A_{11}", r"152A_{11}."), (r"1A_{16}", r"26_{10}"), ("3x_1+2", "2+3x_{1}"),
        ("2S_1", "S_{1} + S_1"),
        ("17_b", "17"), ("204_5", "204_{5}"), ("17_8", "17"), ("A3_{16}", "A3_{16}"),
        ("1010_2", "1010_{2}"), ("11_{2}", "3_{10}"),
    ],
    "numbers as programs write them": [
        ("0x1F", "31"), ("0x1F", "0x1f"), ("0X1F", "0x01F"), ("0x1F", "1F_{16}"), ("0b101", "5"),
        ("0o17", "0xF"), ("-0x10", "-16"), ("x = 0xFF", "255"), (r"\text{0x1F}", "31"), ("0x1F", "37_8"),
        ("[0x0A, 0x0B]", "[10, 11]"), ("0x + 3", "3"),
    ],
    "choices": [
        ("C", "(C)"), ("C", r"\text{(C)}"), ("C", "c"), ("C", "C. 12"), ("(C) 12", "C"),
        (r"\textbf{(C) } 12", "C"), ("A,C", "AC"), ("B", r"\text{B}"),
    ],
    "words": [
        (r"\text{Evelyn}", "Evelyn"), ("even", r"\text{Even}"), (r"\text{yes}", "Yes."),
        ("the circle", "circle"), (r"\text{no solution}", "No solution"),
        (r"\text{Sunday}", r"\textbf{Sunday}"), ("neither", "Neither"), ("east", r"\mathrm{East}"),
    ],
    "expressions": [
        ("x^2+2x+1", "(x+1)^2"), (r"2 \sin b \cos a", r"2\cos a \sin b"),
        (r"\frac{\pi r}{h+r}", r"\pi r/(r+h)"), ("xy", r"y \cdot x"), ("2x", "x+x"),
        (r"\sin^2 x + \cos^2 x", "1"), ("(a-b)(a+b)", "a^2-b^2"), ("e^{x+y}", "e^x e^y"),
        ("|x|", r"\sqrt{x^2}"), ("x_1 + x_2", "x_{2}+x_{1}"), (r"\frac{x^2-1}{x-1}", "x+1"),
        ("n(n+1)/2", r"\frac{n^2+n}{2}"), (r"-\frac{1}{2}x", r"-\frac{x}{2}"), ("3x^{2}y", "3 y x^2"),
        ("2**3", "8"), (r"\tan x", r"\frac{\sin x}{\cos x}"), (r"\cos 2x", r"1 - 2\sin^2 x"),
        (r"9/4 \pi", r"\frac{9\pi}{4}"), (r"2\pi r", r"2 r \pi"),
    ],
    "logs": [
        (r"\ln 4", r"2\ln 2"), (r"\log_2 8", "3"), (r"\log_{10} 1000", "3"), (r"\frac{\ln 8}{\ln 2}", "3"),
        (r"\log_2 3", r"\frac{\log 3}{\log 2}"), (r"\ln(x^2)", r"2\ln|x|"),
    ],
    "trigonometry": [
        (r"\sin \frac{\pi}{6}", r"\frac12"), (r"\arctan 1", r"\frac{\pi}{4}"), (r"\cos(\pi)", "-1"),
        (r"\tan^{-1} 1", r"\pi/4"), (r"\sin 2x", r"2\sin x\cos x"),
    ],
    "counting": [
        (r"\binom{5}{2}", "10"), ("5!", "120"), (r"{5 \choose 2}", "10"), (r"\frac{10!}{8!}", "90"),
        (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"), ("2^{10}", "1024"), ("3^{100}", "9^{50}"),
        ("n!", r"n \cdot (n-1)!"),
    ],
    "infinity": [
        (r"\infty", r"+\infty"), ("infinity", r"\infty"), (r"-\infty", r"-\infty"), ("∞", r"\infty"),
    ],
    "complex": [
        ("3+4i", "4i+3"), ("(1+i)^2", "2i"), (r"e^{i\pi}", "-1"), (r"\frac{1}{i}", "-i"), ("|3+4i|", "5"),
        (r"\text{cis } 0", "cis 0"),
    ],
    "congruences": [
        (r"x \equiv 3 \pmod{7}", r"3 \pmod 7"), (r"3 \pmod{7}", r"10 \pmod 7"),
        (r"x \equiv 3 \pmod{7}", "3"), ("3 mod 7", r"x \equiv 3 (\bmod 7)"),
    ],
    "ratios": [
        ("1:2", "1 : 2"), ("1:2", r"\frac12"), ("2:4", "1:2"), ("11:21", "a:b = 11:21"), ("1:2:3", "2:4:6"),
    ],
    "parameters": [
        (r"\frac{\pi}{6} + 2\pi k", r"\frac{\pi}{6}+2n\pi"), (r"2k, k \in \mathbb{Z}", "2n"),
        (r"x = \pi n, n \in \mathbb{Z}", r"\pi k"),
    ],
    "sums": [
        (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}"), (r"\sum_{i=1}^{3} i^2", "14"),
    ],
    "floors": [
        (r"\lfloor 3.7 \rfloor", "3"), (r"\lceil \sqrt{2} \rceil", "2"),
        (r"\left\lfloor \frac{n}{2} \right\rfloor", r"\lfloor n/2 \rfloor"),
    ],
    "escapes": [
        (r"\\frac{1}{2}", "0.5"), ("\x0crac{1}{2}", "0.5"), ("3 \times 4", "12"),
        (r"\\sqrt{2}", r"\sqrt{2}"),
    ],
}  # fmt: skip

DIFFERENT: dict[str, list[tuple[str, str]]] = {
    "integers": [
        ("7", "8"), ("7", "-7"), ("123", "12"), ("1,234", "1,235"), ("10", "100"), ("2^{99}", "2^{98}"),
    ],
    "decimals": [
        ("0.5", "0.05"), ("0.33", "1/3"), ("3.14", "3.15"), ("3.142", "3"), ("1.41", "1.414"),
        ("0.667", "0.6667"),
    ],
    "fractions": [
        ("1/2", "2/1"), (r"\frac{1}{3}", r"\frac{1}{4}"), ("1/3", "0.3"), (r"\frac{a}{b}", r"\frac{b}{a}"),
    ],
    "percentages": [
        (r"10\%", "1"), (r"10\%", "100"), (r"12\%", r"13\%"), ("50%", "50.5"),
    ],
    "units": [
        (r"5 \text{ m}", r"5 \text{ cm}"), (r"1 \text{ km}", r"100 \text{ m}"),
        ("2 euros", "2 pieces"), (r"5 \text{ cm}", r"5^\circ"), (r"5\%", r"5 \text{ cm}"),
        (r"5 \text{ m}^2", r"5 \text{ m}"), (r"10 \text{ minutes}", r"10 \text{ hours}"),
    ],
    "radicals": [
        (r"\sqrt{2}", r"\sqrt{3}"), (r"2\sqrt{3}", r"3\sqrt{2}"), (r"\sqrt[3]{2}", r"\sqrt{2}"),
        (r"\sqrt{12}", r"\sqrt{1}2"),
    ],
    "intervals": [
        ("(1,2)", "[1,2]"), ("(1,2]", "[1,2)"), ("x < 3", r"x \le 3"), ("x > 3", "x < 3"),
        ("[0,1]", "[0,2]"), (r"(0,1)\cup(2,3)", "(0,3)"), (r"(-\infty,3)", r"(3,\infty)"),
        ("[1,2]", r"\{1,2\}"),
    ],
    "sets and lists": [
        ("1,2", "1,2,3"), (r"\{1,2\}", r"\{1,3\}"), ("1,2", "1"), (r"\{1,2\}", "(1,2)"), ("1,1,2", "1,2,2"),
    ],
    "tuples": [
        ("(1,2)", "(2,1)"), ("(1,2,3)", "(1,2)"), ("(1,2),(3,4)", "(1,2,3,4)"),
    ],
    "matrices": [
        (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{pmatrix} 1 & 3 \\ 2 & 4 \end{pmatrix}"),
        (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
    ],
    "equations": [
        ("x = 5", "x = 6"), ("x = 5", "y = 5"), ("y = 2x", "y = 2x + 1"), ("7 = 11a+c", "11a+c"),
        ("a + 3z = 0", "0"), ("a=1, b=2", "a=2, b=1"), ("x=2", r"x \ne 2"),
    ],
    "inequalities": [
        (r"x \geq 5", r"x \leq 5"), ("x > 5", "x = 5"), ("a < b", "b < a"), ("x > 5", "5"),
    ],
    "plus-minus": [
        (r"\pm 3", "3"), (r"1 \pm \sqrt{2}", r"1 + \sqrt2"), (r"\pm 3", r"\pm 4"),
    ],
    "base n": [
        ("17_8", "17_9"), ("204_5", "54"), ("1010_2", "1011_2"), ("11_2", "11_3"),
    ],
    "numbers as programs write them": [
        ("0x1F", "0x2A"), ("0x1F", "0"), ("0x10", "10"), ("0xAB", "0xAC"), ("0b101", "0b111"),
        ("0x1F", "31_8"), ("0o17", "0b1"), (r"\texttt{0xAB}", r"\texttt{0xCD}"),
    ],
    "choices": [
        ("C", "D"), ("(A)", "(B)"), ("C", "C + 1"), ("A", "a^2"), ("A,C", "A,D"),
    ],
    "words": [
        ("yes", "no"), ("even", "odd"), ("Evelyn", "Briana"), ("on", "no"), ("odd", "dod"),
        ("no solution", "one solution"),
    ],
    "expressions": [
        ("x^2", "x^3"), ("x+1", "x-1"), ("xy", "x+y"), (r"\sin x", r"\cos x"), ("x", "x_1"), ("2x", "2y"),
        ("x", "|x|"), ("a", "b"), ("(x+1)^2", "x^2+1"), ("x", "5"), ("2x+1", "3"),
    ],
    "logs": [
        (r"\ln 2", r"\log_{10} 2"), (r"\log_2 3", r"\log_3 2"), (r"\ln 2", "2"),
    ],
    "counting": [
        (r"\binom{5}{2}", r"\binom{5}{1}"), ("5!", "5"), ("n!", "n"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"), ("2^{-99}", "2^{-98}"),
    ],
    "infinity": [
        (r"\infty", r"-\infty"), (r"\infty", "0"), (r"\infty", "10^{100}"),
    ],
    "complex": [
        ("3+4i", "3-4i"), ("i", "-i"), ("i", "1"),
    ],
    "congruences": [
        (r"3 \pmod 7", r"4 \pmod 7"), (r"3 \pmod 7", r"3 \pmod 8"),
    ],
    "ratios": [
        ("9:24", r"\frac{3}{8}"), ("1:2", "2:1"), ("1:20", "2:40"), ("1:2:3", "1:2"),
    ],
    "coincidences": [
        (r"e^{\pi\sqrt{163}}", "262537412640768744"), ("1+10^{-300}", "1"), ("10^{-300}", "0"),
    ],
}  # fmt: skip
