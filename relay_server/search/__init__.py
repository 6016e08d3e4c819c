"""Facts and full text of stored events, in `search.db` beside the store, and derived from it.

- `translate`: a filter as SQL over the index, and what of it is left to be asked of each event.
- `index`: the database: its tables, what is written and found, and when it is thrown away.
- `follower`: keeps the index level with the store, behind ingest; how that works stands there.
"""
