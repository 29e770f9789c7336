"""Site: the single-page app in a private bucket behind CloudFront, which also caches ``/api/*``."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aws_cdk import Duration, Fn, RemovalPolicy, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_deployment as deployment
from constructs import Construct

from cdk import packaging
from cdk.acknowledge import BASIC_EXECUTION, acknowledge, wildcard_on
from cdk.edge import EdgeStack, hosted_zone
from cdk.http_api import HttpApi
from cdk.output import output
from cdk.settings import HostedZone, Settings

ROUTES = Path(__file__).with_name("site_routes.js")
CONFIGURATION = "config.json"
IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
# By default CloudFront caches these answers for 10 seconds, `no-store` or not: longer than a read.
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/custom-error-pages-expiration.html
FAILURES = (500, 502, 503, 504)


class Site(Construct):
    """The bucket, the distribution in front of it, and the headers of its answers."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        api: HttpApi,
        edge: EdgeStack | None,
        connects_to: list[str],
    ) -> None:
        """``edge`` has the firewall and the certificate, if any.

        The page may open connections to its own origin and to ``connects_to``.
        """
        super().__init__(scope, id_)
        self._settings = settings
        self._built = packaging.site()
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            # Its content is built from the sources.
            removal_policy=RemovalPolicy.DESTROY,
            auto_delete_objects=True,
        )
        acknowledge(
            self.bucket,
            "S1",
            because="Only CloudFront reads it, and its content is public.",
        )
        headers = self._response_headers(connects_to)
        api_origin = self._api_origin(api)
        # The local cloud has no TLS.
        secure = settings.addresses.site.startswith("https:")
        policies = cloudfront.ViewerProtocolPolicy
        domain = settings.domain
        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment=f"Fanfare {settings.stage}",
            default_root_object="index.html",
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            price_class=cloudfront.PriceClass.PRICE_CLASS_100,
            # With CloudFront's own certificate it cannot be set.
            minimum_protocol_version=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021 if domain else None,
            domain_names=[domain.name] if domain else None,
            certificate=self._certificate(edge),
            web_acl_id=edge.web_acl_arn if edge else None,
            error_responses=[
                cloudfront.ErrorResponse(http_status=status, ttl=Duration.seconds(2)) for status in FAILURES
            ],
            default_behavior=cloudfront.BehaviorOptions(
                origin=origins.S3BucketOrigin.with_origin_access_control(self.bucket),
                viewer_protocol_policy=policies.REDIRECT_TO_HTTPS if secure else policies.ALLOW_ALL,
                cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
                response_headers_policy=headers,
                compress=True,
                function_associations=[
                    cloudfront.FunctionAssociation(
                        event_type=cloudfront.FunctionEventType.VIEWER_REQUEST,
                        function=cloudfront.Function(
                            self,
                            "Routes",
                            code=cloudfront.FunctionCode.from_inline(self._routes()),
                            runtime=cloudfront.FunctionRuntime.JS_2_0,
                        ),
                    )
                ],
            ),
        )
        viewers = policies.HTTPS_ONLY if secure else policies.ALLOW_ALL
        # CloudFront takes the first pattern that matches: these are never cached, other reads are.
        for path in ("/api/channels/*/watch", "/api/overlays/*"):
            self.distribution.add_behavior(
                path,
                api_origin,
                viewer_protocol_policy=viewers,
                allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
                cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
                origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
                response_headers_policy=headers,
            )
        self.distribution.add_behavior(
            "/api/*",
            api_origin,
            viewer_protocol_policy=viewers,
            allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD_OPTIONS,
            cache_policy=self._reads_policy(),
            response_headers_policy=headers,
            compress=True,
        )
        amazon_name = self.distribution.distribution_domain_name
        self.url = settings.addresses.site.format(
            domain=domain.name if domain else amazon_name, label=Fn.select(0, Fn.split(".", amazon_name))
        )
        output(self, "SiteUrl", self.url)
        output(self, "SiteBucketName", self.bucket.bucket_name)
        output(self, "DistributionId", self.distribution.distribution_id)
        self._acknowledge_distribution()
        if domain and domain.hosted_zone:
            self._add_records(domain.name, domain.hosted_zone)

    def publish(self, identity: dict[str, Any]) -> None:
        """Put the built page into the bucket, with a ``config.json`` that says how to sign in."""
        twitch = self._settings.twitch
        configuration = {
            "stage": self._settings.stage,
            "identity": identity,
            "twitch": {"player_url": twitch.player_url, "chat_url": twitch.chat_url},
        }
        page = deployment.Source.asset(str(self._built.path), asset_hash=self._built.digest)
        # A file with a digest in its name never changes; open pages may still load former ones.
        assets = deployment.BucketDeployment(
            self,
            "Assets",
            sources=[page],
            destination_bucket=self.bucket,
            exclude=["*"],
            include=["assets/*"],
            prune=False,
            cache_control=[deployment.CacheControl.from_string(IMMUTABLE)],
            # One function of CDK's serves both; the first one makes it.
            log_group=logs.LogGroup(
                self,
                "DeploymentLogs",
                retention=logs.RetentionDays.ONE_WEEK,
                removal_policy=RemovalPolicy.DESTROY,
            ),
        )
        pages = deployment.BucketDeployment(
            self,
            "Pages",
            sources=[page, deployment.Source.json_data(CONFIGURATION, configuration)],
            destination_bucket=self.bucket,
            exclude=["assets/*"],
            cache_control=[deployment.CacheControl.from_string(REVALIDATE)],
            distribution=self.distribution,
            distribution_paths=["/", "/index.html", f"/{CONFIGURATION}"],
        )
        pages.node.add_dependency(assets)
        self._acknowledge_uploader(assets)

    def _routes(self) -> str:
        """The function that tells the page's addresses from the files that are published beside it."""
        names = [CONFIGURATION, *(path.name for path in self._built.path.iterdir() if path.is_file())]
        return f"var FILES = {json.dumps(sorted(f'/{name}' for name in names))};\n{ROUTES.read_text()}"

    def _acknowledge_distribution(self) -> None:
        acknowledge(self.distribution, "CFR1", because="Streamers and viewers are everywhere.")
        acknowledge(
            self.distribution,
            "CFR3",
            because="Viewers' addresses are not collected; CloudFront has metrics, and the API logs.",
        )
        if self._settings.waf is None:
            acknowledge(self.distribution, "CFR2", because="Switched off for this stage (waf).")
        if self._settings.domain is None:
            acknowledge(
                self.distribution,
                "CFR4",
                because="The minimum can be set only with a certificate of one's own (domain).",
            )

    def _acknowledge_uploader(self, uploaded: deployment.BucketDeployment) -> None:
        """Acknowledge what CDK's function for uploads may do."""
        stack = Stack.of(self)
        uploader = uploaded.handler_role.node.scope
        assert uploader is not None  # noqa: S101 -- the role is the function's
        qualifier = stack.synthesizer.bootstrap_qualifier or self._settings.bootstrap_qualifier
        assets = f"arn:{stack.partition}:s3:::cdk-{qualifier}-assets-{stack.account}-{stack.region}"
        actions = ("Abort", "DeleteObject", "GetBucket", "GetObject", "List")
        acknowledge(
            uploader,
            "L1",
            "IAM5[Resource::*]",
            f"IAM4[Policy::{BASIC_EXECUTION}]",
            wildcard_on(self, f"{assets}/*"),
            wildcard_on(self, f"{self.bucket.bucket_arn}/*"),
            *(f"IAM5[Action::s3:{action}*]" for action in actions),
            because="CDK's own function: it copies the assets into the site's bucket, and invalidates "
            "CloudFront's copies, which has no narrower resource.",
        )

    def _certificate(self, edge: EdgeStack | None) -> acm.ICertificate | None:
        domain = self._settings.domain
        if domain and domain.certificate_arn:
            return acm.Certificate.from_certificate_arn(self, "Certificate", domain.certificate_arn)
        return edge.certificate if edge else None

    def _add_records(self, name: str, zone: HostedZone) -> None:
        """Make the domain an alias of the distribution, over IPv4 and IPv6."""
        found = hosted_zone(self, zone)
        target = route53.RecordTarget.from_alias(targets.CloudFrontTarget(self.distribution))
        route53.ARecord(self, "Ipv4", zone=found, record_name=f"{name}.", target=target)
        route53.AaaaRecord(self, "Ipv6", zone=found, record_name=f"{name}.", target=target)

    def _api_origin(self, api: HttpApi) -> origins.HttpOrigin:
        origin = self._settings.addresses.api_origin
        names = {"api_id": api.api_id, "region": Stack.of(self).region}
        https, policies = origin.scheme == "https", cloudfront.OriginProtocolPolicy
        return origins.HttpOrigin(
            origin.host.format(**names),
            protocol_policy=policies.HTTPS_ONLY if https else policies.HTTP_ONLY,
            https_port=origin.port if https else None,
            http_port=None if https else origin.port,
            origin_path=origin.path.format(**names) or None,
            custom_headers=api.origin_headers(),
        )

    def _reads_policy(self) -> cloudfront.CachePolicy:
        """Cache only what the API's ``Cache-Control`` allows, and as long as that says."""
        return cloudfront.CachePolicy(
            self,
            "Reads",
            comment="As the API's s-maxage says",
            min_ttl=Duration.seconds(0),
            default_ttl=Duration.seconds(0),
            max_ttl=Duration.seconds(60),
            query_string_behavior=cloudfront.CacheQueryStringBehavior.all(),
            enable_accept_encoding_gzip=True,
            enable_accept_encoding_brotli=True,
        )

    def _response_headers(self, connects_to: list[str]) -> cloudfront.ResponseHeadersPolicy:
        return cloudfront.ResponseHeadersPolicy(
            self,
            "Headers",
            security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
                content_security_policy=cloudfront.ResponseHeadersContentSecurityPolicy(
                    content_security_policy=self._content_security_policy(connects_to), override=True
                ),
                content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
                frame_options=cloudfront.ResponseHeadersFrameOptions(
                    frame_option=cloudfront.HeadersFrameOption.DENY, override=True
                ),
                # Twitch's embeds check the site that they are on, so they need its origin.
                referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                    referrer_policy=cloudfront.HeadersReferrerPolicy.STRICT_ORIGIN_WHEN_CROSS_ORIGIN,
                    override=True,
                ),
                strict_transport_security=cloudfront.ResponseHeadersStrictTransportSecurity(
                    access_control_max_age=Duration.days(365), include_subdomains=True, override=True
                ),
            ),
            custom_headers_behavior=cloudfront.ResponseCustomHeadersBehavior(
                custom_headers=[
                    cloudfront.ResponseCustomHeader(
                        header="Permissions-Policy", value=self._permissions_policy(), override=True
                    )
                ]
            ),
        )

    def _content_security_policy(self, connects_to: list[str]) -> str:
        twitch = self._settings.twitch
        directives = {
            "default-src": ["'none'"],
            "script-src": ["'self'"],
            "style-src": ["'self'"],
            "font-src": ["'self'"],
            "manifest-src": ["'self'"],
            "img-src": ["'self'", "data:", *twitch.image_origins],
            "connect-src": ["'self'", *connects_to],
            "frame-src": sorted({_origin(twitch.player_url), _origin(twitch.chat_url)}),
            "base-uri": ["'none'"],
            "form-action": ["'self'"],
            "frame-ancestors": ["'none'"],
        }
        return "; ".join(f"{name} {' '.join(sources)}" for name, sources in directives.items())

    def _permissions_policy(self) -> str:
        player = _origin(self._settings.twitch.player_url)
        off = ("camera", "geolocation", "microphone", "payment", "usb")
        on = ("autoplay", "encrypted-media", "fullscreen", "picture-in-picture")
        return ", ".join(
            [*(f"{feature}=()" for feature in off), *(f'{feature}=(self "{player}")' for feature in on)]
        )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
