// Detect and Corrupt: the discriminator's opinion of every token.

import { bar, find, make, percent, plural } from "./elements.js";
import { legend, tokenTable, tokenView } from "./tokens.js";

const path = (model, route) => `models/${encodeURIComponent(model.name)}/${route}`;

export const detect = {
  empty: "Type a sentence, or try one of the examples.",
  redraw: ["threshold", "numbers"],
  ready: ({ text }) => text.trim() !== "",
  question: ({ text }, model) => [path(model, "detect"), { inputs: text }],
  show(result, [tokens], { text, threshold, numbers }) {
    const bound = threshold / 100;
    const fakes = tokens.filter((token) => token.score >= bound);
    const original = tokens.length > 1 ? `All ${tokens.length} tokens judged original` : tokens.length ? "The only token is judged original" : "There is no token in this text";
    const title = fakes.length ? `${plural(fakes.length, "token")} of ${tokens.length} judged replaced` : original;
    result.append(make("h3", {}, title), tokenView(text, tokens, { threshold: bound, numbers }), legend(bound), tokenTable(tokens, bound));
    return `${title}. ${spell(fakes, text)}`;
  },
};

const spell = (fakes, text) => {
  const characters = Array.from(text);
  return fakes.slice(0, 8).map((token) => `${characters.slice(token.start, token.end).join("")}, ${percent(token.score)}`).join("; ");
};

export const corrupt = {
  empty: "Type a sentence or two, or try one of the examples.",
  ready: ({ text }) => text.trim() !== "",
  question: ({ text, share, temperature, seed }, model) => [path(model, "corrupt"), { inputs: text, mask_prob: share / 100, temperature, seed: Math.max(0, Math.floor(seed) || 0) }],
  prepare(panel) {
    // Once for each panel.
    if (panel.wired) return;
    panel.wired = true;
    find(".again", panel.form).addEventListener("click", () => {
      const field = panel.form.elements.seed;
      panel.set({ seed: (Math.floor(Number(field.value)) || 0) + 1 });
    });
  },
  redraw: ["threshold"],
  show(result, { corrupted, tokens }, values) {
    const threshold = values.threshold / 100;
    const hidden = tokens.filter((token) => token.masked);
    const changed = hidden.filter((token) => token.changed);
    const caught = changed.filter((token) => token.score >= threshold);
    const accused = tokens.filter((token) => token.score >= threshold && !token.changed);
    const title = changed.length ? `The discriminator detected ${caught.length} of ${plural(changed.length, "replacement")}` : hidden.length ? "The generator predicted every masked token correctly" : "No token was masked";
    const facts = [`${plural(hidden.length, "token")} of ${tokens.length} masked`, `${changed.length} changed`, `${hidden.length - changed.length} predicted correctly`, `${plural(accused.length, "original token")} wrongly judged replaced`];
    result.append(
      make("h3", {}, title),
      make("p", { class: "facts" }, facts.join(" · ")),
      tokenView(corrupted, tokens, { threshold, numbers: false }),
      legend(threshold, { forged: true }),
      make("h4", {}, "Token by token"),
      make("ul", { class: "cases" }, hidden.map((token) => caseOf(token, threshold))),
    );
    return `${title}. ${facts.join(", ")}. The text now reads: ${corrupted}`;
  },
};

/** One masked token: the original, the replacement, other likely words, the discriminator's verdict. */
function caseOf(token, threshold) {
  const fake = token.score >= threshold;
  const [verdict, kind] = !token.changed ? (fake ? ["Predicted correctly, but judged replaced", "bad"] : ["Predicted correctly", "even"]) : fake ? ["Detected", "good"] : ["Missed", "bad"];
  const signs = { good: "✓", bad: "✗", even: "=" };
  const heading = token.changed ? [make("del", {}, token.original), " → ", make("ins", {}, token.token)] : [make("b", {}, token.token)];
  const proposals = token.proposals.slice(0, 4).map((item) => bar(item.token, item.score, { best: item.token === token.token }));
  return make(
    "li",
    { class: `case ${kind}` },
    make("p", { class: "case-title" }, ...heading),
    make("p", { class: "verdict" }, make("span", { "aria-hidden": "true" }, signs[kind]), ` ${verdict} · ${percent(token.score)} replaced`),
    make("p", { class: "hint" }, "The generator's most likely words"),
    make("ol", { class: "bars small" }, proposals),
  );
}
