"""The environment of the local cloud's processes: they call the emulator, never the real AWS."""

import os
from pathlib import Path

REGION = "us-east-1"
# The emulator's root user; it does not check signatures. Functions get the credentials of their roles.
ACCESS_KEY = "test"
SECRET_KEY = "test"  # noqa: S105

ROOT = Path(__file__).resolve().parents[1]


def aws_variables(endpoint: str) -> dict[str, str]:
    """The variables with which AWS SDKs and tools call the emulator at ``endpoint``."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def point_at_emulator(endpoint: str) -> None:
    """Replace the AWS settings of this process and of its children by the emulator's."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(aws_variables(endpoint))
    # A proxy cannot reach the servers on this machine.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))
