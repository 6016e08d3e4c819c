import { _, all, one } from "./dom.js";
import { Feed } from "./feed.js";

/**
 * The list of conversations while it lives. At the top, with nothing in hand, it is as the server has
 * it; else each that one sees is renewed where it stands, and a pill counts those with news.
 */
const AT_TOP_PX = 40;

/** The list as the server has it now, until it shows. @type {Element[]} */
let coming = [];

/** Lines of which there is news, against the list that shows. @param {Element} list @param {Element[]} lines */
const news = (list, lines) => {
  const known = new Set(all("[data-last]", list).map((line) => line.dataset.ordered ?? line.dataset.last));
  return lines.filter((line) => !known.has(line.dataset.last)).length;
};

/** @param {number} number */
const count = (number) => {
  const pill = one(".pill");
  pill.dataset.newCount = String(number);
  pill.textContent = _("{number} new · show (.)", { number });
  pill.hidden = !number;
};

/** Put the lines in the server's order. @param {Element} list */
const order = (list) => {
  const shown = [...list.children];
  list.replaceChildren(...coming.map((line) => shown.find((old) => old.isEqualNode(line)) ?? line));
  count(0);
};

/** @param {Element} list @param {Element} fresh */
export const renewTalks = (list, fresh) => {
  coming = [...fresh.children];
  if (scrollY < AT_TOP_PX && !list.contains(document.activeElement)) return order(list);
  for (const line of coming) {
    const old = line.dataset.talk && one(`[data-talk="${CSS.escape(line.dataset.talk)}"]`, list);
    if (!old || old.contains(document.activeElement)) continue;
    const shown = line.cloneNode(true);
    shown.dataset.ordered = old.dataset.ordered ?? old.dataset.last; // as of when it has its place
    old.replaceWith(shown);
  }
  count(news(list, coming));
};

/** The pill shows what is new, and leads to it. @param {() => void} refresh */
export const liveTalks = (refresh) => {
  const { channel, position } = document.body.dataset;
  one(".pill").addEventListener("click", () => {
    const list = one(".talks");
    order(list);
    scrollTo({ top: 0 });
    one("a", list)?.focus({ preventScroll: true });
  });
  new Feed(position, { event: (event) => event.key && event.channel === channel && refresh() }, refresh);
};
