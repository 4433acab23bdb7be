// A text whose tokens carry a probability: shade, underline and number, one stop of the Tab key, arrow keys from token to token.

import { findAll, make, percent, slicer } from "./elements.js";

/** The first bound is above the share of tokens that pre-training replaces, about 12 %: what every token has is no sign. */
const LEVELS = [0.2, 0.35, 0.5, 0.75];
/** Word pieces joined without a break, as long as they cannot push a narrow screen apart. */
const LONGEST_UNBROKEN = 20;

/** Probability -> 0..4, the shade. */
export const levelOf = (score) => LEVELS.filter((bound) => score >= bound).length;

/**
 * @param text    what was read
 * @param tokens  [{token, start, end, score, original?, changed?}], offsets in characters of `text`
 * @param options {threshold, numbers: a number under every token}
 */
export function tokenView(text, tokens, { threshold, numbers = false }) {
  const slice = slicer(text);
  const list = make("div", { class: numbers ? "tokens numbers" : "tokens", role: "listbox", dir: "auto", tabindex: "0", "aria-label": "Tokens, with the probability that each was replaced" });
  const tip = make("p", { class: "tip", hidden: true, "aria-hidden": "true" });
  const prefix = `token-${Math.random().toString(36).slice(2, 8)}`;
  const options = [];
  let behind = 0;
  let word = null;
  tokens.forEach((token, index) => {
    // Two pieces may share a character: it is written once.
    const start = Math.max(behind, token.start);
    const gap = slice(behind, start);
    const shown = slice(start, token.end) || "·";
    const option = optionOf(token, shown, threshold);
    option.id = `${prefix}-${index}`;
    options.push(option);
    const continues = token.token.startsWith("##") && gap === "" && word !== null && word.textContent.length + shown.length <= LONGEST_UNBROKEN;
    if (!continues) {
      word = make("span", { class: "word", role: "presentation" });
      list.append(gap, word);
    }
    word.append(option);
    behind = Math.max(behind, token.end);
  });
  list.append(slice(behind, undefined));
  const view = make("div", { class: "token-view" }, list, tip);
  wire(view, list, tip, options);
  return view;
}

function optionOf(token, shown, threshold) {
  const fake = token.score >= threshold;
  const states = [fake ? "judged replaced" : "judged original"];
  if (token.changed) states.push(`replaces ${plain(token.original)}`);
  else if (token.masked) states.push("was masked, the generator predicted it correctly");
  const classes = ["token", `level-${levelOf(token.score)}`, fake && "fake", token.changed && "changed"].filter(Boolean).join(" ");
  const option = make("span", { class: classes, role: "option", "aria-selected": "false", "aria-label": `${plain(shown)}, ${percent(token.score)}, ${states.join(", ")}` });
  option.append(make("span", { class: "piece" }, shown));
  if (token.changed) option.append(make("del", {}, plain(token.original)));
  option.append(make("span", { class: "number", dir: "ltr" }, percent(token.score)));
  option.dataset.words = `${percent(token.score)} replaced, ${percent(1 - token.score)} original · ${states.join(" · ")}`;
  return option;
}

const plain = (piece) => piece.replace(/^##/, "");

function wire(view, list, tip, options) {
  let current = -1;
  const show = (option) => {
    tip.textContent = option.dataset.words;
    tip.hidden = false;
    const room = view.getBoundingClientRect();
    const place = option.getBoundingClientRect();
    const left = place.left - room.left + place.width / 2 - tip.offsetWidth / 2;
    tip.style.left = `${Math.max(0, Math.min(room.width - tip.offsetWidth, left))}px`;
    tip.style.top = `${place.bottom - room.top + 6}px`;
  };
  const hide = () => (tip.hidden = true);
  const select = (index) => {
    options[current]?.setAttribute("aria-selected", "false");
    current = Math.max(0, Math.min(options.length - 1, index));
    const option = options[current];
    if (!option) return;
    option.setAttribute("aria-selected", "true");
    list.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
    show(option);
  };
  const moves = { ArrowRight: () => current + 1, ArrowDown: () => current + 1, ArrowLeft: () => current - 1, ArrowUp: () => current - 1, Home: () => 0, End: () => options.length - 1 };
  list.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return undefined;
    event.preventDefault();
    return select(moves[event.key]());
  });
  list.addEventListener("focus", () => current < 0 && list.matches(":focus-visible") && select(0));
  list.addEventListener("blur", hide);
  list.addEventListener("pointerover", (event) => {
    const option = event.target.closest(".token");
    if (option) show(option);
  });
  list.addEventListener("pointerleave", hide);
  list.addEventListener("click", (event) => {
    const option = event.target.closest(".token");
    if (option) select(options.indexOf(option));
  });
}

/** The shades explained. */
export function legend(threshold, { forged = false } = {}) {
  const sample = (level, words) => make("span", { class: "legend-item" }, make("span", { class: `swatch level-${level}` }), words);
  return make(
    "p",
    { class: "legend" },
    sample(0, "original"),
    sample(2, "doubtful"),
    make("span", { class: "legend-item" }, make("span", { class: "swatch level-4 fake" }), `judged replaced (${percent(threshold)} or more): striped and underlined`),
    forged && make("span", { class: "legend-item" }, make("del", {}, "word"), "what you wrote"),
  );
}

/** The same as a table, for whoever prefers one. */
export function tokenTable(tokens, threshold) {
  const rows = () => tokens.map((token) => make("tr", {}, make("th", { scope: "row" }, token.token), make("td", { class: "figure" }, percent(token.score)), make("td", {}, token.score >= threshold ? "replaced" : "original")));
  const body = make("tbody");
  const details = make(
    "details",
    { class: "more" },
    make("summary", {}, "All tokens as a table"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "All tokens as a table" }, make("table", {}, make("thead", {}, make("tr", {}, ["Token", "Replaced", "Verdict"].map((name) => make("th", { scope: "col" }, name)))), body)),
  );
  // Filled when it is opened: thousands of rows at every key stroke would be felt.
  details.addEventListener("toggle", () => details.open && body.childElementCount === 0 && body.append(...rows()));
  return details;
}

export const countFakes = (root) => findAll(".token.fake", root).length;
