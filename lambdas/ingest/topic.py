"""Publishing on the topic ``events``, from which recording and broadcasting take their queues."""

from typing import TYPE_CHECKING

from lambdas.ingest.delivery import Message

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient


def publish(client: "SNSClient", topic_arn: str, message: Message) -> None:
    """Publish the message; the attributes are what subscriptions filter by."""
    client.publish(
        TopicArn=topic_arn,
        Message=message.body,
        MessageAttributes={
            "message_type": {"DataType": "String", "StringValue": message.message_type},
            "event_type": {"DataType": "String", "StringValue": message.event_type},
        },
    )
