"""The pipeline's roles: what GitHub's workflows may do in the account, and which workflow may do it.

An app of its own, ``make pipeline REPOSITORY=owner/name``: a pipeline that deploys its own roles could give
itself every permission. The workflows get short-lived credentials by OpenID Connect; GitHub stores none.
https://docs.github.com/en/actions/how-tos/secure-your-work/security-harden-deployments/oidc-in-aws
"""

import sys
from collections.abc import Mapping
from typing import Any

from aws_cdk import App, BootstraplessSynthesizer, CfnOutput, Stack, Validations
from aws_cdk import aws_iam as iam
from cdk_nag import AwsSolutionsChecks
from constructs import Construct
from pydantic import BaseModel, ConfigDict, ValidationError

from cdk import settings
from cdk.acknowledge import acknowledge, wildcard_on
from cdk.edge import REGION as EDGE_REGION
from cdk.github import OIDC_PROVIDER, Repository
from cdk.settings import Settings, SettingsError

# https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html
BOOTSTRAP_ROLE = "arn:{partition}:iam::{account}:role/cdk-{qualifier}-{role}-role-{account}-{region}"


class Pipeline(BaseModel):
    """The settings of the pipeline, from the CDK context."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    repository: Repository
    """The repository at GitHub whose workflows deploy."""
    stages: tuple[str, ...] = ("dev", "prod")
    """The stages in this account, each with an environment of its name at GitHub."""
    provider_arn: str | None = None
    """The account's OpenID Connect provider for GitHub; an account can have one. Made if not given."""


class PipelineStack(Stack):
    """One role that compares, for pull requests, and for each stage one that deploys, for its environment."""

    def __init__(self, scope: Construct, pipeline: Pipeline, stages: list[Settings]) -> None:
        super().__init__(
            scope,
            "Fanfare-Pipeline",
            description="What GitHub's workflows may do",
            # Deployed with the operator's own credentials, whatever the stages are bootstrapped with.
            synthesizer=BootstraplessSynthesizer(),
        )
        self._repository = pipeline.repository
        self._provider = pipeline.provider_arn or self._make_provider()
        compare = self._role("Diff", "pull_request", "Compares a pull request with what is deployed")
        self._let_assume(compare, "lookup", stages)
        for stage in stages:
            name = stage.stage
            deploy = self._role(name.capitalize(), f"environment:{name}", f"Deploys {name} and tries it")
            for role in ("deploy", "file-publishing", "lookup"):
                self._let_assume(deploy, role, [stage])
            self._let_deploy_and_smoke(deploy, stage)

    def _make_provider(self) -> str:
        provider = iam.OidcProviderNative(
            self, "GitHub", url=f"https://{OIDC_PROVIDER}", client_ids=["sts.amazonaws.com"]
        )
        return provider.oidc_provider_arn

    def _role(self, id_: str, context: str, description: str) -> iam.Role:
        """A role for the repository's workflows that run in ``context``, and for no others.

        https://docs.github.com/en/actions/reference/security/oidc#example-subject-claims
        """
        claims = {
            f"{OIDC_PROVIDER}:aud": "sts.amazonaws.com",
            f"{OIDC_PROVIDER}:sub": self._repository.subjects(context),
        }
        role = iam.Role(
            self,
            id_,
            description=description,
            assumed_by=iam.WebIdentityPrincipal(self._provider, {"StringEquals": claims}),
        )
        CfnOutput(self, f"{id_}RoleArn", value=role.role_arn)
        return role

    def _let_assume(self, role: iam.Role, bootstrap_role: str, stages: list[Settings]) -> None:
        """Let ``role`` assume a role of the stages' bootstrap stacks, in each of the stages' Regions."""
        names = {"partition": self.partition, "account": self.account, "role": bootstrap_role}
        roles = {
            BOOTSTRAP_ROLE.format(**names, qualifier=stage.bootstrap_qualifier, region=region)
            for stage in stages
            for region in (stage.region or self.region, EDGE_REGION)
        }
        role.add_to_policy(iam.PolicyStatement(actions=["sts:AssumeRole"], resources=sorted(roles)))

    def _let_deploy_and_smoke(self, role: iam.Role, stage: Settings) -> None:
        """Let ``role`` do what ``make deploy`` and ``make smoke`` do themselves."""

        def arn(service: str, resource: str) -> str:
            return f"arn:{self.partition}:{service}:{stage.region or self.region}:{self.account}:{resource}"

        name = f"fanfare-{stage.stage}"
        stack = arn("cloudformation", f"stack/Fanfare-{stage.stage}-App/*")
        secret = arn("secretsmanager", "secret:WebhookSecret*")
        origin = arn("secretsmanager", "secret:HttpApiOriginSecret*")
        twitch = arn("secretsmanager", f"secret:{stage.twitch_secret_name}-??????")
        of_the_stage = {"StringEquals": {"secretsmanager:ResourceTag/Stage": stage.stage}}
        for actions, resource, conditions in (
            (["cloudformation:DescribeStacks"], stack, None),
            (["dynamodb:PutItem"], arn("dynamodb", f"table/{name}-tickets"), None),
            (["lambda:InvokeFunction"], arn("lambda", f"function:{name}-archiver"), None),
            (["lambda:GetFunctionConfiguration"], arn("lambda", f"function:{name}-webhook"), None),
            (["secretsmanager:DescribeSecret"], twitch, None),
            (["secretsmanager:DescribeSecret"], origin, of_the_stage),
            (["secretsmanager:GetSecretValue"], secret, of_the_stage),
            (["sns:ListSubscriptionsByTopic"], arn("sns", f"{name}-events"), None),
            *(
                (["sqs:GetQueueAttributes"], arn("sqs", f"{name}-{queue}{suffix}"), None)
                for queue in ("record", "broadcast")
                for suffix in ("", "-dead-letters")
            ),
        ):
            role.add_to_policy(
                iam.PolicyStatement(actions=actions, resources=[resource], conditions=conditions)
            )
        acknowledge(
            role,
            wildcard_on(role, stack),
            wildcard_on(role, secret),
            wildcard_on(role, origin),
            because="CloudFormation ends the names; a condition allows the stage's secrets only.",
        )


def load(context: Mapping[str, Any]) -> tuple[Pipeline, list[Settings]]:
    """Read the pipeline's settings and those of its stages.

    Raises SettingsError, which names the setting, for anything missing or wrong.
    """
    values = {
        "repository": {
            "name": context.get("repository"),
            "owner_id": context.get("owner-id"),
            "id": context.get("repository-id"),
        },
        "stages": str(context.get("pipeline-stages", "dev,prod")).split(","),
        "provider_arn": context.get("oidc-provider"),
    }
    try:
        pipeline = Pipeline.model_validate(values)
    except ValidationError as error:
        problems = [
            f"  {'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
            for found in error.errors(include_url=False)
        ]
        raise SettingsError("\n".join(["wrong settings for the pipeline:", *problems])) from None
    return pipeline, [settings.load({**context, "stage": stage}) for stage in pipeline.stages]


def main() -> None:
    """Build the pipeline's stack; a wrong setting ends in one message, not a traceback."""
    app = App()
    try:
        PipelineStack(app, *load(app.node.get_all_context()))
    except SettingsError as error:
        sys.exit(f"fanfare: {error}")
    Validations.of(app).add_plugins(AwsSolutionsChecks())
    app.synth()


if __name__ == "__main__":
    main()
