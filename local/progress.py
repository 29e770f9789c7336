"""What `make run` shows while it works: one line for each step, with its seconds."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, Task, TextColumn
from rich.text import Text


class Step(Protocol):
    """A step under way."""

    def detail(self, text: str) -> None:
        """Say what the step is at."""


class Report(Protocol):
    """Where steps and messages are shown."""

    def step(self, name: str) -> contextlib.AbstractContextManager[Step]:
        """Show a step for as long as the block runs, and how it ended."""

    def say(self, text: str) -> None:
        """Show a message."""


class PlainReport:
    """For logs and CI: a line when a step begins and one when it ends. Details would only repeat."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        began = time.monotonic()
        self.say(f"{name} ...")
        try:
            yield _Silent()
        except BaseException as error:
            outcome = "failed" if isinstance(error, Exception) else "stopped"
            self.say(f"{name}: {outcome} after {time.monotonic() - began:.1f} s")
            raise
        self.say(f"{name}: {time.monotonic() - began:.1f} s")

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", flush=True)


class _Silent:
    def detail(self, text: str) -> None:
        """Show nothing."""


class _Seconds(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        return Text(f"{elapsed or 0:6.1f} s", style="cyan")


class TerminalReport:
    """For people: every step a line that is kept up to date."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Step]:
        task = self._progress.add_task(name, total=1, detail="")
        try:
            yield _Line(self._progress, task)
        except BaseException as error:
            outcome = "failed" if isinstance(error, Exception) else "stopped"
            self._progress.update(task, detail=outcome)
            self._progress.stop_task(task)
            raise
        self._progress.update(task, completed=1, detail="")

    def say(self, text: str) -> None:
        # There is something to say when the steps are over: the message belongs below them.
        self._progress.stop()
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Line:
    def __init__(self, progress: Progress, task: int) -> None:
        self._progress = progress
        self._task = task

    def detail(self, text: str) -> None:
        self._progress.update(self._task, detail=text)  # type: ignore[arg-type] # TaskID is an int


@contextlib.contextmanager
def report() -> Iterator[Report]:
    """The report that suits the standard output."""
    if not sys.stdout.isatty():
        yield PlainReport()
        return
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        _Seconds(),
        TextColumn("[dim]{task.fields[detail]}", markup=True),
    )
    with Progress(*columns, console=Console(), refresh_per_second=4) as progress:
        yield TerminalReport(progress)
