// Figures of what the model knows about its own answers: reliability diagrams and entropy.

const SOURCES = {
  answer_probability: "probability of the answer's tokens",
  vote_share: "share of the votes",
  stated_confidence: "stated confidence",
};

function calibrationFigure(host, data) {
  const rows = data.points.filter((point) =>
    Object.values(point.calibration ?? {}).some((found) => found?.n),
  );
  const place = el("div", { class: "reliabilities" });
  const draw = (budget) => {
    const found = rows.find((row) => String(row.budget) === budget).calibration;
    const diagrams = Object.keys(SOURCES).filter((source) => found[source]?.n);
    place.replaceChildren(...diagrams.map((source) => reliability(SOURCES[source], found[source], budget)));
  };
  const last = String(rows.at(-1).budget);
  host.append(
    select(
      "thinking budget",
      rows.map((row) => [row.budget, budgetWords(row.budget)]),
      last,
      draw,
    ),
    place,
  );
  draw(last);
}

function reliability(name, found, budget) {
  const numbers = [
    ["replies", whole(found.n)],
    ["ECE", decimal(found.ece), `noise floor ${decimal(found.noise_floor)}`],
    ["ECE, equal mass", decimal(found.ece_mass), `noise floor ${decimal(found.noise_floor_mass)}`],
    [
      "Brier",
      decimal(found.brier),
      `reliability ${decimal(found.reliability)}, resolution ${decimal(found.resolution)}`,
    ],
    [
      "AUROC",
      decimal(found.auroc),
      known(found.auroc_low) ? `95 %: ${decimal(found.auroc_low)} to ${decimal(found.auroc_high)}` : null,
    ],
    [
      "temperature",
      decimal(found.temperature, 2),
      known(found.ece_tempered) ? `ECE after it ${decimal(found.ece_tempered)}` : null,
    ],
  ].filter(([, value]) => value !== "–");
  const list = numbers.map(([term, value, more]) => [
    el("dt", {}, term),
    el("dd", {}, el("strong", {}, value), more ? el("span", {}, more) : null),
  ]);
  const picture = reliabilityPicture(name, found, budget);
  return el(
    "figure",
    { class: "chart reliability" },
    el("h3", {}, name),
    picture,
    el("figcaption", {}, el("dl", {}, ...list)),
  );
}

function reliabilityPicture(name, found, budget) {
  const [size, left, top, room] = [300, 44, 8, 236];
  const x = linear([0, 1], [left, left + room]);
  const y = linear([0, 1], [top + room, top]);
  const id = newName("chart");
  const root = svg("svg", {
    class: "plot fixed",
    viewBox: `0 0 ${size} 372`,
    role: "img",
    "aria-labelledby": `${id}-title ${id}-desc`,
  });
  const bins = found.bins.filter((bin) => bin.n);
  const words = bins
    .map(
      (bin) =>
        `${whole(bin.n)} replies of confidence ${percent(bin.confidence)}: ${percent(bin.accuracy)} right`,
    )
    .join("; ");
  root.append(
    svg("title", { id: `${id}-title` }, `Reliability of the ${name} at ${budgetName(budget)}`),
    svg("desc", { id: `${id}-desc` }, words),
  );
  const group = svg("g", { class: "axes", "font-size": 12 });
  for (const tick of [0, 0.5, 1]) {
    group.append(svg("path", { class: "grid", d: `M${x(0)} ${y(tick)}H${x(1)}M${x(tick)} ${y(0)}V${y(1)}` }));
    group.append(svg("text", { x: left - 6, y: y(tick), dy: "0.32em", "text-anchor": "end" }, 100 * tick));
    group.append(svg("text", { x: x(tick), y: 350, dy: "-0.4em", "text-anchor": "middle" }, 100 * tick));
  }
  group.append(svg("text", { class: "title", x: x(0.5), y: 366, "text-anchor": "middle" }, "confidence, %"));
  group.append(
    svg(
      "text",
      { class: "title", x: -y(0.5), y: 12, transform: "rotate(-90)", "text-anchor": "middle" },
      "right, %",
    ),
  );
  root.append(group, svg("path", { class: "line diagonal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` }));
  const most = Math.max(...bins.map((bin) => bin.n));
  for (const bin of bins) {
    const at = x(bin.confidence);
    if (known(bin.accuracy_low))
      root.append(
        svg("path", { class: "whisker all", d: `M${at} ${y(bin.accuracy_low)}V${y(bin.accuracy_high)}` }),
      );
    root.append(
      svg("circle", {
        class: "mark all solid",
        cx: at,
        cy: y(bin.accuracy),
        r: 2.5 + 4 * Math.sqrt(bin.n / most),
      }),
    );
    // How many replies lie in the bin: a histogram under the diagram.
    const height = Math.max(1, (64 * bin.n) / most);
    const [from, to] = [x(bin.low), x(bin.high)];
    root.append(
      svg(
        "rect",
        {
          class: "part off",
          x: Math.min(from, to) + 1,
          y: 330 - height,
          width: Math.max(1, Math.abs(to - from) - 2),
          height,
        },
        svg("title", {}, `${whole(bin.n)} replies`),
      ),
    );
  }
  root.append(svg("path", { class: "base", d: `M${x(0)} 330H${x(1)}` }));
  return root;
}

function calibrationCurveFigure(host, data) {
  const looks = { answer_probability: "all", vote_share: "maj", stated_confidence: "pass" };
  const column = (source, name) => data.points.map((point) => point.calibration?.[source]?.[name]);
  const both = some(
    Object.entries(SOURCES).flatMap(([source, name]) => [
      { name, look: looks[source], values: column(source, "ece") },
      { name: "its noise floor", look: `floor ${looks[source]}`, values: column(source, "noise_floor") },
    ]),
  );
  const top = Math.max(...both.flatMap((one) => one.values.filter(known)), 0.05);
  lineChart(host, {
    title: "Calibration error against thinking budget",
    description:
      "Expected calibration error of each confidence, and dotted what perfectly calibrated replies of this number would show.",
    height: 240,
    x: askedAxis(data),
    y: { title: "ECE", domain: [0, top * 1.05], write: (value) => decimal(value) },
    names: data.points.map((point) => `at ${budgetWords(point.budget)}`),
    series: both,
  });
}

// Token entropy from the first to the last tenth of the traces that ended by themselves.
function entropyAlongFigure(host, data) {
  const rows = data.entropy_along;
  const column = (name) => rows.map((row) => row[name]);
  lineChart(host, {
    title: "Token entropy along the trace",
    description: "Mean entropy of the tokens in each tenth of the thinking, in nats.",
    height: 200,
    x: {
      title: "share of the thinking done, %",
      at: rows.map((row) => (row.from + row.to) / 2),
      ticks: [0, 0.2, 0.4, 0.6, 0.8, 1].map((at) => [at, String(Math.round(100 * at))]),
    },
    y: {
      title: "nats a token",
      domain: [0, Math.max(...column("token"), 0.1) * 1.1],
      write: (value) => decimal(value, 3),
    },
    names: rows.map(
      (row) =>
        `from ${Math.round(100 * row.from)} to ${Math.round(100 * row.to)} % of the thinking (${whole(row.tokens)} tokens)`,
    ),
    series: [{ name: "mean token entropy", look: "along", values: column("token") }],
  });
}

function entropyFigure(host, data) {
  const column = (name) => data.points.map((point) => point.entropy?.[name]);
  const series = some([
    {
      name: "answers",
      look: "all",
      values: column("answer"),
      low: column("answer_low"),
      high: column("answer_high"),
    },
    { name: "tokens", look: "maj", values: column("token") },
  ]);
  const top = Math.max(...series.flatMap((one) => [...one.values, ...(one.high ?? [])].filter(known)), 0.1);
  lineChart(host, {
    title: "Entropy against thinking budget",
    description:
      "Entropy of the answers to a problem with its 95 % band, and mean entropy of the tokens, in nats.",
    height: 260,
    x: askedAxis(data),
    y: { title: "entropy, nats", domain: [0, top * 1.05], write: (value) => decimal(value, 2) },
    names: data.points.map((point) => `at ${budgetWords(point.budget)}`),
    series,
  });
}
