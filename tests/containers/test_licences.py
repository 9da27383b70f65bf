"""The page of licences against the locked requirements and what is installed."""

import sys

import pytest

from containers.images import ROLES, ROOT
from containers.licences import PAGE, licence, packages, page
from steam_recsys.errors import UserError


@pytest.mark.skipif(sys.version_info[:2] != (3, 11) or sys.platform != "linux", reason="lists what the images install")
def test_the_page_is_what_the_command_would_write() -> None:
    assert PAGE.read_text() == page()


def test_every_package_of_every_image_is_listed() -> None:
    listed = {line.split()[1] for line in PAGE.read_text().splitlines() if line.startswith("| ")}
    for role in ROLES:
        names = packages(ROOT / "requirements" / f"{role}.txt")
        assert len(names) > 10
        assert set(names) <= listed


def test_what_another_system_needs_is_not_listed() -> None:
    assert "colorama" in (ROOT / "requirements" / "explorer.txt").read_text()
    assert "colorama" not in packages(ROOT / "requirements" / "explorer.txt")


def test_a_package_that_is_not_installed_gets_one_sentence() -> None:
    with pytest.raises(UserError, match="no-such-package is not installed: run make setup"):
        licence("no-such-package")
