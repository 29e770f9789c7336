"""The next version is deployed while events arrive; a version whose migration fails is rolled back."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.e2e.clients import Cloud, Viewer, eventually
from tests.e2e.local_cloud import deploy
from tests.fresh_clone import fresh_clone

CHANNEL = "upgraded_channel"
STACK = "Fanfare-local-App"

# The app with a new function and a changed queue. A migration adds a column.
NEXT_APP = """
from aws_cdk import App, Duration

from cdk.function import Function
from cdk.settings import load
from cdk.stacks import build

app = App()
settings = load(app.node.get_all_context())
build(app, settings)
stack = app.node.find_child("Fanfare-local-App")
Function(
    stack,
    "Added",
    settings,
    environment={},
    timeout=Duration.seconds(5),
)
queue = stack.node.find_child("History").feed.queue.node.default_child
queue.add_property_override("DelaySeconds", 1)
app.synth()
"""


@pytest.fixture
def next_version(tmp_path: Path) -> Path:
    """A copy of the sources, for changes. Packages that stay the same are not built again."""
    copy = tmp_path / "next"
    fresh_clone(copy)
    (copy / "next_app.py").write_text(NEXT_APP)
    (copy / "lambdas/handlers/added.py").write_text("def handler(event, context):\n    return 'added'\n")
    return copy


def add_migration(version: Path, sql: str) -> None:
    (version / "sql/migrations/9999_before_note.sql").write_text(sql)


def upgrade(cloud: Cloud, version: Path) -> subprocess.CompletedProcess[str]:
    """Deploy a version to the running local cloud."""
    return deploy(cloud, version, version / "cdk.out", cloud.settings_file, app="next_app.py")


@contextmanager
def events_flowing(cloud: Cloud) -> Iterator[list[str]]:
    """Let Twitch send events continuously; yields the list of the ids that were sent."""
    sent: list[str] = []
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(0.1):
            for delivery in cloud.simulate("channel.update", CHANNEL):
                sent.append(delivery["message_id"])
                assert delivery["status"] == 204, delivery

    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            send()
        except BaseException as error:  # noqa: BLE001 -- raised again in the test's thread
            failures.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        eventually("events flow", lambda: sent)
        yield sent
    finally:
        stop.set()
        thread.join()
    assert not failures, failures


def recorded(cloud: Cloud) -> list[str]:
    """The ids of all recorded events, read page by page."""
    ids: list[str] = []
    cursor = ""
    while True:
        page = cloud.get(f"api/channels/{CHANNEL}/events?limit=100{cursor}").json()
        ids += [event["id"] for event in page["events"]]
        if page["next"] is None:
            return ids
        cursor = f"&before={page['next']}"


def status(cloud: Cloud) -> Any:
    return cloud.aws("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]


def columns(cloud: Cloud) -> set[str]:
    with psycopg.connect(cloud.database) as connection:
        found = connection.execute(
            "select column_name from information_schema.columns where table_name = 'events'"
        )
        return {name for (name,) in found}


def test_a_failing_migration_rolls_back_and_a_good_one_upgrades_and_no_event_is_lost(
    cloud: Cloud, viewer: Viewer, next_version: Path
) -> None:
    viewer.until_watched(CHANNEL)
    cloud.until_subscribed(CHANNEL)
    functions = cloud.aws("lambda")

    with events_flowing(cloud) as sent:
        add_migration(next_version, "alter table events add column note text;\nselect 1 / 0;\n")
        failed = upgrade(cloud, next_version)
        assert failed.returncode != 0
        assert "9999_before_note.sql: division by zero" in failed.stdout
        assert status(cloud) == "UPDATE_ROLLBACK_COMPLETE"
        assert "note" not in columns(cloud), "the whole migration is rolled back"
        with pytest.raises(functions.exceptions.ResourceNotFoundException):
            functions.get_function(FunctionName="fanfare-local-added")
        until_here = len(sent)
        eventually("the old version serves", lambda: {*sent[:until_here]} <= {*recorded(cloud)})

        add_migration(next_version, "alter table events add column note text;\n")
        upgraded = upgrade(cloud, next_version)
        assert upgraded.returncode == 0, upgraded.stdout[-3000:]
        assert status(cloud) == "UPDATE_COMPLETE"
        assert "note" in columns(cloud)
        assert functions.get_function(FunctionName="fanfare-local-added")
        queue = cloud.aws("sqs").get_queue_attributes(
            QueueUrl=cloud.outputs["RecordQueueUrl"], AttributeNames=["DelaySeconds"]
        )
        assert queue["Attributes"]["DelaySeconds"] == "1"
        after = len(sent)
        eventually("events flow on", lambda: len(sent) > after + 5)

    eventually("every event is recorded", lambda: {*recorded(cloud)} >= {*sent})
    counts = cloud.get(f"api/channels/{CHANNEL}/counts").json()
    assert counts["total"] == len(sent) == len({*sent})
