// The story of one token: its numbers at the step that is shown, its way, its neighbours, its bits.

import { DASHES, inkOf } from "./looks.js";
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
    // Where the token is in each run; nowhere in those that do not have it.
    const { runs } = this.#app;
    const here = runs.map((run) => run.here([token])[0]);
    const key = `${token}/${runs.map((run) => run.rows)}`;
    if (this.#wanted !== key) {
      this.#wanted = key;
      box.replaceChildren(heading(this.#tokens.name(token)), soft("Reading its way ..."));
    }
    let ways = this.#ways.get(key);
    if (!ways) {
      try {
        ways = await Promise.all(runs.map((run, place) => (here[place] === undefined ? null : run.tell(`token/${here[place]}/way.json`))));
      } catch (error) {
        const why = this.#app.index.served ? error.message : "Its way is not on this page: embevo view shows it from the run.";
        if (this.#wanted === key) box.replaceChildren(heading(this.#tokens.name(token)), soft(this.#tokens.words(token)), soft(why));
        return;
      }
      this.#ways.set(key, ways);
      if (this.#ways.size > 50) this.#ways.delete(this.#ways.keys().next().value);
    }
    if (this.#wanted !== key) return;
    if (box.dataset.key !== key || !box.querySelector("table")) {
      box.dataset.key = key;
      this.#frame(box, token, ways);
    }
    this.#numbers(box, token, here, ways);
  }

  #frame(box, token, ways) {
    const table = document.createElement("table");
    const spark = document.createElement("canvas");
    spark.className = "spark";
    spark.height = 60;
    spark.setAttribute("role", "img");
    spark.setAttribute("aria-label", "Distance from its first place over the steps");
    const near = document.createElement("div");
    near.className = "near";
    const over = details("Neighbours over time", (inner) => this.#over(inner, token));
    const bits = details("Numbers and bits at this step", (inner) => this.#bits(inner, token));
    bits.addEventListener("toggle", () => { if (bits.open) this.#bits(bits.lastElementChild, token); });
    const rest = this.#app.runs.map((run, place) => this.#rest(run, ways[place]));
    box.replaceChildren(heading(this.#tokens.name(token)), soft(this.#tokens.words(token)), table, spark, ...rest, near, over, bits);
    this.#bitsRow = -1;
  }

  // When it came to rest in a run, and the way there.
  #rest(run, way) {
    const who = this.#app.runs.length > 1 ? `${run.short}: ` : "";
    if (!way) return soft(`${who}this run does not have it.`);
    const rests = way.last_motion !== null && way.last_motion < run.steps.at(-1);
    const line = soft(who + (way.last_motion === null ? "It never moved."
      : rests ? `It moved for the last time at step ${way.last_motion.toLocaleString("en")}.` : "It moves to the end."));
    if (!rests) return line;
    const go = document.createElement("button");
    go.type = "button";
    go.textContent = "Go there";
    go.addEventListener("click", () => this.#app.timeline.go(way.last_motion));
    line.append(" ", go);
    return line;
  }

  #bitsRow = -1;

  #numbers(box, token, here, ways) {
    const { runs, state } = this.#app;
    const show = (value, unit) => (value === null || value === undefined ? "not a number" : `${Number(value.toPrecision(5))} ${unit}`);
    const told = runs.map((run, place) => {
      const way = ways[place];
      if (!way) return Array(6).fill("-");
      const at = Math.min(run.rowAt(state.step), way.rows - 1);
      const hole = this.#app.shownOf(place)?.same;
      const members = hole ? hole.reduce((count, first) => count + (first === hole[here[place]] ? 1 : 0), 0) : 1;
      return [
        run.steps[at].toLocaleString("en"), show(way.norm[at], ""), show(way.moved[at], ""), show(way.away[at], ""), show(way.ulps[at], "ULP"),
        members > 1 ? `with ${(members - 1).toLocaleString("en")} others` : "none",
      ];
    });
    const names = ["step", "norm", "moved since the row before", "away from its first place", "largest motion of an element", "black hole"];
    const table = box.querySelector("table");
    table.replaceChildren();
    if (runs.length > 1) {
      const line = table.createTHead().insertRow();
      line.insertCell();
      for (const run of runs) line.append(headOf("col", run.short));
    }
    const body = table.createTBody();
    names.forEach((name, row) => {
      const line = body.insertRow();
      line.append(headOf("row", name));
      for (const column of told) line.insertCell().textContent = column[row];
    });
    const at = Math.min(this.run.rowAt(state.step), ways[0].rows - 1);
    this.#spark(box.querySelector("canvas.spark"), ways);
    clearTimeout(this.#near);
    this.#near = setTimeout(() => this.#nearest(box, token, at), 160);
    const bits = box.querySelectorAll("details")[1];
    if (bits?.open && this.#bitsRow !== at) this.#bits(bits.lastElementChild, token);
  }

  // How far away it was from its first place in each run; others than the first are dashed, as in the charts.
  #spark(canvas, ways) {
    const width = canvas.clientWidth || 260;
    const density = Math.min(2, devicePixelRatio || 1);
    canvas.width = width * density;
    canvas.height = 60 * density;
    const pen = canvas.getContext("2d");
    pen.setTransform(density, 0, 0, density, 0, 0);
    const { runs, state, timeline } = this.#app;
    const most = ways.reduce((all, way) => (way?.away ?? []).reduce((high, value) => Math.max(high, value ?? 0), all), 0) || 1;
    pen.strokeStyle = inkOf("accent");
    pen.lineWidth = 1.5;
    runs.forEach((run, place) => {
      pen.setLineDash(DASHES[place % DASHES.length]);
      pen.beginPath();
      (ways[place]?.away ?? []).forEach((value, row) => {
        const x = timeline.positionOf(run.steps[row]) * width;
        const y = 56 - ((value ?? 0) / most) * 50;
        if (row) pen.lineTo(x, y);
        else pen.moveTo(x, y);
      });
      pen.stroke();
    });
    pen.setLineDash([]);
    const x = timeline.positionOf(state.step) * width;
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
      if (this.#app.state.selected.has(token)) this.#list(inner, found, `Nearest at step ${found.step.toLocaleString("en")}${this.#app.runs.length > 1 ? ` in ${this.run.short}` : ""}`);
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

function headOf(scope, text) {
  const head = document.createElement("th");
  head.scope = scope;
  head.textContent = text;
  return head;
}
