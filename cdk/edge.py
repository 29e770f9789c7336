"""Edge: what CloudFront reads in us-east-1 only, whatever the stage's Region is."""

from aws_cdk import Environment, IStackSynthesizer, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from cdk.settings import HostedZone, Settings, Waf

REGION = "us-east-1"
# https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-baseline.html
MANAGED_RULES = ("AWSManagedRulesCommonRuleSet", "AWSManagedRulesKnownBadInputsRuleSet")


class EdgeStack(Stack):
    """The site's certificate and the firewall before it, as far as the settings ask for them."""

    certificate: acm.ICertificate | None = None
    """The certificate of the site's domain, if it is made here."""
    web_acl_arn: str | None = None
    """ARN of the firewall's rules."""

    def __init__(self, scope: Construct, settings: Settings, synthesizer: IStackSynthesizer | None) -> None:
        super().__init__(
            scope,
            f"Fanfare-{settings.stage}-Edge",
            env=Environment(account=settings.account, region=REGION),
            synthesizer=synthesizer,
            cross_region_references=True,
        )
        domain = settings.domain
        if domain and domain.hosted_zone and not domain.certificate_arn:
            self.certificate = acm.Certificate(
                self,
                "Certificate",
                domain_name=domain.name,
                validation=acm.CertificateValidation.from_dns(hosted_zone(self, domain.hosted_zone)),
            )
        if settings.waf:
            self.web_acl_arn = self._web_acl(settings.stage, settings.waf).attr_arn

    def _web_acl(self, stage: str, settings: Waf) -> waf.CfnWebACL:
        """Twitch's deliveries do not pass it: they go to the HTTP API, and carry a signature."""
        limit = waf.CfnWebACL.RateBasedStatementProperty(
            aggregate_key_type="IP", limit=settings.requests_per_five_minutes, evaluation_window_sec=300
        )
        return waf.CfnWebACL(
            self,
            "WebAcl",
            name=f"fanfare-{stage}",
            scope="CLOUDFRONT",
            default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_visible(f"fanfare-{stage}"),
            rules=[
                waf.CfnWebACL.RuleProperty(
                    name="RequestLimit",
                    priority=0,
                    action=waf.CfnWebACL.RuleActionProperty(block={}),
                    statement=waf.CfnWebACL.StatementProperty(rate_based_statement=limit),
                    visibility_config=_visible("RequestLimit"),
                ),
                *(_managed(name, priority) for priority, name in enumerate(MANAGED_RULES, start=1)),
            ],
        )


def hosted_zone(scope: Construct, zone: HostedZone) -> route53.IHostedZone:
    """The zone of the settings, without looking it up."""
    return route53.HostedZone.from_hosted_zone_attributes(
        scope, "HostedZone", hosted_zone_id=zone.id, zone_name=zone.name
    )


def _managed(name: str, priority: int) -> waf.CfnWebACL.RuleProperty:
    group = waf.CfnWebACL.ManagedRuleGroupStatementProperty(vendor_name="AWS", name=name)
    return waf.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        # Each rule of the group does what AWS says it does.
        override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
        statement=waf.CfnWebACL.StatementProperty(managed_rule_group_statement=group),
        visibility_config=_visible(name),
    )


def _visible(name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=True
    )
