import { all, one } from "./dom.js";

/**
 * A login link's secret is in the fragment: it goes into the form, and out of the history. Whose the
 * link is only the server knows: it is asked, and the page says so, or why it lets nobody in.
 *
 * @param {(text: string) => Document} parsed A page of ours, made live.
 */
export const loginByLink = async (parsed) => {
  const form = one("[data-login]");
  const secret = new URLSearchParams(location.hash.slice(1)).get("k");
  if (!form || !secret) return;
  history.replaceState(null, "", location.pathname + location.search);
  one("#k", form).value = secret;
  for (const element of all("[data-by-hand]")) element.hidden = true;
  one("[data-by-link]").hidden = false;
  one("button", form).focus();
  const body = new URLSearchParams(new FormData(form));
  body.set("do", "look");
  const page = parsed(await (await fetch(form.action, { method: "POST", body })).text());
  const meant = one("[data-meant]", page);
  if (meant) one("[data-meant]").replaceWith(meant);
  else one(".card").replaceWith(one(".card", page));
};
