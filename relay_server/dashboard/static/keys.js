import { all, one } from "./dom.js";
import { TEXT } from "./feed.js";

/** What keys do; only bare ones, outside of fields, and not while a key is held for an action. */
const OFF = "relay-keys-off";

/** @param {number} step */
const move = (step) => {
  const links = all(".row-link");
  const at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + step))]?.focus();
};

/** @param {string} key */
const press = (key) => () => {
  const element = one(`[data-key="${key}"]`);
  if (element?.matches("input")) element.focus();
  else element?.click();
};

export const KEYS = {
  j: () => (all(".row-link").length ? move(1) : press("j")()),
  k: () => (all(".row-link").length ? move(-1) : press("k")()),
  ".": () => one(".pill:not([hidden])")?.click(),
  ...Object.fromEntries(["/", "r", "R", "e", "d", "y", "w"].map((key) => [key, press(key)])),
  p: () => {
    document.body.dataset.feed = document.body.dataset.feed === "paused" ? "live" : "paused";
    const text = one("[data-feed-text]");
    if (text) text.textContent = TEXT[document.body.dataset.feed];
  },
};

export const listenToKeys = () => {
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    const typing = target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "Escape") {
      if (typing) target.blur();
      else one("[data-up]")?.click();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (localStorage.getItem(OFF) || (event.repeat && !"jk".includes(event.key))) return;
    const act = KEYS[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
};
