"""The topic that every alarm of a stage notifies."""

from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from cdk.output import output
from cdk.settings import Settings


class AlarmTopic(Construct):
    """The topic ``fanfare-<stage>-alarms``, which every alarm that ``scope`` has by now notifies."""

    def __init__(self, scope: Construct, id_: str, settings: Settings) -> None:
        super().__init__(scope, id_)
        # CloudWatch may not use the key that AWS manages for SNS: its policy cannot be changed.
        # https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services
        key = kms.Key(self, "Key", description=f"Fanfare {settings.stage}: alarms", enable_key_rotation=True)
        topic = sns.Topic(
            self,
            "Topic",
            topic_name=f"fanfare-{settings.stage}-alarms",
            master_key=key,
            enforce_ssl=True,
        )
        output(self, "AlarmsTopicArn", topic.topic_arn)
        key.add_to_resource_policy(self._cloudwatch_may("kms:Decrypt", "kms:GenerateDataKey", on="*"))
        topic.add_to_resource_policy(self._cloudwatch_may("sns:Publish", on=topic.topic_arn))
        if settings.alarm_email:
            topic.add_subscription(subscriptions.EmailSubscription(settings.alarm_email))
        action = actions.SnsAction(topic)
        for construct in scope.node.find_all():
            if isinstance(construct, cloudwatch.Alarm):
                construct.add_alarm_action(action)
                construct.add_ok_action(action)

    def _cloudwatch_may(self, *allowed: str, on: str) -> iam.PolicyStatement:
        """In a key's policy ``*`` is the key itself."""
        return iam.PolicyStatement(
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=[*allowed],
            resources=[on],
            conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}},
        )
