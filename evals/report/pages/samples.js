// The sample browser: a list of replies to filter and walk through, and the one that is read.
//
// An entry is one problem and sample: {id, sample, level, subject, set, gold, question, traces, replies}.
// Its replies are in order of budget: {budget, right, verdict, cause, tokens, final, answer, trace, kept}.

const OUTCOMES = {
  any: ["any outcome", () => true],
  right: ["right", (reply) => reply.right],
  wrong: ["wrong", (reply) => !reply.right],
  cut: ["cut by the budget", (reply) => reply.cut],
  censored: ["out of tokens", (reply) => reply.verdict === "censored" || reply.cause === "length"],
  unanswered: ["without an answer", (reply) => reply.verdict === "no answer"],
};

const flips = (entry) =>
  entry.replies.some((reply, i) => i > 0 && entry.replies[i - 1].right && !reply.right);

function sampleFigure(host, data) {
  const entries = data.samples.entries;
  const budgets = data.points
    .map((point) => point.budget)
    .filter((budget) => entries.some((entry) => entry.replies.some((reply) => reply.budget === budget)));
  const filter = { budget: "", outcome: "any", level: "", subject: "", set: "", text: "" };
  let shown = entries;
  let chosen = null;

  const list = el("div", {
    class: "samples-list",
    role: "listbox",
    tabindex: "0",
    "aria-label": "replies",
    onkeydown: walk,
  });
  const tally = el("p", { class: "tally", role: "status" });
  const reader = el("article", { class: "reader", "aria-label": "the reply that is read", tabindex: "-1" });
  const search = el("input", {
    type: "search",
    oninput: (event) => narrow("text", event.target.value.toLowerCase()),
  });
  const filters = el(
    "div",
    { class: "filters control", role: "search" },
    labelled("find", search),
    select(
      "outcome",
      [
        ...Object.entries(OUTCOMES).map(([name, [words]]) => [name, words]),
        ["flipped", "went from right to wrong"],
      ],
      "any",
      (value) => narrow("outcome", value),
    ),
    select(
      "at",
      [["", "any budget"], ...budgets.map((budget) => [budget, budgetWords(budget)])],
      "",
      (value) => narrow("budget", value),
    ),
    ...["level", "subject", "set"].map(groupFilter),
  );
  host.append(
    filters,
    el("div", { class: "browser" }, el("div", { class: "side control" }, tally, list), reader),
  );

  function groupFilter(field) {
    const groups = [...new Set(entries.map((entry) => entry[field]))]
      .filter(known)
      .map(String)
      .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    if (groups.length < 2) return null;
    return select(field, [["", `any ${field}`], ...groups.map((group) => [group, group])], "", (value) =>
      narrow(field, value),
    );
  }

  function narrow(name, value) {
    filter[name] = value;
    shown = entries.filter(passes);
    fillList();
  }

  function passes(entry) {
    for (const field of ["level", "subject", "set"])
      if (filter[field] !== "" && String(entry[field]) !== filter[field]) return false;
    if (
      filter.outcome === "flipped"
        ? !flips(entry)
        : !entry.replies.some((reply) => atBudget(reply) && OUTCOMES[filter.outcome][1](reply))
    )
      return false;
    return (
      filter.text === "" ||
      [
        entry.id,
        entry.question,
        entry.gold,
        ...entry.traces.map((trace) => trace.text),
        ...entry.replies.map((reply) => reply.answer),
      ].some((text) => text?.toLowerCase().includes(filter.text))
    );
  }

  const atBudget = (reply) => filter.budget === "" || String(reply.budget) === filter.budget;

  function fillList() {
    tally.textContent = `${whole(shown.length)} of ${whole(entries.length)} on this page`;
    list.replaceChildren(...shown.map(option));
    mark();
  }

  function option(entry, i) {
    const details = [
      known(entry.level) ? `level ${entry.level}` : null,
      entry.subject,
      data.samples.several ? `#${entry.sample}` : null,
    ]
      .filter(known)
      .join(" · ");
    return el(
      "div",
      { class: "option", role: "option", id: `option-${i}`, onclick: () => read(entry) },
      el("span", { class: "id" }, entry.id),
      outcomeStrip(entry),
      el("span", { class: "details" }, details),
    );
  }

  function walk(event) {
    const at = shown.indexOf(chosen);
    const to = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      Home: 0,
      End: shown.length - 1,
      PageDown: at + 10,
      PageUp: at - 10,
    }[event.key];
    if (to === undefined || shown.length === 0) return;
    event.preventDefault();
    read(shown[Math.max(0, Math.min(shown.length - 1, to))]);
  }

  function mark() {
    const at = shown.indexOf(chosen);
    [...list.children].forEach((child, i) => child.setAttribute("aria-selected", String(i === at)));
    if (at < 0) return list.removeAttribute("aria-activedescendant");
    list.setAttribute("aria-activedescendant", `option-${at}`);
    const [box, item] = [list.getBoundingClientRect(), list.children[at].getBoundingClientRect()];
    if (item.top < box.top) list.scrollTop -= box.top - item.top;
    if (item.bottom > box.bottom) list.scrollTop += item.bottom - box.bottom;
  }

  function read(entry, budget = null, address = true) {
    chosen = entry;
    mark();
    const start = entry.replies.findIndex((reply) => String(reply.budget) === String(budget));
    readSample(
      reader,
      data,
      entry,
      start < 0 ? entry.replies.length - 1 : start,
      (reply) => address && link(entry, reply),
    );
  }

  function link(entry, reply) {
    const place = new URLSearchParams({ sample: entry.id, n: entry.sample, budget: reply.budget });
    history.replaceState(null, "", `#${place}`);
  }

  function follow() {
    const place = new URLSearchParams(location.hash.slice(1));
    if (!place.has("sample")) return false;
    const entry = entries.find(
      (one) =>
        one.id.toWellFormed() === place.get("sample") && String(one.sample) === (place.get("n") ?? "0"),
    );
    if (entry) read(entry, place.get("budget"));
    else
      reader.replaceChildren(
        el(
          "p",
          {},
          "The linked reply is not among those on this page; write the report again with a larger --samples-in-page.",
        ),
      );
    document.getElementById("samples").scrollIntoView({ behavior: "instant" });
    return true;
  }

  fillList();
  addEventListener("hashchange", follow);
  if (!follow()) read(entries[0], null, false);
}

// One square a budget, in order: filled where the answer was right, crossed where it was not.
function outcomeStrip(entry) {
  const words = entry.replies
    .map((reply) => `${budgetName(reply.budget)} ${reply.right ? "right" : "wrong"}`)
    .join(", ");
  const squares = entry.replies.map((reply, i) =>
    reply.right
      ? svg("rect", { class: "right", x: 9 * i, y: 1, width: 7, height: 8 })
      : svg("path", { class: "wrong", d: `M${9 * i + 0.5} 2l6 6m0 -6l-6 6` }),
  );
  return svg(
    "svg",
    {
      class: "strip",
      viewBox: `0 0 ${9 * entry.replies.length} 10`,
      height: 10,
      width: 9 * entry.replies.length,
      role: "img",
      "aria-label": words,
    },
    ...squares,
  );
}
