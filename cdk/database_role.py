"""Makes the role that functions sign in as. Its text is the code of a function: it imports nothing of ours.

It runs outside the VPC, with the Data API, while CloudFormation waits for its answer.
"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import boto3

RESUMED_WITHIN_SECONDS = 90


def handler(event: dict[str, Any], context: Any) -> None:
    """Answer a custom resource's event; deleting it leaves the role."""
    import cfnresponse  # noqa: PLC0415 -- Lambda adds it to code that stands in a template

    try:
        if event["RequestType"] != "Delete":
            make_role(boto3.client("rds-data"), event["ResourceProperties"]["Statement"], os.environ)
    except Exception as error:  # noqa: BLE001 -- without an answer CloudFormation would wait for an hour
        cfnresponse.send(event, context, cfnresponse.FAILED, {}, "fanfare", reason=str(error))
    else:
        cfnresponse.send(event, context, cfnresponse.SUCCESS, {}, "fanfare")


def make_role(
    client: Any, statement: str, environment: Mapping[str, str], sleep: Callable[[float], None] = time.sleep
) -> None:
    """Run the statement as the master, again while the database is resuming from a pause."""
    for _ in range(RESUMED_WITHIN_SECONDS // 3):
        try:
            client.execute_statement(
                resourceArn=environment["CLUSTER_ARN"],
                secretArn=environment["SECRET_ARN"],
                database=environment["DATABASE"],
                sql=statement,
            )
        except client.exceptions.DatabaseResumingException:
            sleep(3)
        else:
            return
    raise TimeoutError(f"the database has not resumed within {RESUMED_WITHIN_SECONDS} seconds")
