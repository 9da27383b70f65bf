"""`python -m containers`: build, scan and push the images, audit what they are made from, list its licences, or
print the images' names."""

import argparse
import sys

from containers.audit import NOT_ASKED, NotAskedError, audit
from containers.images import (
    LOCAL_REGISTRY,
    ROLES,
    ROOT,
    build,
    image_name,
    push,
    pushed_before,
    requirements,
    scan,
    size_mb,
    tagged,
)
from steam_recsys.errors import UserError


def main() -> None:
    """Read the command line and act."""
    parser = argparse.ArgumentParser(prog="python -m containers", description="The stages' images.")
    parser.add_argument("command", choices=("build", "push", "scan", "audit", "licences", "tags"))
    parser.add_argument("--registry", default=LOCAL_REGISTRY, help="the first part of the images' names (%(default)s)")
    options, build_options = parser.parse_known_args()
    if build_options and options.command in ("tags", "audit", "licences"):
        parser.error(f"unrecognized arguments: {' '.join(build_options)}")
    try:
        if options.command == "licences":
            write_licences()
            return
        for role in ROLES:
            if options.command == "audit":
                locked = ROOT / "requirements" / f"{requirements(role)}.txt"
                print(f"[images] {role}: {audit(locked)} packages without known vulnerabilities", flush=True)
                continue
            if options.command == "tags":
                print(role, image_name(options.registry, role))
                continue
            if options.command == "push" and (found := pushed_before(tagged(options.registry, role))):
                print(f"[images] is in its registry already: {found}", flush=True)
                continue
            name = build(options.registry, role, build_options)
            print(f"[images] {name}: {size_mb(name):,.0f} MB", flush=True)
            if options.command == "scan":
                scan(name)
            if options.command == "push":
                print(f"[images] pushed as {push(name)}", flush=True)
    except NotAskedError as error:
        print(f"containers: {error}", file=sys.stderr)
        sys.exit(NOT_ASKED)
    except UserError as error:
        sys.exit(f"containers: {error}")


def write_licences() -> None:
    """Write the page of licences anew."""
    from containers.licences import PAGE, page  # needs more than Python alone, with which the images are built

    PAGE.write_text(page())


if __name__ == "__main__":
    main()
