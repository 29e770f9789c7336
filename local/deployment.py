"""Deploys the ``local`` stage of the CDK app to the emulator."""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import boto3

from local.emulator import endpoint
from local.environment import REGION, ROOT
from local.ports import HOST, Ports
from local.postgres import DATABASE, USER
from local.processes import running
from local.progress import ShowDetail

STAGE = "local"
TWITCH_SECRET = "fanfare/local/twitch"  # noqa: S105 (the secret's name)
DATABASE_SECRET = "fanfare/local/database"  # noqa: S105 (the secret's name)
# Where the CDK command line puts assets when it deploys with the caller's credentials.
# https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-customizing.html
ASSETS_BUCKET = f"cdk-hnb659fds-assets-000000000000-{REGION}"
# Settings that environment variables can change: what is to be tried, or to show its effect within minutes.
VARIABLES = {
    "sign_in": "FANFARE_SIGN_IN",
    "partition_seconds": "FANFARE_PARTITION_SECONDS",
    "retention_seconds": "FANFARE_RETENTION_SECONDS",
}
CDK = ROOT / "node_modules" / ".bin" / "cdk"


def settings(ports: Ports, environ: Mapping[str, str]) -> dict[str, object]:
    """The local stage's settings that cdk.json does not have: addresses, and VARIABLES of ``environ``."""
    emulator, twitch = endpoint(ports.emulator), f"http://{HOST}:{ports.twitch}"
    api = "/_aws/execute-api/{api_id}"
    chosen = {name: environ[variable] for name, variable in VARIABLES.items() if environ.get(variable)}
    return {
        **chosen,
        "database": {
            "kind": "external",
            "host": HOST,
            "port": ports.database,
            "name": DATABASE,
            "user": USER,
            "secret_name": DATABASE_SECRET,
        },
        "twitch": {
            "issuer": f"{twitch}/oauth2",
            "auth_url": f"{twitch}/oauth2",
            "api_url": f"{twitch}/helix",
            "player_url": f"{twitch}/player",
            "chat_url": twitch,
            "image_origins": [twitch],
            "secret_name": TWITCH_SECRET,
        },
        "addresses": {
            "http_api": f"{emulator}{api}",
            "websocket": f"{emulator}{api}/{{stage}}".replace("http:", "ws:"),
            "connections": f"{emulator}{api}/{{stage}}",
            # Browsers resolve *.localhost themselves and treat it as a secure context.
            "site": f"http://{{label}}.cloudfront.localhost:{ports.emulator}",
            "identity": emulator,
            "api_origin": {"host": "localhost", "scheme": "http", "port": ports.emulator, "path": api},
        },
    }


def prepare_account(secrets: dict[str, dict[str, str]]) -> None:
    """Create what a deployment needs in this process's AWS: the bucket for CDK's assets, and the secrets."""
    boto3.client("s3").create_bucket(Bucket=ASSETS_BUCKET)
    manager = boto3.client("secretsmanager")
    for name, value in secrets.items():
        manager.create_secret(Name=name, SecretString=json.dumps(value))


async def synthesize(ports: Ports, state: Path, logs: Path, show: ShowDetail) -> Path:
    """Build the functions' packages, the site and the templates; return the cloud assembly's folder."""
    file = state / "settings.json"
    file.write_text(json.dumps(settings(ports, os.environ), indent=2) + "\n")
    assembly = state / "cdk.out"
    command = ["synth", "--quiet", "--output", str(assembly)]
    context = ["--context", f"stage={STAGE}", "--context", f"settings-file={file}"]
    await _cdk([*command, *context], logs / "synth.log", show, "The CDK app could not be synthesised.")
    return assembly


async def deploy(assembly: Path, state: Path, logs: Path, show: ShowDetail) -> dict[str, str]:
    """Deploy every stack of the assembly; return their outputs."""
    outputs = state / "outputs.json"
    outputs.unlink(missing_ok=True)
    options = ["--all", "--require-approval", "never", "--progress", "events", "--outputs-file", str(outputs)]
    await _cdk(
        ["deploy", "--app", str(assembly), *options],
        logs / "deploy.log",
        show,
        "The stacks could not be deployed. The reason is often in emulator.log, beside the log below.",
    )
    stacks: dict[str, dict[str, str]] = json.loads(outputs.read_text())
    # Without the outputs that CDK adds to pass values from one stack to another.
    return {
        name: value
        for stack in stacks.values()
        for name, value in stack.items()
        if not name.startswith("ExportsOutput")
    }


async def _cdk(arguments: list[str], log: Path, show: ShowDetail, failure: str) -> None:
    common = ["--no-notices", "--no-color", "--no-version-reporting", "--no-path-metadata", "--ci"]
    variables = {
        **os.environ,
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        # Importing aws-cdk-lib takes two seconds with its bytecode and eleven without.
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(ROOT / ".cache" / "pycache"),
    }
    command = [str(CDK), *arguments, *common]
    async with running("cdk", command, log=log, env=variables, cwd=ROOT) as process:
        following = asyncio.create_task(_follow(log, show))
        try:
            status = await process.wait()
        finally:
            following.cancel()
        if status != 0:
            raise process.failure(failure)


async def _follow(log: Path, show: ShowDetail) -> None:
    """Show the progress of the CDK command line."""
    with log.open(errors="replace") as file:
        while True:
            for line in file:
                if text := progress(line):
                    show(text)
            await asyncio.sleep(0.2)


def progress(line: str) -> str | None:
    """What a line of the CDK command line says about its progress; None if nothing."""
    # Such as: Fanfare-local-App | 12/60 | 10:11:12 PM | CREATE_COMPLETE | AWS::SNS::Topic | Ingest/Events (…)
    if event := re.match(r"(\S+) \|\s*(\d+)(?:/(\d+))? \| [^|]+ \| (\w+)\s+\| (\S+)\s+\| (\S+)", line):
        stack, done, of, _status, _type, name = event.groups()
        return f"{stack} {done}/{of or '?'} {name}"
    if line.startswith(("building ", "Building ")):
        return line.strip()
    return None
