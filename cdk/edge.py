"""Edge: what CloudFront reads in us-east-1 only, whatever the stage's Region is.

It is in a stack of its own there. The application reads both ARNs from the stack's outputs, so both stacks
have to know their Region. CloudFormation does not protect these outputs as it does exports, which cannot
change while another stack imports them: a domain can be changed, and the firewall turned off. Hosted zones
are given by id and name: a synthesis looks nothing up and needs no credentials.
"""

from aws_cdk import CfnDeletionPolicy, CrossStackReferences, ReferenceStrength
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_wafv2 as waf
from constructs import Construct

from cdk.settings import HostedZone, Settings, Waf
from cdk.stage_stack import StageStack

REGION = "us-east-1"
# https://docs.aws.amazon.com/waf/latest/developerguide/aws-managed-rule-groups-baseline.html
MANAGED_RULES = ("AWSManagedRulesCommonRuleSet", "AWSManagedRulesKnownBadInputsRuleSet")


class EdgeStack(StageStack):
    """The site's certificate and firewall, each if the settings ask for it."""

    certificate: acm.ICertificate | None = None
    """The certificate of the site's domain, if it is made here."""
    web_acl_arn: str | None = None
    """ARN of the firewall's rules."""

    def __init__(self, scope: Construct, settings: Settings) -> None:
        super().__init__(scope, settings, "Edge", region=REGION, cross_region_references=True)
        domain = settings.domain
        if domain and domain.hosted_zone and not domain.certificate_arn:
            self.certificate = self._certificate(domain.name, domain.hosted_zone)
        if settings.waf:
            self.web_acl_arn = self._web_acl(settings.stage, settings.waf).attr_arn

    def _certificate(self, name: str, zone: HostedZone) -> acm.Certificate:
        certificate = acm.Certificate(
            self,
            "Certificate",
            domain_name=name,
            validation=acm.CertificateValidation.from_dns(hosted_zone(self, zone)),
        )
        CrossStackReferences.of(certificate).produce(ReferenceStrength.WEAK)
        resource = certificate.node.default_child
        assert isinstance(resource, acm.CfnCertificate)  # noqa: S101 -- it is
        # Another domain's certificate replaces it while CloudFront still uses it: it cannot be deleted then.
        resource.cfn_options.update_replace_policy = CfnDeletionPolicy.RETAIN
        resource.cfn_options.deletion_policy = CfnDeletionPolicy.DELETE
        return certificate

    def _web_acl(self, stage: str, settings: Waf) -> waf.CfnWebACL:
        """Guards the site and the reads; Twitch's deliveries go to the HTTP API directly, and are signed."""
        limit = waf.CfnWebACL.RateBasedStatementProperty(
            aggregate_key_type="IP", limit=settings.requests_per_five_minutes, evaluation_window_sec=300
        )
        web_acl = waf.CfnWebACL(
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
        CrossStackReferences.of(web_acl).produce(ReferenceStrength.WEAK)
        return web_acl


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
        # Each rule of the group keeps its own action.
        override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
        statement=waf.CfnWebACL.StatementProperty(managed_rule_group_statement=group),
        visibility_config=_visible(name),
    )


def _visible(name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=True
    )
