"""The one way to make a function: its package, its role, its log group."""

from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from cdk.acknowledge import acknowledge, wildcard_on
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

RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


ROLLOUT_POLICY = (
    "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AWSCodeDeployRoleForLambdaLimited]"
)


def metrics_namespace(settings: Settings) -> str:
    """Where the functions of a stage publish what they measure: two stages of an account stay apart."""
    return f"Fanfare/{settings.stage}"


class Function(lambda_.Function):
    """The function ``fanfare-<stage>-<job>``; its role holds what ``allow`` grants and its own log group."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        handler: str,
        environment: Mapping[str, str],
        timeout: Duration,
        memory_mb: int = 256,
        files: Files | None = None,
        network: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Make the function of ``handler`` (``lambdas.<capability>.<job>.handler``).

        ``files`` are added to its package; ``network`` are the VPC arguments of a function in a VPC;
        ``concurrency`` is how many may run at once, and is reserved for them.
        """
        self._settings = settings
        package = function_package(handler, settings.packages, files)
        self.job = handler.split(".")[-2]
        name = f"fanfare-{settings.stage}-{self.job}"
        # Made before the function, so that its role can be held to it.
        log_group = logs.LogGroup(
            scope,
            f"{id_}Logs",
            log_group_name=f"/aws/lambda/{name}",
            retention=RETENTION[settings.log_retention_days],
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = iam.Role(scope, f"{id_}Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        log_group.grant_write(role)
        if network:
            role.add_to_policy(iam.PolicyStatement(actions=[*NETWORK_ACTIONS], resources=["*"]))
            acknowledge(
                role,
                "IAM5[Resource::*]",
                because="Attaching a function to a VPC: its network interfaces have no names beforehand.",
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
            log_group=log_group,
            environment={
                "POWERTOOLS_SERVICE_NAME": self.job,
                "POWERTOOLS_METRICS_NAMESPACE": metrics_namespace(settings),
                "LOG_LEVEL": settings.log_level,
                **environment,
            },
            memory_size=memory_mb,
            timeout=timeout,
            reserved_concurrent_executions=concurrency,
            **(network or {}),
        )
        self._own_role = role

    def allow(self, *actions: str, on: str, any_because: str | None = None) -> None:
        """Grant the function ``actions`` on the resource ``on``, an ARN.

        ``any_because`` is the reason for a ``*`` in it, without which the synthesis stops.
        """
        self.add_to_role_policy(iam.PolicyStatement(actions=[*actions], resources=[on]))
        if any_because:
            acknowledge(self._own_role, wildcard_on(self, on), because=any_because)

    def entry(self) -> lambda_.IFunction:
        """What an API calls: with ``gradual_rollout`` an alias, which CodeDeploy moves to a new version.

        A tenth of the requests go to it for five minutes; if it fails then, all go back to the old one.
        """
        if not self._settings.gradual_rollout:
            return self
        alias = lambda_.Alias(self, "Live", alias_name="live", version=self.current_version)
        failing = cloudwatch.Alarm(
            self,
            "NewVersionFailing",
            alarm_description=f"The new version of {self.job} fails: its rollout is taken back.",
            metric=alias.metric_errors(period=Duration.minutes(1)),
            threshold=1,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        group = codedeploy.LambdaDeploymentGroup(
            self,
            "Rollout",
            alias=alias,
            deployment_config=codedeploy.LambdaDeploymentConfig.CANARY_10_PERCENT_5_MINUTES,
            alarms=[failing],
        )
        acknowledge(group.role, ROLLOUT_POLICY, because="AWS keeps it in step with what CodeDeploy calls.")
        return alias
