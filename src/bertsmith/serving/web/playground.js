// The pages of the playground. The address holds the page and its fields, so that a link shows the
// same to somebody else: #/blanks?text=...&model=...
import { drawInspection, element, percent } from "/web/inspector.js";
import { EXAMPLES, TEXTS } from "/web/words.js";

const main = document.getElementById("main");
const settings = {
  language: localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en"),
  theme: localStorage.getItem("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"),
};
// What one click hides: a mask, an ideograph, a word, anything else alone.
const WORDS = /\[MASK\]|[\u2e80-\u9fff\uf900-\ufaff]|(?:(?![\u2e80-\u9fff\uf900-\ufaff])[\p{L}\p{M}\p{N}'’])+|\S/gu;
let models = [];
let t = TEXTS[settings.language];
let timer = 0;

// A service with a key asks for it once; it is kept until the tab closes.
async function ask(path, body) {
  const key = sessionStorage.getItem("key"), headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch(`/v1/${path}`, body === undefined ? { headers } : {
    method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const found = await answer.json();
  if (answer.status === 401) {
    const given = prompt(t.key);
    if (given) {
      sessionStorage.setItem("key", given);
      return ask(path, body);
    }
  }
  if (!answer.ok) throw new Error(found.error.message);
  return found;
}

const one = async (path, body) => (await ask(path, body)).results[0];

function address() {
  const [page, query] = location.hash.replace(/^#\//, "").split("?");
  return { page: PAGES[page] ? page : "blanks", fields: new URLSearchParams(query || "") };
}

function remember(page, fields) {
  const query = new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== null && value !== ""));
  history.replaceState(null, "", `#/${page}?${query}`);
}

// Models of the page's language first; one of many languages fits every page.
const fits = (model) => settings.language === "zh" ? model.chinese_share > 0.1 : model.chinese_share < 0.5;
const able = (...operations) => models.filter((model) => operations.some((one) => model.operations.includes(one)))
  .sort((x, y) => fits(y) - fits(x));

function select(name, options, value, label) {
  const made = element("select", { name }, ...options.map((option) => element("option", { value: option }, option)));
  if (options.includes(value)) made.value = value;
  return element("label", {}, label, made);
}

function area(name, value, label, rows = 2) {
  const made = element("textarea", { name, rows, maxlength: 20000 });
  made.value = value;
  return element("label", {}, label, made);
}

// A heading, a form, a place for the answer; `show` runs at once and at every submission.
function page(name, note, children, show) {
  const output = element("div", { "aria-live": "polite", id: "output" });
  const button = element("button", { class: "primary", type: "submit" }, t.run);
  const form = element("form", {}, ...children, button);
  const submit = async (event) => {
    event?.preventDefault();
    const fields = Object.fromEntries(new FormData(form));
    remember(name, fields);
    button.disabled = true;
    try {
      const made = await show(fields);
      output.replaceChildren(...[].concat(made));
    } catch (error) {
      output.replaceChildren(element("p", { class: "error", role: "alert" }, t.failed.replace("{}", error.message)));
    } finally {
      button.disabled = false;
    }
  };
  form.addEventListener("submit", submit);
  main.replaceChildren(element("h1", {}, t[name]), element("p", {}, note), form, output);
  form.submitNow = submit;
  if (models.length) submit();
  return form;
}

function unable(name, note) {
  const command = { tasks: "bertsmith serve runs/reviews", compare: "bertsmith serve BERT GPT ELMO" }[name] || "bertsmith serve tiny-en";
  main.replaceChildren(element("h1", {}, t[name]), element("p", {}, note), element("p", { class: "error" }, t.none, " ", element("code", {}, command)));
}

function bars(pairs) {
  return element("div", { class: "bars" }, ...pairs.flatMap(([name, value]) => [
    element("b", {}, name),
    element("span", { class: "bar", style: `width:${(100 * value).toFixed(1)}%` }),
    element("span", { class: "percent", "data-value": value }, percent(value)),
  ]));
}

function card(title, ...children) {
  return element("section", {}, element("h3", {}, title), ...children);
}

function blanks(fields) {
  const all = able("fill-mask");
  if (!all.length) return unable("blanks", t.blanksNote);
  const input = area("text", fields.get("text") || EXAMPLES[settings.language].blanks, t.text);
  const words = element("div", { class: "chips", role: "group", "aria-label": t.blanksNote });
  const box = input.querySelector("textarea");
  const form = page("blanks", t.blanksNote, [input, words], async ({ text }) => {
    drawWords();
    if (!text.includes("[MASK]")) return element("p", {}, t.noBlank);
    const several = text.split("[MASK]").length > 2;
    const found = await Promise.all(all.map(async (model) => {
      // ELMo's halves never saw [MASK]; a GPT fills several blanks one after the other.
      if (several && model.objective === "both") return [model, new Error(t.oneBlank)];
      try {
        return [model, await one("fill-mask", { model: model.id, text, top_k: 8, joint: model.objective !== "both" })];
      } catch (error) {
        return [model, error];
      }
    }));
    return element("div", { class: "columns" }, ...found.map(([model, answer]) => card(`${model.id} · ${t.sees[model.objective] || t.sees.masked}`,
      ...(answer instanceof Error ? [element("p", { class: "error" }, answer.message)] : [
        ...answer.blanks.flatMap((blank, place) => [
          answer.blanks.length > 1 ? element("p", {}, `[MASK] ${place + 1}`) : null,
          bars(blank.candidates.map(({ token, probability }) => [token.replace("</w>", ""), probability])),
        ]),
        answer.blanks.length > 1 || answer.joint.length && answer.joint[0].tokens.length > 1 ? element("p", {}, `${t.joint} ${t.jointNote}`) : null,
        answer.joint.length && answer.joint[0].tokens.length > 1
          ? bars(answer.joint.map(({ tokens, probability }) => [tokens.join(" ").replaceAll("</w>", ""), probability])) : null,
      ].filter((child) => child !== null)))));
  });
  function drawWords() {
    const parts = box.value.match(WORDS) || [];
    let from = 0;
    words.replaceChildren(...parts.map((part) => {
      const start = box.value.indexOf(part, from);
      from = start + part.length;
      return element("button", { type: "button", class: `chip ${part === "[MASK]" ? "masked" : ""}`, onclick: () => {
        box.value = box.value.slice(0, start) + "[MASK]" + box.value.slice(start + part.length);
        form.submitNow();
      } }, part);
    }));
  }
  box.addEventListener("input", drawWords);
  drawWords();
}

function inside(fields) {
  const all = able("inspect").map((model) => model.id);
  if (!all.length) return unable("inside", t.insideNote);
  page("inside", t.insideNote, [
    select("model", all, fields.get("model"), t.model),
    area("text", fields.get("text") || EXAMPLES[settings.language].inside, t.text),
    area("text_b", fields.get("text_b") || "", t.textB, 1),
  ], async ({ model, text, text_b }) => {
    const answer = await one("inspect", { model, text, text_b: text_b || null });
    const root = element("div", {});
    drawInspection(root, answer, settings.language);
    return root;
  });
}

function next(fields) {
  const all = able("next-sentence");
  if (!all.length) return unable("next", t.nextNote);
  const [a, b] = EXAMPLES[settings.language].next;
  page("next", t.nextNote, [area("text", fields.get("text") || a, "A"), area("text_b", fields.get("text_b") || b, "B")],
    async ({ text, text_b }) => element("div", { class: "columns" }, ...await Promise.all(all.map(async (model) => {
      const { probability } = await one("next-sentence", { model: model.id, text, text_b });
      return card(model.id, bars([[t.follows, probability], [t.random, 1 - probability]]));
    }))));
}

const TASKS = ["classify", "tokens", "answer", "multiple-choice"];

function tasks(fields) {
  const all = able(...TASKS);
  if (!all.length) return unable("tasks", t.tasksNote);
  const model = all.find(({ id }) => id === fields.get("model")) || all[0];
  const operation = model.operations.find((name) => TASKS.includes(name));
  const chooser = select("model", all.map(({ id }) => id), model.id, t.model);
  chooser.querySelector("select").addEventListener("change", (event) => {
    location.hash = `#/tasks?model=${encodeURIComponent(event.target.value)}`;
  });
  const example = EXAMPLES[settings.language];
  const value = (name, fallback) => area(name, fields.get(name) || fallback, t[{ text: "text", text_b: "textB", question: "question", context: "context", choices: "choices" }[name]], name === "choices" ? 4 : 2);
  const forms = {
    classify: [value("text", example.task), value("text_b", "")],
    tokens: [value("text", example.question[1])],
    answer: [value("question", example.question[0]), value("context", example.question[1])],
    "multiple-choice": [value("text", example.choices[0]), value("choices", example.choices[1])],
  };
  page("tasks", t.tasksNote, [chooser, ...forms[operation]], async ({ model: id, ...body }) => {
    if (operation === "multiple-choice") body.choices = body.choices.split("\n").filter((line) => line.trim());
    if (operation === "classify" && !body.text_b) delete body.text_b;
    const answer = await one(operation, { model: id, ...body });
    if (operation === "tokens") return highlighted(body.text, answer.entities.map(({ start, end, type }) => [start, end, type]));
    if (operation === "answer") {
      const shown = answer.start < 0 ? element("p", {}, t.noAnswer) : highlighted(body.context, [[answer.start, answer.start + answer.text.length, percent(answer.probability)]]);
      return [shown];
    }
    if (operation === "multiple-choice") return bars(body.choices.map((choice, place) => [choice, answer.probabilities[place]]));
    if ("value" in answer) return element("p", { "data-value": answer.value }, answer.value.toPrecision(4));
    const ranked = bars(Object.entries(answer.probabilities).sort((x, y) => y[1] - x[1]));
    if (!("labels" in answer)) return ranked;
    return [element("p", {}, answer.labels.length ? t.labels.replace("{}", answer.labels.join(t.comma)) : t.noLabel), ranked];
  });
}

function highlighted(text, spans) {
  const characters = [...text];
  const made = element("p", { class: "passage" });
  let from = 0;
  for (const [start, end, label] of spans) {
    made.append(characters.slice(from, start).join(""), element("mark", {}, characters.slice(start, end).join(""), element("small", {}, label)));
    from = end;
  }
  made.append(characters.slice(from).join(""));
  return made;
}

function compare(fields) {
  const all = able("log-likelihood");
  if (!all.length) return unable("compare", t.compareNote);
  page("compare", t.compareNote, [area("text", fields.get("text") || EXAMPLES[settings.language].compare, t.text, 1)], async ({ text }) =>
    element("div", { class: "columns" }, ...await Promise.all(all.map(async (model) => {
      const found = await one("log-likelihood", { model: model.id, text });
      const sides = Object.keys(found.totals);
      const head = element("tr", {}, element("th", { scope: "col" }, t.token), ...sides.map((side) => element("th", { scope: "col", class: "number" }, t.sees[side])));
      const rows = found.tokens.map(({ token, nats }) => element("tr", {}, element("td", {}, token.replace("</w>", "")),
        ...sides.map((side) => element("td", { class: "number", "data-value": nats[side] }, side in nats ? percent(Math.exp(nats[side])) : ""))));
      return card(`${model.id} (${model.family.toUpperCase()})`,
        element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": model.id },
          element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows))),
        ...sides.map((side) => element("p", {}, [t.sees[side], found.totals[side].toFixed(2), found.means[side].toFixed(2)].reduce((text, part) => text.replace("{}", part), t.product))));
    }))));
}

function masks(fields) {
  const all = able("masks").map((model) => model.id);
  if (!all.length) return unable("masks", t.masksNote);
  const [a, b] = EXAMPLES[settings.language].masks;
  const seed = element("input", { type: "hidden", name: "seed", value: fields.get("seed") || "0" });
  const share = element("input", { type: "number", name: "share", min: 1, max: 90, value: fields.get("share") || "15" });
  const again = element("button", { type: "button", class: "chip" }, t.again);
  const form = page("masks", t.masksNote, [
    select("model", all, fields.get("model"), t.model), area("text", fields.get("text") || a, "A", 1), area("text_b", fields.get("text_b") || b, "B", 1),
    element("div", { class: "row" }, element("label", {}, t.share, share), again), seed,
  ], async (body) => {
    // As in pre-training, half of the pairs get a second text from elsewhere.
    const draw = Number(body.seed), others = EXAMPLES[settings.language].elsewhere;
    const follows = draw * 2654435761 % 4294967296 < 2147483648;
    const second = follows ? body.text_b : others[draw % others.length];
    const found = await one("masks", { model: body.model, text: body.text, text_b: body.text_b ? second : null, share: Number(body.share) / 100, seed: draw });
    return [
      element("div", { class: "chips" }, ...found.tokens.map(({ token, seen, how }) =>
        element("span", { class: `chip ${how || ""}` }, seen, element("small", {}, how ? `${token} · ${t.legend[how]}` : "\u00a0")))),
      body.text_b ? element("p", {}, t.pairLabel.replace("{}", follows ? t.isNext : t.isRandom)) : "",
    ];
  });
  again.addEventListener("click", () => {
    seed.value = String(Number(seed.value) + 1);
    form.submitNow();
  });
}

async function runs(fields) {
  const { data } = await ask("runs");
  if (!data.length) {
    main.replaceChildren(element("h1", {}, t.runs), element("p", {}, t.runsNote), element("p", {}, t.noRuns));
    return;
  }
  const chooser = select("run", data, fields.get("run"), t.runs);
  const form = page("runs", t.runsNote, [chooser], async ({ run }) => {
    const found = await ask(`runs/${encodeURIComponent(run)}`);
    clearTimeout(timer);
    if (!found.finished) timer = setTimeout(() => form.submitNow(), 5000);
    const charts = [["loss", found.train.loss, null], ...Object.entries(found.evaluation).map(([name, points]) => [name, points, found.baseline[name]])];
    return [element("p", {}, found.finished ? t.finished : t.running),
      element("div", { class: "columns" }, ...charts.filter(([, points]) => points.length).map(([name, points, baseline]) => card(name, curve(points, baseline, name))))];
  });
  chooser.querySelector("select").addEventListener("change", () => form.submitNow());
}

function curve(points, baseline, name) {
  const width = 320, height = 180, values = points.map(([, value]) => value).concat(baseline ?? []);
  const [low, high] = [Math.min(...values), Math.max(...values)], last = Math.max(1, points.at(-1)[0]);
  const x = (step) => 50 + step / last * (width - 62), y = (value) => 12 + (high - value) / ((high - low) || 1) * (height - 44);
  const line = (value, dash) => `<line x1="50" x2="${width - 12}" y1="${y(value)}" y2="${y(value)}" stroke="var(--warm)" stroke-dasharray="${dash}"/>`;
  const box = element("div", {});
  box.innerHTML = `<svg class="curve" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${name}: ${points.at(-1)[1].toFixed(3)}">` +
    `<text x="2" y="${y(high) + 4}">${high.toPrecision(3)}</text><text x="2" y="${y(low) + 4}">${low.toPrecision(3)}</text>` +
    `<text x="${width - 12}" y="${height - 6}" text-anchor="end">${t.step.replace("{}", points.at(-1)[0].toLocaleString())}</text>` +
    (baseline === undefined || baseline === null ? "" : line(baseline, "4 3") + `<text x="${width - 12}" y="${y(baseline) + (y(baseline) < 30 ? 14 : -4)}" text-anchor="end">${t.baseline}</text>`) +
    `<polyline fill="none" stroke="var(--accent)" stroke-width="2" points="${points.map(([step, value]) => `${x(step)},${y(value)}`).join(" ")}"/></svg>`;
  return box;
}

const PAGES = { blanks, inside, next, tasks, compare, masks, runs };

function draw() {
  clearTimeout(timer);
  t = TEXTS[settings.language];
  document.documentElement.lang = settings.language;
  document.documentElement.dataset.theme = settings.theme;
  const { page: current, fields } = address();
  document.title = `${t.pages[current]} · bertsmith`;
  document.getElementById("nav").replaceChildren(...Object.keys(PAGES).map((name) =>
    element("a", { href: `#/${name}`, "aria-current": name === current ? "page" : null }, t.pages[name])));
  document.getElementById("language").textContent = t.language;
  document.getElementById("theme").textContent = settings.theme === "dark" ? t.light : t.dark;
  PAGES[current](fields);
}

function change(name, value) {
  settings[name] = value;
  localStorage.setItem(name, value);
  draw();
}

document.getElementById("language").addEventListener("click", () => change("language", settings.language === "en" ? "zh" : "en"));
document.getElementById("theme").addEventListener("click", () => change("theme", settings.theme === "dark" ? "light" : "dark"));
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
addEventListener("hashchange", draw);
models = (await ask("models")).data;
draw();
