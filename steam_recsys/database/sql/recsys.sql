-- What the pipelines publish for the shop. Its developers use recsys.recommended_games(...), recsys.shelves(...), the
-- views recsys.recommendations and recsys.popular_games, and recsys.publications. The rest belongs to the pipelines.

CREATE SCHEMA recsys;
COMMENT ON SCHEMA recsys IS
    'Game recommendations, published daily. Start with recsys.recommended_games(user_id) or recsys.shelves(user_id).';

CREATE TABLE recsys.schema_version (version integer PRIMARY KEY);

CREATE TABLE recsys.publications (
    version text PRIMARY KEY,
    model_version text NOT NULL,
    snapshot_id text NOT NULL,
    users bigint NOT NULL,
    rows bigint NOT NULL,
    overlap real,
    coverage real,
    popular_ten real,
    as_of date NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    made_current_at timestamptz,
    first_switch bigint UNIQUE,
    last_switch bigint UNIQUE,
    current boolean NOT NULL DEFAULT false CHECK (NOT current OR first_switch IS NOT NULL)
);
CREATE UNIQUE INDEX publications_current ON recsys.publications (current) WHERE current;

COMMENT ON TABLE recsys.publications IS
    'The versions of the recommendations that are kept. The views show one of them, the current version.';
COMMENT ON COLUMN recsys.publications.model_version IS 'The model that made the recommendations.';
COMMENT ON COLUMN recsys.publications.snapshot_id IS 'The snapshot of the schema steam that the recommendations were made from.';
COMMENT ON COLUMN recsys.publications.users IS 'Users with personal recommendations.';
COMMENT ON COLUMN recsys.publications.rows IS 'Recommended games, summed over those users and their lists.';
COMMENT ON COLUMN recsys.publications.overlap IS
    'The mean Jaccard index of the first ten relevant games of two random users: 1 if all users see the same. Null: unknown.';
COMMENT ON COLUMN recsys.publications.coverage IS
    'The share of the shop''s games that are among the first ten relevant games of at least one user. Null: unknown.';
COMMENT ON COLUMN recsys.publications.popular_ten IS
    'The share of users whose first ten relevant games are the most popular games that are not excluded for them. Null: unknown.';
COMMENT ON COLUMN recsys.publications.as_of IS 'The day up to which recent popularity was counted.';
COMMENT ON COLUMN recsys.publications.created_at IS 'When publishing this version began.';
COMMENT ON COLUMN recsys.publications.published_at IS
    'When this version first became current; null if it never did, for example while it is being published.';
COMMENT ON COLUMN recsys.publications.made_current_at IS 'When this version last became current, by publication or rollback.';
COMMENT ON COLUMN recsys.publications.first_switch IS
    'The number of the switch that first made this version current. Versions are ordered by this count, not by a clock.';
COMMENT ON COLUMN recsys.publications.last_switch IS 'The number of the switch that last made this version current.';
COMMENT ON COLUMN recsys.publications.current IS 'Whether the views show this version; true for at most one.';

CREATE TABLE recsys.pipeline_runs (
    run_id text PRIMARY KEY,
    pipeline text NOT NULL,
    state text NOT NULL,
    error text,
    started_at timestamptz,
    finished_at timestamptz,
    stages jsonb NOT NULL DEFAULT '[]'
);
COMMENT ON TABLE recsys.pipeline_runs IS 'Runs of the pipelines: how each ended, and the time, memory and figures of its stages.';
COMMENT ON COLUMN recsys.pipeline_runs.error IS 'Why the run failed; null if it did not.';
COMMENT ON COLUMN recsys.pipeline_runs.stages IS
    'One object per stage: its name, seconds, peak memory in MB, facts, and the error if it failed.';

CREATE TABLE recsys.monitoring (
    run_id text PRIMARY KEY,
    measured_at timestamptz NOT NULL,
    as_of date NOT NULL,
    model_version text,
    retrain boolean NOT NULL,
    reasons jsonb NOT NULL DEFAULT '[]',
    figures jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ON recsys.monitoring (measured_at);
COMMENT ON TABLE recsys.monitoring IS
    'What each inference run measured: realised quality, drift since training, and whether to train again.';
COMMENT ON COLUMN recsys.monitoring.as_of IS 'The day after the newest review.';
COMMENT ON COLUMN recsys.monitoring.model_version IS 'The champion that was monitored; null if there was none.';
COMMENT ON COLUMN recsys.monitoring.reasons IS 'One sentence for each limit that was exceeded.';
COMMENT ON COLUMN recsys.monitoring.figures IS 'Numbers by name; null if there was nothing to measure.';

CREATE TABLE recsys.genre_sizes (genre_id integer PRIMARY KEY, games bigint NOT NULL);
COMMENT ON TABLE recsys.genre_sizes IS 'How many games had each genre of steam.genres at the last publication.';

-- Empty until the first publication. Every publication repoints both views in one transaction.
CREATE VIEW recsys.recommendations AS
    SELECT NULL::bigint AS user_id, NULL::text COLLATE "C" AS list, NULL::integer[] AS game_ids, NULL::real[] AS taste,
           NULL::real[] AS popularity, NULL::integer[] AS because, NULL::text AS version, NULL::text AS model_version
    WHERE false;
CREATE VIEW recsys.popular_games AS
    SELECT NULL::text COLLATE "C" AS list, NULL::text AS genre, NULL::integer AS rank, NULL::integer AS game_id,
           NULL::real AS score, NULL::text AS version
    WHERE false;

COMMENT ON VIEW recsys.recommendations IS
    'The current recommendations, one row per user and list. Users who have reviewed every game have none. Empty at first.';
COMMENT ON COLUMN recsys.recommendations.list IS
    'relevance: the best games, which every user here has; interests: games of the user''s taste; discovery: such games outside the most popular ones; new_releases: games released recently.';
COMMENT ON COLUMN recsys.recommendations.game_ids IS
    'Games of steam.games, those with the highest scores first; at least one, without repeats.';
COMMENT ON COLUMN recsys.recommendations.taste IS
    'For each of game_ids, the personal part of the model''s score. The score is taste + popularity.';
COMMENT ON COLUMN recsys.recommendations.popularity IS
    'For each of game_ids, what its popularity adds to the score in this list. Scores are comparable only within one row.';
COMMENT ON COLUMN recsys.recommendations.because IS
    'For each of game_ids, a game that the user liked and without which it would not be in the list; null if there is none.';
COMMENT ON COLUMN recsys.recommendations.version IS 'The published version, the same in every row.';
COMMENT ON COLUMN recsys.recommendations.model_version IS 'The model that made the recommendations, the same in every row.';
COMMENT ON VIEW recsys.popular_games IS
    'The current fallback lists: for visitors, and when filters leave too few games. Empty at first.';
COMMENT ON COLUMN recsys.popular_games.list IS
    'popular: popular games, overall and by genre; new_releases: the most popular of the games released recently; discovery: well-liked games outside the most popular ones.';
COMMENT ON COLUMN recsys.popular_games.genre IS 'A genre; the empty string for the overall list.';
COMMENT ON COLUMN recsys.popular_games.rank IS 'The rank within the list and genre, from 1.';
COMMENT ON COLUMN recsys.popular_games.score IS 'What the list is sorted by; not comparable with the users'' scores.';
COMMENT ON COLUMN recsys.popular_games.version IS 'The published version, the same in every row.';

-- Each publication runs the rest of this file again, from here to the end.

-- A single expression, so that PostgreSQL inlines it into the calling query.
CREATE OR REPLACE FUNCTION recsys.systems_of(p_os text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
SELECT array_remove(ARRAY[
    CASE WHEN p_os ~* '\mwin|\mvista|\mxp\M' THEN 'windows' END,
    CASE WHEN p_os ~* '\mmac|\mos ?x' THEN 'mac' END,
    CASE WHEN p_os ~* 'linux|ubuntu|steam ?os|debian|fedora' THEN 'linux' END
], NULL)
$function$;

COMMENT ON FUNCTION recsys.systems_of(text) IS
    'Which of windows, mac and linux a game''s requirement, such as "Windows® 7 64-bit", names; empty if it names none.';

CREATE OR REPLACE FUNCTION recsys.recommended_games(
    p_user_id bigint,
    p_rank_by text DEFAULT 'relevance',
    p_genre text DEFAULT NULL,
    p_max_ram_gb numeric DEFAULT NULL,
    p_limit integer DEFAULT 10,
    p_released_from integer DEFAULT NULL,
    p_released_to integer DEFAULT NULL,
    p_max_storage_gb numeric DEFAULT NULL,
    p_os text DEFAULT NULL
)
RETURNS TABLE (rank integer, game_id integer, game text, score real, reason text)
LANGUAGE plpgsql STABLE
-- Planning this query takes longer than running it, and the best plan does not depend on the arguments.
SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
    v_genre text := lower(nullif(p_genre, ''));
    v_tags integer[];
    v_rank_type text := CASE p_rank_by WHEN 'sales' THEN 'Sales' WHEN 'revenue' THEN 'Revenue' WHEN 'reviews' THEN 'Review' END;
    v_genre_is_ranked boolean := false;
    v_os text := lower(nullif(p_os, ''));
    -- Compared as real, the type of the columns, so that 0.7 equals the 0.7 of the table. Clamped to fit into real.
    v_ram_gb real := CASE WHEN p_max_ram_gb IS NOT NULL THEN round(greatest(least(p_max_ram_gb, 1e9), 0), 6) END;
    v_storage_gb real :=
        CASE WHEN p_max_storage_gb IS NOT NULL THEN round(greatest(least(p_max_storage_gb, 1e9), 0), 6) END;
BEGIN
    IF p_rank_by IS NULL OR p_rank_by NOT IN ('relevance', 'sales', 'revenue', 'reviews', 'newest') THEN
        RAISE EXCEPTION 'p_rank_by is %: it must be relevance, sales, revenue, reviews or newest.',
            coalesce(quote_literal(p_rank_by), 'null') USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_limit IS NULL OR p_limit < 1 THEN
        RAISE EXCEPTION 'p_limit is %: it must be 1 or more.', coalesce(p_limit::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF v_os NOT IN ('windows', 'mac', 'linux') THEN
        RAISE EXCEPTION 'p_os is %: it must be windows, mac or linux.', quote_literal(p_os)
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    IF v_genre IS NOT NULL THEN
        v_tags := ARRAY(SELECT t.genre_id FROM steam.genres AS t WHERE lower(t.name) = v_genre);
    END IF;
    IF v_genre IS NOT NULL AND v_rank_type IS NOT NULL THEN
        -- Skips from genre to genre along the primary key: a few lookups, however many games are ranked.
        WITH RECURSIVE ranked (genre) AS (
            SELECT min(k.genre) FROM steam.rankings AS k
            UNION ALL
            SELECT (SELECT min(k.genre) FROM steam.rankings AS k WHERE k.genre > ranked.genre)
            FROM ranked WHERE ranked.genre IS NOT NULL
        )
        SELECT EXISTS (
            SELECT FROM ranked
            WHERE lower(ranked.genre) = v_genre
              AND EXISTS (SELECT FROM steam.rankings AS k WHERE k.genre = ranked.genre AND k.rank_type = v_rank_type)
        ) INTO v_genre_is_ranked;
    END IF;

    -- One query over both views, so that an answer never mixes two publications.
    RETURN QUERY
    WITH own AS MATERIALIZED (
        SELECT r.game_ids, r.scores, r.because FROM recsys.recommendations AS r WHERE r.user_id = p_user_id
    ), fallback AS MATERIALIZED (
        SELECT coalesce(min(l.genre), '') AS genre
        FROM (SELECT p.genre FROM recsys.popular_games AS p WHERE lower(p.genre) = v_genre AND p.rank = 1 OFFSET 0) AS l
    ), candidates AS (
        SELECT true AS personal, e.position, e.game_id, e.score, e.because
        FROM own, unnest(own.game_ids, own.scores, own.because)
            WITH ORDINALITY AS e (game_id, score, because, position)
        UNION ALL
        SELECT false, p.rank, p.game_id, p.score, NULL
        FROM recsys.popular_games AS p
        WHERE p.genre = (SELECT f.genre FROM fallback AS f)
          AND NOT EXISTS (SELECT FROM own WHERE p.game_id = ANY (own.game_ids))
    ), passing AS (
        SELECT c.personal, c.game_id, c.score, c.because, g.name, g.released_on,
               row_number() OVER (ORDER BY c.personal DESC, c.position) AS relevance,
               bool_or(c.personal) OVER () AS any_personal
        FROM candidates AS c
        JOIN steam.games AS g ON g.game_id = c.game_id AND coalesce(g.delisted_on > current_date, true)
        -- OFFSET 0 keeps each of these one lookup per candidate. As joins they would read all games of a genre, or
        -- all reviews of a user who has written thousands.
        WHERE NOT EXISTS (
                SELECT FROM steam.reviews AS v WHERE v.user_id = p_user_id AND v.game_id = c.game_id OFFSET 0)
          AND (v_genre IS NULL
               OR (NOT c.personal AND (SELECT f.genre FROM fallback AS f) <> '')
               OR EXISTS (SELECT FROM steam.game_genres AS t
                          WHERE t.game_id = c.game_id AND t.genre_id = ANY (v_tags) OFFSET 0)
               OR EXISTS (SELECT FROM steam.rankings AS k
                          WHERE k.game_id = c.game_id AND lower(k.genre) = v_genre OFFSET 0))
          AND coalesce(extract(year FROM g.released_on) >= p_released_from, true)
          AND coalesce(extract(year FROM g.released_on) <= p_released_to, true)
          AND (num_nulls(v_ram_gb, v_storage_gb, v_os) = 3
               OR NOT EXISTS (SELECT FROM steam.game_requirements AS q
                              WHERE q.game_id = c.game_id AND q.level = 'minimum'
                                AND (q.ram_gb > v_ram_gb
                                     OR q.storage_gb > v_storage_gb
                                     OR (v_os <> ALL (recsys.systems_of(q.os)) AND recsys.systems_of(q.os) <> '{}'))
                              OFFSET 0))
    ), shown AS (
        SELECT row_number() OVER (
                   ORDER BY best.rank NULLS LAST,
                            CASE p_rank_by WHEN 'newest' THEN s.released_on END DESC NULLS LAST,
                            s.relevance
               )::integer AS rank,
               s.*
        FROM passing AS s
        LEFT JOIN LATERAL (
            SELECT min(k.rank) AS rank
            FROM steam.rankings AS k
            WHERE v_rank_type IS NOT NULL AND k.game_id = s.game_id AND k.rank_type = v_rank_type
              AND (NOT v_genre_is_ranked OR lower(k.genre) = v_genre)
        ) AS best ON true
        -- Popular games fill up the list when there are too few personal ones, and replace them when there are none.
        WHERE s.personal OR NOT s.any_personal OR s.relevance <= p_limit
        ORDER BY rank
        LIMIT p_limit
    )
    SELECT s.rank, s.game_id, s.name, s.score,
           CASE
               WHEN b.name IS NOT NULL THEN 'because you played ' || b.name
               WHEN NOT s.personal AND f.genre <> '' THEN 'popular in ' || f.genre
               ELSE 'popular now'
           END
    FROM shown AS s
    CROSS JOIN fallback AS f
    LEFT JOIN steam.games AS b ON b.game_id = s.because
    ORDER BY s.rank;
END
$function$;

COMMENT ON FUNCTION
    recsys.recommended_games(bigint, text, text, numeric, integer, integer, integer, numeric, text) IS
$comment$The games to show a user, in the order to show them: SELECT * FROM recsys.recommended_games(42).

p_user_id: any number, or null for a visitor. A user without recommendations gets popular games.
p_rank_by: the order: relevance, sales, revenue, reviews or newest. Sales, revenue and reviews follow the game's rank in
    steam.rankings: its rank in p_genre if p_genre has such a ranking, else its best rank in any genre. Games without
    a rank or a release date come last. Ties are ordered by relevance.
p_genre: only games that have this genre as a tag (steam.genres) or are ranked in it (steam.rankings), in upper or lower
    case.
p_max_ram_gb: only games whose minimum requirement is not known to exceed this much memory, in GB.
p_limit: the maximum number of games, at least 1.
p_released_from, p_released_to: only games not known to have been released before or after these years.
p_max_storage_gb: only games whose minimum requirement is not known to exceed this much storage, in GB.
p_os: windows, mac or linux, in upper or lower case; games known to run only on other systems are left out.
    A game passes a filter if its memory, storage, systems or release date are unknown.

rank: from 1.
score: the model's score, or recent popularity for popular games that fill up the list. Do not sort by it.
reason: "because you played <game>" if the user's history ranks the game higher than popularity alone would, else
    "popular now" or "popular in <genre>". Names are as in steam.games and steam.genres: escape them before you show them.

Games that the user has reviewed and games that are no longer sold are left out. If the filters leave fewer than p_limit
of the user's personal games, popular games that pass the filters fill up the list: those of p_genre if it has a list,
else those of the overall list. Fewer than p_limit rows mean that no other game passes. No rows are returned before the
first publication.
Raises invalid_parameter_value (22023) for another p_rank_by or p_os, or a p_limit below 1.$comment$;
