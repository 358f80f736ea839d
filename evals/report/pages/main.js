// The page comes alive: the theme button, the figures, and everything opened for print.

const FIGURES = {
  curve: curveFigure,
  endings: endingFigure,
  groups: groupFigure,
  control: controlFigure,
  votes: voteFigure,
  calibration: calibrationFigure,
  "calibration-curve": calibrationCurveFigure,
  entropy: entropyFigure,
  "entropy-along": entropyAlongFigure,
  samples: sampleFigure,
  "compared-curves": comparedCurvesFigure,
  "compared-differences": comparedDifferencesFigure,
};

// Storage is refused to pages in a sandboxed frame, where reading it throws; the theme is then not remembered.
function storage() {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}

function themeButton() {
  const root = document.documentElement;
  const asked = matchMedia("(prefers-color-scheme: dark)");
  const now = () => root.dataset.theme ?? (asked.matches ? "dark" : "light");
  const button = document.getElementById("theme");
  const name = () => (button.textContent = now() === "dark" ? "light theme" : "dark theme");
  const kept = storage()?.getItem("thinkdial-theme");
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = now() === "dark" ? "light" : "dark";
    storage()?.setItem("thinkdial-theme", root.dataset.theme);
    name();
  });
  asked.addEventListener("change", name);
  name();
}

// Printed, every part is open; afterwards each is as it was.
function openForPrint() {
  let closed = [];
  matchMedia("print").addEventListener("change", (event) => {
    if (event.matches) closed = [...document.querySelectorAll("details:not([open])")];
    for (const part of closed) part.open = event.matches;
  });
}

const data = JSON.parse(document.getElementById("data").textContent);
themeButton();
openForPrint();
for (const host of document.querySelectorAll("[data-figure]")) FIGURES[host.dataset.figure](host, data);
