// Building elements and writing numbers. Text from the data only ever becomes text nodes.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

const known = (value) => value !== null && value !== undefined;
const percent = (value) => (known(value) ? `${(100 * value).toFixed(1)} %` : "–");
const points = (value) =>
  known(value) ? `${value < 0 ? "−" : "+"}${(100 * Math.abs(value)).toFixed(1)}` : "–";
const decimal = (value, digits = 3) => (known(value) ? value.toFixed(digits) : "–");
const whole = (value) => (known(value) ? Math.round(value).toLocaleString("en") : "–");

function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  return String(+value.toPrecision(6));
}

function budgetName(budget) {
  return { max: "no limit", 0: "off" }[budget] ?? String(budget);
}

function budgetWords(budget) {
  if (budget === "max") return "no limit";
  if (budget === 0 || budget === "off") return "thinking off";
  if (String(budget).endsWith("%")) return `${budget} of the natural length`;
  return typeof budget === "number"
    ? `${whole(budget)} tokens`
    : `effort ${budget}`.replace("effort on", "thinking on");
}

let names = 0;
const newName = (kind) => `${kind}-${(names += 1)}`;

// An empty chart that keyboards reach and screen readers name.
function plot(title, description, width, height) {
  const id = newName("chart");
  return svg(
    "svg",
    {
      class: "plot",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      tabindex: "0",
      "aria-labelledby": `${id}-title ${id}-desc`,
    },
    svg("title", { id: `${id}-title` }, title),
    svg("desc", { id: `${id}-desc` }, description),
  );
}

// A row of choices of which one holds: radio buttons, so arrow keys and screen readers know them.
function choice(label, options, chosen, change) {
  const name = newName("choice");
  const items = options.map(([value, text]) => {
    const id = `${name}-${value}`;
    const radio = el("input", {
      type: "radio",
      name,
      id,
      value,
      checked: value === chosen,
      onchange: () => change(value),
    });
    return el("span", { class: "option" }, radio, el("label", { for: id }, text));
  });
  return el("fieldset", { class: "choice control" }, el("legend", {}, label), ...items);
}

function select(label, options, chosen, change) {
  const items = options.map(([value, text]) =>
    el("option", { value, selected: String(value) === String(chosen) }, text),
  );
  return labelled(label, el("select", { onchange: (event) => change(event.target.value) }, ...items));
}

function labelled(label, field) {
  field.id = newName("field");
  return el("span", { class: "select control" }, el("label", { for: field.id }, label), field);
}

// Draws now, and again whenever the width changes: figures keep their type size at any width.
function whenWide(host, draw) {
  let width = 0;
  const fit = () => {
    const now = Math.floor(host.clientWidth);
    if (now && now !== width) draw((width = now));
  };
  fit();
  new ResizeObserver(fit).observe(host);
}
