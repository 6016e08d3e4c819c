import { BASE, all, one, onPress } from "./dom.js";
import { togglePause } from "./status.js";
import { chooseGroup, chooseRow, settleChosen } from "./choose.js";
import { fetched } from "./load.js";
import { closeMenus } from "./menus.js";
import { keep } from "./theme.js";

/**
 * What keys do; `keys.html` says it. One that is not here presses what its page marks with it
 * (`data-key`). Only bare keys count, outside of fields and sheets; one that is held does no more
 * than move. They can be switched off, for those whose words are typed by speech (WCAG 2.1.4).
 */
const OFF = "relay-keys-off";
const CHORD_MS = 1_500;

/** @param {number} step */
const move = (step) => {
  const links = all(".row-link, [data-step]").filter((link) => link.checkVisibility());
  if (!links.length) return press(step > 0 ? "j" : "k");
  const at = links.findIndex((link) => link === document.activeElement);
  const from = at < 0 ? links.findIndex((link) => link.closest("[aria-current]")) : at;
  const next = links[Math.max(0, Math.min(links.length - 1, from < 0 ? 0 : from + step))];
  next.focus();
  next.dispatchEvent(new Event("reached", { bubbles: true }));
};

/** @param {string} key True where something has it. */
const press = (key) => {
  const element = one(`body [data-key="${CSS.escape(key)}"]:not([hidden])`);
  if (element?.matches("input")) element.focus();
  else element?.click();
  return element !== null;
};

/** Choose the row, go on, and choose that. @param {number} step */
const extend = (step) => {
  chooseRow(true);
  move(step);
  chooseRow(true);
};

const nextChannel = () => {
  const links = all(".rail .channel");
  const at = links.indexOf(document.activeElement);
  links[((at < 0 ? links.findIndex((link) => link.dataset.key) : at) + 1) % links.length]?.focus();
};

/** Have the switch of a sheet work. @param {HTMLDialogElement} sheet */
const switched = (sheet) => {
  const box = one("input", sheet);
  box.checked = !localStorage.getItem(OFF);
  box.onchange = () => (box.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1"));
  return sheet;
};
if (one(".keys")) switched(one(".keys"));

/** The sheet of all keys, which is a page of its own. */
const showSheet = async () => {
  const sheet = one(".keys") ?? one(".keys", await fetched(`${BASE}keys`));
  if (!one(".keys")) document.body.append(switched(sheet));
  sheet.autofocus = true; // it, and not its first field; as a page it has no need of that
  sheet.showModal();
};
onPress("[data-press=p]", togglePause);
onPress('[data-key="?"]', (_button, event) => {
  event.preventDefault();
  showSheet().catch(() => {}); // it is the server's
});

/** @type {Record<string, () => unknown>} */
const ACTS = {
  j: () => move(1),
  k: () => move(-1),
  o: () => document.activeElement?.matches(".row-link, [data-step]") && document.activeElement.click(),
  x: () => chooseRow(),
  a: chooseGroup,
  J: () => extend(1),
  K: () => extend(-1),
  D: () => keep("density", document.documentElement.dataset.density ? "" : "compact"),
  p: togglePause,
  r: () => settleChosen("replay") || press("r"),
  "#": () => settleChosen("discard"),
  n: () => one(".differences") && move(1),
  N: () => one(".differences") && move(-1),
  c: nextChannel,
};

const isTyping = (event) => event.isComposing || event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");

const escape = (event) => {
  if (closeMenus()) return;
  if (event.target.closest("input, textarea, select")) event.target.blur();
  else one("[data-up]")?.click();
};

const pause = one("[data-press=p]");
if (pause) pause.hidden = !document.body.dataset.live; // there is nothing to pause

let first = ""; // of two keys
let forget = 0;
document.addEventListener("keydown", (event) => {
  if (one("dialog:modal") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && !event.isComposing) return escape(event);
  if (isTyping(event) || localStorage.getItem(OFF)) return;
  if (event.repeat && !"jkJK".includes(event.key)) return;
  const keys = first + event.key;
  clearTimeout(forget);
  first = keys === "g" ? "g " : "";
  forget = setTimeout(() => (first = ""), CHORD_MS);
  if (!ACTS[keys]) {
    if (press(keys)) event.preventDefault();
    return;
  }
  event.preventDefault();
  ACTS[keys]();
});
