// Budgets, numbers, stop causes and reports in words.

import { known } from "./dom.js";

export const percent = (value, digits = 1) => `${(100 * value).toFixed(digits)} %`;
export const count = (value) => value.toLocaleString("en");
export const tokens = (n) => `${count(n)} ${n === 1 ? "token" : "tokens"}`;

export const nats = (value) => (value > 0 && value < 0.001 ? "under 0.001" : value.toFixed(3));

export function budgetWords(budget) {
  if (budget === null) return "no limit";
  return budget === 0 ? "thinking off" : tokens(budget);
}

// A budget as it is typed; undefined where it is none.
export function parseBudget(text) {
  const word = text.trim().toLowerCase();
  if (word === "off") return 0;
  if (["", "no limit", "max", "-1"].includes(word)) return null;
  return /^\d{1,9}$/.test(word) ? Number(word) : undefined;
}

export const typedBudget = (budget) => (budget === null ? "no limit" : budget === 0 ? "off" : String(budget));

export function expectedWords(expected) {
  if (!expected) return "";
  const [low, high] = [expected.low, expected.high].map((share) => (100 * share).toFixed(1));
  return `Expected: ${percent(expected.accuracy)} [${low}, ${high}] right, ${expected.tokens.toFixed(1)} tokens on average`;
}

const CAUSES = {
  natural: (r) =>
    r.tokens ? `The model ended its thinking by itself after ${tokens(r.tokens)}.` : "The model did not think.",
  budget: (r) => `Thinking was cut at its budget of ${tokens(r.budget)}.`,
  soft: (r) => `Thinking was stopped at the end of a sentence, after ${tokens(r.tokens)}, near its budget.`,
  deadline: (r) => `Thinking was cut after ${tokens(r.tokens)} so that the answer meets the deadline.`,
  loop: (r) => `Thinking ran in circles and was cut after ${tokens(r.tokens)}.`,
  confident: (r) => `Thinking was cut after ${tokens(r.tokens)}: the answer was certain.`,
  client: (r) => `You asked for the answer after ${tokens(r.tokens)} of thinking.`,
  length: (r) => `The reply was full after ${tokens(r.tokens)} of thinking, before an answer.`,
  disabled: () => "Thinking was off.",
};

export function causeWords(report) {
  const said = (CAUSES[report.stop_cause] ?? (() => `Thinking ended: ${report.stop_cause}.`))(report);
  return report.inserted_tokens && report.stop_cause !== "disabled"
    ? `${said} The server inserted ${tokens(report.inserted_tokens)} so that it answers.`
    : said;
}

const LOWERED = {
  ceiling: "the most this API key may ask",
  answer_reserve: "what the answer must be left",
  context: "what the model’s context holds",
  load: "the server’s load",
};

// A report as [name, value] pairs of text, those first that matter most; usage: of the reply, if it is known.
export function reportRows(report, usage) {
  const rows = [
    ["thinking", report.budget ? `${count(report.tokens)} of ${tokens(report.budget)}` : tokens(report.tokens)],
  ];
  if (known(usage?.completion_tokens)) rows.push(["reply in all", tokens(usage.completion_tokens)]);
  rows.push(["time", `${report.seconds.toFixed(2)} s`]);
  if (known(report.expected_accuracy)) rows.push(["expected accuracy", percent(report.expected_accuracy)]);
  if (report.lowered_by) {
    const asked = known(report.requested_budget) ? tokens(report.requested_budget) : "no limit";
    rows.push(["budget lowered", `from ${asked}, by ${LOWERED[report.lowered_by] ?? report.lowered_by}`]);
  }
  if (known(report.deadline))
    rows.push(["deadline", `${report.deadline} s, ${report.deadline_missed ? "missed" : "kept"}`]);
  if (known(report.probes))
    rows.push(["probes", `${count(report.probes)}, ${tokens(report.probe_tokens)} on the side`]);
  if (known(report.waits)) rows.push(["early ends refused", count(report.waits)]);
  if (report.blocks > 1) rows.push(["thinking blocks", count(report.blocks)]);
  return [...rows, ...entropyRows(report.entropy)];
}

function entropyRows(entropy) {
  const values = (entropy?.values ?? []).filter(known);
  if (!values.length) return [];
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const exact = entropy.exact === false ? ", from the likeliest tokens" : "";
  return [["entropy", `${nats(mean)} nats a token, at most ${nats(Math.max(...values))}${exact}`]];
}
