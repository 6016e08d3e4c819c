"""What the bot does at each event: the file to make your own."""

from __future__ import annotations

from examples.chatwoot_bot.events import Bot, Conversation, Event, Registry

registry = Registry()
on = registry.on


async def reply(conversation: Conversation) -> str | None:
    """The answer to a customer's message; None leaves it to a person.

    An exception makes the webhook fail, and Relay brings it again.
    """
    said = f"“{conversation.message}”" if conversation.message else "no words"
    files = f" and {count} attachment(s)" if (count := len(conversation.attachments)) else ""
    return f"Hello {conversation.customer}! 👋 I am an example bot. I got {said}{files}."


@on("message_created")
async def message_created(event: Event, bot: Bot) -> str:
    """Answer what a customer wrote; the bot's own answers come by here too."""
    if reason := event.not_from_customer:
        return f"ignored: {reason}"
    conversation = event.conversation()
    text = await bot.reply(conversation)
    if not text:
        return f"{conversation.customer}: no reply"
    return await bot.sender.send(conversation, text)


@on("conversation_created")
async def conversation_created(event: Event, bot: Bot) -> str:
    """Say who began to talk."""
    return f"{event.person} began a conversation"


# An agent bot's webhook names the new status in the event; other webhooks have one event for all.
@on("conversation_status_changed", "conversation_opened", "conversation_resolved")
async def conversation_status_changed(event: Event, bot: Bot) -> str:
    """Say how the conversation stands now."""
    return f"the conversation with {event.person} is now {event.at('status')}"


@on("contact_created", "contact_updated")
async def contact_changed(event: Event, bot: Bot) -> str:
    """Say whose data changed, and which."""
    changes = event.at("changed_attributes") or []  # a list of one-key objects, null or absent
    fields = ", ".join(name for change in changes for name in change if name != "updated_at")
    return f"contact {event.person}" + (f": {fields} changed" if fields else "")


@on("conversation_typing_on", "conversation_typing_off")
async def typing(event: Event, bot: Bot) -> str:
    """Say who types."""
    return f"{event.person} {'types' if event.name.endswith('_on') else 'stopped typing'}"
