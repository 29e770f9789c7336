"""Site: the single-page app in a private bucket behind CloudFront, which also caches ``/api/*``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aws_cdk import Duration, Fn, RemovalPolicy, Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_deployment as deployment
from constructs import Construct

from cdk import packaging
from cdk.settings import Settings

IMMUTABLE = "public, max-age=31536000, immutable"
REVALIDATE = "no-cache"
# By default CloudFront repeats these for 10 seconds, even against `no-store`: long after a database is back.
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/custom-error-pages-expiration.html
FAILURES = (500, 502, 503, 504)


class Site(Construct):
    """The bucket, the distribution before it, and what the distribution answers with."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        settings: Settings,
        *,
        api: apigateway.HttpApi,
        connects_to: list[str],
    ) -> None:
        """``connects_to`` are the addresses beside its own that the page may open connections to."""
        super().__init__(scope, id_)
        self._settings = settings
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            # Everything in it is built from the sources.
            removal_policy=RemovalPolicy.DESTROY,
            auto_delete_objects=True,
        )
        headers = self._response_headers(connects_to)
        api_origin = self._api_origin(api)
        # Locally there is no TLS to be sent to.
        secure = settings.addresses.site.startswith("https:")
        domain = settings.domain
        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment=f"Fanfare {settings.stage}",
            default_root_object="index.html",
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            price_class=cloudfront.PriceClass.PRICE_CLASS_100,
            # CloudFront's own certificate comes with a policy that nobody can change.
            minimum_protocol_version=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021 if domain else None,
            domain_names=[domain.name] if domain else None,
            certificate=(
                acm.Certificate.from_certificate_arn(self, "Certificate", domain.certificate_arn)
                if domain
                else None
            ),
            error_responses=[
                cloudfront.ErrorResponse(http_status=status, ttl=Duration.seconds(2)) for status in FAILURES
            ],
            default_behavior=cloudfront.BehaviorOptions(
                origin=origins.S3BucketOrigin.with_origin_access_control(self.bucket),
                viewer_protocol_policy=(
                    cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS
                    if secure
                    else cloudfront.ViewerProtocolPolicy.ALLOW_ALL
                ),
                cache_policy=cloudfront.CachePolicy.CACHING_OPTIMIZED,
                response_headers_policy=headers,
                compress=True,
                function_associations=[
                    cloudfront.FunctionAssociation(
                        event_type=cloudfront.FunctionEventType.VIEWER_REQUEST, function=self._routes()
                    )
                ],
            ),
        )
        viewer_protocol_policy = (
            cloudfront.ViewerProtocolPolicy.HTTPS_ONLY
            if secure
            else cloudfront.ViewerProtocolPolicy.ALLOW_ALL
        )
        # The first pattern that fits wins: a signed-in viewer's request goes through, reads are cached.
        self.distribution.add_behavior(
            "/api/channels/*/watch",
            api_origin,
            viewer_protocol_policy=viewer_protocol_policy,
            allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
            cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
            origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
            response_headers_policy=headers,
        )
        self.distribution.add_behavior(
            "/api/*",
            api_origin,
            viewer_protocol_policy=viewer_protocol_policy,
            allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD_OPTIONS,
            cache_policy=self._reads_policy(),
            response_headers_policy=headers,
            compress=True,
        )
        amazon_name = self.distribution.distribution_domain_name
        self.url = settings.addresses.site.format(
            domain=domain.name if domain else amazon_name, label=Fn.select(0, Fn.split(".", amazon_name))
        )

    def publish(self, configuration: Mapping[str, Any]) -> None:
        """Put the built page and its ``config.json`` into the bucket."""
        built = packaging.site()
        page = deployment.Source.asset(str(built.path), asset_hash=built.digest)
        # Names with a digest never change content; open pages may still ask for the last deployment's.
        assets = deployment.BucketDeployment(
            self,
            "Assets",
            sources=[page],
            destination_bucket=self.bucket,
            exclude=["*"],
            include=["assets/*"],
            prune=False,
            cache_control=[deployment.CacheControl.from_string(IMMUTABLE)],
            # One function serves all deployments of a stack; the first one makes it.
            log_group=self._deployment_logs(),
        )
        pages = deployment.BucketDeployment(
            self,
            "Pages",
            sources=[page, deployment.Source.json_data("config.json", configuration)],
            destination_bucket=self.bucket,
            exclude=["assets/*"],
            cache_control=[deployment.CacheControl.from_string(REVALIDATE)],
            distribution=self.distribution,
            distribution_paths=["/", "/index.html", "/config.json"],
        )
        pages.node.add_dependency(assets)

    def _deployment_logs(self) -> logs.LogGroup:
        return logs.LogGroup(
            self,
            "DeploymentLogs",
            retention=logs.RetentionDays.ONE_WEEK,
            removal_policy=RemovalPolicy.DESTROY,
        )

    def _routes(self) -> cloudfront.Function:
        return cloudfront.Function(
            self,
            "Routes",
            code=cloudfront.FunctionCode.from_file(file_path=str(Path(__file__).with_name("site_routes.js"))),
            runtime=cloudfront.FunctionRuntime.JS_2_0,
        )

    def _api_origin(self, api: apigateway.HttpApi) -> origins.HttpOrigin:
        origin = self._settings.addresses.api_origin
        names = {"api_id": api.api_id, "region": Stack.of(self).region}
        https = origin.scheme == "https"
        return origins.HttpOrigin(
            origin.host.format(**names),
            protocol_policy=(
                cloudfront.OriginProtocolPolicy.HTTPS_ONLY
                if https
                else cloudfront.OriginProtocolPolicy.HTTP_ONLY
            ),
            https_port=origin.port if https else None,
            http_port=None if https else origin.port,
            origin_path=origin.path.format(**names) or None,
        )

    def _reads_policy(self) -> cloudfront.CachePolicy:
        """Cache what the API says may be cached, for as long as it says, and nothing else."""
        return cloudfront.CachePolicy(
            self,
            "Reads",
            comment="Keep to the API's s-maxage",
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
                # Twitch's embeds check which site they are on, so the origin must reach them.
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
                        header="Permissions-Policy",
                        value=self._permissions_policy(),
                        override=True,
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
            "frame-src": self._embeds(),
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

    def _embeds(self) -> list[str]:
        urls = (self._settings.twitch.player_url, self._settings.twitch.chat_url)
        return sorted({_origin(url) for url in urls})


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
