import { _, all, one } from "./dom.js";
import { isPaused } from "./status.js";
import { Rate } from "./rate.js";
import { makeRow, showState } from "./row.js";

/**
 * The list of events while it lives. What comes is gathered, and drawn five times a second at most. At the
 * top, with nothing in hand, the list follows; else a pill counts, and what one looks at stays put. Where
 * much comes the pill says how much, twice a second.
 */
const DRAW_MS = 120; // longer than the 100 ms between two messages of the feed: two make one drawing
const CALM_MS = 500; // between two drawings where much comes, and only the pill changes
const MUCH = 20; // rows a second
const MOST = 100; // two pages of the list, as each costs in every drawing; to older ones a link leads
const ANNOUNCE_MS = 10_000; // between two that are read out to who does not see the list
const FEW = 3; // rows that may come with a fade; of more each frame of it would cost

export class Rows {
  /** @param {HTMLElement} list @param {HTMLTemplateElement} template @param {HTMLElement} pill @param {() => void} inserted */
  constructor(list, template, pill, inserted) {
    this.inserted = inserted;
    this.list = list;
    this.template = template;
    this.pill = pill;
    this.coming = [];
    this.passed = 0; // of those that came, which are older than the list will hold
    this.newest = Number(document.body.dataset.newest); // sequence of the channel
    this.hole = 0; // up to which sequence events were left out, until the newest have been asked for
    this.isAnew = false; // what comes does not go on from what is shown
    this.heard = new Set(); // events with news since the page was asked for again
    this.states = new Map();
    this.timer = 0;
    this.rate = new Rate();
    this.isFollowing = true;
    this.came = 0; // events that nobody was told of by ear
    this.announcing = 0;
    this.shown = new Map(all("[data-event-id]", list).map((row) => [row.dataset.eventId, row]));
    this.ids = new Set(this.shown.keys()); // and of those that come
    this.older = one("a[rel=next]");
    pill.addEventListener("click", () => this.showNew());
    document.addEventListener("unpaused", () => this.later());
  }

  /** @param {any} event */
  add(event) {
    if (event.edited) event.sequence = this.newest + 1; // it counts by itself, and stands below the one that comes next
    else this.newest = event.sequence;
    if (this.ids.has(event.id)) return;
    this.rate.note();
    this.hold(event);
    this.later();
    this.came += 1;
    this.announcing ||= setTimeout(() => this.announce(), DRAW_MS);
  }

  announce() {
    const number = this.came;
    this.came = 0;
    this.announcing = number && setTimeout(() => this.announce(), ANNOUNCE_MS);
    const said = one("[data-announced]");
    if (said && number) said.textContent = _("New events: {number}", { number });
  }

  /** Keep one until it is drawn: of many only the newest, as the list holds no more. @param {any} event */
  hold(event) {
    this.ids.add(event.id);
    let at = this.coming.length;
    while (at && this.coming[at - 1].sequence > event.sequence) at -= 1;
    this.coming.splice(at, 0, event);
    if (this.coming.length > MOST) this.passed += Number(this.ids.delete(this.coming.shift().id));
  }

  /** Events were left out, as there are too many: the newest are to be taken. @param {{from: number, to: number}} gap */
  skip({ from, to }) {
    this.passed += this.coming.filter(({ sequence }) => sequence < from).length + Math.max(0, to - from + 1);
    const newer = this.coming.filter(({ sequence }) => sequence > to); // a page was quicker
    for (const { id, sequence } of this.coming) if (sequence <= to) this.ids.delete(id);
    this.coming = newer;
    this.hole = this.newest = to;
  }

  /** Rows of the same list, as the server shows it now. @param {Document} page */
  take(page) {
    const rows = all("[data-rows] [data-event-id]", page);
    this.isAnew ||= rows.length > 0 && this.ids.size > 0 && !rows.some((row) => this.ids.has(row.dataset.eventId));
    for (const row of rows.reverse()) { // the oldest first, as they came
      const { eventId, sequence } = row.dataset;
      if (this.ids.has(eventId)) {
        if (!this.heard.has(eventId)) this.renew(eventId, one(".c-states", row));
        continue;
      }
      this.hold({ id: eventId, sequence: Number(sequence), row, deliveries: [] });
      if (Number(sequence) <= this.hole) this.passed -= 1;
    }
    this.hole = 0;
    if (this.isWanted) this.showNew();
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
      const at = waiting.deliveries.findIndex((one) => one.subscription === delivery.subscription);
      waiting.deliveries.splice(at < 0 ? waiting.deliveries.length : at, 1, delivery);
      return;
    }
    this.states.set(`${delivery.event} ${delivery.subscription}`, delivery);
    this.later();
  }

  /** Draw in a while, in a task of its own: style, layout and paint are the next. Unseen, not before it is seen. */
  later() {
    const draw = () => this.draw();
    this.timer ||= setTimeout(() => (document.hidden ? requestAnimationFrame(draw) : draw()), this.isMuch && !this.isFollowing ? CALM_MS : DRAW_MS);
  }

  get isMuch() {
    return this.rate.perSecond > MUCH;
  }

  /** Nobody reads further down, and nothing is in hand: of which the list's own elements are too many to ask each time. */
  get follows() {
    return scrollY < 40 && !this.list.contains(document.activeElement) && !document.hidden && !this.hole && !isPaused() && !one("#chosen[data-any]") && !(this.list.closest(".open") && one("[aria-current]", this.list));
  }

  draw() {
    this.timer = 0;
    if (this.coming.length && (this.isFollowing = this.follows)) this.insert(); // asks where the page is, which costs least before anything changes
    for (const delivery of this.states.values()) {
      const row = this.shown.get(delivery.event);
      if (row) showState(row.lastElementChild, delivery);
    }
    this.states.clear();
    this.count();
    this.list.dispatchEvent(new Event("drawn"));
  }

  showNew() {
    if ((this.isWanted = this.hole > 0)) return; // then once they are there
    this.insert();
    this.count();
    scrollTo({ top: 0 });
    one("a", this.list)?.focus({ preventScroll: true });
  }

  insert() {
    const made = this.coming.splice(0).reverse().map((event) => event.row ?? makeRow(this.template, event));
    this.passed = 0;
    for (const row of made) {
      row.classList.toggle("new", made.length <= FEW);
      this.shown.set(row.dataset.eventId, row);
    }
    this.list.prepend(...made);
    this.drop(this.isAnew ? made.length : MOST);
    this.isAnew = false;
    this.inserted();
  }

  /** Keep so many rows; the link to older events leads to the others. @param {number} most */
  drop(most) {
    let last = this.list.lastElementChild;
    let isCut = false;
    // Between two rows there may be the line that says what came meanwhile.
    while (this.shown.size > most || (isCut && last && !last.dataset.eventId)) {
      const row = last;
      last = row.previousElementSibling;
      if (!this.shown.delete(row.dataset.eventId)) continue;
      this.ids.delete(row.dataset.eventId);
      row.remove();
      isCut = true;
    }
    if (!isCut || !last || !this.older) return;
    const query = new URLSearchParams(this.older.search);
    query.set("before", last.dataset.sequence);
    this.older.search = String(query);
    this.older.hidden = false;
  }

  count() {
    const number = this.coming.length + this.passed;
    const rate = this.isMuch && number ? this.rate.perSecond : 0;
    const text = rate ? _("{number} new, {rate} a second · show (.)", { number, rate }) : _("{number} new · show (.)", { number });
    if (rate) this.later(); // it is to be said once it is over
    if (this.pill.textContent === text) return; // each change is another layout of the page
    this.pill.dataset.newCount = String(number);
    this.pill.textContent = text;
    this.pill.hidden = !number;
  }
}
