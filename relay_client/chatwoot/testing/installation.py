"""A Chatwoot's webhooks, bots and inboxes, as an administrator sets them up."""

from __future__ import annotations

from aiohttp import web

from relay_client.chatwoot.testing.asked import (
    Json,
    Refused,
    fields_of,
    id_of,
    new_token,
    without,
)

EVENTS = (
    *("conversation_status_changed", "conversation_updated", "conversation_created"),
    *("contact_created", "contact_updated", "message_created", "message_updated"),
    *("webwidget_triggered", "inbox_created", "inbox_updated"),
    *("conversation_typing_on", "conversation_typing_off"),
)
DEFAULT_EVENTS = EVENTS[:8]


class Installation:
    """What is set up in it.

    Attributes:
        version: Decides what it signs, shows and lets bots do.
        webhooks, bots, inboxes: By id, as an administrator sees them.
        bot_of: Ids of inboxes and their bots'.
    """

    ADMIN, AGENT, OUTSIDER = "ADMINtoken00000000000021", "AGENTtoken00000000000005", "OUTtoken1"

    def __init__(self) -> None:
        self.version = "4.16.2"
        self.webhooks: dict[int, Json] = {}
        self.bots: dict[int, Json] = {}
        self.inboxes: dict[int, Json] = {}
        self.bot_of: dict[int, int] = {}
        self._next = iter(range(11, 100_000))
        self.add_inbox(4, "Site Pão Quente", "Channel::WebWidget")

    def since(self, *version: int) -> bool:
        """Whether this version is so new."""
        return tuple(map(int, self.version.split("."))) >= version

    def add_inbox(self, id_: int, name: str, kind: str = "Channel::Api", url: str = "") -> Json:
        """An inbox that somebody made."""
        inbox: Json = {"id": id_, "name": name, "channel_type": kind}
        if kind == "Channel::Api":
            inbox |= {"webhook_url": url, "inbox_identifier": new_token(), "secret": new_token()}
            inbox |= {
                "hmac_token": new_token(),
                "hmac_mandatory": False,
                "additional_attributes": {},
            }
        self.inboxes[id_] = inbox
        return inbox

    def add_bot(self, id_: int, name: str = "Robô Pão", url: str = "", inbox: int = 0) -> Json:
        """A bot that somebody made; of an inbox, if one is given."""
        self.bots[id_] = {
            "id": id_,
            "name": name,
            "description": "",
            "thumbnail": "",
            "outgoing_url": url,
            "bot_type": "webhook",
            "bot_config": {},
            "account_id": 2,
            "access_token": new_token(),
            "secret": new_token(),
            "system_bot": False,
        }
        if inbox:
            self.bot_of[inbox] = id_
        return self.bots[id_]

    def add_webhook(self, id_: int, url: str, events: tuple[str, ...] = DEFAULT_EVENTS) -> Json:
        """An account's webhook that somebody made."""
        webhook = {"id": id_, "name": "", "url": url, "account_id": 2}
        self.webhooks[id_] = {**webhook, "subscriptions": list(events), "secret": new_token()}
        return self.webhooks[id_]

    def next_id(self) -> int:
        return next(self._next)

    def _whose(self, request: web.Request) -> str:
        token = request.headers.get("api_access_token", "")
        people = {self.ADMIN: "admin", self.AGENT: "agent", self.OUTSIDER: "outsider"}
        bots = {bot["access_token"]: f"bot {id_}" for id_, bot in self.bots.items()}
        known: dict[str, str] = people | bots
        return known.get(token, "")

    # The account's webhooks

    def _webhook(self, webhook: Json) -> Json:
        return webhook if self.since(4, 12, 0) else without(webhook, "secret")

    async def _list_webhooks(self, _: web.Request) -> web.Response:
        found = [self._webhook(one) for one in self.webhooks.values()]
        return web.json_response({"payload": {"webhooks": found}})

    async def _make_webhook(self, request: web.Request) -> web.Response:
        given = fields_of(request, "url", "name", "subscriptions", inside="webhook")
        self._check_webhook(given, None)
        made = self.add_webhook(self.next_id(), given["url"])
        made |= given
        return web.json_response({"payload": {"webhook": self._webhook(made)}})

    async def _change_webhook(self, request: web.Request) -> web.Response:
        webhook = self.webhooks[id_of(request)]
        given = fields_of(request, "url", "name", "subscriptions", inside="webhook")
        self._check_webhook(webhook | given, webhook["id"])
        webhook |= given
        return web.json_response({"payload": {"webhook": self._webhook(webhook)}})

    async def _delete_webhook(self, request: web.Request) -> web.Response:
        del self.webhooks[id_of(request)]
        return web.Response()

    def _check_webhook(self, given: Json, own: int | None) -> None:
        url = str(given.get("url", ""))
        if not url.startswith(("http://", "https://")):
            raise Refused(422, message="Url is invalid", attributes=["url"])
        if any(one["url"] == url for id_, one in self.webhooks.items() if id_ != own):
            raise Refused(422, message="Url has already been taken", attributes=["url"])
        events = given.get("subscriptions", DEFAULT_EVENTS)
        if not events or not set(events) <= set(EVENTS):
            text = "Subscriptions Invalid events"
            raise Refused(422, message=text, attributes=["subscriptions"])

    # Agent bots

    def _bot(self, request: web.Request, bot: Json) -> Json:
        admin = self._whose(request) == "admin"
        hidden = [] if admin and self.since(4, 13, 0) else ["secret"]
        hidden += [] if admin or not self.since(4, 16, 0) else ["access_token"]
        if bot["system_bot"]:
            hidden = ["outgoing_url", "secret", "access_token"]
        return without(bot, *hidden)

    async def _list_bots(self, request: web.Request) -> web.Response:
        return web.json_response([self._bot(request, bot) for bot in self.bots.values()])

    async def _show_bot(self, request: web.Request) -> web.Response:
        return web.json_response(self._bot(request, self.bots[id_of(request)]))

    async def _make_bot(self, request: web.Request) -> web.Response:
        given = fields_of(request, "name", "description", "outgoing_url", "bot_type", "bot_config")
        if not given.get("name"):
            raise Refused(422, message="Name can't be blank", attributes=["name"])
        bot = self.add_bot(self.next_id())
        bot |= given
        return web.json_response(self._bot(request, bot))

    async def _change_bot(self, request: web.Request) -> web.Response:
        bot = self._own_bot(request)
        bot |= fields_of(request, "name", "description", "outgoing_url", "bot_type", "bot_config")
        return web.json_response(self._bot(request, bot))

    async def _delete_bot(self, request: web.Request) -> web.Response:
        bot = self._own_bot(request)
        del self.bots[bot["id"]]
        self.bot_of = {inbox: id_ for inbox, id_ in self.bot_of.items() if id_ != bot["id"]}
        return web.Response()

    async def _reset_bot(self, request: web.Request) -> web.Response:
        bot = self._own_bot(request)
        bot[request.path.rpartition("reset_")[2]] = new_token()
        return web.json_response(self._bot(request, bot))

    def _own_bot(self, request: web.Request) -> Json:
        bot = self.bots[id_of(request)]
        if bot["system_bot"]:
            raise Refused(404, error="Resource could not be found")
        return bot

    # Inboxes

    def _inbox(self, request: web.Request, inbox: Json) -> Json:
        admin = self._whose(request) == "admin"
        hidden = [] if admin else ["secret", "hmac_token"]
        return without(inbox, *hidden, *([] if self.since(4, 13, 0) else ["secret"]))

    async def _list_inboxes(self, request: web.Request) -> web.Response:
        found = [self._inbox(request, one) for one in self.inboxes.values()]
        return web.json_response({"payload": found})

    async def _show_inbox(self, request: web.Request) -> web.Response:
        return web.json_response(self._inbox(request, self.inboxes[id_of(request)]))

    async def _make_inbox(self, request: web.Request) -> web.Response:
        given = fields_of(request, "name", "channel")
        channel = given.get("channel", {})
        if channel.keys() - {"type", "webhook_url"} or channel.get("type") != "api":
            raise Refused(422, error="param is missing or the value is empty: channel")
        made = self.add_inbox(self.next_id(), given["name"], url=channel.get("webhook_url", ""))
        return web.json_response(self._inbox(request, made))

    async def _change_inbox(self, request: web.Request) -> web.Response:
        inbox, given = self.inboxes[id_of(request)], fields_of(request, "name", "channel")
        channel = given.pop("channel", {})
        if channel.keys() - {"webhook_url"} or (channel and "webhook_url" not in inbox):
            raise Refused(422, error="found unpermitted parameters")
        inbox |= given | channel
        return web.json_response(self._inbox(request, inbox))

    async def _delete_inbox(self, request: web.Request) -> web.Response:
        del self.inboxes[id_of(request)]
        self.bot_of.pop(id_of(request), None)
        text = "Your inbox deletion request will be processed in some time."
        return web.json_response({"message": text})

    async def _reset_inbox(self, request: web.Request) -> web.Response:
        inbox = self.inboxes[id_of(request)]
        if "secret" not in inbox or not self.since(4, 13, 0):
            raise Refused(404, error="Resource could not be found")
        inbox["secret"] = new_token()
        return web.json_response(self._inbox(request, inbox))

    async def _set_agent_bot(self, request: web.Request) -> web.Response:
        inbox, bot = (
            self.inboxes[id_of(request)]["id"],
            fields_of(request, "agent_bot")["agent_bot"],
        )
        self.bot_of.pop(inbox, None)
        if bot is not None:
            self.bot_of[inbox] = self.bots[bot]["id"]
        return web.Response()

    async def _show_agent_bot(self, request: web.Request) -> web.Response:
        bot = self.bots.get(self.bot_of.get(self.inboxes[id_of(request)]["id"], 0))
        return web.json_response({"agent_bot": self._bot(request, bot)} if bot else {})
