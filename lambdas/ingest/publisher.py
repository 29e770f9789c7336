"""Publishing on the SNS topic ``events``, to which the queues of recorder and broadcaster are subscribed."""

from lambdas.common.aws import Client
from lambdas.ingest.message import Message
from lambdas.ingest.refusal import RefusedError

# In UTF-8, with the attributes' names, types and values.
# https://docs.aws.amazon.com/sns/latest/dg/large-message-payloads.html
MAX_BYTES = 256 * 1024
_TYPE = "String"


def publish(sns: Client, topic_arn: str, message: Message) -> None:
    """Publish the message; the attributes are what subscriptions filter by.

    Raises AwsError, and RefusedError (413) if SNS takes no message of this size.
    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    attributes = {"message_type": message.message_type, "event_type": message.event_type}
    texts = [message.body, *attributes, *attributes.values(), *(_TYPE for _ in attributes)]
    size = sum(len(text.encode()) for text in texts)
    if size > MAX_BYTES:
        raise RefusedError(413, "too_large", f"To publish it would take {size} bytes of at most {MAX_BYTES}.")
    parameters = {"TopicArn": topic_arn, "Message": message.body}
    for number, (name, value) in enumerate(attributes.items(), start=1):
        entry = f"MessageAttributes.entry.{number}"
        parameters[f"{entry}.Name"] = name
        parameters[f"{entry}.Value.DataType"] = _TYPE
        parameters[f"{entry}.Value.StringValue"] = value
    sns.call("Publish", parameters)
