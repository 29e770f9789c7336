"""What the processes of the local cloud inherit, so that none of them ever speaks to the real AWS."""

import os
from pathlib import Path

REGION = "us-east-1"
# The emulator's root user, which it never checks the signature of. Functions get their role's credentials.
ACCESS_KEY = "test"
SECRET_KEY = "test"  # noqa: S105

ROOT = Path(__file__).resolve().parents[1]


def aws_variables(endpoint: str) -> dict[str, str]:
    """What makes every AWS SDK and tool call the emulator at ``endpoint``, and nothing else."""
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
    """Replace this process's AWS settings (profile, credentials) by the emulator's; children inherit them."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(aws_variables(endpoint))
    # Everything here is on this machine: a proxy could not reach it.
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1", "localhost"]))
