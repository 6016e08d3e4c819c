-- Where other servers reach one, to hand on clients that share; empty where they do not.
ALTER TABLE replicas ADD COLUMN address text NOT NULL DEFAULT '';

-- Whether whoever claimed it last shares it.
ALTER TABLE subscriptions ADD COLUMN shared boolean NOT NULL DEFAULT FALSE;
