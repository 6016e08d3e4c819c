import { all } from "./dom.js";

/** One press is one request, also while the server takes its time; who comes back may press again. */
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.classList.contains("pressed")) {
    event.preventDefault();
    event.stopPropagation();
    return;
  }
  const buttons = all("button:enabled", form);
  const able = (is) => {
    buttons.forEach((button) => { button.disabled = !is; });
    form.classList.remove("pressed");
  };
  form.classList.add("pressed"); // until its buttons are disabled, which tell what was pressed, and so may not be yet
  setTimeout(able, 0, false);
  for (const end of ["pageshow", "answered"]) addEventListener(end, () => able(true), { once: true });
}, true); // before all others
