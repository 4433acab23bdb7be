// The loaded models and their measured rows (electra.benchmark.results) -> how many, a chart to choose from, the table; without rows: the commands.

import { find, make, plural } from "./elements.js";
import { facts } from "./models.js";

/** A number with so many digits, never as 3.3e+2. */
const digits = (value, count) => value.toPrecision(count).replace(/.*e.*/, Math.round(value));
const ms = (value) => `${digits(value, 3)} ms`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB`;
const seconds = (value) => `${digits(value, 2)} s`;
const batchOf = (row, size) => row.throughput?.[size]?.texts_per_second;
const hundred = (value) => (100 * value).toFixed(1);

/** What can be charted: title, whether less is better, what is said of the first, the value of a row, its range, how it is written. */
const MEASURES = [
  { id: "latency", title: "One text", unit: "milliseconds, median; line to the 90th percentile", less: true, first: "fastest", value: (row) => row.latency?.p50_ms, range: (row) => [row.latency.p50_ms, row.latency.p90_ms], words: ms },
  { id: "padded", title: "One text, padded", unit: "milliseconds, median, filled up with padding; line to the 90th percentile", less: true, first: "fastest", value: (row) => row.padded?.p50_ms, range: (row) => [row.padded.p50_ms, row.padded.p90_ms], words: ms },
  { id: "throughput", title: "Many texts", unit: "texts per second in batches of 32; line from the slowest to the fastest repetition", first: "fastest", value: (row) => batchOf(row, 32), range: (row) => [row.throughput[32].slowest, row.throughput[32].fastest], words: (value) => `${Math.round(value)} /s` },
  { id: "score", title: "Score", unit: "the task's main metric, times 100; line: 95 % interval", value: (row) => row.score, range: (row) => row.score_interval, words: hundred, },
  { id: "agreement", title: "Agreement", unit: "% of labels equal to the reference's", value: (row) => row.agreement, words: hundred, },
  { id: "size", title: "Size", unit: "megabytes on disk", less: true, first: "smallest", value: (row) => row.size_bytes, words: megabytes },
  { id: "memory", title: "Memory", unit: "megabytes at the peak", less: true, first: "least memory", value: (row) => row.peak_memory_bytes, words: megabytes },
  { id: "load", title: "Start", unit: "seconds from opening to ready", less: true, first: "first to be ready", value: (row) => row.load_seconds, words: seconds },
];

const COLUMNS = [
  ["Score", (row) => row.score != null && [hundred(row.score), row.score_interval && `${hundred(row.score_interval[0])}–${hundred(row.score_interval[1])}`]],
  ["Agreement", (row) => row.agreement != null && [`${hundred(row.agreement)} %`]],
  ["Latency p50", (row) => row.latency && [ms(row.latency.p50_ms), faster(row.latency)]],
  ["p90 / p99", (row) => row.latency && [`${digits(row.latency.p90_ms, 3)} / ${ms(row.latency.p99_ms)}`]],
  ["Padded p50", (row) => row.padded && [ms(row.padded.p50_ms), faster(row.padded)]],
  ["Batch 1", (row) => perSecond(row, 1)],
  ["Batch 8", (row) => perSecond(row, 8)],
  ["Batch 32", (row) => perSecond(row, 32)],
  ["Size", (row) => row.size_bytes != null && [megabytes(row.size_bytes)]],
  ["Memory", (row) => row.peak_memory_bytes != null && [megabytes(row.peak_memory_bytes)]],
  ["Start", (row) => row.load_seconds != null && [seconds(row.load_seconds)]],
  ["Build", (row) => row.build_seconds != null && [seconds(row.build_seconds)]],
];

/** What `electra compare` calls noise is not called faster here. */
function faster({ speedup, within_noise: noise }) {
  if (speedup == null) return null;
  return noise ? "within noise" : `${digits(speedup, 2)}× as fast`;
}

function perSecond(row, size) {
  const found = row.throughput?.[size];
  if (!found) return null;
  return [`${Math.round(found.texts_per_second)} /s`, found.speedup != null && (found.within_noise ? "within noise" : `${digits(found.speedup, 2)}×`)];
}

/** Models -> their measured rows, each once (the artifacts of one comparison carry the same rows). */
export function measuredRows(models) {
  const seen = new Map();
  for (const model of models) for (const row of model.measured ?? []) seen.set(JSON.stringify([row.name, row.source, row.score, row.latency]), row);
  return [...seen.values()];
}

/** A run's folder says nothing of the model in it. */
const nameOf = (row) => row.name.replace(/^(best|final)(?= \[|$)/, row.kind || "checkpoint");
const isMeasured = (row) => !(row.error ?? row.skipped);

export function showComparison(section, models) {
  const rows = measuredRows(models);
  const count = rows.filter(isMeasured).length;
  const loaded = `${plural(models.length, "model")} ${models.length === 1 ? "is" : "are"} loaded`;
  const measured = count ? `${count} ${count === 1 ? "is measured" : "are compared"}, by figures that electra compare kept in an artifact` : "nothing is measured yet";
  find(".lead", section).textContent = `${loaded}; ${measured}. This page measures nothing itself.`;
  if (rows.length) showRows(section, rows);
  const list = models.map((model) => make("li", {}, make("b", {}, model.title), make("span", { class: "facts" }, facts(model))));
  section.append(make("div", { class: "card" }, make("h3", {}, "What is loaded"), make("ul", { class: "loaded" }, list), count < 2 && howTo(models)));
}

/** Role -> the task of `electra compare`, where a model names none. */
const TASK_OF = { classifier: "own", tagger: "tagging", "span finder": "squad" };

/** The commands after which there is something to compare. */
function howTo(models) {
  const alike = Object.values(Object.groupBy(models.filter((model) => TASK_OF[model.role]), ({ role, title }) => `${role}: ${title}`));
  const group = alike.toSorted((a, b) => b.length - a.length)[0];
  if (!group) return make("p", {}, "electra compare measures models with a task: classifiers, token classifiers and question answering. Load one: ", make("code", {}, "electra serve shipped:sentiment"));
  const words = group.map((model) => model.source);
  const checkpoint = group.find((model) => model.target === "pytorch");
  const keeps = group.some((model) => model.target !== "pytorch" && !model.source.startsWith("shipped:"));
  const lines = [];
  if (checkpoint && !keeps) {
    words.push(`${checkpoint.name}-int8`);
    lines.push(`electra build ${checkpoint.source} --target onnx-int8 --output ${words.at(-1)}`);
  } else if (words.length < 2) words.push("OTHER");
  const task = group[0].task ? "" : ` --task ${TASK_OF[group[0].role]}`;
  lines.push(`electra compare ${words.join(" ")} --data DATA${task} --keep`, `electra serve ${words.join(" ")}`);
  const meanings = ["DATA is the task's folder, or a file of labelled examples.", words.includes("OTHER") && "OTHER is an artifact of yours for the same task (electra build).", "Give your folders with their paths."];
  return [make("h4", {}, "To compare"), make("pre", {}, lines.map((line) => make("code", {}, line.split(" ").flatMap((word) => [make("span", {}, word), " "])))), make("p", { class: "hint" }, meanings.filter(Boolean).join(" "))];
}

function showRows(section, rows) {
  const usable = MEASURES.filter((measure) => rows.some((row) => Number.isFinite(measure.value(row))));
  const place = make("div", { class: "chart" });
  const caption = make("p", { class: "hint", role: "status" });
  const draw = (measure) => {
    caption.textContent = `${measure.unit}. ${measure.less ? "Shorter" : "Longer"} is better.`;
    place.replaceChildren(chart(measure, rows));
  };
  const choices = usable.map((measure, index) => {
    const input = make("input", { type: "radio", name: "measure", id: `measure-${measure.id}`, value: measure.id, checked: index === 0, change: () => draw(measure) });
    return make("span", { class: "choice" }, input, make("label", { for: input.id }, measure.title));
  });
  section.append(make("div", { class: "card" }, make("fieldset", { class: "choices" }, make("legend", {}, "What to compare"), choices), caption, place));
  section.append(make("div", { class: "card spread" }, make("h3", {}, "All figures"), table(rows), ...remarks(rows)));
  if (usable.length) draw(usable[0]);
}

/** Horizontal bars as HTML boxes around one small SVG each: names wrap and grow with the reader's font, which SVG text does not. */
function chart(measure, rows) {
  const known = rows.filter((row) => Number.isFinite(measure.value(row)));
  const ends = known.flatMap((row) => [measure.value(row), ...(measure.range?.(row) ?? [])]).filter(Number.isFinite);
  const top = Math.max(...ends) * 1.02 || 1;
  const values = known.map(measure.value);
  // Of scores within each other's intervals none is first.
  const first = !measure.first ? null : measure.less ? Math.min(...values) : Math.max(...values);
  const list = make("ul", { class: "chart-rows" });
  for (const row of known) {
    const value = measure.value(row);
    const words = measure.words(value);
    const at = (number) => `${(100 * number) / top}%`;
    const range = measure.range?.(row)?.filter(Number.isFinite);
    const svg = make(
      "svg:svg",
      { class: "chart-bar", "aria-hidden": "true", width: "100%", height: "26" },
      make("svg:rect", { class: "chart-track", x: 0, y: 0, width: "100%", height: 26, rx: 5 }),
      make("svg:rect", { class: "chart-fill", x: 0, y: 0, width: at(value), height: 26, rx: 5 }),
      range?.length === 2 && make("svg:line", { class: "chart-range", x1: at(range[0]), x2: at(range[1]), y1: 13, y2: 13 }),
      range?.length === 2 && range.map((end) => make("svg:line", { class: "chart-range", x1: at(end), x2: at(end), y1: 7, y2: 19 })),
    );
    const isFirst = value === first && known.length > 1;
    list.append(make("li", { class: isFirst ? "first" : "" }, make("span", { class: "chart-name" }, nameOf(row), row.environment && make("small", {}, row.environment)), svg, make("span", { class: "chart-words" }, words, isFirst && make("span", { class: "tag" }, measure.first))));
  }
  return list;
}

function table(rows) {
  const used = COLUMNS.filter(([, cell]) => rows.some((row) => cell(row)));
  const head = make("tr", {}, make("th", { scope: "col" }, "Model"), used.map(([name]) => make("th", { scope: "col" }, name)));
  const cells = (row) => used.map(([, cell]) => {
    const [main, note] = cell(row) || ["–"];
    return make("td", { class: "figure" }, main, note && make("small", {}, note));
  });
  const body = rows.map((row) => make("tr", {}, make("th", { scope: "row" }, nameOf(row), row.kind && row.kind !== nameOf(row) && make("small", {}, row.kind), row.environment && make("small", {}, row.environment)), cells(row)));
  return make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "All figures" },
    make("table", {}, make("thead", {}, head), make("tbody", {}, body)),
  );
}

function remarks(rows) {
  const metrics = [...new Set(rows.map((row) => row.metric).filter(Boolean))].join(", ");
  const failed = rows.filter((row) => row.error ?? row.skipped).map((row) => make("p", { class: "hint" }, `${nameOf(row)} was not measured: ${row.error ?? row.skipped}`));
  return [make("p", { class: "hint" }, metrics && `Score: ${metrics}, times 100. `, "“As fast” compares with the first row of the same comparison; figures of different machines are not comparable."), ...failed];
}
