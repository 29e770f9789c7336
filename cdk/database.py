"""The database of events: Aurora in a VPC of its own, or a PostgreSQL that exists already."""

from pathlib import Path
from typing import Any

import certifi
from aws_cdk import CustomResource, Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_rds as rds
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk.acknowledge import acknowledge
from cdk.function import Function
from cdk.log_group import log_group
from cdk.packaging import Files, certificate_bundle
from cdk.settings import DATABASE_VERSION, Aurora, ExternalDatabase, Settings

NAME = "fanfare"
USER = "fanfare"
PORT = 5432
CERTIFICATES = "rds-ca.pem"


class AuroraServerless(Construct):
    """Aurora PostgreSQL Serverless v2 with IAM authentication over verified TLS.

    Its subnets have no way out, except to one bucket of S3.
    """

    environment: dict[str, str]
    """Environment variables: where the database is and how to sign in."""
    shared_environment: dict[str, str]
    """The same for functions of which many run at once, through the proxy if there is one."""
    files: Files
    """What a function that connects needs in its package."""
    network: dict[str, Any] | None
    """VPC arguments of a function that connects."""
    network_with_s3: dict[str, Any] | None
    """VPC arguments of a function that connects and also reaches S3."""
    cluster: rds.IDatabaseCluster | None
    """What the dashboard and an alarm watch; None if the database is not a part of the stage."""

    def __init__(
        self, scope: Construct, id_: str, settings: Settings, aurora: Aurora, exports: s3.IBucket
    ) -> None:
        super().__init__(scope, id_)
        isolated = ec2.SubnetConfiguration(
            name="Database", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=24
        )
        vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=2,
            nat_gateways=0,
            subnet_configuration=[isolated],
            # Nothing is in the default group. To empty it CDK would bring a function whose log never expires.
            restrict_default_security_group=False,
        )
        acknowledge(vpc, "VPC7", because="It has no way in, and one way out: to one bucket.")
        subnets = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        self.cluster = self._cluster = self._make_cluster(settings, aurora, vpc, subnets)
        # The functions that may connect: they reach the database and nothing else.
        clients = self._security_group("Clients", vpc, "Functions that reach the database")
        self._cluster.connections.allow_default_port_from(clients)
        self._make_role(settings)
        exporters = self._make_exporter_group(vpc, subnets, exports)
        self.network = {"vpc": vpc, "vpc_subnets": subnets, "security_groups": [clients]}
        self.network_with_s3 = {**self.network, "security_groups": [clients, exporters]}
        self.files = {CERTIFICATES: certificate_bundle()}
        self.environment = self.shared_environment = {
            "DATABASE_HOST": self._cluster.cluster_endpoint.hostname,
            "DATABASE_PORT": str(PORT),
            "DATABASE_NAME": NAME,
            "DATABASE_USER": USER,
            "DATABASE_CA_FILE": CERTIFICATES,
        }
        self._proxy: rds.DatabaseProxy | None = None
        if aurora.proxy:
            self._proxy = self._make_proxy(vpc, subnets, clients)
            # A proxy's certificate is signed by Amazon's public authorities, an instance's by those of RDS.
            self.files[CERTIFICATES] += certifi.contents().encode()
            self.shared_environment = {
                **self.environment,
                "DATABASE_HOST": self._proxy.endpoint,
                "DATABASE_PROXY": "1",
            }

    def grant_connect(self, function: Function, *, shared: bool) -> None:
        """Let ``function`` sign in as the role ``fanfare``, and as no other."""
        server = self._proxy if shared and self._proxy else self._cluster
        server.grant_connect(function, USER)

    def _make_cluster(
        self, settings: Settings, aurora: Aurora, vpc: ec2.IVpc, subnets: ec2.SubnetSelection
    ) -> rds.DatabaseCluster:
        # Only a capacity of 0 may pause.
        pause = Duration.minutes(aurora.auto_pause_minutes) if aurora.min_capacity == 0 else None
        cluster = rds.DatabaseCluster(
            self,
            "Cluster",
            engine=rds.DatabaseClusterEngine.aurora_postgres(
                version=rds.AuroraPostgresEngineVersion.of(DATABASE_VERSION, DATABASE_VERSION.split(".")[0])
            ),
            # An upgrade that AWS made by itself would make the template's version a downgrade.
            writer=rds.ClusterInstance.serverless_v2("Writer", auto_minor_version_upgrade=False),
            readers=[
                rds.ClusterInstance.serverless_v2(
                    f"Reader{number}", scale_with_writer=number == 1, auto_minor_version_upgrade=False
                )
                for number in range(1, aurora.readers + 1)
            ],
            serverless_v2_min_capacity=aurora.min_capacity,
            serverless_v2_max_capacity=aurora.max_capacity,
            serverless_v2_auto_pause_duration=pause,
            vpc=vpc,
            vpc_subnets=subnets,
            port=PORT,
            default_database_name=NAME,
            credentials=rds.Credentials.from_generated_secret("master"),
            iam_authentication=True,
            # For the database role, below; an administrator has no other way into the VPC.
            enable_data_api=True,
            storage_encrypted=True,
            parameters={"rds.force_ssl": "1"},
            backup=rds.BackupProps(retention=Duration.days(aurora.backup_days)),
            deletion_protection=settings.retain_data,
            removal_policy=RemovalPolicy.SNAPSHOT if settings.retain_data else RemovalPolicy.DESTROY,
        )
        if not settings.retain_data:
            acknowledge(cluster, "RDS10", because="This stage's data may be lost (retain_data).")
        return cluster

    def _make_proxy(
        self, vpc: ec2.IVpc, subnets: ec2.SubnetSelection, clients: ec2.SecurityGroup
    ) -> rds.DatabaseProxy:
        """A pool of connections in front of the cluster; IAM authentication on both of its sides."""
        group = self._security_group("ProxyGroup", vpc, "The proxy of the database")
        role = iam.Role(self, "ProxyRole", assumed_by=iam.ServicePrincipal("rds.amazonaws.com"))
        self._cluster.grant_connect(role, USER)
        proxy = rds.DatabaseProxy(
            self,
            "Proxy",
            role=role,
            proxy_target=rds.ProxyTarget.from_cluster(self._cluster),
            default_auth_scheme=rds.DefaultAuthScheme.IAM_AUTH,
            iam_auth=True,
            require_tls=True,
            # The rest is for direct connections: migrations, upkeep, an administrator.
            max_connections_percent=80,
            # Less than the query function's timeout, so that a busy database is answered with a 503.
            borrow_timeout=Duration.seconds(5),
            vpc=vpc,
            vpc_subnets=subnets,
            security_groups=[group],
        )
        group.connections.allow_from(clients, ec2.Port.tcp(PORT))
        return proxy

    def _make_exporter_group(
        self, vpc: ec2.Vpc, subnets: ec2.SubnetSelection, exports: s3.IBucket
    ) -> ec2.SecurityGroup:
        """The group of the functions that reach S3, through a gateway endpoint, which is free."""
        endpoint = vpc.add_gateway_endpoint(
            "S3", service=ec2.GatewayVpcEndpointAwsService.S3, subnets=[subnets]
        )
        # The functions' roles say who may do what; the endpoint leads to this bucket only.
        endpoint.add_to_policy(
            iam.PolicyStatement(
                principals=[iam.AnyPrincipal()],
                actions=["s3:AbortMultipartUpload", "s3:GetObject", "s3:PutObject"],
                resources=[exports.arn_for_objects("*")],
            )
        )
        exporters = self._security_group("Exporters", vpc, "Functions that reach S3")
        # The only route out of these subnets leads to the endpoint.
        exporters.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "S3")
        return exporters

    def _security_group(self, id_: str, vpc: ec2.IVpc, description: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(self, id_, vpc=vpc, allow_all_outbound=False, description=description)

    def _make_role(self, settings: Settings) -> None:
        """Make the database role that functions sign in as; the Data API works from outside the VPC."""
        secret = self._cluster.secret
        assert secret is not None  # noqa: S101 -- generated credentials have one
        acknowledge(
            self._cluster.node.find_child("Secret"),
            "SMG4",
            because="Used for this statement only, by the Data API; rotating it needs a way out of the VPC.",
        )
        name = f"fanfare-{settings.stage}-database-role"
        logs = log_group(self, "RoleLogs", settings, f"/aws/lambda/{name}")
        maker = lambda_.Function(
            self,
            "RoleMaker",
            function_name=name,
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            code=lambda_.Code.from_inline(Path(__file__).with_name("database_role.py").read_text()),
            handler="index.handler",
            role=iam.Role(self, "RoleMakerRole", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com")),
            log_group=logs,
            environment={
                "CLUSTER_ARN": self._cluster.cluster_arn,
                "SECRET_ARN": secret.secret_arn,
                "DATABASE": NAME,
            },
            timeout=Duration.minutes(2),
        )
        logs.grant_write(maker)
        for action, resource in (
            ("rds-data:ExecuteStatement", self._cluster.cluster_arn),
            ("secretsmanager:GetSecretValue", secret.secret_arn),
        ):
            maker.add_to_role_policy(iam.PolicyStatement(actions=[action], resources=[resource]))
        role = CustomResource(
            self,
            "Role",
            service_token=maker.function_arn,
            resource_type="Custom::DatabaseRole",
            properties={"Statement": Path(__file__).with_name("database_role.sql").read_text()},
            service_timeout=Duration.minutes(3),
        )
        role.node.add_dependency(self._cluster, maker)


class External(Construct):
    """A PostgreSQL that exists already, reached with the password in a secret, without a VPC."""

    def __init__(self, scope: Construct, id_: str, external: ExternalDatabase) -> None:
        super().__init__(scope, id_)
        self._secret = secretsmanager.Secret.from_secret_name_v2(self, "Password", external.secret_name)
        self.network = self.network_with_s3 = self.cluster = None
        self.files = {}
        self.environment = self.shared_environment = {
            "DATABASE_HOST": external.host,
            "DATABASE_PORT": str(external.port),
            "DATABASE_NAME": external.name,
            "DATABASE_USER": external.user,
            "DATABASE_SECRET_ARN": self._secret.secret_arn,
        }
        if external.ca_file:
            self.files[CERTIFICATES] = external.ca_file.read_bytes()
            self.environment["DATABASE_CA_FILE"] = CERTIFICATES

    def grant_connect(self, function: Function, *, shared: bool) -> None:  # noqa: ARG002 -- one way in
        """Let ``function`` read the password."""
        function.allow_reading(self._secret)


Database = AuroraServerless | External
"""What a function needs to reach the database, and the grant to do so."""


def database(scope: Construct, id_: str, settings: Settings, *, exports: s3.IBucket) -> Database:
    """The database of the settings; one in a VPC has a way to the bucket ``exports``."""
    if isinstance(settings.database, ExternalDatabase):
        return External(scope, id_, settings.database)
    return AuroraServerless(scope, id_, settings, settings.database, exports)
