"""``python -m ops.sbom``: print the bill of materials of the site, which ``make sbom`` keeps."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Not `--omit dev`, which also leaves out what ships if a tool uses it as well, such as vue.
COMMAND = ("npm", "sbom", "--prefix", "frontend", "--package-lock-only", "--sbom-format", "cyclonedx")
DEVELOPMENT = {"name": "cdx:npm:package:development", "value": "true"}


def site_bom() -> dict[str, Any]:
    """What the lock of the site's packages says of those that ship, as CycloneDX."""
    done = subprocess.run(COMMAND, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    bom: dict[str, Any] = json.loads(done.stdout)
    tools = {part["bom-ref"] for part in bom["components"] if DEVELOPMENT in part.get("properties", ())}
    return {
        **bom,
        "components": [part for part in bom["components"] if part["bom-ref"] not in tools],
        "dependencies": [
            {**found, "dependsOn": [ref for ref in found["dependsOn"] if ref not in tools]}
            for found in bom["dependencies"]
            if found["ref"] not in tools
        ],
    }


if __name__ == "__main__":
    json.dump(site_bom(), sys.stdout, indent=2)
