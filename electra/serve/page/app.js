// Start: which models are there, which panels they can answer, tabs, the token, the line of status.

import { ask, classify, fill, tag } from "./answers.js";
import { measuredRows, showComparison } from "./comparison.js";
import { find, make, plural } from "./elements.js";
import { Panel } from "./panel.js";
import { corrupt, detect } from "./replaced.js";
import { search } from "./search.js";
import { access, request, Trouble } from "./server.js";

const page = { models: [], panels: new Map(), tabs: [] };
const byId = (id) => document.getElementById(id);

const has = (ability) => (model) => model.abilities.includes(ability);

/** Panel -> the rules by which it asks and shows, and which models (of GET /models) it can ask. */
const PANELS = {
  detect: [detect, has("detect")],
  corrupt: [corrupt, has("corrupt")],
  classify: [classify, has("classify")],
  tag: [tag, has("tag")],
  ask: [ask, has("answer")],
  fill: [fill, has("fill")],
  search: [search, search.able],
};

async function start() {
  byId("startup").hidden = true;
  tell("Connecting…", "waiting");
  try {
    const found = await request("models");
    Object.assign(page, { models: found.models, maxTexts: found.max_texts });
  } catch (error) {
    return failToStart(error instanceof Trouble ? error : new Trouble("failed", `The list of models could not be read (${error.message}).`));
  }
  byId("token-form").hidden = true;
  // A link carries no token.
  byId("docs-link").hidden = access.token !== "";
  offer();
  connected();
}

function offer() {
  const available = Object.entries(PANELS).map(([id, [rules, able]]) => [id, rules, page.models.filter(able)]).filter(([, , models]) => models.length);
  for (const [id, rules, models] of available) page.panels.set(id, new Panel(id, rules.offered?.(models, page.maxTexts) ?? models, rules, report));
  const ids = available.map(([id]) => id);
  if (ids.length || measuredRows(page.models).length) {
    ids.push("compare");
    try {
      showComparison(byId("compare"), page.models);
    } catch (error) {
      // An artifact says what it likes of itself.
      byId("compare").append(make("p", { class: "notice" }, `The measurements of an artifact could not be read (${error.message}).`));
    }
  }
  if (!ids.length) {
    byId("startup-title").textContent = "Nothing to try here";
    byId("startup-words").textContent = page.models.length
      ? `${page.models.map((model) => `${model.title} (models/${model.name})`).join(", ")}: for programs only. This page offers discriminators, classifiers, token classifiers, question answering, generators, encoders and re-rankers.`
      : "The server runs without a model. Start it with one: electra serve MODEL";
    byId("startup-retry").hidden = true;
    byId("startup").hidden = false;
    return;
  }
  makeTabs(ids);
  open(ids.includes(location.hash.slice(1)) ? location.hash.slice(1) : ids[0]);
}

// ---- tabs ----

function makeTabs(ids) {
  const list = byId("tabs");
  page.tabs = ids.map((id) => {
    const panel = byId(id);
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", `tab-${id}`);
    return make("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": id, click: () => open(id) }, panel.dataset.tab);
  });
  list.replaceChildren(...page.tabs);
  // On a phone in rows of equal length.
  list.style.setProperty("--columns", Math.ceil(ids.length / Math.ceil(ids.length / 4)));
  list.hidden = false;
  list.addEventListener("keydown", (event) => {
    const at = page.tabs.indexOf(document.activeElement);
    const last = page.tabs.length - 1;
    const next = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (next === undefined || at < 0) return;
    event.preventDefault();
    page.tabs[next].focus();
    open(ids[next]);
  });
  window.addEventListener("hashchange", () => ids.includes(location.hash.slice(1)) && open(location.hash.slice(1)));
}

function open(id) {
  for (const tab of page.tabs) {
    const chosen = tab.id === `tab-${id}`;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  history.replaceState(null, "", `#${id}`);
  page.open = id;
  page.panels.get(id)?.open();
}

// ---- status, token ----

function tell(words, kind) {
  const status = byId("status");
  if (status.textContent !== words) status.textContent = words;
  status.dataset.kind = kind;
}

function connected() {
  tell(`Connected · ${plural(page.models.length, "model")}`, "good");
}

/** After every answer (null) and every failure. */
function report(trouble) {
  if (!trouble) return connected();
  if (trouble.kind === "token") return askForToken(trouble);
  const states = { gone: ["No connection", "bad"], busy: ["Server is busy", "waiting"], slow: ["Server is slow", "waiting"] };
  if (states[trouble.kind]) return tell(...states[trouble.kind]);
  return connected();
}

function askForToken(trouble) {
  tell("Token needed", "waiting");
  find("label", byId("token-form")).textContent = trouble.message;
  byId("token-form").hidden = false;
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  access.use(byId("token").value.trim());
  if (!page.tabs.length) return start();
  byId("token-form").hidden = true;
  return page.panels.get(page.open)?.ask(0);
});

function failToStart(trouble) {
  if (trouble.kind === "token") return askForToken(trouble);
  tell("No connection", "bad");
  byId("startup-title").textContent = trouble.kind === "gone" ? "The server does not answer" : "The page could not start";
  byId("startup-words").textContent = trouble.kind === "gone" ? "It may still be loading its models, or have been stopped." : trouble.message;
  byId("startup").hidden = false;
  if (trouble.wait !== null) setTimeout(() => byId("startup").hidden || start(), 1000 * trouble.wait);
}

byId("startup-retry").addEventListener("click", start);
start();
