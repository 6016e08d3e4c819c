import { all, one } from "./dom.js";

/** What keys do; only bare ones, outside of fields, and not while a key is held for an action. */
const OFF = "relay-keys-off";

/** @param {number} step */
const move = (step) => {
  const links = all(".row-link");
  const at = links.indexOf(document.activeElement);
  links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + step))]?.focus();
};

export const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  ".": () => one(".pill:not([hidden])")?.click(),
  "/": () => one("[data-key='/']")?.focus(),
  r: () => one("[data-key='r']")?.click(),
  w: () => one("[data-key='w']")?.click(),
  p: () => {
    document.body.dataset.feed = document.body.dataset.feed === "paused" ? "live" : "paused";
    const text = one("[data-feed-text]");
    if (text) text.textContent = document.body.dataset.feed === "paused" ? "▮▮ paused by you" : "● live";
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
