-- Merge the staging tables into the operational schema, in the transaction that filled them. Existing rows are updated
-- only if they differ, so ids and `updated_at` stay, and loading the same file again writes nothing. If the shop inserts
-- the same name at the same moment, the load uses the shop's row.

-- name: users
INSERT INTO steam.users (username)
SELECT username FROM staged_reviews WHERE username IS NOT NULL
    AND NOT EXISTS (SELECT FROM steam.users WHERE users.username = staged_reviews.username)
GROUP BY username
ORDER BY min(line)
ON CONFLICT DO NOTHING;

-- name: games
-- From all three files, so that no row is lost because its game has no description.
INSERT INTO steam.games (name)
SELECT name FROM (
    SELECT 1 AS source, line, name FROM staged_games
    UNION ALL SELECT 2, line, game FROM staged_reviews
    UNION ALL SELECT 3, line, game FROM staged_rankings
) AS named
WHERE NOT EXISTS (SELECT FROM steam.games WHERE games.name = named.name)
GROUP BY name
ORDER BY min(ARRAY[source, line])
ON CONFLICT DO NOTHING;

-- name: game descriptions
UPDATE steam.games
SET (short_description, long_description, released_on, release_text, rating, reviews_total, positive_share,
     positive_share_of, english_reviews, link)
  = (staged.short_description, staged.long_description, staged.released_on, staged.release_text, staged.rating,
     staged.reviews_total, staged.positive_share, staged.positive_share_of, staged.english_reviews, staged.link)
FROM staged_games AS staged
WHERE games.name = staged.name
    AND (games.short_description, games.long_description, games.released_on, games.release_text, games.rating,
         games.reviews_total, games.positive_share, games.positive_share_of, games.english_reviews, games.link)
    IS DISTINCT FROM
        (staged.short_description, staged.long_description, staged.released_on, staged.release_text, staged.rating,
         staged.reviews_total, staged.positive_share, staged.positive_share_of, staged.english_reviews, staged.link);

-- name: system requirements
CREATE TEMP TABLE staged_requirements ON COMMIT DROP AS
SELECT games.game_id, listed.*
FROM staged_games
JOIN steam.games USING (name)
CROSS JOIN LATERAL jsonb_to_recordset(requirements) AS listed (
    level text, os text, processor text, ram_gb real, storage_gb real, graphics text, directx text, requirements text);

DELETE FROM steam.game_requirements AS old
USING staged_games JOIN steam.games USING (name)
WHERE old.game_id = games.game_id
    AND NOT EXISTS (SELECT FROM staged_requirements AS new WHERE (new.game_id, new.level) = (old.game_id, old.level));

INSERT INTO steam.game_requirements AS old
SELECT * FROM staged_requirements
ON CONFLICT (game_id, level) DO UPDATE
SET (os, processor, ram_gb, storage_gb, graphics, directx, requirements)
  = (excluded.os, excluded.processor, excluded.ram_gb, excluded.storage_gb, excluded.graphics, excluded.directx,
     excluded.requirements)
WHERE (old.os, old.processor, old.ram_gb, old.storage_gb, old.graphics, old.directx, old.requirements)
    IS DISTINCT FROM
      (excluded.os, excluded.processor, excluded.ram_gb, excluded.storage_gb, excluded.graphics, excluded.directx,
       excluded.requirements);

-- name: rankings
-- A ranking in the file is replaced as a whole: games that are no longer in it are removed.
DELETE FROM steam.rankings AS old
WHERE (genre, rank_type) IN (SELECT genre, rank_type FROM staged_rankings)
    AND NOT EXISTS (
        SELECT FROM staged_rankings AS new JOIN steam.games ON games.name = new.game
        WHERE (new.genre, new.rank_type, games.game_id) = (old.genre, old.rank_type, old.game_id));

INSERT INTO steam.rankings AS old (game_id, genre, rank_type, rank)
SELECT games.game_id, new.genre, new.rank_type, new.rank
FROM staged_rankings AS new JOIN steam.games ON games.name = new.game
ORDER BY new.line
ON CONFLICT (genre, rank_type, game_id) DO UPDATE SET rank = excluded.rank WHERE old.rank <> excluded.rank;

-- name: dates without a year
-- Reviews are never in the future: a later day belongs to the year before. The day of the load decides, and not the
-- file's newest date: Steam leaves out the year of this year's reviews, so they are newer than all that have a year.
UPDATE staged_reviews
SET reviewed_on = pg_temp.day_of(%(year)s - CASE
    WHEN pg_temp.day_of(%(year)s, month, day) > %(newest)s THEN 1 ELSE 0 END, month, day)
WHERE month IS NOT NULL;

-- name: reviews with ids
-- A review by a known author is identified by user and game, so that everything else in it can be corrected. A review by
-- an unknown author is identified by game, text and the date as written.
CREATE TEMP VIEW identified_reviews AS
SELECT staged_reviews.*, users.user_id, games.game_id,
    CASE WHEN users.user_id IS NULL THEN concat_ws('|', 'unknown', md5(coalesce(review, '')),
        coalesce(month || '-' || day, reviewed_on::text, 'undated')) END AS unknown_author
FROM staged_reviews
JOIN steam.games ON games.name = staged_reviews.game
LEFT JOIN steam.users ON users.username = staged_reviews.username;

-- name: repeated reviews
-- Reviews that are equal in these, such as a user's second review of a game, are numbered in order. Few are, and so this
-- sort has no texts, and the whole rows are sorted once, by line.
CREATE TEMP TABLE repeated_reviews ON COMMIT DROP AS
SELECT line, number
FROM (
    SELECT line, row_number() OVER (PARTITION BY game_id, user_id, unknown_author ORDER BY reviewed_on, line) AS number
    FROM identified_reviews
) AS numbered
WHERE number > 1;
ANALYZE repeated_reviews;

-- name: a key for each review
CREATE TEMP VIEW keyed_reviews AS
SELECT line, user_id, game_id, recommended, hours_played, helpful, funny, reviewed_on, review,
    md5(concat_ws('|', game_id, user_id, unknown_author, coalesce(number, 1)))::uuid AS source_key
FROM identified_reviews LEFT JOIN repeated_reviews USING (line);

-- name: first reviews
-- Nothing is compared with what is there, so the rows go from the staging table to the reviews at once.
INSERT INTO steam.reviews
    (user_id, game_id, recommended, hours_played, helpful, funny, reviewed_on, review, source_key)
SELECT user_id, game_id, recommended, hours_played, helpful, funny, reviewed_on, review, source_key
FROM keyed_reviews
ORDER BY line;

-- name: reviews to compare
CREATE TEMP TABLE compared_reviews ON COMMIT DROP AS SELECT * FROM keyed_reviews;
ANALYZE compared_reviews;

-- name: reviews that differ
UPDATE steam.reviews AS old
SET recommended = new.recommended, hours_played = new.hours_played, helpful = new.helpful, funny = new.funny,
    reviewed_on = new.reviewed_on, review = new.review, updated_at = now()
FROM compared_reviews AS new
WHERE old.source_key = new.source_key
    AND (old.recommended, old.hours_played, old.helpful, old.funny, old.reviewed_on, old.review)
    IS DISTINCT FROM (new.recommended, new.hours_played, new.helpful, new.funny, new.reviewed_on, new.review);

-- name: new reviews
INSERT INTO steam.reviews
    (user_id, game_id, recommended, hours_played, helpful, funny, reviewed_on, review, source_key)
SELECT user_id, game_id, recommended, hours_played, helpful, funny, reviewed_on, review, source_key
FROM compared_reviews AS new
WHERE NOT EXISTS (SELECT FROM steam.reviews AS old WHERE old.source_key = new.source_key)
ORDER BY line;
