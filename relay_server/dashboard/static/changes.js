import { _ } from "./dom.js";

/**
 * What a draft changed, against the event that it was made of: a word for each. Pure.
 *
 * @typedef {{method: string, request_target: string, headers: [string, string][], body: string}} Draft
 */
const MOST_PATHS = 8; // of a body, each a chip

/** Values of fields by their names, in order. @param {[string, string][]} headers */
const byName = (headers) => {
  const found = new Map();
  for (const [name, value] of headers) found.set(name, [...(found.get(name) ?? []), value]);
  return found;
};

/** @param {[string, string][]} was @param {[string, string][]} now */
const headerChanges = (was, now) => {
  const before = byName(was);
  const after = byName(now);
  return [...new Set([...before.keys(), ...after.keys()])].flatMap((name) => {
    if (!before.has(name)) return [`+ ${name}`];
    if (!after.has(name)) return [`− ${name}`];
    return before.get(name).join("\n") === after.get(name).join("\n") ? [] : [name];
  });
};

/** Texts of all values that hold no other, by their paths. */
const leaves = (value, path = "", found = new Map()) => {
  const inner = value !== null && typeof value === "object" ? Object.entries(value) : [];
  if (inner.length) for (const [name, one] of inner) leaves(one, `${path}/${name}`, found);
  else found.set(path || "/", JSON.stringify(value));
  return found;
};

/** @param {string} was @param {string} now */
const bodyChanges = (was, now) => {
  if (was === now) return [];
  try {
    const before = leaves(JSON.parse(was));
    const after = leaves(JSON.parse(now));
    const paths = [...new Set([...before.keys(), ...after.keys()])].filter((path) => before.get(path) !== after.get(path));
    if (!paths.length) return [_("body: as it is written")]; // spaces, order, digits that JSON.parse rounds
    const more = paths.length - MOST_PATHS;
    return [...paths.slice(0, MOST_PATHS), ...(more > 0 ? [_("{number} more", { number: more })] : [])];
  } catch {
    return [_("body")];
  }
};

/** @param {Draft} was @param {Draft} now @returns {string[]} */
export const changes = (was, now) => [
  ...(was.method === now.method ? [] : [_("method {value}", { value: now.method })]),
  ...(was.request_target === now.request_target ? [] : [_("path {value}", { value: now.request_target })]),
  ...headerChanges(was.headers, now.headers),
  ...bodyChanges(was.body, now.body),
];
