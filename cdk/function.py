"""The one way to make a function: its package, its role, its log group."""

from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk.acknowledge import acknowledge, wildcard_on
from cdk.log_group import log_group
from cdk.packaging import Files, function_package
from cdk.settings import Settings

# What a function needs to be attached to a VPC. EC2 offers no narrower resource for describing.
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions
NETWORK_ACTIONS = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)

ROLLBACK_ABOVE_PER_CENT = 5
ROLLOUT_POLICY = (
    "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited]"
)


def metrics_namespace(settings: Settings) -> str:
    """Where the functions of a stage publish what they measure: two stages of an account stay apart."""
    return f"Fanfare/{settings.stage}"


class Function(lambda_.Function):
    """The function ``fanfare-<stage>-<job>`` of the module ``lambdas/handlers/<job>.py``.

    Its role allows to write into its log group, and what the methods below add.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        environment: Mapping[str, str],
        timeout: Duration,
        memory_mb: int = 256,
        files: Files | None = None,
        network: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """``id_`` is the job with a capital letter; ``files`` are added to the package.

        ``network`` are the VPC arguments of a function in a VPC; ``concurrency`` is how many may run at once,
        reserved in the account's (with ``reserve_concurrency``).
        """
        self._scope, self._settings = scope, settings
        self.job = id_.lower()
        handler = f"lambdas.handlers.{self.job}.handler"
        package = function_package(handler, settings.packages, files)
        name = f"fanfare-{settings.stage}-{self.job}"
        # Made here, so that the role may write into this group only.
        logs = log_group(scope, f"{id_}Logs", settings, f"/aws/lambda/{name}")
        role = iam.Role(scope, f"{id_}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        logs.grant_write(role)
        if network:
            role.add_to_policy(iam.PolicyStatement(actions=[*NETWORK_ACTIONS], resources=["*"]))
            acknowledge(
                role,
                "IAM5[Resource::*]",
                because="Attaching to a VPC: the network interfaces' names are not known beforehand.",
            )
        super().__init__(
            scope,
            id_,
            function_name=name,
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_asset(str(package.path), asset_hash=package.digest),
            handler=handler,
            role=role,
            log_group=logs,
            environment={
                "POWERTOOLS_SERVICE_NAME": self.job,
                "POWERTOOLS_METRICS_NAMESPACE": metrics_namespace(settings),
                "LOG_LEVEL": settings.log_level,
                **environment,
            },
            memory_size=memory_mb,
            timeout=timeout,
            reserved_concurrent_executions=concurrency if settings.reserve_concurrency else None,
            **(network or {}),
        )
        self._own_role = role

    def allow(self, *actions: str, on: str, any_because: str | None = None) -> None:
        """Allow ``actions`` on the resource ``on``, an ARN.

        ``any_because`` is the reason for a ``*`` in it, without which the synthesis stops.
        """
        self.add_to_role_policy(iam.PolicyStatement(actions=[*actions], resources=[on]))
        if any_because:
            acknowledge(self._own_role, wildcard_on(self, on), because=any_because)

    def allow_reading(self, secret: secretsmanager.ISecret) -> None:
        """Allow to read the secret's value."""
        # A secret that is referred to by name: its ARN ends in six characters that AWS chose.
        arn = secret.secret_arn if secret.secret_full_arn else f"{secret.secret_arn}-??????"
        self.allow("secretsmanager:GetSecretValue", on=arn)

    def run_every(self, interval: Duration, *, retry_attempts: int) -> None:
        """Run on a schedule; a run that failed is repeated ``retry_attempts`` times."""
        events.Rule(
            self._scope,
            f"{self.node.id}Schedule",
            schedule=events.Schedule.rate(interval),
            targets=[targets.LambdaFunction(self, retry_attempts=retry_attempts)],
        )

    def entry(self) -> lambda_.IFunction:
        """What an API calls: with ``gradual_rollout`` an alias, which CodeDeploy moves to a new version.

        For five minutes the new version gets a tenth of the requests; if it fails, it gets none.
        """
        if not self._settings.gradual_rollout:
            return self
        alias = lambda_.Alias(self, "Live", alias_name="live", version=self.current_version)
        failing = cloudwatch.Alarm(
            self,
            "NewVersionFailing",
            alarm_description=f"The new version of {self.job} fails: CodeDeploy goes back to the old one.",
            metric=self._share_of_errors(alias),
            threshold=ROLLBACK_ABOVE_PER_CENT,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            # One minute may be chance.
            evaluation_periods=5,
            datapoints_to_alarm=2,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        group = codedeploy.LambdaDeploymentGroup(
            self,
            "Rollout",
            alias=alias,
            deployment_config=codedeploy.LambdaDeploymentConfig.CANARY_10_PERCENT_5_MINUTES,
            alarms=[failing],
        )
        acknowledge(group.role, ROLLOUT_POLICY, because="AWS updates it when CodeDeploy calls more.")
        return alias

    def _share_of_errors(self, alias: lambda_.Alias) -> cloudwatch.MathExpression:
        """How many in a hundred requests the alias's newest version fails, not the one that it replaces.

        https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
        """
        dimensions = {
            "FunctionName": self.function_name,
            "Resource": f"{self.function_name}:{alias.alias_name}",
            "ExecutedVersion": alias.version.version,
        }

        def counted(name: str) -> cloudwatch.Metric:
            return cloudwatch.Metric(
                namespace="AWS/Lambda",
                metric_name=name,
                dimensions_map=dimensions,
                statistic="Sum",
                period=Duration.minutes(1),
            )

        return cloudwatch.MathExpression(
            expression="100 * errors / requests",
            using_metrics={"errors": counted("Errors"), "requests": counted("Invocations")},
            period=Duration.minutes(1),
            label="errors, per cent",
        )
