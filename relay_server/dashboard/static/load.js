import { localTimes } from "./time.js";

/** Pages of ours, of which parts are taken. */

// The one place where text becomes markup: pages of this origin, which the server has escaped.
const partials = globalThis.trustedTypes?.createPolicy("relay-partials", { createHTML: (text) => text });

/** What is answered, and the page that it holds. @param {string} href @param {RequestInit} [options] */
export const load = async (href, options) => {
  const answer = await fetch(href, options);
  const text = await answer.text();
  const page = new DOMParser().parseFromString(partials?.createHTML(text) ?? text, "text/html");
  localTimes(page);
  return { answer, page };
};

/** A page, as the server shows it now. @param {string} href */
export const fetched = async (href) => {
  const { answer, page } = await load(href, { redirect: "error" });
  if (!answer.ok) throw new Error(String(answer.status));
  return page;
};
