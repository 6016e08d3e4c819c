"""When tokens and signing secrets were used last."""

from __future__ import annotations

from relay_server.store.rules import MAX_USED_SECRETS
from relay_server.store.sql.database import Database
from relay_server.store.sql.part import Part, reports, writes
from relay_server.values import LastUses


class SqlUses(Part):
    """`Uses`."""

    @writes
    def note_uses(self, database: Database, uses: LastUses) -> None:
        names = {name for name, *_ in database.all("load_tokens")}
        channels = {number for number, *_ in database.all("channels", name=None)}
        tokens = [(name, at) for name, at in uses.tokens.items() if name in names]
        secrets = [(*of, at) for of, at in uses.secrets.items() if of[0] in channels]
        # Each in one order, as rows are locked in it.
        if tokens:
            database.run_rows("note_token_uses", sorted(tokens))
        if secrets:
            database.run_rows("note_secret_uses", sorted(secrets))
        for channel in sorted({channel for channel, *_ in secrets}):
            database.run("forget_secret_uses", channel=channel, most=MAX_USED_SECRETS)

    @reports
    def last_uses(self, database: Database) -> LastUses:
        secrets = {(of, id_): at for of, id_, at in database.all("secret_uses")}
        return LastUses(dict(database.all("token_uses")), secrets)
