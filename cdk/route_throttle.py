"""A throttle of its own for one route of an API's stage."""

from aws_cdk import aws_apigatewayv2 as apigateway
from constructs import IConstruct

from cdk.settings import Throttle


def throttle_route(stage: apigateway.IStage, route: IConstruct, key: str, throttle: Throttle) -> None:
    """Admit to the route ``key``, such as ``POST /path``, what ``throttle`` says, not what the stage does."""
    resource = stage.node.default_child
    assert isinstance(resource, apigateway.CfnStage)  # noqa: S101 -- it is
    settings = {"ThrottlingRateLimit": throttle.rate, "ThrottlingBurstLimit": throttle.burst}
    resource.add_property_override(f"RouteSettings.{key}", settings)
    # API Gateway refuses settings of a route that is not there yet.
    resource.node.add_dependency(route)
