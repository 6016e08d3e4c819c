import { BASE, _, all, one } from "./dom.js";

/** What one chooses in a list: rows, to replay all of them; and a range of the pulse. */
const MINUTE_MS = 60_000;
const BAR = 4; // width of a minute of the pulse, in its own units

/**
 * How many rows are chosen stands in the button; with none there is nothing to press, and phones show
 * no bar. @param {HTMLElement} list
 */
export const chooseRows = (list) => {
  const button = one("#chosen button");
  if (!button || !one("#chosen option")) return; // nobody gets it
  const text = button.textContent;
  let shown = -1;
  const count = () => {
    const number = all(":checked", list).length;
    if (number === shown) return; // each change is another layout of the page
    shown = number;
    button.disabled = !number;
    button.form.toggleAttribute("data-any", number > 0);
    button.title = number ? "" : _("Choose rows first: with their boxes, or x");
    button.textContent = number ? `${text} (${number})` : text;
  };
  list.addEventListener("change", count);
  list.addEventListener("drawn", () => shown && count());
  count();
};

/** Choose the row that has the focus, or let go of it. @param {boolean} [is] */
export const chooseRow = (is) => {
  const box = document.activeElement?.closest("[data-event-id], .dead-group li")?.querySelector("input");
  if (!box) return;
  box.checked = is ?? !box.checked;
  box.dispatchEvent(new Event("change", { bubbles: true }));
};

/** Choose all that are dead for a reason, also those that the page does not show, or let go of them. */
export const chooseGroup = () => {
  const group = groupInHand();
  const said = group && one("[data-all]", group);
  if (!said) return;
  said.hidden = !said.hidden;
  for (const box of all("li input", group)) box.checked = !said.hidden;
  group.onchange = () => (said.hidden = true);
};

/** Replay or discard what is chosen of a reason; without any, the row in hand. True where that may be. @param {string} what */
export const settleChosen = (what) => {
  const group = groupInHand();
  if (!group) return false;
  if (!one(":checked", group)) chooseRow(true);
  const which = one("[data-all]", group).hidden ? "-chosen" : "";
  if (one(":checked", group)) one(`[value=${what}${which}]`, group)?.click();
  return true;
};

const groupInHand = () => document.activeElement?.closest(".dead-group") ?? one(".dead-group:has(:checked)");

/** What is dragged over on the pulse becomes the filter's time. */
export const chooseRange = () => {
  const pulse = one(".pulse[data-from]");
  if (!pulse) return;
  const shade = one(".range", pulse);
  const bars = pulse.viewBox.baseVal.width / BAR;
  let began = -1;
  const bar = ({ clientX }) => {
    const { left, width } = pulse.getBoundingClientRect();
    return Math.max(0, Math.min(bars - 1, Math.floor(((clientX - left) / width) * bars)));
  };
  const range = (event) => [began, bar(event)].sort((a, b) => a - b);
  const draw = (event) => {
    if (began < 0) return;
    const [first, last] = range(event);
    shade.setAttribute("x", String(first * BAR));
    shade.setAttribute("width", String((last - first + 1) * BAR));
  };
  pulse.addEventListener("pointerdown", (event) => {
    began = bar(event);
    pulse.setPointerCapture(event.pointerId);
    draw(event);
  });
  pulse.addEventListener("pointermove", draw);
  pulse.addEventListener("pointercancel", () => (began = -1));
  pulse.addEventListener("pointerup", (event) => {
    if (began < 0) return;
    const [first, last] = range(event);
    const at = (minute) => new Date(Number(pulse.dataset.from) + minute * MINUTE_MS).toISOString().replace(".000", "");
    const others = (document.body.dataset.q ?? "").replace(/(?:^|\s)(?:after|before):\S+/g, "").trim();
    const q = `${others} after:${at(first)} before:${at(last + 1)}`.trim();
    location.assign(`${BASE}channels/${document.body.dataset.channel}?${new URLSearchParams({ q })}`);
  });
};
