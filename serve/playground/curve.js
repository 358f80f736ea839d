// The measured curve of a thinking profile: what a budget buys, as the server reads it too (serve/profile.py).

import { known } from "./dom.js";

const BEYOND = 2; // past the largest measured number, no limit is taken to lie at so many times that number

export class Curve {
  // points: of a profile's curve; budgets ascend, "max" is no limit and last.
  constructor(points) {
    const numbers = points.map(({ budget }) => budget).filter(Number.isFinite);
    const longest = Math.ceil(points.at(-1).mean_thinking_tokens);
    const unlimited = BEYOND * Math.max(...numbers, longest, 1);
    this.points = points.map((point) => ({
      budget: point.budget === "max" ? null : point.budget,
      place: point.budget === "max" ? unlimited : point.budget,
      measured: point.accuracy,
      accuracy: point.fitted,
      low: point.low,
      high: point.high,
      tokens: point.mean_thinking_tokens,
    }));
  }

  // {accuracy, low, high, tokens} to expect at a budget (null: no limit), linear between measured budgets;
  // null below the first of them.
  at(budget) {
    const last = this.points.at(-1);
    if (!known(budget) || budget >= last.place) return last;
    const after = this.points.findIndex((point) => point.place >= budget);
    if (after === 0) return this.points[0].place === budget ? this.points[0] : null;
    const [a, b] = [this.points[after - 1], this.points[after]];
    const share = (budget - a.place) / (b.place - a.place);
    const between = (name) => a[name] + (b[name] - a[name]) * share;
    return {
      accuracy: between("accuracy"),
      low: between("low"),
      high: between("high"),
      tokens: Math.min(budget, between("tokens")),
    };
  }

  // Smallest and largest number of tokens that a dial under this curve should show.
  get span() {
    const positive = this.points.map(({ budget }) => budget).filter((budget) => budget > 0);
    const first = positive.length ? Math.min(...positive) : 8;
    return [Math.max(1, Math.floor(first / 2)), Math.max(this.points.at(-1).place, 4 * first)];
  }
}

// The curves of a profile and their levels, by the name of their family, "" for all problems.
export function curvesOf(profile) {
  const all = [["", profile], ...Object.entries(profile.families ?? {})];
  return new Map(
    all.map(([name, part]) => {
      const levels = Object.entries(part.recommended).map(([level, { budget }]) => [
        level,
        budget === "max" ? null : budget,
      ]);
      return [name, { curve: new Curve(part.curve), levels }];
    }),
  );
}
