// One utterance: what was said, what each recogniser wrote, what each system answered. Texts of
// people and systems reach the document as text only.

const unseen = (text) => make("span", { className: "unseen" }, text);
const symbol = (text) => make("span", { "aria-hidden": "true" }, text);

function perplexity(nats, tokens) {
  const value = Math.exp(nats / tokens);
  return value < 10 ? value.toFixed(2) : value < 10000 ? value.toFixed(0) : value.toExponential(1);
}

function drawEdit([operation, said, hyp]) {
  if (operation === "equal") return make("span", {}, hyp);
  const parts = {
    substitute: () => [unseen("replaced: "), make("del", {}, said), symbol("→"), unseen(" by "),
      make("ins", {}, hyp)],
    delete: () => [unseen("left out: "), symbol("−"), make("del", {}, said)],
    insert: () => [unseen("put in: "), symbol("+"), make("ins", {}, hyp)],
  }[operation]();
  return make("span", { className: `edit ${operation}` }, ...parts);
}

function drawHyp(edits) {
  const line = make("p", { className: "hyp", dir: "auto" }, make("span", { className: "what" }, "recognised "));
  if (!edits.length) line.append(make("em", {}, "(nothing)"));
  for (const edit of edits) line.append(drawEdit(edit), " ");
  return line;
}

function drawVerdict(right, what) {
  if (right === undefined) return "";
  return make("span", { className: right ? "right" : "wrong" },
    symbol(right ? "✓" : "✗"), unseen(`${what}${right ? "succeeds" : "fails"}`));
}

function drawAnswer(system, answer, tokens) {
  const said = answer.said === undefined ? "" :
    make("p", { className: answer.said ? "said" : "said empty", dir: "auto" }, answer.said || "(nothing was answered)");
  return make("li", { className: `answer ${system.name}` },
    make("h5", {}, drawVerdict(answer.right, ""), make("span", { className: "label" }, system.label),
      make("span", { className: "number" }, make("abbr", { title: "perplexity of the reference response" }, "PPL"),
        ` ${perplexity(answer.nats, tokens)}`)),
    said, answer.hyp ? drawHyp(answer.hyp) : "");
}

function drawSound(set, item) {
  if (!item.sound) return "";
  const audio = make("audio", { controls: true, preload: "metadata", "aria-label": `Recording of ${item.id}` });
  audio.src = document.getElementById(`sound-${set}-${item.place}`).textContent;
  return audio;
}

function drawUtterance(set, data, item, shown) {
  const facts = [item.category, item.speaker, item.seconds === undefined ? "" : `${item.seconds.toFixed(1)} s`];
  const answers = data.systems.map((system, i) =>
    shown.has(i) ? drawAnswer(system, item.systems[i], item.tokens) : "");
  return make("article", { className: "card utterance", tabIndex: -1, "aria-label": `Utterance ${item.place + 1}` },
    make("header", {}, make("h4", {}, `${item.place + 1}. ${item.id}`),
      ...facts.filter(Boolean).map((fact) => make("span", { className: "chip" }, fact))),
    make("p", { className: "text", dir: "auto" }, item.text ?? ""),
    drawSound(set, item),
    make("div", { className: "reference" }, make("h5", {}, "Reference response"),
      make("p", { dir: "auto" }, item.reference),
      item.accepted.length ? make("p", { className: "hint", dir: "auto" }, `Accepted: ${item.accepted.join(" | ")}`) : ""),
    make("ul", { className: "answers" }, ...answers));
}
