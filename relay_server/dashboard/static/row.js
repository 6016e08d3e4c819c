import { BASE, _, all, mark, say } from "./dom.js";
import { localTime } from "./time.js";

/** A row of a list, as `row` in `parts.html` makes it. */
const MOST_STATES = 4; // that a row shows
const WORDS = { pending: _("waiting"), under_way: _("under way"), waiting: _("retrying"), delivered: _("delivered"), dead: _("dead"), discarded: _("discarded"), skipped: _("skipped"), expired: _("expired") };
const MARKS = { pending: "waiting", under_way: "under-way", waiting: "retrying", discarded: "skipped", expired: "skipped" }; // of others the state's own name
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
  link.href = `${BASE}events/${encodeURIComponent(event.id)}`;
  first.lastElementChild.name = event.id;
  const time = link.firstElementChild;
  const at = new Date(event.received_at);
  time.dateTime = at.toISOString();
  time.textContent = localTime(at);
  say(kind, event.kind || `${event.method} ${event.request_target}`);
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
  const more = event.deliveries.length - all(".mark", states).length;
  if (more > 0) states.append(`+${more}`);
  return row;
};

/** Show how a delivery is in a row's last cell, if it is one of the first; one's own have a place there from the start. @param {Element} states @param {any} delivery */
export const showState = (states, { subscription, state, attempt }) => {
  let shown = [...states.children].find((one) => one.dataset.subscription === subscription);
  if (!shown) {
    if (states.childElementCount === MOST_STATES) return;
    shown = states.appendChild(document.createElement("span"));
    shown.className = "state";
    shown.dataset.subscription = subscription;
  }
  if (!shown.firstChild) shown.append(mark("", ""));
  // What there is changes: another element would have the row laid out anew.
  const [icon, times] = shown.children;
  icon.className = `mark mark-${MARKS[state] ?? state}`;
  icon.ariaLabel = `${subscription}: ${WORDS[state] ?? state}`;
  if (attempt > 1) (times ?? shown.appendChild(document.createElement("sup"))).textContent = attempt;
  else times?.remove();
};
