-- The explorer's queries, each a prepared statement; every value of a request is one of $1, $2, ….

-- name: recommendations
-- The views' rows have their version, and a view cannot be repointed while a statement reads it: version and games
-- always belong together. The score says which of the user's lists a game is from; popular games are from none.
WITH own AS MATERIALIZED (
    SELECT l.list, e.game_id, e.taste, e.popularity, e.because, e.taste + e.popularity AS score
    FROM recsys.recommendations AS l,
         unnest(l.game_ids, l.taste, l.popularity, l.because) AS e (game_id, taste, popularity, because)
    WHERE l.user_id = $1
)
SELECT shown.version, r.rank, r.game_id, r.game, r.score, listed.taste, listed.popularity, r.reason,
       CASE WHEN starts_with(r.reason, $10) THEN listed.because END AS because
FROM (SELECT coalesce((SELECT version FROM recsys.popular_games LIMIT 1),
                      (SELECT version FROM recsys.recommendations LIMIT 1)) AS version) AS shown
LEFT JOIN LATERAL recsys.recommended_games(
    p_user_id => $1, p_rank_by => $2, p_genre => $3, p_max_ram_gb => $4::float8::numeric, p_limit => $5,
    p_released_from => $6, p_released_to => $7, p_max_storage_gb => $8::float8::numeric, p_os => $9) AS r ON true
LEFT JOIN LATERAL (
    SELECT own.taste, own.popularity, own.because FROM own WHERE own.game_id = r.game_id AND own.score = r.score
    -- Lists of equal weight have equal scores. The order's own list comes first, then those that fill it up.
    ORDER BY own.list <> $2, own.list NOT IN ('relevance', 'interests') LIMIT 1
) AS listed ON true
ORDER BY r.rank

-- name: shelves
SELECT shown.version, s.shelf, s.title, s.rank, s.game_id, s.game, s.reason
FROM (SELECT coalesce((SELECT version FROM recsys.popular_games LIMIT 1),
                      (SELECT version FROM recsys.recommendations LIMIT 1)) AS version) AS shown
LEFT JOIN LATERAL recsys.shelves(p_user_id => $1, p_shelves => $2, p_games => $3) AS s ON true
ORDER BY s.shelf, s.rank

-- name: live_history
-- The newest reviews, the newest of them last.
SELECT game_id, recommended, hours_played
FROM (
    SELECT game_id, recommended, hours_played, reviewed_on, review_id
    FROM steam.reviews WHERE user_id = $1
    ORDER BY reviewed_on DESC NULLS LAST, review_id DESC LIMIT $2
) AS newest
ORDER BY reviewed_on NULLS FIRST, review_id

-- name: user
SELECT user_id, username, (SELECT count(*) FROM steam.reviews AS v WHERE v.user_id = u.user_id) AS reviews
FROM steam.users AS u WHERE user_id = $1

-- name: find_users
SELECT user_id, username, (SELECT count(*) FROM steam.reviews AS v WHERE v.user_id = named.user_id) AS reviews
FROM (
    SELECT user_id, username, min(place) AS place
    FROM (
        (SELECT user_id, username, 0 AS place FROM steam.users WHERE user_id = $1::bigint)
        UNION ALL
        (SELECT user_id, username, 1 FROM steam.users WHERE username = $2)
        UNION ALL
        (SELECT user_id, username, 2 FROM steam.users WHERE starts_with(username, $2) ORDER BY username LIMIT $3)
    ) AS found
    GROUP BY user_id, username ORDER BY min(place), username LIMIT $3
) AS named
ORDER BY place, username

-- name: many-reviews
-- From a sample of about 100,000 reviews: users with many of these have many in all.
SELECT user_id, username, (SELECT count(*) FROM steam.reviews AS v WHERE v.user_id = u.user_id) AS reviews
FROM (
    SELECT user_id
    FROM steam.reviews TABLESAMPLE SYSTEM (
        (SELECT least(100, 1e7 / greatest(reltuples, 1)) FROM pg_class WHERE oid = 'steam.reviews'::regclass))
    WHERE user_id IS NOT NULL GROUP BY user_id ORDER BY count(*) DESC, user_id LIMIT 20
) AS many
JOIN steam.users AS u USING (user_id)
ORDER BY random() LIMIT 1

-- name: one-review
SELECT user_id, username, 1::bigint AS reviews
FROM (
    SELECT user_id
    FROM steam.reviews TABLESAMPLE SYSTEM (
        (SELECT least(100, 1e7 / greatest(reltuples, 1)) FROM pg_class WHERE oid = 'steam.reviews'::regclass))
    WHERE user_id IS NOT NULL GROUP BY user_id HAVING count(*) = 1 ORDER BY random() LIMIT 1000
) AS few
JOIN steam.users AS u USING (user_id)
WHERE (SELECT count(*) FROM steam.reviews AS v WHERE v.user_id = u.user_id) = 1
LIMIT 1

-- name: new
SELECT user_id, username, 0::bigint AS reviews
FROM (SELECT user_id, username FROM steam.users ORDER BY user_id DESC LIMIT 10000) AS newest
WHERE NOT EXISTS (SELECT FROM steam.reviews AS v WHERE v.user_id = newest.user_id OFFSET 0)
LIMIT 1

-- name: history
SELECT game_id, name, recommended, hours_played, reviewed_on
FROM steam.reviews JOIN steam.games USING (game_id)
WHERE user_id = $1
ORDER BY reviewed_on DESC NULLS LAST, review_id DESC
LIMIT $2

-- name: find_games
SELECT game_id, name FROM steam.games
WHERE strpos(lower(name), lower($1)) > 0
ORDER BY lower(name) <> lower($1), strpos(lower(name), lower($1)) > 1, reviews_total DESC NULLS LAST, name
LIMIT $2

-- name: game_names
SELECT game_id, name
FROM unnest($1::integer[]) WITH ORDINALITY AS asked (game_id, place) JOIN steam.games USING (game_id)
ORDER BY place

-- name: release_days
SELECT game_id, released_on FROM steam.games WHERE game_id = ANY ($1::integer[])

-- name: game
SELECT game_id, name, short_description, released_on, delisted_on, rating, positive_share, link,
    reviews_total AS reviews,
    ARRAY(SELECT genres.name FROM steam.game_genres JOIN steam.genres USING (genre_id)
          WHERE game_genres.game_id = games.game_id ORDER BY 1) AS genres,
    ARRAY(SELECT developers.name FROM steam.game_developers JOIN steam.developers USING (developer_id)
          WHERE game_developers.game_id = games.game_id ORDER BY 1) AS developers,
    ARRAY(SELECT publishers.name FROM steam.game_publishers JOIN steam.publishers USING (publisher_id)
          WHERE game_publishers.game_id = games.game_id ORDER BY 1) AS publishers
FROM steam.games WHERE game_id = $1

-- name: requirements
SELECT level, os, processor, graphics, directx, ram_gb, storage_gb
FROM steam.game_requirements WHERE game_id = $1 ORDER BY level

-- name: genres
-- Hops from genre to genre along the primary key of the rankings, as every page with filters runs this.
WITH RECURSIVE ranked (genre) AS (
    SELECT min(genre) FROM steam.rankings
    UNION ALL
    SELECT (SELECT min(k.genre) FROM steam.rankings AS k WHERE k.genre > ranked.genre)
    FROM ranked WHERE ranked.genre IS NOT NULL
)
SELECT name FROM steam.genres UNION SELECT genre FROM ranked WHERE genre IS NOT NULL ORDER BY 1

-- name: publication
SELECT version, model_version, snapshot_id, users, rows, as_of, published_at, made_current_at, current,
    overlap, coverage, popular_ten
FROM recsys.publications WHERE current

-- name: publications
SELECT version, model_version, snapshot_id, users, rows, as_of, published_at, made_current_at, current,
    overlap, coverage, popular_ten
FROM recsys.publications WHERE first_switch IS NOT NULL ORDER BY first_switch DESC LIMIT 20

-- name: runs
SELECT run_id, pipeline, state, error, started_at, finished_at, stages
FROM recsys.pipeline_runs ORDER BY finished_at DESC NULLS LAST LIMIT 20

-- name: training
-- The last run that evaluated a model.
SELECT run_id, pipeline, state, error, started_at, finished_at, stages
FROM recsys.pipeline_runs
WHERE stages @> jsonb_build_array(
    jsonb_build_object('stage', 'evaluate', 'facts', jsonb_build_object('version', $1::text)))
ORDER BY finished_at DESC NULLS LAST LIMIT 1

-- name: last_runs
-- The last run of each pipeline and final state.
SELECT DISTINCT ON (pipeline, state) run_id, pipeline, state, error, started_at, finished_at, stages
FROM recsys.pipeline_runs ORDER BY pipeline, state, finished_at DESC NULLS LAST

-- name: publishing_runs
-- What the last runs published, as their stage that publishes recorded it.
SELECT finished_at, extract(epoch FROM finished_at - started_at)::float8 AS seconds, facts
FROM recsys.pipeline_runs,
    jsonb_path_query_first(stages, '$[*] ? (@.stage == "reverse_etl" && @.facts.switched == true).facts') AS facts
WHERE state = 'SUCCEEDED' AND finished_at IS NOT NULL AND facts IS NOT NULL
ORDER BY finished_at DESC LIMIT 60

-- name: is_monitored
SELECT to_regclass('recsys.monitoring') IS NOT NULL

-- name: monitoring
SELECT measured_at, as_of, run_id, model_version, retrain, reasons, figures
FROM recsys.monitoring ORDER BY measured_at DESC LIMIT 60

-- name: counts
-- Above a million rows PostgreSQL's estimate, as a count would take seconds.
SELECT (SELECT CASE WHEN reltuples > 1e6 THEN reltuples::bigint ELSE (SELECT count(*) FROM steam.users) END
        FROM pg_class WHERE oid = 'steam.users'::regclass) AS users,
       (SELECT CASE WHEN reltuples > 1e6 THEN reltuples::bigint ELSE (SELECT count(*) FROM steam.reviews) END
        FROM pg_class WHERE oid = 'steam.reviews'::regclass) AS reviews,
       (SELECT count(*) FROM steam.games) AS games

-- name: reach
-- A view cannot be sampled, so this samples the shop's users.
WITH lists AS MATERIALIZED (
    SELECT game_ids FROM steam.users TABLESAMPLE SYSTEM ($1) REPEATABLE (0) JOIN recsys.recommendations USING (user_id)
    WHERE list = 'relevance'
)
SELECT game_id, count(*) AS users, avg(rank)::float8 AS mean_rank, (SELECT count(*) FROM lists) AS sampled
FROM lists, unnest(game_ids) WITH ORDINALITY AS listed (game_id, rank)
GROUP BY game_id
