"""Who may open a WebSocket: whoever brings an unused ticket.

https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html
"""

import dataclasses
from typing import Any

from lambdas.common.tickets import Claim


def policy(claim: Claim | None, method_arn: str) -> dict[str, Any]:
    """The authorizer's answer: for a claim, allow this handshake and pass it on; else deny (403).

    API Gateway hands the context to every route of the connection as ``requestContext.authorizer``.
    """
    statement = {
        "Action": "execute-api:Invoke",
        "Effect": "Allow" if claim else "Deny",
        "Resource": method_arn,
    }
    return {
        "principalId": claim.viewer_id if claim else "nobody",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": dataclasses.asdict(claim) if claim else {},
    }
