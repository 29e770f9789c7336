"""The CDK's command line, as the project has installed it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_cdk(*arguments: str) -> int:
    """Run ``cdk`` with these arguments in the project's folder; returns its exit code."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [str(ROOT / "node_modules/.bin/cdk"), *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, check=False).returncode
