"""The stacks of a stage: the data, what CloudFront reads in us-east-1 only, and the application."""

from aws_cdk import App, Tags
from constructs import Construct

from cdk.alarm_topic import AlarmTopic
from cdk.data import DataStack
from cdk.edge import EdgeStack
from cdk.history import History
from cdk.http_api import HttpApi
from cdk.identity import IDENTITIES, Identity
from cdk.ingest import Ingest
from cdk.live import Live
from cdk.monitoring import Monitoring
from cdk.settings import Settings
from cdk.site import Site
from cdk.stage_stack import StageStack
from cdk.subscriptions import Subscriptions


def build(app: App, settings: Settings) -> None:
    """Add the stage's stacks to ``app``."""
    data = DataStack(app, settings)
    edge = EdgeStack(app, settings) if settings.needs_edge else None
    AppStack(app, settings, data, edge)
    # CDK would tag the proxy's target group too, which CloudFormation refuses.
    untagged = ["AWS::RDS::DBProxyTargetGroup"]
    Tags.of(app).add("Project", "fanfare", exclude_resource_types=untagged)
    Tags.of(app).add("Stage", settings.stage, exclude_resource_types=untagged)


class AppStack(StageStack):
    """What a release replaces: the functions, the APIs between them, and the site."""

    def __init__(self, scope: Construct, settings: Settings, data: DataStack, edge: EdgeStack | None) -> None:
        super().__init__(scope, settings, "App", cross_region_references=True)
        api = HttpApi(self, "HttpApi", settings)
        ingest = Ingest(self, "Ingest", settings, api=api, data=data)
        live = Live(self, "Live", settings, topic=ingest.topic, data=data)
        history = History(self, "History", settings, api=api, topic=ingest.topic, data=data)
        identity: Identity = IDENTITIES[settings.sign_in](self, "Identity", settings)
        site = Site(
            self,
            "Site",
            settings,
            api=api,
            edge=edge,
            connects_to=[live.url, *identity.connects_to],
            uncached=identity.paths,
        )
        identity.serve(site.url, api)
        subscriptions = Subscriptions(
            self, "Subscriptions", settings, api=api, identity=identity, ingest=ingest, live=live, data=data
        )
        site.publish(identity.configuration)
        history.migrate_after(ingest, live, identity, site, subscriptions)
        Monitoring(self, "Monitoring", settings, http_api=api, websocket_api=live.api, data=data)
        AlarmTopic(self, "Alarms", settings)
