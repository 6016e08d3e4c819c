import { _, all, one } from "./dom.js";

/** Buttons that copy what stands before them; without a clipboard (plain HTTP) they select it. @param {ParentNode} [within] */
export const copyButtons = (within = document) => {
  for (const button of all("[data-copy-button]", within)) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const from = one("[data-copy]", button.parentElement ?? document);
      if (!from) return;
      try {
        await navigator.clipboard.writeText(from.textContent ?? "");
        button.textContent = _("Copied");
      } catch {
        getSelection()?.selectAllChildren(from);
      }
    });
  }
};
