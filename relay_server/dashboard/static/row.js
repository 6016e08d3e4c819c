import { BASE, all, create, one, say } from "./dom.js";
import { localTime } from "./time.js";

/** A row of a list, as `row` in `parts.html` makes it. */
const MOST_STATES = 4; // that a row shows

/** Marks of states and directions, with their words, as the page has them. @type {Map<string, HTMLElement>} */
const MARKS = new Map();

/** @param {string} name */
const markOf = (name) => {
  if (!MARKS.size) for (const { dataset, firstElementChild } of all("[data-of]", one("#marks").content)) MARKS.set(dataset.of, firstElementChild);
  return MARKS.get(name);
};

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
  if (event.edited) {
    row.dataset.edited = "";
    first.lastElementChild.remove(); // it is none of those that may be chosen
  } else first.lastElementChild.name = event.id;
  const time = link.firstElementChild;
  const at = new Date(event.received_at);
  time.dateTime = at.toISOString();
  time.textContent = localTime(at);
  say(kind, event.kind || `${event.method} ${event.request_target}`);
  if (event.edited) kind.prepend(markOf("edited").cloneNode());
  const direction = markOf(facts.private ? "private" : facts.direction);
  if (direction) kind.prepend(direction.cloneNode());
  if (event.key) {
    const to = create("a", { href: talkPath(event.channel, event.key), tabIndex: -1 });
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
    shown = states.appendChild(create("span", { className: "state" }));
    shown.dataset.subscription = subscription;
  }
  if (!shown.firstChild) shown.append(create("span", { role: "img" }));
  // What there is changes: another element would have the row laid out anew.
  const [icon, times] = shown.children;
  const { className, ariaLabel } = markOf(state);
  icon.className = className;
  icon.ariaLabel = `${subscription}: ${ariaLabel}`;
  if (attempt > 1) (times ?? shown.appendChild(document.createElement("sup"))).textContent = attempt;
  else times?.remove();
};
