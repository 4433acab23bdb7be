// One panel: its fields, its model, its answer. Asks as one types, shows only the newest answer, never loses what was typed.

import { find, findAll, make, plural } from "./elements.js";
import { facts, titleOf } from "./models.js";
import { request, Trouble } from "./server.js";

const PAUSE_MS = 250;
const SPEAK_MS = 900;
/** Characters that the list of models shows on a phone. */
const SHORT_TITLE = 32;
/** Fraction of a text's tokens; above it an answer says little. */
const MANY_UNKNOWN = 0.3;

export class Panel {
  /**
   * @param id     the section's id
   * @param models what can answer here; the first is chosen
   * @param rules  {ready(values) -> bool, question(values, model) -> [path, body], or questions -> several of them, sent one after the other, show(result, answer, values, model) -> words for screen readers,
   *               redraw: names of fields that change only how an answer is shown, empty: words for an empty result}
   * @param notify called with null after an answer, with a Trouble after a failure
   */
  constructor(id, models, rules, notify) {
    Object.assign(this, { id, models, rules, notify, model: models[0], answered: null, newest: 0, tries: 0 });
    this.section = document.getElementById(id);
    this.form = find("form", this.section);
    this.notice = make("div", { class: "notice", hidden: true });
    this.result = make("div", { class: "result card", hidden: true });
    this.spoken = make("p", { class: "spoken", role: "status", "aria-live": "polite" });
    this.empty = make("p", { class: "empty" }, rules.empty);
    this.full = make("p", { class: "hint full", "aria-live": "polite" });
    this.form.append(this.full);
    // Arabic and Hebrew are written from the right.
    for (const field of findAll("textarea, input[type=text]", this.form)) field.dir = "auto";
    this.section.append(this.notice, this.empty, this.result, this.spoken);
    this.offerModels();
    this.restore();
    this.listen();
  }

  offerModels() {
    const place = find(".model", this.form);
    const about = make("span", { class: "facts" });
    // A narrow list cuts what is chosen.
    const chosen = make("span", { class: "model-name narrow" });
    const tell = () => {
      const title = titleOf(this.model, this.models);
      chosen.textContent = title.length > SHORT_TITLE ? title : "";
      about.textContent = facts(this.model);
    };
    if (this.models.length > 1) {
      const select = make("select", { id: `${this.id}-model`, name: "model" }, this.models.map((model) => make("option", { value: model.name }, titleOf(model, this.models))));
      select.addEventListener("change", () => {
        this.model = this.models.find((model) => model.name === select.value) ?? this.models[0];
        tell();
        this.rules.prepare?.(this);
        this.ask(0);
      });
      place.append(make("label", { for: select.id }, "Model"), select, chosen, about);
    } else {
      place.append(make("span", { class: "model-name" }, this.model.title), about);
    }
    tell();
  }

  /** The fields' values: trimmed of nothing, numbers as numbers. */
  values() {
    const out = {};
    for (const field of this.form.elements) {
      if (!field.name) continue;
      if (field.type === "checkbox") out[field.name] = field.checked;
      else if (field.type === "range" || field.type === "number") out[field.name] = Number(field.value);
      else out[field.name] = field.value;
    }
    return out;
  }

  listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask(0);
    });
    this.form.addEventListener("input", (event) => {
      this.keep();
      this.label();
      this.tellFull();
      if (event.target.name === "model") return;
      this.rules.prepare?.(this);
      if (this.rules.redraw?.includes(event.target.name)) this.redraw();
      else this.ask(PAUSE_MS);
    });
    for (const group of findAll(".examples", this.form)) {
      group.setAttribute("role", "group");
      group.setAttribute("aria-label", "Examples");
      group.prepend(make("span", { class: "examples-title", "aria-hidden": "true" }, "Try"));
      group.addEventListener("click", (event) => {
        const button = event.target.closest("button");
        if (!button) return;
        this.set({ ...button.dataset, [group.dataset.field]: button.textContent });
      });
    }
  }

  /** Write values into fields, as if typed. */
  set(values) {
    for (const [name, value] of Object.entries(values)) if (this.form.elements[name]) this.form.elements[name].value = value;
    this.keep();
    this.label();
    this.tellFull();
    this.ask(0);
  }

  keep() {
    sessionStorage.setItem(`electra.${this.id}`, JSON.stringify(this.values()));
  }

  restore() {
    let kept = {};
    try {
      kept = JSON.parse(sessionStorage.getItem(`electra.${this.id}`) ?? "{}");
    } catch {
      // Written by another version: start afresh.
    }
    for (const field of this.form.elements) {
      if (!(field.name in kept)) continue;
      if (field.type === "checkbox") field.checked = kept[field.name];
      else if (field.name !== "model" || this.models.some((model) => model.name === kept.model)) field.value = kept[field.name];
    }
    this.model = this.models.find((model) => model.name === kept.model) ?? this.model;
    this.rules.prepare?.(this);
    this.label();
  }

  /** The number beside every slider. */
  label() {
    for (const output of findAll("output", this.form)) {
      const slider = document.getElementById(output.htmlFor.value);
      output.textContent = `${slider.value}${slider.dataset.unit ?? ""}`;
      slider.setAttribute("aria-valuetext", output.textContent);
    }
  }

  /** A browser cuts a pasted text at a field's limit without a word. */
  tellFull() {
    const full = findAll("textarea", this.form).find((field) => field.value.length >= field.maxLength);
    const words = full ? `The field takes ${full.maxLength.toLocaleString("en")} characters; the rest was cut off.` : "";
    if (this.full.textContent !== words) this.full.textContent = words;
  }

  /** Called when the panel comes into view. */
  open() {
    if (this.answered === null) this.ask(0);
  }

  ask(pause) {
    clearTimeout(this.timer);
    this.tries = 0;
    this.timer = setTimeout(() => this.send(), pause);
  }

  async send() {
    clearTimeout(this.timer);
    clearInterval(this.countdown);
    this.flight?.abort();
    const values = this.values();
    const number = ++this.newest;
    if (!this.rules.ready(values)) {
      this.answered = null;
      this.notice.hidden = this.result.hidden = true;
      this.empty.hidden = false;
      this.say("");
      return;
    }
    const flight = (this.flight = new AbortController());
    this.section.setAttribute("aria-busy", "true");
    const began = performance.now();
    const read = { tokens: 0, unknown: 0 };
    const heed = (headers) => {
      read.tokens += Number(headers.get("X-Tokens"));
      read.unknown += Number(headers.get("X-Unknown-Tokens"));
    };
    try {
      const send = ([path, body]) => request(path, { body, signal: flight.signal, heed });
      const { question, questions } = this.rules;
      const answer = questions ? [] : await send(question(values, this.model));
      // One at a time: many at once would be more than one client's share of the queue.
      for (const next of questions?.(values, this.model) ?? []) answer.push(await send(next));
      if (number !== this.newest) return;
      this.tries = 0;
      this.answered = { answer, values, model: this.model, read, ms: performance.now() - began };
      this.redraw();
      this.notify(null);
    } catch (error) {
      // An older question's failure is of no interest: a newer one is on its way.
      if (number !== this.newest) return;
      this.fail(error);
    } finally {
      if (number === this.newest) this.section.removeAttribute("aria-busy");
    }
  }

  redraw() {
    if (!this.answered) return;
    const { answer, values, model, read, ms } = this.answered;
    this.notice.hidden = this.empty.hidden = true;
    this.result.hidden = false;
    this.result.classList.remove("stale");
    const opened = find("details", this.result)?.open;
    this.result.replaceChildren();
    const current = { ...values, ...Object.fromEntries((this.rules.redraw ?? []).map((name) => [name, this.values()[name]])) };
    const words = this.rules.show(this.result, answer, current, model);
    if (opened && find("details", this.result)) find("details", this.result).open = true;
    const strange = read.unknown > MANY_UNKNOWN * read.tokens ? `${read.unknown} of ${plural(read.tokens, "token")} ${read.unknown === 1 ? "is" : "are"} not in this model's vocabulary: it may not know the language, and the answer says little.` : "";
    if (strange) this.result.prepend(make("p", { class: "notice" }, strange));
    this.result.append(make("p", { class: "took" }, `answered in ${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`));
    this.say(`${strange} ${words}`.trim());
  }

  /** Screen readers hear the newest summary only, after a pause. */
  say(words) {
    clearTimeout(this.speech);
    this.speech = setTimeout(() => {
      this.spoken.textContent = words;
    }, SPEAK_MS);
  }

  fail(error) {
    if (!(error instanceof Trouble)) {
      console.error(error);
      error = new Trouble("failed", "The page could not show this answer.");
    }
    this.empty.hidden = true;
    this.result.classList.add("stale");
    this.notify(error);
    const again = make("button", { type: "button", click: () => this.ask(0) }, "Try again");
    const clock = make("span", { class: "clock", "aria-hidden": "true" });
    this.notice.replaceChildren(make("p", { role: "alert" }, error.message), error.kind === "token" ? "" : make("div", { class: "row" }, clock, again));
    this.notice.hidden = false;
    if (error.wait !== null) this.waitAndRetry(error.wait, clock);
  }

  waitAndRetry(seconds, clock) {
    // Each failure in a row waits longer, so that many open pages do not keep a tired server down.
    let left = Math.min(60, seconds * 1.5 ** this.tries++);
    const tick = () => {
      clock.textContent = `Next try in ${Math.ceil(left)} s`;
      left -= 1;
      if (left < -0.5) this.send();
    };
    tick();
    this.countdown = setInterval(tick, 1000);
  }
}
