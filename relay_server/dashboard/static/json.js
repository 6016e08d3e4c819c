/** JSON as text: set out anew, looked through for mistakes, changed in one place. Pure. */
const INDENT = 2;
const JSON_STRING = /"(?:\\(?:["\\/bfnrt]|u[\da-fA-F]{4})|[^"\\\0-\x1f])*"/y;
const JSON_SCALAR = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;
const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** JSON anew with line breaks; texts and digits stay as they are. @param {string} text */
export const formatted = (text) => {
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

/**
 * Read a text: where it stops being JSON, and where each value is that objects lead to. Of doubled
 * names the last counts, as in most readers. @param {string} text
 * @returns {{problem: number, places: Map<string, [number, number]>}} `problem` is -1 for none.
 */
export const readJson = (text) => {
  const places = new Map();
  let at = 0;
  const take = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    at += found?.length ?? 0;
    return found;
  };
  const need = (pattern) => {
    const found = take(pattern);
    if (found === undefined) throw new RangeError();
    take(/[ \t\n\r]*/y);
    return found;
  };
  const items = (close, item) => {
    need(/[[{]/y);
    if (text[at] !== close) do item(); while (text[at] === "," && need(/,/y));
    need(close === "}" ? /\}/y : /\]/y);
  };
  const value = (path) => {
    const start = at;
    if (text[at] === "{") {
      items("}", () => {
        const name = JSON.parse(need(JSON_STRING)).replaceAll("~", "~0").replaceAll("/", "~1");
        need(/:/y);
        value(`${path}/${name}`);
      });
    } else if (text[at] === "[") items("]", () => value(`${path}/ `));
    else need(text[at] === '"' ? JSON_STRING : JSON_SCALAR);
    places.set(path, [start, start + text.slice(start, at).trimEnd().length]);
  };
  try {
    take(/[ \t\n\r]*/y);
    value("");
    return { problem: at < text.length ? at : -1, places };
  } catch {
    return { problem: at, places };
  }
};

/** The same with another value in one place: a number where one stood and it is one, else text. @param {[number, number]} place */
export const putJson = (text, [start, end], value) => {
  const isNumber = JSON_NUMBER.test(text.slice(start, end)) && JSON_NUMBER.test(value);
  return text.slice(0, start) + (isNumber ? value : JSON.stringify(value)) + text.slice(end);
};

/** A text, a number or null as people read it. @param {string} written */
export const plainJson = (written) => (written === "null" ? "" : written.startsWith('"') ? JSON.parse(written) : written);
