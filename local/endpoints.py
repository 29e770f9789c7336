"""The file that tells other programs where a running local cloud listens."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Endpoints:
    """Addresses of everything; ``stack_outputs`` holds the CloudFormation outputs of all stacks."""

    site: str
    api: str
    websocket: str
    webhook: str
    twitch: str
    database: str
    aws_endpoint: str
    stack_outputs: dict[str, str] = field(default_factory=dict)


def write(path: Path, endpoints: Endpoints) -> None:
    """Write the file in one step, so that whoever waits for it never reads half of it.

    It holds the database's password: only its owner may read it.
    """
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(asdict(endpoints), indent=2) + "\n")
    draft.replace(path)
