-- Temporary tables that COPY fills with the rows of a load, and memory to sort and join them; until the commit.

SET LOCAL work_mem = '64MB';
SET LOCAL maintenance_work_mem = '256MB';

CREATE TEMP TABLE staged_games (
    line bigint,
    name text,
    short_description text,
    long_description text,
    released_on date,
    release_text text,
    rating text,
    reviews_total bigint,
    positive_share real,
    positive_share_of bigint,
    english_reviews bigint,
    link text,
    genres jsonb,
    developers jsonb,
    publishers jsonb,
    requirements jsonb
) ON COMMIT DROP;

CREATE TEMP TABLE staged_reviews (
    line bigint,
    username text,
    game text,
    recommended boolean,
    hours_played real,
    helpful bigint,
    funny bigint,
    reviewed_on date,
    month smallint,   -- month and day of a date without a year
    day smallint,
    review text
) ON COMMIT DROP;

-- A date, or null if the year does not have it. A pooler's connection may still have the function of an earlier load.
CREATE OR REPLACE FUNCTION pg_temp.day_of(year integer, month integer, day integer) RETURNS date LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN day <= extract(day FROM make_date(year, month, 1) + interval '1 month - 1 day')
        THEN make_date(year, month, day) END
$$;

CREATE TEMP TABLE staged_rankings (line bigint, game text, genre text, rank_type text, rank integer) ON COMMIT DROP;
