// The dialog with a request as code, to read and to copy.

import { keys } from "./api.js";
import { byId } from "./dom.js";
import { asCurl, asPython } from "./snippets.js";

const KINDS = {
  curl: ["As curl", asCurl],
  python: ["As Python, with the openai package", asPython],
};

// Returns what opens the dialog: (kind, body). say(text) tells a screen reader.
export function offerCode(say) {
  byId("code-copy").addEventListener("click", () => copy(say));
  byId("code-close").addEventListener("click", () => byId("code").close());
  return show;
}

function show(kind, body) {
  const address = new URL(".", document.baseURI).href;
  const [title, write] = KINDS[kind];
  byId("code-title").textContent = title;
  byId("code-text").value = write(address, body, Boolean(keys.get()));
  byId("code-copy").textContent = "Copy";
  byId("code").showModal();
  byId("code-copy").focus();
}

// Clipboards are closed to pages that came over plain HTTP from another machine: select, as of old.
async function copy(say) {
  const field = byId("code-text");
  if (navigator.clipboard) await navigator.clipboard.writeText(field.value);
  else {
    field.select();
    document.execCommand("copy");
  }
  byId("code-copy").textContent = "Copied";
  say("Copied");
}
