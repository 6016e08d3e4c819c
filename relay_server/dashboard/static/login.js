import { all, one } from "./dom.js";
import { load } from "./load.js";

/**
 * A login link's secret is in the fragment: it goes into the form, and out of the history. Whose the
 * link is only the server knows: it is asked, and the page says so, or why it lets nobody in.
 */
const loginForm = one("[data-login]");
const loginSecret = new URLSearchParams(location.hash.slice(1)).get("k");

const sayWhose = async () => {
  const body = new URLSearchParams(new FormData(loginForm));
  body.set("do", "look");
  const { page } = await load(loginForm.action, { method: "POST", body });
  const meant = one("[data-meant]", page);
  if (meant) one("[data-meant]").replaceWith(meant);
  else one(".card").replaceWith(one(".card", page));
};

if (loginForm && loginSecret) {
  history.replaceState(null, "", location.pathname + location.search);
  one("#k", loginForm).value = loginSecret;
  for (const element of all("[data-by-hand]")) element.hidden = true;
  one("[data-by-link]").hidden = false;
  one("button", loginForm).focus();
  sayWhose().catch(() => {}); // it can be pressed all the same
}
