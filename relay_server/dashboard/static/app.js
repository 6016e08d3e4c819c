import { copyButtons } from "./copy.js";
import { all, one } from "./dom.js";
import { editing } from "./edit.js";
import { Feed } from "./feed.js";
import { listenToKeys } from "./keys.js";
import { loginByLink } from "./login.js";
import { Rows } from "./rows.js";
import { localTimes } from "./time.js";

/** What a page does once it is there; which of it, its `<body>` says. */
const LOAD_AGAIN_MS = 1_000;
const page = document.body.dataset;

const themeSwitch = () => {
  const button = one("[data-theme-switch]");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    const dark = page.theme ?? document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    const next = dark === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    document.cookie = `relay-theme=${next}; path=/; max-age=31536000; samesite=lax`;
  });
};

// The one place where text becomes markup: pages of this origin, which the server has escaped.
const partials = globalThis.trustedTypes?.createPolicy("relay-partials", { createHTML: (text) => text });

/** Have the page fetched again, at most once a second, and what changed of its parts put in place. */
const refresh = () => {
  let waits = 0;
  const load = async () => {
    waits = 0;
    if (document.visibilityState !== "visible") return;
    const answer = await fetch(location.href, { redirect: "error" });
    const text = await answer.text();
    const fresh = new DOMParser().parseFromString(partials?.createHTML(text) ?? text, "text/html");
    for (const part of all("[data-part]")) {
      const other = one(`[data-part="${part.dataset.part}"]`, fresh);
      if (!other || part.contains(document.activeElement)) continue;
      localTimes(other);
      if (part.outerHTML !== other.outerHTML) part.replaceWith(other);
    }
  };
  return () => {
    waits ||= setTimeout(() => load().catch(() => {}), LOAD_AGAIN_MS);
  };
};

const liveList = () => {
  const rows = new Rows(one("[data-rows]"), one("#row"), one(".pill"));
  const query = `channel=${encodeURIComponent(page.channel)}&q=${encodeURIComponent(page.q)}`;
  new Feed(query, {
    event: (event) => rows.add(event),
    delivery: (delivery) => rows.changed(delivery),
    gap: () => location.reload(),
  });
};

const liveEvent = () => {
  const again = refresh();
  new Feed(`channel=${encodeURIComponent(page.channel)}`, {
    delivery: (delivery) => delivery.event === page.event && again(),
  });
};

const liveConversation = () => {
  const again = refresh();
  new Feed(`channel=${encodeURIComponent(page.channel)}`, {
    event: (event) => event.key === page.key && again(),
    delivery: (delivery) => one(`[data-event-id="${CSS.escape(delivery.event)}"]`) && again(),
  });
};

const liveOverview = () => {
  const again = refresh();
  new Feed("", { event: again, subscription: again, channel: again, refused: again });
};

localTimes();
copyButtons();
themeSwitch();
listenToKeys();
loginByLink();
editing();
({ list: liveList, event: liveEvent, conversation: liveConversation, overview: liveOverview })[page.live]?.();
all("form[method=post]").forEach((form) => form.addEventListener("submit", () => {
  // One press is one request, also while the server takes its time.
  setTimeout(() => all("button", form).forEach((button) => { button.disabled = true; }), 0);
}));
