// The figures of a report, by the name in their element's `data-figure`.

const inPercent = { write: percent, tick: (value) => `${Math.round(100 * value)}`, domain: [0, 1] };

function accuracyAxis(title = "accuracy, %") {
  return { title, ...inPercent };
}

function allReplies(rows) {
  const column = (name) => rows.map((row) => row[name]);
  const series = {
    name: "all replies",
    look: "all",
    values: column("accuracy"),
    low: column("low"),
    high: column("high"),
  };
  return { ...series, outerLow: column("band_low"), outerHigh: column("band_high") };
}

function some(series) {
  return series.filter((one) => one.values.some(known));
}

function curveFigure(host, data) {
  const rows = data.points;
  const cut = (name) => rows.map((row) => (row.cut.n ? row.cut[name] : null));
  const series = some([
    allReplies(rows),
    {
      name: "cut replies",
      look: "cut",
      values: cut("accuracy"),
      low: cut("low"),
      high: cut("high"),
      whiskers: true,
    },
    { name: "thinking off, same problems", look: "off", values: cut("no_think_accuracy") },
    { name: "chance", look: "chance", values: rows.map((row) => row.chance) },
  ]);
  const place = el("div");
  const draw = (axis) => {
    place.replaceChildren();
    lineChart(place, {
      title: "Accuracy against thinking budget",
      description:
        "The line is the accuracy of all replies; the dark band holds each point, the light band the whole curve, at 95 %. The numbers are in the tables below.",
      x: axis === "asked" ? askedAxis(data) : usedAxis(data),
      y: accuracyAxis(),
      names: rows.map(
        (row) =>
          `at ${budgetWords(row.budget)} (${whole(row.mean_thinking_tokens)} used, ${whole(row.n)} replies)`,
      ),
      series,
    });
  };
  if (rows.some((row) => row.mean_thinking_tokens > 0)) {
    host.append(
      choice(
        "x axis",
        [
          ["asked", "budget asked"],
          ["used", "tokens used"],
        ],
        "asked",
        draw,
      ),
    );
  }
  host.append(place);
  draw("asked");
}

function endingFigure(host, data) {
  const share = (name) => data.points.map((point) => point.shares[name]);
  const forced = data.points.map((point) =>
    known(point.shares.forced) ? point.shares.forced - (point.shares.escaped ?? 0) : null,
  );
  const parts = [
    { name: "thinking off", look: "off", values: share("off") },
    { name: "natural", look: "natural", values: share("natural") },
    { name: "forced", look: "forced", values: forced },
    { name: "forced, escaped", look: "escaped", values: share("escaped") },
    { name: "censored", look: "censored", values: share("censored") },
    { name: "unknown", look: "unknown", values: share("unknown") },
  ];
  stackedBars(host, {
    title: "How thinking ended, by budget",
    description:
      "One bar a budget: the shares of replies whose thinking was off, ended by itself, was cut by the budget, or ran out of tokens.",
    names: data.points.map((point) => `at ${budgetWords(point.budget)}`),
    labels: data.points.map((point) => budgetName(point.budget)),
    xTitle: askedAxis(data).title,
    parts: parts.filter((part) => part.values.some((value) => value > 0)),
  });
}

function groupFigure(host, data) {
  const fields = ["level", "subject", "set"].filter(
    (field) => new Set(data[`by_${field}`].map((row) => row.group)).size > 1,
  );
  const grid = el("div", { class: "multiples" });
  const draw = (field) => {
    grid.replaceChildren();
    const groups = Map.groupBy(data[`by_${field}`], (row) => row.group);
    for (const [group, rows] of groups) groupCell(grid, data, field, group, rows);
  };
  if (fields.length > 1)
    host.append(
      choice(
        "groups",
        fields.map((field) => [field, `by ${field}`]),
        fields[0],
        draw,
      ),
    );
  host.append(grid);
  draw(fields[0]);
}

function groupCell(grid, data, field, group, rows) {
  const name = field === "level" ? `level ${group}` : String(group);
  const cell = el("div", { class: "multiple" }, el("h3", {}, name));
  grid.append(cell);
  const byBudget = new Map(rows.map((row) => [row.budget, row]));
  const ordered = data.points.map((point) => byBudget.get(point.budget) ?? {});
  const column = (key) => ordered.map((row) => row[key] ?? null);
  const cutColumn = ordered.map((row) => (row.cut_n ? row.cut_accuracy : null));
  lineChart(cell, {
    small: true,
    title: `Accuracy against thinking budget, ${name}`,
    description:
      "All replies with their 95 % band, cut replies, chance, and the curve of all groups in grey.",
    x: askedAxis(data),
    y: { ...accuracyAxis(), ticks: [0, 0.5, 1] },
    names: ordered.map((row, i) => `${budgetName(data.points[i].budget)}, n = ${whole(row.n)}`),
    series: some([
      { name: "all groups", look: "whole", values: data.points.map((point) => point.accuracy) },
      {
        name: "all replies",
        look: "all",
        values: column("accuracy"),
        low: column("low"),
        high: column("high"),
      },
      { name: "cut", look: "cut", values: cutColumn },
      { name: "chance", look: "chance", values: column("chance") },
    ]),
  });
}

function controlFigure(host, data) {
  const rows = data.points.filter(
    (point) => point.control && typeof point.budget === "number" && point.budget > 0,
  );
  const column = (name) => rows.map((row) => Math.max(row.control[name], 0.5));
  const asked = rows.map((row) => row.budget);
  const values = [...asked, ...column("mean_used"), ...column("max_used")].map(Math.log2);
  const domain = [Math.floor(Math.min(...values)), Math.ceil(Math.max(...values))];
  const ticks = Array.from({ length: domain[1] - domain[0] + 1 }, (_, i) => domain[0] + i);
  const log = (column) => column.map(Math.log2);
  const write = (value) => whole(2 ** value);
  const every = Math.ceil(ticks.length / 7);
  lineChart(host, {
    title: "Thinking tokens used against tokens asked",
    description:
      "Mean and largest use at each budget, on logarithmic axes; on the diagonal, all that was asked is used.",
    x: {
      title: "budget asked, tokens (log)",
      at: log(asked),
      ticks: ticks.map((tick) => [tick, short(2 ** tick)]),
    },
    y: {
      title: "used, tokens (log)",
      domain,
      ticks: ticks.filter((_, i) => i % every === 0),
      write,
      tick: (value) => short(2 ** value),
    },
    diagonal: domain,
    names: rows.map((row) => `of ${whole(row.budget)} tokens asked`),
    series: [
      { name: "mean used", look: "all", values: log(column("mean_used")) },
      { name: "most used", look: "off", values: log(column("max_used")) },
    ],
  });
}

function voteFigure(host, data) {
  const rows = data.points;
  const ks = [...new Set(rows.flatMap((row) => Object.keys({ ...row.pass_at_k, ...row.maj_at_k })))]
    .map(Number)
    .filter((k) => k > 1)
    .sort((a, b) => a - b);
  const place = el("div");
  const draw = (k) => {
    place.replaceChildren();
    lineChart(place, {
      title: `pass@${k} and maj@${k} against thinking budget`,
      description: `Accuracy of one reply, of the majority of ${k}, and the chance that one of ${k} is right.`,
      x: askedAxis(data),
      y: accuracyAxis("%"),
      names: rows.map((row) => `at ${budgetWords(row.budget)}`),
      series: some([
        { name: `pass@${k}`, look: "pass", values: rows.map((row) => row.pass_at_k?.[k]) },
        { name: `maj@${k}`, look: "maj", values: rows.map((row) => row.maj_at_k?.[k]) },
        allReplies(rows),
      ]),
    });
  };
  host.append(
    choice(
      "samples",
      ks.map((k) => [String(k), `k = ${k}`]),
      String(ks.at(-1)),
      draw,
    ),
    place,
  );
  draw(ks.at(-1));
}
