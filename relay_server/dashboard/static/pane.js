import { _, all, create, one } from "./dom.js";
import { load } from "./load.js";

/**
 * The event beside the list, on wide windows. What is opened there is the event's own page, from
 * which the pane is taken; the address and the history follow, so that a link of it and a browser
 * without JavaScript lead to that page. The history keeps which list it is beside: loaded again, it
 * is beside that. On narrow windows links are links.
 */
export const WIDE = matchMedia("(min-width: 1200px)");
const OPENED_HERE = /\/events\/[^/]+(?:\/(?:older|newer|show))?$/;
const SETTLE_MS = 120; // a row that is only passed is not loaded

export class Pane {
  /**
   * @param {HTMLElement} list Its rows open events.
   * @param {HTMLElement} side Where they show.
   * @param {string} [home] Address of the list.
   */
  constructor(list, side, home = location.href) {
    this.list = list;
    this.side = side;
    this.home = home;
    this.title = document.title;
    this.asked = 0;
    for (const part of [list, side]) part.addEventListener("click", (event) => this.clicked(event));
    side.addEventListener("submit", (event) => this.sent(event));
    list.addEventListener("reached", ({ target }) => this.reached(target));
    addEventListener("popstate", () => this.follow());
  }

  /** Id of the event that shows; empty for none. */
  get shown() {
    return one("[data-pane]", this.side)?.dataset.event ?? "";
  }

  clicked(event) {
    const link = event.target.closest("a[href]");
    if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const isUp = link.matches("[data-up]");
    if (!isUp && (!WIDE.matches || link.hasAttribute("download") || !OPENED_HERE.test(new URL(link.href).pathname))) return;
    event.preventDefault();
    if (isUp) this.leave();
    else this.load(link.href);
  }

  /** A row has the focus: while the pane is open it shows that one. @param {EventTarget} link */
  reached(link) {
    clearTimeout(this.settling);
    if (this.side.hidden) return;
    this.settling = setTimeout(() => this.load(link.href, {}, "replaceState"), SETTLE_MS);
  }

  /** A form of the pane: its answer shows here, too, and the focus goes to it: what was pressed is gone. */
  sent(event) {
    const form = event.target;
    if (form.method !== "post") return;
    event.preventDefault();
    this.wasPressed = true;
    const body = new URLSearchParams(new FormData(form, event.submitter));
    this.load(form.action, { method: "POST", body }, "replaceState");
  }

  /** The history went to another address. */
  follow() {
    if (OPENED_HERE.test(location.pathname)) this.load(location.href, {}, "");
    else this.close();
  }

  /** @param {string} href @param {RequestInit} [options] @param {string} [remember] How the history does. */
  async load(href, options = {}, remember = "pushState") {
    const number = (this.asked += 1);
    try {
      const { answer, page } = await load(href, options);
      if (number !== this.asked) return;
      const found = one("[data-pane]", page) ?? one("main > section", page);
      if (!found || answer.url.includes("/login")) return location.assign(href);
      if (remember && answer.ok) history[remember]({ home: this.home }, "", answer.url);
      document.title = page.title;
      this.put(found);
    } catch {
      if (number === this.asked) this.fail(href);
    }
  }

  /** @param {HTMLElement} content */
  put(content) {
    const focused = this.wasPressed || this.side.contains(document.activeElement);
    this.wasPressed = false;
    this.side.replaceChildren(content);
    this.open(true);
    this.choose();
    if (focused) (all("#answers summary", content).pop() ?? one("a", content))?.focus();
  }

  /** @param {boolean} is */
  open(is) {
    this.side.hidden = !is;
    this.side.parentElement?.classList.toggle("open", is);
  }

  fail(href) {
    const again = create("a", { href }, _("Try again"));
    this.put(create("p", { className: "problem" }, _("The event could not be loaded."), " ", again));
  }

  /** Mark the row of what shows. */
  choose() {
    for (const row of all("[aria-current]", this.list)) row.removeAttribute("aria-current");
    const row = this.shown && one(`[data-event-id="${CSS.escape(this.shown)}"]`, this.list);
    if (row) row.ariaCurrent = "true";
    return row && one(".row-link", row);
  }

  leave() {
    history.pushState(null, "", this.home);
    this.close();
  }

  close() {
    this.asked += 1;
    const row = this.choose();
    this.side.replaceChildren();
    this.open(false);
    this.choose();
    document.title = this.title;
    if (row) row.focus();
  }
}
