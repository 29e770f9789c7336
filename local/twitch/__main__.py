"""``python -m local.twitch``: serve the simulated Twitch until SIGINT or SIGTERM."""

import argparse

from aiohttp import web

from local.twitch.server import create_app
from local.twitch.settings import Settings


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m local.twitch", description="A simulated Twitch.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--client-id", required=True, help="of the one registered application")
    parser.add_argument("--client-secret", required=True)
    parser.add_argument(
        "--cognito-callback-base",
        required=True,
        help="where sign-ins return whose redirect URI is at a Cognito domain, e.g. http://127.0.0.1:4566",
    )
    arguments = parser.parse_args()
    settings = Settings(
        base_url=f"http://{arguments.host}:{arguments.port}",
        client_id=arguments.client_id,
        client_secret=arguments.client_secret,
        cognito_callback_base=arguments.cognito_callback_base,
    )
    web.run_app(
        create_app(settings), host=arguments.host, port=arguments.port, access_log=None, shutdown_timeout=1
    )


if __name__ == "__main__":
    main()
