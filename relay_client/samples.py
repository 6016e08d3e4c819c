"""Chatwoot's webhooks, ready to be sent, as people name them; and all else there is of them."""

from __future__ import annotations

from relay_chatwoot.samples import FOLDER, UNSIGNED, headers, kinds, read, signature
from relay_client.errors import UsageError
from relay_terminal.words import _

__all__ = ["FOLDER", "UNSIGNED", "headers", "kinds", "named", "read", "signature"]


def named(word: str) -> str:
    """The sample of a name, or the plainest one of a kind.

    Raises:
        UsageError: There is none.
    """
    import difflib

    known = kinds()
    if word in known:
        return word
    of_kind = [name for name, kind in known.items() if kind == word]
    if of_kind:
        return min(of_kind, key=lambda name: (not name.startswith(word), len(name), name))
    near = difflib.get_close_matches(word, [*known, *known.values()], 1)
    hint = _("relay-client send --list shows the samples there are.")
    if near:
        hint = _("Did you mean {name}?").format(name=near[0])
    raise UsageError(_("{word!r} is no file and no sample").format(word=word), hint)
