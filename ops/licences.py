"""Are the licences of what ships, the functions' and the site's packages, on the list of those that may?"""

import json
import re
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
# Each lets packages be distributed with the product, whose licence is MIT. psycopg is under the LGPL, which
# asks that it can be replaced: it is a library of its own in each function's package.
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "LGPL-3.0-only",
    "MIT",
    "MIT-0",
    "PSF-2.0",
}
# What packages that do not use SPDX's names call them.
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
}
BRACKETS = re.compile(r"\(([^()]*)\)")


def main() -> int:
    """Print each package whose licence is not on the list; returns how many, the exit code."""
    wrong = [f"✗ {name}: {found}" for name, found in shipped() if not allowed(found)]
    print("\n".join(wrong) or "✓ licences of what ships")
    return len(wrong)


def shipped() -> Iterator[tuple[str, str]]:
    """The name of each package that ships, and its licence as an SPDX expression."""
    lock = (ROOT / "lambdas" / "requirements.txt").read_text()
    for requirement in map(Requirement, re.findall(r"(?m)^(\w[^#\\]*==[^\\\n]+)", lock)):
        if requirement.marker is None or requirement.marker.evaluate():
            yield requirement.name, _of_distribution(requirement.name)
    packages = json.loads((ROOT / "frontend" / "package-lock.json").read_text())["packages"]
    for path, package in packages.items():
        if path and not package.get("dev"):
            yield path.rpartition("node_modules/")[2], package.get("license", "not said")


def allowed(expression: str) -> bool:
    """Whether one of the alternatives is allowed, with all of its parts."""
    # What is in brackets is replaced by one that is allowed or by one that is not, from the inside out.
    while BRACKETS.search(expression):
        expression = BRACKETS.sub(lambda inner: "MIT" if allowed(inner[1]) else "refused", expression)
    return any({*alternative.split(" AND ")} <= ALLOWED for alternative in expression.split(" OR "))


def _of_distribution(name: str) -> str:
    metadata = distribution(name).metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classified = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License" in line
    ]
    said = classified or (metadata.get_all("License") or ["not said"])
    # They do not say that one may choose.
    return " AND ".join(CLASSIFIERS.get(text, text) for text in said)


if __name__ == "__main__":
    sys.exit(main())
