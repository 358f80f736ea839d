// Stacked bars of shares, one bar a budget, with the same legend and keys as the line chart.
//
// spec: { title, description, names, labels, xTitle, parts: [{name, look, values}] }

function stackedBars(host, spec) {
  let chosen = spec.names.length - 1;
  const canvas = el("div", { class: "canvas" });
  const reading = el("output", { class: "reading" });
  const legend = el("div", { class: "legend" });
  host.append(el("figure", { class: "chart" }, canvas, el("figcaption", {}, reading, legend)));
  let bars = [];

  function choose(index) {
    chosen = Math.max(0, Math.min(spec.names.length - 1, index));
    bars.forEach((bar, i) => bar.classList.toggle("chosen", i === chosen));
    reading.textContent = spec.names[chosen];
    const entries = spec.parts.map((part) => {
      const box = svg(
        "svg",
        { class: "swatch", viewBox: "0 0 26 12", "aria-hidden": "true" },
        svg("rect", { class: `part ${part.look}`, width: 26, height: 12 }),
      );
      return el(
        "span",
        { class: "entry" },
        box,
        el("span", { class: "name" }, part.name),
        el("span", { class: "value" }, percent(part.values[chosen])),
      );
    });
    legend.replaceChildren(...entries);
  }

  choose(chosen);
  whenWide(canvas, (width) => {
    const picture = drawBars(spec, width);
    bars = picture.bars;
    bars.forEach((bar, i) => {
      bar.addEventListener("pointermove", () => choose(i));
      bar.addEventListener("pointerdown", () => choose(i));
    });
    picture.node.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: chosen - 1, ArrowRight: chosen + 1, Home: 0, End: bars.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(to);
    });
    canvas.replaceChildren(picture.node);
    choose(chosen);
  });
}

function drawBars(spec, width) {
  const height = 220;
  const margin = { top: 8, right: 18, bottom: 44, left: 52 };
  const bottom = height - margin.bottom;
  const y = linear([0, 1], [bottom, margin.top]);
  const step = (width - margin.left - margin.right) / spec.labels.length;
  const thick = Math.min(44, step * 0.72);
  const middle = (i) => margin.left + step * (i + 0.5);
  const root = plot(spec.title, spec.description, width, height);
  const group = svg("g", { class: "axes", "font-size": 12 });
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    group.append(svg("path", { class: "grid", d: `M${margin.left} ${y(tick)}H${width - margin.right}` }));
    group.append(
      svg("text", { x: margin.left - 7, y: y(tick), dy: "0.32em", "text-anchor": "end" }, `${100 * tick}`),
    );
  }
  for (const [i, label] of roomFor(
    spec.labels.map((label, i) => [i, label]),
    middle,
    12,
  )) {
    group.append(svg("text", { x: middle(i), y: bottom + 8, dy: "0.72em", "text-anchor": "middle" }, label));
  }
  group.append(
    svg(
      "text",
      { class: "title", x: (margin.left + width - margin.right) / 2, y: height - 6, "text-anchor": "middle" },
      spec.xTitle,
    ),
  );
  const centre = (margin.top + bottom) / 2;
  group.append(
    svg(
      "text",
      { class: "title", x: -centre, y: 12, transform: "rotate(-90)", "text-anchor": "middle" },
      "replies, %",
    ),
  );
  root.append(group);
  const bars = spec.labels.map((_, i) => {
    const bar = svg("g", { class: "bar" });
    bar.append(
      svg("rect", {
        class: "room",
        x: middle(i) - step / 2,
        y: margin.top,
        width: step,
        height: bottom - margin.top,
      }),
    );
    let from = 0;
    for (const part of spec.parts) {
      const share = part.values[i] ?? 0;
      if (share > 0) {
        bar.append(
          svg("rect", {
            class: `part ${part.look}`,
            x: middle(i) - thick / 2,
            y: y(from + share),
            width: thick,
            height: y(from) - y(from + share),
          }),
        );
        from += share;
      }
    }
    root.append(bar);
    return bar;
  });
  return { node: root, bars };
}
