import { all, one } from "./dom.js";

/** Whoever leaves a page is warned while it shows a secret that is not kept, and is not shown again. */
export const keepOnce = () => {
  const [part] = all(".once");
  if (!part) return;
  const warn = (event) => event.preventDefault();
  const button = one("[data-kept]", part);
  button.hidden = false;
  button.addEventListener("click", () => {
    removeEventListener("beforeunload", warn);
    button.disabled = true;
  });
  addEventListener("beforeunload", warn);
};
