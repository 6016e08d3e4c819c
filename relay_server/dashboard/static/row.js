import { BASE, _, mark, say } from "./dom.js";
import { localTime } from "./time.js";

/** A row of a list, as `row` in `parts.html` makes it. */
const MOST_STATES = 4; // that a row shows
const WORDS = { pending: _("waiting"), under_way: _("under way"), waiting: _("retrying"), delivered: _("delivered"), dead: _("dead"), discarded: _("discarded"), skipped: _("skipped"), expired: _("expired") };
const NAMES = { pending: "waiting", under_way: "under-way", waiting: "retrying", delivered: "delivered", dead: "dead", discarded: "skipped", skipped: "skipped", expired: "skipped" };
const DIRECTIONS = { customer: ["in", _("from the customer")], bot: ["out", _("from the bot")], agent: ["out", _("from the agent")], system: ["system", _("system")] };

// What browsers and proxies take out of a path; `rendering.py` has the same rule.
const UNHOLDABLE = /(?:^|\/)\.{0,2}(?:\/|$)/;

/** Where a conversation's page is, whatever its key holds. @param {string} channel @param {string} key */
const talkPath = (channel, key) => {
  const at = `${BASE}conversations/${channel}`;
  return UNHOLDABLE.test(key) ? `${at}?${new URLSearchParams({ key })}` : `${at}/${key.split("/").map(encodeURIComponent).join("/")}`;
};

/** A row of what the feed tells of an event. @param {HTMLTemplateElement} template @param {any} event */
export const makeRow = (template, event) => {
  const row = template.content.firstElementChild.cloneNode(true);
  const facts = event.facts ?? {};
  row.dataset.eventId = event.id;
  row.dataset.sequence = event.sequence;
  const [first, kind, talk, who, says, states] = row.children;
  const link = first.firstElementChild;
  link.setAttribute("href", `${BASE}events/${encodeURIComponent(event.id)}`);
  first.lastElementChild.name = event.id;
  const time = link.firstElementChild;
  const at = new Date(event.received_at);
  time.setAttribute("datetime", at.toISOString());
  time.setAttribute("title", at.toISOString());
  time.textContent = localTime(at);
  say(kind.firstElementChild, event.kind || `${event.method} ${event.request_target}`);
  const direction = facts.private ? ["private", _("private note")] : DIRECTIONS[facts.direction];
  if (direction) kind.prepend(mark(...direction));
  if (event.key) {
    const to = document.createElement("a");
    to.href = talkPath(event.channel, event.key);
    to.tabIndex = -1;
    say(to, event.key.slice(event.key.indexOf("/") + 1) || event.key);
    talk.append(to);
  }
  say(who, facts.name ?? "");
  say(says, facts.says ?? "");
  for (const delivery of event.deliveries) showState(states, delivery);
  const more = event.deliveries.length - MOST_STATES;
  if (more > 0) states.append(`+${more}`);
  return row;
};

/** Show how a delivery is in a row's last cell, if it is one of the first. @param {Element} states @param {any} delivery */
export const showState = (states, delivery) => {
  const shown = [...states.children];
  const old = shown.find((one) => one.dataset.subscription === delivery.subscription);
  if (old) old.replaceWith(stateOf(delivery));
  else if (shown.length < MOST_STATES) states.append(stateOf(delivery));
};

/** @param {any} delivery */
const stateOf = (delivery) => {
  const element = document.createElement("span");
  element.className = "state";
  element.dataset.subscription = delivery.subscription;
  element.append(mark(NAMES[delivery.state] ?? "waiting", `${delivery.subscription}: ${WORDS[delivery.state] ?? delivery.state}`));
  if (delivery.attempt > 1) {
    const times = document.createElement("sup");
    times.textContent = String(delivery.attempt);
    element.append(times);
  }
  return element;
};
