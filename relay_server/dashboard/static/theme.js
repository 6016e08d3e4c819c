import { BASE, onPress } from "./dom.js";

/** Keep how pages look, `data-…` of their root, in this browser. @param {"theme" | "density"} name @param {string} value */
export const keep = (name, value) => {
  document.documentElement.dataset[name] = value;
  document.cookie = `relay-${name}=${value}; path=${BASE}; max-age=31536000; samesite=lax`;
};

/** The button for the other theme; a cookie keeps it, so that the server draws it right at once. */
onPress("[data-theme-switch]", () => {
  const root = document.documentElement.dataset;
  const isDark = root.theme ? root.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  keep("theme", isDark ? "light" : "dark");
});
