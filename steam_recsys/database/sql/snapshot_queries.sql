-- The rows of a snapshot with keys from %(first)s (inclusive) to %(end)s (exclusive). Columns have the order and names
-- of steam_recsys/data/schemas.py. Tables that are copied in the binary format send a null as the lowest value of its
-- type (see steam_recsys/database/copy.py), so a day of -infinity and an author with the id -2^63 count as unknown, as
-- does a day of infinity. In other tables a date is a number of days since
-- 1970-01-01, as PostgreSQL's dates go beyond those of Python; infinity is the last day of Python's, -infinity the first.

-- name: reviews
SELECT review_id, coalesce(user_id, -9223372036854775808), game_id, recommended, coalesce(hours_played, '-infinity'),
    helpful, funny, coalesce(nullif(reviewed_on, 'infinity'), '-infinity'), updated_at
FROM steam.reviews
WHERE review_id >= %(first)s AND review_id < %(end)s
ORDER BY review_id

-- name: users
SELECT user_id FROM steam.users WHERE user_id >= %(first)s AND user_id < %(end)s ORDER BY user_id

-- name: games
SELECT games.game_id, name,
    CASE WHEN isfinite(released_on) THEN released_on - date '1970-01-01' WHEN released_on > '1970-01-01' THEN 2932896
        WHEN released_on < '1970-01-01' THEN -719162 END AS released_on,
    CASE WHEN isfinite(delisted_on) THEN delisted_on - date '1970-01-01' WHEN delisted_on > '1970-01-01' THEN 2932896
        WHEN delisted_on < '1970-01-01' THEN -719162 END AS delisted_on,
    ARRAY(SELECT genres.name FROM steam.game_genres JOIN steam.genres USING (genre_id)
          WHERE game_genres.game_id = games.game_id ORDER BY genre_id) AS genres,
    ARRAY(SELECT developers.name FROM steam.game_developers JOIN steam.developers USING (developer_id)
          WHERE game_developers.game_id = games.game_id ORDER BY developer_id) AS developers,
    ARRAY(SELECT publishers.name FROM steam.game_publishers JOIN steam.publishers USING (publisher_id)
          WHERE game_publishers.game_id = games.game_id ORDER BY publisher_id) AS publishers,
    ram_gb, storage_gb, os, coalesce(short_description, long_description) AS description
FROM steam.games LEFT JOIN steam.game_requirements ON game_requirements.game_id = games.game_id AND level = 'minimum'
WHERE games.game_id >= %(first)s AND games.game_id < %(end)s
ORDER BY games.game_id

-- name: rankings
SELECT game_id, genre, rank_type, rank FROM steam.rankings
WHERE game_id >= %(first)s AND game_id < %(end)s
ORDER BY game_id, genre, rank_type
