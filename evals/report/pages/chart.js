// A line chart: axes, bands, lines, a legend that reads out the values at the chosen place, and keys to move it.
//
// spec: { title, description, x: {title, at, ticks}, y: {title, domain, ticks?, write},
//         names: a word for each place, series: [{name, look, values, low, high, outerLow, outerHigh, whiskers}],
//         height, small, diagonal }
// look: the class that gives a series its colour, mark and dash.

function lineChart(host, spec) {
  const hidden = new Set();
  let chosen = spec.names.length - 1;
  const canvas = el("div", { class: "canvas" });
  const reading = el("output", { class: "reading" });
  const legend = el("div", { class: spec.small ? "legend small" : "legend" });
  const caption = el("figcaption", {}, reading, legend);
  host.append(el("figure", { class: spec.small ? "chart small" : "chart" }, canvas, caption));
  let width = 0;
  let moveCursor = () => {};

  function draw() {
    const picture = drawLines(
      { ...spec, series: spec.series.filter((_, i) => !hidden.has(i)) },
      width,
      choose,
    );
    moveCursor = picture.moveCursor;
    canvas.replaceChildren(picture.node);
    moveCursor(chosen);
  }

  function choose(index) {
    const place = Math.max(0, Math.min(spec.names.length - 1, index));
    if (place === chosen) return;
    chosen = place;
    moveCursor(chosen);
    read();
  }

  function read() {
    reading.textContent = spec.names[chosen];
    legend.replaceChildren(...spec.series.map((series, i) => entry(series, i)));
  }

  function entry(series, i) {
    const value = series.values[chosen];
    const write = spec.y.write;
    const low = series.low?.[chosen];
    const text = known(value)
      ? write(value) + (known(low) ? ` [${write(low)}, ${write(series.high[chosen])}]` : "")
      : "–";
    const label = [
      swatch(series.look),
      el("span", { class: "name" }, series.name),
      el("span", { class: "value" }, text),
    ];
    if (spec.series.length === 1 || spec.small) return el("span", { class: "entry" }, label);
    const toggle = () => {
      if (!hidden.delete(i)) hidden.add(i);
      draw();
      read();
      legend.children[i].focus();
    };
    const title = `show or hide ${series.name}`;
    return el(
      "button",
      { class: "entry", type: "button", "aria-pressed": String(!hidden.has(i)), title, onclick: toggle },
      label,
    );
  }

  read();
  whenWide(canvas, (now) => {
    width = now;
    draw();
  });
}
