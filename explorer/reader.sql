-- The role recsys_reader, with the explorer's rights, which are only to read. Run this as the owner of the schemas after the
-- first publication has created the schema recsys, and again whenever that schema is created again. Then add a user:
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
-- Only the columns of reviews that the explorer reads, not their texts; an earlier grant may cover the whole table.
REVOKE ALL ON steam.reviews FROM recsys_reader;
GRANT SELECT (review_id, user_id, game_id, recommended, hours_played, reviewed_on) ON steam.reviews TO recsys_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA recsys TO recsys_reader;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA recsys TO recsys_reader;
