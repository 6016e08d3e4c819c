import { BASE } from "./dom.js";
import { LOOK_MS } from "./status.js";

/**
 * The EventSource of the tab that leads: opened, listened to, and opened again where it is lost.
 *
 * Messages that come together are passed on together.
 *
 * A proxy that gathers answers lets nothing of a feed through, or all of it late. Where the server
 * answers and its feed is silent the pages say so, and look for themselves until it flows.
 */
const SILENT_MS = 20_000; // a beat comes each 15 s
const FIRST_MS = 4_000; // a new feed says something at once
const LATE_MS = 5_000; // that a beat may take longer than the first one did
const LOOKS = 4; // before it is tried again
const AGAIN_MS = [1_000, 2_000, 5_000, 10_000];
const KINDS = ["event", "delivery", "subscription", "channel", "refused", "gap", "beat", "bye"];

export class Stream {
  /** @param {import("./feed.js").Feed} feed Knows the position to go on from, and takes what comes. */
  constructor(feed) {
    this.feed = feed;
    this.failures = 0;
    this.come = [];
  }

  open() {
    this.close();
    this.ahead = undefined;
    // What is lost, or held back, is so until something comes.
    if (this.now !== "held") this.say(this.failures ? "lost" : "catching-up");
    this.source = new EventSource(`${BASE}feed?state=1&version=1&edited=1&from=${encodeURIComponent(this.feed.position)}`);
    this.source.onerror = () => this.lost();
    for (const name of KINDS) this.source.addEventListener(name, (event) => this.heard(name, event));
    this.silence = setTimeout(() => this.silent(), FIRST_MS);
  }

  /** @param {string} name @param {MessageEvent} event */
  heard(name, { data, lastEventId: position }) {
    if (name === "beat" && this.isLate(JSON.parse(data).now)) return this.open();
    this.come.push({ name, data, position });
    if (document.hidden) this.pass(); // its timers are late
    else this.passing ||= setTimeout(() => this.pass());
  }

  /** Pass on what has come. */
  pass() {
    clearTimeout(this.passing);
    this.passing = 0;
    this.failures = 0;
    this.feed.pass(this.come.splice(0));
    if (!this.source) return; // that was the end
    if (this.now !== "live") this.say("live");
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lost(), SILENT_MS);
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
    if (source !== this.source) return;
    if (answers) this.look(LOOKS);
    else this.lost();
  }

  /** Look for what is new, so many times; then try the feed again. @param {number} times */
  look(times) {
    this.close();
    this.say("held");
    this.feed.missed();
    this.again = setTimeout(() => (times > 1 ? this.look(times - 1) : this.open()), LOOK_MS);
  }

  lost() {
    if (this.come.length) this.pass(); // an end may come right behind what it is for
    if (!this.source) return;
    this.close();
    this.say("lost");
    const wait = AGAIN_MS[Math.min(this.failures++, AGAIN_MS.length - 1)];
    this.again = setTimeout(() => this.open(), wait);
  }

  close() {
    for (const timer of [this.silence, this.again, this.passing]) clearTimeout(timer);
    this.passing = 0;
    this.come = []; // of which the position tells nothing yet: it comes again
    this.source?.close();
    this.source = undefined;
  }

  /** @param {"live" | "catching-up" | "lost" | "held"} state */
  say(state) {
    this.now = state;
    this.feed.state(state);
  }
}
