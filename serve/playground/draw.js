// The picture under the dial: axis, measured curve with its interval, and the pointers.

import { svg } from "./dom.js";
import { budgetWords, count, percent } from "./words.js";

const SAMPLES = 160;
const RADIUS = 11;

// Sizes in CSS pixels; a dial without a curve is its axis only.
export function frameOf(width, curve) {
  const top = 30;
  const height = curve ? Math.max(190, Math.min(240, width * 0.3)) : 92;
  const [left, right] = [curve ? 62 : 22, width - 32];
  const base = height - 34;
  return {
    width,
    height,
    left,
    right,
    top,
    base,
    x: (place) => left + place * (right - left),
    y: (share) => base - share * (base - top),
    placeAt: (x) => (x - left) / (right - left),
  };
}

const line = (points) => points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");

export function drawAxes(frame, scale, curve) {
  const group = svg("g", { class: "axes" });
  if (curve)
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      const y = frame.y(share);
      group.append(
        svg("path", { class: share ? "grid" : "base", d: `M${frame.left} ${y}H${frame.right}` }),
        svg("text", { x: frame.left - 20, y, dy: "0.32em", "text-anchor": "end" }, percent(share, 0)),
      );
    }
  else group.append(svg("path", { class: "base", d: `M${frame.left} ${frame.base}H${frame.right}` }));
  const room = Math.floor((frame.right - frame.left) / 58);
  const ticks = [[0, "off"], ...scale.ticks(room).map((n) => [n, count(n)]), [null, "no limit"]];
  for (const [budget, label] of ticks) {
    const x = frame.x(scale.place(budget));
    group.append(
      svg("path", { class: "base", d: `M${x} ${frame.base}v5` }),
      svg("text", { x, y: frame.base + 27, "text-anchor": "middle" }, label),
    );
  }
  return group;
}

// Sampled, so that the line is what the reading beside it says, on any scale.
export function drawCurve(frame, scale, curve) {
  const at = (place, budget) => ({ x: frame.x(place), it: curve.at(budget) });
  const inner = Array.from({ length: SAMPLES + 1 }, (_, i) => {
    const budget = scale.low * (scale.high / scale.low) ** (i / SAMPLES);
    return at(scale.place(budget), budget);
  });
  for (const { budget } of curve.points)
    if (budget >= scale.low && budget <= scale.high) inner.push(at(scale.place(budget), budget));
  const all = [at(0, 0), ...inner.sort((a, b) => a.x - b.x), at(1, null)].filter(({ it }) => it);
  const [from, to] = [scale.low, scale.high].map((budget) => frame.x(scale.place(budget)));
  const on = all.filter(({ x }) => x >= from && x <= to);
  const band = [
    ...all.map(({ x, it }) => [x, frame.y(it.high)]),
    ...all.toReversed().map(({ x, it }) => [x, frame.y(it.low)]),
  ];
  const path = (...points) => `M${line(points.map(({ x, it }) => [x, frame.y(it.accuracy)]))}`;
  return svg(
    "g",
    { class: "curve" },
    svg("path", { class: "band", d: `M${line(band)}Z` }),
    svg("path", { class: "line jump", d: path(...all) }),
    svg("path", { class: "line", d: on.length ? path(...on) : "" }),
    curve.points.map(({ budget, measured }) =>
      svg("circle", {
        class: "measured",
        cx: frame.x(scale.place(budget)),
        cy: frame.y(measured),
        r: 2.8,
      }),
    ),
  );
}

// pointer: {letter, budget}; active: the one whose reading stands in the picture.
export function drawPointer(frame, scale, curve, pointer, { active, focused }) {
  const x = frame.x(scale.place(pointer.budget));
  const expected = curve?.at(pointer.budget);
  const top = expected ? frame.y(expected.accuracy) : curve ? frame.top : frame.base;
  const group = svg("g", { class: `pointer${active ? " active" : ""}${focused ? " focused" : ""}` });
  group.append(svg("path", { class: "stem", d: `M${x} ${top}V${frame.base}` }));
  if (expected) group.append(svg("circle", { class: "spot", cx: x, cy: top, r: 4.5 }));
  if (focused) group.append(svg("circle", { class: "ring", cx: x, cy: frame.base, r: RADIUS + 4 }));
  group.append(
    svg("circle", { class: "knob", cx: x, cy: frame.base, r: RADIUS }),
    svg("text", { class: "letter", x, y: frame.base, dy: "0.35em", "text-anchor": "middle" }, pointer.letter),
  );
  if (active) group.append(reading(frame, x, expected ? top : frame.base - RADIUS, pointer.budget, expected));
  return group;
}

function reading(frame, x, y, budget, expected) {
  const words = expected ? `${percent(expected.accuracy)} at ${budgetWords(budget)}` : budgetWords(budget);
  const half = words.length * 3.9;
  const middle = Math.min(frame.right - half + 24, Math.max(frame.left + half, x));
  return svg("text", { class: "reading", x: middle, y: Math.max(14, y - 13), "text-anchor": "middle" }, words);
}
