"""The public read routes: a channel's newest events and counts, the leaderboard, the API's description."""

import enum
import functools
import json
import pathlib
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from urllib.parse import quote

import psycopg
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.middlewares import NextMiddleware
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.params import Path, Query
from aws_lambda_powertools.utilities.typing import LambdaContext

from lambdas.common.observability import logger
from lambdas.common.settings import from_environment
from lambdas.history import reads, schemas
from lambdas.history.cursors import START, MalformedCursorError, Position
from lambdas.history.database import Database, DatabaseSettings
from lambdas.history.database_password import password_source

SETTINGS = from_environment(DatabaseSettings)
DATABASE = Database(
    SETTINGS,
    password_source(SETTINGS),
    application_name="fanfare-query",
    connect_timeout_seconds=3,
    statement_timeout_seconds=3,
    # A viewer waits no longer, also for a server that is frozen.
    deadline_seconds=4,
    read_only=True,
)

API_ROUTES = pathlib.Path(__file__).parents[1] / "api_routes.json"

# CloudFront answers from its cache, up to 12 seconds old: the load grows with channels, not with viewers.
CACHE_CONTROL: Final = "public, s-maxage=2, stale-while-revalidate=10"

Login = Annotated[
    str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9_]{0,24}$", description="The channel's name at Twitch")
]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=512, description="`next` of the page before")]
DayCount = Annotated[int, Query(ge=1, le=365, description="UTC days, today included")]


class Window(enum.IntEnum):
    """UTC days, today included, of which sums are kept: others would have to be made for each request."""

    DAY = 1
    WEEK = 7
    MONTH = 30
    QUARTER = 90


Days = Annotated[Window | None, Query(description="UTC days, today included; all time if absent")]
Minutes = Annotated[int, Query(ge=1, le=180, description="Minutes, the present one included")]
EventTypes = Annotated[
    str | None,
    Query(
        pattern=r"^([a-z0-9_.]{1,100}(,[a-z0-9_.]{1,100}){0,29})?$",
        description="Comma-separated; all if absent or empty",
    ),
]
EventType = Annotated[
    str | None, Query(pattern="^([a-z0-9_.]{1,100})?$", description="All if absent or empty")
]

app = APIGatewayHttpResolver(enable_validation=True, response_validation_error_http_code=500)


def cached(app: APIGatewayHttpResolver, next_middleware: NextMiddleware) -> Response[Any]:
    """Let a successful answer be cached."""
    response = next_middleware(app)
    if response.status_code == 200:
        response.headers["Cache-Control"] = CACHE_CONTROL
    return response


app.use(middlewares=[cached])


@app.get("/api/channels/<login>/events", summary="A channel's newest events", tags=["channels"])
def get_events(
    login: Login, limit: Limit = 10, before: Cursor = None, event_type: EventTypes = None
) -> schemas.EventPage:
    """Newest first, page by page; the pages stay as they are while new events arrive."""
    position = Position.from_cursor(before) if before else START
    event_types = event_type.split(",") if event_type else ()
    page = DATABASE.run(
        lambda connection: reads.newest_events(connection, login.lower(), limit, position, event_types)
    )
    events = [schemas.Event.model_validate(event, from_attributes=True) for event in page.events]
    return schemas.EventPage(events=events, next=page.next.to_cursor() if page.next else None)


@app.get("/api/channels/<login>/counts", summary="A channel's events by type", tags=["channels"])
def get_counts(login: Login) -> schemas.ChannelCounts:
    """Everything ever recorded, the time before the channel changed its name included."""
    channel = DATABASE.run(lambda connection: reads.count_events(connection, login.lower()))
    return schemas.ChannelCounts(
        streamer_id=channel.streamer_id,
        streamer_name=channel.streamer_name,
        total=sum(channel.counts.values()),
        counts=channel.counts,
    )


@app.get(
    "/api/channels/<login>/counts/daily", summary="A channel's events by day and type", tags=["channels"]
)
def get_daily_counts(login: Login, days: DayCount = 30) -> schemas.DailyCounts:
    """One entry for each UTC day, the oldest first, with zeros where nothing happened."""
    today = datetime.now(UTC).date()
    counts = DATABASE.run(lambda connection: reads.count_events_daily(connection, login.lower(), days, today))
    return schemas.DailyCounts(
        days=[schemas.Day(date=day, counts=day_counts) for day, day_counts in counts.items()]
    )


@app.get(
    "/api/channels/<login>/counts/minutely",
    summary="A channel's events by minute and type",
    tags=["channels"],
)
def get_minutely_counts(login: Login, minutes: Minutes = 60) -> schemas.MinutelyCounts:
    """One entry for each minute, the oldest first, with zeros where nothing happened."""
    now = datetime.now(UTC)
    counts = DATABASE.run(
        lambda connection: reads.count_events_minutely(connection, login.lower(), minutes, now)
    )
    return schemas.MinutelyCounts(
        minutes=[schemas.Minute(start=start, counts=minute_counts) for start, minute_counts in counts.items()]
    )


@app.get("/api/leaderboard", summary="The channels with most events", tags=["leaderboard"])
def get_leaderboard(
    event_type: EventType = None, days: Days = None, limit: Limit = 10
) -> schemas.Leaderboard:
    """Of one event type or of all, of the last days or of all time."""
    today = datetime.now(UTC).date()
    leaders = DATABASE.run(lambda connection: reads.leaderboard(connection, event_type, days, today, limit))
    return schemas.Leaderboard(
        channels=[schemas.Leader.model_validate(leader, from_attributes=True) for leader in leaders]
    )


@app.get("/api/openapi.json", include_in_schema=False)
def get_openapi() -> dict[str, Any]:
    """This API's description."""
    return openapi_document()


@functools.cache
def openapi_document() -> dict[str, Any]:
    """The API's OpenAPI document: these routes, with the errors as they are really answered, and all others.

    Those are in ``lambdas/api_routes.json``, as their functions start without the libraries of this one.
    """
    document: dict[str, Any] = json.loads(
        app.get_openapi_json_schema(
            title="Fanfare",
            version="1",
            description="A Twitch channel's events. Answers may be 12 seconds old.",
        )
    )
    # Generated: 422 with the framework's body. Answered: 400, and the one shape that all errors have.
    described = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ResponseValidationError", "ValidationError"):
        del described[name]
    error = schemas.Error.model_json_schema(ref_template="#/components/schemas/{model}")
    described |= error.pop("$defs") | {"Error": error}
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for path in document["paths"].values():
        responses = path["get"]["responses"]
        del responses["422"], responses["500"]
        responses["400"] = {"description": "A parameter is malformed", "content": content}
        responses["503"] = {"description": "The database is not available", "content": content}
    others = json.loads(API_ROUTES.read_text())
    document["paths"] |= others["paths"]
    document["components"]["securitySchemes"] = others["components"]["securitySchemes"]
    described |= others["components"]["schemas"]
    return document


def error_response(
    status: int, code: str, message: str, headers: dict[str, str] | None = None
) -> Response[Any]:
    """An error in the one shape that all errors have."""
    body = json.dumps({"error": {"code": code, "message": message}})
    return Response(
        status, "application/json", body, headers={"Cache-Control": "no-store", **(headers or {})}
    )


@app.exception_handler(RequestValidationError)  # type: ignore[untyped-decorator]
def refuse_parameters(error: RequestValidationError) -> Response[Any]:
    """Say which parameters are malformed, and how."""
    problems = [f"{detail['loc'][-1]}: {detail['msg']}" for detail in error.errors()]
    return error_response(400, "invalid_parameter", "; ".join(problems))


@app.exception_handler(MalformedCursorError)  # type: ignore[untyped-decorator]
def refuse_cursor(error: MalformedCursorError) -> Response[Any]:
    """The cursor was not made here."""
    return error_response(400, "invalid_parameter", f"before: {error}")


@app.not_found
def no_such_route(error: NotFoundError) -> Response[Any]:
    """Name what there is."""
    return error_response(404, "not_found", "There is no such route; see /api/openapi.json.")


@app.exception_handler(psycopg.OperationalError)  # type: ignore[untyped-decorator]
def unavailable(error: psycopg.OperationalError) -> Response[Any]:
    """The database cannot be reached, or took too long: both pass."""
    logger.error("Database unavailable", exc_info=error)
    return error_response(503, "unavailable", "Try again in a few seconds.", {"Retry-After": "5"})


@app.exception_handler(Exception)  # type: ignore[untyped-decorator]
def failed(error: Exception) -> Response[Any]:
    """A mistake of ours: logged here, in full, and told to nobody."""
    logger.error("Unexpected error", exc_info=error)
    return error_response(500, "internal_error", "Something went wrong.")


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Take a request in payload format 2.0 of an HTTP API."""
    # The router matches no path with a quote or a backslash, which is to be 400 like any malformed login.
    event["rawPath"] = quote(event["rawPath"], safe="/%")
    # `?days=&limit=10` leaves days out.
    parameters = event.get("queryStringParameters") or {}
    event["queryStringParameters"] = {name: value for name, value in parameters.items() if value}
    # A HEAD is answered like a GET; API Gateway leaves the body out.
    if event["requestContext"]["http"]["method"] == "HEAD":
        event["requestContext"]["http"]["method"] = "GET"
    answer: dict[str, Any] = app.resolve(event, context)
    return answer
