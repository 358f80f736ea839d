// One budget and the reply it got: its setting, its gauge, its thinking, its answer, its report.

import { answerNow, chat } from "./api.js";
import { el, instance } from "./dom.js";
import { Trace } from "./trace.js";
import * as words from "./words.js";

const NOW = "Answer now";

export class Column {
  // pointer: {letter, budget}. on: {change(column, budget), remove(column), code(kind, body), say(text),
  // peak(nats), noEntropy(message), failed(error)}.
  constructor(pointer, on) {
    this.pointer = pointer;
    this.on = on;
    const { root, parts } = instance("column");
    this.root = root;
    this.parts = parts;
    const { letter } = pointer;
    const named = (part, name) => parts[part].setAttribute("aria-label", name);
    root.setAttribute("aria-label", `Budget ${letter}`);
    parts.letter.textContent = letter;
    parts.budget.id = `budget-${letter}`;
    parts.wrong.id = `wrong-${letter}`;
    parts.budget.setAttribute("aria-describedby", parts.wrong.id);
    named("budget", `Thinking tokens of budget ${letter}, “off” or “no limit”`);
    named("remove", `Remove budget ${letter}`);
    named("bar", `Thinking tokens used by ${letter}`);
    named("trace", `Thinking of ${letter}`);
    named("now", `Answer now, ${letter}`);
    named("curl", `Copy as curl, ${letter}`);
    named("python", `Copy as Python, ${letter}`);
    parts.budget.addEventListener("change", () => this.#typed());
    parts.remove.addEventListener("click", () => on.remove(this));
    parts.now.addEventListener("click", () => this.#answerNow());
    for (const kind of ["curl", "python"])
      parts[kind].addEventListener("click", () => on.code(kind, this.body));
    this.running = null;
  }

  // Shows the budget; expected: what the curve says of it, null without one.
  show(expected) {
    const { budget } = this.pointer;
    this.parts.title.textContent = `Budget ${this.pointer.letter}: ${words.budgetWords(budget)}`;
    this.parts.unit.hidden = !budget;
    this.parts.budget.value = words.typedBudget(budget);
    this.parts.expected.textContent = words.expectedWords(expected);
    this.#complain("");
  }

  // The model does not think.
  withoutBudget() {
    const { letter, title, budget, unit, expected, gauge, thought } = this.parts;
    title.textContent = "Reply";
    for (const part of [letter, budget, unit, expected, gauge, thought]) part.hidden = true;
  }

  // Sends a request and follows its reply to the end. form: the model's thinking format, null without.
  async ask(body, form) {
    this.#begin(body, form);
    try {
      for await (const chunk of this.#chunks(body)) this.#take(chunk);
      this.#end();
    } catch (error) {
      this.#fail(error);
    } finally {
      this.running = null;
      this.parts.now.hidden = true;
      this.root.classList.remove("running", "answering");
    }
  }

  stop() {
    this.running?.abort();
  }

  #begin(body, form) {
    const { parts } = this;
    this.body = body;
    this.running = new AbortController();
    const asked = body.thinking?.budget ?? -1;
    this.limit = asked < 0 ? null : asked;
    this.thinkingId = this.report = this.usage = null;
    const stopText = body.thinking?.stop_text ?? form?.stop_text ?? "";
    this.trace = new Trace(parts.trace, form ? stopText.split(form.close)[0] : "");
    parts.reply.hidden = false;
    parts.error.hidden = parts.told.hidden = true;
    parts.now.hidden = !form || this.limit === 0;
    parts.now.disabled = true;
    parts.now.textContent = NOW;
    parts.answer.textContent = "";
    this.root.classList.add("running");
    this.#gauge(0, false);
  }

  async *#chunks(body) {
    try {
      yield* chat(body, this.running.signal);
    } catch (error) {
      if (error.status !== 400 || !error.param?.startsWith("thinking.entropy")) throw error;
      this.on.noEntropy(error.message);
      const { entropy: _, ...thinking } = body.thinking;
      this.body = { ...body, thinking };
      yield* chat(this.body, this.running.signal);
    }
  }

  #take(chunk) {
    const { parts } = this;
    this.usage = chunk.usage ?? this.usage;
    const choice = chunk.choices?.[0];
    if (!choice) return;
    const { delta = {}, thinking = {} } = choice;
    this.thinkingId ??= thinking?.id ?? null;
    if (parts.now.textContent === NOW) parts.now.disabled = !this.thinkingId;
    const thought = delta.reasoning ?? delta.reasoning_content ?? "";
    // The last chunk has the report instead, whose `tokens` is their number.
    const told = Array.isArray(thinking?.entropy?.tokens) ? thinking.entropy : null;
    if (thought || told) {
      this.trace.add(thought, told);
      this.on.peak(this.trace.peak);
      this.#gauge(this.trace.tokens, this.trace.exact);
    }
    if (delta.content) {
      parts.now.hidden = true;
      this.root.classList.add("answering");
      // White space that an answer begins with takes no room.
      parts.answer.append(parts.answer.textContent ? delta.content : delta.content.trimStart());
    }
    if (choice.finish_reason) {
      this.finishReason = choice.finish_reason;
      this.report = thinking?.stop_cause ? thinking : null;
    }
  }

  #gauge(used, exact) {
    const { bar, fill, count } = this.parts;
    const full = this.limit;
    const about = exact || !used ? "" : "about ";
    if (full === 0) count.textContent = "thinking off";
    else if (full === null) count.textContent = `${about}${words.tokens(used)}, no limit`;
    else count.textContent = `${about}${words.count(used)} of ${words.tokens(full)}`;
    bar.classList.toggle("open", full === null);
    fill.style.setProperty("--used", full ? Math.min(1, used / full) : 0);
    if (full) {
      bar.setAttribute("aria-valuemax", full);
      bar.setAttribute("aria-valuenow", Math.min(used, full));
    } else bar.removeAttribute("aria-valuenow");
    bar.setAttribute("aria-valuetext", count.textContent);
  }

  #end() {
    const { parts, report } = this;
    this.trace.finish(report);
    this.on.peak(this.trace.peak);
    if (!parts.trace.textContent.trim()) parts.trace.replaceChildren(el("em", {}, "no thinking"));
    if (!parts.answer.textContent.trim()) parts.answer.replaceChildren(el("em", {}, "no answer"));
    const full = this.finishReason === "length" ? " The reply ended because it was full." : "";
    parts.cause.textContent = report ? words.causeWords(report) + full : `The reply has ended.${full}`;
    const rows = report ? words.reportRows(report, this.usage) : [];
    parts.report.replaceChildren(
      ...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))),
    );
    if (report) {
      this.limit = report.budget;
      this.#gauge(report.tokens, true);
    }
    parts.told.hidden = false;
    const letter = this.pointer.letter;
    this.on.say(`${letter}: ${parts.cause.textContent} Answer: ${parts.answer.textContent.trim()}`);
  }

  #fail(error) {
    if (error.name === "AbortError") {
      this.trace.finish(null);
      this.#complainOf("Stopped: the reply was not waited for.");
      return;
    }
    if (!Number.isInteger(error.status)) throw error;
    const when = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    this.#complainOf(error.message + when);
    this.on.failed(error);
  }

  #complainOf(message) {
    this.parts.error.textContent = message;
    this.parts.error.hidden = false;
    this.on.say(`${this.pointer.letter}: ${message}`);
  }

  async #answerNow() {
    const { now } = this.parts;
    now.disabled = true;
    now.textContent = "asked …";
    try {
      await answerNow(this.thinkingId);
    } catch (error) {
      // The reply has ended meanwhile: there is nothing left to stop.
      if (error.status !== 404) this.#complainOf(error.message);
    }
  }

  #typed() {
    const budget = words.parseBudget(this.parts.budget.value);
    if (budget === undefined)
      this.#complain("Give a whole number of tokens, “off” for no thinking, or “no limit”.");
    else this.on.change(this, budget);
  }

  #complain(message) {
    const { wrong, budget } = this.parts;
    wrong.textContent = message;
    wrong.hidden = !message;
    budget.setAttribute("aria-invalid", Boolean(message));
  }
}
