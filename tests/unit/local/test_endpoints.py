"""endpoints.json, with the addresses of a running local cloud."""

import json
import stat
from pathlib import Path

from local.endpoints import Endpoints, write

ENDPOINTS = Endpoints(
    site="http://d1.cloudfront.localhost:8600/",
    api="http://127.0.0.1:8600/_aws/cloudfront/d1",
    websocket="ws://127.0.0.1:8600/_aws/execute-api/a2/live",
    webhook="http://127.0.0.1:8600/_aws/execute-api/a1/webhooks/twitch",
    twitch="http://127.0.0.1:8601",
    database="postgresql://fanfare:secret@127.0.0.1:8602/fanfare",
    aws_endpoint="http://127.0.0.1:8600",
    stack_outputs={"SiteUrl": "http://d1.cloudfront.localhost:8600"},
)


def test_it_has_exactly_the_agreed_fields(tmp_path: Path) -> None:
    write(tmp_path / "endpoints.json", ENDPOINTS)
    written = json.loads((tmp_path / "endpoints.json").read_text())
    assert sorted(written) == [
        "api",
        "aws_endpoint",
        "database",
        "site",
        "stack_outputs",
        "twitch",
        "webhook",
        "websocket",
    ]
    assert written["stack_outputs"] == {"SiteUrl": "http://d1.cloudfront.localhost:8600"}


def test_it_replaces_an_older_file_and_leaves_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    path.write_text("{}")
    write(path, ENDPOINTS)
    assert json.loads(path.read_text())["twitch"] == "http://127.0.0.1:8601"
    assert list(tmp_path.iterdir()) == [path]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.json"
    (tmp_path / "endpoints.json.new").touch(mode=0o644)  # left by a killed run
    write(path, ENDPOINTS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
