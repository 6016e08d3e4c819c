import { BASE, one } from "./dom.js";

/** The button for the other theme; a cookie keeps it, so that the server draws it right at once. */
export const themeSwitch = () => {
  const button = one("[data-theme-switch]");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    const root = document.documentElement.dataset;
    const isDark = root.theme ? root.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.theme = isDark ? "light" : "dark";
    document.cookie = `relay-theme=${root.theme}; path=${BASE}; max-age=31536000; samesite=lax`;
  });
};
