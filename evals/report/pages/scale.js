// Where values lie on an axis, and which ticks it has.

function linear([from, to], [start, end]) {
  const unit = to === from ? 0 : (end - start) / (to - from);
  return (value) => start + (value - from) * unit;
}

// Round ticks: 1, 2 or 5 times a power of ten apart, about `count` of them.
function niceTicks(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1)
    ticks.push(+(i * step).toPrecision(12));
  return ticks;
}

// The axis of budgets as they were asked: places come from the summary, one label a budget.
function askedAxis(data) {
  return {
    title:
      data.axis === "tokens"
        ? "thinking budget, tokens"
        : { share: "thinking kept, share of its natural length", effort: "effort asked" }[data.axis] ?? "thinking",
    at: data.places,
    ticks: data.points.map((point, i) => [data.places[i], budgetName(point.budget)]),
  };
}

// The axis of thinking tokens used on average: logarithmic where they span a decade, 0 one step before.
function usedAxis(data) {
  const used = data.points.map((point) => point.mean_thinking_tokens);
  const positive = used.filter((value) => value > 0);
  const logarithmic = positive.length > 1 && Math.max(...positive) / Math.min(...positive) > 10;
  if (!logarithmic) {
    const ticks = niceTicks(0, Math.max(...positive, 1), 6);
    return { title: "mean thinking tokens used", at: used, ticks: ticks.map((tick) => [tick, short(tick)]) };
  }
  const low = Math.floor(Math.log2(Math.min(...positive)));
  const high = Math.log2(Math.max(...positive));
  const place = (value) => (value > 0 ? Math.log2(value) : low - 1);
  const ticks = used.includes(0) ? [[low - 1, "0"]] : [];
  for (let power = low; power <= high; power += 1) ticks.push([power, short(2 ** power)]);
  return {
    title: "mean thinking tokens used, log scale",
    at: used.map((value) => (known(value) ? place(value) : null)),
    ticks,
  };
}

// Ticks whose labels do not touch: the first and the last, and what fits between.
function roomFor(ticks, place, size) {
  const width = (label) => label.length * size * 0.58 + 10;
  const kept = [];
  let free = -Infinity;
  const last = ticks.at(-1);
  for (const tick of ticks) {
    const [at, label] = tick;
    const start = place(at) - width(label) / 2;
    const end = start + width(label);
    const beforeLast = tick === last || end <= place(last[0]) - width(last[1]) / 2;
    if (start >= free && beforeLast) {
      kept.push(tick);
      free = end;
    }
  }
  return kept;
}
