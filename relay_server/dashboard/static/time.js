import { all } from "./dom.js";

/** Times are UTC in the page as it comes; here they become the reader's own, as the page's language writes them. */
const { lang } = document.documentElement;
const CLOCK = new Intl.DateTimeFormat(lang, { timeStyle: "medium", hourCycle: "h23" });
const DAY = new Intl.DateTimeFormat(lang, { day: "2-digit", month: "short" });
const DAY_MS = 86_400_000;

/** @param {Date} at */
export const localTime = (at) =>
  Date.now() - at.getTime() < DAY_MS && at.getTime() - Date.now() < DAY_MS / 2 ? CLOCK.format(at) : `${DAY.format(at)} ${CLOCK.format(at)}`;

/** Show the times of a part of the page in the reader's zone. @param {ParentNode} [within] */
export const localTimes = (within = document) => {
  for (const element of all("time[datetime]", within)) {
    element.textContent = localTime(new Date(element.dateTime));
  }
};
