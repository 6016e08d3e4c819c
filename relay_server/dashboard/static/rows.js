import { BASE, _, all, mark, one, say } from "./dom.js";
import { isPaused } from "./feed.js";
import { localTime } from "./time.js";

/**
 * The list of events while it lives. What comes is gathered, and drawn at most every 200 ms. At the
 * top, with nothing in hand, the list follows; else a pill counts, and what one looks at stays put.
 */
const DRAW_MS = 200;
const MOST = 240; // of some 30 elements each: a page has at most 8,000
const MOST_STATES = 4; // that a row shows
const FEW = 3; // rows that may come with a fade; of more each frame of it would cost
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

export class Rows {
  /** @param {HTMLElement} list @param {HTMLTemplateElement} template @param {HTMLElement} pill @param {() => void} inserted */
  constructor(list, template, pill, inserted) {
    this.inserted = inserted;
    this.list = list;
    this.template = template;
    this.pill = pill;
    this.coming = [];
    this.passed = 0; // of those that came, which are older than the list will hold
    this.heard = new Set(); // events with news since the page was asked for again
    this.states = new Map();
    this.timer = 0;
    this.shown = new Map(all("[data-event-id]", list).map((row) => [row.dataset.eventId, row]));
    this.ids = new Set(this.shown.keys()); // and of those that come
    pill.addEventListener("click", () => this.showNew());
    document.addEventListener("unpaused", () => this.later());
  }

  /** @param {any} event */
  add(event) {
    if (this.ids.has(event.id)) return;
    this.hold(event);
    this.later();
  }

  /** Keep one until it is drawn: of many only the newest, as the list holds no more. @param {any} event */
  hold(event) {
    this.ids.add(event.id);
    this.coming.push(event);
    if (this.coming.length <= MOST) return;
    this.ids.delete(this.coming.shift().id);
    this.passed += 1;
  }

  /** Rows of the same list, as the server shows it now. @param {Document} page */
  take(page) {
    for (const row of all("[data-rows] [data-event-id]", page)) {
      const { eventId, sequence } = row.dataset;
      if (this.ids.has(eventId)) {
        if (!this.heard.has(eventId)) this.renew(eventId, one(".c-states", row));
        continue;
      }
      this.hold({ id: eventId, sequence: Number(sequence), row, deliveries: [] });
    }
    this.later();
  }

  /** The states of a row as they are now, if they are others. @param {string} id @param {HTMLElement} states */
  renew(id, states) {
    const row = this.shown.get(id);
    const old = row && one(".c-states", row);
    if (old && !old.isEqualNode(states)) old.replaceWith(states);
  }

  /** @param {any} delivery */
  changed(delivery) {
    if (!this.ids.has(delivery.event)) return;
    this.heard.add(delivery.event);
    const waiting = this.coming.find((event) => event.id === delivery.event);
    if (waiting && !waiting.row) {
      waiting.deliveries = [...waiting.deliveries.filter((one) => one.subscription !== delivery.subscription), delivery];
      return;
    }
    this.states.set(`${delivery.event} ${delivery.subscription}`, delivery);
    this.later();
  }

  later() {
    this.timer ||= setTimeout(() => requestAnimationFrame(() => this.draw()), DRAW_MS);
  }

  /** Nobody reads further down, and nothing is in hand. */
  get follows() {
    return scrollY < 40 && !this.list.contains(document.activeElement) && document.visibilityState === "visible" && !isPaused() && !one("[aria-current]", this.list);
  }

  draw() {
    this.timer = 0;
    if (this.follows) this.insert(); // asks where the page is, which costs least before anything changes
    for (const delivery of this.states.values()) this.patch(delivery);
    this.states.clear();
    this.count();
  }

  showNew() {
    const before = this.list.firstElementChild?.getBoundingClientRect().top ?? 0;
    this.insert();
    this.count();
    scrollTo({ top: 0 });
    one("a", this.list)?.focus({ preventScroll: true });
    return before;
  }

  insert() {
    const made = this.coming.splice(0).sort((a, b) => b.sequence - a.sequence).map((event) => this.make(event));
    this.passed = 0;
    for (const row of made) {
      row.classList.toggle("new", made.length <= FEW);
      this.shown.set(row.dataset.eventId, row);
    }
    this.list.prepend(...made);
    this.trim();
    this.inserted();
  }

  /** Take out what is more than a list holds, from its end. */
  trim() {
    for (const last of [...this.list.children].filter((row) => row.dataset.eventId).slice(MOST)) {
      this.ids.delete(last.dataset.eventId);
      this.shown.delete(last.dataset.eventId);
      last.remove();
    }
  }

  count() {
    const number = this.coming.length + this.passed;
    this.pill.dataset.newCount = String(number);
    this.pill.textContent = _("{number} new · show (.)", { number });
    this.pill.hidden = !number;
  }

  /** @param {any} event */
  make(event) {
    if (event.row) return event.row;
    const row = this.template.content.firstElementChild.cloneNode(true);
    const facts = event.facts ?? {};
    row.dataset.eventId = event.id;
    row.dataset.sequence = event.sequence;
    const link = one(".row-link", row);
    link.setAttribute("href", `${BASE}events/${encodeURIComponent(event.id)}`);
    const time = one("time", row);
    const at = new Date(event.received_at);
    time.setAttribute("datetime", at.toISOString());
    time.setAttribute("title", at.toISOString());
    time.textContent = localTime(at);
    const kind = one(".c-kind", row);
    say(kind, event.kind || `${event.method} ${event.request_target}`);
    const direction = facts.private ? ["private", _("private note")] : DIRECTIONS[facts.direction];
    if (direction) kind.prepend(mark(...direction));
    if (event.key) {
      const talk = document.createElement("a");
      talk.href = talkPath(event.channel, event.key);
      talk.tabIndex = -1;
      talk.append(document.createElement("bdi"));
      say(talk, event.key.slice(event.key.indexOf("/") + 1) || event.key);
      one(".c-conv", row).append(talk);
    }
    say(one(".c-who", row), facts.name ?? "");
    say(one(".c-says", row), facts.says ?? "");
    one(".c-states", row).replaceChildren(...(event.deliveries ?? []).slice(0, MOST_STATES).map(stateOf));
    return row;
  }

  /** @param {any} delivery */
  patch(delivery) {
    const row = this.shown.get(delivery.event);
    if (!row) return;
    const old = all("[data-subscription]", row).find((state) => state.dataset.subscription === delivery.subscription);
    if (old) old.replaceWith(stateOf(delivery));
    else if (all(".state", row).length < MOST_STATES) one(".c-states", row).append(stateOf(delivery));
  }
}

/** @param {any} delivery */
export const stateOf = (delivery) => {
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
