// What the inspector draws; the page that `bertsmith inspect` writes and the playground share it.
// Every function takes an element and the answer of `Model.inspect` and fills the element.

const WORDS = {
  en: {
    input: "What goes in",
    inputNote: "Each token with its segment (A or B) and its position.",
    embeddings: "Embeddings",
    embeddingsNote:
      "The model adds a token, a segment and a position embedding. Rows are tokens, columns are dimensions; blue is positive, red negative.",
    part: "Part", from: "First column", columns: "Columns",
    parts: { token: "token", segment: "segment", position: "position", sum: "their sum", output: "after LayerNorm: what the first layer reads" },
    short: { token: "token", segment: "segment", position: "position", sum: "sum", output: "LayerNorm" },
    norms: "Length (norm) of each vector",
    positions: "Similarity of the positions",
    positionsNote: "Cosine of the position embeddings. Learned positions resemble their neighbours.",
    attention: "Attention",
    attentionNote: "One map per layer (down) and head (across). Choose one; then choose a token.",
    rollout: "Through all layers (rollout)",
    layerHead: "Layer {}, head {}", layerMean: "Layer {}, mean of the heads", looks: "Where “{}” looks", looked: "Who looks at “{}”",
    saliency: "What each prediction depends on",
    saliencyNote: "An ELMo has no attention. Shown is the size of the gradient of each token's log-probability by each token's vector.",
    expected: "What the model expects",
    expectedNote: {
      masked: "Each token is hidden in turn; the model sees both sides.",
      forward: "The model sees only what stands before.",
      both: "One direction sees what stands before, the other what stands after.",
    },
    token: "Token", probability: "Probability", rank: "Rank", best: "Most probable",
    next: "Next sentence", nextNote: "Probability that B follows A: {}",
    similarity: "Two tokens, layer by layer",
    similarityNote: "Cosine of the two states: the same word in another context drifts apart.",
    first: "First token", second: "Second token", layers: "layer (0: embeddings)",
    none: "This model predicts no words.",
  },
  zh: {
    input: "输入",
    inputNote: "每个词元，连同它的分段（A 或 B）和位置。",
    embeddings: "嵌入",
    embeddingsNote: "模型把词元、分段、位置三个嵌入相加。行是词元，列是维度；蓝色为正，红色为负。",
    part: "部分", from: "起始列", columns: "列数",
    parts: { token: "词元", segment: "分段", position: "位置", sum: "三者之和", output: "LayerNorm 之后：第一层读到的" },
    short: { token: "词元嵌入", segment: "分段", position: "位置", sum: "总和", output: "LayerNorm" },
    norms: "每个向量的长度（范数）",
    positions: "位置之间的相似度",
    positionsNote: "位置嵌入的余弦。学出来的位置和相邻的位置相像。",
    attention: "注意力",
    attentionNote: "每层（纵向）每头（横向）一张图。先选一张，再选一个词元。",
    rollout: "贯穿各层（rollout）",
    layerHead: "第 {} 层第 {} 头", layerMean: "第 {} 层，各头平均", looks: "“{}”看向哪里", looked: "谁看向“{}”",
    saliency: "每个预测取决于什么",
    saliencyNote: "ELMo 没有注意力。这里是每个词元的对数概率对每个词元向量的梯度大小。",
    expected: "模型的预期",
    expectedNote: {
      masked: "逐个遮住词元，模型看得到左右两侧。",
      forward: "模型只看得到前文。",
      both: "一个方向看前文，另一个方向看后文。",
    },
    token: "词元", probability: "概率", rank: "名次", best: "最可能的",
    next: "下一句", nextNote: "B 接在 A 后面的概率：{}",
    similarity: "两个词元，逐层比较",
    similarityNote: "两个状态的余弦：同一个词在不同语境里会逐层分开。",
    first: "第一个词元", second: "第二个词元", layers: "层（0：嵌入）",
    none: "这个模型不预测词。",
  },
};

export function words(language) {
  return WORDS[language] || WORDS.en;
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function percent(probability) {
  return probability >= 0.0005 ? `${(100 * probability).toFixed(1)}%` : "<0.05%";
}

function shown(token) {
  return token.replace("</w>", "");
}

// A map of numbers on a canvas: one scale from 0, or a diverging one around 0.
export function heatmap(rows, { cell, diverging = false, label }) {
  const height = rows.length, width = rows[0].length;
  const canvas = element("canvas", { width, height, role: "img", "aria-label": label });
  canvas.style.width = `${width * cell}px`;
  canvas.style.height = `${height * cell}px`;
  const largest = Math.max(1e-9, ...rows.map((row) => Math.max(...row.map(Math.abs))));
  const image = canvas.getContext("2d").createImageData(width, height);
  rows.forEach((row, y) => row.forEach((value, x) => {
    const at = 4 * (y * width + x), strength = Math.min(1, Math.abs(value) / largest);
    const color = diverging && value < 0 ? [201, 72, 32] : [31, 111, 196];
    image.data.set([...color, Math.round(255 * strength)], at);
  }));
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

function section(root, heading, note) {
  root.append(element("h2", {}, heading));
  if (note) root.append(element("p", {}, note));
}

export function drawInput(root, answer, t) {
  section(root, t.input, t.inputNote);
  const chips = answer.tokens.map((token) => element(
    "li", { class: `chip ${token.segment ? "b" : "a"}`, title: `id ${token.id}` },
    shown(token.token), element("small", {}, `${token.segment ? "B" : "A"} · ${token.position}`)));
  root.append(element("ul", { class: "chips", style: "list-style:none" }, ...chips));
}

export function drawEmbeddings(root, answer, t) {
  section(root, t.embeddings, t.embeddingsNote);
  const parts = Object.keys(answer.embeddings), width = answer.embeddings[parts[0]][0].length;
  const part = element("select", {}, ...parts.map((name) => element("option", { value: name }, t.parts[name] || name)));
  part.value = parts.includes("sum") ? "sum" : parts[0];
  const from = element("input", { type: "number", min: 0, max: width - 1, value: 0 });
  const count = element("input", { type: "number", min: 1, max: width, value: Math.min(64, width) });
  root.append(element("div", { class: "controls" }, element("label", {}, t.part, part),
    element("label", {}, t.from, from), element("label", {}, t.columns, count)));
  const map = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t.embeddings });
  const norms = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t.norms });
  const draw = () => {
    const begin = Math.max(0, Math.min(width - 1, Number(from.value) || 0));
    const end = Math.min(width, begin + Math.max(1, Number(count.value) || 1));
    const rows = answer.embeddings[part.value].map((row) => row.slice(begin, end));
    map.replaceChildren(heatmap(rows, { cell: 10, diverging: true, label: `${t.embeddings}: ${t.parts[part.value]}` }));
  };
  for (const control of [part, from, count]) control.addEventListener("input", draw);
  draw();
  const norm = (row) => Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
  const number = (value) => element("td", { class: "number", "data-value": value }, value.toFixed(2));
  const head = element("tr", {}, element("th", { scope: "col" }, t.token),
    ...parts.map((name) => element("th", { scope: "col", class: "number" }, t.short[name] || name)));
  const body = answer.tokens.map((token, place) => element("tr", {}, element("td", {}, shown(token.token)),
    ...parts.map((name) => number(norm(answer.embeddings[name][place])))));
  norms.append(element("p", {}, t.norms), element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
  root.append(map, norms);
  if (answer.position_similarity.length) {
    root.append(element("figure", {}, element("figcaption", {}, element("b", {}, t.positions), " ", t.positionsNote),
      heatmap(answer.position_similarity, { cell: 8, diverging: true, label: t.positions })));
  }
}

// Chips of all tokens, one chosen; below, how strongly it looks at each and each at it.
function drawLooks(root, answer, weights, t, chosen, choose) {
  const name = shown(answer.tokens[chosen].token);
  const strip = (values, caption, pick) => {
    const largest = Math.max(1e-9, ...values);
    return element("div", {}, element("p", {}, caption), element("div", { class: "chips" },
      ...values.map((value, place) => {
        const chip = element(pick ? "button" : "span", {
          class: "chip", title: value.toFixed(4), "data-value": value,
          "aria-pressed": pick ? String(place === chosen) : null,
          onclick: pick ? () => choose(place) : () => {}, onmouseenter: pick ? () => choose(place) : () => {},
        }, shown(answer.tokens[place].token), element("small", {}, percent(value)));
        chip.style.boxShadow = `inset 0 -0.35rem 0 rgb(31 111 196 / ${(value / largest).toFixed(3)})`;
        return chip;
      })));
  };
  root.replaceChildren(
    strip(weights[chosen], t.looks.replace("{}", name), true),
    strip(weights.map((row) => row[chosen]), t.looked.replace("{}", name), false));
}

export function drawAttention(root, answer, t) {
  if (!answer.attention.length) {
    if (!answer.saliency.length) return;
    section(root, t.saliency, t.saliencyNote);
    const looks = element("div", {});
    const choose = (place) => drawLooks(looks, answer, answer.saliency, t, place, choose);
    root.append(heatmap(answer.saliency, { cell: 12, label: t.saliency }), looks);
    choose(0);
    return;
  }
  section(root, t.attention, t.attentionNote);
  const length = answer.tokens.length, heads = answer.attention[0].length;
  const cell = Math.max(1, Math.min(4, Math.floor(640 / heads / length)));
  const mean = (layer) => layer[0].map((row, i) => row.map((_, j) => layer.reduce((sum, head) => sum + head[i][j], 0) / heads));
  const state = { weights: mean(answer.attention.at(-1)), token: Math.min(1, length - 1), button: null };
  const looks = element("div", {}), large = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t.attention });
  const title = element("p", { "aria-live": "polite" });
  const redraw = () => {
    drawLooks(looks, answer, state.weights, t, state.token, (place) => {
      if (place !== state.token) { state.token = place; redraw(); }
    });
  };
  const select = (weights, button, label) => {
    state.button?.setAttribute("aria-pressed", "false");
    Object.assign(state, { weights, button });
    button.setAttribute("aria-pressed", "true");
    title.textContent = label;
    large.replaceChildren(heatmap(weights, { cell: Math.max(4, Math.min(18, Math.floor(420 / length))), label }));
    redraw();
  };
  const grid = element("div", { class: "heads", style: `grid-template-columns: repeat(${heads + 1}, max-content)` });
  answer.attention.forEach((layer, row) => {
    layer.forEach((weights, head) => {
      const label = t.layerHead.replace("{}", row + 1).replace("{}", head + 1);
      const button = element("button", { title: label, "aria-label": label, "aria-pressed": "false", type: "button" },
        heatmap(weights, { cell, label }));
      button.addEventListener("click", () => select(weights, button, label));
      grid.append(button);
    });
    const label = t.layerMean.replace("{}", row + 1), weights = mean(layer);
    const button = element("button", { title: label, "aria-label": label, "aria-pressed": "false", type: "button" },
      heatmap(weights, { cell, label }));
    button.addEventListener("click", () => select(weights, button, label));
    grid.append(button);
  });
  const rollout = element("button", { class: "chip", "aria-pressed": "false", type: "button" }, t.rollout);
  rollout.addEventListener("click", () => select(answer.rollout, rollout, t.rollout));
  root.append(element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t.attentionNote }, grid),
    element("div", { class: "controls" }, rollout), title, large, looks);
  grid.lastElementChild.click();
}

export function drawExpected(root, answer, t) {
  section(root, t.expected, t.expectedNote[answer.objective] || t.none);
  if (!answer.objective) return;
  const head = [t.token, t.probability, t.rank, t.best].map((name, place) =>
    element("th", { scope: "col", class: place === 1 || place === 2 ? "number" : null }, name));
  const body = answer.expected.flatMap((found, place) => !found ? [] : [element("tr", {},
    element("td", {}, shown(answer.tokens[place].token)),
    element("td", { class: "number", "data-value": found.probability }, percent(found.probability)),
    element("td", { class: "number" }, String(found.rank)),
    element("td", {}, ...found.candidates.map(({ token, probability }) => element("span", { class: "guess" },
      element("span", { class: "bar", style: `width:${(4 * probability).toFixed(2)}rem` }), ` ${shown(token)} ${percent(probability)} `))))]);
  root.append(element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t.expected },
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body))));
}

export function drawNext(root, answer, t) {
  if (answer.next_sentence === null) return;
  section(root, t.next, null);
  root.append(element("p", { "data-value": answer.next_sentence },
    t.nextNote.replace("{}", percent(answer.next_sentence)), " ",
    element("span", { class: "bar", style: `width:${(10 * answer.next_sentence).toFixed(2)}rem` })));
}

export function drawSimilarity(root, answer, t) {
  section(root, t.similarity, t.similarityNote);
  const options = () => answer.tokens.map((token, place) => element("option", { value: place }, `${place} ${shown(token.token)}`));
  const ids = answer.tokens.map((token) => token.id);
  let pair = [1, Math.min(2, ids.length - 1)];
  ids.forEach((id, place) => {
    const earlier = ids.indexOf(id);
    if (earlier < place && answer.expected[place] !== null && answer.expected[earlier]) pair = [earlier, place];
  });
  const first = element("select", {}, ...options()), second = element("select", {}, ...options());
  [first.value, second.value] = pair;
  const figure = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t.similarity });
  const draw = () => {
    const values = answer.similarity.map((layer) => layer[first.value][second.value]);
    const width = Math.max(240, 48 * values.length), height = 156;
    const x = (place) => 34 + place * (width - 50) / Math.max(1, values.length - 1);
    const y = (value) => 26 + (1 - value) * (height - 56) / 2;
    const points = values.map((value, place) => `${x(place)},${y(value)}`).join(" ");
    const marks = values.map((value, place) =>
      `<circle data-value="${value}" cx="${x(place)}" cy="${y(value)}" r="4" fill="var(--accent)"><title>${value.toFixed(3)}</title></circle>` +
      `<text x="${x(place)}" y="${y(value) - 8}" text-anchor="middle">${value.toFixed(2)}</text>` +
      `<text x="${x(place)}" y="${height - 4}" text-anchor="middle">${place}</text>`).join("");
    const axis = [1, 0, -1].map((value) => `<text x="2" y="${y(value) + 4}">${value}</text>` +
      `<line x1="24" x2="${width - 8}" y1="${y(value)}" y2="${y(value)}" stroke="var(--line)"/>`).join("");
    figure.innerHTML = `<svg width="${width}" height="${height}" role="img" aria-label="${t.similarity}">${axis}` +
      `<polyline points="${points}" fill="none" stroke="var(--accent)" stroke-width="2"/>${marks}</svg>`;
    figure.append(element("p", {}, t.layers));
  };
  for (const control of [first, second]) control.addEventListener("change", draw);
  draw();
  root.append(element("div", { class: "controls" }, element("label", {}, t.first, first), element("label", {}, t.second, second)), figure);
}

export function drawInspection(root, answer, language) {
  const t = words(language);
  root.replaceChildren();
  drawInput(root, answer, t);
  drawEmbeddings(root, answer, t);
  drawAttention(root, answer, t);
  drawExpected(root, answer, t);
  drawNext(root, answer, t);
  drawSimilarity(root, answer, t);
}
