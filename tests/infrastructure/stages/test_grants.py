"""Every function has a role of its own that allows what the function does, and nothing else."""

import pytest

from tests.infrastructure.functions import CONSTRUCTS
from tests.infrastructure.template import Stage

SECRET = "arn:{Partition}:secretsmanager:{Region}:{AccountId}:secret:fanfare"
CONNECTIONS_API = "arn:{Partition}:execute-api:{Region}:{AccountId}:{Live/Api}/live"
CONSUME = (
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
    "sqs:ReceiveMessage",
)
EXPORT = [
    f"s3:{action} on {{Exports.Arn}}/events/*"
    for action in ("AbortMultipartUpload", "GetObject", "PutObject")
]

# To find the channel of a login, at Twitch if need be.
LOGINS = [
    "dynamodb:GetItem on {Channels.Arn}",
    "dynamodb:Query on {Channels.Arn}/index/login",
    "dynamodb:UpdateItem on {Channels.Arn}",
    "dynamodb:GetItem on {Twitch.Arn}",
    "dynamodb:PutItem on {Twitch.Arn}",
    "dynamodb:UpdateItem on {Twitch.Arn}",
    f"secretsmanager:GetSecretValue on {SECRET}/local/twitch-??????",
]
# To change a channel's subscriptions.
SUBSCRIBE = [
    "dynamodb:GetItem on {Channels.Arn}",
    "dynamodb:UpdateItem on {Channels.Arn}",
    "dynamodb:GetItem on {Twitch.Arn}",
    "dynamodb:UpdateItem on {Twitch.Arn}",
    "sqs:SendMessage on {Live/Feed/Queue.Arn}",
    "sqs:SendMessage on {Subscriptions/Requests/Queue.Arn}",
    f"secretsmanager:GetSecretValue on {SECRET}/local/twitch-??????",
    "secretsmanager:GetSecretValue on {WebhookSecret}",
]

GRANTS = {
    "Ingest/Webhook": ["secretsmanager:GetSecretValue on {WebhookSecret}", "sns:Publish on {Ingest/Events}"],
    "HttpApi/Cloudfront": ["secretsmanager:GetSecretValue on {HttpApi/OriginSecret}"],
    "Live/Authorizer": ["dynamodb:DeleteItem on {Tickets.Arn}"],
    "Live/Connection": [
        "dynamodb:DeleteItem on {Connections.Arn}",
        "dynamodb:PutItem on {Connections.Arn}",
        "dynamodb:GetItem on {Overlays.Arn}",
        "dynamodb:DeleteItem on {Viewers.Arn}",
        "dynamodb:PutItem on {Viewers.Arn}",
        "dynamodb:Query on {Viewers.Arn}",
        f"execute-api:ManageConnections on {CONNECTIONS_API}/DELETE/@connections/*",
        f"execute-api:ManageConnections on {CONNECTIONS_API}/POST/@connections/*",
    ],
    "Live/Broadcaster": [
        "dynamodb:BatchWriteItem on {Connections.Arn}",
        "dynamodb:Query on {Connections.Arn}",
        "dynamodb:BatchWriteItem on {Inboxes.Arn}",
        "dynamodb:DeleteItem on {Inboxes.Arn}",
        "dynamodb:Query on {Inboxes.Arn}",
        "dynamodb:UpdateItem on {Inboxes.Arn}",
        f"execute-api:ManageConnections on {CONNECTIONS_API}/DELETE/@connections/*",
        f"execute-api:ManageConnections on {CONNECTIONS_API}/POST/@connections/*",
        "sqs:SendMessage on {Live/FanOut/Queue.Arn}",
        *(f"{action} on {{Live/{queue}/Queue.Arn}}" for action in CONSUME for queue in ("Feed", "FanOut")),
    ],
    "Subscriptions/Watch": [
        *LOGINS,
        "dynamodb:Query on {Grants.Arn}",
        "dynamodb:UpdateItem on {Grants.Arn}",
        "dynamodb:GetItem on {Overlays.Arn}",
        "dynamodb:PutItem on {Tickets.Arn}",
        "dynamodb:DeleteItem on {Viewers.Arn}",
        "dynamodb:PutItem on {Viewers.Arn}",
        "dynamodb:Query on {Viewers.Arn}",
        "sqs:SendMessage on {Subscriptions/Requests/Queue.Arn}",
    ],
    "Subscriptions/Overlay": [
        *LOGINS,
        "dynamodb:DeleteItem on {Connections.Arn}",
        "dynamodb:DeleteItem on {Overlays.Arn}",
        "dynamodb:PutItem on {Overlays.Arn}",
        "dynamodb:DeleteItem on {Viewers.Arn}",
        "dynamodb:PutItem on {Viewers.Arn}",
        "dynamodb:Query on {Viewers.Arn}",
        f"execute-api:ManageConnections on {CONNECTIONS_API}/DELETE/@connections/*",
        f"execute-api:ManageConnections on {CONNECTIONS_API}/POST/@connections/*",
    ],
    "Subscriptions/Subscriber": [
        *SUBSCRIBE,
        "dynamodb:DeleteItem on {Grants.Arn}",
        "dynamodb:Query on {Grants.Arn}",
        "dynamodb:UpdateItem on {Grants.Arn}",
        *(f"{action} on {{Subscriptions/Requests/Queue.Arn}}" for action in CONSUME),
    ],
    "Subscriptions/Reconciler": [
        *SUBSCRIBE,
        "dynamodb:DeleteItem on {Channels.Arn}",
        "dynamodb:Scan on {Channels.Arn}",
        "dynamodb:Scan on {Connections.Arn}",
        "dynamodb:Query on {Grants.Arn}",
        "dynamodb:PutItem on {Twitch.Arn}",
    ],
    "Subscriptions/Notices": [
        "dynamodb:GetItem on {Channels.Arn}",
        "dynamodb:UpdateItem on {Channels.Arn}",
        "dynamodb:DeleteItem on {Grants.Arn}",
        "dynamodb:Query on {Grants.Arn}",
        "dynamodb:UpdateItem on {Grants.Arn}",
        "sqs:SendMessage on {Live/Feed/Queue.Arn}",
    ],
    "History/Recorder": [
        f"secretsmanager:GetSecretValue on {SECRET}/local/database-??????",
        *(f"{action} on {{History/Feed/Queue.Arn}}" for action in CONSUME),
    ],
    **{
        f"History/{job}": [f"secretsmanager:GetSecretValue on {SECRET}/local/database-??????"]
        for job in ("Query", "Migrator", "Postmigrator")
    },
    "History/Archiver": [f"secretsmanager:GetSecretValue on {SECRET}/local/database-??????", *EXPORT],
}
NETWORK = [
    "ec2:AssignPrivateIpAddresses on *",
    "ec2:CreateNetworkInterface on *",
    "ec2:DeleteNetworkInterface on *",
    "ec2:DescribeNetworkInterfaces on *",
    "ec2:DescribeSubnets on *",
    "ec2:UnassignPrivateIpAddresses on *",
]


def logging_of(function: str) -> list[str]:
    return [f"logs:{action} on {{{function}Logs.Arn}}" for action in ("CreateLogStream", "PutLogEvents")]


@pytest.mark.parametrize("function", sorted(GRANTS))
def test_a_function_may_do_exactly_this(local: Stage, function: str) -> None:
    assert local.grants(f"{function}Role") == sorted([*GRANTS[function], *logging_of(function)])


@pytest.mark.parametrize("job", ["Archiver", "Migrator", "Postmigrator", "Query"])
def test_in_aws_a_database_function_signs_in_with_its_role_instead(prod: Stage, job: str) -> None:
    sign_in = (
        "rds-db:connect on "
        "arn:{Partition}:rds-db:{Region}:{AccountId}:dbuser:{Database/Cluster.DBClusterResourceId}/fanfare"
    )
    function = f"History/{job}"
    others = EXPORT if job == "Archiver" else []
    assert prod.grants(f"{function}Role") == sorted([sign_in, *others, *NETWORK, *logging_of(function)])


def test_a_role_belongs_to_one_function_and_has_no_managed_policy(prod: Stage) -> None:
    functions = prod.of_type("AWS::Lambda::Function")
    ours = {path: found for path, found in functions.items() if f"{path}Role" in prod.resources}
    assert GRANTS.keys() == CONSTRUCTS
    assert ours.keys() == {*CONSTRUCTS, "Database/RoleMaker"}
    for path, function in ours.items():
        assert function["Role"] == f"{{{path}Role.Arn}}"
        assert "ManagedPolicyArns" not in prod.resources[f"{path}Role"].properties


def test_only_describing_and_attaching_to_a_network_needs_every_resource(prod: Stage) -> None:
    everywhere = {
        grant for function in GRANTS for grant in prod.grants(f"{function}Role") if grant.endswith(" on *")
    }
    assert everywhere == set(NETWORK)


def test_the_maker_of_the_database_role_may_only_run_statements_as_the_master(prod: Stage) -> None:
    assert prod.grants("Database/RoleMakerRole") == [
        *(f"logs:{action} on {{Database/RoleLogs.Arn}}" for action in ("CreateLogStream", "PutLogEvents")),
        "rds-data:ExecuteStatement on arn:{Partition}:rds:{Region}:{AccountId}:cluster:{Database/Cluster}",
        "secretsmanager:GetSecretValue on {Database/Cluster/Secret/Attachment}",
    ]
