"""The product's functions: the modules of ``lambdas/handlers/``."""

from pathlib import Path

HANDLERS = tuple(
    sorted(path.stem for path in (Path(__file__).parents[1] / "lambdas" / "handlers").glob("[!_]*.py"))
)
