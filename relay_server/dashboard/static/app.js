import { Away } from "./away.js";
import { chooseRange, chooseRows } from "./choose.js";
import "./copy.js";
import { _, all, one } from "./dom.js";
import { Feed } from "./feed.js";
import "./hints.js";
import "./kept.js";
import "./keys.js";
import { fetched } from "./load.js";
import "./login.js";
import "./menus.js";
import { Pane, WIDE } from "./pane.js";
import "./press.js";
import { Rows } from "./rows.js";
import { isPaused } from "./status.js";
import { renewLines, talking } from "./talk.js";
import { liveTalks, renewTalks } from "./talks.js";
import { localTime, localTimes } from "./time.js";

/** What a page does once it is there; which of it, its `<body>` says. */
const LOAD_AGAIN_MS = 1_000;
const LOOK_AGAIN_MS = 250;
const LOOK_LATER_MS = 2_000;
const page = document.body.dataset;

/** The rail scrolls, on a phone and where there are many channels: where one is, is in it. */
const showPlace = () => one(".rail [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });

/** Call something once for all that asks for it within a while, and while the page is seen. @param {() => Promise<void>} call */
const atMostEach = (milliseconds, call) => {
  let waits = 0;
  const act = () => {
    if (document.hidden) {
      document.addEventListener("visibilitychange", act, { once: true });
      return;
    }
    waits = 0;
    call().catch(() => {});
  };
  return () => {
    waits ||= setTimeout(act, milliseconds);
  };
};

/** Put what changed of the page's parts in place, but for one that somebody fills in. @param {string} href */
const renew = async (href) => {
  const fresh = await fetched(href);
  for (const part of all("[data-part]")) {
    const other = one(`[data-part="${CSS.escape(part.dataset.part)}"]`, fresh);
    const focused = document.activeElement;
    const summary = all("summary", part).indexOf(focused); // what comes of parts with any comes at their end
    const isUsed = (summary < 0 && part.contains(focused)) || ("keep" in part.dataset && one("input:checked, details[open]", part));
    if (other && part.matches(".talk")) renewLines(part, other);
    else if (other && part.matches(".talks")) renewTalks(part, other);
    else if (other && !isUsed && part.outerHTML !== other.outerHTML) {
      part.replaceWith(other);
      // The last is what was pressed for; it may have come just now.
      const inHand = focused?.autofocus ? one("[autofocus]", other) : all("summary", other)[summary];
      if (summary >= 0) inHand?.focus({ preventScroll: true });
    }
  }
  tick();
};

/** Renew the page at most so often; one that is paused once it goes on. @param {number} milliseconds */
const renewing = (milliseconds) => {
  const call = atMostEach(milliseconds, async () => (isPaused() ? document.addEventListener("unpaused", call, { once: true }) : renew(location.href)));
  return call;
};
const refresh = renewing(LOAD_AGAIN_MS);

/** While something is under way its bar grows. */
const tick = () => one("[data-ticks]") && refresh();

/** @param {string} [home] Address of the list, where an event beside it has the page's. */
const liveList = (home) => {
  const list = one("[data-rows]");
  const away = page.q ? null : new Away(list, page.channel);
  const rows = new Rows(list, one("#row"), one(".pill"), () => away?.show());
  const pane = new Pane(list, one("[data-side]"), home);
  chooseRows(list);
  chooseRange();
  const failed = one("[data-failed]");
  const look = atMostEach(LOOK_AGAIN_MS, async () => {
    rows.heard.clear();
    try {
      rows.take(await fetched(pane.home));
      failed.hidden = true;
    } catch (error) {
      failed.firstElementChild.textContent = _("What is new could not be asked for, at {time}: {reason}. What stands here may be old.", { time: localTime(new Date()), reason: error.message });
      failed.hidden = false;
    }
  });
  one("button", failed).addEventListener("click", look);
  // What a filter means only the server knows; and it may find an event a little later.
  const again = atMostEach(LOOK_LATER_MS, async () => look());
  const add = (event) => {
    if (event.channel !== page.channel) return;
    if (page.q) {
      look();
      again();
    } else rows.add(event);
  };
  const counts = atMostEach(LOOK_LATER_MS, () => renew(pane.home)); // those of the rail
  const changed = (delivery) => {
    if (delivery.state === "dead") counts();
    if (delivery.event === pane.shown) refresh();
    if (delivery.channel === page.channel) rows.changed(delivery);
  };
  const gap = (hole) => {
    if (hole.channel !== page.channel) return;
    away?.skipped();
    rows.skip(hole);
    look();
  };
  new Feed(page.position, { event: add, delivery: changed, gap, refused: counts }, look);
  return pane;
};

/** An event that was opened beside a list, and was loaded again: put the list there once more. @param {string} home */
const besideList = async (home) => {
  const event = one("[data-pane]");
  const list = await fetched(home);
  if (!event || !one("[data-rows]", list)) return liveEventAlone();
  const { title } = document;
  Object.assign(page, list.body.dataset);
  document.title = list.title;
  one("main").replaceWith(one("main", list));
  const pane = liveList(home);
  pane.put(event);
  document.title = title;
};

const liveEventAlone = () => {
  new Feed(page.position, { delivery: (delivery) => delivery.event === page.event && refresh() }, refresh);
};

const liveEvent = () => {
  const { home } = history.state ?? {};
  if (home && WIDE.matches) besideList(home).catch(liveEventAlone);
  else liveEventAlone();
};

const liveConversation = () => {
  const shown = (delivery) => one(`[data-event-id="${CSS.escape(delivery.event)}"]`);
  const isHere = (event) => event.channel === page.channel && event.key === page.key;
  const on = { event: (event) => isHere(event) && refresh(), delivery: (delivery) => shown(delivery) && refresh() };
  talking(renew);
  new Feed(page.position, on, refresh);
};

const liveOverview = () =>
  new Feed(page.position, { event: refresh, subscription: refresh, channel: refresh, refused: refresh }, refresh);

/** What is dead and who reads what: a part of either is new with deliveries that end, and while a replay runs. */
const liveParts = () => {
  const seldom = renewing(LOOK_LATER_MS);
  const ended = ({ state }) => (state === "dead" || state === "discarded" || one("progress")) && seldom();
  new Feed(page.position, { delivery: ended, subscription: seldom, channel: seldom, refused: seldom }, seldom);
};

localTimes();
tick();
showPlace();
({ list: () => liveList(), event: liveEvent, conversation: liveConversation, talks: () => liveTalks(refresh), overview: liveOverview, parts: liveParts })[page.live]?.();
one("form.who")?.addEventListener("submit", () => sessionStorage.clear()); // drafts hold what people wrote
