-- The explorer's queries, each a prepared statement; every value of a request is one of $1, $2, ….

-- name: card
-- The facts of the game shown.game_id, and the name and genres of its reason, the game shown.because. Not a query by
-- itself: those below contain it. OFFSET 0 keeps it a lookup per game, whatever number of games the planner expects.
SELECT g.name, g.released_on, coalesce(g.positive_share, v.positive_share) AS positive_share,
       coalesce(g.reviews_total, v.reviews) AS reviews, g.link, b.name AS because_name,
       ARRAY(SELECT t.genre_id FROM steam.game_genres AS t WHERE t.game_id = shown.game_id) AS genre_ids,
       ARRAY(SELECT t.genre_id FROM steam.game_genres AS t WHERE t.game_id = shown.because) AS because_genre_ids
FROM steam.games AS g
LEFT JOIN recsys.game_reviews AS v ON v.game_id = g.game_id
LEFT JOIN steam.games AS b ON b.game_id = shown.because
WHERE g.game_id = shown.game_id OFFSET 0

-- name: cards
SELECT shown.place, card.*
FROM unnest($1::integer[], $2::integer[]) WITH ORDINALITY AS shown (game_id, because, place)
CROSS JOIN LATERAL ({card}) AS card
ORDER BY shown.place

-- name: genre_tags
SELECT genre_id, name, games FROM steam.genres LEFT JOIN recsys.genre_sizes USING (genre_id) ORDER BY name

-- name: recommendations
-- The views' rows have their version, and a view cannot be repointed while a statement reads it: version and games
-- always belong together. A user whose taste is unknown has lists, too, and taste is 0 in them.
SELECT current.version, shown.game_id, shown.taste, shown.popularity, shown.reason, shown.because, card.*,
       (SELECT CASE WHEN bool_or(e.taste <> 0) THEN max(e.taste) END
        FROM (SELECT unnest(l.taste) AS taste FROM recsys.recommendations AS l WHERE l.user_id = $1) AS e) AS best
FROM (SELECT coalesce((SELECT version FROM recsys.popular_games LIMIT 1),
                      (SELECT version FROM recsys.recommendations LIMIT 1)) AS version) AS current
LEFT JOIN LATERAL recsys.recommended_games(
    p_user_id => $1, p_rank_by => $2, p_genre => $3, p_max_ram_gb => $4::float8::numeric, p_limit => $5,
    p_released_from => $6, p_released_to => $7, p_max_storage_gb => $8::float8::numeric, p_os => $9,
    p_exclude => $10) AS shown ON true
LEFT JOIN LATERAL ({card}) AS card ON true
ORDER BY shown.rank

-- name: shelves
-- A game has the same taste in all of a user's lists.
WITH own AS MATERIALIZED (
    SELECT DISTINCT ON (e.game_id) e.game_id, e.taste, e.popularity
    FROM recsys.recommendations AS l, unnest(l.game_ids, l.taste, l.popularity) AS e (game_id, taste, popularity)
    WHERE l.user_id = $1
    ORDER BY e.game_id, l.list <> 'relevance', l.list
)
SELECT current.version, shown.shelf, shown.title, shown.game_id, own.taste, own.popularity, shown.reason,
       shown.because, card.*, (SELECT CASE WHEN bool_or(taste <> 0) THEN max(taste) END FROM own) AS best
FROM (SELECT coalesce((SELECT version FROM recsys.popular_games LIMIT 1),
                      (SELECT version FROM recsys.recommendations LIMIT 1)) AS version) AS current
LEFT JOIN LATERAL recsys.shelves(p_user_id => $1, p_shelves => $2, p_games => $3) AS shown ON true
LEFT JOIN own ON own.game_id = shown.game_id
LEFT JOIN LATERAL ({card}) AS card ON true
ORDER BY shown.shelf, shown.rank

-- name: live_history
-- The newest reviews, the newest of them last.
SELECT game_id, recommended, hours_played
FROM (
    SELECT game_id, recommended, hours_played, CASE WHEN isfinite(reviewed_on) THEN reviewed_on END AS reviewed_on,
        review_id
    FROM steam.reviews WHERE user_id = $1
    ORDER BY 4 DESC NULLS LAST, review_id DESC LIMIT $2
) AS newest
ORDER BY reviewed_on NULLS FIRST, review_id

-- name: dismissed_games
SELECT game_id FROM recsys.dismissals WHERE user_id = $1 ORDER BY dismissed_at DESC LIMIT $2

-- name: delisted_games
SELECT game_id FROM steam.games WHERE delisted_on <= $1

-- name: user
SELECT user_id, username, (SELECT count(*) FROM steam.reviews AS v WHERE v.user_id = u.user_id) AS reviews
FROM steam.users AS u WHERE user_id = $1

-- name: find_users
-- Names that begin with the text are sorted by number of reviews, among the first thousand names.
SELECT user_id, username, reviews
FROM (
    SELECT DISTINCT ON (user_id) user_id, username, place,
        (SELECT count(*) FROM steam.reviews AS v WHERE v.user_id = found.user_id) AS reviews
    FROM (
        (SELECT user_id, username, 0 AS place FROM steam.users WHERE user_id = $1::bigint)
        UNION ALL
        (SELECT user_id, username, 1 FROM steam.users WHERE username = $2)
        UNION ALL
        (SELECT user_id, username, 2 FROM steam.users WHERE starts_with(username, $2) ORDER BY username LIMIT 1000)
    ) AS found
    ORDER BY user_id, place
) AS named
ORDER BY place, reviews DESC, username
LIMIT $3 OFFSET $4

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
-- Of the newest users. They are shuffled first, so that only those before the first one without reviews are looked up.
SELECT user_id, username, 0::bigint AS reviews
FROM (
    SELECT user_id, username
    FROM (SELECT user_id, username FROM steam.users ORDER BY user_id DESC LIMIT 10000) AS newest
    ORDER BY random() OFFSET 0
) AS shuffled
WHERE NOT EXISTS (SELECT FROM steam.reviews AS v WHERE v.user_id = shuffled.user_id OFFSET 0)
LIMIT 1

-- name: history
-- Each game once, with its latest review; those after a given day, null if unknown, and id of a review, if there is one.
SELECT game_id, name, recommended, hours_played AS hours, reviewed_on, review_id
FROM (
    SELECT DISTINCT ON (game_id) game_id, recommended, hours_played, review_id,
           -- A day that Python cannot hold, such as infinity, is unknown.
           CASE WHEN reviewed_on BETWEEN '0001-01-01' AND '9999-12-31' THEN reviewed_on END AS reviewed_on
    FROM steam.reviews WHERE user_id = $1
    ORDER BY game_id, reviewed_on DESC NULLS LAST, review_id DESC
) AS latest
JOIN steam.games USING (game_id)
WHERE $4::bigint IS NULL
   OR (coalesce(reviewed_on, '-infinity'), review_id) < (coalesce($3::date, '-infinity'), $4::bigint)
ORDER BY reviewed_on DESC NULLS LAST, review_id DESC
LIMIT $2

-- name: find_games
-- Names that are the text or begin with it, then those with words that do, then those with such initials; if there are
-- none, names that are like the text. A text without letters and digits is looked for as it is. Each part has enough
-- rows for the page, also after those that an earlier part has, too.
WITH found AS MATERIALIZED (
    (SELECT game_id, (search_key <> steam.search_key($1::text))::integer AS place, reviews_total
     FROM steam.games
     WHERE steam.search_key($1::text) <> '' AND starts_with(search_key, steam.search_key($1::text))
       -- "portal 2" is not the beginning of "Portal 2000".
       AND (steam.search_key($1::text) !~ '[0-9]$' OR substr(search_key, length(steam.search_key($1::text)) + 1) !~ '^[0-9]')
     ORDER BY place, reviews_total DESC NULLS LAST, game_id LIMIT $2::bigint + $3::bigint)
    UNION ALL
    (SELECT game_id, 2, reviews_total
     FROM steam.games WHERE steam.search_terms(name) @@ steam.search_query($1::text)
     ORDER BY reviews_total DESC NULLS LAST, game_id LIMIT 2 * ($2::bigint + $3::bigint))
    UNION ALL
    (SELECT game_id, 3, reviews_total
     FROM steam.games
     WHERE length(steam.search_key($1::text)) > 1
       AND steam.search_terms(name) @@ ('''=' || left(steam.search_key($1::text), 60) || ''':*')::tsquery
     ORDER BY reviews_total DESC NULLS LAST, game_id LIMIT 3 * ($2::bigint + $3::bigint))
    UNION ALL
    (SELECT game_id, 4, reviews_total
     FROM steam.games WHERE steam.search_key($1::text) = '' AND strpos(lower(name), lower($1::text)) > 0
     ORDER BY reviews_total DESC NULLS LAST, game_id LIMIT $2::bigint + $3::bigint)
)
SELECT game_id
FROM (
    SELECT game_id, min(place)::real AS place, reviews_total FROM found GROUP BY game_id, reviews_total
    UNION ALL
    SELECT game_id, 5 - similarity, reviews_total
    FROM steam.similar_names($1::text)
    WHERE NOT EXISTS (SELECT FROM found)
) AS each
ORDER BY place, reviews_total DESC NULLS LAST, game_id
LIMIT $2::bigint OFFSET $3::bigint

-- name: game
SELECT games.game_id, name, short_description, released_on, delisted_on, rating, link,
    coalesce(games.positive_share, v.positive_share) AS positive_share, coalesce(reviews_total, v.reviews) AS reviews,
    ARRAY(SELECT genres.name FROM steam.game_genres JOIN steam.genres USING (genre_id)
          WHERE game_genres.game_id = games.game_id ORDER BY 1) AS genres,
    ARRAY(SELECT developers.name FROM steam.game_developers JOIN steam.developers USING (developer_id)
          WHERE game_developers.game_id = games.game_id ORDER BY 1) AS developers,
    ARRAY(SELECT publishers.name FROM steam.game_publishers JOIN steam.publishers USING (publisher_id)
          WHERE game_publishers.game_id = games.game_id ORDER BY 1) AS publishers
FROM steam.games LEFT JOIN recsys.game_reviews AS v USING (game_id) WHERE games.game_id = $1

-- name: requirements
SELECT level, os, processor, graphics, directx, ram_gb, storage_gb
FROM steam.game_requirements WHERE game_id = $1 ORDER BY level

-- name: genres
-- The genres that games are tagged with or ranked in, and how many games had each tag at the last publication. Hops from
-- genre to genre along the primary key of the rankings, as every page with filters runs this.
WITH RECURSIVE ranked (genre) AS (
    SELECT min(genre) FROM steam.rankings
    UNION ALL
    SELECT (SELECT min(k.genre) FROM steam.rankings AS k WHERE k.genre > ranked.genre)
    FROM ranked WHERE ranked.genre IS NOT NULL
)
SELECT name, max(games) AS games
FROM (
    SELECT name, games FROM steam.genres LEFT JOIN recsys.genre_sizes USING (genre_id)
    UNION ALL
    SELECT genre, NULL FROM ranked WHERE genre IS NOT NULL
) AS named
GROUP BY name ORDER BY name

-- name: publication
SELECT version, model_version, snapshot_id, users, rows, as_of, published_at, made_current_at, current,
    overlap, coverage, popular_ten, control_share
FROM recsys.publications WHERE current

-- name: publications
SELECT version, model_version, snapshot_id, users, rows, as_of, published_at, made_current_at, current,
    overlap, coverage, popular_ten, control_share
FROM recsys.publications WHERE first_switch IS NOT NULL ORDER BY first_switch DESC LIMIT 20

-- name: previous_publication
-- The one that a rollback without a version makes current: see `steam_recsys.publications.versions.rollback_target`.
SELECT version FROM recsys.publications
WHERE first_switch < (SELECT first_switch FROM recsys.publications WHERE current)
ORDER BY last_switch DESC LIMIT 1

-- name: runs
-- Of the refreshes, which run every few minutes, only the last five.
SELECT run_id, pipeline, state, error, started_at, finished_at, stages
FROM recsys.pipeline_runs
WHERE pipeline <> 'refresh' OR run_id IN (
    SELECT run_id FROM recsys.pipeline_runs WHERE pipeline = 'refresh' ORDER BY finished_at DESC NULLS LAST LIMIT 5)
ORDER BY finished_at DESC NULLS LAST LIMIT 20

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

-- name: monitoring
SELECT measured_at, as_of, run_id, model_version, retrain, reasons, figures, feedback
FROM recsys.monitoring ORDER BY measured_at DESC LIMIT 60

-- name: counts
-- Above a million rows PostgreSQL's estimate, as a count would take seconds. A table of which it has none, as after an
-- upgrade, is estimated from its size, at 100 bytes per row.
SELECT (SELECT CASE WHEN reltuples > 1e6 THEN reltuples::bigint WHEN reltuples < 0 AND size > 1e8 THEN size / 100
                    ELSE (SELECT count(*) FROM steam.users) END
        FROM pg_class, pg_relation_size(oid) AS size WHERE oid = 'steam.users'::regclass) AS users,
       (SELECT CASE WHEN reltuples > 1e6 THEN reltuples::bigint WHEN reltuples < 0 AND size > 1e8 THEN size / 100
                    ELSE (SELECT count(*) FROM steam.reviews) END
        FROM pg_class, pg_relation_size(oid) AS size WHERE oid = 'steam.reviews'::regclass) AS reviews,
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

-- name: minimum_requirements
SELECT game_id, ram_gb, storage_gb, recsys.systems_of(os) AS systems
FROM steam.game_requirements WHERE level = 'minimum' AND game_id = ANY ($1::integer[])

-- name: personas
-- Of each genre's popular games those with most reviews; the genres with most games first.
SELECT n.name AS genre, ARRAY(
    SELECT g.game_id
    FROM recsys.popular_games AS p JOIN steam.games AS g USING (game_id)
    WHERE p.list = 'popular' AND p.genre = n.name AND p.rank <= 40
    ORDER BY g.reviews_total DESC NULLS LAST, p.rank) AS game_ids
FROM recsys.genre_sizes AS z JOIN steam.genres AS n USING (genre_id)
ORDER BY z.games DESC, n.genre_id
LIMIT 100
