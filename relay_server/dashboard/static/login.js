import { all, one } from "./dom.js";

/** A login link's secret is in the fragment: it goes into the form, and out of the history. */
export const loginByLink = () => {
  const form = one("[data-login]");
  const secret = new URLSearchParams(location.hash.slice(1)).get("k");
  if (!form || !secret) return;
  history.replaceState(null, "", location.pathname + location.search);
  one("#k", form).value = secret;
  for (const element of all("[data-by-hand]")) element.hidden = true;
  one("[data-by-link]").hidden = false;
  one("button", form).focus();
};
