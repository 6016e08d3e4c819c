import { BASE, _, all, one } from "./dom.js";
import { togglePause } from "./status.js";
import { chooseGroup, chooseRow, settleChosen } from "./choose.js";
import { closeMenus } from "./menus.js";

/**
 * What keys do: one table for what is pressed and for the sheet that says so. Only bare keys count,
 * outside of fields and sheets; one that is held does no more than move. They can be switched off,
 * for those whose words are typed by speech (WCAG 2.1.4).
 */
const OFF = "relay-keys-off";
const CHORD_MS = 1_500;

/** @param {number} step */
const move = (step) => {
  const links = all(".row-link, [data-step]").filter((link) => link.checkVisibility());
  if (!links.length) return press(step > 0 ? "j" : "k")();
  const at = links.findIndex((link) => link === document.activeElement);
  const from = at < 0 ? links.findIndex((link) => link.closest("[aria-current]")) : at;
  const next = links[Math.max(0, Math.min(links.length - 1, from < 0 ? 0 : from + step))];
  next.focus();
  next.dispatchEvent(new Event("reached", { bubbles: true }));
};

/** @param {string} key */
const press = (key) => () => {
  const element = one(`[data-key="${CSS.escape(key)}"]`);
  if (element?.matches("input")) element.focus();
  else element?.click();
};

/** Choose the row, go on, and choose that. @param {number} step */
const extend = (step) => {
  chooseRow(true);
  move(step);
  chooseRow(true);
};

const toggleDensity = () => {
  const root = document.documentElement.dataset;
  root.density = root.density === "compact" ? "" : "compact";
  document.cookie = `relay-density=${root.density}; path=${BASE}; max-age=31536000; samesite=lax`;
};

const nextChannel = () => {
  const links = all(".rail .channel");
  const at = links.indexOf(document.activeElement);
  links[((at < 0 ? links.findIndex((link) => link.dataset.go) : at) + 1) % links.length]?.focus();
};

const go = (key) => () => one(`[data-go="${key}"]`)?.click();

/** @type {[string, string, () => void][]} */
const KEYS = [
  ["j", _("next row or message; on an event the newer one"), () => move(1)],
  ["k", _("row or message before; on an event the older one"), () => move(-1)],
  ["o", _("open the row, as Enter does"), () => document.activeElement?.matches(".row-link, [data-step]") && document.activeElement.click()],
  ["x", _("choose the row, or let go of it"), () => chooseRow()],
  ["a", _("choose all that are dead for its reason, or none"), chooseGroup],
  ["J", _("choose this row and the next"), () => extend(1)],
  ["K", _("choose this row and the one before"), () => extend(-1)],
  ["D", _("rows closer together, or as they were"), toggleDensity],
  [".", _("show what is new"), () => one(".pill:not([hidden])")?.click()],
  ["p", _("pause, or go on"), togglePause],
  ["[", _("on an event: the one before in its conversation; there: an older one"), press("[")],
  ["]", _("on an event: the next in its conversation; there: a newer one"), press("]")],
  [",", _("on a conversation: as of the moment before"), press(",")],
  [";", _("on a conversation: as of the moment after"), press(";")],
  ["/", _("search"), press("/")],
  ["r", _("replay to me; of what is dead what is chosen, or the row"), () => settleChosen("replay") || press("r")()],
  ["#", _("discard the same of what is dead"), () => settleChosen("discard")],
  ["R", _("replay to another"), press("R")],
  ["e", _("edit and send"), press("e")],
  ["d", _("compare with the one before"), press("d")],
  ["y", _("copy as a script"), press("y")],
  ["w", _("why there is no answer"), press("w")],
  ["n", _("on a comparison: the next difference"), () => one(".differences") && move(1)],
  ["N", _("on a comparison: the difference before"), () => one(".differences") && move(-1)],
  ["1", _("the body as a tree"), press("1")],
  ["2", _("the body raw"), press("2")],
  ["3", _("the headers"), press("3")],
  ["c", _("to the next channel; Enter opens it"), nextChannel],
  ["g o", _("go to the overview"), go("o")],
  ["g l", _("go to the live list"), go("l")],
  ["g c", _("go to the conversations"), go("c")],
  ["g s", _("go to the subscriptions"), go("s")],
  ["g d", _("go to what is dead"), go("d")],
  ["g r", _("go to what was refused"), go("r")],
  ["g u", _("go to the setup"), go("u")],
  ["?", _("these keys"), () => (one("dialog.keys") ?? madeSheet()).showModal()],
];
const ACTS = new Map(KEYS.map(([key, , act]) => [key, act]));

const element = (name, text = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
};

/** The sheet of all keys, with the switch. */
const madeSheet = () => {
  const dialog = element("dialog");
  dialog.className = "keys";
  const list = element("dl");
  for (const [keys, says] of [...KEYS, ["Esc", _("up: to the list, out of a field")]]) {
    const term = element("dt");
    term.append(...keys.split(" ").map((key) => element("kbd", key)));
    list.append(term, element("dd", says));
  }
  const label = element("label");
  const box = element("input");
  box.type = "checkbox";
  box.checked = !localStorage.getItem(OFF);
  box.addEventListener("change", () => (box.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, "1")));
  label.append(box, ` ${_("Single keys do this in this browser")}`);
  const close = element("button", _("Close"));
  close.addEventListener("click", () => dialog.close());
  dialog.append(element("h2", _("Keys")), list, label, close);
  dialog.ariaLabel = _("Keys");
  document.body.append(dialog);
  return dialog;
};

const isTyping = (event) => event.isComposing || event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");

const escape = (event) => {
  if (closeMenus()) return;
  if (event.target.closest("input, textarea, select")) event.target.blur();
  else one("[data-up]")?.click();
};

export const listenToKeys = () => {
  let first = "";
  let forget = 0;
  document.addEventListener("keydown", (event) => {
    if (one("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !event.isComposing) return escape(event);
    if (isTyping(event) || localStorage.getItem(OFF)) return;
    if (event.repeat && !"jkJK".includes(event.key)) return;
    const act = ACTS.get(first + event.key);
    clearTimeout(forget);
    first = !first && event.key === "g" ? "g " : "";
    forget = setTimeout(() => (first = ""), CHORD_MS);
    if (!act) return;
    event.preventDefault();
    act();
  });
  for (const button of all("[data-press]")) {
    button.hidden = button.dataset.press === "p" && !document.body.dataset.live; // there is nothing to pause
    button.addEventListener("click", ACTS.get(button.dataset.press));
  }
};
