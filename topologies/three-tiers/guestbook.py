"""A guest book that counts visits in PostgreSQL: what the three tiers serve (PEP 3333)."""

from __future__ import annotations

import os
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg2

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = "CREATE TABLE IF NOT EXISTS visits (at timestamptz NOT NULL DEFAULT now(), path text NOT NULL)"


def connect() -> Any:  # noqa: ANN401 - psycopg2 has no types
    """Return a connection to the database that the environment names."""
    return psycopg2.connect(
        host=os.environ["DATABASE_HOST"],
        port=os.environ["DATABASE_PORT"],
        dbname="guestbook",
        user="guestbook",
        password=os.environ["DATABASE_PASSWORD"],
        connect_timeout=5,
    )


def counted(path: str) -> int:
    """Note a visit, and return how many there are now."""
    with closing(connect()) as connection, connection, connection.cursor() as cursor:
        # two copies may make the table at the same moment
        cursor.execute("SELECT pg_advisory_xact_lock(1)")
        cursor.execute(TABLE)
        cursor.execute("INSERT INTO visits (path) VALUES (%s)", (path,))
        cursor.execute("SELECT count(*) FROM visits")
        return int(cursor.fetchone()[0])


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answer `ok` at /healthz when the database answers, and elsewhere with the number of visits."""
    try:
        if environ["PATH_INFO"] == "/healthz":
            with closing(connect()) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            status, text = "200 OK", "ok\n"
        else:
            status, text = "200 OK", f"{counted(environ['PATH_INFO'])} visits, says {socket.gethostname()}\n"
    except psycopg2.Error as error:
        status, text = "503 Service Unavailable", f"the database does not answer: {str(error).strip()}\n"
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text.encode())))])
    return [text.encode()]
