-- The role of the pipelines' user in the demo's database; safe to repeat. Its members create the schemas steam and recsys
-- and own them; they need no other privileges.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'steam_recsys_pipelines') THEN
        CREATE ROLE steam_recsys_pipelines NOLOGIN;
    END IF;
END
$$;
GRANT CONNECT, CREATE, TEMPORARY ON DATABASE shop TO steam_recsys_pipelines;
