// Where budgets lie on the dial: off, then thinking tokens on a logarithmic scale, then no limit.

const GAP = 0.07;
const STOPS = 64;

export class BudgetScale {
  // Logarithmic from `low` to `high` tokens.
  constructor(low, high) {
    this.low = low;
    this.high = high;
    const between = Array.from({ length: STOPS + 1 }, (_, i) => this.#tokens(i / STOPS));
    this.stops = [0, ...new Set(between), null];
  }

  // From 0 to 1; budgets outside the scale lie at its ends.
  place(budget) {
    if (budget === 0) return 0;
    if (budget === null || budget === Infinity) return 1;
    const share = Math.log(budget / this.low) / Math.log(this.high / this.low);
    return GAP + (1 - 2 * GAP) * Math.min(1, Math.max(0, share));
  }

  budgetAt(place) {
    if (place < GAP / 2) return 0;
    if (place > 1 - GAP / 2) return null;
    return this.#tokens(Math.min(1, Math.max(0, (place - GAP) / (1 - 2 * GAP))));
  }

  // The stop `steps` after a budget, or before it.
  step(budget, steps) {
    const size = (it) => (it === null ? Infinity : it);
    let index = this.stops.findIndex((stop) => size(stop) >= size(budget));
    if (steps > 0 && size(this.stops[index]) > size(budget)) index -= 1;
    return this.stops[Math.min(this.stops.length - 1, Math.max(0, index + steps))];
  }

  // Powers of two, at most about `count` of them.
  ticks(count) {
    const [first, last] = [Math.ceil(Math.log2(this.low)), Math.floor(Math.log2(this.high))];
    const every = Math.max(1, Math.ceil((last - first + 1) / count));
    const ticks = [];
    for (let power = first; power <= last; power += every) ticks.push(2 ** power);
    return ticks;
  }

  #tokens(share) {
    return Math.round(this.low * (this.high / this.low) ** share);
  }
}
