"""What `make run` shows while it works: one line for each step, with its seconds."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

# Shows what a step is doing.
ShowDetail = Callable[[str], None]


class PlainReport:
    """For logs and CI: a line when a step begins and a line when it ends, without details."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[ShowDetail]:
        began = time.monotonic()
        self.say(f"{name} ...")
        try:
            yield lambda _text: None
        except BaseException as error:
            self.say(f"{name}: {_outcome(error)} after {time.monotonic() - began:.1f} s")
            raise
        self.say(f"{name}: {time.monotonic() - began:.1f} s")

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", flush=True)


class TerminalReport:
    """For people: one line for each step, which is kept up to date."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[ShowDetail]:
        task = self._progress.add_task(name, total=1, detail="")
        try:
            yield lambda text: self._progress.update(task, detail=text)
        except BaseException as error:
            self._progress.update(task, detail=_outcome(error))
            self._progress.stop_task(task)
            raise
        self._progress.update(task, completed=1, detail="")

    def say(self, text: str) -> None:
        # Messages come after the last step. They are printed below the lines of the steps.
        self._progress.stop()
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


Report = PlainReport | TerminalReport


def _outcome(error: BaseException) -> str:
    return "failed" if isinstance(error, Exception) else "stopped"


@contextlib.contextmanager
def report() -> Iterator[Report]:
    """The report for a terminal if the standard output is one, otherwise the plain one."""
    if not sys.stdout.isatty():
        yield PlainReport()
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
    )
    with Progress(*columns, refresh_per_second=4) as progress:
        yield TerminalReport(progress)
