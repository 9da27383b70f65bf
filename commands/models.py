"""`recsys models`: list the models of a store, show the champion, or roll back to an earlier one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from commands import print_table
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import MANIFEST, UnreadableError, unseal
from steam_recsys.storage.model_store import EVALUATION, champion, current_champion

SHOWN_METRICS = ("ndcg_at_10", "recall_at_20", "coverage_at_10", "jaccard_at_10", "popular_ten")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands and their options."""
    commands = parser.add_subparsers(dest="action", required=True)
    listing = commands.add_parser("list", help="list the models, the newest first, with their metrics")
    showing = commands.add_parser("champion", help="show the champion and the one before it")
    back = commands.add_parser("rollback", help="make an earlier model the champion again")
    for command in (listing, showing, back):
        command.add_argument("--store", required=True, help="the store with the models, a folder, gs://… or s3://…")
    back.add_argument("--version", help="the model (the champion before the present one)")
    back.add_argument("--expected", help="roll back only if this model is the champion now")
    back.add_argument("--registry", default="", help="where champions are registered too, vertex://PROJECT/LOCATION")
    back.add_argument(
        "--serving-image", default="", help="the explorer's image, for a model that is not registered yet"
    )


def run(arguments: argparse.Namespace) -> None:
    """List, show the champion or roll back."""
    if arguments.action == "rollback":
        from components.evaluate.promotion import roll_back  # slow to import

        now = roll_back(
            arguments.store, arguments.version, arguments.registry, arguments.expected, arguments.serving_image
        )
        print(f"{now} is the champion.")
    elif arguments.action == "champion":
        current = champion(arguments.store)
        before = f"The previous one was {current.previous}." if current.previous else "There was none before."
        print(f"{current.version} has been the champion since {current.promoted_at}. {before}")
    else:
        _print_models(arguments.store)


def _print_models(store: str) -> None:
    folder = open_folder(store)
    added = {
        found[1]: file.written_at
        for name, file in folder.list_files("models").items()
        if (found := re.fullmatch(rf"models/([^/]+)/{re.escape(MANIFEST)}", name))
    }
    versions = sorted(added, key=lambda version: added[version], reverse=True)
    metrics = {version: _metrics(folder.read(f"models/{version}/{EVALUATION}")) for version in versions}
    names = list(dict.fromkeys(name for each in metrics.values() for name in each))
    pointer = current_champion(store)
    rows = [["", "version", "added", *(name.replace("_at_", "@") for name in names)]]
    for version in versions:
        mark = "*" if pointer and pointer.version == version else ""
        figures = [f"{metrics[version][name]:.4f}" if name in metrics[version] else "-" for name in names]
        rows.append([mark, version, f"{added[version]:%Y-%m-%d %H:%M:%S %Z}", *figures])
    print_table(rows)


def _metrics(evaluation: bytes | None) -> Mapping[str, float]:
    """A model's metrics in its evaluation's file; empty if that is missing, damaged or of another release."""

    def decode(content: dict[str, Any]) -> Mapping[str, float]:
        means = {name: figure["mean"] for name, figure in content["overall"]["figures"]["challenger"].items()}
        figures = {**means, **content["beyond_accuracy"]["challenger"]}
        return {name: figures[name] for name in SHOWN_METRICS if name in figures}

    try:
        return unseal(evaluation or b"", decode)
    except UnreadableError:
        return {}
