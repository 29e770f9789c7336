"""What GitHub's API says of a repository."""

import json
import os
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from cdk.github import Repository
from ops.checks import Failure

API = "https://api.github.com"


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


def _get(url: str) -> Any:
    headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    if token := os.environ.get("GITHUB_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    with urlopen(Request(url, headers=headers), timeout=10) as answer:  # noqa: S310 -- always GitHub's
        return json.load(answer)
