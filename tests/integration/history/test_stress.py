"""Everything at once, amid kills and crashes, for some seconds of ``make stress``."""

import dataclasses

from tests.stress import driver


def test_nothing_is_lost_or_doubled_and_no_read_is_wrong() -> None:
    findings = driver.run(10)
    assert findings.ok, dataclasses.asdict(findings)
    assert findings.events
    assert findings.reads
