"""endpoints.json: the addresses of a running local cloud, for other programs."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Endpoints:
    """The addresses, and the CloudFormation outputs of all stacks."""

    site: str
    api: str
    websocket: str
    webhook: str
    twitch: str
    database: str
    aws_endpoint: str
    stack_outputs: dict[str, str]


def write(path: Path, endpoints: Endpoints) -> None:
    """Write the file in one step, so that nobody reads an incomplete one.

    Only its owner may read it, because it contains the database's password.
    """
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(asdict(endpoints), indent=2) + "\n")
    draft.replace(path)
