"""The store in a PostgreSQL, which several replicas share."""
