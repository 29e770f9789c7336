"""The grants table: what is worth trying, and that later news wins over earlier."""

from typing import TYPE_CHECKING

import pytest

from lambdas.common.aws import Client
from lambdas.subscriptions.grants import GrantsTable
from lambdas.subscriptions.model import Grant

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

STREAMER, MODERATOR = "1234", "77"
GIVEN = Grant(STREAMER, 100, frozenset({"bits:read", "channel:read:polls"}))


@pytest.fixture
def grants(dynamodb: "DynamoDBClient") -> GrantsTable:
    return GrantsTable(Client("dynamodb"), "grants")


def test_a_grant_is_news_once(grants: GrantsTable) -> None:
    assert grants.record(STREAMER, GIVEN)
    assert not grants.record(STREAMER, GIVEN)
    assert not grants.record(STREAMER, Grant(STREAMER, 99, GIVEN.scopes))
    assert grants.record(STREAMER, Grant(STREAMER, 101, GIVEN.scopes))


def test_grants_are_found_by_channel(grants: GrantsTable) -> None:
    moderators = Grant(MODERATOR, 200, frozenset({"moderator:read:followers"}))
    grants.record(STREAMER, GIVEN)
    grants.record(STREAMER, moderators)
    grants.record("99", moderators)
    assert sorted(grants.for_channel(STREAMER), key=lambda grant: grant.granted_at) == [GIVEN, moderators]
    assert grants.for_channel("nobody") == []


def test_a_refused_scope_stays_out_until_the_next_sign_in(grants: GrantsTable) -> None:
    grants.record(STREAMER, GIVEN)
    grants.remove_scope(STREAMER, GIVEN, "bits:read")
    assert grants.for_channel(STREAMER) == [Grant(STREAMER, 100, frozenset({"channel:read:polls"}))]
    grants.remove_scope(STREAMER, GIVEN, "channel:read:polls")
    assert grants.for_channel(STREAMER) == [Grant(STREAMER, 100, frozenset())]
    assert not grants.record(STREAMER, GIVEN)
    later = Grant(STREAMER, 101, GIVEN.scopes)
    assert grants.record(STREAMER, later)
    assert grants.for_channel(STREAMER) == [later]


def test_a_refusal_does_not_touch_a_later_grant(grants: GrantsTable) -> None:
    later = Grant(STREAMER, 101, GIVEN.scopes)
    grants.record(STREAMER, later)
    grants.remove_scope(STREAMER, GIVEN, "bits:read")
    assert grants.for_channel(STREAMER) == [later]


@pytest.mark.parametrize(("revoked_at", "left"), [(99, GIVEN.scopes), (100, frozenset()), (101, frozenset())])
def test_a_revocation_takes_back_what_was_granted_before(
    grants: GrantsTable, revoked_at: int, left: frozenset[str]
) -> None:
    grants.record(STREAMER, GIVEN)
    grants.remove_scopes(STREAMER, STREAMER, revoked_at)
    assert grants.for_channel(STREAMER) == [Grant(STREAMER, 100, left)]


def test_a_moderators_grant_of_which_nothing_is_left_is_deleted(
    grants: GrantsTable, dynamodb: "DynamoDBClient"
) -> None:
    moderators = Grant(MODERATOR, 200, frozenset({"moderator:read:followers"}))
    grants.record(STREAMER, moderators)
    grants.remove_scope(STREAMER, moderators, "moderator:read:followers")
    assert dynamodb.scan(TableName="grants")["Items"] == []
    grants.record(STREAMER, moderators)
    grants.remove_scopes(STREAMER, MODERATOR, 201)
    assert dynamodb.scan(TableName="grants")["Items"] == []


def test_a_grant_that_was_never_given_cannot_be_taken_back(grants: GrantsTable) -> None:
    grants.remove_scope(STREAMER, GIVEN, "bits:read")
    grants.remove_scopes(STREAMER, STREAMER, 100)
    assert grants.for_channel(STREAMER) == []
