"""Build, scan and push the images, audit and list their requirements, pin their base images, or print their names."""

import argparse
import os
import sys

from containers.dependencies import LOCKED, PAGE, UNAVAILABLE, DatabaseUnavailableError, audit, licences_page
from containers.images import (
    LOCAL_REGISTRY,
    ROLES,
    build,
    find_pushed,
    image_name,
    push,
    push_for,
    scan,
    size_mb,
    tagged,
)
from containers.pins import pin
from steam_recsys.errors import UserError

COMMANDS = ("build", "push", "scan", "audit", "licences", "sbom", "pin", "tags")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m containers", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--registry", default=LOCAL_REGISTRY, help="the first part of the images' names (%(default)s)")
    options, build_options = parser.parse_known_args()
    if build_options and options.command not in ("build", "push", "scan"):
        parser.error(f"unrecognized arguments: {' '.join(build_options)}")
    try:
        if options.command == "licences":
            PAGE.write_text(licences_page())
            return
        if options.command == "audit":
            for locked in LOCKED:
                print(f"[images] {locked.name}: {audit(locked)} packages without known vulnerabilities", flush=True)
            return
        if options.command == "pin":
            for name in pin():
                print(f"[images] {name}")
            return
        platforms = os.environ.get("PLATFORMS", "")
        for role in ROLES:
            if options.command == "sbom":
                from containers.sbom import write_sbom  # needs more than the standard library

                print(f"[images] {write_sbom(options.registry, role)}")
                continue
            if options.command == "tags":
                print(role, image_name(options.registry, role))
                continue
            if options.command == "push" and (pushed := find_pushed(tagged(options.registry, role), platforms)):
                print(f"[images] already in the registry: {pushed}", flush=True)
                continue
            if options.command == "push" and platforms:
                print(f"[images] pushed as {push_for(platforms, options.registry, role, build_options)}", flush=True)
                continue
            name = build(options.registry, role, build_options)
            print(f"[images] {name}: {size_mb(name):,.0f} MB", flush=True)
            if options.command == "scan":
                scan(name)
            if options.command == "push":
                print(f"[images] pushed as {push(name)}", flush=True)
    except DatabaseUnavailableError as error:
        print(f"containers: {error}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
    except UserError as error:
        sys.exit(f"containers: {error}")


if __name__ == "__main__":
    main()
