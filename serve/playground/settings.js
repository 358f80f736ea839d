// What the fields of the page ask for, as a request.

import { byId } from "./dom.js";

const number = (id) => {
  const { valueAsNumber } = byId(id);
  return Number.isFinite(valueAsNumber) ? valueAsNumber : undefined;
};

const given = (members) =>
  Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));

// server: {model, form}; budget: tokens, null for no limit; more: {entropy, family}, undefined if not asked.
export function requestOf(server, budget, more) {
  const body = {
    model: server.model,
    messages: [{ role: "user", content: byId("question").value }],
    ...given({ temperature: number("temperature"), seed: number("seed"), max_tokens: number("max-tokens") }),
    stream: true,
    stream_options: { include_usage: true },
  };
  if (!server.form) return body;
  const stopText = byId("stop-text").value;
  return {
    ...body,
    thinking: {
      budget: budget ?? -1,
      ...given({ ...more, stop_text: stopText === server.form.stop_text ? undefined : stopText }),
    },
  };
}

// Held-out problems of thinkmath, which the shipped model was trained for; others are as good for the rest.
const THINKMATH = [
  [
    "race",
    "Modulo 10, which machine ends highest, the first if tied? " +
      "(1) 6 *9 *3 (2) 9 +3 +4 (3) 2 *7 *7 (4) 6 -3 +1 (5) 2 +9 -8",
  ],
  ["expression", "Modulo 10, compute (((((7*5)-4)*3)*9)+3)*9."],
  ["chain", "Modulo 10, start with 4 and do +8, -3, -9, +2, *9, *3. Where do you end?"],
];
const GENERAL = [
  ["clock", "A clock strikes six times in five seconds. How long does it take to strike twelve times?"],
  ["primes", "How many primes are there between 20 and 60?"],
  ["word", "How many times does the letter r stand in “strawberry refrigerator”?"],
];

export const examplesFor = (model) => (model === "thinkdial-default" ? THINKMATH : GENERAL);
