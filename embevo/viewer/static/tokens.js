// The panel beside the cloud: finding tokens, groups, what is selected, and the story of one token.

import { inkOf } from "./looks.js";
import { tokenId, tokenLabel } from "./run.js";

const MOST_FOUND = 20;
const MOST_LISTED = 60;
const SHAPES = [
  '<circle cx="6" cy="6" r="5"/>', '<rect x="1.5" y="1.5" width="9" height="9"/>',
  '<path d="M6 1 11 10.5 1 10.5Z"/>', '<path d="M6 0.5 11.5 6 6 11.5 0.5 6Z"/>',
];

export class Tokens {
  #app;
  #ways = new Map();
  #near = null;
  #wanted = "";

  constructor(app) {
    this.#app = app;
    const search = document.getElementById("search");
    search.addEventListener("input", () => this.#find(search.value));
    document.getElementById("search-form").addEventListener("submit", (event) => {
      event.preventDefault();
      document.querySelector("#found button")?.click();
    });
  }

  get run() {
    return this.#app.runs[0];
  }

  // Groups with their marks; a click hides and shows one.
  legend() {
    const box = document.getElementById("legend");
    box.replaceChildren();
    for (const group of this.#app.panels[0].dressed[0].groups) {
      const button = document.createElement("button");
      button.type = "button";
      const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      mark.setAttribute("viewBox", "0 0 12 12");
      mark.setAttribute("aria-hidden", "true");
      mark.innerHTML = SHAPES[group.shape] ?? SHAPES[0];
      mark.setAttribute("fill", group.colour);
      const hidden = this.#app.hidden.has(group.name);
      button.setAttribute("aria-pressed", String(!hidden));
      button.title = hidden ? "Show" : "Hide";
      button.append(mark, `${group.name === "all" ? "tokens" : group.name} (${group.tokens.length.toLocaleString("en")})`);
      button.addEventListener("click", () => this.#app.hide(group.name));
      box.append(button);
    }
  }

  #find(text) {
    const list = document.getElementById("found");
    list.replaceChildren();
    const wanted = text === " " ? text : text.trim();
    if (!wanted) return;
    const { run } = this;
    const ranked = [];
    for (let token = 0; token < run.tokens; token += 1) {
      const label = tokenLabel(run, token);
      const id = String(tokenId(run, token));
      if (label === wanted || id === wanted) ranked.push([0, token]);
      else if (label.toLowerCase().startsWith(wanted.toLowerCase())) ranked.push([1, token]);
      else if (label.toLowerCase().includes(wanted.toLowerCase())) ranked.push([2, token]);
    }
    ranked.sort((a, b) => a[0] - b[0]);
    for (const [, token] of ranked.slice(0, MOST_FOUND)) list.append(this.#item(token, () => this.#app.select([token])));
    if (!ranked.length || ranked.length > MOST_FOUND) {
      const note = document.createElement("li");
      note.className = "soft";
      note.textContent = ranked.length ? `and ${(ranked.length - MOST_FOUND).toLocaleString("en")} more` : "No token has this text or id.";
      list.append(note);
    }
  }

  #item(token, act, extra = "") {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${this.name(token)}${extra}`;
    button.addEventListener("click", act);
    item.append(button);
    return item;
  }

  name(token, run = this.run) {
    const [label, id] = [tokenLabel(run, token), String(tokenId(run, token))];
    return label === id ? `token ${id}` : `${label} · ${id}`;
  }

  // What a token is, in one line.
  words(token, run = this.run, place = 0) {
    const counts = run.meta.counts;
    const group = this.#app.panels[0].dressed[place]?.groups.filter((one) => one.tokens.includes(token)).map((one) => one.name) ?? [];
    const often = counts ? `, ${counts[token].toLocaleString("en")} times in the corpus` : "";
    return `${this.name(token, run)}${often}${group.length && group[0] !== "all" ? `, ${group.join(", ")}` : ""}`;
  }

  selection() {
    const box = document.getElementById("selection");
    const chosen = [...this.#app.state.selected];
    box.replaceChildren();
    if (!chosen.length) {
      box.append(soft("Click a token to see its story. Shift-click adds one; Box and Lasso take many."));
    } else if (chosen.length > 1) {
      const title = document.createElement("h2");
      title.textContent = `${chosen.length.toLocaleString("en")} tokens selected`;
      const list = document.createElement("ul");
      list.className = "near";
      for (const token of chosen.slice(0, MOST_LISTED)) list.append(this.#item(token, () => this.#app.select([token])));
      box.append(title, list);
      if (chosen.length > MOST_LISTED) box.append(soft(`and ${(chosen.length - MOST_LISTED).toLocaleString("en")} more`));
    }
    this.story();
  }

  // The story of the one token that is selected, at the step that is shown.
  async story() {
    const box = document.getElementById("token");
    const { state } = this.#app;
    const [token] = state.selected;
    if (state.selected.size !== 1 || token >= this.run.tokens) {
      box.replaceChildren();
      this.#wanted = "";
      return;
    }
    const { run } = this;
    const row = run.rowAt(state.step);
    const key = `${token}/${run.rows}`;
    if (this.#wanted !== key) {
      this.#wanted = key;
      box.replaceChildren(heading(this.name(token)), soft("Reading its way ..."));
    }
    let way = this.#ways.get(key);
    if (!way) {
      try {
        way = await run.tell(`token/${token}/way.json`);
      } catch (error) {
        const why = this.#app.index.served ? error.message : "Its way is not on this page: embevo view shows it from the run.";
        if (this.#wanted === key) box.replaceChildren(heading(this.name(token)), soft(this.words(token)), soft(why));
        return;
      }
      this.#ways.set(key, way);
      if (this.#ways.size > 50) this.#ways.delete(this.#ways.keys().next().value);
    }
    if (this.#wanted !== key) return;
    if (box.dataset.key !== key || !box.querySelector("table")) {
      box.dataset.key = key;
      this.#frame(box, token, way);
    }
    this.#numbers(box, token, row, way);
  }

  #frame(box, token, way) {
    const { run } = this;
    const table = document.createElement("table");
    const spark = document.createElement("canvas");
    spark.className = "spark";
    spark.height = 60;
    spark.setAttribute("role", "img");
    spark.setAttribute("aria-label", "Distance from its first place over the steps");
    const rest = way.last_motion === null ? "It never moved."
      : way.last_motion < run.steps.at(-1) ? `It moved for the last time at step ${way.last_motion.toLocaleString("en")}.`
        : "It moves to the end.";
    const near = document.createElement("div");
    near.className = "near";
    const over = details("Neighbours over time", (inner) => this.#over(inner, token));
    const bits = details("Numbers and bits at this step", (inner) => this.#bits(inner, token));
    bits.addEventListener("toggle", () => { if (bits.open) this.#bits(bits.lastElementChild, token); });
    const go = document.createElement("button");
    go.type = "button";
    go.textContent = "Go there";
    go.addEventListener("click", () => this.#app.timeline.go(way.last_motion));
    const last = soft(rest);
    if (way.last_motion !== null && way.last_motion < run.steps.at(-1)) last.append(" ", go);
    box.replaceChildren(heading(this.name(token)), soft(this.words(token)), table, spark, last, near, over, bits);
    this.#bitsRow = -1;
  }

  #bitsRow = -1;

  #numbers(box, token, row, way) {
    const { run } = this;
    const at = Math.min(row, way.rows - 1);
    const show = (value, unit) => (value === null || value === undefined ? "not a number" : `${Number(value.toPrecision(5))} ${unit}`);
    const hole = this.#app.panels[0].shown[0]?.same;
    const members = hole ? hole.reduce((count, first) => count + (first === hole[token] ? 1 : 0), 0) : 1;
    const lines = [
      ["step", run.steps[at].toLocaleString("en")],
      ["norm", show(way.norm[at], "")],
      ["moved since the row before", show(way.moved[at], "")],
      ["away from its first place", show(way.away[at], "")],
      ["largest motion of an element", show(way.ulps[at], "ULP")],
      ["black hole", members > 1 ? `with ${(members - 1).toLocaleString("en")} others` : "none"],
    ];
    const table = box.querySelector("table");
    table.replaceChildren();
    for (const [name, value] of lines) {
      const line = table.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      head.textContent = name;
      line.append(head);
      line.insertCell().textContent = value;
    }
    this.#spark(box.querySelector("canvas.spark"), way, at);
    clearTimeout(this.#near);
    this.#near = setTimeout(() => this.#nearest(box, token, at), 160);
    const bits = box.querySelectorAll("details")[1];
    if (bits?.open && this.#bitsRow !== at) this.#bits(bits.lastElementChild, token);
  }

  #spark(canvas, way, at) {
    const width = canvas.clientWidth || 260;
    const density = Math.min(2, devicePixelRatio || 1);
    canvas.width = width * density;
    canvas.height = 60 * density;
    const pen = canvas.getContext("2d");
    pen.setTransform(density, 0, 0, density, 0, 0);
    const most = way.away.reduce((high, value) => Math.max(high, value ?? 0), 0) || 1;
    pen.strokeStyle = inkOf("accent");
    pen.lineWidth = 1.5;
    pen.beginPath();
    way.away.forEach((value, row) => {
      const x = this.#app.timeline.positionOf(this.run.steps[row]) * width;
      const y = 56 - ((value ?? 0) / most) * 50;
      if (row) pen.lineTo(x, y);
      else pen.moveTo(x, y);
    });
    pen.stroke();
    const x = this.#app.timeline.positionOf(this.run.steps[at]) * width;
    pen.strokeStyle = inkOf("ink");
    pen.beginPath();
    pen.moveTo(x, 0);
    pen.lineTo(x, 60);
    pen.stroke();
    pen.fillStyle = inkOf("soft");
    pen.font = "11px system-ui, sans-serif";
    pen.fillText("away from its first place", 4, 10);
  }

  async #nearest(box, token, row) {
    const inner = box.querySelector(".near");
    if (!inner || !this.#app.index.served) return;
    try {
      const found = await this.run.tell(`token/${token}/near-${row}.json`);
      if (this.#app.state.selected.has(token)) this.#list(inner, found, `Nearest at step ${found.step.toLocaleString("en")}`);
    } catch (error) {
      inner.replaceChildren(soft(error.message));
    }
  }

  #list(inner, found, title) {
    const list = document.createElement("ul");
    found.tokens.forEach((other, place) => {
      const away = Number(found.distances[place].toPrecision(3));
      list.append(this.#item(other, () => this.#app.select([other]), `: ${away}`));
    });
    inner.replaceChildren(soft(title), list);
  }

  async #over(inner, token) {
    inner.replaceChildren(soft("Looking ..."));
    try {
      const { looks } = await this.run.tell(`token/${token}/neighbours.json`);
      const table = document.createElement("table");
      for (const look of looks) {
        const line = table.insertRow();
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = look.step.toLocaleString("en");
        line.append(head);
        line.insertCell().textContent = look.tokens.slice(0, 5).map((other) => tokenLabel(this.run, other)).join("  ");
      }
      inner.replaceChildren(table);
    } catch (error) {
      inner.replaceChildren(soft(this.#app.index.served ? error.message : "They are not on this page."));
    }
  }

  async #bits(inner, token) {
    const row = this.run.rowAt(this.#app.state.step);
    this.#bitsRow = row;
    if (!this.#app.index.served) {
      inner.replaceChildren(soft("They are not on this page: embevo view shows them from the run."));
      return;
    }
    try {
      const found = await this.run.tell(`token/${token}/bits-${row}.json`);
      if (this.#bitsRow !== row) return;
      const box = document.createElement("div");
      box.className = "bits";
      box.tabIndex = 0;
      const table = document.createElement("table");
      found.values.forEach((value, place) => {
        const line = table.insertRow();
        const head = document.createElement("th");
        head.scope = "row";
        head.textContent = place;
        line.append(head);
        line.insertCell().textContent = value;
        line.insertCell().textContent = found.bits[place];
      });
      box.append(table);
      const left = found.dim > found.values.length ? `, the first ${found.values.length} of ${found.dim}` : "";
      inner.replaceChildren(soft(`${found.dtype} at step ${found.step.toLocaleString("en")}${left}`), box);
    } catch (error) {
      inner.replaceChildren(soft(error.message));
    }
  }

  // Events of all runs, as a list that a keyboard reaches.
  events() {
    const list = document.getElementById("events");
    list.replaceChildren();
    const many = this.#app.runs.length > 1;
    for (const run of this.#app.runs)
      for (const event of run.charts.events.slice(0, 400)) {
        const item = document.createElement("li");
        const button = document.createElement("button");
        button.type = "button";
        const sizes = event.before.length || event.after.length ? ` ${event.before.join(" + ") || "0"} → ${event.after.join(" + ") || "0"}` : "";
        const who = event.tokens.slice(0, 5).map((token) => tokenLabel(run, token)).join(" ");
        const more = event.tokens.length > 5 ? ` and ${event.tokens.length - 5} more` : "";
        button.textContent = `${event.step.toLocaleString("en")} ${event.kind}${sizes}: ${who}${more}${many ? ` (${run.meta.name})` : ""}`;
        button.addEventListener("click", () => { this.#app.timeline.go(event.step); this.#app.select(run.inFirst(event.tokens)); });
        item.append(button);
        list.append(item);
      }
    const all = this.#app.runs.reduce((count, run) => count + run.charts.events.length, 0);
    const left = this.#app.runs.reduce((count, run) => count + Math.max(0, run.charts.events.length - 400) + (run.charts.events_left_out ?? 0), 0);
    document.querySelector("#events-box summary").textContent = `Events (${all.toLocaleString("en")})`;
    if (left) list.append(soft(`${left.toLocaleString("en")} later ones are not listed here.`));
  }
}

function soft(text) {
  const line = document.createElement("p");
  line.className = "soft";
  line.textContent = text;
  return line;
}

function heading(text) {
  const line = document.createElement("h2");
  line.textContent = text;
  return line;
}

function details(title, open) {
  const box = document.createElement("details");
  const head = document.createElement("summary");
  head.textContent = title;
  const inner = document.createElement("div");
  box.append(head, inner);
  box.addEventListener("toggle", () => { if (box.open && !inner.childElementCount) open(inner); });
  return box;
}
