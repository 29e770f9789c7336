"""``make redrive STAGE=… QUEUE=…``: say what moving a queue's dead letters back does, ask, and do it."""

import sys
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ops.checks import Failure
from ops.deployed_stage import DeployedStage

# What comes of a message that is handled again.
CONSEQUENCES = {
    "record": "Each is recorded; an event that is in the store already is counted once.",
    "broadcast": "Viewers of its channel who are connected now get each as if it were new.",
    "fan-out": "The parts of audiences that they name are served again, if anything waits for them.",
}


def main(arguments: list[str]) -> int:
    """Ask for the queue's name, and move its dead letters; returns the exit code."""
    stage, *queues = arguments
    if len(queues) != 1 or queues[0] not in CONSEQUENCES:
        print(f"✗ set QUEUE to one of {', '.join(CONSEQUENCES)}.")
        return 1
    try:
        return redrive(DeployedStage.find(stage), queues[0])
    except (Failure, BotoCoreError, ClientError) as error:
        print(f"✗ {error}")
        return 1


def redrive(stage: DeployedStage, queue: str) -> int:
    """Say how many messages would be moved and what comes of them, and move them if somebody agrees."""
    sqs, name = stage.session.client("sqs"), f"fanfare-{stage.name}-{queue}"
    source, target = (
        sqs.get_queue_url(QueueName=found)["QueueUrl"] for found in (f"{name}-dead-letters", name)
    )
    attribute = "ApproximateNumberOfMessages"
    waiting = int(
        sqs.get_queue_attributes(QueueUrl=source, AttributeNames=[attribute])["Attributes"][attribute]
    )
    if not waiting:
        print(f"✓ There is nothing in {name}-dead-letters.")
        return 0
    print(f"This moves {waiting} messages from {name}-dead-letters to {name}. {CONSEQUENCES[queue]}")
    print("One that cannot be handled comes back. SQS keeps a moved message for 14 days from now.")
    print(f"Type the queue's name, {queue}, to move them, or anything else to leave them:", flush=True)
    if sys.stdin.readline().strip() != queue:
        print("Nothing was moved.")
        return 1
    print(f"✓ {move(sqs, source, target, at_most=waiting)} moved")
    return 0


def move(sqs: Any, source: str, target: str, *, at_most: int) -> int:
    """Move messages from one queue to another; returns how many.

    Each is sent before it is deleted: what is interrupted leaves some in both. It ends after ``at_most``, so
    that those which come back are not moved for ever.
    """
    moved = 0
    while moved < at_most and (messages := _received(sqs, source)):
        for message in messages:
            attributes = message.get("MessageAttributes", {})
            sqs.send_message(QueueUrl=target, MessageBody=message["Body"], MessageAttributes=attributes)
            sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
        moved += len(messages)
    return moved


def _received(sqs: Any, queue: str) -> list[dict[str, Any]]:
    # With a wait SQS asks all of its servers, so that nothing means nothing.
    answer = sqs.receive_message(
        QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"], WaitTimeSeconds=1
    )
    messages: list[dict[str, Any]] = answer.get("Messages", [])
    return messages


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
