-- What the pipelines publish for the shop. Its developers use recsys.recommended_games(...), recsys.shelves(...),
-- recsys.record_event(...), the views recsys.recommendations and recsys.popular_games, and recsys.publications and
-- recsys.dismissals. The rest belongs to the pipelines.

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
    control_share double precision NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at timestamptz,
    made_current_at timestamptz,
    first_switch bigint UNIQUE,
    last_switch bigint UNIQUE,
    current boolean NOT NULL DEFAULT false CHECK (NOT current OR first_switch IS NOT NULL),
    refreshed_snapshot_id text,
    refreshed_at timestamptz,
    published_popular integer[]
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
COMMENT ON COLUMN recsys.publications.as_of IS
    'The day up to which recent popularity was counted when the version was published.';
COMMENT ON COLUMN recsys.publications.control_share IS
    'The share of the users who are in the control group: they have no personal recommendations, and get popular games.';
COMMENT ON COLUMN recsys.publications.created_at IS 'When publishing this version began.';
COMMENT ON COLUMN recsys.publications.published_at IS
    'When this version first became current; null if it never did, for example while it is being published.';
COMMENT ON COLUMN recsys.publications.made_current_at IS 'When this version last became current, by publication or rollback.';
COMMENT ON COLUMN recsys.publications.first_switch IS
    'The number of the switch that first made this version current. Versions are ordered by this count, not by a clock.';
COMMENT ON COLUMN recsys.publications.last_switch IS 'The number of the switch that last made this version current.';
COMMENT ON COLUMN recsys.publications.current IS 'Whether the views show this version; true for at most one.';
COMMENT ON COLUMN recsys.publications.refreshed_snapshot_id IS
    'The snapshot that the last refresh brought this version up to; null if it was not refreshed.';
COMMENT ON COLUMN recsys.publications.refreshed_at IS 'When that refresh was written.';
COMMENT ON COLUMN recsys.publications.published_popular IS
    'The overall list of popular games as it was published; null if no refresh has replaced it. Realised quality is compared with it.';

CREATE TABLE recsys.replaced_lists (
    version text REFERENCES recsys.publications ON DELETE CASCADE,
    user_id bigint,
    game_ids integer[] NOT NULL,
    PRIMARY KEY (version, user_id)
);
COMMENT ON TABLE recsys.replaced_lists IS
    'The first relevant games that a version had for a user before its first refresh of that user: realised quality is measured by them.';
COMMENT ON COLUMN recsys.replaced_lists.game_ids IS 'Empty for a user whom the version did not have.';

CREATE TABLE recsys.lease (
    name text PRIMARY KEY,
    fencing bigint NOT NULL DEFAULT 0,
    holder text NOT NULL DEFAULT '',
    acquired_at timestamptz NOT NULL DEFAULT '-infinity',
    expires_at timestamptz NOT NULL DEFAULT '-infinity',
    UNIQUE (name, fencing)
);
INSERT INTO recsys.lease (name) VALUES ('publish'), ('switch');
COMMENT ON TABLE recsys.lease IS
    'publish: which publication may change versions, one at a time. switch: the row that a switch, a rollback or a refresh locks.';
COMMENT ON COLUMN recsys.lease.fencing IS 'How often it was granted: a publication with a lower number has lost it.';
COMMENT ON COLUMN recsys.lease.holder IS 'The publication that took it last.';
COMMENT ON COLUMN recsys.lease.acquired_at IS 'When that publication took it, by the database''s clock.';
COMMENT ON COLUMN recsys.lease.expires_at IS
    'Until when it is valid, unless it is renewed; in the past if no publication is running.';

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
    figures jsonb NOT NULL DEFAULT '{}',
    feedback jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ON recsys.monitoring (measured_at);
COMMENT ON TABLE recsys.monitoring IS
    'What each inference run measured: realised quality, drift since training, and whether to train again.';
COMMENT ON COLUMN recsys.monitoring.as_of IS 'The day after the newest review.';
COMMENT ON COLUMN recsys.monitoring.model_version IS 'The champion that was monitored; null if there was none.';
COMMENT ON COLUMN recsys.monitoring.reasons IS 'One sentence for each limit that was exceeded.';
COMMENT ON COLUMN recsys.monitoring.figures IS 'Numbers by name; null if there was nothing to measure.';
COMMENT ON COLUMN recsys.monitoring.feedback IS
    'Click-through and conversion of each list, and the experiment with the control group; empty if no events are recorded.';

-- One partition per week, made ahead by the monitoring stage. Events of a week without a partition go to the default one.
CREATE TABLE recsys.events (
    occurred_at timestamptz NOT NULL,
    user_id bigint NOT NULL,
    game_id integer NOT NULL,
    kind text COLLATE "C" NOT NULL,
    version text COLLATE "C",
    shelf text COLLATE "C" NOT NULL
) PARTITION BY RANGE (occurred_at);
CREATE TABLE recsys.events_default PARTITION OF recsys.events DEFAULT;
COMMENT ON TABLE recsys.events IS
    'What users did with the games that they were shown. Write it with recsys.record_event(...).';
COMMENT ON TABLE recsys.events_default IS 'Events of weeks that have no partition yet.';
COMMENT ON COLUMN recsys.events.kind IS 'shown, clicked, dismissed or bought.';
COMMENT ON COLUMN recsys.events.version IS 'The publication that the game was shown from; null before the first one.';
COMMENT ON COLUMN recsys.events.shelf IS 'The list or place in which the game was shown; the empty string if it is unknown.';

CREATE TABLE recsys.dismissals (
    user_id bigint NOT NULL,
    game_id integer NOT NULL,
    dismissed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, game_id)
);
COMMENT ON TABLE recsys.dismissals IS
    'The games that users do not want to see again. They are not recommended, until the row is deleted.';

CREATE TABLE recsys.experiment (
    control_share double precision NOT NULL,
    started_at timestamptz NOT NULL,
    measured_until timestamptz NOT NULL
);
COMMENT ON TABLE recsys.experiment IS
    'The comparison with the control group, at most one row: it begins when the control group''s share changes.';
COMMENT ON COLUMN recsys.experiment.measured_until IS 'The time up to which events are taken into account.';

CREATE TABLE recsys.experiment_users (
    user_id bigint PRIMARY KEY,
    control boolean NOT NULL,
    first_shown_at timestamptz NOT NULL,
    bought boolean
);
COMMENT ON TABLE recsys.experiment_users IS 'The users to whom games were shown since the experiment began.';
COMMENT ON COLUMN recsys.experiment_users.bought IS
    'Whether the user bought a game in the week after first_shown_at; null until that week is over.';

CREATE TABLE recsys.genre_sizes (genre_id integer PRIMARY KEY, games bigint NOT NULL);
COMMENT ON TABLE recsys.genre_sizes IS 'How many games had each genre of steam.genres at the last publication.';

CREATE TABLE recsys.game_reviews (game_id integer PRIMARY KEY, reviews bigint NOT NULL, positive_share real NOT NULL);
COMMENT ON TABLE recsys.game_reviews IS
    'The reviews of each game in steam.reviews when a publication was last loaded, for games without figures of their own.';
COMMENT ON COLUMN recsys.game_reviews.positive_share IS 'The share of them that recommend the game, from 0 to 1.';

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
    'The current recommendations, one row per user and list. Users who have reviewed every game have none, nor do those of the control group. Empty at first.';
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

CREATE OR REPLACE FUNCTION recsys.in_control_group(p_user_id bigint, p_control_share double precision) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $function$
SELECT ('x' || encode(substr(sha256(int8send(p_user_id)), 1, 4), 'hex'))::bit(32)::bigint < p_control_share * 4294967296
$function$;

COMMENT ON FUNCTION recsys.in_control_group(bigint, double precision) IS
    'Whether a user is in a control group of this share of the users, as in recsys.publications.control_share: by a hash of the id, so that a user who is in a group is in every larger one.';

CREATE OR REPLACE FUNCTION recsys.record_event(
    p_user_id bigint,
    p_game_id integer,
    p_kind text,
    p_version text DEFAULT NULL,
    p_shelf text DEFAULT NULL
)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF p_user_id IS NULL OR p_game_id IS NULL THEN
        RAISE EXCEPTION '% is null: record only events of users and games that have an id.',
            CASE WHEN p_user_id IS NULL THEN 'p_user_id' ELSE 'p_game_id' END
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_kind IS NULL OR p_kind NOT IN ('shown', 'clicked', 'dismissed', 'bought') THEN
        RAISE EXCEPTION 'p_kind is %: it must be shown, clicked, dismissed or bought.', coalesce(quote_literal(p_kind), 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF length(p_shelf) > 60 OR length(p_version) > 60 THEN
        RAISE EXCEPTION '% is longer than 60 characters: give the name that recommended_games or shelves returned.',
            CASE WHEN length(p_shelf) > 60 THEN 'p_shelf' ELSE 'p_version' END
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    INSERT INTO recsys.events (occurred_at, user_id, game_id, kind, version, shelf)
    VALUES (clock_timestamp(), p_user_id, p_game_id, p_kind,
            coalesce(p_version, (SELECT v.version FROM recsys.publications AS v WHERE v.current)), coalesce(p_shelf, ''));
    IF p_kind = 'dismissed' THEN
        INSERT INTO recsys.dismissals (user_id, game_id) VALUES (p_user_id, p_game_id) ON CONFLICT DO NOTHING;
    END IF;
END
$function$;

-- It writes as its owner: only the roles that it is granted to may call it.
REVOKE ALL ON FUNCTION recsys.record_event(bigint, integer, text, text, text) FROM PUBLIC;

COMMENT ON FUNCTION recsys.record_event(bigint, integer, text, text, text) IS
$comment$Record what a user did with a game: SELECT recsys.record_event(42, 7, 'clicked', '20250101-1a2b3c4d', 'discovery').

p_user_id, p_game_id: ids of steam.users and steam.games. Events of visitors are not recorded.
p_kind: what happened.
    shown: the user saw the game.
    clicked: the user opened it.
    dismissed: the user does not want to see it again. From now on it is not recommended to this user, until the row in
        recsys.dismissals is deleted.
    bought: the user bought it, wherever.
p_version: the publication that the game was shown from, as in the column version of recommended_games and shelves; null
    for the current one.
p_shelf: the list that it was shown in, as in their column list, or your own name for the place, at most 60 characters;
    null if it is unknown. A click counts for the list that it names, a purchase for every list that showed the game.

The same event may be recorded twice: it counts once.
Raises invalid_parameter_value (22023) for another p_kind, a null id, or a name that is too long.$comment$;

CREATE OR REPLACE FUNCTION recsys.reasons(
    p_user_id bigint,
    p_lists text[],
    p_genres text[],
    p_game_ids integer[],
    p_because integer[]
)
RETURNS text[]
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
    v_disliked integer[] := ARRAY(
        SELECT v.game_id FROM steam.reviews AS v
        WHERE v.user_id = p_user_id AND v.game_id = ANY (p_because) AND NOT v.recommended);
BEGIN
    RETURN ARRAY(
        SELECT CASE
                   WHEN liked.name IS NOT NULL
                       THEN 'because you liked ' || liked.name || coalesce(' (' || liked.shared || ')', '')
                   WHEN e.list = 'discovery' THEN 'hidden gem'
                   WHEN e.list = 'new_releases' THEN coalesce('new and popular in ' || popular.genre, 'new')
                   WHEN e.list = 'popular' AND e.genre <> '' THEN 'popular in ' || e.genre
                   WHEN e.list = 'popular' THEN 'popular now'
                   WHEN popular.genre = '' THEN 'popular now'
                   WHEN e.list = 'relevance' THEN coalesce('popular in ' || popular.genre, 'fits your taste')
                   ELSE 'fits your taste'
               END
        FROM unnest(p_lists, p_genres, p_game_ids, p_because)
            WITH ORDINALITY AS e (list, genre, game_id, because, position)
        LEFT JOIN LATERAL (
            SELECT b.name,
                   (SELECT string_agg(n.name, ', ' ORDER BY s.games, s.genre_id)
                    FROM (SELECT t.genre_id, z.games
                          FROM steam.game_genres AS t
                          JOIN steam.game_genres AS o ON o.game_id = e.because AND o.genre_id = t.genre_id
                          LEFT JOIN recsys.genre_sizes AS z ON z.genre_id = t.genre_id
                          WHERE t.game_id = e.game_id
                          ORDER BY z.games, t.genre_id
                          LIMIT 2) AS s
                    JOIN steam.genres AS n ON n.genre_id = s.genre_id) AS shared
            FROM steam.games AS b
            WHERE b.game_id = e.because AND b.game_id <> ALL (v_disliked)
        ) AS liked ON true
        LEFT JOIN LATERAL (
            -- Popular among all games comes before popular in a genre that the game has, of which the first 20 count.
            SELECT p.genre
            FROM recsys.popular_games AS p
            WHERE liked.name IS NULL AND e.list IN ('relevance', 'new_releases')
              AND p.list = 'popular' AND p.game_id = e.game_id
              AND CASE p.genre
                      WHEN '' THEN e.list = 'relevance'
                      ELSE p.rank <= 20
                           AND EXISTS (SELECT FROM steam.genres AS n
                                       JOIN steam.game_genres AS t ON t.genre_id = n.genre_id
                                       WHERE n.name = p.genre AND t.game_id = e.game_id)
                  END
            ORDER BY p.genre <> '', p.rank, p.genre
            LIMIT 1
        ) AS popular ON true
        ORDER BY e.position
    );
END
$function$;

COMMENT ON FUNCTION recsys.reasons(bigint, text[], text[], integer[], integer[]) IS
    'What recommended_games and shelves give as reasons, in the order of the games: by a list''s name, the genre of a list of popular games, and the game that the user liked.';

CREATE OR REPLACE FUNCTION recsys.recommended_games(
    p_user_id bigint,
    p_rank_by text DEFAULT 'relevance',
    p_genre text DEFAULT NULL,
    p_max_ram_gb numeric DEFAULT NULL,
    p_limit integer DEFAULT 10,
    p_released_from integer DEFAULT NULL,
    p_released_to integer DEFAULT NULL,
    p_max_storage_gb numeric DEFAULT NULL,
    p_os text DEFAULT NULL,
    p_exclude integer[] DEFAULT NULL
)
RETURNS TABLE (
    rank integer, game_id integer, name text, score real, taste real, popularity real, reason text, because integer,
    list text, version text
)
LANGUAGE plpgsql STABLE
-- Planning these queries takes longer than running them, and the best plans do not depend on the arguments.
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
    -- The user's lists to choose from, one after the other, until there are enough games. Then comes a fallback list.
    v_lists text[] := CASE
        WHEN p_rank_by IN ('discovery', 'new_releases') THEN ARRAY[p_rank_by]
        WHEN p_rank_by = 'relevance' THEN ARRAY['relevance', 'interests']
        ELSE ARRAY['interests', 'relevance'] END;
    v_fallback text := CASE WHEN p_rank_by IN ('discovery', 'new_releases') THEN p_rank_by ELSE 'popular' END;
    v_fallback_genre text := '';
    -- The other orders choose from all games of the first list.
    v_takes_all boolean := p_rank_by IN ('sales', 'revenue', 'reviews', 'newest');
    -- The games of one list.
    v_list text;
    v_game_ids integer[];
    v_taste real[];
    v_popularity real[];
    v_because integer[];
    v_score real[];
    v_left_out integer[];
    -- The games found so far.
    v_found integer[] := '{}';
    v_found_names text[] := '{}';
    v_found_scores real[] := '{}';
    v_found_taste real[] := '{}';
    v_found_popularity real[] := '{}';
    v_found_because integer[] := '{}';
    v_found_days date[] := '{}';
    v_found_lists text[] := '{}';
BEGIN
    IF p_rank_by IS NULL
       OR p_rank_by NOT IN ('relevance', 'sales', 'revenue', 'reviews', 'newest', 'discovery', 'new_releases') THEN
        RAISE EXCEPTION
            'p_rank_by is %: it must be relevance, sales, revenue, reviews, newest, discovery or new_releases.',
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

    -- The first query locks its view until the end of the transaction, and every publication changes both views at
    -- once: so an answer never mixes two publications.
    FOR v_step IN 1 .. cardinality(v_lists) + 1 LOOP
        EXIT WHEN cardinality(v_found) >= p_limit;
        IF v_step <= cardinality(v_lists) THEN
            v_list := v_lists[v_step];
            SELECT r.game_ids, r.taste, r.popularity, r.because, NULL
            INTO v_game_ids, v_taste, v_popularity, v_because, v_score
            FROM recsys.recommendations AS r WHERE r.user_id = p_user_id AND r.list = v_list;
        ELSE
            v_list := v_fallback;
            SELECT coalesce(min(p.genre), '') INTO v_fallback_genre
            FROM recsys.popular_games AS p WHERE p.list = v_fallback AND lower(p.genre) = v_genre AND p.rank = 1;
            SELECT array_agg(p.game_id ORDER BY p.rank), array_agg(p.score ORDER BY p.rank), NULL, NULL, NULL
            INTO v_game_ids, v_score, v_taste, v_popularity, v_because
            FROM recsys.popular_games AS p WHERE p.list = v_fallback AND p.genre = v_fallback_genre;
        END IF;
        CONTINUE WHEN v_game_ids IS NULL;
        v_left_out := array_remove(p_exclude, NULL) || ARRAY(
            SELECT v.game_id FROM steam.reviews AS v WHERE v.user_id = p_user_id AND v.game_id = ANY (v_game_ids)
            UNION ALL
            SELECT d.game_id FROM recsys.dismissals AS d WHERE d.user_id = p_user_id AND d.game_id = ANY (v_game_ids));

        SELECT v_found || array_agg(f.game_id ORDER BY f.position),
               v_found_names || array_agg(f.name ORDER BY f.position),
               v_found_scores || array_agg(f.score ORDER BY f.position),
               v_found_taste || array_agg(f.taste ORDER BY f.position),
               v_found_popularity || array_agg(f.popularity ORDER BY f.position),
               v_found_because || array_agg(f.because ORDER BY f.position),
               v_found_days || array_agg(f.released_on ORDER BY f.position)
        INTO v_found, v_found_names, v_found_scores, v_found_taste, v_found_popularity, v_found_because, v_found_days
        FROM (
            SELECT c.game_id, coalesce(c.score, c.taste + c.popularity) AS score, c.taste, c.popularity, c.because,
                   g.name, g.released_on, c.position
            FROM (SELECT *
                  FROM unnest(v_game_ids, v_score, v_taste, v_popularity, v_because)
                      WITH ORDINALITY AS e (game_id, score, taste, popularity, because, position)
                  ORDER BY e.position) AS c
            JOIN steam.games AS g ON g.game_id = c.game_id AND coalesce(g.delisted_on > current_date, true)
            -- OFFSET 0 keeps each of these one lookup per candidate. As joins they would read all games of a genre.
            WHERE c.game_id <> ALL (v_found)
              AND c.game_id <> ALL (v_left_out)
              AND (v_genre IS NULL
                   OR v_fallback_genre <> ''
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
            ORDER BY c.position
            LIMIT CASE WHEN NOT v_takes_all OR v_found <> '{}' THEN p_limit - cardinality(v_found) END
        ) AS f;
        v_found_lists := v_found_lists || array_fill(v_list, ARRAY[cardinality(v_found) - cardinality(v_found_lists)]);
    END LOOP;

    IF v_takes_all AND v_found <> '{}' THEN
        SELECT array_agg(o.game_id ORDER BY o.place), array_agg(o.name ORDER BY o.place),
               array_agg(o.score ORDER BY o.place), array_agg(o.taste ORDER BY o.place),
               array_agg(o.popularity ORDER BY o.place), array_agg(o.because ORDER BY o.place),
               array_agg(o.list ORDER BY o.place)
        INTO v_found, v_found_names, v_found_scores, v_found_taste, v_found_popularity, v_found_because, v_found_lists
        FROM (
            SELECT s.*,
                   row_number() OVER (
                       ORDER BY best.rank NULLS LAST,
                                CASE p_rank_by WHEN 'newest' THEN s.released_on END DESC NULLS LAST,
                                s.position
                   ) AS place
            FROM unnest(v_found, v_found_names, v_found_scores, v_found_taste, v_found_popularity, v_found_because,
                        v_found_days, v_found_lists)
                WITH ORDINALITY AS s (game_id, name, score, taste, popularity, because, released_on, list, position)
            LEFT JOIN LATERAL (
                SELECT min(k.rank) AS rank
                FROM steam.rankings AS k
                WHERE v_rank_type IS NOT NULL AND k.game_id = s.game_id AND k.rank_type = v_rank_type
                  AND (NOT v_genre_is_ranked OR lower(k.genre) = v_genre)
            ) AS best ON true
            ORDER BY place
            LIMIT p_limit
        ) AS o;
    END IF;

    -- One game is the reason of at most two entries.
    FOR v_step IN 3 .. cardinality(v_found_because) LOOP
        IF cardinality(array_positions(v_found_because[: v_step - 1], v_found_because[v_step])) = 2 THEN
            v_found_because[v_step] := NULL;
        END IF;
    END LOOP;

    RETURN QUERY
    SELECT e.rank::integer, e.game_id, e.name, e.score, e.taste, e.popularity, e.reason,
           CASE WHEN starts_with(e.reason, 'because you liked ') THEN e.because END,
           e.list, (SELECT p.version FROM recsys.popular_games AS p LIMIT 1)
    FROM unnest(
        v_found, v_found_names, v_found_scores, v_found_taste, v_found_popularity,
        recsys.reasons(
            p_user_id, v_found_lists, array_fill(v_fallback_genre, ARRAY[cardinality(v_found)]), v_found, v_found_because),
        v_found_because, v_found_lists
    ) WITH ORDINALITY AS e (game_id, name, score, taste, popularity, reason, because, list, rank)
    ORDER BY e.rank;
END
$function$;

COMMENT ON FUNCTION
    recsys.recommended_games(bigint, text, text, numeric, integer, integer, integer, numeric, text, integer[]) IS
$comment$The games to show a user, in the order to show them: SELECT * FROM recsys.recommended_games(42).

p_user_id: any number, or null for a visitor. A user without recommendations gets a fallback list, and so does a user of
    the control group.
p_rank_by: which games, and their order.
    relevance: the best games for the user.
    sales, revenue, reviews, newest: games of the user's taste, by their rank in steam.rankings or their release date.
        The rank is the game's rank in p_genre if p_genre has such a ranking, else its best rank in any genre. Games
        without a rank or a release date come last. Ties are in the order of the user's taste.
    discovery: games of the user's taste outside the most popular ones.
    new_releases: games released recently, the best for the user first.
p_genre: only games that have this genre as a tag (steam.genres) or are ranked in it (steam.rankings), in upper or lower
    case.
p_max_ram_gb: only games whose minimum requirement is not known to exceed this much memory, in GB.
p_limit: the maximum number of games, at least 1.
p_released_from, p_released_to: only games not known to have been released before or after these years.
p_max_storage_gb: only games whose minimum requirement is not known to exceed this much storage, in GB.
p_os: windows, mac or linux, in upper or lower case; games known to run only on other systems are left out.
    A game passes a filter if its memory, storage, systems or release date are unknown.
p_exclude: games to leave out, for example those in the user's cart, or those of the pages before this one.

rank: from 1.
score: the model's score, taste + popularity, or the score of the fallback list. Do not sort by it.
taste, popularity: the two parts of the model's score, see recsys.recommendations; null for the games of a fallback list.
reason: "because you liked <game> (<genres of both>)" if the game would not be recommended without that game of the
    user's history, at most twice for the same game; else "popular now", "popular in <genre>", "new", "new and popular
    in <genre>", "hidden gem" or "fits your taste". Names are as in steam.games and steam.genres: escape them before you
    show them.
because: the game that the reason says the user liked; null if it names none.
list: the list that the game is from: relevance, interests, discovery, new_releases or popular.
version: the publication. Pass list and version to recsys.record_event.

Games that the user has reviewed or dismissed, and games that are no longer sold, are left out. If the filters leave
fewer than p_limit games, other lists fill up the answer: the games of the user's taste for relevance, the most relevant
ones for the orders by rank and date, and then popular games, those of p_genre if it has a list. Discovery and
new_releases are filled up with the fallback lists of the same names. Fewer than p_limit rows mean that no other game of
these lists passes. No rows are returned before the first publication.
Raises invalid_parameter_value (22023) for another p_rank_by or p_os, or a p_limit below 1.$comment$;

CREATE OR REPLACE FUNCTION recsys.shelves(p_user_id bigint, p_shelves integer DEFAULT 8, p_games integer DEFAULT 10)
RETURNS TABLE (
    shelf integer, title text, rank integer, game_id integer, name text, reason text, because integer, list text,
    version text
)
LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
    v_least integer := least(4, p_games);  -- games on a shelf about one liked game
    -- The user's lists and the fallback lists: games, and what they are recommended for.
    v_relevance integer[];
    v_relevance_because integer[];
    v_interests integer[];
    v_interests_because integer[];
    v_discovery integer[];
    v_discovery_because integer[];
    v_new integer[];
    v_new_because integer[];
    v_own_new integer[];
    v_popular integer[];
    v_candidates integer[];
    v_left_out integer[];
    v_fallbacks text[] := ARRAY['popular'];
    v_personal boolean;
    v_steps text[];
    v_step text;
    v_count integer := 0;
    -- Liked games that many others are recommended for, and these others.
    v_likes integer[];
    v_about_likes integer := 0;
    v_liked integer[];
    v_liked_because integer[];
    v_genres text[];
    -- The next shelf: what it chooses from, and what is on it.
    v_title text;
    v_like integer;
    v_genre text;
    v_from integer[];
    v_from_because integer[];
    v_from_reasons text[];
    v_next integer[];
    v_next_because integer[];
    v_next_reasons text[];
    -- The page so far. A visitor's popular games are chosen first, though they are shown last.
    v_shown integer[] := '{}';
    v_shelves integer[] := '{}';
    v_titles text[] := '{}';
    v_shown_steps text[] := '{}';
    v_shown_genres text[] := '{}';
    v_shown_because integer[] := '{}';
    v_reasons text[] := '{}';
BEGIN
    IF p_shelves IS NULL OR p_shelves < 1 THEN
        RAISE EXCEPTION 'p_shelves is %: it must be 1 or more.', coalesce(p_shelves::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF p_games IS NULL OR p_games < 1 THEN
        RAISE EXCEPTION 'p_games is %: it must be 1 or more.', coalesce(p_games::text, 'null')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- The first query locks its view until the end of the transaction, and every publication changes both views at
    -- once: so a page never mixes two publications.
    SELECT r.game_ids, r.because, i.game_ids, i.because, d.game_ids, d.because, n.game_ids, n.because
    INTO v_relevance, v_relevance_because, v_interests, v_interests_because, v_discovery, v_discovery_because,
         v_own_new, v_new_because
    FROM recsys.recommendations AS r
    LEFT JOIN recsys.recommendations AS i ON i.user_id = p_user_id AND i.list = 'interests'
    LEFT JOIN recsys.recommendations AS d ON d.user_id = p_user_id AND d.list = 'discovery'
    LEFT JOIN recsys.recommendations AS n ON n.user_id = p_user_id AND n.list = 'new_releases'
    WHERE r.user_id = p_user_id AND r.list = 'relevance';
    v_personal := v_relevance IS NOT NULL;
    -- The fallback lists continue the user's own, where these may be too short.
    IF coalesce(cardinality(v_discovery), 0) < 2 * p_games::bigint THEN
        v_fallbacks := v_fallbacks || 'discovery'::text;
    END IF;
    IF coalesce(cardinality(v_own_new), 0) < 2 * p_games::bigint THEN
        v_fallbacks := v_fallbacks || 'new_releases'::text;
    END IF;
    SELECT array_agg(p.game_id ORDER BY p.rank) FILTER (WHERE p.list = 'popular'),
           v_discovery || array_agg(p.game_id ORDER BY p.rank)
               FILTER (WHERE p.list = 'discovery' AND p.game_id <> ALL (coalesce(v_discovery, '{}'))),
           v_own_new || array_agg(p.game_id ORDER BY p.rank)
               FILTER (WHERE p.list = 'new_releases' AND p.game_id <> ALL (coalesce(v_own_new, '{}')))
    INTO v_popular, v_discovery, v_new
    FROM recsys.popular_games AS p WHERE p.genre = '' AND p.list = ANY (v_fallbacks);

    v_candidates := v_relevance || v_interests || v_discovery || v_new || v_popular;
    IF NOT v_personal THEN
        v_genres := ARRAY(
            SELECT n.name
            FROM recsys.genre_sizes AS z
            JOIN steam.genres AS n ON n.genre_id = z.genre_id
            WHERE EXISTS (SELECT FROM recsys.popular_games AS p
                          WHERE p.list = 'popular' AND p.genre = n.name AND p.rank = 1 OFFSET 0)
            ORDER BY z.games DESC, n.genre_id
            LIMIT p_shelves);
        v_candidates := v_candidates || ARRAY(
            SELECT p.game_id FROM recsys.popular_games AS p
            WHERE p_user_id IS NOT NULL AND p.list = 'popular' AND p.genre = ANY (v_genres));
    END IF;
    v_left_out := ARRAY(
        SELECT v.game_id FROM steam.reviews AS v WHERE v.user_id = p_user_id AND v.game_id = ANY (v_candidates)
        UNION ALL
        SELECT d.game_id FROM recsys.dismissals AS d WHERE d.user_id = p_user_id AND d.game_id = ANY (v_candidates));

    IF v_personal THEN
        v_steps := ARRAY['relevance'] || array_fill('like'::text, ARRAY[6])
            || ARRAY['new_releases', 'discovery', 'sellers', 'popular'];
    ELSE
        v_steps := ARRAY['popular', 'new_releases', 'discovery']
            || array_fill('genre'::text, ARRAY[cardinality(v_genres)]);
    END IF;

    FOREACH v_step IN ARRAY v_steps LOOP
        -- One shelf is left to the popular games, unless there is only one.
        CONTINUE WHEN v_count >= p_shelves - CASE WHEN v_step = 'popular' OR v_personal AND v_count = 0 THEN 0 ELSE 1 END;
        v_like := NULL;
        v_genre := '';
        v_from_because := NULL;
        v_from_reasons := NULL;
        IF v_step = 'relevance' THEN
            v_title := 'For you';
            v_from := v_relevance;
            v_from_because := v_relevance_because;
        ELSIF v_step = 'new_releases' THEN
            v_from := v_new;
            v_from_because := v_new_because;
        ELSIF v_step = 'discovery' THEN
            v_title := 'Hidden gems';
            v_from := v_discovery;
            v_from_because := v_discovery_because;
        ELSIF v_step = 'popular' THEN
            v_title := 'Popular now';
            v_from := v_popular;
        ELSIF v_step = 'like' THEN
            CONTINUE WHEN v_about_likes = 3;
            IF v_likes IS NULL THEN
                SELECT array_agg(u.game_id ORDER BY u.place, u.position), array_agg(u.because ORDER BY u.place, u.position)
                INTO v_liked, v_liked_because
                FROM (
                    SELECT DISTINCT ON (c.game_id) c.*
                    FROM (SELECT 1 AS place, e.* FROM unnest(v_interests, v_interests_because)
                              WITH ORDINALITY AS e (game_id, because, position)
                          UNION ALL
                          SELECT 2, e.* FROM unnest(v_relevance, v_relevance_because)
                              WITH ORDINALITY AS e (game_id, because, position)
                          UNION ALL
                          SELECT 3, e.* FROM unnest(v_discovery, v_discovery_because)
                              WITH ORDINALITY AS e (game_id, because, position)) AS c
                    WHERE c.because IS NOT NULL AND c.game_id <> ALL (v_shown)
                    ORDER BY c.game_id, c.place
                ) AS u;
                -- Of the games that most others are recommended for, the ones that the user has liked most recently.
                v_likes := ARRAY(
                    SELECT x.because
                    FROM (SELECT e.because, count(*) AS games
                          FROM unnest(v_liked_because) AS e (because)
                          GROUP BY e.because
                          HAVING count(*) >= v_least
                          ORDER BY games DESC, e.because
                          LIMIT 6) AS x
                    CROSS JOIN LATERAL (
                        SELECT max(v.reviewed_on) FILTER (WHERE isfinite(v.reviewed_on)) AS reviewed_on, bool_and(v.recommended) AS liked
                        FROM steam.reviews AS v WHERE v.user_id = p_user_id AND v.game_id = x.because OFFSET 0) AS r
                    WHERE r.liked
                    ORDER BY r.reviewed_on DESC NULLS LAST, x.games DESC, x.because);
            END IF;
            CONTINUE WHEN v_likes = '{}';
            v_like := v_likes[1];
            v_likes := v_likes[2:];
            v_from := v_liked;
            v_from_because := v_liked_because;
            SELECT 'Because you liked ' || g.name INTO v_title FROM steam.games AS g WHERE g.game_id = v_like;
        ELSIF v_step = 'sellers' THEN
            v_title := 'Top sellers in the genres you play';
            v_genres := ARRAY(
                WITH liked AS MATERIALIZED (
                    SELECT v.game_id FROM steam.reviews AS v WHERE v.user_id = p_user_id AND v.recommended
                    ORDER BY CASE WHEN isfinite(v.reviewed_on) THEN v.reviewed_on END DESC NULLS LAST, v.game_id
                    LIMIT 50)
                SELECT lower(n.name)
                FROM (SELECT g.name, l.game_id
                      FROM liked AS l
                      JOIN steam.game_genres AS t ON t.game_id = l.game_id
                      JOIN steam.genres AS g ON g.genre_id = t.genre_id
                      UNION
                      SELECT k.genre, l.game_id FROM liked AS l JOIN steam.rankings AS k ON k.game_id = l.game_id
                      ) AS n
                GROUP BY lower(n.name) ORDER BY count(*) DESC, lower(n.name) LIMIT 5);
            SELECT array_agg(s.game_id ORDER BY s.rank, s.position),
                   array_agg('number ' || s.rank || ' in ' || s.genre || ' sales' ORDER BY s.rank, s.position)
            INTO v_from, v_from_reasons
            FROM (
                SELECT DISTINCT ON (e.position) e.game_id, e.position, k.rank, k.genre
                FROM (SELECT e.* FROM unnest(v_interests) WITH ORDINALITY AS e (game_id, position)
                      WHERE e.game_id <> ALL (v_shown) ORDER BY e.position LIMIT 100) AS e
                JOIN steam.rankings AS k ON k.game_id = e.game_id
                WHERE k.rank_type = 'Sales' AND lower(k.genre) = ANY (v_genres)
                ORDER BY e.position, k.rank, k.genre
            ) AS s;
        ELSE
            v_genre := v_genres[1];
            v_genres := v_genres[2:];
            v_title := 'Popular in ' || v_genre;
            v_from := ARRAY(SELECT p.game_id FROM recsys.popular_games AS p
                            WHERE p.list = 'popular' AND p.genre = v_genre ORDER BY p.rank);
        END IF;

        SELECT array_agg(s.game_id ORDER BY s.position), array_agg(s.because ORDER BY s.position),
               array_agg(s.reason ORDER BY s.position)
        INTO v_next, v_next_because, v_next_reasons
        FROM (
            SELECT e.*
            FROM unnest(v_from, v_from_because, v_from_reasons)
                WITH ORDINALITY AS e (game_id, because, reason, position)
            WHERE (v_like IS NULL OR e.because = v_like)
              AND e.game_id <> ALL (v_shown)
              -- OFFSET 0 as in recommended_games.
              AND EXISTS (SELECT FROM steam.games AS g
                          WHERE g.game_id = e.game_id AND coalesce(g.delisted_on > current_date, true) OFFSET 0)
              AND e.game_id <> ALL (v_left_out)
            ORDER BY e.position
            LIMIT p_games
        ) AS s;

        CONTINUE WHEN v_next IS NULL OR v_step = 'like' AND cardinality(v_next) < v_least;
        IF v_step = 'new_releases' THEN
            v_title := CASE WHEN v_next && coalesce(v_own_new, '{}') THEN 'New for you' ELSE 'New releases' END;
        END IF;
        v_count := v_count + (v_step <> 'popular')::integer;
        v_about_likes := v_about_likes + (v_step = 'like')::integer;
        v_shown := v_shown || v_next;
        v_shelves := v_shelves
            || array_fill(CASE WHEN v_step = 'popular' THEN p_shelves ELSE v_count END, ARRAY[cardinality(v_next)]);
        v_titles := v_titles || array_fill(v_title, ARRAY[cardinality(v_next)]);
        v_shown_steps := v_shown_steps || array_fill(v_step, ARRAY[cardinality(v_next)]);
        v_shown_genres := v_shown_genres || array_fill(v_genre, ARRAY[cardinality(v_next)]);
        v_shown_because := v_shown_because || v_next_because;
        v_reasons := v_reasons || v_next_reasons;
    END LOOP;

    RETURN QUERY
    SELECT (dense_rank() OVER (ORDER BY e.shelf))::integer,
           e.title,
           (row_number() OVER (PARTITION BY e.shelf ORDER BY e.position))::integer,
           e.game_id, g.name, coalesce(e.own_reason, e.reason),
           CASE WHEN e.own_reason IS NULL AND starts_with(e.reason, 'because you liked ') THEN e.because END,
           e.list, (SELECT p.version FROM recsys.popular_games AS p LIMIT 1)
    FROM unnest(
        v_shelves, v_titles, v_shown, v_reasons,
        recsys.reasons(p_user_id, array_replace(v_shown_steps, 'genre', 'popular'), v_shown_genres, v_shown, ARRAY(
            -- Besides the shelves about one liked game, a game is the reason of at most two entries.
            SELECT CASE
                       WHEN l.list = 'like' OR row_number() OVER (PARTITION BY l.because, l.list = 'like' ORDER BY l.position) <= 2
                           THEN l.because
                   END
            FROM unnest(v_shown_steps, v_shown_because) WITH ORDINALITY AS l (list, because, position)
            ORDER BY l.position)),
        v_shown_because, v_shown_steps
    ) WITH ORDINALITY AS e (shelf, title, game_id, own_reason, reason, because, list, position)
    CROSS JOIN LATERAL (SELECT g.name FROM steam.games AS g WHERE g.game_id = e.game_id OFFSET 0) AS g
    ORDER BY e.shelf, e.position;
END
$function$;

COMMENT ON FUNCTION recsys.shelves(bigint, integer, integer) IS
$comment$A page of shelves for a user, in the order to show it: SELECT * FROM recsys.shelves(42).

p_user_id: any number, or null for a visitor. A user without recommendations gets a visitor's page, and so does a user of
    the control group.
p_shelves: the maximum number of shelves, at least 1.
p_games: the maximum number of games on a shelf, at least 1.

shelf: from 1. The shelves of a user, without those that would be empty: "For you"; "Because you liked <game>", up to
    three, with four games or more; "New for you"; "Hidden gems"; "Top sellers in the genres you play"; and "Popular
    now", which is always the last one unless p_shelves is 1. A visitor's shelves: "New releases", "Hidden gems",
    "Popular in <genre>" for the genres with most games, and "Popular now".
title: the shelf's title, the same in all its rows.
rank: from 1 on each shelf.
reason: as in recsys.recommended_games; for the top sellers "number <rank> in <genre> sales". Names are as in steam.games
    and steam.genres: escape them, and the titles, before you show them.
because: the game that the reason says the user liked; null if it names none.
list: what is on the shelf, whatever its title: relevance, like, new_releases, discovery, sellers, genre or popular.
version: the publication. Pass list and version to recsys.record_event.

No game is twice on a page. Games that the user has reviewed or dismissed, and games that are no longer sold, are left
out. No rows are returned before the first publication.
Raises invalid_parameter_value (22023) for a p_shelves or p_games below 1.$comment$;
