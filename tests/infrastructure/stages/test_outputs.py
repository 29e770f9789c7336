"""The outputs of a deployment, for people, the smoke test and the local cloud."""

from tests.infrastructure.template import Stage


def test_outputs_say_where_everything_is(prod: Stage) -> None:
    api = "https://{HttpApi}.execute-api.{Region}.amazonaws.com"
    assert prod.outputs == {
        "SiteUrl": "https://{Site/Distribution.DomainName}",
        "HttpApiUrl": api,
        "OriginSecretArn": "{HttpApi/OriginSecret}",
        "WebSocketUrl": "wss://{Live/Api}.execute-api.{Region}.amazonaws.com/live",
        "WebhookUrl": f"{api}/webhooks/twitch",
        "UserPoolId": "{Users}",
        "UserPoolClientId": "{Identity/Site}",
        "IdentityDomain": "https://fanfare-prod-{AccountId}.auth.{Region}.amazoncognito.com",
        "DistributionId": "{Site/Distribution}",
        "SiteBucketName": "{Site/Bucket}",
        "ExportsBucketName": "{Exports}",
        "EventsTopicArn": "{Ingest/Events}",
        "AlarmsTopicArn": "{Alarms/Topic}",
        "RecordQueueUrl": "{History/Feed/Queue}",
        "RecordDeadLetterQueueUrl": "{History/Feed/DeadLetters}",
        "BroadcastQueueUrl": "{Live/Feed/Queue}",
        "BroadcastDeadLetterQueueUrl": "{Live/Feed/DeadLetters}",
    }
