// Thinking as it streams: its tokens, shaded by how uncertain they were, and what the server inserted.

import { el, known } from "./dom.js";
import { nats } from "./words.js";

export class Trace {
  // stopSentence: what this reply's thinking ends with if it is cut.
  constructor(host, stopSentence) {
    this.host = host;
    this.stopSentence = stopSentence.trim();
    this.text = "";
    this.held = "";
    this.waiting = [];
    this.chunks = 0;
    this.seen = 0;
    this.generated = 0;
    this.peak = 0; // largest entropy so far, in nats
    host.replaceChildren();
  }

  // Generated thinking tokens so far: exact where the server tells of each, else one for each chunk.
  get tokens() {
    return this.exact ? this.generated : this.chunks;
  }

  get exact() {
    return this.seen > 0;
  }

  // told: {tokens, entropy, margin, upper} of the thinking tokens of this chunk, if the server tells.
  add(text, told) {
    const follow = this.host.scrollTop + this.host.clientHeight > this.host.scrollHeight - 24;
    if (text) this.chunks += 1;
    if (told?.tokens) this.#expect(told.tokens, told.entropy, told.margin, told.upper);
    this.held += text;
    this.#align();
    if (!this.exact) this.#findInserted();
    if (follow) this.host.scrollTop = this.host.scrollHeight;
  }

  // The report has come. It has all tokens, also those of the last chunk and those whose text came without them,
  // so the trace is laid out once more; and it knows whether anything was inserted: a model may write the
  // early-stop sentence itself.
  finish(report) {
    const { texts, values, margin, upper } = report?.entropy ?? {};
    if (texts) {
      this.held = this.text + this.held;
      this.text = "";
      this.waiting = [];
      this.seen = this.generated = 0;
      this.host.replaceChildren();
      this.#expect(texts, values, margin, upper);
      this.#align();
    }
    this.#show(this.held);
    this.held = "";
    if (this.exact) return;
    this.#findInserted();
    if (!report?.inserted_tokens) this.inserted?.replaceWith(this.stopSentence);
  }

  #expect(tokens, entropy, margins, uppers) {
    this.seen += tokens.length;
    this.generated += entropy.filter(known).length;
    tokens.forEach((token, i) =>
      this.waiting.push({ token, entropy: entropy[i], margin: margins?.[i], upper: uppers?.[i] }),
    );
  }

  // Text and tokens come side by side; a parser may hold text back, a tag is not shown, and a character may be
  // several tokens.
  #align() {
    while (this.waiting.length) {
      const next = this.waiting[0];
      const at = next.token ? this.held.indexOf(next.token) : -1;
      if (at < 0 && next.token.startsWith(this.held)) return; // its text is still to come
      this.waiting.shift();
      if (at < 0) continue;
      this.#show(this.held.slice(0, at));
      this.#show(next.token, next);
      this.held = this.held.slice(at + next.token.length);
    }
    this.#show(this.held);
    this.held = "";
  }

  // White space that thinking begins with takes no room.
  #show(text, told) {
    if (!text) return;
    this.text += text;
    const blank = !this.text.trim();
    if (known(told?.entropy)) {
      this.peak = Math.max(this.peak, told.entropy);
      this.host.append(shaded(text, told, blank));
    } else if (told) this.#insert(text);
    else if (!blank) this.host.append(this.text === text ? text.trimStart() : text);
  }

  #insert(text) {
    const last = this.host.lastChild;
    if (last?.nodeName === "INS") last.append(text);
    else this.host.append(insertion(text.trimStart()));
  }

  // Where the server tells of no tokens: set the early-stop sentence apart once the thinking ends with it.
  #findInserted() {
    if (this.inserted || !this.stopSentence) return;
    const trimmed = this.text.trimEnd();
    if (!trimmed.endsWith(this.stopSentence)) return;
    this.inserted = insertion(this.stopSentence);
    this.host.replaceChildren(trimmed.slice(0, -this.stopSentence.length).trimStart(), this.inserted);
  }
}

function shaded(text, { entropy, margin, upper }, hidden) {
  const to = known(upper) && upper - entropy > 0.001 ? ` to ${nats(upper)}` : "";
  const ahead = known(margin) ? `, ${(100 * margin).toFixed(0)} points ahead of the second` : "";
  const title = `entropy ${nats(entropy)}${to} nats${ahead}`;
  const token = el("span", { class: "token", title, hidden }, text);
  token.style.setProperty("--entropy", entropy);
  return token;
}

const insertion = (text) =>
  el("ins", { class: "inserted" }, el("span", { class: "tag" }, "inserted by the server"), text);
