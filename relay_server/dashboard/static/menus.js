import { all } from "./dom.js";

/**
 * Close menus that are open, and have the focus back on what opened them; true if there were any.
 * @param {Node | null} [but] What lies in one of them.
 */
export const closeMenus = (but = null) => {
  const open = all("details.pick[open]").filter((menu) => !but || !menu.contains(but));
  for (const menu of open) {
    if (menu.contains(document.activeElement)) menu.firstElementChild?.focus();
    menu.removeAttribute("open");
  }
  return open.length > 0;
};

/** A press elsewhere closes menus. */
document.addEventListener("pointerdown", ({ target }) => closeMenus(/** @type {Node} */ (target)));
