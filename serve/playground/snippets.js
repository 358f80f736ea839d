// A request as commands that others can run: the key is named, never written.

const quoteShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function asCurl(address, body, needsKey) {
  const key = needsKey ? ' \\\n  -H "authorization: Bearer $THINKDIAL_API_KEY"' : "";
  const data = quoteShell(JSON.stringify(body, null, 2));
  return `curl -N ${quoteShell(address + "v1/chat/completions")} \\
  -H 'content-type: application/json'${key} \\
  -d ${data}\n`;
}

// A value of JSON as a Python literal.
export function literal(value, indent = "") {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const [open, close, items] = Array.isArray(value)
    ? ["[", "]", value.map((item) => literal(item, inner))]
    : [
        "{",
        "}",
        Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, inner)}`),
      ];
  const line = items.join(", ");
  if (line.length < 70 && !line.includes("\n")) return open + line + close;
  return `${open}\n${items.map((item) => `${inner}${item},\n`).join("")}${indent}${close}`;
}

export function asPython(address, body, needsKey) {
  const { thinking, ...standard } = body;
  const key = needsKey ? 'os.environ["THINKDIAL_API_KEY"]' : '"none"';
  const fields = Object.entries(standard).map(([name, value]) => `    ${name}=${literal(value, "    ")},\n`);
  if (thinking) fields.push(`    extra_body={"thinking": ${literal(thinking, "    ")}},\n`);
  return `${needsKey ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(`${address}v1`)}, api_key=${key})
stream = client.chat.completions.create(
${fields.join("")})
for chunk in stream:
    for choice in chunk.choices:
        delta = choice.delta
        print(getattr(delta, "reasoning", None) or delta.content or "", end="", flush=True)
        if choice.finish_reason:
            print("\\n", getattr(choice, "thinking", None))
`;
}
