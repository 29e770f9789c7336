"""``python -m local.twitch``: serve the simulated Twitch."""

import argparse
import os

from aiohttp import web

from local.ports import HOST
from local.twitch.server import create_app
from local.twitch.settings import CLIENT_SECRET, Settings


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m local.twitch",
        description=f"A simulated Twitch. The environment variable {CLIENT_SECRET} is the client secret.",
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--client-id", required=True, help="the client id of the only registered application")
    parser.add_argument(
        "--cognito-callback-base",
        required=True,
        help="replaces a Cognito domain in redirect URIs, e.g. http://127.0.0.1:4566",
    )
    arguments = parser.parse_args()
    settings = Settings(
        base_url=f"http://{HOST}:{arguments.port}",
        client_id=arguments.client_id,
        client_secret=os.environ[CLIENT_SECRET],
        cognito_callback_base=arguments.cognito_callback_base,
    )
    web.run_app(create_app(settings), host=HOST, port=arguments.port, access_log=None)


if __name__ == "__main__":
    main()
