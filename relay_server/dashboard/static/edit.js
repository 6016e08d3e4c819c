import { _, one } from "./dom.js";

/** Editing: says where a body stops being JSON, formats it, keeps the draft over a reload. */
const INDENT = 2;

/** JSON anew with line breaks; texts and digits stay as they are. @param {string} text */
const formatted = (text) => {
  let depth = 0;
  const line = () => `\n${" ".repeat(depth * INDENT)}`;
  return text.replace(/"(?:\\.|[^"\\])*"|\s+|([{[])(\s*[}\]])?|[}\]]|,|:/g, (found, open, close) => {
    if (found.startsWith('"')) return found;
    if (!found.trim()) return "";
    if (open) {
      if (close) return open + close.trim();
      depth += 1;
      return open + line();
    }
    if (found === ",") return `,${line()}`;
    if (found === ":") return ": ";
    depth -= 1;
    return line() + found;
  });
};

export const editing = () => {
  const form = one("[data-draft]");
  if (!form) return;
  const body = one("[data-body]", form);
  const said = one("[data-json]", form);
  const format = one("[data-format]", form);
  const draft = `relay-draft ${form.dataset.draft}`;
  const check = () => {
    try {
      JSON.parse(body.value);
      said.textContent = "";
      format.disabled = false;
    } catch (error) {
      said.textContent = _("This is no JSON: {problem}. It can be sent all the same.", { problem: error.message });
      format.disabled = true;
    }
  };
  const changed = () => {
    check();
    try {
      sessionStorage.setItem(draft, body.value);
    } catch {
      // The browser keeps no more drafts: this one lasts as long as its page.
    }
  };
  body.value = sessionStorage.getItem(draft) ?? body.value;
  format.hidden = false;
  format.addEventListener("click", () => {
    body.value = formatted(body.value);
    changed();
  });
  body.addEventListener("input", changed);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) one("[data-send]", form).click();
  });
  check();
};
