"""The authorizer's answer: allow exactly this handshake, or deny it."""

from lambdas.common.tickets import Claim
from lambdas.live.admission import policy

ARN = "arn:aws:execute-api:eu-central-1:123456789012:abcdef123/live/$connect"


def test_a_claim_opens_this_handshake_and_goes_along() -> None:
    answer = policy(Claim("viewer-1", "1337", "cool_user"), ARN)
    assert answer["principalId"] == "viewer-1"
    assert answer["policyDocument"] == {
        "Version": "2012-10-17",
        "Statement": [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": ARN}],
    }
    assert answer["context"] == {
        "viewer_id": "viewer-1",
        "streamer_id": "1337",
        "streamer_name": "cool_user",
    }


def test_without_a_claim_the_handshake_is_denied() -> None:
    answer = policy(None, ARN)
    assert [statement["Effect"] for statement in answer["policyDocument"]["Statement"]] == ["Deny"]
    assert answer["context"] == {}
