"""Every alarm notifies a topic, which sends mails."""

from pathlib import Path

from tests.infrastructure.template import Stage, synthesise

TOPIC = "{Alarms/Topic}"
CLOUDWATCH = {"Service": "cloudwatch.amazonaws.com"}
THIS_ACCOUNT = {"StringEquals": {"aws:SourceAccount": "{AccountId}"}}


def test_every_alarm_notifies_the_topic_when_it_begins_and_when_it_ends(prod: Stage, local: Stage) -> None:
    for stage in (prod, local):
        alarms = stage.of_type("AWS::CloudWatch::Alarm")
        assert {"History/Feed/DeadLettersAlarm", "Live/Feed/DeadLettersAlarm"} <= alarms.keys()
        for alarm in alarms.values():
            assert (alarm["AlarmActions"], alarm["OKActions"]) == ([TOPIC], [TOPIC])


def test_an_address_that_is_set_is_subscribed(tmp_path: Path, prod: Stage) -> None:
    stages = {"mailed": {"alarm_email": "operators@example.com"}}
    mailed = synthesise("mailed", tmp_path, stages=stages)
    addresses = [
        [
            found["Endpoint"]
            for found in stage.of_type("AWS::SNS::Subscription").values()
            if found["TopicArn"] == TOPIC
        ]
        for stage in (mailed, prod)
    ]
    assert addresses == [["operators@example.com"], []]


def test_alarms_are_encrypted_with_a_key_that_cloudwatch_may_use(prod: Stage) -> None:
    assert prod.resources["Alarms/Topic"].properties["KmsMasterKeyId"] == "{Alarms/Key.Arn}"
    key = prod.resources["Alarms/Key"].properties
    assert key["EnableKeyRotation"] is True
    statements = key["KeyPolicy"]["Statement"]
    (grant,) = (found for found in statements if found["Principal"] == CLOUDWATCH)
    assert (grant["Action"], grant["Condition"]) == (["kms:Decrypt", "kms:GenerateDataKey"], THIS_ACCOUNT)


def test_only_cloudwatch_may_publish_and_over_tls(prod: Stage) -> None:
    allowed, refused = (
        [found for found in statements if found["Effect"] == effect]
        for statements in [prod.resources["Alarms/Topic/Policy"].properties["PolicyDocument"]["Statement"]]
        for effect in ("Allow", "Deny")
    )
    assert [(found["Principal"], found["Action"], found["Condition"]) for found in allowed] == [
        (CLOUDWATCH, "sns:Publish", THIS_ACCOUNT)
    ]
    assert [found["Condition"] for found in refused] == [{"Bool": {"aws:SecureTransport": "false"}}]
