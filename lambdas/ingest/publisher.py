"""Publishing on the topic ``events``, from which recording and broadcasting take their queues."""

from lambdas.common.aws import Client
from lambdas.ingest.message import Message


def publish(sns: Client, topic_arn: str, message: Message) -> None:
    """Publish the message; the attributes are what subscriptions filter by. Raises AwsError.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    parameters = {"TopicArn": topic_arn, "Message": message.body}
    attributes = {"message_type": message.message_type, "event_type": message.event_type}
    for number, (name, value) in enumerate(attributes.items(), start=1):
        entry = f"MessageAttributes.entry.{number}"
        parameters[f"{entry}.Name"] = name
        parameters[f"{entry}.Value.DataType"] = "String"
        parameters[f"{entry}.Value.StringValue"] = value
    sns.call("Publish", parameters)
