-- The role recsys_reader, which lets the explorer read. Run this file as the owner of the schemas after the first
-- publication, and again if the schema recsys was dropped and created again. Then create a user with that role:
--     CREATE USER explorer PASSWORD '…' IN ROLE recsys_reader;

DO $$
BEGIN
    CREATE ROLE recsys_reader NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of the server has it already
END
$$;

GRANT USAGE ON SCHEMA steam, recsys TO recsys_reader;
GRANT SELECT ON
    steam.users, steam.games, steam.game_requirements, steam.genres, steam.game_genres, steam.developers,
    steam.game_developers, steam.publishers, steam.game_publishers, steam.rankings
TO recsys_reader;
-- Only the columns of reviews that the explorer reads, so not their texts; an earlier version granted the whole table.
REVOKE ALL ON steam.reviews FROM recsys_reader;
GRANT SELECT (review_id, user_id, game_id, recommended, hours_played, reviewed_on) ON steam.reviews TO recsys_reader;
-- Not the events. The explorer needs the dismissed games, to leave them out.
REVOKE ALL ON ALL TABLES IN SCHEMA recsys FROM recsys_reader;
GRANT SELECT ON
    recsys.recommendations, recsys.popular_games, recsys.publications, recsys.genre_sizes, recsys.game_reviews,
    recsys.dismissals, recsys.pipeline_runs, recsys.monitoring
TO recsys_reader;
GRANT EXECUTE ON FUNCTION recsys.recommended_games, recsys.shelves, recsys.reasons, recsys.systems_of TO recsys_reader;
