import { copyOut } from "./copy.js";
import { _, all, one, onPress } from "./dom.js";
import { fetched } from "./load.js";
import { localTime } from "./time.js";

/** A conversation: looking at it as of a moment, choosing for whom, and copying what was said. */
const NEAR_END_PX = 48; // who is this near to its end follows what comes

/** The moments of a conversation as a slider; the last of them is now. @param {(href: string) => Promise<void>} renew */
const slider = (renew) => {
  const range = one("[data-moments]");
  if (!range) return;
  const moment = () => (range.value === range.max ? 0 : Number(range.dataset.moments.split(",")[range.value]));
  const read = () => {
    range.ariaValueText = moment() ? localTime(new Date(moment())) : _("now");
  };
  read();
  range.addEventListener("input", read);
  range.addEventListener("change", async () => {
    const url = new URL(location.href);
    if (moment()) url.searchParams.set("as_of", moment());
    else url.searchParams.delete("as_of");
    history.replaceState(history.state, "", url);
    await renew(url.href);
  });
};

/** Links to a text that one press copies; where there is no clipboard they lead to it. */
onPress("[data-copy-from]", async (link, event) => {
  if (!navigator.clipboard || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const from = one("[data-copy]", await fetched(link.href));
  if (!from || !(await copyOut(from, link))) location.assign(link.href);
});

/**
 * Put what changed of a conversation's lines in place: each line of its own, so that one in which
 * somebody is stays, and others come. @param {Element} part @param {Element} fresh
 */
export const renewLines = (part, fresh) => {
  const isAtEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - NEAR_END_PX;
  const known = new Map(all("[data-event-id]", part).map((line) => [line.dataset.eventId, line]));
  const lines = all("[data-event-id]", fresh).map((line) => {
    const old = known.get(line.dataset.eventId);
    return old && (old.contains(document.activeElement) || old.outerHTML === line.outerHTML) ? old : line;
  });
  if (!lines.length) return part.replaceChildren(...fresh.children);
  const last = [...known.keys()].pop();
  let before = one(".titles", part);
  for (const line of lines) {
    if (before.nextElementSibling !== line) before.after(line);
    before = line;
  }
  while (before.nextElementSibling) before.nextElementSibling.remove();
  if (isAtEnd && lines.at(-1)?.dataset.eventId !== last) scrollTo(0, document.documentElement.scrollHeight);
};

/** @param {(href: string) => Promise<void>} renew */
export const talking = (renew) => {
  slider(renew);
  // What is chosen shows at once; without a script a button does that.
  one("[data-goes]")?.addEventListener("change", ({ target }) => target.form.requestSubmit());
};
