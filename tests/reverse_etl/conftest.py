"""What the tests of publications share."""

import os

import pytest


@pytest.fixture
def postgres_url(database: str) -> str:
    """The test database's URL, for connections of a test's own."""
    return os.environ[database.partition(":")[2]]
