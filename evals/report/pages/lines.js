// The drawing of a line chart: axes, bands, lines, marks, and a cursor that pointer and keys move.

const MARKS = { all: "circle", along: "circle", cut: "square", off: "diamond" };

function swatch(look) {
  const mark = markShape(look, 13, 6, 3.5);
  return svg(
    "svg",
    { class: "swatch", viewBox: "0 0 26 12", "aria-hidden": "true" },
    svg("path", { class: `line ${look}`, d: "M1 6H25" }),
    mark,
  );
}

function markShape(look, x, y, r) {
  const shape = MARKS[look];
  if (!shape) return null;
  if (shape === "circle") return svg("circle", { class: `mark ${look}`, cx: x, cy: y, r });
  const d =
    shape === "square"
      ? `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`
      : `M${x} ${y - r - 1}l${r + 1} ${r + 1}l${-r - 1} ${r + 1}l${-r - 1} ${-r - 1}z`;
  return svg("path", { class: `mark ${look}`, d });
}

function drawLines(spec, width, choose) {
  const height = spec.height ?? (spec.small ? 130 : Math.max(240, Math.min(380, width * 0.46)));
  const margin = spec.small
    ? { top: 8, right: 10, bottom: 22, left: 34 }
    : { top: 10, right: 18, bottom: 44, left: 52 };
  const size = spec.small ? 10 : 12;
  margin.right = Math.max(margin.right, spec.x.ticks.at(-1)[1].length * size * 0.3 + 2);
  const places = spec.x.at;
  const all = [...places.filter(known), ...spec.x.ticks.map(([at]) => at)];
  const x = linear(
    [Math.min(...all), Math.max(...all)],
    [margin.left + (spec.small ? 4 : 14), width - margin.right],
  );
  const y = linear(spec.y.domain, [height - margin.bottom, margin.top]);
  const root = plot(spec.title, spec.description, width, height);
  root.append(axes(spec, x, y, width, height, margin, size));
  const cursor = svg("path", { class: "cursor" });
  root.append(cursor);
  for (const series of spec.series) {
    root.append(band(series, "outer", series.outerLow, series.outerHigh));
    if (!series.whiskers) root.append(band(series, "inner", series.low, series.high));
  }
  for (const series of spec.series) root.append(line(series));
  if (spec.diagonal)
    root.append(
      svg("path", {
        class: "line diagonal",
        d: `M${x(spec.diagonal[0])} ${y(spec.diagonal[0])}L${x(spec.diagonal[1])} ${y(spec.diagonal[1])}`,
      }),
    );

  function placesWith(values) {
    return places.map((_, i) => i).filter((i) => known(values?.[i]) && known(places[i]));
  }

  function band(series, kind, low, high) {
    const there = placesWith(low);
    const up = there.map((i) => `${x(places[i])} ${y(high[i])}`);
    const down = there.toReversed().map((i) => `${x(places[i])} ${y(low[i])}`);
    const d = there.length > 1 ? `M${[...up, ...down].join("L")}Z` : "";
    return svg("path", { class: `band ${kind} ${series.look}`, d });
  }

  function line(series) {
    const there = placesWith(series.values);
    const group = svg("g", {});
    const path = there.map((i) => `${x(places[i])} ${y(series.values[i])}`).join("L");
    if (there.length > 1) group.append(svg("path", { class: `line ${series.look}`, d: `M${path}` }));
    for (const i of there) {
      if (series.whiskers && known(series.low[i])) {
        const at = x(places[i]);
        const [low, high] = [y(series.low[i]), y(series.high[i])];
        group.append(
          svg("path", {
            class: `whisker ${series.look}`,
            d: `M${at} ${low}V${high}M${at - 3} ${low}h6M${at - 3} ${high}h6`,
          }),
        );
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
    group.append(
      svg("path", {
        class: tick === 0 && spec.y.domain[0] < 0 ? "zero" : "grid",
        d: `M${margin.left} ${y(tick)}H${width - margin.right}`,
      }),
    );
    group.append(
      svg(
        "text",
        { x: margin.left - 7, y: y(tick), dy: "0.32em", "text-anchor": "end" },
        spec.y.tick ? spec.y.tick(tick) : short(tick),
      ),
    );
  }
  group.append(svg("path", { class: "base", d: `M${margin.left} ${bottom}H${width - margin.right}` }));
  for (const [at] of spec.x.ticks) group.append(svg("path", { class: "base", d: `M${x(at)} ${bottom}v4` }));
  for (const [at, label] of roomFor(spec.x.ticks, x, size)) {
    group.append(svg("text", { x: x(at), y: bottom + 8, dy: "0.72em", "text-anchor": "middle" }, label));
  }
  if (!spec.small) {
    const middle = (margin.left + width - margin.right) / 2;
    group.append(
      svg("text", { class: "title", x: middle, y: height - 6, "text-anchor": "middle" }, spec.x.title),
    );
    const centre = (margin.top + bottom) / 2;
    group.append(
      svg(
        "text",
        { class: "title", x: -centre, y: 12, transform: "rotate(-90)", "text-anchor": "middle" },
        spec.y.title,
      ),
    );
  }
  return group;
}
