// The page: finds out what the server can do, keeps dial and columns in step, asks.

import { getIfThere, getJson, keys } from "./api.js";
import { offerCode } from "./code.js";
import { Column } from "./column.js";
import { curvesOf } from "./curve.js";
import { Dial } from "./dial.js";
import { byId, el } from "./dom.js";
import { BudgetScale } from "./scale.js";
import { examplesFor, requestOf } from "./settings.js";
import { budgetWords, nats } from "./words.js";

const LETTERS = ["A", "B", "C", "D"];
const SPAN = 1024; // of the dial, where nothing was measured: from this share of the longest reply on
const [LEAST_NATS, MOST_NATS] = [0.01, 2]; // between which full shade lies
const MIDDLE = 24; // stops from the left end of the dial, for a first budget

const server = { model: null, form: null, entropy: true };
const pointers = [{ letter: "A", budget: null }];
const columns = [];
let family = "";
let curves = new Map();
let peak = 0;
let scale = new BudgetScale(2, 2048);

const dial = new Dial(byId("dial"), pointers, (pointer, budget) => setBudget(pointer, budget));
const showCode = offerCode(say);
const current = () => curves.get(family);
const running = () => columns.some((column) => column.running);

function say(text) {
  byId("status").textContent = text;
}

function notice(id, text) {
  byId(id)?.remove();
  if (text) byId("notices").append(el("li", { id, class: "notice" }, text));
}

// -- what the server can do ---------------------------------------------------------------------------------

async function connect() {
  try {
    const [model] = (await getJson("v1/models")).data;
    server.model = model.id;
    server.form = await getIfThere("v1/thinking/format");
    const profile = server.form && (await getIfThere("v1/thinking/profile"));
    byId("key").hidden = true;
    byId("forget").hidden = !keys.get();
    byId("model").textContent = model.id;
    notice("unreachable", "");
    arrange(model.max_model_len ?? 32768, profile);
  } catch (error) {
    if (!Number.isInteger(error.status)) throw error;
    byId("model").textContent = "not connected";
    failed(error);
    if (error.status !== 401) notice("unreachable", `${error.message} Reload the page to try again.`);
  }
}

// profile: null where none was measured. Budgets that were set stay.
function arrange(longest, profile) {
  const thinks = Boolean(server.form);
  byId("dial-section").hidden = byId("add").hidden = !thinks;
  byId("stop-text").closest("p").hidden = !thinks;
  notice("thoughtless", thinks ? "" : `${server.model} has no thinking: it answers at once, without a dial.`);
  byId("stop-text").value = server.form?.stop_text ?? "";
  curves = profile ? curvesOf(profile) : new Map();
  const [low, high] = current()?.curve.span ?? [Math.max(1, Math.floor(longest / SPAN)), longest];
  scale = new BudgetScale(low, high);
  dial.scale = scale;
  byId("family-row").hidden = curves.size < 2;
  byId("family").replaceChildren(
    ...[...curves.keys()].map((name) => el("option", { value: name }, name || "all problems")),
  );
  byId("examples").replaceChildren(
    ...examplesFor(server.model).map(([name, text]) => chip(name, text, () => fillIn(text))),
  );
  showCurve();
  if (!columns.length) {
    const medium = current()?.levels.find(([name]) => name === "medium");
    addColumn(pointers[0]);
    setBudget(pointers[0], medium ? medium[1] : scale.step(scale.low, MIDDLE));
  }
  if (!thinks) columns[0].withoutBudget();
  showShade();
}

function showCurve() {
  dial.curve = current()?.curve ?? null;
  const levels = current()?.levels ?? [];
  byId("levels").replaceChildren(
    ...levels.map(([name, budget]) => chip(name, budgetWords(budget), () => setBudget(dial.active, budget))),
  );
  byId("curve-note").textContent = dial.curve
    ? "Line: accuracy to expect. Band: 95 % interval. Points: measured budgets."
    : "No curve was measured for this model. `thinkdial eval sweep` and `thinkdial eval profile` make one; " +
      "served beside the model, it is drawn here.";
  dial.setPointers();
  for (const column of columns) showColumn(column);
}

function chip(name, title, click) {
  return el("button", { type: "button", title, onclick: click }, name);
}

function fillIn(text) {
  byId("question").value = text;
  byId("question").focus();
}

// -- budgets ------------------------------------------------------------------------------------------------

function setBudget(pointer, budget) {
  pointer.budget = budget;
  dial.active = pointer;
  dial.draw();
  showColumn(columns.find((column) => column.pointer === pointer));
}

function showColumn(column) {
  column?.show(dial.curve?.at(column.pointer.budget) ?? null);
}

function addColumn(pointer) {
  const column = new Column(pointer, {
    change: (it, budget) => setBudget(it.pointer, budget),
    remove: removeColumn,
    code: showCode,
    say,
    failed,
    peak: showPeak,
    noEntropy: (message) => {
      server.entropy = false;
      notice("no-entropy", `Tokens are not shaded: ${message}`);
      showShade();
    },
  });
  columns.push(column);
  byId("columns").append(column.root);
  arrangeColumns();
  return column;
}

function arrangeColumns() {
  byId("columns").dataset.count = columns.length;
  byId("add").disabled = columns.length === LETTERS.length;
  for (const column of columns) column.parts.remove.hidden = columns.length === 1;
  dial.setPointers();
}

// Where the widest gap on the dial is, so that curve and columns differ.
function nextBudget() {
  const taken = pointers.map(({ budget }) => scale.place(budget));
  const distance = (stop) => Math.min(...taken.map((place) => Math.abs(place - scale.place(stop))));
  const free = scale.stops.map(distance);
  return scale.stops[free.indexOf(Math.max(...free))];
}

function addBudget() {
  const letter = LETTERS.find((it) => pointers.every((pointer) => pointer.letter !== it));
  const pointer = { letter, budget: nextBudget() };
  pointers.push(pointer);
  const column = addColumn(pointer);
  setBudget(pointer, pointer.budget);
  say(`Budget ${letter} added: ${budgetWords(pointer.budget)}`);
  column.parts.budget.focus({ preventScroll: true });
}

function removeColumn(column) {
  column.stop();
  column.root.remove();
  columns.splice(columns.indexOf(column), 1);
  pointers.splice(pointers.indexOf(column.pointer), 1);
  arrangeColumns();
  say(`Budget ${column.pointer.letter} removed`);
  byId("add").focus();
}

// -- asking -------------------------------------------------------------------------------------------------

async function ask() {
  byId("go").textContent = "Stop";
  peak = 0;
  say(`Asked at ${columns.map((column) => budgetWords(column.pointer.budget)).join(", ")}.`);
  const entropy = server.entropy && byId("shade").checked;
  const more = { entropy: entropy || undefined, family: family || undefined };
  try {
    await Promise.all(
      columns.map((column) => column.ask(requestOf(server, column.pointer.budget, more), server.form)),
    );
  } finally {
    byId("go").textContent = "Ask";
  }
}

function stopAll() {
  for (const column of columns) column.stop();
}

function failed(error) {
  if (error.status !== 401) return;
  if (keys.get()) {
    keys.forget();
    notice("unreachable", "The server does not know that API key.");
  }
  byId("forget").hidden = true;
  byId("key").hidden = false;
  byId("key-field").focus();
}

function showShade() {
  const on = byId("shade").checked && server.entropy && Boolean(server.form);
  byId("columns").classList.toggle("shaded", on);
  byId("legend").hidden = !on || !peak;
  byId("shade").disabled = !server.entropy;
  byId("shade-label").hidden = !server.form;
}

// Full shade is the largest entropy on the page: models differ by orders of magnitude in how certain they are.
function showPeak(entropy) {
  if (entropy <= peak) return;
  peak = entropy;
  const full = Math.min(MOST_NATS, Math.max(LEAST_NATS, peak));
  byId("columns").style.setProperty("--full", full);
  byId("legend-end").textContent = `${nats(full)} nats${peak > full ? " or more" : ""}`;
  showShade();
}

// -- wiring -------------------------------------------------------------------------------------------------

function themeInUse() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  return document.documentElement.dataset.theme ?? dark;
}

function offerTheme() {
  byId("theme").hidden = false;
  byId("theme").textContent = themeInUse() === "dark" ? "Light theme" : "Dark theme";
}

byId("theme").addEventListener("click", () => {
  const theme = themeInUse() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  localStorage.setItem("thinkdial.theme", theme);
  offerTheme();
});
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running()) ask();
});
byId("go").addEventListener("click", (event) => {
  if (!running()) return;
  event.preventDefault();
  stopAll();
});
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    byId("ask").requestSubmit();
  }
});
byId("key").addEventListener("submit", (event) => {
  event.preventDefault();
  keys.set(byId("key-field").value.trim());
  byId("key-field").value = "";
  connect();
});
byId("forget").addEventListener("click", () => {
  keys.forget();
  connect();
});
byId("family").addEventListener("change", (event) => {
  family = event.target.value;
  showCurve();
});
byId("add").addEventListener("click", addBudget);
byId("shade").addEventListener("change", showShade);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", offerTheme);

offerTheme();
connect();
