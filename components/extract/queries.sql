-- What a snapshot holds of each table, in the order and under the names of components/shared/schemas.py. Lists leave
-- as JSON, times as microseconds since 1970: both as COPY's CSV can carry them.

-- table: reviews
SELECT review_id, user_id, game_id, recommended, hours_played, helpful, funny, reviewed_on,
    (extract(epoch FROM updated_at) * 1000000)::bigint AS updated_at
FROM steam.reviews ORDER BY review_id

-- table: users
SELECT user_id FROM steam.users ORDER BY user_id

-- table: games
SELECT games.game_id, name, released_on, delisted_on,
    (SELECT coalesce(json_agg(genres.name ORDER BY genre_id), '[]')
     FROM steam.game_genres JOIN steam.genres USING (genre_id) WHERE game_genres.game_id = games.game_id) AS genres,
    (SELECT coalesce(json_agg(developers.name ORDER BY developer_id), '[]')
     FROM steam.game_developers JOIN steam.developers USING (developer_id)
     WHERE game_developers.game_id = games.game_id) AS developers,
    (SELECT coalesce(json_agg(publishers.name ORDER BY publisher_id), '[]')
     FROM steam.game_publishers JOIN steam.publishers USING (publisher_id)
     WHERE game_publishers.game_id = games.game_id) AS publishers,
    ram_gb, storage_gb, os, coalesce(short_description, long_description) AS description
FROM steam.games LEFT JOIN steam.game_requirements ON game_requirements.game_id = games.game_id AND level = 'minimum'
ORDER BY games.game_id

-- table: rankings
SELECT game_id, genre, rank_type, rank FROM steam.rankings ORDER BY genre, rank_type, game_id
