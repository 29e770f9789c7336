"""The one way to make a queue: encrypted, with a dead-letter queue and an alarm on it."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from cdk.settings import Settings


class Queue(Construct):
    """The queue ``fanfare-<stage>-<name>`` for one consumer, with a dead-letter queue and its alarm."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        name: str,
        max_receive_count: int,
        visibility_timeout: Duration,
    ) -> None:
        """After ``max_receive_count`` attempts a message is a dead letter.

        ``visibility_timeout`` is when a message comes again whose consumer died.
        """
        super().__init__(scope, id_)
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            queue_name=f"fanfare-{settings.stage}-{name}-dead-letters",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=f"fanfare-{settings.stage}-{name}",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            # The longest there is: so long may the consumer be stopped.
            retention_period=Duration.days(14),
            visibility_timeout=visibility_timeout,
            dead_letter_queue=sqs.DeadLetterQueue(
                queue=self.dead_letters, max_receive_count=max_receive_count
            ),
        )
        cloudwatch.Alarm(
            self,
            "DeadLettersAlarm",
            alarm_name=f"fanfare-{settings.stage}-{name}-dead-letters",
            alarm_description=f"Events that could not be handled are in the {name} dead-letter queue.",
            metric=self.dead_letters.metric_approximate_number_of_messages_visible(
                period=Duration.minutes(1), statistic="Maximum"
            ),
            threshold=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
