-- The role recsys_shop, with which the shop's website reads recommendations and records events. Run this file as the
-- owner of the schemas after the first publication, and again if the schema recsys was dropped and created again. Then
-- give the role to the website's user:
--     GRANT recsys_shop TO website;

DO $$
BEGIN
    CREATE ROLE recsys_shop NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- another database of the server has it already
END
$$;

GRANT USAGE ON SCHEMA steam, recsys TO recsys_shop;
-- What the functions read.
GRANT SELECT ON steam.games, steam.game_requirements, steam.genres, steam.game_genres, steam.rankings TO recsys_shop;
GRANT SELECT (user_id, game_id, recommended, reviewed_on) ON steam.reviews TO recsys_shop;
GRANT SELECT ON
    recsys.recommendations, recsys.popular_games, recsys.publications, recsys.genre_sizes, recsys.dismissals
TO recsys_shop;
GRANT DELETE ON recsys.dismissals TO recsys_shop;
-- record_event writes as its owner, so the role needs no right on the table of events.
GRANT EXECUTE ON FUNCTION
    recsys.recommended_games, recsys.shelves, recsys.reasons, recsys.systems_of, recsys.record_event
TO recsys_shop;
