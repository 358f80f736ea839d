// A line chart: axes, bands, lines, a legend that reads out the values at the chosen place, and keys to move it.
//
// spec: { title, description, x: {title, at, ticks}, y: {title, domain, ticks?, write},
//         names: a word for each place, series: [{name, look, values, low, high, outerLow, outerHigh, whiskers}],
//         height, small, choose }
// look: the class that gives a series its colour, mark and dash.

const MARKS = { all: "circle", cut: "square", off: "diamond" };

function lineChart(host, spec) {
  const hidden = new Set();
  let chosen = spec.start ?? spec.names.length - 1;
  const canvas = el("div", { class: "canvas" });
  const reading = el("output", { class: "reading" });
  const legend = el("div", { class: spec.small ? "legend small" : "legend" });
  const caption = el("figcaption", {}, reading, legend);
  host.append(el("figure", { class: spec.small ? "chart small" : "chart" }, canvas, caption));
  let width = 0;
  let moveCursor = () => {};

  function draw() {
    const picture = drawLines({ ...spec, series: spec.series.filter((_, i) => !hidden.has(i)) }, width, choose);
    moveCursor = picture.moveCursor;
    canvas.replaceChildren(picture.node);
    moveCursor(chosen);
  }

  function choose(index, told = true) {
    chosen = Math.max(0, Math.min(spec.names.length - 1, index));
    moveCursor(chosen);
    read();
    if (told && spec.choose) spec.choose(chosen);
  }

  function read() {
    reading.textContent = spec.names[chosen];
    legend.replaceChildren(...spec.series.map((series, i) => entry(series, i)));
  }

  function entry(series, i) {
    const value = series.values[chosen];
    const write = series.write ?? spec.y.write;
    const low = series.low?.[chosen];
    const text = known(value) ? write(value) + (known(low) ? ` [${write(low)}, ${write(series.high[chosen])}]` : "") : "–";
    const label = [swatch(series.look), el("span", { class: "name" }, series.name), el("span", { class: "value" }, text)];
    if (spec.series.length === 1 || spec.small) return el("span", { class: "entry" }, label);
    const toggle = () => {
      hidden.has(i) ? hidden.delete(i) : hidden.add(i);
      draw();
      read();
      legend.children[i].focus();
    };
    const title = `show or hide ${series.name}`;
    return el("button", { class: "entry", type: "button", "aria-pressed": String(!hidden.has(i)), title, onclick: toggle }, label);
  }

  read();
  whenWide(canvas, (now) => {
    width = now;
    draw();
  });
  return { choose: (index) => choose(index, false) };
}

function swatch(look) {
  const mark = markShape(look, 13, 6, 3.5);
  return svg("svg", { class: "swatch", viewBox: "0 0 26 12", "aria-hidden": "true" }, svg("path", { class: `line ${look}`, d: "M1 6H25" }), mark);
}

function markShape(look, x, y, r) {
  const shape = MARKS[look];
  if (!shape) return null;
  if (shape === "circle") return svg("circle", { class: `mark ${look}`, cx: x, cy: y, r });
  const d = shape === "square" ? `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z` : `M${x} ${y - r - 1}l${r + 1} ${r + 1}l${-r - 1} ${r + 1}l${-r - 1} ${-r - 1}z`;
  return svg("path", { class: `mark ${look}`, d });
}

function drawLines(spec, width, choose) {
  const height = spec.height ?? (spec.small ? 130 : Math.max(240, Math.min(380, width * 0.46)));
  const margin = spec.small ? { top: 8, right: 10, bottom: 22, left: 34 } : { top: 10, right: 18, bottom: 44, left: 52 };
  const size = spec.small ? 10 : 12;
  margin.right = Math.max(margin.right, spec.x.ticks.at(-1)[1].length * size * 0.3 + 2);
  const places = spec.x.at;
  const all = [...places.filter(known), ...spec.x.ticks.map(([at]) => at)];
  const x = linear([Math.min(...all), Math.max(...all)], [margin.left + (spec.small ? 4 : 14), width - margin.right]);
  const y = linear(spec.y.domain, [height - margin.bottom, margin.top]);
  const id = `chart-${(choices += 1)}`;
  const root = svg("svg", {
    class: "plot", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", tabindex: "0",
    "aria-labelledby": `${id}-title ${id}-desc`,
  });
  root.append(svg("title", { id: `${id}-title` }, spec.title), svg("desc", { id: `${id}-desc` }, spec.description));
  root.append(axes(spec, x, y, width, height, margin, size));
  const cursor = svg("path", { class: "cursor" });
  root.append(cursor);
  for (const series of spec.series) root.append(band(series.outerLow, series.outerHigh, "outer"), band(series.low, series.high, "inner"));
  for (const series of spec.series) root.append(line(series));
  if (spec.diagonal) root.append(svg("path", { class: "line diagonal", d: `M${x(spec.diagonal[0])} ${y(spec.diagonal[0])}L${x(spec.diagonal[1])} ${y(spec.diagonal[1])}` }));

  function band(low, high, kind) {
    const series = spec.series.find((one) => one.low === low || one.outerLow === low);
    if (!low || series.whiskers) return svg("g");
    const there = places.map((_, i) => i).filter((i) => known(low[i]) && known(places[i]));
    if (there.length < 2) return svg("g");
    const up = there.map((i) => `${x(places[i])} ${y(high[i])}`);
    const down = there.reverse().map((i) => `${x(places[i])} ${y(low[i])}`);
    return svg("path", { class: `band ${kind} ${series.look}`, d: `M${[...up, ...down].join("L")}Z` });
  }

  function line(series) {
    const there = places.map((_, i) => i).filter((i) => known(series.values[i]) && known(places[i]));
    const group = svg("g", {});
    const path = there.map((i) => `${x(places[i])} ${y(series.values[i])}`).join("L");
    if (there.length > 1) group.append(svg("path", { class: `line ${series.look}`, d: `M${path}` }));
    for (const i of there) {
      if (series.whiskers && known(series.low[i])) {
        const at = x(places[i]);
        const [low, high] = [y(series.low[i]), y(series.high[i])];
        group.append(svg("path", { class: `whisker ${series.look}`, d: `M${at} ${low}V${high}M${at - 3} ${low}h6M${at - 3} ${high}h6` }));
      }
      const mark = markShape(series.look, x(places[i]), y(series.values[i]), spec.small ? 2.2 : 3.4);
      if (mark) group.append(mark);
    }
    return group;
  }

  function nearest(event) {
    const box = root.getBoundingClientRect();
    const at = ((event.clientX - box.left) * width) / box.width;
    const distance = (i) => (known(places[i]) ? Math.abs(x(places[i]) - at) : Infinity);
    return places.reduce((best, _, i) => (distance(i) < distance(best) ? i : best), 0);
  }

  let chosen = 0;
  root.addEventListener("pointermove", (event) => choose(nearest(event)));
  root.addEventListener("pointerdown", (event) => choose(nearest(event)));
  root.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, Home: 0, End: places.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
  });
  const moveCursor = (index) => {
    chosen = index;
    const at = known(places[index]) ? x(places[index]) : -10;
    cursor.setAttribute("d", `M${at} ${margin.top}V${height - margin.bottom}`);
  };
  return { node: root, moveCursor };
}

function axes(spec, x, y, width, height, margin, size) {
  const group = svg("g", { class: "axes", "font-size": size });
  const bottom = height - margin.bottom;
  for (const tick of spec.y.ticks ?? niceTicks(...spec.y.domain, spec.small ? 2 : 5)) {
    group.append(svg("path", { class: tick === 0 && spec.y.domain[0] < 0 ? "zero" : "grid", d: `M${margin.left} ${y(tick)}H${width - margin.right}` }));
    group.append(svg("text", { x: margin.left - 7, y: y(tick), dy: "0.32em", "text-anchor": "end" }, spec.y.tick ? spec.y.tick(tick) : short(tick)));
  }
  group.append(svg("path", { class: "base", d: `M${margin.left} ${bottom}H${width - margin.right}` }));
  for (const [at] of spec.x.ticks) group.append(svg("path", { class: "base", d: `M${x(at)} ${bottom}v4` }));
  for (const [at, label] of roomFor(spec.x.ticks, x, size)) {
    group.append(svg("text", { x: x(at), y: bottom + 8, dy: "0.72em", "text-anchor": "middle" }, label));
  }
  if (!spec.small) {
    const middle = (margin.left + width - margin.right) / 2;
    group.append(svg("text", { class: "title", x: middle, y: height - 6, "text-anchor": "middle" }, spec.x.title));
    const centre = (margin.top + bottom) / 2;
    group.append(svg("text", { class: "title", x: -centre, y: 12, transform: "rotate(-90)", "text-anchor": "middle" }, spec.y.title));
  }
  return group;
}
