"""The shape of JSON bodies of one kind, and when it changes for good.

A *shape* says which fields a body has and of what type each is, without any value:

    {"id": 7, "meta": {"team": null}, "tags": [{"name": "a"}]}
    id number, meta object, meta.team nothing, tags list, tags[] object, tags[].name text

Bodies of one kind differ from one to the next: a message has attachments or has none, an assignee
is null or an object. So a shape is *known* as what its first `LEARN` bodies had between them, and
of each field whether it was there whenever the object that holds it was. A field has *come*, *gone*
or *turned* into another type once `STREAK` bodies in a row say so, as after an upgrade of their
sender; one that shows up for a moment is one more that may be there.

What people name themselves, such as custom attributes, is not looked into.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

LEARN = 20  # bodies that a shape is first made of
STREAK = 5  # bodies in a row that must differ alike
MAX_FIELDS = 500  # of a shape; of more, those that come first
MAX_DEPTH = 12  # below which fields are not looked at
MAX_NAMES = 100  # of an object; one with more is a table of what people named
MAX_ITEMS = 5  # of a list that are looked at
MAX_PATH_CHARS = 120  # of a field; a longer one is not looked at
NOTHING = "nothing"  # the type of null, which fits any other
OBJECT, LIST = "object", "list"
FREE = frozenset(
    (
        "additional_attributes",
        "content_attributes",
        "custom_attributes",
        "provider_config",
        "submitted_values",
        "template_params",
    )
)

_TYPES = {
    type(None): NOTHING,
    bool: "true or false",
    int: "number",
    float: "number",
    str: "text",
    list: LIST,
    dict: OBJECT,
}

Shape = Mapping[str, str]


class Field(msgspec.Struct):
    """What is known of a field.

    Attributes:
        types: All that it has had, but for null.
        always: It was there whenever what holds it was.
        new: It is not known yet: it came within the last bodies.
        streak: How many bodies in a row differ from what is known of it, in one way.
        turning: The type that they have.
        before: The last event before these.
        since: The first of them.
    """

    types: set[str] = msgspec.field(default_factory=set)
    always: bool = True
    new: bool = False
    streak: int = 0
    turning: str = ""
    before: str = ""
    since: str = ""

    def differs(self, before: str, event: str) -> bool:
        """Note that an event differs; True once enough do."""
        if not self.streak:
            self.before, self.since = before, event
        self.streak += 1
        return self.streak >= STREAK


class Turned(msgspec.Struct, frozen=True):
    """A field of another type than before."""

    field: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.field} (was {self.was}, is {self.now})"


class Difference(msgspec.Struct):
    """What changed for good.

    Attributes:
        before: The last event of the former shape.
        after: The first one of the new shape.
    """

    before: str = ""
    after: str = ""
    came: list[str] = msgspec.field(default_factory=list)
    went: list[str] = msgspec.field(default_factory=list)
    turned: list[Turned] = msgspec.field(default_factory=list)

    def begins_with(self, field: Field) -> None:
        """Take the events from where a field began to differ, unless another field did before."""
        if not self.after:
            self.before, self.after = field.before, field.since


class Known(msgspec.Struct):
    """The shape of a kind, as far as it is known.

    Attributes:
        seen: How many bodies it is made of.
        last: The newest event of them.
    """

    seen: int = 0
    last: str = ""
    fields: dict[str, Field] = msgspec.field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """True if it is learnt, and the newest body had nothing that differs from it."""
        return self.seen >= LEARN and not [f for f in self.fields.values() if f.streak]

    def learn(self, event: str, shape: Shape) -> Difference | None:
        """Take in the shape of one more event; says what has changed for good by it."""
        found, fields = Difference(), self.fields
        for path, type_ in shape.items():
            field = fields.get(path)
            if field is None or field.new or field.streak or type_ not in field.types:
                self._there(path, type_, event, found)
        for path in [path for path in fields if path not in shape]:
            self._missing(path, shape, event, found)
        self.seen, self.last = self.seen + 1, event
        found.came = _outermost(found.came)
        return found if found.after else None

    def _there(self, path: str, type_: str, event: str, found: Difference) -> None:
        field = self.fields.get(path)
        if field is None:
            if len(self.fields) >= MAX_FIELDS:
                return
            self.fields[path] = field = self._begun(path, type_)
        if field.new:
            if field.differs(self.last, event):
                found.begins_with(field)
                found.came.append(path)
                field.new, field.streak = False, 0
            return
        if field.streak and not field.turning:  # it was missing for a moment
            field.always, field.streak = False, 0
        if type_ != NOTHING:
            self._typed(field, path, type_, event, found)

    def _begun(self, path: str, type_: str) -> Field:
        """A field that was not there before; the first ones, and what they hold, always were."""
        holder, learning = self.fields.get(_holder(path)), self.seen < LEARN
        first = self.seen == 0 or (holder is not None and holder.new)
        types = set() if type_ == NOTHING else {type_}
        return Field(types, always=first or not learning, new=not learning)

    def _typed(self, field: Field, path: str, type_: str, event: str, found: Difference) -> None:
        if type_ in field.types or not field.types or self.seen < LEARN:
            if field.turning:  # it may be either
                field.types.add(field.turning)
                field.turning, field.streak = "", 0
            field.types.add(type_)
            return
        if field.turning != type_:
            field.turning, field.streak = type_, 0
        if field.differs(self.last, event):
            found.begins_with(field)
            found.turned.append(Turned(path, " or ".join(sorted(field.types)), type_))
            field.types, field.turning, field.streak = {type_}, "", 0

    def _missing(self, path: str, shape: Shape, event: str, found: Difference) -> None:
        field = self.fields.get(path)
        if field is None:  # it went with what held it
            return
        if field.new:  # it may be there, and is no news
            field.new = field.always = False
            field.streak = 0
        elif path.endswith("[]") or shape.get(_holder(path)) != OBJECT:
            return  # a list may be empty, and what is not there holds nothing
        elif self.seen < LEARN:
            field.always = False
        elif field.always and field.differs(self.last, event):
            found.begins_with(field)
            found.went.append(path)
            for below in [p for p in self.fields if p == path or _is_below(p, path)]:
                del self.fields[below]


def shape_of(body: object) -> Shape:
    found = {"": _TYPES[type(body)]}
    _look_into(body, "", 0, found)
    return found


def _look_into(holder: object, path: str, depth: int, found: dict[str, str]) -> None:
    if depth >= MAX_DEPTH or path.rpartition(".")[2] in FREE:
        return
    inside: Iterable[tuple[str, object]] = ()
    if isinstance(holder, dict) and len(holder) <= MAX_NAMES:
        inside = [(f"{path}.{name}" if path else name, below) for name, below in holder.items()]
    elif isinstance(holder, list):
        inside = [(f"{path}[]", below) for below in holder[:MAX_ITEMS]]
    for at, below in inside:
        if len(found) >= MAX_FIELDS or len(at) > MAX_PATH_CHARS:
            continue
        type_ = _TYPES[type(below)]
        if found.get(at, NOTHING) == NOTHING:
            found[at] = type_
        if type_ is OBJECT or type_ is LIST:
            _look_into(below, at, depth + 1, found)


def _holder(path: str) -> str:
    """The path of what holds a field; empty for the body."""
    if path.endswith("[]"):
        return path.removesuffix("[]")
    return path.rpartition(".")[0]


def _is_below(path: str, outer: str) -> bool:
    return path.startswith((f"{outer}.", f"{outer}["))


def _outermost(paths: Iterable[str]) -> list[str]:
    """Those that are not below another of them."""
    kept = list[str]()
    for path in sorted(paths):
        if not any(_is_below(path, outer) for outer in kept):
            kept.append(path)
    return kept
