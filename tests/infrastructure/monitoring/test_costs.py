"""What the documentation says that a stage costs is what its templates and the prices come to."""

import shutil
from pathlib import Path

import pytest

from ops import costs
from tests.infrastructure.template import Stage


@pytest.fixture(scope="module")
def assembly(prod: Stage, dev: Stage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("costs")
    for name, stage in (("prod", prod), ("dev", dev)):
        shutil.copytree(stage.assembly, folder / name, ignore=shutil.ignore_patterns("asset.*"))
    return folder


def idle(assembly: Path, stage: str) -> float:
    return costs.total(costs.lines(costs.Template(stage, assembly), costs.WORKLOADS[0]))


def test_the_page_holds_the_present_figures(assembly: Path) -> None:
    page = costs.PAGE.read_text()
    assert page == costs.updated(page, costs.report(assembly)), "run `make costs`"


def test_an_idle_stage_costs_next_to_nothing(assembly: Path) -> None:
    assert idle(assembly, "dev") < 5
    assert idle(assembly, "prod") < 60


def test_free_amounts_are_taken_off_once() -> None:
    assert costs.Line("alarms", "alarm", 8).dollars == 0
    assert costs.Line("alarms", "alarm", 12).dollars == pytest.approx(0.2)
