import { one } from "./dom.js";

/**
 * The live feed of a page: an EventSource that says how it is in one place, lets go while the page
 * is hidden, and comes back where it was.
 */
const HIDDEN_MS = 30_000;
const SILENT_MS = 20_000; // a beat comes each 15 s
const AGAIN_MS = [1_000, 2_000, 5_000, 10_000];
const TEXT = { live: "● live", "catching-up": "◐ catching up", paused: "▮▮ paused by you" };

export class Feed {
  /** @param {string} query @param {Record<string, (data: any) => void>} on */
  constructor(query, on) {
    this.query = query;
    this.on = on;
    this.position = "";
    this.failures = 0;
    document.addEventListener("visibilitychange", () => this.visibility());
    addEventListener("pagehide", () => this.close());
    this.open();
  }

  open() {
    this.close();
    const from = this.position ? `&from=${encodeURIComponent(this.position)}` : "";
    this.source = new EventSource(`/feed?state=1&${this.query}${from}`);
    this.source.onopen = () => this.state("catching-up");
    this.source.onerror = () => this.lost();
    for (const name of ["event", "delivery", "subscription", "channel", "refused", "gap", "beat", "bye"]) {
      this.source.addEventListener(name, (message) => this.heard(name, message));
    }
    this.watch();
  }

  /** @param {string} name @param {MessageEvent} message */
  heard(name, message) {
    this.failures = 0;
    if (message.lastEventId) this.position = message.lastEventId;
    const data = JSON.parse(message.data);
    if (name === "bye" && data.retry_ms === null) {
      this.close();
      location.assign("/login");
      return;
    }
    this.state("live");
    this.on[name]?.(data);
    this.watch();
  }

  watch() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.lost(), SILENT_MS);
  }

  lost() {
    this.close();
    this.state("lost");
    const wait = AGAIN_MS[Math.min(this.failures++, AGAIN_MS.length - 1)];
    this.again = setTimeout(() => this.open(), wait);
  }

  close() {
    clearTimeout(this.silence);
    clearTimeout(this.again);
    this.source?.close();
  }

  visibility() {
    clearTimeout(this.hiding);
    if (document.visibilityState === "hidden") this.hiding = setTimeout(() => this.close(), HIDDEN_MS);
    else if (this.source?.readyState === EventSource.CLOSED) this.open();
  }

  /** @param {"live" | "catching-up" | "lost" | "paused"} state */
  state(state) {
    if (document.body.dataset.feed === "paused" && state === "live") return;
    if (document.body.dataset.feed === state && state !== "lost") return;
    document.body.dataset.feed = state;
    const text = one("[data-feed-text]");
    if (text) text.textContent = TEXT[state] ?? `○ not live since ${new Date().toLocaleTimeString()} – retrying`;
  }
}
