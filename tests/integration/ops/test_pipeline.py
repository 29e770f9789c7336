"""`make pipeline`: it finds the repository's ids at GitHub, and says which `sub` the roles trust."""

import itertools

import pytest

from ops import pipeline
from ops.checks import Failure
from ops.github import find_repository
from tests.integration.ops.conftest import Answer, Serve

FOUND = {"full_name": "Owner/Fanfare", "id": 345, "owner": {"id": 12}}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The arguments of each run of the CDK, which is not run."""
    ran: list[list[str]] = []

    def run(*arguments: str) -> int:
        ran.append([*arguments])
        return 0

    monkeypatch.setattr(pipeline, "run_cdk", run)
    return ran


def context(command: list[str]) -> set[str]:
    """What a command gives as context."""
    return {value for option, value in itertools.pairwise(command) if option == "-c"}


def test_the_ids_are_found_and_both_forms_of_the_subject_are_printed(
    serve: Serve, commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    github = serve(lambda method, path, headers: (200, {}, FOUND if path == "/repos/owner/fanfare" else {}))
    assert pipeline.main(["owner/fanfare", "--stages", "dev"], github) == 0
    output = capsys.readouterr().out
    for subject in (
        "repo:Owner@12/Fanfare@345:environment:dev",
        "repo:Owner/Fanfare:environment:dev",
        "repo:Owner@12/Fanfare@345:pull_request",
    ):
        assert subject in output.split()
    (command,) = commands
    # GitHub's spelling, since AWS compares the subject letter by letter.
    assert context(command) == {
        "repository=Owner/Fanfare",
        "owner-id=12",
        "repository-id=345",
        "pipeline-stages=dev",
    }


def test_ids_that_are_given_are_not_asked_for(commands: list[list[str]]) -> None:
    given = ["owner/fanfare", "--owner-id", "1", "--repository-id", "2"]
    assert pipeline.main(given, "http://127.0.0.1:9") == 0
    assert {"owner-id=1", "repository-id=2"} <= context(commands[0])


def test_without_github_it_says_how_to_give_the_ids(
    commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert pipeline.main(["owner/fanfare"], "http://127.0.0.1:9") == 1
    assert commands == []
    assert "make pipeline REPOSITORY=owner/fanfare OWNER_ID=… REPOSITORY_ID=…" in capsys.readouterr().out


def test_a_wrong_id_is_named(commands: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline.main(["owner/fanfare", "--owner-id", "me", "--repository-id", "2"]) == 1
    assert commands == []
    assert "owner_id" in capsys.readouterr().out


def test_a_private_repository_needs_a_token(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(method: str, path: str, headers: dict[str, str]) -> Answer:
        return (200, {}, FOUND) if headers.get("Authorization") == "Bearer ghp" else (404, {}, {})

    github = serve(answer)
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    with pytest.raises(Failure, match="GITHUB_TOKEN"):
        find_repository("owner/fanfare", github)
    monkeypatch.setenv("GITHUB_TOKEN", "ghp")
    assert find_repository("owner/fanfare", github).id == 345
