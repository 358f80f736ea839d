// Thinking as it streams: its tokens, shaded by how uncertain they were, and what the server inserted.

import { el, known } from "./dom.js";

const FULL = 2; // nats of entropy at full shade

export class Trace {
  // stopSentence: what this reply's thinking ends with if it is cut.
  constructor(host, stopSentence) {
    this.host = host;
    this.stopSentence = stopSentence.trim();
    this.text = "";
    this.chunks = 0;
    this.told = 0;
    this.waiting = [];
    this.held = "";
    this.inserted = null;
    host.replaceChildren();
  }

  // Generated thinking tokens so far: exact where the server tells of each, else one for each chunk.
  get tokens() {
    return this.told || this.chunks;
  }

  get exact() {
    return this.told > 0;
  }

  // entropy: {tokens, entropy, margin} of the generated tokens of this chunk, if the server tells.
  add(text, entropy) {
    const follow = this.host.scrollTop + this.host.clientHeight > this.host.scrollHeight - 24;
    if (text) this.chunks += 1;
    (entropy?.tokens ?? []).forEach((token, i) => {
      const value = entropy.entropy[i];
      if (!known(value)) return;
      this.told += 1;
      this.waiting.push({ token, value, margin: entropy.margin?.[i] });
    });
    this.held += text;
    this.#align();
    this.#markInserted();
    if (follow) this.host.scrollTop = this.host.scrollHeight;
  }

  // The report has come: a model may write the early-stop sentence itself, which nobody inserted then.
  finish(report) {
    this.#show(this.held);
    this.held = "";
    this.#markInserted();
    if (!report?.inserted_tokens && this.inserted) {
      this.inserted.replaceWith(this.stopSentence);
      this.inserted = null;
    }
  }

  // Text and tokens come side by side; a parser may hold text back, and a character may be several tokens.
  #align() {
    while (this.waiting.length) {
      const { token, value, margin } = this.waiting[0];
      const at = token ? this.held.indexOf(token) : -1;
      if (at < 0 && token.startsWith(this.held)) return; // its text is still to come
      this.waiting.shift();
      if (at < 0) continue;
      this.#show(this.held.slice(0, at));
      this.#show(token, value, margin);
      this.held = this.held.slice(at + token.length);
    }
    this.#show(this.held);
    this.held = "";
  }

  #show(text, entropy, margin) {
    if (!text) return;
    this.text += text;
    if (!known(entropy)) {
      this.host.append(text);
      return;
    }
    const also = known(margin) ? `, margin ${margin.toFixed(2)}` : "";
    const token = el("span", { class: "token", title: `entropy ${entropy.toFixed(2)} nats${also}` }, text);
    token.style.setProperty("--shade", Math.min(1, entropy / FULL).toFixed(3));
    this.host.append(token);
  }

  // Where the thinking so far ends with the early-stop sentence, set that apart.
  #markInserted() {
    if (this.inserted || !this.stopSentence) return;
    const trimmed = this.text.trimEnd();
    if (!trimmed.endsWith(this.stopSentence)) return;
    const after = this.text.slice(trimmed.length);
    let taken = "";
    while (taken.length < this.stopSentence.length + after.length) {
      const last = this.host.lastChild;
      taken = last.textContent + taken;
      last.remove();
    }
    const before = taken.slice(0, taken.length - this.stopSentence.length - after.length);
    this.inserted = el(
      "ins",
      { class: "inserted" },
      el("span", { class: "tag" }, "inserted by the server"),
      this.stopSentence,
    );
    this.host.append(before, this.inserted, after);
  }
}
