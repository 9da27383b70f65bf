import contextlib
import unicodedata
import warnings
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingest.fields import (
    FieldError,
    Requirements,
    ReviewDay,
    StoreReviewCounts,
    parse_author,
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
    "text",
    [
        "November 5, 2011", "5 November, 2011", "5 November 2011", "Nov 5, 2011", "2011-11-05",
        "2011-11-05 23:59:59", "2011-11-05T23:59:59.999Z", "2011-11-05 23:59:59+14:00", "2011-11-05 00:00:00 UTC",
        "Nov 5, 2011 @ 3:04pm", "5 November 2011, 15:04", "1320537599", "1320451200.0", "1320451200000",
    ],
)  # fmt: skip
def test_dates_are_read_in_every_form(text):
    assert parse_review_day(text, TODAY) == ReviewDay(date(2011, 11, 5))


@pytest.mark.parametrize("text", ["5 August @ 3:04pm", "5 August 10:30", "5 August at 10:30", "August 5 @ 3:04pm"])
def test_a_time_of_day_takes_no_letter_of_the_month(text):
    assert parse_review_day(text, TODAY) == ReviewDay(None, (8, 5))


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
        ("2011-11-05 25:00", "date is not a date"),
        ("2011-11-05 12:60:00", "date is not a date"),
        ("20111105", "date is not a date"),
        ("852076799", "date is before 1997"),
        ("1717286400", "date is in the future"),
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


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,234.5", 1234.5), ("12,345,678", 12_345_678), ("", None), (" ", None), ("0.0", 0.0), ("7", 7.0),
        (r"\N", None), ("007", 7.0), (f"0.{'0' * 60}1", 0.0),
    ],
)  # fmt: skip
def test_numbers_may_have_separators_or_be_blank(text, number):
    assert parse_decimal(text, "hours_played") == number


@pytest.mark.parametrize("text", ["abc", "nan", "inf", "1e5", "1_000", "0x1", "--1"])
def test_number_literals_of_programming_languages_are_rejected(text):
    with pytest.raises(FieldError, match="hours_played is not a number"):
        parse_decimal(text, "hours_played")


@pytest.mark.parametrize(
    "text", ["12,5", "0,5", "1,2,3", "1234,567", "0,500", "1,23", "12,5000", ",5", "1,", "1,234,5.0"]
)
def test_a_comma_that_does_not_separate_thousands_is_rejected(text):
    for parse in (parse_decimal, parse_count):
        with pytest.raises(FieldError, match="hours_played has a comma that does not separate thousands"):
            parse(text, "hours_played")


@pytest.mark.parametrize("text", ["1.234,5", "1.234.567", "1 234", "1'234", ","])
def test_numbers_of_other_countries_are_rejected(text):
    with pytest.raises(FieldError, match=r"hours_played (is not a number|has a comma)"):
        parse_decimal(text, "hours_played")


def test_negative_and_fractional_counts_are_rejected():
    with pytest.raises(FieldError, match="helpful is negative"):
        parse_count("-1", "helpful")
    with pytest.raises(FieldError, match="helpful is not a whole number"):
        parse_count("1.5", "helpful")


def test_recommendations_are_read_in_any_case():
    assert parse_recommendation("Recommended")
    assert not parse_recommendation(" not recommended ")
    assert all(map(parse_recommendation, ("TRUE", "True", "true", "1", "1.0")))
    assert not any(map(parse_recommendation, ("FALSE", "False", "false", "0", "0.0")))
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


@pytest.mark.parametrize("text", ["['Action' 'Indie']", "['Action'\\n 'Indie', 'RPG']", """["A" 'B']"""])
def test_lists_as_numpy_prints_them_are_rejected(text):
    with pytest.raises(FieldError, match="genres has two names without a comma between them"):
        parse_list(text.replace("\\n", "\n"), "genres")


@pytest.mark.parametrize("text", [r"['Act\x00ion']", r"[u'Act\u200bion',]", r"['Action', 'Act\ufeffion']"])
def test_characters_that_nobody_sees_are_no_part_of_names_in_lists(text):
    assert parse_list(text, "genres") == ["Action"]


def test_surrogates_in_lists_are_joined_or_rejected():
    assert parse_list(r"['\ud83d\ude00']", "genres") == ["😀"]
    for text in (r"['Studio \udce9']", r"['\ud83d']", r"['\ude00\ud83d']"):
        with pytest.raises(FieldError, match="half of a surrogate pair"):
            parse_list(text, "developer")
    assert parse_requirements(r"['OS: \udce9']").requirements == r"['OS: \udce9']"


@pytest.mark.parametrize("text", ["Action, Indie", "{'a': 1}", "{[1]}", "[1, 2]", "['a'"])
def test_anything_but_a_list_of_strings_is_rejected(text):
    with pytest.raises(FieldError, match="genres is not a list"):
        parse_list(text, "genres")


def test_repeats_and_blanks_in_a_list_are_dropped():
    assert parse_list("['Action', '', 'Action']", "genres") == ["Action"]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("(654,820)", StoreReviewCounts(total=654_820)),
        ("(57)", StoreReviewCounts(total=57)),
        ("(81% of 62,791)\xa0All Time", StoreReviewCounts(None, 0.81, 62_791)),
        ("()\xa0All Time", StoreReviewCounts()),
        ("", StoreReviewCounts()),
    ],
)
def test_totals_and_shares_of_review_counts_stay_apart(text, counts):
    assert parse_review_counts(text) == counts


@pytest.mark.parametrize("text", ["(,)", "(1,2,3)", "(81% of 1,2)", "(101% of 5)", "(999% of 5)", f"({'9' * 30})"])
def test_review_counts_that_are_no_numbers_are_rejected(text):
    with pytest.raises(FieldError, match="number_of_reviews_from_purchased_people"):
        parse_review_counts(text)


@pytest.mark.parametrize(
    "text",
    [
        "Pokémon", "Poke\u0301mon", "\ufeffPokémon", "Poké\u200bmon", "Pok\u00ad\u2060émon\u200e", "Po\u200dkémon",
        "Pok\0é&#8203;mon",
    ],
)  # fmt: skip
def test_names_that_look_the_same_are_the_same(text):
    assert parse_name(text) == "Pokémon"


def test_joiners_that_change_how_letters_are_written_stay():
    assert parse_name("می\u200cخواهم 👨\u200d👩") == "می\u200cخواهم 👨\u200d👩"


@pytest.mark.parametrize("text", ["NA", "<NA>", r"\N", "NULL", "null", "nan", "NaN", "None", " NA ", "", " \t"])
def test_what_stands_for_a_missing_name_is_an_unknown_author(text):
    assert parse_author(text) is None


@pytest.mark.parametrize(
    "text", ["nana", "Null", "na", "none", "ann ", "7e16", "76561198000000000", "1.5", "ann\u200b"]
)
def test_other_names_are_kept_as_they_are(text):
    assert parse_author(text) == text


def test_authors_names_are_composed():
    assert parse_author("\ufeffJose\u0301") == "José"


@pytest.mark.parametrize(
    "text", ["7.6561198e+16", "7,65612E+16", "7E+16", "7.656119809536954e+16", "76561198095369540.0"]
)
def test_an_id_that_a_spreadsheet_has_rounded_is_rejected(text):
    with pytest.raises(FieldError, match="username is an id that a spreadsheet has rounded: export it as text"):
        parse_author(text)


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
    ("memory", "gigabytes"),
    [
        ("512 MB RAM", 0.5), ("2GB", 2.0), ("1,5 GB RAM", 1.5), ("plenty", None), ("1,024 MB", 1.0),
        ("1,048,576 KB", 1.0), (f"{'9' * 400} GB", None),
    ],
)  # fmt: skip
def test_memory_is_read_in_any_unit(memory, gigabytes):
    assert parse_requirements(f"['Memory: {memory}']").ram_gb == gigabytes


def test_requirements_that_cannot_be_parsed_stay_text():
    parsed = parse_requirements("Any computer will do")
    assert parsed.requirements == "Any computer will do"
    assert parsed.ram_gb is None


def test_blank_requirements_are_none():
    assert parse_requirements("[]") is None
    assert parse_requirements("") is None


WRITTEN = st.text("0123456789,.-+eE%() of") | st.text("abNulVMrch 20151,:-@pmTZ+") | st.text("[]{}'\"\\, nuxd089aU\n")
TEXTS = WRITTEN | st.text() | st.text(st.characters(categories=["Cs", "Cf", "Mn", "Nd", "Zs"]))


@pytest.mark.parametrize(
    "parse",
    [
        parse_name,
        parse_author,
        parse_recommendation,
        parse_release_day,
        parse_requirements,
        parse_review_counts,
        lambda text: parse_decimal(text, "hours_played"),
        lambda text: parse_count(text, "helpful"),
        lambda text: parse_list(text, "genres"),
        lambda text: parse_review_day(text, TODAY),
    ],
)
@given(text=TEXTS)
def test_any_text_is_read_or_rejected_and_what_is_read_fits_into_the_database(parse, text):
    text = text.replace("\0", "").encode("utf-8", "ignore").decode()  # all that a row can hold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of escapes in lists
        with contextlib.suppress(FieldError):
            assert_storable(parse(text))


def assert_storable(value):
    match value:
        case str():
            assert "\0" not in value
            value.encode()
        case float():
            assert value == 0 or 1e-30 < value < 1e30
        case int():
            assert 0 <= value < 1 << 63
        case list() | tuple():
            for each in value:
                assert_storable(each)
        case ReviewDay() | StoreReviewCounts() | Requirements():
            assert_storable(list(vars(value).values()))
        case _:
            assert value is None or isinstance(value, date)


@given(st.floats(0, 1e9).map(lambda number: round(number, 2)))
def test_numbers_round_trip_with_and_without_separators(number):
    assert parse_decimal(f"{number:,.2f}", "hours_played") == parse_decimal(f"{number:.2f}", "hours_played") == number


@given(st.text())
def test_names_are_the_same_in_every_form_of_unicode(text):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert parse_name(composed) == parse_name(decomposed)
