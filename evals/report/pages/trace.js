// Reading one reply: its trace with the cuts marked at their tokens, and the answer given at each cut.

const HEATS = [0.05, 0.2, 0.5, 1, 1.5, 2.2, 3];
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// Characters that turn the direction of all text after them; their token keeps them to itself.
const TURNS = /[\u202a-\u202e\u2066-\u2069]/;

// Entropies come as one letter a token, in steps of 1/20 of the square root; "." is not known.
const entropyOf = (letter) => (letter === "." ? null : (LETTERS.indexOf(letter) / 20) ** 2);
const heatOf = (entropy) => (known(entropy) ? HEATS.filter((level) => entropy >= level).length : 0);

function readSample(reader, data, entry, start, told) {
  let chosen = entry.replies[start].same;
  const answers = el("div", { class: "answers" });
  const text = el("div", { class: "trace" });
  const line = el("div", { class: "heat-line" });
  const reading = el("output", { class: "token-reading" });
  const facts = [
    known(entry.set) ? entry.set : null,
    known(entry.level) ? `level ${entry.level}` : null,
    entry.subject,
    data.samples.several ? `sample ${entry.sample}` : null,
  ]
    .filter(known)
    .join(" · ");
  reader.replaceChildren(
    el("h3", {}, entry.id),
    el("p", { class: "facts" }, facts, facts ? " · " : "", "right answer: ", el("bdi", {}, entry.gold)),
    ...(entry.question ? [el("div", { class: "question" }, entry.question)] : []),
    answers,
    line,
    el("div", {}, text, reading),
  );
  let drawn;
  show();

  function show(focus = false) {
    const reply = entry.replies[chosen];
    answers.replaceChildren(answerTable(entry, chosen, pick), fullAnswer(reply));
    if (focus) answers.querySelector("[aria-pressed=true]").focus({ preventScroll: true });
    if (drawn !== reply.trace) showTrace(reply.trace);
    drawn = reply.trace;
    for (const mark of text.querySelectorAll(".cut-mark"))
      mark.setAttribute("aria-pressed", String(Number(mark.dataset.reply) === chosen));
    markHeatLine(line, reply);
    told(reply);
  }

  function pick(index, focus = true) {
    chosen = index;
    show(focus);
  }

  function showTrace(index) {
    line.replaceChildren();
    text.replaceChildren();
    if (!known(index))
      return text.append(el("p", { class: "note" }, "No thinking was stored for this reply."));
    const trace = entry.traces[index];
    const cuts = entry.replies
      .map((reply, i) => ({ reply, i }))
      .filter(({ reply }) => reply.trace === index && known(reply.kept));
    if (trace.entropy) line.append(heatLine(trace, cuts), heatKey(trace));
    if (!trace.lengths) {
      const told = cuts.length || entry.replies.some((reply) => reply.cut);
      text.append(
        el(
          "p",
          { class: "note" },
          `The run stored no token texts (sweep with --logprobs), so ${told ? "the cuts cannot be marked in" : "tokens cannot be told apart in"} the thinking.`,
        ),
        el("div", { class: "tokens" }, trace.text),
      );
    } else {
      text.append(tokens(trace, cuts, pick, reading));
    }
  }
}

function answerTable(entry, chosen, pick) {
  const head = ["budget", "thinking", "ended by", "answer", "verdict"].map((name) =>
    el("th", { scope: "col", class: name === "thinking" ? "number" : null }, name),
  );
  const distinct = entry.replies.filter((reply) => reply.same === reply.index);
  const rows = distinct.map((reply) => {
    const i = reply.index;
    const more = entry.replies.some((other) => other.same === i && other.index > i);
    const name = budgetName(reply.budget) + (more ? " and more" : "");
    const button = el(
      "button",
      { type: "button", "aria-pressed": String(i === chosen), onclick: () => pick(i) },
      name,
    );
    const verdict = el(
      "td",
      { class: reply.right ? "right" : "wrong" },
      `${reply.right ? "✓" : "✗"} ${reply.verdict === "equal" ? "right" : reply.verdict === "different" ? "wrong" : reply.verdict}`,
    );
    return el(
      "tr",
      { class: i === chosen ? "chosen" : null, onclick: () => pick(i) },
      el("th", { scope: "row" }, button),
      el("td", { class: "number" }, whole(reply.tokens)),
      el("td", {}, reply.cause ?? "–"),
      el("td", { class: "final" }, el("div", {}, reply.final ?? "–")),
      verdict,
    );
  });
  const walk = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = distinct[distinct.findIndex((reply) => reply.index === chosen) + step];
    if (to) pick(to.index);
  };
  return el(
    "div",
    { class: "wide" },
    el(
      "table",
      { onkeydown: walk },
      el("caption", {}, "Answers at each budget"),
      el("thead", {}, el("tr", {}, ...head)),
      el("tbody", {}, ...rows),
    ),
  );
}

function fullAnswer(reply) {
  return el(
    "div",
    { class: "full-answer" },
    el("h4", {}, `Reply at ${budgetWords(reply.budget)}`),
    el("div", { class: "text" }, reply.answer || "(empty)"),
  );
}

function tokens(trace, cuts, pick, reading) {
  const box = el("div", { class: "tokens" });
  const marks = Map.groupBy(cuts, ({ reply }) => reply.kept);
  let at = 0;
  trace.lengths.forEach((length, i) => {
    for (const cut of marks.get(i) ?? []) box.append(cutMark(cut, pick));
    const entropy = trace.entropy ? entropyOf(trace.entropy[i]) : null;
    const forking = known(trace.threshold) && known(entropy) && entropy >= trace.threshold;
    const token = document.createElement("span");
    const piece = trace.text.slice(at, at + length);
    token.className = `h${heatOf(entropy)}${forking ? " fork" : ""}${TURNS.test(piece) ? " isolate" : ""}`;
    token.textContent = piece;
    token.dataset.token = i;
    box.append(token);
    at += length;
  });
  for (const cut of marks.get(trace.lengths.length) ?? []) box.append(cutMark(cut, pick));
  box.addEventListener("pointerover", (event) => {
    const i = event.target.dataset.token;
    if (i === undefined) return;
    const entropy = trace.entropy ? entropyOf(trace.entropy[i]) : null;
    reading.textContent = `token ${whole(Number(i) + 1)} of ${whole(trace.lengths.length)}${known(entropy) ? `, entropy ${decimal(entropy, 2)} nats` : ""}`;
  });
  return box;
}

function cutMark({ reply, i }, pick) {
  const answer = reply.final ?? "no answer";
  const words = `${reply.budget} → ${answer.length > 40 ? `${answer.slice(0, 40)}…` : answer} ${reply.right ? "✓" : "✗"}`;
  const title = `cut at a budget of ${reply.budget}: the answer was ${reply.right ? "right" : "wrong"}`;
  return el(
    "button",
    {
      type: "button",
      class: `cut-mark ${reply.right ? "right" : "wrong"}`,
      "data-reply": i,
      title,
      onclick: () => pick(i, false),
    },
    words,
  );
}

// Entropy along the trace: the largest in each stretch of tokens, with the cuts.
function heatLine(trace, cuts) {
  const [width, height, foot] = [720, 84, 18];
  const values = [...trace.entropy].map(entropyOf);
  const bins = Math.min(values.length, 240);
  const step = values.length / bins;
  const x = (token) => (token / values.length) * width;
  const root = svg("svg", {
    class: "plot",
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": `Entropy along ${values.length} tokens`,
  });
  for (let bin = 0; bin < bins; bin += 1) {
    const part = values
      .slice(Math.floor(bin * step), Math.max(Math.floor(bin * step) + 1, Math.floor((bin + 1) * step)))
      .filter(known);
    const top = part.length ? Math.max(...part) : 0;
    const tall = Math.max(1.5, (Math.min(top, 3) / 3) * (height - foot - 14));
    root.append(
      svg("rect", {
        class: `heat h${heatOf(top)}`,
        x: x(bin * step),
        y: height - foot - tall,
        width: Math.max(0.8, width / bins - 0.6),
        height: tall,
      }),
    );
  }
  root.append(svg("path", { class: "base", d: `M0 ${height - foot}H${width}` }));
  let free = -Infinity;
  for (const { reply, i } of cuts) {
    const at = x(Math.min(reply.kept, values.length));
    root.append(svg("path", { class: "cut-line", "data-reply": i, d: `M${at} 2V${height - foot + 4}` }));
    const label = String(reply.budget);
    if (at - label.length * 4 > free) {
      root.append(
        svg(
          "text",
          {
            class: "cut-label",
            "data-reply": i,
            x: Math.max(label.length * 3.5, Math.min(width - label.length * 3.5, at)),
            y: height - 3,
            "text-anchor": "middle",
          },
          label,
        ),
      );
      free = at + label.length * 4 + 6;
    }
  }
  return root;
}

function markHeatLine(line, reply) {
  for (const mark of line.querySelectorAll("[data-reply]"))
    mark.classList.toggle("chosen", known(reply.kept) && mark.dataset.reply === String(reply.index));
}

function heatKey(trace) {
  const steps = [0, ...HEATS].map((level, i) => el("span", { class: `h${i}` }, String(level)));
  const fork = known(trace.threshold)
    ? [
        " nats a token; ",
        el("span", { class: "fork" }, "forking tokens"),
        ` are underlined (${decimal(trace.threshold, 2)} and more). Bars: the largest of each stretch; lines: cuts.`,
      ]
    : " nats a token";
  return el("p", { class: "heat-key" }, "entropy ", el("span", { class: "scale" }, ...steps), fork);
}
