"""The outputs of the application's stack: for people, `make smoke`, and whoever runs or tests a stage."""

from aws_cdk import CfnOutput, Stack

from cdk.alarms import Alarms
from cdk.data import DataStack
from cdk.history import History
from cdk.http_api import HttpApi
from cdk.identity import Identity
from cdk.ingest import Ingest
from cdk.live import Live
from cdk.site import Site


def add_outputs(
    stack: Stack,
    *,
    data: DataStack,
    api: HttpApi,
    ingest: Ingest,
    live: Live,
    history: History,
    identity: Identity,
    client_id: str,
    site: Site,
    alarms: Alarms,
) -> None:
    """Add them to ``stack``."""
    for name, value in {
        "SiteUrl": site.url,
        "HttpApiUrl": api.base_url,
        "WebSocketUrl": live.url,
        "WebhookUrl": ingest.webhook_url,
        "UserPoolId": data.users.user_pool_id,
        "UserPoolClientId": client_id,
        "IdentityDomain": identity.url,
        "DistributionId": site.distribution.distribution_id,
        "SiteBucketName": site.bucket.bucket_name,
        "ExportsBucketName": data.exports.bucket_name,
        "EventsTopicArn": ingest.topic.topic_arn,
        "AlarmsTopicArn": alarms.topic.topic_arn,
        "RecordQueueUrl": history.feed.queue.queue_url,
        "RecordDeadLetterQueueUrl": history.feed.dead_letters.queue_url,
        "BroadcastQueueUrl": live.feed.queue.queue_url,
        "BroadcastDeadLetterQueueUrl": live.feed.dead_letters.queue_url,
    }.items():
        CfnOutput(stack, name, value=value)
