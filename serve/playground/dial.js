// The dial: up to four pointers on one scale of budgets, moved by pointer or by keys.

import { el, svg } from "./dom.js";
import { drawAxes, drawCurve, drawPointer, frameOf } from "./draw.js";
import { budgetWords, percent } from "./words.js";

const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -8, PageUp: 8 };

export class Dial {
  // change(pointer, budget): a pointer was moved by hand. pointers: [{letter, budget}], shared with the page.
  constructor(host, pointers, change) {
    this.host = host;
    this.pointers = pointers;
    this.change = change;
    this.scale = null;
    this.curve = null;
    this.active = pointers[0];
    this.focused = null;
    this.picture = svg("svg", { role: "img", "aria-label": "Thinking budget" });
    this.sliders = el("div", { class: "sliders" });
    host.append(this.picture, this.sliders);
    this.picture.addEventListener("pointerdown", (event) => this.#grab(event));
    this.picture.addEventListener("pointermove", (event) => this.#drag(event));
    this.picture.addEventListener("lostpointercapture", () => (this.held = null));
    new ResizeObserver(() => this.draw()).observe(host);
  }

  // Pointers have come or gone.
  setPointers() {
    this.active = this.pointers.includes(this.active) ? this.active : this.pointers.at(-1);
    this.sliders.replaceChildren(...this.pointers.map((pointer) => this.#slider(pointer)));
    this.draw();
  }

  draw() {
    const width = this.host.clientWidth;
    if (!this.scale || !width) return;
    const { scale, curve } = this;
    this.frame = frameOf(width, curve);
    const { height } = this.frame;
    for (const [name, value] of Object.entries({ viewBox: `0 0 ${width} ${height}`, width, height }))
      this.picture.setAttribute(name, value);
    this.picture.setAttribute("aria-label", this.#description());
    const order = [...this.pointers.filter((it) => it !== this.active), this.active];
    this.picture.replaceChildren(
      drawAxes(this.frame, scale, curve),
      ...(curve ? [drawCurve(this.frame, scale, curve)] : []),
      ...order.map((pointer) =>
        drawPointer(this.frame, scale, curve, pointer, {
          active: pointer === this.active,
          focused: pointer === this.focused,
        }),
      ),
    );
    this.pointers.forEach((pointer, i) => this.#tell(this.sliders.children[i], pointer));
  }

  #description() {
    if (!this.curve) return "Scale of thinking budgets; no curve was measured for this model";
    const [first, last] = [this.curve.points[0], this.curve.points.at(-1)];
    return (
      `Measured accuracy by thinking budget: ${percent(first.accuracy)} at ${budgetWords(first.budget)}, ` +
      `${percent(last.accuracy)} at ${budgetWords(last.budget)}`
    );
  }

  #slider(pointer) {
    const slider = el("input", {
      type: "range",
      min: 0,
      max: 1000,
      "aria-label": `Budget ${pointer.letter}`,
      onfocus: () => this.#focus(pointer, slider),
      onblur: () => this.#focus(null, slider),
      onkeydown: (event) => this.#key(event, pointer),
      // Assistive technology moves it without keys.
      oninput: () => this.#move(pointer, this.scale.budgetAt(slider.valueAsNumber / 1000)),
    });
    return slider;
  }

  #tell(slider, pointer) {
    const expected = this.curve?.at(pointer.budget);
    const words = expected ? `, ${percent(expected.accuracy)} right as measured` : "";
    slider.value = Math.round(this.scale.place(pointer.budget) * 1000);
    slider.setAttribute("aria-valuetext", budgetWords(pointer.budget) + words);
  }

  #focus(pointer, slider) {
    this.focused = pointer && slider.matches(":focus-visible") ? pointer : null;
    if (pointer) this.active = pointer;
    this.draw();
  }

  #key(event, pointer) {
    const ends = { Home: 0, End: null };
    if (!(event.key in STEPS) && !(event.key in ends)) return;
    event.preventDefault();
    this.focused = pointer;
    const to = event.key in ends ? ends[event.key] : this.scale.step(pointer.budget, STEPS[event.key]);
    this.#move(pointer, to);
  }

  #grab(event) {
    const x = this.#x(event);
    const distance = (pointer) => Math.abs(this.frame.x(this.scale.place(pointer.budget)) - x);
    this.held = this.pointers.reduce((best, it) => (distance(it) < distance(best) ? it : best));
    this.active = this.held;
    this.picture.setPointerCapture(event.pointerId);
    event.preventDefault();
    this.sliders.children[this.pointers.indexOf(this.held)].focus({ preventScroll: true });
    this.#drag(event);
  }

  #drag(event) {
    if (this.held) this.#move(this.held, this.scale.budgetAt(this.frame.placeAt(this.#x(event))));
  }

  #x(event) {
    return event.clientX - this.picture.getBoundingClientRect().left;
  }

  #move(pointer, budget) {
    this.active = pointer;
    this.change(pointer, budget);
  }
}
