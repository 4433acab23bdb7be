// What a model is called on the page, and what is said of it: an entry of GET /models -> words.

export const network = ({ architecture, dtype, runtime }) => `${architecture.replaceAll(" ", "\u00a0")}, ${dtype}, ${runtime}`;

const TITLES = [(model) => model.title, (model) => `${model.title} (${network(model)})`, (model) => `${model.title} (${model.source}, ${network(model)})`, (model) => `${model.title} (${model.name})`];

/** A model -> the first of the titles that no other of `models` has. */
export function titleOf(model, models) {
  const ofOne = (title) => models.filter((other) => title(other) === title(model)).length <= 1;
  return (TITLES.find(ofOne) ?? TITLES.at(-1))(model);
}

/** Where a model is from, what it is, how much of a text it reads, and its name in requests. */
export function facts(model) {
  const { source, built_from: checkpoint, truncate, max_length: length, name } = model;
  const read = { head: `reads the first ${length} tokens`, "longest-first": `reads the first ${length} tokens`, tail: `reads the last ${length} tokens`, "head-tail": `reads ${length} tokens, of the beginning and the end` };
  const place = checkpoint ? `${source}, built from ${checkpoint}` : source;
  return [`from ${place}`, network(model), read[truncate] ?? `reads all, ${length} tokens at a time`, `for programs: models/${name}`].join(" · ");
}
