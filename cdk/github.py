"""How GitHub names a repository's workflows when they ask AWS for credentials."""

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

OIDC_PROVIDER = "token.actions.githubusercontent.com"


class Repository(BaseModel):
    """A repository at GitHub; names can be changed and taken again, ids cannot."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """``owner/name``."""
    owner_id: PositiveInt
    """The id of its owner."""
    id: PositiveInt
    """Its own id."""

    def subjects(self, context: str) -> list[str]:
        """The ``sub`` of its tokens for ``context``, such as ``environment:dev``, in both of GitHub's forms.

        With ids if the repository was made, renamed or transferred after 2026-07-14, or has opted in. A token
        has one of the forms, and GitHub decides which.
        https://docs.github.com/en/actions/concepts/security/openid-connect
        """
        owner, _, name = self.name.partition("/")
        return [f"repo:{owner}@{self.owner_id}/{name}@{self.id}:{context}", f"repo:{self.name}:{context}"]
