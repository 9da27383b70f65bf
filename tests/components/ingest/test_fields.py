from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingest.fields import (
    FieldError,
    ReviewCounts,
    ReviewDay,
    parse_count,
    parse_decimal,
    parse_list,
    parse_name,
    parse_recommendation,
    parse_release_day,
    parse_requirements,
    parse_review_counts,
    parse_review_day,
)

TODAY = date(2024, 6, 1)


@pytest.mark.parametrize(
    "text", ["November 5, 2011", "5 November, 2011", "5 November 2011", "Nov 5, 2011", "2011-11-05"]
)
def test_dates_are_read_in_every_form(text):
    assert parse_review_day(text, TODAY) == ReviewDay(date(2011, 11, 5))


@pytest.mark.parametrize("text", ["November 5", "5 November", " 5  november "])
def test_a_date_without_a_year_keeps_its_month_and_day(text):
    assert parse_review_day(text, TODAY) == ReviewDay(None, (11, 5))


def test_a_blank_date_is_valid():
    assert parse_review_day("  ", TODAY) == ReviewDay(None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("sometime", "date is not a date such as November 5, 2011 or 2011-11-05"),
        ("February 30, 2011", "date is not a date such as November 5, 2011 or 2011-11-05"),
        ("Foo 5, 2011", "date is not a date such as November 5, 2011 or 2011-11-05"),
        ("May 1, 1996", "date is before 1997"),
        ("June 2, 2024", "date is in the future"),
    ],
)
def test_an_invalid_date_is_rejected_with_a_reason(text, reason):
    with pytest.raises(FieldError, match=reason):
        parse_review_day(text, TODAY)


@given(st.dates(date(1997, 1, 1), TODAY))
def test_every_date_round_trips_in_both_forms(day):
    assert parse_review_day(f"{day:%B} {day.day}, {day.year}", TODAY).day == day
    assert parse_review_day(f"{day.day} {day:%B}, {day.year}", TODAY).day == day


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("19 Aug, 2024", date(2024, 8, 19)),
        ("9 Aug, 2024", date(2024, 8, 9)),
        ("Aug 2024", date(2024, 8, 1)),
        ("Coming soon", None),
        ("Q4 2025", None),
        ("", None),
    ],
)
def test_a_release_date_is_a_day_a_month_or_free_text(text, day):
    assert parse_release_day(text) == day


@pytest.mark.parametrize(("text", "number"), [("1,234.5", 1234.5), ("", None), (" ", None), ("0.0", 0.0), ("7", 7.0)])
def test_numbers_may_have_separators_or_be_blank(text, number):
    assert parse_decimal(text, "hours_played") == number


@pytest.mark.parametrize("text", ["abc", "nan", "inf", "1e5", "1_000", "0x1", "--1"])
def test_number_literals_of_programming_languages_are_rejected(text):
    with pytest.raises(FieldError, match="hours_played is not a number"):
        parse_decimal(text, "hours_played")


def test_negative_and_fractional_counts_are_rejected():
    with pytest.raises(FieldError, match="helpful is negative"):
        parse_count("-1", "helpful")
    with pytest.raises(FieldError, match="helpful is not a whole number"):
        parse_count("1.5", "helpful")


def test_recommendations_are_read_in_any_case():
    assert parse_recommendation("Recommended")
    assert not parse_recommendation(" not recommended ")
    with pytest.raises(FieldError, match="neither"):
        parse_recommendation("maybe")


def test_lists_are_python_literals_with_quotes_and_entities():
    assert parse_list("""['Action', "1990's", 'Design &amp; Illustration']""", "genres") == [
        "Action",
        "1990's",
        "Design & Illustration",
    ]


def test_lists_that_are_not_literals_are_split_at_their_quotes():
    assert parse_list("['Traveller's Tales', 'TT Games']", "developer") == ["Traveller's Tales", "TT Games"]


@pytest.mark.parametrize("text", ["Action, Indie", "{'a': 1}", "[1, 2]", "['a'"])
def test_anything_but_a_list_of_strings_is_rejected(text):
    with pytest.raises(FieldError, match="genres is not a list"):
        parse_list(text, "genres")


def test_repeats_and_blanks_in_a_list_are_dropped():
    assert parse_list("['Action', '', 'Action']", "genres") == ["Action"]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("(654,820)", ReviewCounts(total=654_820)),
        ("(57)", ReviewCounts(total=57)),
        ("(81% of 62,791)\xa0All Time", ReviewCounts(None, 0.81, 62_791)),
        ("()\xa0All Time", ReviewCounts()),
        ("", ReviewCounts()),
    ],
)
def test_totals_and_shares_of_review_counts_stay_apart(text, counts):
    assert parse_review_counts(text) == counts


def test_names_lose_entities_and_extra_whitespace():
    assert parse_name("  Heroes of Might &amp; Magic\n V\xa0") == "Heroes of Might & Magic V"


def test_labelled_requirements_become_fields():
    parsed = parse_requirements(
        "['Requires a 64-bit processor and operating system', 'OS *: Windows 10', 'Memory: 16 GB RAM', "
        "'Graphics: GTX 1060', 'DirectX: Version 12', 'Storage: 1.5 TB available space', 'Additional Notes:']"
    )
    assert (parsed.os, parsed.ram_gb, parsed.storage_gb) == ("Windows 10", 16.0, 1536.0)
    assert (parsed.graphics, parsed.directx, parsed.processor) == ("GTX 1060", "Version 12", None)
    assert "Requires a 64-bit processor" in parsed.requirements


@pytest.mark.parametrize(
    ("memory", "gigabytes"), [("512 MB RAM", 0.5), ("2GB", 2.0), ("1,5 GB RAM", 1.5), ("plenty", None)]
)
def test_memory_is_read_in_any_unit(memory, gigabytes):
    assert parse_requirements(f"['Memory: {memory}']").ram_gb == gigabytes


def test_requirements_that_cannot_be_parsed_stay_text():
    parsed = parse_requirements("Any computer will do")
    assert parsed.requirements == "Any computer will do"
    assert parsed.ram_gb is None


def test_blank_requirements_are_none():
    assert parse_requirements("[]") is None
    assert parse_requirements("") is None
