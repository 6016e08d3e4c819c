import { BASE, one } from "./dom.js";
import { sayState } from "./status.js";
import { Stream } from "./stream.js";

/**
 * The live feed: one for all tabs, as a browser has six connections to an origin and no more.
 *
 * Of the tabs that are seen one leads (Web Locks): it holds the stream, and passes on what it hears
 * (BroadcastChannel). Every tab knows the position of what it heard last. Whoever leads next goes on
 * from there, so that nothing is missing; a tab that comes late, and is elsewhere than the others,
 * asks for its page once more; as does each that is live again, since what became of deliveries is
 * told once. Where no tab is seen for a while there is no feed.
 */
const NAME = `relay-feed ${BASE}`; // others of the host may have a relay, too
const HIDDEN_MS = 30_000;

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
    this.stream = new Stream(this);
    this.leads = this.met = this.lived = false;
    this.version = document.body.dataset.version; // of what the page shows
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
    if (document.hidden || this.standing) return;
    this.standing = new AbortController();
    const lead = () => new Promise((release) => {
      this.release = release;
      this.leads = true;
      this.stream.open();
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
    this.stream.close();
    this.standing?.abort();
    this.standing = undefined;
    this.leads = false;
    this.release?.();
  }

  visibility() {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => this.retire(), HIDDEN_MS);
    else this.stand();
  }

  /** Tell the other tabs what has come, and take it. */
  pass(messages) {
    this.bus.postMessage({ kind: "messages", messages });
    for (const message of messages) this.take(message);
  }

  /** What another tab says. @param {any} said */
  told(said) {
    if (said.kind === "hello" && this.leads) this.state(this.stream.now ?? "catching-up");
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

  /** Say how the feed is, here and in all tabs. @param {"live" | "catching-up" | "lost" | "held"} state */
  state(state) {
    this.bus.postMessage({ kind: "state", state, position: this.position });
    this.show(state);
  }

  /** @param {"live" | "catching-up" | "lost" | "held"} state */
  show(state) {
    if (this.shown === state) return;
    this.shown = state;
    sayState(state);
    if (state === "live" && this.lived) this.missed();
    this.lived ||= state === "live";
  }
}
