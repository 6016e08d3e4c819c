import { one, onPress } from "./dom.js";

/** Whoever leaves a page is warned while it shows a secret that is not kept, and is not shown again. */
const warn = (event) => event.preventDefault();

if (one(".once")) addEventListener("beforeunload", warn);
onPress("[data-kept]", (button) => {
  removeEventListener("beforeunload", warn);
  button.disabled = true;
});
