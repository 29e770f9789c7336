"""Some of the rows of ``make chaos``, briefly: nothing is lost or doubled, and no input is answered with 5xx.

How long each recovery takes is not judged here, since that depends on the machine.
"""

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.chaos.attacks import ATTACKS
from tests.chaos.faults import FAULTS
from tests.chaos.laboratory import Check, Laboratory
from tests.e2e.clients import Cloud
from tests.e2e.conftest import ARTIFACTS
from tests.e2e.local_cloud import LocalCloud

pytestmark = pytest.mark.skipif("FANFARE_ENDPOINTS" in os.environ, reason="stops a cloud's processes")

SECONDS = 3
SHORT = [check for check in (*FAULTS, *ATTACKS) if check.short]


@pytest.fixture(scope="module")
def laboratory(local_cloud: LocalCloud) -> Iterator[Laboratory]:
    laboratory = Laboratory(local_cloud, Cloud.from_file(local_cloud.endpoints), SECONDS, ARTIFACTS)
    with contextlib.closing(laboratory):
        yield laboratory


@pytest.mark.parametrize("check", SHORT, ids=[check.name for check in SHORT])
def test_everything_accepted_is_recorded_counted_and_delivered_once(
    laboratory: Laboratory, check: Check
) -> None:
    row = laboratory.run(check)
    assert row.ok, row
    assert row.accepted == row.recorded == row.counted == row.delivered > 0
