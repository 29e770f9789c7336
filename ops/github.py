"""What GitHub's API says of a repository."""

import json
import os
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from cdk.github import Repository
from ops.checks import Failure

API = "https://api.github.com"
# What GitHub makes `sub` of unless it is customised.
DEFAULT_KEYS = ["repo", "context"]


def find_repository(name: str, api: str = API) -> Repository:
    """Ask for the ids of the repository ``owner/name``, with GITHUB_TOKEN if that is set.

    Raises Failure, which says how to go on without GitHub's API.
    """
    try:
        found = _get(f"{api}/repos/{name}")
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        hint = (
            "There is no such repository, or it is private and GITHUB_TOKEN is not set or may not read it."
            if isinstance(error, HTTPError) and error.code == 404
            else f"GitHub's API does not answer ({reason})."
        )
        raise Failure(
            f"the ids of {name} are not known. {hint} To give them yourself: "
            f"make pipeline REPOSITORY={name} OWNER_ID=… REPOSITORY_ID=…; "
            f'`gh api repos/{name} --jq ".owner.id, .id"` prints both'
        ) from None
    return Repository(name=found["full_name"], owner_id=found["owner"]["id"], id=found["id"])


def find_subjects(name: str, context: str, api: str = API) -> list[str]:
    """Ask which ``sub`` the repository's tokens have for ``context``, such as ``environment:dev``.

    Both forms if GitHub does not say which: the token in GITHUB_TOKEN has to be allowed to read *Actions*.
    Raises Failure if the subject is customised, or the repository not found.
    https://docs.github.com/en/rest/actions/oidc#get-the-customization-template-for-an-oidc-subject-claim-for-a-repository
    """
    try:
        found = _get(f"{api}/repos/{name}/actions/oidc/customization/sub")
    except (OSError, ValueError):
        found = {}
    keys = found.get("include_claim_keys") or DEFAULT_KEYS
    if not found.get("use_default", True) and keys != DEFAULT_KEYS:
        raise Failure(
            f"the tokens of {name} have {', '.join(keys)} as `sub`, which the roles do not trust. Go back to "
            f"GitHub's: gh api --method PUT repos/{name}/actions/oidc/customization/sub -F use_default=true"
        )
    if prefix := found.get("sub_claim_prefix"):
        return [f"{prefix}:{context}"]
    return find_repository(name, api).subjects(context)


def _get(url: str) -> Any:
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    if token := os.environ.get("GITHUB_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    with urlopen(Request(url, headers=headers), timeout=10) as answer:  # noqa: S310 -- always GitHub's
        return json.load(answer)
