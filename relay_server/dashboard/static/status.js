import { _, one } from "./dom.js";
import { localTime } from "./time.js";

/**
 * What the page says of its feed. A pause hides how well the feed does, but not that there is none:
 * lost shows as lost, with the pause beside it, and as paused once it is back.
 */
export const LOOK_MS = 4_000; // between two looks while something holds the feed back
const TEXT = { live: _("● live"), "catching-up": _("◐ catching up"), paused: _("▮▮ paused by you"), held: _("○ held back by a proxy – looking every {number} s", { number: LOOK_MS / 1_000 }) };
const said = { feed: "lost", since: new Date(), paused: false };

export const isPaused = () => said.paused;

/** Pause the page, or have it go on, where it has a feed. */
export const togglePause = () => {
  if (!document.body.dataset.live) return;
  said.paused = !said.paused;
  sayState(said.feed);
  if (!said.paused) document.dispatchEvent(new Event("unpaused"));
};

/** @param {"live" | "catching-up" | "lost" | "held"} feed */
export const sayState = (feed) => {
  if (feed === "lost" && said.feed !== feed) said.since = new Date();
  said.feed = feed;
  const isLost = ["lost", "held"].includes(feed);
  const how = TEXT[feed] ?? _("○ not live since {time} – retrying", { time: localTime(said.since) });
  document.body.dataset.feed = isLost ? "lost" : said.paused ? "paused" : feed;
  const text = one("[data-feed-text]");
  const button = one("[data-press=p]");
  if (button) button.ariaPressed = String(said.paused);
  if (text) text.textContent = !said.paused ? how : isLost ? `${how} · ${TEXT.paused}` : TEXT.paused;
};
