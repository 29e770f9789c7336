"""Site: a private bucket, and CloudFront in front of it and of the API."""

import json
import subprocess

import pytest

from cdk.packaging import ROOT
from tests.infrastructure.template import Properties, Stage

CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
CACHING_OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
ALL_VIEWER_EXCEPT_HOST_HEADER = "b689b0a8-53d0-40ab-baf2-68738e2966ac"


@pytest.fixture
def distribution(prod: Stage) -> Properties:
    """The distribution's configuration."""
    configuration: Properties = prod.resources["Site/Distribution"].properties["DistributionConfig"]
    return configuration


def _behaviour(distribution: Properties, pattern: str) -> Properties:
    (found,) = (found for found in distribution["CacheBehaviors"] if found["PathPattern"] == pattern)
    behaviour: Properties = found
    return behaviour


def test_only_this_distribution_reads_the_bucket_and_over_tls_only(
    prod: Stage, distribution: Properties
) -> None:
    statements = prod.resources["Site/Bucket/Policy"].properties["PolicyDocument"]["Statement"]
    (read,) = (found for found in statements if found["Principal"] == {"Service": "cloudfront.amazonaws.com"})
    assert (read["Action"], read["Resource"]) == ("s3:GetObject", "{Site/Bucket.Arn}/*")
    assert "{Site/Distribution}" in read["Condition"]["StringEquals"]["AWS:SourceArn"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in [found.get("Condition") for found in statements]
    control = prod.resources["Site/Distribution/Origin1/S3OriginAccessControl"].properties
    assert control["OriginAccessControlConfig"]["SigningBehavior"] == "always"
    assert distribution["Origins"][0]["OriginAccessControlId"].startswith("{Site/Distribution/Origin1")


def test_pages_come_compressed_over_tls(distribution: Properties) -> None:
    default = distribution["DefaultCacheBehavior"]
    assert default["ViewerProtocolPolicy"] == "redirect-to-https"
    assert default["CachePolicyId"] == CACHING_OPTIMIZED
    assert default["Compress"] is True
    assert distribution["HttpVersion"] == "http2and3"
    assert distribution["DefaultRootObject"] == "index.html"


def test_watching_is_never_cached_and_carries_who_asks(distribution: Properties) -> None:
    for behaviour, path in zip(
        distribution["CacheBehaviors"], ("/api/channels/*/watch", "/api/overlays/*"), strict=False
    ):
        assert behaviour["PathPattern"] == path
        assert behaviour["CachePolicyId"] == CACHING_DISABLED
        assert behaviour["OriginRequestPolicyId"] == ALL_VIEWER_EXCEPT_HOST_HEADER
        assert "POST" in behaviour["AllowedMethods"]


def test_reads_are_cached_for_as_long_as_the_api_says(prod: Stage, distribution: Properties) -> None:
    reads = _behaviour(distribution, "/api/*")
    assert reads["CachePolicyId"] == "{Site/Reads}"
    assert reads["AllowedMethods"] == ["GET", "HEAD", "OPTIONS"]
    assert reads["Compress"] is True
    policy = prod.resources["Site/Reads"].properties["CachePolicyConfig"]
    assert (policy["MinTTL"], policy["DefaultTTL"], policy["MaxTTL"]) == (0, 0, 60)
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
    assert key["HeadersConfig"] == {"HeaderBehavior": "none"}
    assert key["CookiesConfig"] == {"CookieBehavior": "none"}


def test_the_api_keeps_its_own_answers_for_unknown_paths(distribution: Properties) -> None:
    assert all("FunctionAssociations" not in behaviour for behaviour in distribution["CacheBehaviors"])
    assert all("ResponsePagePath" not in found for found in distribution["CustomErrorResponses"])
    assert "FunctionAssociations" in distribution["DefaultCacheBehavior"]


def test_a_failure_is_repeated_from_the_cache_no_longer_than_a_read(distribution: Properties) -> None:
    seconds = {
        found["ErrorCode"]: found["ErrorCachingMinTTL"] for found in distribution["CustomErrorResponses"]
    }
    assert seconds == dict.fromkeys((500, 502, 503, 504), 2)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("/", "/index.html"),
        ("/watch/some_channel", "/index.html"),
        ("/callback", "/index.html"),
        ("/watch/some.channel", "/index.html"),
        ("/wp-login.php", "/index.html"),
        ("/.env", "/index.html"),
        ("/favicon.svg", "/favicon.svg"),
        ("/robots.txt", "/robots.txt"),
        ("/index.html", "/index.html"),
        ("/assets/index-Ab12.js", "/assets/index-Ab12.js"),
        ("/config.json", "/config.json"),
        ("/assets/gone-Ab12.js", "/assets/gone-Ab12.js"),
    ],
)
def test_every_address_of_the_page_serves_the_page(prod: Stage, asked: str, served: str) -> None:
    code = prod.resources["Site/Routes"].properties["FunctionCode"]
    call = f"{code}; console.log(handler({{request: {{uri: {json.dumps(asked)}}}}}).uri)"
    answer = subprocess.run(["node", "-e", call], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == served


def test_every_answer_carries_the_security_headers(prod: Stage, distribution: Properties) -> None:
    for behaviour in (distribution["DefaultCacheBehavior"], *distribution["CacheBehaviors"]):
        assert behaviour["ResponseHeadersPolicyId"] == "{Site/Headers}"
    policy = prod.resources["Site/Headers"].properties["ResponseHeadersPolicyConfig"]
    headers = policy["SecurityHeadersConfig"]
    assert headers["ContentTypeOptions"] == {"Override": True}
    assert headers["FrameOptions"] == {"FrameOption": "DENY", "Override": True}
    # Twitch's embeds must see which site they are on.
    assert headers["ReferrerPolicy"]["ReferrerPolicy"] == "strict-origin-when-cross-origin"
    transport = headers["StrictTransportSecurity"]
    assert (transport["AccessControlMaxAgeSec"], transport["IncludeSubdomains"]) == (31536000, True)
    (permissions,) = policy["CustomHeadersConfig"]["Items"]
    assert permissions["Header"] == "Permissions-Policy"
    assert 'autoplay=(self "https://player.twitch.tv")' in permissions["Value"]
    assert "camera=()" in permissions["Value"]


def test_the_page_may_load_and_reach_what_it_needs_and_nothing_else(prod: Stage) -> None:
    policy = prod.resources["Site/Headers"].properties["ResponseHeadersPolicyConfig"]["SecurityHeadersConfig"]
    text = policy["ContentSecurityPolicy"]["ContentSecurityPolicy"]
    directives = {name: sources for name, _, sources in (part.partition(" ") for part in text.split("; "))}
    assert directives == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "manifest-src": "'self'",
        "img-src": "'self' data: https://static-cdn.jtvnw.net",
        "connect-src": "'self' wss://{Live/Api}.execute-api.{Region}.amazonaws.com/live "
        "https://fanfare-prod-{AccountId}.auth.{Region}.amazoncognito.com",
        "frame-src": "https://player.twitch.tv https://www.twitch.tv",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }


def test_hashed_assets_are_kept_for_good_and_pages_asked_for_anew(prod: Stage) -> None:
    assets = prod.resources["Site/Assets/CustomResource/Default"].properties
    assert (assets["Exclude"], assets["Include"], assets["Prune"]) == (["*"], ["assets/*"], False)
    assert assets["SystemMetadata"] == {"cache-control": "public, max-age=31536000, immutable"}
    pages = prod.resources["Site/Pages/CustomResource/Default"]
    assert (pages.properties["Exclude"], pages.properties["Prune"]) == (["assets/*"], True)
    assert pages.properties["SystemMetadata"] == {"cache-control": "no-cache"}
    assert pages.properties["DistributionPaths"] == ["/", "/index.html", "/config.json"]
    # A page never asks for an asset that is not there yet.
    assert "Site/Assets/CustomResource/Default" in pages.depends_on


def test_the_page_learns_its_configuration_from_config_json(prod: Stage) -> None:
    pages = prod.resources["Site/Pages/CustomResource/Default"].properties
    digest = pages["SourceObjectKeys"][1].removesuffix(".zip")
    text = (prod.asset(digest) / "config.json").read_text()
    for marker, value in pages["SourceMarkers"][1].items():
        text = text.replace(marker, value).replace(f'"{marker}"', value)
    configuration = json.loads(text.replace('""', '"'))
    assert configuration == {
        "stage": "prod",
        "identity": {
            "authority": "https://cognito-idp.{Region}.amazonaws.com/{Users}",
            "client_id": "{Identity/Site}",
            "domain": "https://fanfare-prod-{AccountId}.auth.{Region}.amazoncognito.com",
            "provider": "Twitch",
            "streamer_provider": "TwitchStreamer",
        },
        "twitch": {"player_url": "https://player.twitch.tv", "chat_url": "https://www.twitch.tv"},
    }


def test_the_built_page_is_what_is_uploaded(prod: Stage) -> None:
    pages = prod.resources["Site/Pages/CustomResource/Default"].properties
    built = prod.asset(pages["SourceObjectKeys"][0].removesuffix(".zip"))
    assert (built / "index.html").is_file()
    assert list((built / "assets").glob("*.js"))
    assert not any(ROOT.joinpath("frontend") in path.parents for path in built.rglob("*"))
