"""``make pipeline REPOSITORY=owner/name``: find its ids, and deploy the roles of its workflows."""

import argparse
import sys

from pydantic import ValidationError

from cdk.github import Repository
from ops.cdk_command import run_cdk
from ops.checks import Failure
from ops.github import API, find_repository

DEFAULT_STAGES = "dev,prod"


def main(arguments: list[str], api: str = API) -> int:
    """Print the ``sub`` of each token that will be trusted, and run ``cdk deploy``; returns the exit code."""
    parser = argparse.ArgumentParser(prog="ops.pipeline")
    parser.add_argument("repository", help="owner/name")
    parser.add_argument("--stages", default=DEFAULT_STAGES)
    parser.add_argument("--owner-id")
    parser.add_argument("--repository-id")
    given = parser.parse_args(arguments)
    try:
        repository = _repository(given, api)
    except Failure as failure:
        print(f"✗ {failure}")
        return 1
    print("The roles trust workflows whose token has one of these as `sub`:")
    contexts = ["pull_request", *(f"environment:{stage}" for stage in given.stages.split(","))]
    for subject in (subject for context in contexts for subject in repository.subjects(context)):
        print(f"  {subject}")
    return run_cdk(
        *("deploy", "--app", f"{sys.executable} -m cdk.pipeline", "--output", "cdk.out/pipeline"),
        *("-c", f"repository={repository.name}", "-c", f"owner-id={repository.owner_id}"),
        *("-c", f"repository-id={repository.id}", "-c", f"pipeline-stages={given.stages}"),
    )


def _repository(given: argparse.Namespace, api: str) -> Repository:
    if not (given.owner_id and given.repository_id):
        return find_repository(given.repository, api)
    values = {"name": given.repository, "owner_id": given.owner_id, "id": given.repository_id}
    try:
        return Repository.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(f"{found['loc'][0]}: {found['msg']}" for found in error.errors(include_url=False))
        raise Failure(f"wrong settings for the pipeline: {wrong}") from None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
