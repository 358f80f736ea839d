// The figures of a comparison: the curves of all runs, and each pair's difference.

const RUN_LOOKS = ["all", "cut", "maj", "pass", "off"];

function comparedAxis(data) {
  return askedAxis({
    axis: data.axis,
    places: data.places,
    points: data.budgets.map((budget) => ({ budget })),
  });
}

function comparedCurvesFigure(host, data) {
  const column = (run, name) =>
    data.budgets.map((budget) => run.points.find((point) => point.budget === budget)?.[name]);
  lineChart(host, {
    title: "Accuracy of each run against thinking budget",
    description: "Each line is a run with its pointwise 95 % band.",
    x: comparedAxis(data),
    y: accuracyAxis(),
    names: data.budgets.map((budget) => `at ${budgetWords(budget)}`),
    series: data.runs.map((run, i) => ({
      name: run.name,
      look: RUN_LOOKS[i % RUN_LOOKS.length],
      values: column(run, "accuracy"),
      low: column(run, "low"),
      high: column(run, "high"),
    })),
  });
}

function comparedDifferencesFigure(host, data) {
  const pair = data.pairs[Number(host.dataset.pair)];
  const row = (budget) => pair.points.find((point) => point.budget === budget);
  const column = (pick) => data.budgets.map((budget) => (row(budget) ? pick(row(budget)) : null));
  const ends = pair.points
    .flatMap((point) => [point.difference?.low, point.difference?.high, point.band_low, point.band_high])
    .filter(known);
  const reach = Math.max(0.05, ...ends.map(Math.abs)) * 1.05;
  lineChart(host, {
    title: `Difference in accuracy, ${pair.b} less ${pair.a}`,
    description:
      "Paired by problem; the dark band holds each point, the light band the whole curve, at 95 %. Above zero the second run is better.",
    height: 260,
    x: comparedAxis(data),
    y: {
      title: "difference, points",
      domain: [-reach, reach],
      write: points,
      tick: (value) => `${value < 0 ? "−" : value > 0 ? "+" : ""}${+(100 * Math.abs(value)).toFixed(1)}`,
    },
    names: data.budgets.map((budget) => `at ${budgetWords(budget)}`),
    series: [
      {
        name: `${pair.b} less ${pair.a}`,
        look: "all",
        values: column((point) => point.difference?.mean),
        low: column((point) => point.difference?.low),
        high: column((point) => point.difference?.high),
        outerLow: column((point) => point.band_low),
        outerHigh: column((point) => point.band_high),
      },
    ],
  });
}
