"""How the database is connected to."""

import dataclasses

from lambdas.history.database import ROOT, DatabaseSettings, connection_parameters

SETTINGS = DatabaseSettings(
    database_host="db.example", database_port=5432, database_name="fanfare", database_user="recorder"
)


def test_a_connection_says_who_it_is_and_waits_for_nothing_forever() -> None:
    assert connection_parameters(
        SETTINGS,
        application_name="fanfare-recorder",
        connect_timeout_seconds=5,
        statement_timeout_seconds=10,
        read_only=False,
    ) == {
        "host": "db.example",
        "port": 5432,
        "dbname": "fanfare",
        "user": "recorder",
        "application_name": "fanfare-recorder",
        "connect_timeout": 5,
        "options": "-c statement_timeout=10s -c timezone=UTC -c idle_session_timeout=300s",
    }


def test_with_certificates_the_server_is_verified() -> None:
    settings = dataclasses.replace(SETTINGS, database_ca_file="certificates/rds.pem")
    parameters = connection_parameters(
        settings,
        application_name="x",
        connect_timeout_seconds=5,
        statement_timeout_seconds=10,
        read_only=False,
    )
    assert parameters["sslmode"] == "verify-full"
    assert parameters["sslrootcert"] == str(ROOT / "certificates/rds.pem")


def test_a_reader_cannot_write() -> None:
    parameters = connection_parameters(
        SETTINGS,
        application_name="x",
        connect_timeout_seconds=5,
        statement_timeout_seconds=10,
        read_only=True,
    )
    assert "-c default_transaction_read_only=on" in parameters["options"]


def test_a_proxy_is_asked_for_nothing_that_it_refuses_or_that_takes_a_connection_out_of_its_pool() -> None:
    parameters = connection_parameters(
        dataclasses.replace(SETTINGS, database_proxy=1),
        application_name="x",
        connect_timeout_seconds=5,
        statement_timeout_seconds=10,
        read_only=True,
    )
    assert "options" not in parameters
    assert parameters["prepare_threshold"] is None
