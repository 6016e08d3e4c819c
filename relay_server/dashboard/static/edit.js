import { changes } from "./changes.js";
import { _, all, create, one, onPress, shown } from "./dom.js";
import { formatted, plainJson, putJson, readJson } from "./json.js";
import { sending } from "./send.js";

/** Editing: says where a body stops being JSON, formats it, says what is changed, keeps the draft over a reload. */

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
  onPress("[data-remove]", (button) => {
    const row = button.closest(".field");
    (one("input", row.nextElementSibling ?? row.previousElementSibling ?? form) ?? form).focus();
    row.remove();
    form.dispatchEvent(new Event("input"));
  });
  const add = (name = "", value = "") => {
    number += 1;
    const row = one("[data-header]", form).content.firstElementChild.cloneNode(true);
    all("input", row).forEach((input, at) => {
      input.name = `${["name", "value"][at]}-${number}`;
      input.value = [name, value][at];
    });
    rows.append(row);
    return row;
  };
  onPress("[data-add]", () => one("input", add()).focus());
  return (headers) => {
    rows.replaceChildren();
    for (const [name, value] of headers) add(name, value);
    add();
  };
};

/** @param {HTMLElement} element @param {string[]} texts */
const chips = (element, texts) => element.replaceChildren(...texts.map((text) => create("span", { className: "chip" }, shown(text))));

/** Fields of what people change most: each writes into the body what it says, and shows what is there. @param {HTMLElement} form @param {HTMLElement} body */
const quickFields = (form, body) => {
  const fields = all("[data-quick]", form);
  one("[data-apply]", form)?.remove(); // or it is what Enter presses
  for (const field of fields) {
    field.addEventListener("input", () => {
      const place = readJson(body.value).places.get(field.dataset.quick);
      if (place) body.value = putJson(body.value, place, field.value);
    });
  }
  return (places) => fields.forEach((field) => {
    const place = places.get(field.dataset.quick);
    field.disabled = !place;
    if (place && field !== document.activeElement) field.value = plainJson(body.value.slice(...place));
  });
};

/** Numbers beside the lines of a body; its lines are not broken then, but for one alone. @param {HTMLElement} form @param {HTMLElement} body */
const lineNumbers = (form, body) => {
  const numbers = one("[data-lines]", form);
  body.addEventListener("scroll", () => { numbers.scrollTop = body.scrollTop; });
  return () => {
    const lines = body.value.split("\n").length;
    body.wrap = lines > 1 ? "off" : "soft";
    if (numbers.dataset.lines !== `${lines}`) numbers.textContent = Array.from({ length: lines }, (_line, at) => at + 1).join("\n");
  };
};

const editing = () => {
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
  const quick = quickFields(form, body);
  const numbers = lineNumbers(form, body);
  const check = () => {
    const { problem, places } = readJson(body.value);
    const before = body.value.slice(0, problem).split("\n");
    said.textContent = problem < 0 ? "" : _("This is no JSON: line {line}, column {column}. It can be sent all the same.", { line: before.length, column: before.at(-1).length + 1 });
    format.disabled = problem >= 0;
    quick(places);
    numbers();
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
  sending(form, (page) => {
    const other = one("[data-draft]", page);
    if (!other) return;
    put(draftOf(other));
    changed();
  });
};

editing();
