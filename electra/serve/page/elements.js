// Small words for making elements and writing numbers. Text only ever goes in as text, never as HTML.

export const find = (selector, root = document) => root.querySelector(selector);
export const findAll = (selector, root = document) => [...root.querySelectorAll(selector)];

/** A tag, its attributes ("class", "aria-...", handlers as functions) and its children -> an element. */
export function make(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:") ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** 0..1 -> "83 %"; what is not quite 0 or 1 never reads as if it were. */
export function percent(share) {
  if (share > 0 && share < 0.005) return "<1 %";
  if (share < 1 && share > 0.995) return ">99 %";
  return `${Math.round(100 * share)} %`;
}

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** A row with a name, a bar of `share` (0..1) and its number in words. */
export function bar(name, share, { words = percent(share), best = false, note = null } = {}) {
  const fill = make("span", { class: "bar-fill" });
  fill.style.inlineSize = `${Math.max(0, Math.min(1, share)) * 100}%`;
  const head = make("span", { class: "bar-name", dir: "auto" }, name, note && make("small", {}, ` ${note}`));
  return make("li", { class: best ? "bar best" : "bar" }, head, make("span", { class: "bar-words" }, words), make("span", { class: "bar-track", "aria-hidden": "true" }, fill));
}

/** The server counts characters, JavaScript counts UTF-16 units: a text -> slices by characters. */
export function slicer(text) {
  const characters = Array.from(text);
  return (start, end) => characters.slice(start, end).join("");
}
