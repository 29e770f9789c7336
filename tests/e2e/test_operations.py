"""The operators' commands on the deployed local stage: they pass, or say what is wrong."""

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import boto3
import psycopg
import pytest

from local.environment import ROOT, aws_variables
from ops.account import Account
from ops.deployed_stage import DeployedStage
from ops.destroy import Resource, empty_buckets
from ops.prove_sign_in import prove
from ops.smoke import Smoke
from ops.stage_settings import session, settings_of
from tests.e2e.clients import LIMIT, Cloud, eventually, follow_sign_in
from tests.e2e.conftest import both_sign_ins
from tests.e2e.grants import without_grant


@pytest.fixture(autouse=True)
def _operator(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the commands with the local cloud's credentials."""
    for name, value in aws_variables(cloud.aws_endpoint).items():
        monkeypatch.setenv(name, value)


def smoke(
    capsys: pytest.CaptureFixture[str], *, delivered_within: float = LIMIT, recorded_within: float = LIMIT
) -> tuple[int, str]:
    """How many checks failed, and what was printed. A check that is to fail needs no long limit."""
    stage = DeployedStage.find("local")
    failures = Smoke(stage, delivered_within=delivered_within, recorded_within=recorded_within).run()
    return failures, capsys.readouterr().out


def command(module: str, *arguments: str, typed: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=dict(os.environ),
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@both_sign_ins
def test_the_smoke_test_passes_and_leaves_nothing_behind(
    cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Smoke(DeployedStage.find("local"), delivered_within=LIMIT, recorded_within=LIMIT)
    assert run.run() == 0, capsys.readouterr().out
    answer = cloud.get(f"api/channels/{run.channel.login}/counts").json()
    assert (answer["total"], answer["streamer_id"]) == (0, None)

    def registered() -> list[Any]:
        answer = cloud.aws("dynamodb").query(
            TableName="fanfare-local-connections",
            KeyConditionExpression="streamer_id = :streamer_id",
            ExpressionAttributeValues={":streamer_id": {"S": run.channel.id}},
        )
        items: list[Any] = answer["Items"]
        return items

    # API Gateway reports the end of a connection afterwards.
    eventually("the connection is not registered any more", lambda: not registered())


def test_a_wrong_webhook_secret_is_named(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Smoke, "_secret", lambda self: "not what the function verifies with")
    failures, output = smoke(capsys)
    assert failures == 1
    assert "✗ challenge: a challenge signed with the stage's webhook secret is refused (403)" in output


@contextlib.contextmanager
def unsubscribed(cloud: Cloud, queue: str) -> Iterator[None]:
    """Remove a queue's subscription to the SNS topic; make it again at the end."""
    sns, topic = cloud.aws("sns"), cloud.outputs["EventsTopicArn"]
    (taken,) = (
        entry
        for entry in sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
        if entry["Endpoint"].endswith(f":fanfare-local-{queue}")
    )
    arn = taken["SubscriptionArn"]
    attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    sns.unsubscribe(SubscriptionArn=arn)
    try:
        yield
    finally:
        kept = ("FilterPolicy", "RawMessageDelivery", "RedrivePolicy")
        sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=taken["Endpoint"],
            Attributes={name: attributes[name] for name in kept if name in attributes},
        )


@pytest.mark.parametrize(
    ("queue", "check", "limit"),
    [
        ("record", "event recorded", {"recorded_within": 1}),
        ("broadcast", "event delivered", {"delivered_within": 1}),
    ],
)
def test_a_queue_without_its_subscription_is_named(
    cloud: Cloud, capsys: pytest.CaptureFixture[str], queue: str, check: str, limit: dict[str, float]
) -> None:
    with unsubscribed(cloud, queue):
        failures, output = smoke(capsys, **limit)
    assert failures == 1
    assert f"✗ {check}: the {queue} queue is not subscribed to the topic" in output


def test_a_recorder_without_its_grant_is_named(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    with without_grant(cloud, "recorder", "secretsmanager:GetSecretValue"):
        # It reads the password when it connects.
        with psycopg.connect(cloud.database) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'fanfare-recorder'"
            )
        failures, output = smoke(capsys, recorded_within=1)
    cloud.aws("sqs").purge_queue(QueueUrl=cloud.outputs["RecordQueueUrl"])
    assert failures == 1
    assert re.search("✗ event recorded: [1-9][0-9]* messages wait in the record queue", output)
    assert "/aws/lambda/fanfare-local-recorder" in output


@both_sign_ins
def test_the_doctor_finds_the_local_stage_deployable(cloud: Cloud) -> None:
    status, output = command("ops.doctor", "local", str(cloud.settings_file))
    assert (status, "✗" in output) == (0, False), output
    assert "/oauth2/idpresponse" in output or f"{cloud.site}callback" in output


def test_the_doctor_says_what_to_do_about_a_refused_twitch_secret(cloud: Cloud) -> None:
    manager = cloud.aws("secretsmanager")
    right = manager.get_secret_value(SecretId="fanfare/local/twitch")["SecretString"]
    wrong = json.dumps({**json.loads(right), "client_secret": "wrong"})
    manager.put_secret_value(SecretId="fanfare/local/twitch", SecretString=wrong)
    try:
        status, output = command("ops.doctor", "local", str(cloud.settings_file))
    finally:
        manager.put_secret_value(SecretId="fanfare/local/twitch", SecretString=right)
    assert status == 2
    assert "✗ Twitch application: Twitch refused the credentials in fanfare/local/twitch" in output
    # A renewed secret that was not deployed yet looks the same to Cognito.
    assert "✗ Twitch at Cognito: the identity provider Twitch has other credentials" in output
    assert "wrong" not in output


def test_the_sign_in_is_proven_with_a_pool_of_its_own(cloud: Cloud) -> None:
    pools = cloud.aws("cognito-idp")
    before = pools.list_user_pools(MaxResults=60)["UserPools"]
    settings = settings_of("local", str(cloud.settings_file))

    def sign_in(said: str) -> None:
        """What a person does with the page that the command names."""
        opened = [line.strip() for line in said.splitlines() if "/oauth2/authorize?" in line]
        for authorize in opened:
            follow_sign_in(cloud, authorize, "vera_viewer")

    proven = prove(Account(session(settings.region)), settings, within=60, say=sign_in)
    assert "Cognito takes Twitch's answer: it has made the user Twitch_" in proven
    assert pools.list_user_pools(MaxResults=60)["UserPools"] == before


def test_destroy_shows_the_plan_and_asks(cloud: Cloud) -> None:
    status, output = command("ops.destroy", "local", typed="prod\n")
    assert status == 1
    assert "x AWS::DynamoDB::Table" in output
    assert "Nothing was deleted." in output
    assert cloud.get("").status == 200


def test_destroy_empties_the_buckets_that_it_deletes(cloud: Cloud) -> None:
    s3 = cloud.aws("s3")
    for name in ("deleted", "kept"):
        s3.create_bucket(Bucket=name)
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        for version in range(2):
            s3.put_object(Bucket=name, Key="export", Body=str(version).encode())
    resources = [
        Resource("Fanfare-local-Data", "AWS::S3::Bucket", name, kept=name == "kept")
        for name in ("deleted", "kept")
    ]
    empty_buckets(boto3.Session(), resources)
    s3.delete_bucket(Bucket="deleted")
    assert len(s3.list_object_versions(Bucket="kept")["Versions"]) == 2
    empty_buckets(boto3.Session(), [resources[1]._replace(kept=False)])
    s3.delete_bucket(Bucket="kept")
