import { BASE, _, all, create, one } from "./dom.js";
import { localTime } from "./time.js";

/**
 * Where one was in a channel's list: this browser keeps the newest event that was seen, and a line
 * above it says how many came while nobody looked.
 */
export class Away {
  /** @param {HTMLElement} list @param {string} channel */
  constructor(list, channel) {
    this.list = list;
    this.name = `relay-seen ${BASE}${channel}`;
    this.back();
    this.show();
    addEventListener("pagehide", () => this.leave());
    document.addEventListener("visibilitychange", () => (document.hidden ? this.leave() : this.back()));
  }

  get newest() {
    return Number(one("[data-event-id]:not([data-edited])", this.list)?.dataset.sequence ?? 0);
  }

  leave() {
    const sequence = Math.max(this.newest, this.seen?.sequence ?? 0);
    localStorage.setItem(this.name, JSON.stringify({ sequence, at: Date.now() }));
  }

  back() {
    try {
      this.seen = JSON.parse(localStorage.getItem(this.name) ?? "null");
    } catch {
      this.seen = null;
    }
    this.until = 0;
    this.to = new Date();
  }

  /** So much came that most of it was left out: the line says how much, below what is shown of it. */
  skipped() {
    const newest = one("[data-event-id] time", this.list);
    this.seen = newest && { sequence: this.newest, at: Date.parse(newest.dateTime) };
    this.until = 0;
    this.to = new Date();
  }

  /** Draw the line, once what came meanwhile is in the list. */
  show() {
    if (!this.seen?.sequence || this.until || this.newest <= this.seen.sequence) return;
    this.until = this.newest;
    one(".away", this.list)?.remove();
    const times = { from: localTime(new Date(this.seen.at)), to: localTime(this.to) };
    const cell = create("span", { role: "cell" }, _("{number} while you were away ({from} – {to})", { number: this.until - this.seen.sequence, ...times }));
    const known = all("[data-event-id]", this.list).find((row) => Number(row.dataset.sequence) <= this.seen.sequence);
    if (!known) cell.append(" · ", create("a", { href: `?before=${this.seen.sequence + 1}` }, _("go to where you were")));
    this.list.insertBefore(create("div", { className: "away", role: "row" }, cell), known ?? null);
  }
}
