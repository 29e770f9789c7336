"""Prints the OpenAPI document of the read routes: ``python -m local.openapi``. No server is needed."""

import importlib
import json
import os
import sys

# The handler needs these when it is imported. They are not used.
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "POWERTOOLS_SERVICE_NAME": "openapi",
    "DATABASE_HOST": "localhost",
    "DATABASE_PORT": "5432",
    "DATABASE_NAME": "fanfare",
    "DATABASE_USER": "fanfare",
    "DATABASE_CA_FILE": "certificates.pem",
}


def main() -> None:
    """Write the document to standard output as JSON."""
    os.environ.update(ENVIRONMENT)
    json.dump(importlib.import_module("lambdas.handlers.query").openapi_document(), sys.stdout, indent=2)


if __name__ == "__main__":
    main()
