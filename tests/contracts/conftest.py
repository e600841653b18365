"""A PostgreSQL database for a module's tests; each test makes its own tables in it, which is quicker."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from placet.testing.postgres import PostgresServer


@pytest.fixture(scope="module")
def postgres_database(postgres_server: PostgresServer) -> Iterator[str]:
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def empty_database(postgres_database: str) -> str:
    with psycopg.connect(postgres_database) as connection:
        connection.execute("DROP SCHEMA IF EXISTS placet_relay, placet_ledger CASCADE")
    return postgres_database
