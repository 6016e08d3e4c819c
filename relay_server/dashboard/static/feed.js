import { BASE, _, one } from "./dom.js";

/**
 * The live feed: one for all tabs, as a browser has six connections to an origin and no more.
 *
 * Of the tabs that are seen one leads (Web Locks): it holds the EventSource, and passes on what it
 * hears (BroadcastChannel). Every tab knows the position of what it heard last. Whoever leads next
 * goes on from there, so that nothing is missing; a tab that comes late, and is elsewhere than the
 * others, asks for its page once more; as does each that is live again, since what became of
 * deliveries is told once. Where no tab is seen for a while there is no feed.
 *
 * Messages that come together are taken and passed on together.
 *
 * A proxy that gathers answers lets nothing of a feed through, or all of it late. Where the server
 * answers and its feed is silent the pages say so, and look for themselves until it flows.
 */
const NAME = `relay-feed ${BASE}`; // others of the host may have a relay, too
const HIDDEN_MS = 30_000;
const SILENT_MS = 20_000; // a beat comes each 15 s
const FIRST_MS = 4_000; // a new feed says something at once
const LATE_MS = 5_000; // that a beat may take longer than the first one did
const LOOK_MS = 4_000; // between two looks while something holds the feed back
const LOOKS = 4; // before it is tried again
const AGAIN_MS = [1_000, 2_000, 5_000, 10_000];
const KINDS = ["event", "delivery", "subscription", "channel", "refused", "gap", "beat", "bye"];
const TEXT = { live: _("● live"), "catching-up": _("◐ catching up"), paused: _("▮▮ paused by you"), held: _("○ held back by a proxy – looking every {number} s", { number: LOOK_MS / 1_000 }) };

/**
 * What the page says of its feed. A pause hides how well the feed does, but not that there is none:
 * lost shows as lost, with the pause beside it, and as paused once it is back.
 */
const said = { feed: "lost", since: new Date(), paused: false };

export const isPaused = () => said.paused;

const sayState = () => {
  const isLost = ["lost", "held"].includes(said.feed);
  const lost = _("○ not live since {time} – retrying", { time: said.since.toLocaleTimeString() });
  const how = TEXT[said.feed] ?? lost;
  document.body.dataset.feed = isLost ? "lost" : said.paused ? "paused" : said.feed;
  const text = one("[data-feed-text]");
  if (text) text.textContent = !said.paused ? how : isLost ? `${how} · ${TEXT.paused}` : TEXT.paused;
};

/** Pause the page, or have it go on, where it has a feed. */
export const togglePause = () => {
  if (!document.body.dataset.live) return;
  said.paused = !said.paused;
  sayState();
  if (!said.paused) document.dispatchEvent(new Event("unpaused"));
};

export class Feed {
  /**
   * @param {string} position Where the page is.
   * @param {Record<string, (data: any) => void>} on What is done with each message.
   * @param {() => void} missed Called where the page may lack something.
   */
  constructor(position, on, missed) {
    this.position = position;
    this.on = on;
    this.missed = missed;
    this.failures = 0;
    this.leads = false;
    this.met = false;
    this.lived = false;
    this.version = document.body.dataset.version; // of what the page shows
    this.come = [];
    this.bus = new BroadcastChannel(NAME);
    this.bus.onmessage = ({ data }) => this.told(data);
    this.bus.postMessage({ kind: "hello" });
    document.addEventListener("visibilitychange", () => this.visibility());
    addEventListener("pagehide", () => this.retire());
    addEventListener("pageshow", (event) => event.persisted && this.back());
    document.addEventListener("freeze", () => this.retire()); // or its lock would keep others out
    document.addEventListener("resume", () => this.visibility());
    this.stand();
  }

  /** Lead as soon as nobody else does. */
  stand() {
    if (document.visibilityState === "hidden" || this.standing) return;
    this.standing = new AbortController();
    const lead = () => new Promise((release) => {
      this.release = release;
      this.leads = true;
      this.open();
    });
    navigator.locks.request(NAME, { signal: this.standing.signal }, lead).catch(() => {});
  }

  /** The page was kept by the browser while one was elsewhere, and heard nothing. */
  back() {
    this.shown = undefined;
    this.bus.postMessage({ kind: "hello" });
    this.stand();
  }

  /** Lead no more. */
  retire() {
    this.close();
    this.standing?.abort();
    this.standing = undefined;
    this.leads = false;
    this.release?.();
  }

  visibility() {
    clearTimeout(this.hiding);
    if (document.visibilityState === "hidden") this.hiding = setTimeout(() => this.retire(), HIDDEN_MS);
    else this.stand();
  }

  open() {
    this.close();
    this.ahead = undefined;
    // What is lost, or held back, is so until something comes.
    if (this.now !== "held") this.state(this.failures ? "lost" : "catching-up");
    this.source = new EventSource(`${BASE}feed?state=1&version=1&from=${encodeURIComponent(this.position)}`);
    this.source.onerror = () => this.lost();
    for (const name of KINDS) {
      this.source.addEventListener(name, ({ data, lastEventId }) => this.heard(name, data, lastEventId));
    }
    this.silence = setTimeout(() => this.silent(), FIRST_MS);
  }

  /** @param {string} name @param {string} data @param {string} position */
  heard(name, data, position) {
    if (name === "beat" && this.isLate(JSON.parse(data).now)) return this.open();
    this.come.push({ name, data, position });
    if (document.hidden) this.pass(); // its timers are late
    else this.passing ||= setTimeout(() => this.pass());
  }

  /** Take what has come, and tell the other tabs. */
  pass() {
    clearTimeout(this.passing);
    this.passing = 0;
    this.failures = 0;
    const messages = this.come.splice(0);
    this.bus.postMessage({ kind: "messages", messages });
    for (const message of messages) this.take(message);
    if (!this.leads) return;
    if (this.now !== "live") this.state("live");
    this.watch();
  }

  /** What another tab says. @param {any} said */
  told(said) {
    if (said.kind === "hello" && this.leads) this.state(this.now ?? "catching-up");
    if (said.kind === "messages") for (const message of said.messages) this.take(message);
    if (said.kind !== "state") return;
    this.show(said.state);
    if (said.state === "held") this.missed();
    if (!this.met && said.position !== this.position) this.missed();
    this.met = true;
  }

  /** @param {{name: string, data: string, position: string}} message */
  take({ name, data, position }) {
    if (position) this.position = position;
    const said = JSON.parse(data);
    if (name === "bye" && said.retry_ms === null) {
      this.retire();
      if (!one("form.who button:disabled")) location.assign(`${BASE}login`); // who logs out here is on the way there
      return;
    }
    this.on[name]?.(said);
    // How far deliveries are is not caught up on: the server says whether any moved since the page was made.
    if (name === "beat" && !this.level) {
      this.level = true;
      if (said.version !== this.version) this.missed();
    }
  }

  /** Whether a beat was on its way for longer than the first one. @param {number} sent */
  isLate(sent) {
    const ahead = Date.now() - sent;
    this.ahead ??= ahead;
    return ahead - this.ahead > LATE_MS;
  }

  /** Nothing came of a new feed: the server is away, or something holds the feed back. */
  async silent() {
    const { source } = this;
    const asking = new AbortController();
    const limit = setTimeout(() => asking.abort(), FIRST_MS); // what swallows the feed may swallow the answer
    const answers = await fetch(`${BASE}health/live`, { signal: asking.signal }).then(({ ok }) => ok, () => false);
    clearTimeout(limit);
    if (source !== this.source || !this.leads) return;
    if (answers) this.look(LOOKS);
    else this.lost();
  }

  /** Look for what is new, so many times; then try the feed again. @param {number} times */
  look(times) {
    this.close();
    this.state("held");
    this.missed();
    this.again = setTimeout(() => (times > 1 ? this.look(times - 1) : this.open()), LOOK_MS);
  }

  watch() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lost(), SILENT_MS);
  }

  lost() {
    if (this.come.length) this.pass(); // an end may come right behind what it is for
    if (!this.leads) return;
    this.close();
    this.state("lost");
    const wait = AGAIN_MS[Math.min(this.failures++, AGAIN_MS.length - 1)];
    this.again = setTimeout(() => this.open(), wait);
  }

  close() {
    for (const timer of [this.silence, this.again, this.passing]) clearTimeout(timer);
    this.passing = 0;
    this.come = []; // of which the position tells nothing yet: it comes again
    this.source?.close();
  }

  /** Say how the feed is, here and in all tabs. @param {"live" | "catching-up" | "lost" | "held"} state */
  state(state) {
    this.now = state;
    this.bus.postMessage({ kind: "state", state, position: this.position });
    this.show(state);
  }

  /** @param {"live" | "catching-up" | "lost" | "held"} state */
  show(state) {
    if (this.shown === state) return;
    if (state === "lost") said.since = new Date();
    this.shown = said.feed = state;
    sayState();
    if (state === "live" && this.lived) this.missed();
    this.lived ||= state === "live";
  }
}
