"""A copy of the sources in a folder of its own, as a fresh clone has them."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What its own set-up would install, and the packages and the site that are built already.
BORROWED = (".venv", "node_modules", "frontend/node_modules", ".build")


def fresh_clone(to: Path) -> None:
    """Copy what git has or would add, changes that are not committed included; the rest is not there."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in files.stdout.splitlines():
        if (ROOT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    (ROOT / ".build").mkdir(exist_ok=True)
    for name in BORROWED:
        (to / name).symlink_to(ROOT / name)
    # The bytecode of the Python packages, where the Makefile has it kept; their commands name ROOT.
    bytecode = _bytecode(ROOT, ROOT)
    bytecode.mkdir(parents=True, exist_ok=True)
    for folder in (ROOT, to):
        link = _bytecode(to, folder)
        link.parent.mkdir(parents=True)
        link.symlink_to(bytecode)


def _bytecode(clone: Path, folder: Path) -> Path:
    return clone / ".cache/pycache" / folder.relative_to("/") / ".venv"
