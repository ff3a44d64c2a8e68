// The story of one token: its numbers at the step that is shown, its way, its neighbours, its bits.

import { inkOf } from "./looks.js";
import { details, heading, soft } from "./parts.js";
import { tokenLabel } from "./run.js";

export class Story {
  #app;
  #tokens;
  #ways = new Map();
  #near = null;
  #wanted = "";

  constructor(app, tokens) {
    this.#app = app;
    this.#tokens = tokens;
  }

  get run() {
    return this.#app.runs[0];
  }

  // The story of the one token that is selected, at the step that is shown.
  async tell() {
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
      box.replaceChildren(heading(this.#tokens.name(token)), soft("Reading its way ..."));
    }
    let way = this.#ways.get(key);
    if (!way) {
      try {
        way = await run.tell(`token/${token}/way.json`);
      } catch (error) {
        const why = this.#app.index.served ? error.message : "Its way is not on this page: embevo view shows it from the run.";
        if (this.#wanted === key) box.replaceChildren(heading(this.#tokens.name(token)), soft(this.#tokens.words(token)), soft(why));
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
    box.replaceChildren(heading(this.#tokens.name(token)), soft(this.#tokens.words(token)), table, spark, last, near, over, bits);
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
      list.append(this.#tokens.item(other, (add) => this.#app.select([other], { add }), `: ${away}`));
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
}
