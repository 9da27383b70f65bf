"""The fixtures that the stage shares with the library of publications."""

from tests.steam_recsys.publications.conftest import both, mongo, mongo_server, mongodb, postgres_url

__all__ = ["both", "mongo", "mongo_server", "mongodb", "postgres_url"]
