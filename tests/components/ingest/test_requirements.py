import pytest

from components.ingest.requirements import parse_requirements


def test_a_list_of_labelled_lines_becomes_figures():
    said = parse_requirements(
        "['Requires a 64-bit processor and operating system', 'OS *: Windows 10', 'Memory: 16 GB RAM', "
        "'Graphics: GTX 1060', 'DirectX: Version 12', 'Storage: 1.5 TB available space', 'Additional Notes:']"
    )
    assert (said.os, said.ram_gb, said.storage_gb) == ("Windows 10", 16.0, 1536.0)
    assert (said.graphics, said.directx, said.processor) == ("GTX 1060", "Version 12", None)
    assert "Requires a 64-bit processor" in said.requirements


@pytest.mark.parametrize(
    ("memory", "gigabytes"), [("512 MB RAM", 0.5), ("2GB", 2.0), ("1,5 GB RAM", 1.5), ("plenty", None)]
)
def test_memory_is_read_in_any_unit(memory, gigabytes):
    assert parse_requirements(f"['Memory: {memory}']").ram_gb == gigabytes


def test_what_cannot_be_parsed_stays_text():
    said = parse_requirements("Any computer will do")
    assert said.requirements == "Any computer will do"
    assert said.ram_gb is None


def test_nothing_said_is_nothing():
    assert parse_requirements("[]") is None
    assert parse_requirements("") is None
