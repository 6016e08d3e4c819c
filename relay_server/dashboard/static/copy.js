import { _, one, onPress } from "./dom.js";

/** Copy a text, and say so; without a clipboard (plain HTTP) select it. @param {Element} from @param {Element} button */
export const copyOut = async (from, button) => {
  try {
    await navigator.clipboard.writeText(from.textContent ?? "");
    button.textContent = _("Copied");
    return true;
  } catch {
    getSelection()?.selectAllChildren(from);
    return false;
  }
};

/** Say where a value of a tree is, to be copied. @param {Event} event */
const showPath = ({ target }) => {
  const value = target.closest?.(".tree [title]");
  const path = value && one("[data-path]");
  if (!path) return;
  path.hidden = false;
  one("[data-copy]", path).textContent = value.title || "/";
};
for (const kind of ["click", "focusin"]) document.addEventListener(kind, showPath);

/** Buttons that copy what stands before them. */
onPress("[data-copy-button]", (button) => {
  const from = one("[data-copy]", button.parentElement);
  if (from) copyOut(from, button);
});
