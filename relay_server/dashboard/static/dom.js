/** Finding and filling elements. What strangers wrote is set as text, never as markup. */

/** Where all of the relay's paths begin: `/`, or below the path of its public URL. */
export const BASE = new URL("..", import.meta.url).pathname;

/** @param {string} selector @param {ParentNode} [within] @returns {HTMLElement | null} */
export const one = (selector, within = document) => within.querySelector(selector);

/** @param {string} selector @param {ParentNode} [within] @returns {HTMLElement[]} */
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** Sentences in the page's language, by the English ones; the page brings them. */
const SAID = JSON.parse(document.body.dataset.words ?? "{}");

/** A sentence in the page's language, its fields filled. @param {string} text @param {Record<string, string | number>} [fields] */
export const _ = (text, fields = {}) => (SAID[text] ?? text).replace(/\{(\w+)\}/g, (found, name) => String(fields[name] ?? found));

const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

/** Text of a stranger's, with a mark for each character that cannot be seen. @param {string} text */
export const shown = (text) => text.replace(UNSEEN, (char) => {
  const code = char.codePointAt(0) ?? 0;
  if (char === "\n" || char === "\t" || code === 0x200d || code === 0xfe0f) return char;
  return code < 32 ? String.fromCodePoint(0x2400 + code) : `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
});

/** Put foreign text into a `<bdi>`. @param {Element | null} element @param {string} text */
export const say = (element, text) => {
  if (element) element.textContent = shown(text);
};

/** An element. @param {string} name @param {object} [properties] @param {...(string | Node)} content */
export const create = (name, properties = {}, ...content) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...content);
  return made;
};

/** Do something with each element that matches and is pressed, whenever it came. @param {string} selector @param {(pressed: HTMLElement, event: MouseEvent) => void} act */
export const onPress = (selector, act) => document.addEventListener("click", (event) => {
  const pressed = event.target.closest(selector);
  if (pressed) act(pressed, event);
});
