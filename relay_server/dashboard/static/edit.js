import { changes } from "./changes.js";
import { _, all, one, shown } from "./dom.js";

/** Editing: says where a body stops being JSON, formats it, says what is changed, keeps the draft over a reload. */
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

/** What a form holds. @param {HTMLElement} form @returns {import("./changes.js").Draft} */
const draftOf = (form) => ({
  method: form.elements.method.value,
  request_target: form.elements.request_target.value,
  headers: all(".field", form).map((row) => all("input", row).map((input) => input.value.trim())).filter(([name]) => name),
  body: one("[data-body]", form).value,
});

/** The rows of headers, which can be more or fewer. @param {HTMLElement} form */
const headerRows = (form) => {
  const rows = one("[data-headers]", form);
  let number = rows.childElementCount;
  const enliven = (row) => {
    const button = one("[data-remove]", row);
    button.hidden = false;
    button.addEventListener("click", () => {
      (one("input", row.nextElementSibling ?? row.previousElementSibling ?? form) ?? form).focus();
      row.remove();
      form.dispatchEvent(new Event("input"));
    });
    return row;
  };
  const add = (name = "", value = "") => {
    number += 1;
    const row = enliven(one("[data-header]", form).content.firstElementChild.cloneNode(true));
    all("input", row).forEach((input, at) => {
      input.name = `${["name", "value"][at]}-${number}`;
      input.value = [name, value][at];
    });
    rows.append(row);
    return row;
  };
  all(".field", rows).forEach(enliven);
  const button = one("[data-add]", form);
  button.hidden = false;
  button.addEventListener("click", () => one("input", add()).focus());
  return (headers) => {
    rows.replaceChildren();
    for (const [name, value] of headers) add(name, value);
    add();
  };
};

/** @param {HTMLElement} element @param {string[]} texts */
const chips = (element, texts) => element.replaceChildren(...texts.map((text) => {
  const chip = document.createElement("span");
  chip.className = "chip";
  chip.textContent = shown(text);
  return chip;
}));

export const editing = () => {
  const form = one("[data-draft]");
  if (!form) return;
  const body = one("[data-body]", form);
  const said = one("[data-json]", form);
  const format = one("[data-format]", form);
  const discard = one("[data-discard]", form);
  const shownChanges = one("[data-changes]");
  const dialog = one("dialog.sheet");
  const draft = `relay-draft ${form.dataset.draft}`;
  const original = draftOf(form);
  const putHeaders = headerRows(form);
  const put = (saved) => {
    for (const name of ["method", "request_target", "body"]) form.elements[name].value = saved[name];
    if (JSON.stringify(saved.headers) !== JSON.stringify(draftOf(form).headers)) putHeaders(saved.headers);
  };
  const check = () => {
    try {
      JSON.parse(body.value);
      said.textContent = "";
      format.disabled = false;
    } catch (error) {
      said.textContent = _("This is no JSON: {problem}. It can be sent all the same.", { problem: error.message });
      format.disabled = true;
    }
    const found = changes(original, draftOf(form));
    chips(shownChanges, found);
    shownChanges.hidden = discard.hidden = !found.length;
    return found;
  };
  const changed = () => {
    check();
    try {
      sessionStorage.setItem(draft, JSON.stringify(draftOf(form)));
    } catch {
      // The browser keeps no more drafts: this one lasts as long as its page.
    }
  };
  const saved = sessionStorage.getItem(draft);
  if (saved) put(JSON.parse(saved));
  format.hidden = false;
  format.addEventListener("click", () => {
    body.value = formatted(body.value);
    changed();
  });
  discard.addEventListener("click", () => {
    chips(one("[data-summary]", dialog), check());
    dialog.returnValue = "";
    dialog.showModal();
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "discard") return;
    put(original);
    sessionStorage.removeItem(draft);
    check();
    body.focus();
  });
  form.addEventListener("input", changed);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) one("[data-send]", form).click();
  });
  check();
};
