"""The runbook's commands do what it says, on the deployed local stage."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from lambdas.common.event import Event
from local.environment import ROOT, aws_variables
from tests import runbook
from tests.e2e.clients import Cloud, eventually


def run(cloud: Cloud, folder: Path, title: str, **values: str) -> str:
    """Run a script of the runbook; returns what it printed."""
    return runbook.run(title, aws_variables(cloud.aws_endpoint), folder, **values)


def put_dead_letter(cloud: Cloud, queue: str, body: str) -> str:
    """Put a message into a dead-letter queue; returns the queue's URL."""
    url: str = cloud.outputs[f"{queue}DeadLetterQueueUrl"]
    cloud.aws("sqs").send_message(QueueUrl=url, MessageBody=body)
    return url


def count(cloud: Cloud, url: str) -> int:
    """How many messages wait in a queue."""
    name = "ApproximateNumberOfMessages"
    found = cloud.aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return int(found["Attributes"][name])


def ran_well(said: str) -> bool:
    assert '"StatusCode": 200' in said
    return "FunctionError" not in said


def test_functions_on_schedules_can_be_run_at_once(cloud: Cloud, tmp_path: Path) -> None:
    for title in ("deliveries-refused", "archiver-failing"):
        eventually(f"{title} has run without an error", lambda: ran_well(run(cloud, tmp_path, title)))  # noqa: B023


def test_dead_letters_are_shown_and_moved_back(cloud: Cloud, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    event = Event("redriven-1", "31337", "redriven_channel", "channel.update", now, now, {"title": "late"})
    url = put_dead_letter(cloud, "Record", event.to_json())
    assert "redriven-1" in run(cloud, tmp_path, "record-dead-letters")
    done = subprocess.run(
        [sys.executable, "-m", "ops.redrive", "local", "record"],
        cwd=ROOT,
        env=aws_variables(cloud.aws_endpoint),
        input="record\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, " moved\n" in done.stdout) == (0, True), done
    assert count(cloud, url) == 0
    read = "api/channels/redriven_channel/events"
    eventually("it is recorded", lambda: "redriven-1" in cloud.get(read).data.decode())


def test_dead_letters_are_deleted(cloud: Cloud, tmp_path: Path) -> None:
    url = put_dead_letter(cloud, "Broadcast", "too old")
    run(cloud, tmp_path, "broadcast-dead-letters")
    eventually("it is empty", lambda: count(cloud, url) == 0)


def test_the_twitch_secret_is_renewed(cloud: Cloud, tmp_path: Path) -> None:
    manager, name = cloud.aws("secretsmanager"), "fanfare/local/twitch"
    before = manager.get_secret_value(SecretId=name)
    (tmp_path / "twitch.json").write_text(before["SecretString"])
    run(cloud, tmp_path, "Renewing the Twitch client secret")
    after = manager.get_secret_value(SecretId=name)
    assert after["VersionId"] != before["VersionId"]
    assert json.loads(after["SecretString"]) == json.loads(before["SecretString"])


def test_the_webhook_secret_is_renewed(cloud: Cloud, tmp_path: Path) -> None:
    function = cloud.aws("lambda").get_function_configuration(FunctionName="fanfare-local-webhook")
    arn = function["Environment"]["Variables"]["WEBHOOK_SECRET_ARN"]
    manager = cloud.aws("secretsmanager")
    before = manager.get_secret_value(SecretId=arn)["SecretString"]
    run(cloud, tmp_path, "Renewing the webhook secret")
    assert manager.get_secret_value(SecretId=arn)["SecretString"] != before
    former = manager.get_secret_value(SecretId=arn, VersionStage="AWSPREVIOUS")
    assert former["SecretString"] == before
    # The subscriptions of other tests are made anew at once.
    run(cloud, tmp_path, "deliveries-refused")


def test_a_former_certificate_is_deleted(cloud: Cloud, tmp_path: Path) -> None:
    certificates, domain = cloud.aws("acm"), "former.example.com"
    certificates.request_certificate(DomainName=domain)
    run(cloud, tmp_path, "Changing the domain", former_domain=domain)
    left = certificates.list_certificates()["CertificateSummaryList"]
    assert domain not in [found["DomainName"] for found in left]


def test_the_edge_stack_is_deleted(cloud: Cloud, tmp_path: Path) -> None:
    template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    stacks = cloud.aws("cloudformation")
    stacks.create_stack(StackName="Fanfare-local-Edge", TemplateBody=json.dumps(template))
    run(cloud, tmp_path, "Turning the firewall off")

    def deployed() -> list[str]:
        return [found["StackName"] for found in stacks.describe_stacks()["Stacks"]]

    eventually("it is gone", lambda: "Fanfare-local-Edge" not in deployed())
