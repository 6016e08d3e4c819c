import { BASE, one } from "./dom.js";

/** The button for the other theme; a cookie keeps it, so that the server draws it right at once. */
export const themeSwitch = () => {
  const button = one("[data-theme-switch]");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    const next = dark === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    document.cookie = `relay-theme=${next}; path=${BASE}; max-age=31536000; samesite=lax`;
  });
};
