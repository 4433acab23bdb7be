// Search: a query and passages -> the passages in the order of a re-ranker, or of vectors, each with both scores.

import { bar, find, make, plural } from "./elements.js";
import { titleOf } from "./models.js";

const route = (name, rest) => `models/${encodeURIComponent(name)}/${rest}`;
const isRanker = (model) => model.abilities.includes("rerank") && !model.regression;
/** A list -> parts of at most `size`. */
const inParts = (list, size) => Array.from({ length: Math.ceil(list.length / size) }, (_, part) => list.slice(part * size, (part + 1) * size));
const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);

export const search = {
  empty: "Paste passages, one per line, and type a query; or try the example.",
  rankers: [],
  /** Passages that one request may have: of the server's limit one is the query. */
  most: 1,
  /** Whether a model can be asked here: a re-ranker, or an encoder, which makes vectors. */
  able: (model) => isRanker(model) || (model.role === "encoder" && model.abilities.includes("embed")),
  /** All that can -> the models of vectors, where there are any; re-rankers are a second choice then. */
  offered(models, maxTexts) {
    search.most = Math.max(1, maxTexts - 1);
    search.rankers = models.filter(isRanker);
    const encoders = models.filter((model) => !isRanker(model));
    return encoders.length ? encoders : models;
  },
  ready: ({ query, passages }) => query.trim() !== "" && passages.trim() !== "",
  prepare(panel) {
    const place = find(".reranker", panel.form);
    if (place.childElementCount || isRanker(panel.model) || !search.rankers.length) return;
    const options = [...search.rankers.map((model) => make("option", { value: model.name }, titleOf(model, search.rankers))), make("option", { value: "" }, "nothing: by vectors alone")];
    place.append(make("label", { for: "search-reranker" }, "Sorted again by"), make("select", { id: "search-reranker", name: "reranker" }, options));
  },
  questions({ query, passages, reranker = "" }, model) {
    const parts = inParts(lines(passages), search.most);
    const ranker = isRanker(model) ? model.name : reranker;
    const similarities = parts.map((sentences) => [route(model.name, "similarity"), { inputs: { source_sentence: query, sentences } }]);
    const ranks = parts.map((texts) => [route(ranker, "rerank"), { query, texts }]);
    return [...(isRanker(model) ? [] : similarities), ...(ranker ? ranks : [])];
  },
  show(result, answers, { passages, reranker = "" }, model) {
    const texts = lines(passages);
    const parts = Math.ceil(texts.length / search.most);
    const similarities = isRanker(model) ? null : answers.slice(0, parts).flat();
    const place = (found, part) => found.map(({ index, score }) => ({ index: index + part * search.most, score }));
    const ranks = isRanker(model) || reranker ? answers.slice(-parts).flatMap(place) : null;
    const byVectors = similarities && similarities.map((score, index) => ({ index, score })).toSorted((a, b) => b.score - a.score);
    const places = new Map((byVectors ?? []).map(({ index }, place) => [index, place + 1]));
    const rows = ranks ? ranks.toSorted((a, b) => b.score - a.score) : byVectors;
    const list = rows.map(({ index, score }, place) => {
      const note = ranks && similarities ? `similarity ${similarities[index].toFixed(2)}, place ${places.get(index)} by vectors` : null;
      return bar(texts[index], score, { words: score.toFixed(ranks ? 3 : 2), best: place === 0, note });
    });
    const how = ranks ? "relevance by the re-ranker" : "similarity of vectors";
    const title = `${plural(rows.length, "passage")}, sorted by ${how}`;
    result.append(make("h3", {}, title), make("ol", { class: "bars" }, list));
    return `${title}. First: ${texts[rows[0].index]}`;
  },
};
