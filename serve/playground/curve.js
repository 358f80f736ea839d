// The measured curve of a thinking profile: what a budget buys, between the budgets that were measured.

import { known } from "./dom.js";

const numeric = (budget) => (budget === "max" || !known(budget) ? Infinity : budget);

export class Curve {
  // points: of a profile's curve, in any order.
  constructor(points) {
    this.points = points
      .map((point) => ({
        budget: numeric(point.budget),
        accuracy: point.accuracy,
        low: point.low,
        high: point.high,
        tokens: point.mean_thinking_tokens,
      }))
      .toSorted((a, b) => a.budget - b.budget);
  }

  // {accuracy, low, high, tokens} expected at a budget (null: no limit); null left of the first point.
  at(budget) {
    const wanted = numeric(budget);
    const after = this.points.findIndex((point) => point.budget >= wanted);
    if (after < 0) return this.points.at(-1);
    const b = this.points[after];
    if (b.budget === wanted) return b;
    if (after === 0) return null;
    const a = this.points[after - 1];
    return mix(a, b, (wanted - a.budget) / (b.budget - a.budget));
  }

  get numbers() {
    return this.points.map((point) => point.budget).filter((budget) => budget > 0 && budget < Infinity);
  }
}

function mix(a, b, share) {
  const between = (name) => a[name] + (b[name] - a[name]) * share;
  return {
    accuracy: between("accuracy"),
    low: between("low"),
    high: between("high"),
    tokens: between("tokens"),
  };
}

// The curves of a profile by the name of their family, "" for all problems; empty unless along tokens.
export function curvesOf(profile) {
  const curves = new Map();
  if (!profile || (profile.axis ?? "tokens") !== "tokens") return curves;
  curves.set("", new Curve(profile.curve));
  for (const [name, family] of Object.entries(profile.families ?? {}))
    curves.set(name, new Curve(family.curve ?? family));
  return curves;
}
