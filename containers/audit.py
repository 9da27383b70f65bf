"""Known vulnerabilities of the locked requirements, asked of the OSV database by pip-audit."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from steam_recsys.errors import UserError

NOT_ASKED = 75
"""How the command ends where the database cannot be reached: sysexits.h calls it a temporary failure."""


class NotAskedError(UserError):
    """The database of vulnerabilities cannot be reached."""


def audit(requirements: Path, *options: str) -> int:
    """Ask about each package of a requirements file; how many there are.

    Args:
        requirements: a locked file, with hashes.
        options: further options of pip-audit.

    Raises:
        NotAskedError: the database cannot be reached.
        UserError: a package has known vulnerabilities.
    """
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [
            sys.executable,
            "-m",
            "pip_audit",
            "--vulnerability-service=osv",
            "--disable-pip",
            "--require-hashes",
        ]
        command += ["--progress-spinner=off", "--format=json", f"--output={found}", f"--requirement={requirements}"]
        done = subprocess.run([*command, *options], capture_output=True, text=True)
        if not found.exists():
            reason = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise NotAskedError(f"{requirements.name} was not audited ({reason}): try again where OSV can be reached.")
        packages = json.loads(found.read_text())["dependencies"]
    vulnerable = [
        f"{package['name']} {package['version']} ({', '.join(each['id'] for each in package['vulns'])})"
        for package in packages
        if package.get("vulns")
    ]
    if vulnerable:
        raise UserError(f"{requirements.name} has known vulnerabilities, in {', '.join(vulnerable)}: run make lock.")
    return len(packages)
