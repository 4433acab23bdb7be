// Classify, Tag, Ask and Fill: a model's answers about a text.

import { bar, find, make, percent, plural, slicer } from "./elements.js";

const MASK = "[MASK]";
const route = (model, name = "") => `models/${encodeURIComponent(model.name)}${name}`;

/** What the kinds of the usual taggers are short for. */
const KINDS = {
  NP: "noun phrase", VP: "verb phrase", PP: "preposition", ADVP: "adverb phrase", ADJP: "adjective phrase", SBAR: "conjunction of a clause", PRT: "particle", CONJP: "conjunction", INTJ: "interjection", LST: "list marker", UCP: "unlike phrases joined",
  PER: "person", LOC: "place", ORG: "organization", MISC: "other name",
};
const GUESS = 0.1;
/** Several labels at once: those above it are given, as `electra predict` gives them. */
const BOUND = 0.5;
/** Labels that are shown at once. */
const SHOWN = 12;
const PAIR_TASKS = new Set(["mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli", "afqmc", "ocnli", "cmnli", "csl", "wsc", "bq", "lcqmc"]);

export const classify = {
  empty: "Type a text, or try one of the examples.",
  ready: ({ text }) => text.trim() !== "",
  prepare(panel) {
    const box = panel.form.elements.paired;
    if (panel.preparedFor !== panel.model.name) {
      panel.preparedFor = panel.model.name;
      if (PAIR_TASKS.has(panel.model.task)) box.checked = true;
      find(".examples", panel.form).hidden = !["sst2", "imdb", null, undefined, ""].includes(panel.model.task);
    }
    find(".pair", panel.form).hidden = !box.checked;
  },
  question({ text, pair, paired }, model) {
    const inputs = paired && pair.trim() ? [[text, pair]] : text;
    return [route(model, "/predict"), { inputs }];
  },
  show(result, answer, _values, model) {
    const rows = (Array.isArray(answer[0]) ? answer[0] : answer).toSorted((a, b) => b.score - a.score);
    if (model.labels.length <= 1) {
      const value = rows[0].score.toFixed(2);
      result.append(make("h3", {}, "The predicted value"), make("p", { class: "value" }, value));
      return `The predicted value is ${value}`;
    }
    const name = (label) => model.label_meanings[label] ?? label;
    const note = (label) => model.label_meanings[label] && `label ${label}`;
    const given = model.multi_label ? rows.filter((row) => row.score > BOUND) : rows.slice(0, 1);
    const title = given.map((row) => `${name(row.label)}, ${percent(row.score)}`).join("; ") || `None above ${BOUND}`;
    const bars = rows.map((row) => bar(name(row.label), row.score, { best: given.includes(row), note: note(row.label) }));
    result.append(make("h3", { dir: "auto" }, title));
    if (model.multi_label) result.append(make("p", { class: "facts" }, `Several labels may be right at once; the model gives those above ${BOUND}.`));
    result.append(make("ol", { class: "bars" }, bars.slice(0, SHOWN)));
    if (bars.length > SHOWN) result.append(make("details", { class: "more" }, make("summary", {}, `The other ${bars.length - SHOWN} labels`), make("ol", { class: "bars", start: SHOWN + 1 }, bars.slice(SHOWN))));
    return title;
  },
};

export const tag = {
  empty: "Type a text, or try one of the examples.",
  ready: ({ text }) => text.trim() !== "",
  question: ({ text }, model) => [route(model), { inputs: text, parameters: { aggregation_strategy: "spans" } }],
  show(result, entities, { text }) {
    const kinds = [...new Set(entities.map((entity) => entity.entity_group ?? entity.entity))].sort();
    const slice = slicer(text);
    const passage = make("p", { class: "passage", dir: "auto" });
    let behind = 0;
    for (const entity of entities.toSorted((a, b) => a.start - b.start)) {
      if (entity.start < behind) continue;
      const kind = entity.entity_group ?? entity.entity;
      const mark = make("mark", { class: `entity kind-${kinds.indexOf(kind) % 5}`, title: percent(entity.score) }, slice(entity.start, entity.end), make("span", { class: "kind" }, kind));
      passage.append(slice(behind, entity.start), mark);
      behind = entity.end;
    }
    passage.append(slice(behind, undefined));
    const title = entities.length ? `${plural(entities.length, "span")} found` : "Nothing found in this text";
    const rows = entities.map((entity) => bar(slice(entity.start, entity.end), entity.score, { note: entity.entity_group ?? entity.entity }));
    const known = kinds.filter((kind) => KINDS[kind]);
    const key = known.length > 0 && make("p", { class: "legend" }, known.map((kind) => make("span", { class: "legend-item" }, make("span", { class: "kind" }, kind), KINDS[kind])));
    result.append(...[make("h3", {}, title), passage, key, make("ol", { class: "bars two" }, rows)].filter(Boolean));
    return `${title}. ${entities.slice(0, 10).map((entity) => `${slice(entity.start, entity.end)}: ${entity.entity_group ?? entity.entity}`).join("; ")}`;
  },
};

export const ask = {
  empty: "Type a passage and a question, or try one of the examples.",
  ready: ({ question, context }) => question.trim() !== "" && context.trim() !== "",
  question: ({ question, context }, model) => [route(model), { inputs: { question, context } }],
  show(result, answer, { context }) {
    const best = Array.isArray(answer) ? answer[0] : answer;
    const slice = slicer(context);
    const found = best.answer !== "" && best.end > best.start;
    const title = found ? best.answer : "The passage does not say";
    // The likeliest of all spans is shown whatever its chance: a bold answer alone would read as a sure one.
    const sure = `probability ${percent(best.score)}${best.score < GUESS ? ": little more than a guess" : ""}`;
    const passage = make("p", { class: "passage", dir: "auto" });
    if (found) passage.append(slice(0, best.start), make("mark", { class: "answer" }, slice(best.start, best.end)), slice(best.end, undefined));
    else passage.append(context);
    result.append(make("h3", { dir: "auto" }, title), make("p", { class: "facts" }, sure), passage);
    return `${title}, ${sure}`;
  },
};

export const fill = {
  empty: "Write a sentence with [MASK] in it, or try one of the examples.",
  ready: ({ text }) => text.includes(MASK),
  prepare(panel) {
    if (panel.wired) return;
    panel.wired = true;
    find(".mask", panel.form).addEventListener("click", () => {
      const field = panel.form.elements.text;
      const before = field.value.slice(0, field.selectionStart);
      const gap = before === "" || /\s$/.test(before) ? "" : " ";
      field.setRangeText(gap + MASK, field.selectionStart, field.selectionEnd, "end");
      field.focus();
      field.dispatchEvent(new Event("input", { bubbles: true }));
    });
  },
  question: ({ text }, model) => [route(model), { inputs: text, parameters: { top_k: 5 } }],
  show(result, answer) {
    const gaps = Array.isArray(answer[0]) ? answer : [answer];
    result.append(make("h3", {}, gaps.length === 1 ? `“${gaps[0][0].token_str}” fits best` : `${gaps.length} gaps filled`));
    gaps.forEach((rows, index) => {
      if (gaps.length > 1) result.append(make("h4", {}, `Gap ${index + 1}`));
      result.append(make("ol", { class: "bars" }, rows.map((row, place) => bar(row.token_str, row.score, { best: place === 0 }))));
    });
    return gaps.map((rows, index) => `Gap ${index + 1}: ${rows.slice(0, 3).map((row) => `${row.token_str}, ${percent(row.score)}`).join("; ")}`).join(". ");
  },
};
